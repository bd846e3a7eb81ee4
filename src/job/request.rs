//! Describes what a client requested.
//!
//! * In: a submission, after everything that can be checked before a build has been checked.
//! * Out: a [`Request`], which the slot and the pipeline take.
//! * Never: a request from anywhere else than the room that receives submissions.

use crate::provenance::{Nonce, NonceSource};
use crate::source::{GitRef, RepositoryToken, RepositoryUrl, SourceTree};
use crate::toolchain::Options;

/// A complete and valid submission: the receipt of `api::submission::receive`, its only
/// constructor.
///
/// Every holder may read it, and pass on its source once:
///
/// ```
/// fn source_of(request: kettle::job::Request) -> kettle::job::SourceRequest {
///     println!("{}, chosen by {:?}", request.nonce(), request.nonce_source());
///     request.into_source()
/// }
/// ```
///
/// Nobody else can construct one, from whatever parts:
///
/// ```compile_fail,E0451
/// use kettle::job::Request;
///
/// let request = Request {
///     nonce: todo!(),
///     nonce_source: todo!(),
///     source: todo!(),
///     options: todo!(),
/// };
/// ```
///
/// ```compile_fail,E0624
/// use kettle::job::{Request, SourceRequest};
/// use kettle::provenance::{Nonce, NonceSource};
///
/// fn request(nonce: Nonce, source: SourceRequest) {
///     let request = Request::new(nonce, NonceSource::Client, source, Default::default());
/// }
/// ```
#[derive(Debug)]
pub struct Request {
    nonce: Nonce,
    nonce_source: NonceSource,
    source: SourceRequest,
    options: Options,
}

impl Request {
    /// Constructs a request, only for the room that received the submission, when nothing of it is
    /// left to check. `tests/imports.rs` lists the callers.
    pub(crate) fn new(
        nonce: Nonce,
        nonce_source: NonceSource,
        source: SourceRequest,
        options: Options,
    ) -> Self {
        Self {
            nonce,
            nonce_source,
            source,
            options,
        }
    }

    /// Constructs a request that nobody sent, for tests of later stages.
    #[cfg(any(test, feature = "host"))]
    #[doc(hidden)]
    pub fn test_only_new(nonce: Nonce, nonce_source: NonceSource, source: SourceRequest) -> Self {
        Self::new(nonce, nonce_source, source, Options::default())
    }

    /// Returns the nonce that the attestation report will be bound to.
    pub fn nonce(&self) -> &Nonce {
        &self.nonce
    }

    /// Returns who chose the nonce.
    pub fn nonce_source(&self) -> NonceSource {
        self.nonce_source
    }

    /// Returns the source to build.
    pub fn source(&self) -> &SourceRequest {
        &self.source
    }

    /// Returns the options that the client chose for the build.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Passes on the source to build: a request is built once.
    pub fn into_source(self) -> SourceRequest {
        self.source
    }
}

impl SourceRequest {
    /// Returns whether the client gave a token for the repository.
    pub fn has_token(&self) -> bool {
        matches!(self, Self::Repository { token: Some(_), .. })
    }
}

/// The source that a job builds.
#[derive(Debug)]
pub enum SourceRequest {
    /// A repository, which is fetched once the job has the slot.
    Repository {
        /// The URL, with `https://` or `http://`.
        url: RepositoryUrl,
        /// The ref; without it, the remote's default branch is built.
        reference: Option<GitRef>,
        /// The token for the repository's server, if it needs one.
        token: Option<RepositoryToken>,
    },
    /// An archive that was unpacked and has a lockfile.
    Archive(SourceTree),
}
