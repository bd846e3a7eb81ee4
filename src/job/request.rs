//! What a client asked for, after everything that can be checked before a build has been checked.

use crate::provenance::{Nonce, NonceSource};
use crate::source::{GitRef, RepositoryUrl, SourceTree};

/// A complete and valid submission.
#[derive(Debug)]
pub struct Request {
    /// What the report will be bound to.
    pub nonce: Nonce,
    /// Who chose it.
    pub nonce_source: NonceSource,
    /// What to build.
    pub source: SourceRequest,
}

/// What to build.
#[derive(Debug)]
pub enum SourceRequest {
    /// To be fetched once the job has the slot.
    Repository {
        /// `https://` or `http://`.
        url: RepositoryUrl,
        /// Without it the remote's default branch.
        reference: Option<GitRef>,
    },
    /// An archive that was unpacked and has a lockfile.
    Archive(SourceTree),
}
