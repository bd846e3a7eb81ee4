//! Why a submission is refused. Goes out: a status, a stable code, a sentence for the caller, a cause for the log. Never:
//! a path or a cause of ours in the sentence, or more than a few words of what the caller wrote.

use std::error::Error;
use std::io;
use std::time::Duration;

use super::field::Field;
use crate::provenance::ParseNonceError;
use crate::source::archive::ArchiveError;
use crate::source::repository::{ParseRefError, ParseUrlError};

/// Longest piece of the caller's own text that a refusal repeats, in characters.
const MAX_QUOTED_CHARS: usize = 80;

/// What the caller reads about a fault of ours.
const FAULT: &str = "the appliance could not take the upload in; the cause is in its log";

/// Why a submission is refused. `Display` is the detail for the caller; the cause of a fault of ours is in `source()`
/// alone.
#[derive(Debug, thiserror::Error)]
pub enum SubmissionError {
    /// No Content-Type, or several.
    #[error("one Content-Type is needed: application/json or multipart/form-data")]
    ContentTypeMissing,
    /// Another Content-Type.
    #[error("Content-Type {} is not accepted: application/json or multipart/form-data is", quoted(.given))]
    ContentTypeUnsupported {
        /// The header's value.
        given: String,
    },
    /// The body is said to be compressed.
    #[error("Content-Encoding {} is not accepted", quoted(.given))]
    ContentEncodingUnsupported {
        /// The header's value.
        given: String,
    },
    /// Neither a length nor chunks.
    #[error("a Content-Length, or Transfer-Encoding: chunked, is needed")]
    LengthMissing,
    /// The body is, or says that it will be, too long.
    #[error("the body is longer than {limit} bytes")]
    BodyTooLarge {
        /// Bytes that are accepted.
        limit: u64,
        /// Bytes that were announced, or had come when it was refused.
        size: u64,
    },
    /// The archive is too long.
    #[error("the archive is longer than {limit} bytes")]
    ArchiveTooLarge {
        /// Bytes that are accepted.
        limit: u64,
    },
    /// The JSON document without `source_data` is too long.
    #[error("the JSON document without source_data is longer than {limit} bytes")]
    FieldsTooLarge {
        /// Bytes that are accepted.
        limit: usize,
    },
    /// A field is too long.
    #[error("{field} is longer than {limit} bytes")]
    FieldTooLarge {
        /// Which.
        field: Field,
        /// Bytes that are accepted.
        limit: usize,
    },
    /// Nothing of the body came for too long.
    #[error("nothing of the body came for {} s", .limit.as_secs())]
    BodyStalled {
        /// How long we waited.
        limit: Duration,
    },
    /// The body took too long in all.
    #[error("the body did not arrive within {} s", .limit.as_secs())]
    UploadTooSlow {
        /// How long we waited.
        limit: Duration,
    },
    /// The connection broke, or the chunks are malformed.
    #[error("the body ended early or is not framed as it says")]
    BodyBroken {
        /// What the connection says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The body is no JSON object.
    #[error("the body is not a JSON object: {}", .reason)]
    Json {
        /// What the parser says.
        reason: String,
    },
    /// The body is no form.
    #[error("the form is malformed: {0}")]
    Form(#[from] FormError),
    /// A field that we do not know.
    #[error("the field {} is unknown", quoted(.name))]
    UnknownField {
        /// Its name.
        name: String,
    },
    /// A field is there twice, perhaps under two names.
    #[error("{field} is given more than once")]
    FieldRepeated {
        /// Which.
        field: Field,
    },
    /// A field is no string.
    #[error("{field} is {actual}, not a string")]
    FieldType {
        /// Which.
        field: Field,
        /// What it is.
        actual: &'static str,
    },
    /// A part of a form is no text.
    #[error("{field} is not UTF-8")]
    FieldNotUtf8 {
        /// Which.
        field: Field,
    },
    /// A form carries `source_data`.
    #[error("source_data belongs to JSON; a form carries the archive in the file part source")]
    SourceDataInForm,
    /// There has to be a nonce and is none.
    #[error("a nonce is needed")]
    NonceMissing,
    /// The nonce is none.
    #[error("{0}")]
    Nonce(ParseNonceError),
    /// The URL is refused.
    #[error("{0}")]
    RepositoryUrl(ParseUrlError),
    /// The ref is refused.
    #[error("{0}")]
    Ref(ParseRefError),
    /// Neither repository nor archive.
    #[error("either a repository or an archive is needed")]
    SourceMissing,
    /// Both.
    #[error("a repository and an archive are given; one of them is needed")]
    SourceAmbiguous,
    /// A ref, and no repository.
    #[error("a ref is given without a repository")]
    RefWithoutRepository,
    /// A file name, and no file.
    #[error("source_name is given without source_data")]
    SourceNameWithoutArchive,
    /// The file name has control characters.
    #[error("the archive's file name has a control character")]
    SourceName,
    /// `source_data` is no base64.
    #[error("source_data is not base64 of the standard alphabet, padded and without white space")]
    SourceData,
    /// The archive is refused, or could not be unpacked.
    #[error("{}", archive_detail(.0))]
    Archive(#[source] ArchiveError),
    /// The archive has nothing that says how to build it.
    #[error("the archive has neither a Cargo.lock nor a flake.lock in its top folder")]
    LockfileMissing,
    /// What was unpacked is not what had come.
    #[error("{FAULT}")]
    ArchiveChanged,
    /// A file or folder of ours fails.
    #[error("{FAULT}")]
    Io(#[from] io::Error),
    /// There are no random bytes.
    #[error("{FAULT}")]
    Random(#[source] io::Error),
    /// The work was ended before it was done.
    #[error("{FAULT}")]
    Interrupted(#[source] Box<dyn Error + Send + Sync>),
}

/// What is wrong with a form's structure (RFC 2046, section 5.1; RFC 7578).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// The Content-Type has no usable boundary.
    #[error(
        "the Content-Type has no boundary of 1 to {} characters",
        super::limits::MAX_BOUNDARY_BYTES
    )]
    Boundary,
    /// It ends before a final boundary.
    #[error("the final boundary is missing (lines end in CR LF)")]
    FinalBoundary,
    /// Something stands behind a boundary, on its line.
    #[error("a boundary is followed by something else than the end of its line")]
    AfterBoundary,
    /// A part's header lines cannot be read.
    #[error("the header of a part cannot be read")]
    Header,
    /// A part has no single `Content-Disposition: form-data` with a name.
    #[error("a part has no single Content-Disposition: form-data with one name")]
    Disposition,
    /// A part is encoded.
    #[error("a part has a Content-Transfer-Encoding")]
    TransferEncoding,
    /// There are too many parts.
    #[error("there are more than {limit} parts")]
    Parts {
        /// How many are accepted.
        limit: usize,
    },
    /// A part's header has too many fields.
    #[error("the header of a part has more than {limit} fields")]
    Headers {
        /// How many are accepted.
        limit: usize,
    },
    /// A part's header is too long.
    #[error("the header of a part is longer than {limit} bytes")]
    HeaderTooLarge {
        /// Bytes that are accepted.
        limit: usize,
    },
    /// There is too much that belongs to no part.
    #[error("there are more than {limit} bytes outside of parts")]
    Outside {
        /// Bytes that are accepted.
        limit: usize,
    },
}

impl FormError {
    /// Whether the form is well-formed as far as it was read, and too large.
    fn is_limit(&self) -> bool {
        matches!(
            self,
            Self::Parts { .. }
                | Self::Headers { .. }
                | Self::HeaderTooLarge { .. }
                | Self::Outside { .. }
        )
    }
}

impl SubmissionError {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::LengthMissing => 411,
            Self::BodyStalled { .. } | Self::UploadTooSlow { .. } => 408,
            Self::BodyTooLarge { .. }
            | Self::ArchiveTooLarge { .. }
            | Self::FieldsTooLarge { .. }
            | Self::FieldTooLarge { .. } => 413,
            Self::Form(error) if error.is_limit() => 413,
            Self::ContentTypeMissing
            | Self::ContentTypeUnsupported { .. }
            | Self::ContentEncodingUnsupported { .. } => 415,
            Self::LockfileMissing => 422,
            Self::ArchiveChanged | Self::Io(_) | Self::Random(_) | Self::Interrupted(_) => 500,
            Self::Archive(error) if error.is_fault() => 500,
            _ => 400,
        }
    }

    /// The stable code, in kebab-case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ContentTypeMissing => "content-type-missing",
            Self::ContentTypeUnsupported { .. } => "content-type-unsupported",
            Self::ContentEncodingUnsupported { .. } => "content-encoding-unsupported",
            Self::LengthMissing => "length-missing",
            Self::BodyTooLarge { .. } => "body-too-large",
            Self::ArchiveTooLarge { .. } => "archive-too-large",
            Self::FieldsTooLarge { .. } => "fields-too-large",
            Self::FieldTooLarge { .. } => "field-too-large",
            Self::BodyStalled { .. } => "body-stalled",
            Self::UploadTooSlow { .. } => "upload-too-slow",
            Self::BodyBroken { .. } => "body-broken",
            Self::Json { .. } => "json-malformed",
            Self::Form(error) if error.is_limit() => "form-too-large",
            Self::Form(_) => "form-malformed",
            Self::UnknownField { .. } => "unknown-field",
            Self::FieldRepeated { .. } => "field-repeated",
            Self::FieldType { .. } | Self::FieldNotUtf8 { .. } => "field-invalid",
            Self::SourceDataInForm => "source-data-in-form",
            Self::NonceMissing => "nonce-missing",
            Self::Nonce(_) => "nonce-invalid",
            Self::RepositoryUrl(_) => "repository-url-invalid",
            Self::Ref(_) => "ref-invalid",
            Self::SourceMissing => "source-missing",
            Self::SourceAmbiguous => "source-ambiguous",
            Self::RefWithoutRepository => "ref-without-repository",
            Self::SourceNameWithoutArchive => "source-name-without-archive",
            Self::SourceName => "source-name-invalid",
            Self::SourceData => "source-data-invalid",
            Self::Archive(error) if error.is_fault() => "internal",
            Self::Archive(_) => "archive-refused",
            Self::LockfileMissing => "lockfile-missing",
            Self::ArchiveChanged | Self::Io(_) | Self::Random(_) | Self::Interrupted(_) => {
                "internal"
            }
        }
    }

    /// The body is no JSON object, in the words of the parser and without its position, which is not the caller's.
    pub(super) fn json(error: &serde_json::Error) -> Self {
        let text = error.to_string();
        let reason = text
            .split(" at line ")
            .next()
            .unwrap_or_default()
            .chars()
            .take(MAX_QUOTED_CHARS)
            .collect();
        Self::Json { reason }
    }
}

