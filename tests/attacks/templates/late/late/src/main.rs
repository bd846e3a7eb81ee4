//! Its build script runs while the other package is built.

fn main() {}
