//! How does the API respond? Over real sockets, with stand-ins for the reader of submissions and
//! for the pipeline.

#![cfg(feature = "host")]
// The lint knows tests by their attribute; these are also the tests' own helpers.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod callers;
mod connections;
mod contract;
mod downloads;
mod events;
mod fire;
mod forms;
mod patience;
mod plaintext;
mod repeated;
mod submission;
mod support;
mod tls;
