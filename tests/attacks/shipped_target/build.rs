//! Tries: to have a binary delivered that came with the source
//! Aims at: result
//! Stopped by: a target directory of the service's own
//! Expect: ignored
//! Shows: Compiling attack

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
