//! Compares a repeated request with the one that a job was started with.
//!
//! * In: a valid request.
//! * Out: whether a later one asks for the same build.
//! * Never: a secret of the request: no comparison needs one.

use super::{Request, SourceRequest};
use crate::digest::Sha256Digest;
use crate::provenance::{Nonce, NonceSource};
use crate::source::{GitRef, Origin, RepositoryUrl};
use crate::toolchain::Options;

/// The source of a request: an archive by its digest, a repository by its URL and ref.
#[derive(Clone, Debug, PartialEq, Eq)]
enum SourceIdentity {
    Repository(RepositoryUrl, Option<GitRef>),
    Archive(Sha256Digest),
}

/// The values in which two requests have to be equal to be the same. The file name of an archive
/// is not among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestIdentity {
    nonce: Nonce,
    nonce_source: NonceSource,
    source: SourceIdentity,
    options: Options,
}

impl RequestIdentity {
    /// Returns the identity of `request`.
    pub fn of(request: &Request) -> Self {
        let source = match request.source() {
            // A token may have been renewed, and is no part of what is built.
            SourceRequest::Repository { url, reference, .. } => {
                SourceIdentity::Repository(url.clone(), reference.clone())
            }
            SourceRequest::Archive(tree) => match tree.origin() {
                Origin::Archive { sha256, .. } => SourceIdentity::Archive(*sha256),
                Origin::Repository { url, reference, .. } => {
                    SourceIdentity::Repository(url.clone(), reference.clone())
                }
            },
        };
        Self {
            nonce: request.nonce().clone(),
            nonce_source: request.nonce_source(),
            source,
            options: request.options().clone(),
        }
    }

    /// Returns the options that the client chose for the build.
    pub fn options(&self) -> &Options {
        &self.options
    }
}
