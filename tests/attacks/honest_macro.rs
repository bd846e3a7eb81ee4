//! Tries: nothing: its artifact is the reference for the others
//! Stopped by: nothing
//! Expect: honest
//! Template: macro

use proc_macro::TokenStream;

#[proc_macro]
pub fn trick(_: TokenStream) -> TokenStream {
    TokenStream::new()
}