fn archive_detail(error: &ArchiveError) -> String {
    if error.is_fault() {
        FAULT.to_owned()
    } else {
        error.to_string()
    }
}

/// A piece of the caller's text, cut and without control characters.
fn quoted(text: &str) -> String {
    format!(
        "{:?}",
        text.chars().take(MAX_QUOTED_CHARS).collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_ours_says_its_cause_to_the_log_alone() {
        let cause = || io::Error::other("/kettle/work/uploads/1: disk on fire");
        for error in [
            SubmissionError::Io(cause()),
            SubmissionError::Random(cause()),
            SubmissionError::Interrupted(cause().into()),
            SubmissionError::Archive(ArchiveError::Io {
                action: "read",
                source: cause(),
            }),
        ] {
            assert_eq!(
                (error.status(), error.code(), error.to_string().as_str()),
                (500, "internal", FAULT)
            );
            assert!(error.source().is_some(), "{error:?}");
        }
    }

    #[test]
    fn repeats_only_a_little_of_what_the_caller_wrote() {
        let name = "\u{1b}[31m".repeat(1000);
        let detail = SubmissionError::UnknownField { name }.to_string();
        assert!(
            detail.len() < 500 && !detail.contains(char::is_control),
            "{detail}"
        );
        let error =
            serde_json::from_str::<Vec<u8>>(&format!("\"{}\"", "x".repeat(1000))).unwrap_err();
        assert!(SubmissionError::json(&error).to_string().len() < 200);
    }
}
