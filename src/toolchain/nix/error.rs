//! The errors that only flakes have, with the codes that clients see.
//!
//! * In: the failures of this room's parts.
//! * Out: one clause for the caller, and the stable code.
//! * Never: a path of this machine, or output of a tool, in a text of its own.

use crate::error_type::ErrorType;
use crate::sandbox::Exit;
use crate::toolchain::exit::describe;

use super::{FlakeLockError, LedgerError, NarError, TrustedKeysError};

/// Why a flake cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum NixError {
    /// The lockfile of the flake cannot be used.
    #[error("flake.lock cannot be used")]
    FlakeLock(#[from] FlakeLockError),
    /// Nix would have to change the lockfile.
    #[error(
        "flake.lock does not fit the flake: nix would have to change it{}",
        .input.as_ref().map(|input| format!(", for input {input:?}")).unwrap_or_default()
    )]
    FlakeLockOutdated {
        /// The name of an input that it does not lock, if nix said so.
        input: Option<String>,
    },
    /// The relative path of an input names neither a file nor a directory, or passes a link.
    #[error(
        "input {input:?} of flake.lock is not a file or directory of its tree, or is reached \
         through a link"
    )]
    InputPath {
        /// The name of the node.
        input: String,
    },
    /// Nix itself found that an input's hash differs.
    #[error("an input's narHash is not the one in flake.lock")]
    InputHashByNix,
    /// The flake has no package that the appliance builds.
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
    /// The evaluation imports from more recipes than the limit.
    #[error("the flake imports from more than {limit} derivations")]
    TooManyImports {
        /// The limit.
        limit: usize,
    },
    /// The flake cannot be evaluated.
    #[error(
        "the flake cannot be evaluated{}",
        .said.as_ref().map(|said| format!(": {said}")).unwrap_or_default()
    )]
    Evaluation {
        /// The first error that nix printed, on one line of limited length.
        said: Option<String>,
    },
    /// The content of the store does not fit nix's database, or has an unknown origin.
    #[error("the store cannot be accounted for")]
    Ledger(#[from] LedgerError),
    /// The tree of a store path could not be hashed.
    #[error("a store path could not be hashed")]
    Nar(#[from] NarError),
    /// The daemon ended before the build did.
    #[error("the nix daemon ended early ({})", describe(.exit))]
    Service {
        /// The way in which the daemon ended.
        exit: Exit,
    },
    /// A download was redirected from https to another scheme.
    #[error("the download of {from} was redirected to {to}, which is not https")]
    Plaintext {
        /// The URL that redirected, escaped and cut.
        from: String,
        /// The URL that it redirected to, escaped and cut.
        to: String,
    },
}

impl NixError {
    /// Returns the stable code that clients see.
    pub fn error_type(&self) -> ErrorType {
        match self {
            Self::FlakeLock(_)
            | Self::FlakeLockOutdated { .. }
            | Self::InputPath { .. }
            | Self::InputHashByNix => ErrorType::LockfileMismatch,
            Self::Plaintext { .. } => ErrorType::DependencyFetchFailed,
            Self::NoDefaultPackage
            | Self::NoAttribute { .. }
            | Self::CacheKey(_)
            | Self::TooManyImports { .. }
            | Self::Evaluation { .. } => ErrorType::BuildFailed,
            Self::Ledger(error) if !error.is_fault() => ErrorType::BuildFailed,
            Self::Nar(error) if !error.is_fault() => ErrorType::BuildFailed,
            Self::Ledger(_) | Self::Nar(_) | Self::Service { .. } => ErrorType::Internal,
        }
    }
}
