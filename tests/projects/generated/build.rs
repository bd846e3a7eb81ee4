//! Compiles C without any crate, and writes what it sees.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap());
    let run = |program: &str, arguments: &[&str]| {
        assert!(Command::new(program).args(arguments).current_dir(&out).status().unwrap().success());
    };
    let source = std::env::current_dir().unwrap().join("src/answer.c");
    run(&std::env::var("CC").unwrap(), &["-g", "-c", source.to_str().unwrap(), "-o", "answer.o"]);
    run(&std::env::var("AR").unwrap(), &["crsD", "libanswer.a", "answer.o"]);
    std::fs::write(out.join("place.rs"), format!("pub const PLACE: &str = {out:?};")).unwrap();
    println!("cargo::rustc-link-search=native={}", out.display());
    println!("cargo::rustc-link-lib=static=answer");
}
