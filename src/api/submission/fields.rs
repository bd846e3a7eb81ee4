//! Collects the fields of a submission, whichever format they came in.
//!
//! * In: names and values.
//! * Out: [`Submitted`], a submission that is valid except for its archive.
//! * Never: a check that waits longer than until its field has come.

use std::fmt;

use zeroize::Zeroizing;

use super::error::SubmissionError;
use super::field::Field;
use super::limits::{MAX_FIELD_BYTES, MAX_SOURCE_NAME_BYTES};
use super::options::{self, once};
use super::value::FieldValue;
use crate::provenance::{MAX_NONCE_BYTES, Nonce, NonceSource};
use crate::source::{GitRef, RepositoryToken, RepositoryUrl};
use crate::toolchain::Options;

/// A submission that is valid except for its archive.
#[derive(Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The nonce that the report will be bound to.
    pub nonce: Nonce,
    /// The party that chose the nonce.
    pub nonce_source: NonceSource,
    /// The source that will be built.
    pub source: SubmittedSource,
    /// The options that the client chose for the build.
    pub options: Options,
}

/// The source that a submission asks to build.
#[derive(Debug, PartialEq, Eq)]
pub enum SubmittedSource {
    /// A repository that will be fetched.
    Repository {
        /// The URL of the repository.
        url: RepositoryUrl,
        /// The ref whose commit is built; without it that of the default branch.
        reference: Option<GitRef>,
        /// The token for the repository's server.
        token: Option<RepositoryToken>,
    },
    /// The archive in the body of the request.
    Archive {
        /// The file name of the archive.
        name: Option<String>,
    },
}

/// What happens to a submission without a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WithoutNonce {
    /// The submission is refused.
    Refuse,
    /// The appliance draws the nonce.
    Draw,
}

/// The text of a token, until the URL that it is for is known.
struct TokenText(Zeroizing<String>);

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText")
    }
}

/// The fields that have come so far.
#[derive(Debug, Default)]
pub(super) struct Fields {
    nonce: Option<Nonce>,
    url: Option<RepositoryUrl>,
    reference: Option<GitRef>,
    token: Option<TokenText>,
    has_archive: bool,
    source_name: Option<String>,
    options: Options,
}

impl Fields {
    /// Takes a field with its value. For the archive, the value is empty: its bytes go to the
    /// spool.
    pub(super) fn set(&mut self, field: Field, value: FieldValue) -> Result<(), SubmissionError> {
        check_length(field, value.bytes())?;
        match (field, value) {
            (Field::Nonce, FieldValue::Text(text)) => {
                let nonce = Nonce::parse(&text).map_err(SubmissionError::Nonce)?;
                once(field, &mut self.nonce, nonce)
            }
            (Field::RepositoryUrl, FieldValue::Text(text)) => {
                let url = RepositoryUrl::parse(&text).map_err(SubmissionError::RepositoryUrl)?;
                once(field, &mut self.url, url)
            }
            (Field::Ref, FieldValue::Text(text)) => {
                let reference = GitRef::parse(&text).map_err(SubmissionError::Ref)?;
                once(field, &mut self.reference, reference)
            }
            (Field::Token, FieldValue::Text(text)) => {
                once(field, &mut self.token, TokenText(Zeroizing::new(text)))
            }
            (Field::SourceName, FieldValue::Text(text)) => {
                once(field, &mut self.source_name, source_name(text)?)
            }
            (Field::Archive, FieldValue::Text(_)) => self.begin_archive(),
            (field, value) => options::set(&mut self.options, field, value),
        }?;
        options::check(&self.options)?;
        self.check_source()
    }

    fn begin_archive(&mut self) -> Result<(), SubmissionError> {
        if std::mem::replace(&mut self.has_archive, true) {
            return Err(SubmissionError::FieldRepeated {
                field: Field::Archive,
            });
        }
        Ok(())
    }

    /// Returns whether there is an archive.
    pub(super) fn has_archive(&self) -> bool {
        self.has_archive
    }

    /// Returns the submission, when no further field will come.
    pub(super) fn finish(self, without_nonce: WithoutNonce) -> Result<Submitted, SubmissionError> {
        let (nonce, nonce_source) = match (self.nonce, without_nonce) {
            (Some(nonce), _) => (nonce, NonceSource::Client),
            (None, WithoutNonce::Draw) => (draw_nonce()?, NonceSource::Appliance),
            (None, WithoutNonce::Refuse) => return Err(SubmissionError::NonceMissing),
        };
        let source = match (self.url, self.has_archive) {
            (Some(_), true) => Err(SubmissionError::SourceAmbiguous),
            (Some(_), false) if self.source_name.is_some() => {
                Err(SubmissionError::SourceNameWithoutArchive)
            }
            (Some(url), false) => Ok(SubmittedSource::Repository {
                token: token(self.token, &url)?,
                url,
                reference: self.reference,
            }),
            (None, _) if self.token.is_some() => Err(SubmissionError::TokenWithoutRepository),
            (None, true) if self.reference.is_some() => Err(SubmissionError::RefWithoutRepository),
            (None, true) => Ok(SubmittedSource::Archive {
                name: self.source_name.filter(|name| !name.is_empty()),
            }),
            (None, false) => Err(SubmissionError::SourceMissing),
        }?;
        Ok(Submitted {
            nonce,
            nonce_source,
            source,
            options: self.options,
        })
    }

    /// Refuses fields that no further field can complete.
    fn check_source(&self) -> Result<(), SubmissionError> {
        match (self.has_archive, &self.url, &self.reference) {
            (true, Some(_), _) => Err(SubmissionError::SourceAmbiguous),
            (true, None, Some(_)) => Err(SubmissionError::RefWithoutRepository),
            (true, None, None) if self.token.is_some() => {
                Err(SubmissionError::TokenWithoutRepository)
            }
            _ => Ok(()),
        }
    }
}

/// Refuses a value of `field` that is longer than it may be.
pub(super) fn check_length(field: Field, bytes: usize) -> Result<(), SubmissionError> {
    let limit = if field == Field::SourceName {
        MAX_SOURCE_NAME_BYTES
    } else {
        MAX_FIELD_BYTES
    };
    if bytes > limit {
        Err(SubmissionError::FieldTooLarge { field, limit })
    } else {
        Ok(())
    }
}

fn token(
    text: Option<TokenText>,
    url: &RepositoryUrl,
) -> Result<Option<RepositoryToken>, SubmissionError> {
    let token = text.map(|TokenText(text)| RepositoryToken::new(&text, url));
    token.transpose().map_err(SubmissionError::Token)
}

fn source_name(text: String) -> Result<String, SubmissionError> {
    if text.contains(char::is_control) {
        Err(SubmissionError::SourceName)
    } else {
        Ok(text)
    }
}

fn draw_nonce() -> Result<Nonce, SubmissionError> {
    let mut bytes = [0; MAX_NONCE_BYTES];
    getrandom::getrandom(&mut bytes).map_err(|error| SubmissionError::Random(error.into()))?;
    Ok(Nonce::from_random(bytes))
}
