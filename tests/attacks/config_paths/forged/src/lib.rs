use proc_macro::TokenStream;

#[proc_macro]
pub fn trick(_: TokenStream) -> TokenStream {
    eprintln!("ATTACK: SUCCEEDED: a directory stands in for the package");
    TokenStream::new()
}
