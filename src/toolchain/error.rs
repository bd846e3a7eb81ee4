//! What can go wrong in this room, with the code that clients see.

use std::io;
use std::time::Duration;

use crate::digest::{GitOid, Sha256Digest};
use crate::job::ErrorType;
use crate::sandbox::{Exit, RunError};
use crate::source::archive::ArchiveError;
use crate::source::repository::redirect::RedirectError;
use crate::source::tree::TreeError;

use super::Kind;
use super::cargo::lockfile::LockfileError;
use super::nix::{FlakeLockError, LedgerError, NarError};

/// A part of the work that runs one tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Dependencies come over the network.
    Fetch,
    /// The tools say what they will build; nothing of the project runs.
    Inspect,
    /// The build.
    Build,
    /// A library is packed.
    Package,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fetch => "fetching the dependencies",
            Self::Inspect => "reading the project",
            Self::Build => "the build",
            Self::Package => "packing the library",
        })
    }
}

/// Why there is no [`Built`](super::Built). Each text is one clause for the caller, without a path of this machine.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    /// Neither `flake.lock` nor `Cargo.lock`.
    #[error("the source has neither a Cargo.lock nor a flake.lock")]
    NoLockfile,
    /// A kind whose tools are not there.
    #[error("the source is a {0} project, and this appliance has no {0}")]
    Unsupported(Kind),
    /// The lockfile cannot be read.
    #[error("Cargo.lock cannot be used")]
    Lockfile(#[from] LockfileError),
    /// Cargo would have to change the lockfile.
    #[error("Cargo.lock does not fit the manifest: cargo would have to change it")]
    LockfileOutdated,
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
    /// The flake cannot be evaluated; the log says why.
    #[error("the flake cannot be evaluated")]
    Evaluation,
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
    /// A package's bytes are not those of the lockfile.
    #[error("the archive of {package} has sha256 {actual}, Cargo.lock says {expected}")]
    Checksum {
        /// `NAME@VERSION`.
        package: String,
        /// In the lockfile.
        expected: Sha256Digest,
        /// Of the bytes.
        actual: Sha256Digest,
    },
    /// Cargo itself found that a checksum differs.
    #[error("a dependency's checksum is not the one in Cargo.lock")]
    ChecksumByCargo,
    /// A package's archive is refused.
    #[error("the archive of {package} is refused")]
    Crate {
        /// `NAME@VERSION`.
        package: String,
        /// Why.
        source: ArchiveError,
    },
    /// A locked dependency did not come.
    #[error("{dependency} was not fetched")]
    NotFetched {
        /// `NAME@VERSION`, or a commit.
        dependency: String,
    },
    /// The server of a git dependency sends us elsewhere.
    #[error(transparent)]
    Redirect(#[from] RedirectError),
    /// A download was redirected from https to another scheme.
    #[error("the download of {from} was redirected to {to}, which is not https")]
    Plaintext {
        /// The URL before it, escaped and cut.
        from: String,
        /// Where it was sent, escaped and cut.
        to: String,
    },
    /// A server sent us to a URL that cannot be recorded.
    #[error(
        "{download} was redirected, and it cannot be recorded where to: a URL is too long, no text, or nobody's"
    )]
    UnreadableUrl {
        /// An archive, or the URL that was asked for, escaped and cut.
        download: String,
    },
    /// A commit object is not the one that was locked.
    #[error("the commit object of a git dependency has id {actual}, Cargo.lock says {expected}")]
    Commit {
        /// In the lockfile.
        expected: GitOid,
        /// Of the bytes.
        actual: GitOid,
    },
    /// A commit object names no tree.
    #[error("commit {commit} of a git dependency names no tree")]
    CommitWithoutTree {
        /// The commit.
        commit: GitOid,
    },
    /// A git dependency's files are not those of its commit.
    #[error(
        "the files of git dependency {commit} have tree id {actual}, its commit says {expected} (submodules and \
         attributes that change files are not supported)"
    )]
    Tree {
        /// The locked commit.
        commit: GitOid,
        /// In the commit.
        expected: GitOid,
        /// Of the files.
        actual: GitOid,
    },
    /// A package lies outside everything that was checked.
    #[error("package {package} lies outside the source and its locked dependencies")]
    Outside {
        /// `NAME@VERSION`.
        package: String,
    },
    /// The workspace's root, where cargo looks for the lockfile, is not the source's.
    #[error(
        "the source's workspace has its root, and so its lockfile, elsewhere than at the top of the source"
    )]
    WorkspaceRoot,
    /// The manifest cannot be used.
    #[error("cargo cannot read the project")]
    Manifest,
    /// The project's cargo configuration is no TOML, or too long.
    #[error("the source's cargo configuration cannot be read")]
    Configuration,
    /// Settings and sources that were carried over are more than the system takes as words of a command.
    #[error(
        "the source's cargo configuration, or what its lockfile names, has more than a command can take"
    )]
    CommandTooLong,
    /// A tool failed.
    #[error("{phase} failed ({})", describe(.exit))]
    Failed {
        /// Which part.
        phase: Phase,
        /// How it ended.
        exit: Exit,
    },
    /// A tool took too long.
    #[error("{phase} took longer than {} s", .limit.as_secs())]
    TimedOut {
        /// Which part.
        phase: Phase,
        /// The limit.
        limit: Duration,
    },
    /// A tool needed too much memory.
    #[error("{phase} ran out of memory")]
    OutOfMemory {
        /// Which part.
        phase: Phase,
    },
    /// A tool's answer is longer than its limit.
    #[error("the answer of {tool} is longer than {limit} bytes")]
    AnswerTooLong {
        /// Which tool.
        tool: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A tool's answer is not what it should be.
    #[error("the answer of {tool} cannot be read")]
    Answer {
        /// Which tool.
        tool: &'static str,
    },
    /// What cargo says of the commands that it runs is too long, or not as it says it.
    #[error(
        "what cargo says of the commands that it ran cannot be read, so the linker's arguments cannot be recorded"
    )]
    Commands,
    /// More than is recorded.
    #[error(
        "build scripts give the linker more than {limit} bytes of arguments: a statement does not record that many"
    )]
    LinkArguments {
        /// The limit.
        limit: usize,
    },
    /// The build succeeded and made nothing to hand out.
    #[error("the build made no program or library")]
    NoArtifacts,
    /// The build made something that cannot be handed out.
    #[error("artifact {name} is refused: {why}")]
    Artifact {
        /// Its name.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// A tree could not be hashed.
    #[error("a folder could not be hashed")]
    Hash(#[from] TreeError),
    /// The sandbox failed.
    #[error("the sandbox failed")]
    Run(#[source] RunError),
    /// A file operation of ours failed.
    #[error("a file operation of the appliance failed")]
    Io(#[from] io::Error),
}

impl ToolchainError {
    /// The stable code.
    pub fn error_type(&self) -> ErrorType {
        match self {
            Self::NoLockfile | Self::Unsupported(_) => ErrorType::UnsupportedToolchain,
            Self::Lockfile(_)
            | Self::LockfileOutdated
            | Self::FlakeLock(_)
            | Self::FlakeLockOutdated
            | Self::InputPath { .. }
            | Self::InputHashByNix
            | Self::Checksum { .. }
            | Self::ChecksumByCargo
            | Self::Commit { .. }
            | Self::CommitWithoutTree { .. }
            | Self::Tree { .. }
            | Self::WorkspaceRoot => ErrorType::LockfileMismatch,
            Self::Crate { .. }
            | Self::NotFetched { .. }
            | Self::Plaintext { .. }
            | Self::UnreadableUrl { .. }
            | Self::Failed {
                phase: Phase::Fetch,
                ..
            } => ErrorType::DependencyFetchFailed,
            Self::Outside { .. }
            | Self::Manifest
            | Self::Configuration
            | Self::CommandTooLong
            | Self::NoDefaultPackage
            | Self::Evaluation
            | Self::Commands
            | Self::LinkArguments { .. }
            | Self::Failed { .. }
            | Self::AnswerTooLong { .. }
            | Self::Artifact { .. } => ErrorType::BuildFailed,
            Self::Redirect(error) if !error.is_fault() => ErrorType::DependencyFetchFailed,
            Self::Ledger(error) if !error.is_fault() => ErrorType::BuildFailed,
            Self::Nar(error) if !error.is_fault() => ErrorType::BuildFailed,
            Self::TimedOut {
                phase: Phase::Fetch,
                ..
            } => ErrorType::DependencyFetchFailed,
            Self::TimedOut { .. } => ErrorType::BuildTimeout,
            Self::OutOfMemory { .. } => ErrorType::OutOfMemory,
            Self::NoArtifacts => ErrorType::NoArtifacts,
            Self::Answer { .. }
            | Self::Hash(_)
            | Self::Redirect(_)
            | Self::Ledger(_)
            | Self::Nar(_)
            | Self::Service { .. }
            | Self::Run(_)
            | Self::Io(_) => ErrorType::Internal,
        }
    }

    /// The same error of several commands that have `limit` together.
    pub(super) fn within(self, limit: Duration) -> Self {
        match self {
            Self::TimedOut { phase, .. } => Self::TimedOut { phase, limit },
            error => error,
        }
    }

    /// The error that `exit` of a command of `phase` is, if it is one.
    pub(super) fn of_exit(phase: Phase, exit: Exit) -> Result<(), Self> {
        match exit {
            Exit::Status(0) => Ok(()),
            Exit::Status(_) | Exit::Signal(_) | Exit::RefusedAddress => {
                Err(Self::Failed { phase, exit })
            }
            Exit::TimedOut { limit } => Err(Self::TimedOut { phase, limit }),
            Exit::OutOfMemory => Err(Self::OutOfMemory { phase }),
        }
    }
}

impl From<RunError> for ToolchainError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Start { source } if source.kind() == io::ErrorKind::ArgumentListTooLong => {
                Self::CommandTooLong
            }
            error => Self::Run(error),
        }
    }
}

