//! What the phases that fetch reach: asked with real packets, in network namespaces that each test makes for itself.
//!
//! A test is a machine in a namespace of its own, connected to another one that plays the rest of the world and answers at every
//! address that it is given, public or not. Needs root, iproute2 and a kernel with veth and nf_tables.
#![cfg(all(feature = "cli", feature = "host"))]
#![allow(clippy::expect_used, clippy::unwrap_used)] // A test of a machine: what cannot be set up fails it.

#[path = "../e2e/harness/mod.rs"]
#[allow(dead_code, unused_imports)] // Not all of it is needed here.
mod harness;
mod names;
mod others;
mod reach;
mod scene;
mod sources;
