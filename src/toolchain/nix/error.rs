//! What can go wrong with flakes only, with the code that clients see.

use crate::error_type::ErrorType;
use crate::sandbox::Exit;
use crate::toolchain::exit::describe;

use super::{FlakeLockError, LedgerError, NarError, TrustedKeysError};

/// Why a flake cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum NixError {
    /// The lockfile of a flake cannot be read.
    #[error("flake.lock cannot be used")]
    FlakeLock(#[from] FlakeLockError),
    /// Nix would have to change the lockfile.
    #[error("flake.lock does not fit the flake: nix would have to change it")]
    FlakeLockOutdated,
    /// A relative path leads to nothing that could be identified.
    #[error(
        "input {input:?} of flake.lock is no file or folder of its tree, or is reached through a link"
    )]
    InputPath {
        /// The input's node.
        input: String,
    },
    /// Nix itself found that an input's hash differs.
    #[error("an input's narHash is not the one in flake.lock")]
    InputHashByNix,
    /// The flake has nothing that we build.
    #[error("the flake has no default package for x86_64-linux")]
    NoDefaultPackage,
    /// The flake does not have the chosen output.
    #[error("the flake has no output {attribute}")]
    NoAttribute {
        /// The output that was chosen.
        attribute: String,
    },
    /// The key of a chosen cache has the name of another key that is trusted.
    #[error("a key of caches cannot be used")]
    CacheKey(#[from] TrustedKeysError),
    /// The flake cannot be evaluated.
    #[error("the flake cannot be evaluated{}", .said.as_ref().map(|said| format!(": {said}")).unwrap_or_default())]
    Evaluation {
        /// The first error that nix printed, on one line of limited length.
        said: Option<String>,
    },
    /// What the store holds does not add up.
    #[error("the store cannot be accounted for")]
    Ledger(#[from] LedgerError),
    /// A store path could not be hashed.
    #[error("a store path could not be hashed")]
    Nar(#[from] NarError),
    /// A service that the build needs ended before it.
    #[error("the nix daemon ended early ({})", describe(.exit))]
    Service {
        /// How.
        exit: Exit,
    },
    /// A download was redirected from https to another scheme.
    #[error("the download of {from} was redirected to {to}, which is not https")]
    Plaintext {
        /// The URL before it, escaped and cut.
        from: String,
        /// Where it was sent, escaped and cut.
        to: String,
    },
}

impl NixError {
    /// The stable code.
    pub fn error_type(&self) -> ErrorType {
        match self {
            Self::FlakeLock(_)
            | Self::FlakeLockOutdated
            | Self::InputPath { .. }
            | Self::InputHashByNix => ErrorType::LockfileMismatch,
            Self::Plaintext { .. } => ErrorType::DependencyFetchFailed,
            Self::NoDefaultPackage
            | Self::NoAttribute { .. }
            | Self::CacheKey(_)
            | Self::Evaluation { .. } => ErrorType::BuildFailed,
            Self::Ledger(error) if !error.is_fault() => ErrorType::BuildFailed,
            Self::Nar(error) if !error.is_fault() => ErrorType::BuildFailed,
            Self::Ledger(_) | Self::Nar(_) | Self::Service { .. } => ErrorType::Internal,
        }
    }
}
