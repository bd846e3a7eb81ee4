//! Tries: to fill the service's memory with something that could still become one of cargo's messages
//! Aims at: log
//! Stopped by: the limit of a message; what is longer is output
//! Expect: contained
//! Shows: {"reason":"compiler-artifact
//! Template: macro

use proc_macro::TokenStream;

#[proc_macro]
pub fn trick(_: TokenStream) -> TokenStream {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(b"\n{\"reason\":\"compiler-artifact")
        .unwrap();
    for _ in 0..128 {
        stdout.write_all(&[b'['; 1 << 16]).unwrap();
    }
    stdout.write_all(b"\n").unwrap();
    // Nested as deep as a message may be long.
    let deep = format!(
        "{{\"reason\":\"compiler-artifact\",\"x\":{}\n",
        "[".repeat(200_000)
    );
    stdout.write_all(deep.as_bytes()).unwrap();
    eprintln!("ATTACK: contained: messages without end");
    TokenStream::new()
}
