//! Shared by the tests: a service, a client, sources and bundles.

mod bundle;
mod http;
mod networks;
mod server;
mod sources;

pub use bundle::{Bundle, sha256};
pub use http::{Events, Request, Response};
pub use server::Server;
pub use sources::{StaticServer, crate_file, git, git_repository, package, tar_of};

/// The client's nonce in all tests.
pub const NONCE: &str = "00112233445566778899aabbccddeeff";
