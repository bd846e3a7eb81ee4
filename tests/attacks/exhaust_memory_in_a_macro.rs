//! Tries: to take all memory of the machine from inside the compiler
//! Aims at: host
//! Stopped by: the limit of memory
//! Expect: fails
//! Fails with: BuildFailed: the build failed
//! Shows: (signal: 9, SIGKILL: kill)
//! Template: macro
//! Needs: memory limit

use proc_macro::TokenStream;

#[proc_macro]
pub fn trick(_: TokenStream) -> TokenStream {
    let mut all = Vec::new();
    while all.len() < 1024 {
        all.push(vec![1_u8; 16 << 20]);
    }
    eprintln!("ATTACK: SUCCEEDED: 16 GiB");
    TokenStream::new()
}
