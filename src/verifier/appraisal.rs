//! Whether a verified report and a statement are about what the reader expects.
//!
//! * In: both, and the reader's expectations.
//! * Out: nothing, or the first difference.
//! * Never: a padded nonce taken for a shorter one.

use crate::bundle::read::Bundle;
use crate::digest::Sha256Digest;
use crate::provenance::{Nonce, SESSION_TAG, report_data, session_report_data};

use super::azure::{self, AzureRejection, ExtraDataError, MAX_EXTRA_DATA_BYTES, VerifiedQuote};
use super::chosen::ExpectedOption;
use super::expectations::{Expectations, RepositoryName};
use super::rejection::Rejection;
use super::signature::VerifiedReport;
use super::statement::Statement;

/// The first bytes of a build's report data, which its quote contains. The others are zero, and do
/// not fit into a quote.
const QUOTED_BYTES: usize = 48;
const _: () = assert!(QUOTED_BYTES <= MAX_EXTRA_DATA_BYTES);

/// The report data (64 bytes) of verified evidence, split into its parts.
pub struct SignedData {
    bytes: [u8; 64],
    subject: Sha256Digest,
    nonce: [u8; 16],
    tag: [u8; 16],
}

impl SignedData {
    /// Splits the report data of a verified report.
    pub fn of_report(report: VerifiedReport<'_>) -> Self {
        Self::of(report.report_data())
    }

    /// Builds the report data that a verified quote about a build stands for: its first bytes are
    /// the quote's, and the others are zero.
    ///
    /// # Errors
    /// The quote is about another number of bytes, or about a digest as another attested builder
    /// signs it.
    pub fn of_quoted_build(quote: &VerifiedQuote, provenance: &[u8]) -> Result<Self, Rejection> {
        let extra_data = quote.extra_data();
        let rewritten = azure::rewritten_digest(provenance);
        if let Some(digest) = rewritten.filter(|digest| extra_data == digest.as_bytes()) {
            let (expected, actual) = (Sha256Digest::of(provenance).to_string(), digest.to_string());
            return Err(AzureRejection::OtherBuilder { expected, actual }.into());
        }
        if extra_data.len() != QUOTED_BYTES {
            let (expected, actual) = (QUOTED_BYTES, extra_data.len());
            return Err(AzureRejection::ExtraDataLength { expected, actual }.into());
        }
        let mut bytes = [0; 64];
        bytes[..QUOTED_BYTES].copy_from_slice(extra_data);
        Ok(Self::of(bytes))
    }

    fn of(bytes: [u8; 64]) -> Self {
        let part = |start: usize| std::array::from_fn(|index| bytes[start + index]);
        let subject = Sha256Digest::from_bytes(std::array::from_fn(|index| bytes[index]));
        Self {
            bytes,
            subject,
            nonce: part(32),
            tag: part(48),
        }
    }

    fn tag_error(&self, expected: [u8; 16]) -> Rejection {
        Rejection::ReportDataTag {
            expected: hex::encode(expected),
            actual: hex::encode(self.tag),
        }
    }
}

/// Appraises the report data of a build: the digest of these bytes of provenance.json, the nonce in
/// them, zeros.
///
/// # Errors
/// The first part that differs.
pub fn appraise_report_data(
    actual: &SignedData,
    provenance: &[u8],
    nonce: Option<&Nonce>,
) -> Result<(), Rejection> {
    let subject = Sha256Digest::of(provenance);
    if actual.subject != subject {
        return Err(Rejection::ProvenanceDigest {
            expected: subject,
            actual: actual.subject,
        });
    }
    match nonce {
        Some(nonce) if report_data(provenance, nonce) == actual.bytes => Ok(()),
        _ if actual.tag != [0; 16] => Err(actual.tag_error([0; 16])),
        _ => Err(Rejection::ReportDataNonce {
            provenance: nonce.cloned(),
            report: hex::encode(actual.nonce),
        }),
    }
}

/// Appraises a quote about a session: SHA-256 of the report data that the session has on the
/// platform `snp`.
///
/// # Errors
/// It is about another number of bytes, or about another key or nonce: it has one digest of both.
pub fn appraise_quoted_session(
    quote: &VerifiedQuote,
    public_key: &[u8],
    nonce: &Nonce,
) -> Result<(), Rejection> {
    let expected = Sha256Digest::of(&session_report_data(public_key, nonce));
    let found = azure::appraise_extra_data(quote.extra_data(), expected.as_bytes());
    found.map_err(|error| match error {
        ExtraDataError::Length { expected, actual } => {
            AzureRejection::ExtraDataLength { expected, actual }.into()
        }
        ExtraDataError::Bytes { actual, .. } => {
            AzureRejection::SessionDigest { expected, actual }.into()
        }
    })
}

/// Appraises the report data of a session: the digest of this TLS key, the nonce, the tag.
///
/// # Errors
/// The first part that differs.
pub fn appraise_session_data(
    actual: &SignedData,
    public_key: &[u8],
    nonce: &Nonce,
) -> Result<(), Rejection> {
    let expected = Sha256Digest::of(public_key);
    if actual.subject != expected {
        return Err(Rejection::SessionKey {
            expected,
            actual: actual.subject,
        });
    }
    if session_report_data(public_key, nonce) == actual.bytes {
        return Ok(());
    }
    if actual.tag != *SESSION_TAG {
        return Err(actual.tag_error(*SESSION_TAG));
    }
    appraise_nonce(actual, nonce)
}