fn describe(exit: &Exit) -> String {
    match exit {
        Exit::Status(status) => format!("exit status {status}"),
        Exit::Signal(signal) => format!("signal {signal}"),
        Exit::TimedOut { limit } => format!("longer than {} s", limit.as_secs()),
        Exit::OutOfMemory => "out of memory".to_owned(),
        Exit::RefusedAddress => {
            "a host that it asked for, which its last words in the log name, has \
            no public address: only public addresses are reached"
                .to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn an_exit_becomes_the_error_that_clients_know() {
        let of = |phase, exit| {
            ToolchainError::of_exit(phase, exit)
                .unwrap_err()
                .error_type()
        };
        let limit = Duration::from_secs(1);
        assert!(ToolchainError::of_exit(Phase::Build, Exit::Status(0)).is_ok());
        assert_eq!(of(Phase::Build, Exit::Status(101)), ErrorType::BuildFailed);
        assert_eq!(of(Phase::Build, Exit::Signal(9)), ErrorType::BuildFailed);
        assert_eq!(
            of(Phase::Fetch, Exit::Status(101)),
            ErrorType::DependencyFetchFailed
        );
        assert_eq!(
            of(Phase::Fetch, Exit::TimedOut { limit }),
            ErrorType::DependencyFetchFailed
        );
        assert_eq!(
            of(Phase::Fetch, Exit::RefusedAddress),
            ErrorType::DependencyFetchFailed
        );
        let refused = ToolchainError::of_exit(Phase::Fetch, Exit::RefusedAddress).unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("only public addresses are reached"),
            "{refused}"
        );
        assert_eq!(
            of(Phase::Build, Exit::TimedOut { limit }),
            ErrorType::BuildTimeout
        );
        assert_eq!(of(Phase::Build, Exit::OutOfMemory), ErrorType::OutOfMemory);
    }

    #[test]
    fn a_cause_is_said_once() {
        let lockfile = ToolchainError::Lockfile(LockfileError::Encoding);
        let archive = ToolchainError::Crate {
            package: "a@1.0.0".to_owned(),
            source: ArchiveError::TooManyEntries { limit: 1 },
        };
        for error in [lockfile, archive] {
            let cause = error.source().unwrap().to_string();
            assert!(!error.to_string().contains(&cause), "{error}: {cause}");
        }
    }
}
