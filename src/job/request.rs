//! What a client asked for, after everything that can be checked before a build has been checked.

use crate::provenance::{Nonce, NonceSource};
use crate::source::{GitRef, RepositoryUrl, SourceTree};
use crate::toolchain::Options;

/// A complete and valid submission: the receipt of `api::submission::receive`, which alone makes one.
///
/// Whoever has one may read it, and hand it on once:
///
/// ```
/// fn source_of(request: kettle::job::Request) -> kettle::job::SourceRequest {
///     println!("{}, chosen by {:?}", request.nonce(), request.nonce_source());
///     request.into_source()
/// }
/// ```
///
/// Nobody else can make one, from whatever parts:
///
/// ```compile_fail,E0451
/// use kettle::job::Request;
///
/// let request = Request { nonce: todo!(), nonce_source: todo!(), source: todo!(), options: todo!() };
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
    /// Only for the room that received the submission, when nothing of it is left to check: `tests/imports.rs`.
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

    /// For tests of later stages: a request that nobody sent.
    #[cfg(any(test, feature = "host"))]
    #[doc(hidden)]
    pub fn test_only_new(nonce: Nonce, nonce_source: NonceSource, source: SourceRequest) -> Self {
        Self::new(nonce, nonce_source, source, Options::default())
    }

    /// Returns what the report will be bound to.
    pub fn nonce(&self) -> &Nonce {
        &self.nonce
    }

    /// Returns who chose the nonce.
    pub fn nonce_source(&self) -> NonceSource {
        self.nonce_source
    }

    /// Returns what to build.
    pub fn source(&self) -> &SourceRequest {
        &self.source
    }

    /// Returns how to build it, as far as the client chose that.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Hands on what to build: a request is built once.
    pub fn into_source(self) -> SourceRequest {
        self.source
    }
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
