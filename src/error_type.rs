//! Why an accepted build failed, in the words that clients know.
//!
//! - Comes in: the classification of an error, by the room that has it.
//! - Goes out: a stable code.
//! - Never: how a protocol says it.

use std::fmt;

/// The stable code of a failed build (design: API, Errors).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// The repository or ref could not be fetched, or is not what it claims.
    SourceFetchFailed,
    /// No lockfile that we know, or one that this image cannot build.
    UnsupportedToolchain,
    /// The lockfile does not fit the manifest, or bytes do not fit the lockfile.
    LockfileMismatch,
    /// A dependency could not be fetched.
    DependencyFetchFailed,
    /// The build itself failed.
    BuildFailed,
    /// The build took longer than its limit.
    BuildTimeout,
    /// The build needed more memory than its limit.
    OutOfMemory,
    /// The build succeeded and made nothing to hand out.
    NoArtifacts,
    /// The platform gave no evidence.
    AttestationFailed,
    /// A fault of ours.
    Internal,
}

impl ErrorType {
    /// The code in CamelCase.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SourceFetchFailed => "SourceFetchFailed",
            Self::UnsupportedToolchain => "UnsupportedToolchain",
            Self::LockfileMismatch => "LockfileMismatch",
            Self::DependencyFetchFailed => "DependencyFetchFailed",
            Self::BuildFailed => "BuildFailed",
            Self::BuildTimeout => "BuildTimeout",
            Self::OutOfMemory => "OutOfMemory",
            Self::NoArtifacts => "NoArtifacts",
            Self::AttestationFailed => "AttestationFailed",
            Self::Internal => "Internal",
        }
    }
}

impl fmt::Display for ErrorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
