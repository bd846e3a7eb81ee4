//! Parts of the end-to-end tests: sources, and the reader of bundles.
#![allow(dead_code)] // Not all of it is needed here.

#[path = "../e2e/harness/bundle.rs"]
mod bundle;
#[path = "../e2e/harness/sources.rs"]
mod sources;

use std::path::Path;

pub use bundle::{Bundle, sha256};
pub use sources::{StaticServer, crate_file, git, git_repository, package, tar_of};

/// The client's nonce in all tests.
pub const NONCE: &str = "00112233445566778899aabbccddeeff";

/// Returns a project of `tests/projects` as an archive.
pub fn project(name: &str) -> Vec<u8> {
    tar_of(
        &Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/projects")
            .join(name),
    )
}
