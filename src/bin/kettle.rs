//! The verifier's command.
fn main() {}
