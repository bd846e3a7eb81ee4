//! Tries: to have cargo call a wrapper for the rest of the build
//! Aims at: phase
//! Stopped by: cargo takes its wrapper from its own environment, which a build script cannot change
//! Expect: contained
//! Shows: variables of the compilation name a wrapper

mod attack;

use attack::*;

fn main() {
    for name in ["RUSTC_WRAPPER", "RUSTC", "CARGO_BUILD_RUSTC_WRAPPER", "CARGO_HOME"] {
        println!("cargo::rustc-env={name}=/kettle/target/x");
    }
    contained("variables of the compilation name a wrapper");
}
