//! Tries: to fill the service with 16 MB of output in short lines
//! Aims at: log
//! Stopped by: back pressure, and the limit of the log
//! Expect: contained
//! Shows: a quarter of a million lines
//! Template: macro

use proc_macro::TokenStream;

#[proc_macro]
pub fn trick(_: TokenStream) -> TokenStream {
    let line = "flood ".repeat(10);
    for _ in 0..250_000 {
        eprintln!("{line}");
    }
    eprintln!("ATTACK: contained: a quarter of a million lines");
    TokenStream::new()
}
