//! Tries: to have a binary delivered that came with the source
//! Aims at: result
//! Stopped by: the service's own target directory
//! Expect: ignored
//! Shows: Compiling attack

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
