//! Tries: to have a file of the machine delivered, by printing what cargo prints about artifacts
//! Stopped by: only regular files below the target folder are taken, and only for packages of the source
//! Expect: contained|fails
//! Template: macro

use proc_macro::TokenStream;

#[proc_macro]
pub fn trick(_: TokenStream) -> TokenStream {
    for (name, path) in [
        ("passwd", "/etc/passwd"),
        ("cargo", "/kettle/source/Cargo.toml"),
        ("up", "/kettle/target/../source/Cargo.lock"),
    ] {
        println!(
            r#"{{"reason":"compiler-artifact","package_id":"path+file:///kettle/source#attack@0.1.0","manifest_path":"/kettle/source/Cargo.toml","target":{{"kind":["bin"],"crate_types":["bin"],"name":"{name}","src_path":"/kettle/source/src/main.rs","edition":"2024","doc":true,"doctest":false,"test":true}},"profile":{{"opt_level":"3","debuginfo":0,"debug_assertions":false,"overflow_checks":false,"test":false}},"features":[],"filenames":["{path}"],"executable":"{path}","fresh":false}}"#
        );
    }
    eprintln!("ATTACK: contained: messages are printed");
    TokenStream::new()
}
