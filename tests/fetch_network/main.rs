//! What do the phases that fetch reach? Each test asks with real packets, in its own network
//! namespaces.
//!
//! A test is a machine in its own namespace, connected to another one that plays the rest of the
//! world and responds at every address that it is given, public or not. Needs root, iproute2 and a
//! kernel with veth and nf_tables.
#![cfg(all(feature = "cli", feature = "host"))]
#![allow(clippy::expect_used, clippy::unwrap_used)] // A test of a machine: what cannot be set up fails it.

#[path = "../e2e/harness/mod.rs"]
#[allow(dead_code, unused_imports)] // These tests need a part of it.
mod harness;
mod names;
mod others;
mod reach;
mod scene;
mod sources;
