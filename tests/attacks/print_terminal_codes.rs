//! Tries: to harm readers of the log with terminal codes and bytes that are not UTF-8
//! Aims at: log
//! Stopped by: lossy decoding, and escaping of control characters
//! Expect: contained
//! Shows: \u{d} overwritten
//! Template: macro

use proc_macro::TokenStream;

#[proc_macro]
pub fn trick(_: TokenStream) -> TokenStream {
    use std::io::Write;
    let mut stderr = std::io::stderr().lock();
    stderr
        .write_all(
            b"\x1b]0;owned\x07 \x1b[2J \xff\xfe \xc3( \0 \r overwritten \x08\x7f \xc2\x9b31m\n",
        )
        .unwrap();
    writeln!(stderr, "ATTACK: contained: terminal codes").unwrap();
    TokenStream::new()
}
