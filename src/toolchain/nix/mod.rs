//! The flakes that nix builds: what its files, answers and messages say, read by us. Never: a process.

// The driver that uses these comes after them.
#![allow(dead_code)]

mod base32;
mod collect;
mod json;
pub(super) mod key;
pub(super) mod ledger;
pub(super) mod lockfile;
mod nar;
mod progress;
mod store_path;
mod tree;
