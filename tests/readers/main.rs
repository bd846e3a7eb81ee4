//! Do all programs unpack from an accepted bundle what the verifier read, and is everything else
//! rejected?
//!
//! A corpus of archives is made here by code that shares nothing with the writer: some are bundles
//! that a secure processor of this test run signed, with many kinds of names, sizes and modes; most
//! are one of these with a single thing changed. The verifier has to accept the former, and to
//! reject the latter for a reason that is asserted. Then other programs unpack both: accepted
//! archives have to result in the same names, types, modes and bytes, and it is counted how many of
//! the others they misread, and how many they read differently.
//!
//! The programs are not part of a usual machine, so that test is ignored by default: `scripts/test`
//! runs it with those that can be installed, and lists the others. `KETTLE_READERS` names some of
//! them, with blanks between; without it all are run.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod archive;
mod encodings;
#[allow(dead_code)] // The verifier's tests use all of it.
#[path = "../verifier/hierarchy.rs"]
mod hierarchy;
mod programs;
#[allow(dead_code)] // The verifier's tests use all of it.
#[path = "../verifier/scene.rs"]
mod scene;
mod signed;
mod unpacked;
