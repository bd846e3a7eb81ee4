//! Tries: to have the log contain bytes that are not text: characters cut at every place where the service may cut, and too long ones
//! Aims at: log
//! Stopped by: decoding that knows where a character ends, whatever the pieces
//! Expect: contained
//! Shows: 🦀🦀🦀🦀🦀🦀🦀🦀
//! Template: macro

use proc_macro::TokenStream;

#[proc_macro]
pub fn trick(_: TokenStream) -> TokenStream {
    use std::io::Write;
    let mut stderr = std::io::stderr().lock();
    for length in [16_381, 16_382, 16_383, 16_384, 65_535] {
        let line = format!("{}{}\n", "a".repeat(length), "🦀".repeat(20_000));
        for piece in line.as_bytes().chunks(4093) {
            stderr.write_all(piece).unwrap();
        }
        stderr
            .write_all(b"\xf0\x9f\xa6\n\xc0\xaf\n\xed\xa0\x80\n\xf4\x90\x80\x80\n\xff\n")
            .unwrap();
    }
    writeln!(stderr, "ATTACK: contained: halves of characters").unwrap();
    TokenStream::new()
}
