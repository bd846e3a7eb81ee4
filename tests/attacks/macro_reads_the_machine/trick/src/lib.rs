//! Tries: to read files of the machine from inside the compiler, which could have kept more than its sources
//! Aims at: host
//! Stopped by: the mount namespace, and a cleared environment
//! Expect: contained
//! Shows: contained: nothing of the machine
//! Template: macro

use proc_macro::TokenStream;

#[proc_macro]
pub fn trick(_: TokenStream) -> TokenStream {
    let files = [
        "/etc/shadow",
        "/root",
        "/home",
        "/proc/1/environ",
        "/var",
        "/run",
        "/sys",
        "/kettle/cargo/credentials",
    ];
    let found: Vec<_> = files
        .iter()
        .filter(|path| std::fs::metadata(path).is_ok())
        .collect();
    let secret = std::env::vars().any(|(name, _)| name.contains("SECRET"));
    if found.is_empty() && !secret {
        eprintln!("ATTACK: contained: nothing of the machine");
    } else {
        eprintln!("ATTACK: SUCCEEDED: {found:?}, {secret}");
    }
    TokenStream::new()
}
