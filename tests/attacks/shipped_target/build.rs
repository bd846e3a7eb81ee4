//! Tries: to have a binary delivered that came with the source
//! Stopped by: a target folder of the service's own
//! Expect: ignored

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
