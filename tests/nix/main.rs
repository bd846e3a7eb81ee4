//! Are flakes built by the real service on this host, and what can a flake not do? Needs root, and
//! a system with nix 2.34.8 or newer: `KETTLE_NIX_ROOT` is its root, for instance the one that
//! `scripts/build-image` unpacks.
#![cfg(all(feature = "cli", feature = "host"))]
#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "../e2e/harness/mod.rs"]
#[allow(dead_code, unused_imports)] // These tests need a part of it.
mod harness;

mod appliance;
mod attempts;
mod caches;
mod compiler;
mod contained;
mod derivations;
mod flake;
mod inputs;
mod outputs;
mod refused;
mod tool;
