//! Does the real binary build over real sockets? Sources in, bundles out, and what clients see when
//! something goes wrong.
#![cfg(all(feature = "cli", feature = "host"))]
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod failures;
mod harness;
mod javascript;
mod memory;
mod private;
mod program;
mod projects;
mod published;
mod race;
mod siege;
mod sources;
mod streams;
