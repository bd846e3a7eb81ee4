//! Does the firmware start only the measured kernel, and does it take from the host only inputs
//! that are on the list?
//!
//! `host_bytes` needs a C compiler only. The others need QEMU and the directory of a built image,
//! in `KETTLE_IMAGE`: `KETTLE_IMAGE=… cargo test --test firmware -- --ignored`.

#![allow(clippy::expect_used, clippy::unwrap_used)] // A test of a machine: what cannot be read fails it.

mod contents;
mod host_bytes;
mod host_inputs;
mod launch;
mod payload;
mod protection;
mod rom;
