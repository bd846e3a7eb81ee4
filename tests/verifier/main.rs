//! Does the verifier accept a good bundle, and reject everything that breaks one rule of it?
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod alone;
mod azure;
mod bill;
mod command;
mod conformance;
mod corners;
mod fetch;
mod flips;
mod hierarchy;
mod order;
mod rejections;
mod scene;
mod session;
mod signed;
mod summary;
