//! Writes the statement key of an accepted bundle (`--public-key-out`), for tools that take a key
//! and cannot read the report.
//!
//! * In: the statement, the verdict, and a path.
//! * Out: a file with the key, PEM.
//! * Never: a key of a bundle that was not accepted.

use std::path::{Path, PathBuf};
use std::{fs, io};

use der::pem::{self, LineEnding};
use kettle::bundle::read::{Bundle, ReadError};
use kettle::dsse::PublicKey;
use kettle::verifier::{AttestationResult, Rejection, statement_key};

/// The label of a SubjectPublicKeyInfo in PEM (RFC 7468, section 13).
const LABEL: &str = "PUBLIC KEY";

/// The reason why there is no key of an accepted bundle. The texts document the variants.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum PublicKeyError {
    #[error("the bundle is accepted, but there is no key for --public-key-out")]
    NoKey(#[source] Rejection),
    #[error("the key cannot be written as PEM")]
    Pem(#[source] der::Error),
    #[error("{path} cannot be written")]
    Write { path: PathBuf, source: io::Error },
}

/// The key that a bundle's statement names, before the bundle is appraised.
pub struct UntrustedKey(Result<PublicKey, Rejection>);

impl UntrustedKey {
    /// Reads the key from a bundle's statement; returns `None` for a bundle that could not be read.
    pub fn of(read: &Result<Bundle, ReadError>) -> Option<Self> {
        let bundle = read.as_ref().ok()?;
        Some(Self(statement_key(&bundle.provenance)))
    }

    /// Writes the key if the bundle is accepted.
    ///
    /// # Errors
    /// An accepted statement names no key, or the file cannot be written.
    pub fn write(self, path: &Path, result: &AttestationResult) -> Result<(), PublicKeyError> {
        if !result.is_accepted() {
            return Ok(());
        }
        let spki = self.0.map_err(PublicKeyError::NoKey)?.to_spki();
        let text = pem::encode_string(LABEL, LineEnding::LF, &spki)
            .map_err(|error| PublicKeyError::Pem(error.into()))?;
        fs::write(path, text).map_err(|source| PublicKeyError::Write {
            path: path.to_owned(),
            source,
        })
    }
}
