//! The fields of a submission, whichever way they came. Comes in: names and values. Goes out: [`Submitted`], a
//! submission that is valid but for its archive. Never: a check that waits longer than until its field is there.

use super::error::SubmissionError;
use super::field::Field;
use super::limits::{MAX_FIELD_BYTES, MAX_SOURCE_NAME_BYTES};
use crate::provenance::{MAX_NONCE_BYTES, Nonce, NonceSource};
use crate::source::{GitRef, RepositoryUrl};

/// A submission that is valid but for its archive.
#[derive(Debug, PartialEq, Eq)]
pub struct Submitted {
    /// What the report will be bound to.
    pub nonce: Nonce,
    /// Who chose it.
    pub nonce_source: NonceSource,
    /// What to build.
    pub source: SubmittedSource,
}

/// What to build.
#[derive(Debug, PartialEq, Eq)]
pub enum SubmittedSource {
    /// A repository.
    Repository {
        /// Where it is.
        url: RepositoryUrl,
        /// Which commit.
        reference: Option<GitRef>,
    },
    /// The archive that came along.
    Archive {
        /// Its file name.
        name: Option<String>,
    },
}

/// What to do when there is no nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WithoutNonce {
    Refuse,
    Draw,
}

/// The fields that are there so far.
#[derive(Debug, Default)]
pub(super) struct Fields {
    nonce: Option<Nonce>,
    url: Option<RepositoryUrl>,
    reference: Option<GitRef>,
    archive: bool,
    source_name: Option<String>,
}

impl Fields {
    /// Takes a field with its text; that of the archive is elsewhere.
    pub(super) fn set(&mut self, field: Field, text: &str) -> Result<(), SubmissionError> {
        check_length(field, text.len())?;
        match field {
            Field::Nonce => once(
                field,
                &mut self.nonce,
                Nonce::parse(text).map_err(SubmissionError::Nonce)?,
            ),
            Field::RepositoryUrl => once(
                field,
                &mut self.url,
                RepositoryUrl::parse(text).map_err(SubmissionError::RepositoryUrl)?,
            ),
            Field::Ref => once(
                field,
                &mut self.reference,
                GitRef::parse(text).map_err(SubmissionError::Ref)?,
            ),
            Field::SourceName => once(field, &mut self.source_name, source_name(text)?),
            Field::Archive if self.archive => Err(SubmissionError::FieldRepeated { field }),
            Field::Archive => {
                self.archive = true;
                Ok(())
            }
        }?;
        self.check_source()
    }

    /// Whether there is an archive.
    pub(super) fn has_archive(&self) -> bool {
        self.archive
    }

    /// The submission, when nothing more will come.
    pub(super) fn finish(self, without_nonce: WithoutNonce) -> Result<Submitted, SubmissionError> {
        let (nonce, nonce_source) = match (self.nonce, without_nonce) {
            (Some(nonce), _) => (nonce, NonceSource::Client),
            (None, WithoutNonce::Draw) => (draw_nonce()?, NonceSource::Appliance),
            (None, WithoutNonce::Refuse) => return Err(SubmissionError::NonceMissing),
        };
        let source = match (self.url, self.archive) {
            (Some(_), true) => Err(SubmissionError::SourceAmbiguous),
            (Some(_), false) if self.source_name.is_some() => {
                Err(SubmissionError::SourceNameWithoutArchive)
            }
            (Some(url), false) => Ok(SubmittedSource::Repository {
                url,
                reference: self.reference,
            }),
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
        })
    }

    /// What no further field can mend.
    fn check_source(&self) -> Result<(), SubmissionError> {
        match (self.archive, &self.url, &self.reference) {
            (true, Some(_), _) => Err(SubmissionError::SourceAmbiguous),
            (true, None, Some(_)) => Err(SubmissionError::RefWithoutRepository),
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

fn once<T>(field: Field, slot: &mut Option<T>, value: T) -> Result<(), SubmissionError> {
    match slot.replace(value) {
        Some(_) => Err(SubmissionError::FieldRepeated { field }),
        None => Ok(()),
    }
}

fn source_name(text: &str) -> Result<String, SubmissionError> {
    if text.chars().any(char::is_control) {
        Err(SubmissionError::SourceName)
    } else {
        Ok(text.to_owned())
    }
}

fn draw_nonce() -> Result<Nonce, SubmissionError> {
    let mut bytes = [0; MAX_NONCE_BYTES];
    getrandom::getrandom(&mut bytes).map_err(|error| SubmissionError::Random(error.into()))?;
    Ok(Nonce::from_random(bytes))
}
