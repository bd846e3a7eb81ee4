//! Tries: nothing: its artifacts are the reference for the others
//! Stopped by: nothing
//! Expect: honest
//! Template: library

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
