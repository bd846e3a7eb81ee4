//! Tries: to have a file of the machine delivered, by printing what cargo prints about artifacts
//! Aims at: result
//! Stopped by: only regular files below the target directory are taken, and only by the names that the targets of the source have
//! Expect: contained
//! Shows: messages are printed
//! Template: macro

use proc_macro::TokenStream;

#[proc_macro]
pub fn trick(_: TokenStream) -> TokenStream {
    // Below the target directory, but of a program that the package does not have, or not the file of the one that it has.
    let planted = "/kettle/target/release/planted";
    std::fs::write(planted, "not compiled").unwrap();
    for path in [
        "/etc/passwd",
        "/kettle/source/Cargo.toml",
        "/kettle/target/../source/Cargo.lock",
        planted,
    ] {
        let name = path.rsplit('/').next().unwrap();
        for name in [name, "attack"] {
            print_message(name, path);
        }
    }
    eprintln!("ATTACK: contained: messages are printed");
    TokenStream::new()
}

fn print_message(name: &str, path: &str) {
    let target = format!(
        r#"{{"kind":["bin"],"crate_types":["bin"],"name":"{name}","src_path":"/kettle/source/src/main.rs","edition":"2024"}}"#
    );
    let package = r#""package_id":"path+file:///kettle/source#attack@0.1.0","manifest_path":"/kettle/source/Cargo.toml""#;
    let profile = r#"{"opt_level":"3","debuginfo":0,"debug_assertions":false,"overflow_checks":false,"test":false}"#;
    println!(
        r#"{{"reason":"compiler-artifact",{package},"target":{target},"profile":{profile},"features":[],"filenames":["{path}"],"executable":"{path}","fresh":false}}"#
    );
}
