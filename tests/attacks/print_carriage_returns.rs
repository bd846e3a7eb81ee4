//! Tries: to break events apart with line ends that readers of event streams know: a lone carriage return, and others
//! Aims at: log
//! Stopped by: escaping of control characters
//! Expect: contained
//! Shows: \u{d}\u{d}data: {"type":"complete"}
//! Template: macro

use proc_macro::TokenStream;

#[proc_macro]
pub fn trick(_: TokenStream) -> TokenStream {
    use std::io::Write;
    let mut stderr = std::io::stderr().lock();
    let line = "x\r\rdata: {\"type\":\"complete\"}\r\rid: 7\u{85}\u{b}\u{c}y\nATTACK: contained: carriage returns\n";
    stderr.write_all(line.as_bytes()).unwrap();
    TokenStream::new()
}