/// Appraises the nonce that the reader chose against the report.
///
/// # Errors
/// The report has another one.
pub fn appraise_nonce(actual: &SignedData, expected: &Nonce) -> Result<(), Rejection> {
    if actual.nonce == expected.padded() {
        return Ok(());
    }
    Err(Rejection::NonceNotInReport {
        expected: expected.clone(),
        actual: hex::encode(actual.nonce),
    })
}

/// Appraises the nonce that the reader chose against provenance.json, which has it with its length.
///
/// # Errors
/// The statement has another one, or none.
pub fn appraise_stated_nonce(
    statement: Option<&Statement<'_>>,
    expected: &Nonce,
) -> Result<(), Rejection> {
    let actual = statement.and_then(Statement::nonce);
    if actual.as_ref() == Some(expected) {
        return Ok(());
    }
    Err(Rejection::NonceNotInProvenance {
        expected: expected.clone(),
        actual,
    })
}

/// Returns whether the reader expects anything about the source, the options or the artifacts.
pub fn asks(expectations: &Expectations) -> bool {
    expectations.repository.is_some()
        || expectations.reference.is_some()
        || expectations.commit.is_some()
        || expectations.source_archive.is_some()
        || expectations.source_tree.is_some()
        || !expectations.artifacts.is_empty()
        || !expectations.options.is_empty()
        || expectations.no_other_options
}

/// Appraises source, options and artifacts.
///
/// # Errors
/// The first of them that is not as the reader expects.
pub fn appraise_expectations(
    statement: &Statement<'_>,
    expectations: &Expectations,
) -> Result<(), Rejection> {
    appraise_repository(statement, expectations)?;
    appraise_commit(statement, expectations)?;
    appraise_source_bytes(statement, expectations)?;
    appraise_options(statement, expectations)?;
    appraise_artifacts(statement, expectations)
}

fn appraise_repository(
    statement: &Statement<'_>,
    expectations: &Expectations,
) -> Result<(), Rejection> {
    let Some(expected) = &expectations.repository else {
        return Ok(());
    };
    let actual = statement.repository();
    if actual.map(RepositoryName::of) == Some(RepositoryName::of(expected)) {
        return Ok(());
    }
    Err(Rejection::Repository {
        expected: expected.clone(),
        actual: actual.map(str::to_owned),
    })
}

/// Compares the ref that was requested, and the commit that was built.
fn appraise_commit(
    statement: &Statement<'_>,
    expectations: &Expectations,
) -> Result<(), Rejection> {
    let reference = statement.reference();
    if let Some(expected) = &expectations.reference
        && reference != Some(expected)
    {
        return Err(Rejection::Reference {
            expected: expected.clone(),
            actual: reference.map(str::to_owned),
        });
    }
    let commit = statement.commit();
    if let Some(expected) = expectations.commit.map(|commit| commit.to_string())
        && commit != Some(&expected)
    {
        return Err(Rejection::Commit {
            expected,
            actual: commit.map(str::to_owned),
        });
    }
    Ok(())
}

/// Appraises that each of the reader's own files is a subject.
fn appraise_artifacts(
    statement: &Statement<'_>,
    expectations: &Expectations,
) -> Result<(), Rejection> {
    let subjects = statement.sorted_subjects();
    let digests: Vec<_> = subjects.iter().map(|subject| subject.sha256()).collect();
    for artifact in &expectations.artifacts {
        if !digests.contains(&Some(artifact.sha256)) {
            return Err(Rejection::Artifact {
                file: artifact.file.clone(),
                sha256: artifact.sha256,
            });
        }
    }
    Ok(())
}

/// Compares what was built with the bytes that the reader sent.
fn appraise_source_bytes(
    statement: &Statement<'_>,
    expectations: &Expectations,
) -> Result<(), Rejection> {
    let actual = statement.archive();
    if let Some(expected) = expectations.source_archive
        && actual != Some(&expected.to_string())
    {
        let actual = actual.map(str::to_owned);
        return Err(Rejection::SourceArchive { expected, actual });
    }
    let actual = statement.source_tree();
    if let Some(expected) = expectations.source_tree
        && actual != Some(&expected.to_string())
    {
        return Err(Rejection::SourceTree {
            expected,
            actual: actual.map(str::to_owned),
        });
    }
    Ok(())
}

fn appraise_options(
    statement: &Statement<'_>,
    expectations: &Expectations,
) -> Result<(), Rejection> {
    for ExpectedOption { name, value } in &expectations.options {
        let actual = statement.options().value(name);
        if actual != Some(value) {
            let (expected, actual) = (value.clone(), actual.map(str::to_owned));
            return Err(Rejection::OptionMismatch {
                name,
                expected,
                actual,
            });
        }
    }
    match unexpected_options(statement, expectations).next() {
        Some((name, actual)) if expectations.no_other_options => Err(Rejection::OptionUnexpected {
            name,
            actual: actual.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Returns the options of the statement that the reader did not expect.
pub fn unexpected_options<'s>(
    statement: &'s Statement<'_>,
    expectations: &Expectations,
) -> impl Iterator<Item = (&'static str, &'s str)> {
    let is_expected = |name: &str| {
        expectations
            .options
            .iter()
            .any(|option| option.name == name)
    };
    statement
        .options()
        .options()
        .filter(move |(name, _)| !is_expected(name))
}

/// Returns the bytes of `evidence.json`.
///
/// # Errors
/// The bundle has no evidence.
pub fn evidence(bundle: &Bundle) -> Result<&[u8], Rejection> {
    bundle.evidence.as_deref().ok_or(Rejection::EvidenceMissing)
}
