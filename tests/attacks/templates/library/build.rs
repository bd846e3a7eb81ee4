//! Attacks that are build scripts replace this one.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
