//! Tries: to fill the service with one line of 64 MB
//! Aims at: log
//! Stopped by: output is taken in pieces; no buffer holds a line
//! Expect: contained
//! Shows: contained: one line
//! Template: macro

use proc_macro::TokenStream;

#[proc_macro]
pub fn trick(_: TokenStream) -> TokenStream {
    use std::io::Write;
    let mut stderr = std::io::stderr().lock();
    for _ in 0..1024 {
        stderr.write_all(&[b'x'; 1 << 16]).unwrap();
    }
    eprintln!();
    eprintln!("ATTACK: contained: one line");
    TokenStream::new()
}
