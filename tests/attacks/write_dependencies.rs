//! Tries: to change the checked dependencies and the toolchain
//! Aims at: provenance
//! Stopped by: read-only mounts
//! Expect: contained
//! Errors: EROFS ENOENT EACCES

mod attack;

use attack::*;

fn main() {
    let programs = ["RUSTC", "CARGO"].map(|name| std::env::var(name).unwrap_or_default());
    for directory in ["/kettle/cargo", "/kettle/vendor", "/toolchain", "/toolchain/bin", "/usr/bin", "/usr/lib"] {
        attempt(directory, std::fs::write(format!("{directory}/planted"), "x"));
    }
    for program in programs.iter().filter(|program| program.starts_with('/')) {
        attempt(program, std::fs::OpenOptions::new().write(true).open(program));
    }
}
