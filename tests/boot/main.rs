//! Does the built image boot, build, and halt when it should? It runs under QEMU's software
//! emulation, from the files of the directory in `KETTLE_IMAGE`: `firmware.fd`, `kernel`, `initrd`,
//! `cmdline`, `root.img`. `scripts/test` runs these where both exist, and says so where not; by
//! hand: `KETTLE_IMAGE=… cargo test --test boot -- --ignored --test-threads 1`.

// `tls` speaks it with the library that the appliance has.
#![cfg(all(feature = "cli", feature = "host"))]
#![allow(clippy::expect_used, clippy::unwrap_used)] // A test of a machine: what cannot be read fails it.

mod acpi;
#[cfg(feature = "simulator")]
mod attestation;
#[cfg(feature = "simulator")]
#[path = "../e2e/harness/balancer.rs"]
mod balancer;
mod builds;
mod changing_disks;
mod client;
mod cloud_network;
mod crates;
mod debian_kernel;
mod devices;
mod dhcp_answers;
mod disks;
mod host_inputs;
mod hostile;
mod image;
mod kernel;
#[cfg(feature = "simulator")]
mod launched;
mod lying_network;
mod lying_servers;
mod machine;
mod monitor;
mod network;
#[cfg(feature = "simulator")]
mod nix;
mod orders;
mod packets;
#[cfg(feature = "simulator")]
mod pool;
mod power;
mod private;
mod served_disk;
mod shares;
mod silent_disks;
mod sources;
mod support;
mod tls;
mod uefi;
#[path = "../e2e/harness/unchecked.rs"]
mod unchecked;
mod wire;
