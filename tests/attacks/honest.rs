//! Tries: nothing: its artifact is the reference for the others
//! Stopped by: nothing
//! Expect: honest

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
