//! Lists the reasons to refuse a submission, with the status and the code of each.
//!
//! * In: the check that failed, with both sides of its comparison.
//! * Out: a status, a stable code, a sentence for the caller, and a cause for the log.
//! * Never: an internal path or cause in the sentence, or more than a few words of the caller's own
//!   text.

use std::error::Error;
use std::io;
use std::time::Duration;

use super::field::Field;
use crate::causes::Chain;
use crate::provenance::ParseNonceError;
use crate::source::archive::ArchiveError;
use crate::source::repository::{ParseRefError, ParseUrlError, TokenError};
use crate::source::{ParsePathError, PartError};
use crate::toolchain::options::OptionError;
use crate::toolchain::{DetectError, Kind};

/// The longest piece of the caller's own text that a refusal repeats, in characters.
const MAX_QUOTED_CHARS: usize = 80;

/// The message to the caller about an internal error.
const INTERNAL: &str = "the appliance could not take the upload in; the cause is in its log";

/// The reason to refuse a submission. `Display` is the detail for the caller; the cause of an
/// internal error is in `source()` alone.
#[derive(Debug, thiserror::Error)]
pub enum SubmissionError {
    /// There is no Content-Type, or there are several.
    #[error("one Content-Type is needed: application/json or multipart/form-data")]
    ContentTypeMissing,
    /// The Content-Type is not one of the two formats.
    #[error(
        "Content-Type {} is not accepted: application/json or multipart/form-data is",
        quoted(.given)
    )]
    ContentTypeUnsupported {
        /// The value that the header has.
        given: String,
    },
    /// The headers say that the body is compressed.
    #[error("Content-Encoding {} is not accepted", quoted(.given))]
    ContentEncodingUnsupported {
        /// The value that the header has.
        given: String,
    },
    /// There is neither a length nor a body in chunks.
    #[error("a Content-Length, or Transfer-Encoding: chunked, is needed")]
    LengthMissing,
    /// The body is too long, or is announced to be.
    #[error("the body is longer than {limit} bytes")]
    BodyTooLarge {
        /// The number of bytes that are accepted.
        limit: u64,
        /// The number of bytes that were announced, or that had come when it was refused.
        size: u64,
    },
    /// The archive is longer than its limit.
    #[error("the archive is longer than {limit} bytes")]
    ArchiveTooLarge {
        /// The number of bytes that are accepted.
        limit: u64,
    },
    /// The JSON document without `source_data` is too long.
    #[error("the JSON document without source_data is longer than {limit} bytes")]
    FieldsTooLarge {
        /// The number of bytes that are accepted.
        limit: usize,
    },
    /// A field is longer than its limit.
    #[error("{field} is longer than {limit} bytes")]
    FieldTooLarge {
        /// The field that the refusal is about.
        field: Field,
        /// The number of bytes that are accepted.
        limit: usize,
    },
    /// No byte of the body came for too long.
    #[error("nothing of the body came for {} s", .limit.as_secs())]
    BodyStalled {
        /// The time that the appliance waited.
        limit: Duration,
    },
    /// The whole body took too long.
    #[error("the body did not arrive within {} s", .limit.as_secs())]
    UploadTooSlow {
        /// The time that the appliance waited.
        limit: Duration,
    },
    /// The connection broke, or the chunks are malformed.
    #[error("the body ended early or is not framed as it says")]
    BodyBroken {
        /// The error of the connection.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The body is not a JSON object.
    #[error("the body is not a JSON object: {}", .reason)]
    Json {
        /// The parser's reason, without a position.
        reason: String,
    },
    /// The body is not a form.
    #[error("the form is malformed: {0}")]
    Form(#[from] FormError),
    /// A field has an unknown name.
    #[error("the field {} is unknown", quoted(.name))]
    UnknownField {
        /// The name of the field.
        name: String,
    },
    /// A field is repeated, perhaps under two names.
    #[error("{field} is given more than once")]
    FieldRepeated {
        /// The field that the refusal is about.
        field: Field,
    },
    /// A field has a value of another type.
    #[error("{field} is {actual}, not {expected}")]
    FieldType {
        /// The field that the refusal is about.
        field: Field,
        /// The type that its value has to have.
        expected: &'static str,
        /// The type that its value has.
        actual: &'static str,
    },
    /// The value of an option is refused.
    #[error("{field}: {reason}")]
    OptionValue {
        /// The option that the refusal is about.
        field: Field,
        /// The rule that the value breaks.
        reason: OptionError,
    },
    /// The token is refused; no message contains any of it.
    #[error("repo_token: {0}")]
    Token(TokenError),
    /// A token came by the port without TLS.
    #[error(
        "repo_token is taken on the port with TLS only: consider the token known to others, and \
         replace it"
    )]
    TokenInPlaintext,
    /// There is a token and no repository.
    #[error("repo_token belongs to repo_url")]
    TokenWithoutRepository,
    /// The path of the project is refused.
    #[error("path: {0}")]
    Path(ParsePathError),
    /// An option is given that the chosen toolchain does not know.
    #[error("{option} cannot be chosen for {kind}")]
    OptionMismatch {
        /// The option that the refusal is about.
        option: &'static str,
        /// The toolchain that does not know it.
        kind: Kind,
    },
    /// A part of a form is not text.
    #[error("{field} is not UTF-8")]
    FieldNotUtf8 {
        /// The field that the refusal is about.
        field: Field,
    },
    /// A form has a part `source_data`.
    #[error("source_data belongs to JSON; a form carries the archive in the file part source")]
    SourceDataInForm,
    /// A JSON submission has no nonce.
    #[error("no nonce: a JSON submission needs one (2 to 32 hexadecimal digits)")]
    NonceMissing,
    /// The nonce cannot be read.
    #[error("{0}")]
    Nonce(ParseNonceError),
    /// The URL of the repository is refused.
    #[error("{0}")]
    RepositoryUrl(ParseUrlError),
    /// The ref of the repository is refused.
    #[error("{0}")]
    Ref(ParseRefError),
    /// There is neither a repository nor an archive.
    #[error("either a repository or an archive is needed")]
    SourceMissing,
    /// There are both a repository and an archive.
    #[error("a repository and an archive are given; one of them is needed")]
    SourceAmbiguous,
    /// There is a ref without a repository.
    #[error("a ref is given without a repository")]
    RefWithoutRepository,
    /// There is a file name without a file.
    #[error("source_name is given without source_data")]
    SourceNameWithoutArchive,
    /// The file name of the archive has a control character.
    #[error("the archive's file name has a control character")]
    SourceName,
    /// The value of `source_data` is not base64.
    #[error("source_data is not base64 of the standard alphabet, padded and without white space")]
    SourceData,
    /// The archive is refused, or could not be unpacked.
    #[error("{}", archive_detail(.0))]
    Archive(#[source] ArchiveError),
    /// The source has no directory at the path of the project.
    #[error("{}", part_detail(.0))]
    Part(#[source] PartError),
    /// No toolchain builds the archive as it was submitted.
    #[error("{}", detect_detail(.0))]
    Detect(#[source] DetectError),
    /// Other bytes were unpacked than had come.
    #[error("{INTERNAL}")]
    ArchiveChanged,
    /// A file or directory of the appliance fails.
    #[error("{INTERNAL}")]
    Io(#[from] io::Error),
    /// The kernel returns no random bytes.
    #[error("{INTERNAL}")]
    Random(#[source] io::Error),
    /// The work was ended before it was done.
    #[error("{INTERNAL}")]
    Interrupted(#[source] Box<dyn Error + Send + Sync>),
}

/// The reason why the structure of a form is refused (RFC 2046, section 5.1; RFC 7578).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// The Content-Type has no usable boundary.
    #[error(
        "the Content-Type has no boundary of 1 to {} characters",
        super::limits::MAX_BOUNDARY_BYTES
    )]
    Boundary,
    /// The form ends before a final boundary.
    #[error("the final boundary is missing (lines end in CR LF)")]
    FinalBoundary,
    /// A boundary is followed by other bytes on its line.
    #[error("a boundary is followed by something other than the end of its line")]
    AfterBoundary,
    /// A part's header lines cannot be read.
    #[error("the header of a part cannot be read")]
    Header,
    /// A part has no single `Content-Disposition: form-data` with a name.
    #[error("a part has no single Content-Disposition: form-data with one name")]
    Disposition,
    /// A part has a transfer encoding.
    #[error("a part has a Content-Transfer-Encoding")]
    TransferEncoding,
    /// There are too many parts.
    #[error("there are more than {limit} parts")]
    Parts {
        /// The number that is accepted.
        limit: usize,
    },
    /// A part's header has too many fields.
    #[error("the header of a part has more than {limit} fields")]
    Headers {
        /// The number that is accepted.
        limit: usize,
    },
    /// A part's header is too long.
    #[error("the header of a part is longer than {limit} bytes")]
    HeaderTooLarge {
        /// The number of bytes that are accepted.
        limit: usize,
    },
    /// There is too much that belongs to no part.
    #[error("there are more than {limit} bytes outside of parts")]
    Outside {
        /// The number of bytes that are accepted.
        limit: usize,
    },
}

impl FormError {
    /// Returns whether the form is well-formed as far as it was read, and too large.
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
    /// Returns the HTTP status of the refusal.
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
            Self::Part(error) if error.is_fault() => 500,
            Self::Part(_) => 422,
            Self::Detect(DetectError::Io(_)) => 500,
            Self::Detect(DetectError::Unsupported(_)) => 422,
            Self::Detect(DetectError::NoLockfile { .. } | DetectError::OtherLockfile { .. }) => 422,
            Self::ArchiveChanged | Self::Io(_) | Self::Random(_) | Self::Interrupted(_) => 500,
            Self::Archive(error) if error.is_fault() => 500,
            _ => 400,
        }
    }

    /// Returns the stable code, in kebab-case.
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
            Self::Token(_) => "token-invalid",
            Self::TokenInPlaintext => "token-in-plaintext",
            Self::TokenWithoutRepository => "token-without-repository",
            Self::SourceNameWithoutArchive => "source-name-without-archive",
            Self::SourceName => "source-name-invalid",
            Self::SourceData => "source-data-invalid",
            Self::Archive(error) if error.is_fault() => "internal",
            Self::Archive(_) => "archive-refused",
            Self::OptionValue { .. } | Self::Path(_) => "option-invalid",
            Self::OptionMismatch { .. } | Self::Detect(DetectError::OtherOption { .. }) => {
                "option-mismatch"
            }
            Self::Part(error) if error.is_fault() => "internal",
            Self::Part(_) => "path-missing",
            Self::Detect(DetectError::Io(_)) => "internal",
            Self::Detect(DetectError::Unsupported(_)) => "toolchain-unsupported",
            Self::Detect(DetectError::NoLockfile { .. } | DetectError::OtherLockfile { .. }) => {
                "lockfile-missing"
            }
            Self::ArchiveChanged | Self::Io(_) | Self::Random(_) | Self::Interrupted(_) => {
                "internal"
            }
        }
    }

    /// Returns the error of a body that is not a JSON object, without the parser's position, which
    /// is not the caller's.
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
        INTERNAL.to_owned()
    } else {
        error.to_string()
    }
}

fn part_detail(error: &PartError) -> String {
    match error {
        error if error.is_fault() => INTERNAL.to_owned(),
        error => Chain(error).to_string(),
    }
}

fn detect_detail(error: &DetectError) -> String {
    match error {
        DetectError::Io(_) => INTERNAL.to_owned(),
        error => error.to_string(),
    }
}

/// Returns a piece of the caller's text in quotes, cut and with control characters escaped.
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
    fn an_internal_error_shows_its_cause_to_the_log_alone() {
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
                (500, "internal", INTERNAL)
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
