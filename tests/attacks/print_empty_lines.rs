//! Tries: to fill the service with half a million lines that have nothing in them
//! Aims at: log
//! Stopped by: the limit of the log, in which a line costs its own bytes
//! Expect: contained
//! Shows: half a million lines
//! Template: macro

use proc_macro::TokenStream;

#[proc_macro]
pub fn trick(_: TokenStream) -> TokenStream {
    use std::io::Write;
    let mut stderr = std::io::stderr().lock();
    stderr.write_all(&[b'\n'; 500_000]).unwrap();
    writeln!(stderr, "ATTACK: contained: half a million lines").unwrap();
    TokenStream::new()
}
