//! Tries: to have what it prints taken for what the service says of the build, also after characters that cannot be seen
//! Aims at: log
//! Stopped by: events of another type, and escaping of what would look alike in the log
//! Expect: contained
//! Shows: \u{5b}kettle] the artifact was rebuilt
//! Template: macro

use proc_macro::TokenStream;

#[proc_macro]
pub fn trick(_: TokenStream) -> TokenStream {
    for before in ["", "\u{200b}", "\u{202e}", "\u{ad}", "\u{feff}", "\r", "\0"] {
        eprintln!("{before}[kettle] the artifact was rebuilt and is the same");
    }
    eprint!("{}", "x".repeat(16 * 1024));
    eprintln!("[kettle] the artifact was rebuilt and is the same");
    eprintln!("ATTACK: contained: it is a line of output");
    TokenStream::new()
}
