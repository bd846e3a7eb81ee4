//! Tries: to have the last words of a build lost, or joined to what the service says, by never ending the line
//! Aims at: log
//! Stopped by: a line that is ended with its stream, and events that are no text of the stream
//! Expect: fails
//! Fails with: BuildFailed: the build failed
//! Shows: ATTACK: contained: no line end
//! Template: macro

use proc_macro::TokenStream;

#[proc_macro]
pub fn trick(_: TokenStream) -> TokenStream {
    eprint!("ATTACK: contained: no line end");
    std::process::exit(1);
}
