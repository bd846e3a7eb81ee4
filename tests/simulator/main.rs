//! Does the simulated secure processor behave like AMD's? Its output goes through the sev crate's
//! verifier and through ours, and through the real `kettle-host serve` into a bundle that the real
//! `kettle verify` accepts.
#![cfg(all(feature = "simulator", feature = "cli"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, unused_imports)] // Shared with other tests, which need more of it.
#[path = "../e2e/harness/mod.rs"]
mod harness;
mod processors;
mod service;
mod shapes;
mod signed;
