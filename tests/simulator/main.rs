//! Is the simulated secure processor as good as its model? Its output goes through the sev crate's verifier and through ours,
//! and through the real `kettle-host serve` into a bundle that the real `kettle verify` accepts.
#![cfg(all(feature = "simulator", feature = "cli"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, unused_imports)] // Shared with the tests that need more of it.
#[path = "../e2e/harness/mod.rs"]
mod harness;
mod processors;
mod service;
mod shapes;
mod signed;
