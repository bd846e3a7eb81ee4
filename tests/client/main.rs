//! Does `kettle build` turn a source into files with one command, and does a machine that is not
//! verified get nothing of the source? The real command, against the real `kettle-init serve`
//! beside a simulated secure processor, through servers that record, lie and cut.
#![cfg(all(feature = "simulator", feature = "cli"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../e2e/harness/balancer.rs"]
mod balancer;
mod ci;
mod command;
mod cuts;
mod fake;
#[allow(dead_code, unused_imports)] // Shared with other tests, which need more of it.
#[path = "../e2e/harness/mod.rs"]
mod harness;
mod machines;
mod manifests;
mod middle;
mod names;
mod pool;
#[allow(dead_code)] // Shared with the tests that need more of it.
#[path = "../simulator/processors.rs"]
mod processors;
mod sources;
mod tunnel;
