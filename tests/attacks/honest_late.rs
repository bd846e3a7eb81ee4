//! Tries: nothing: its artifacts are the reference for the others
//! Stopped by: nothing
//! Expect: honest
//! Template: late

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
