//! Names the reasons why an accepted build failed, in the words that clients know.
//!
//! * In: the classification of an error, by the room in which it occurred.
//! * Out: a stable code.
//! * Never: the form that a protocol gives the code.

use std::fmt;

/// The stable code of a failed build (design: API, Errors).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// The repository or ref could not be fetched, or is not what it claims to be.
    SourceFetchFailed,
    /// There is no lockfile of a known kind, or this image cannot build it.
    UnsupportedToolchain,
    /// The lockfile does not fit the manifest, or bytes do not fit the lockfile.
    LockfileMismatch,
    /// A dependency could not be fetched.
    DependencyFetchFailed,
    /// The build command itself failed.
    BuildFailed,
    /// The build took longer than its limit.
    BuildTimeout,
    /// The build needed more memory than its limit.
    OutOfMemory,
    /// The build succeeded and produced nothing to deliver.
    NoArtifacts,
    /// The platform returned no evidence.
    AttestationFailed,
    /// An internal error of the appliance.
    Internal,
}

impl ErrorType {
    /// Returns the code in CamelCase.
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
