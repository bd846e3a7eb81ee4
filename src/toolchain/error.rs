//! The errors that a project of any kind can have, with the codes that clients see.
//!
//! * In: how a command ended, and failures of the file system and the sandbox.
//! * Out: one clause for the caller, and the stable code. Errors that only one kind of project has
//!   are enums of their own.
//! * Never: a path of this machine in the text, or more output of a tool than its first error.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::digest::GitOid;
use crate::error_type::ErrorType;
use crate::sandbox::{Exit, RunError};
use crate::source::tree::TreeError;

use super::cargo::CargoError;
use super::exit::describe;
use super::nix::NixError;
use super::{DetectError, Kind};

/// A part of a job that runs tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The dependencies are fetched over the network.
    Fetch,
    /// The tools report what they will build; no code of the project runs.
    Inspect,
    /// The toolchain builds the project.
    Build,
    /// A library is packed as an archive.
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

/// The reason why a job has no [`Built`](super::Built).
///
/// Each text is one clause for the caller, without a path of this machine.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    /// No toolchain builds the source as it was submitted.
    #[error(transparent)]
    Detect(#[from] DetectError),
    /// The tools for this kind of project are missing.
    #[error("the source is a {0} project, and this appliance has no {0}")]
    Unsupported(Kind),
    /// An error that only projects of cargo have.
    #[error(transparent)]
    Cargo(#[from] CargoError),
    /// An error that only flakes have.
    #[error(transparent)]
    Nix(#[from] NixError),
    /// A file is a pointer to one that git LFS keeps elsewhere.
    #[error(
        "{path} of {} is a pointer of git LFS and not the file itself, which is not fetched",
        .dependency.as_deref().unwrap_or("the source")
    )]
    LfsPointer {
        /// The path of the file, escaped.
        path: String,
        /// The git dependency that has the file; none for a file of the source.
        dependency: Option<String>,
    },
    /// A locked dependency is missing after the fetch phase.
    #[error("{dependency} was not fetched")]
    NotFetched {
        /// The dependency: `NAME@VERSION`, a commit, or an input.
        dependency: String,
    },
    /// A server redirected a download to a URL that cannot be recorded.
    #[error(
        "{download} was redirected to a URL that cannot be recorded: it is too long, is not text, \
         or belongs to no known download"
    )]
    UnreadableUrl {
        /// The archive or the requested URL, escaped and cut.
        download: String,
    },
    /// The arguments of a command are longer than the system takes: settings of the source and
    /// names of its lockfile are among them.
    #[error(
        "the source's cargo configuration, or what its lockfile names, has more than a command can \
         take"
    )]
    CommandTooLong,
    /// A tool ended with a failure.
    #[error("{phase} failed ({}){}", describe(.exit), after(.said))]
    Failed {
        /// The part of the job that ran the tool.
        phase: Phase,
        /// The way in which the tool ended.
        exit: Exit,
        /// The first error that the tool printed, on one line of limited length.
        said: Option<String>,
    },
    /// A tool ran longer than its limit.
    #[error("{phase} took longer than {} s", .limit.as_secs())]
    TimedOut {
        /// The part of the job that ran the tool.
        phase: Phase,
        /// The limit that was exceeded.
        limit: Duration,
    },
    /// A tool needed more memory than it may have.
    #[error("{phase} ran out of memory")]
    OutOfMemory {
        /// The part of the job that ran the tool.
        phase: Phase,
    },
    /// The output of a tool is longer than its limit.
    #[error("the output of {tool} is longer than {limit} bytes")]
    AnswerTooLong {
        /// The name of the tool.
        tool: &'static str,
        /// The limit that was exceeded, in bytes.
        limit: usize,
    },
    /// The output of a tool does not have the expected form.
    #[error("the output of {tool} cannot be read")]
    Answer {
        /// The name of the tool.
        tool: &'static str,
    },
    /// The build succeeded and made nothing that can be delivered.
    #[error("the build made no program or library")]
    NoArtifacts,
    /// The build made an artifact that cannot be delivered.
    #[error("artifact {name} is refused: {why}")]
    Artifact {
        /// The name of the artifact, escaped.
        name: String,
        /// The reason, as one clause.
        why: &'static str,
    },
    /// A directory could not be hashed.
    #[error("a directory could not be hashed")]
    Hash(#[from] TreeError),
    /// The sandbox failed to run a command.
    #[error("the sandbox failed")]
    Run(#[source] RunError),
    /// One of the appliance's own file operations failed.
    #[error("a file operation of the appliance failed")]
    Io(#[from] io::Error),
}

/// Returns the first error of a tool as the end of a message.
fn after(said: &Option<String>) -> String {
    said.as_ref()
        .map(|said| format!(": {said}"))
        .unwrap_or_default()
}

impl ToolchainError {
    /// Returns the stable code that clients see.
    pub fn error_type(&self) -> ErrorType {
        match self {
            Self::Detect(DetectError::Io(_)) => ErrorType::Internal,
            Self::Detect(_) | Self::Unsupported(_) => ErrorType::UnsupportedToolchain,
            Self::Cargo(error) => error.error_type(),
            Self::Nix(error) => error.error_type(),
            Self::LfsPointer {
                dependency: None, ..
            } => ErrorType::SourceFetchFailed,
            Self::LfsPointer { .. }
            | Self::NotFetched { .. }
            | Self::UnreadableUrl { .. }
            | Self::Failed {
                phase: Phase::Fetch,
                ..
            } => ErrorType::DependencyFetchFailed,
            Self::CommandTooLong
            | Self::Failed { .. }
            | Self::AnswerTooLong { .. }
            | Self::Artifact { .. } => ErrorType::BuildFailed,
            Self::TimedOut {
                phase: Phase::Fetch,
                ..
            } => ErrorType::DependencyFetchFailed,
            Self::TimedOut { .. } => ErrorType::BuildTimeout,
            Self::OutOfMemory { .. } => ErrorType::OutOfMemory,
            Self::NoArtifacts => ErrorType::NoArtifacts,
            Self::Answer { .. } | Self::Hash(_) | Self::Run(_) | Self::Io(_) => ErrorType::Internal,
        }
    }

    /// Returns the error about a pointer of git LFS at `path` of the source, or of a git
    /// dependency.
    pub(super) fn pointer(path: &Path, dependency: Option<GitOid>) -> Self {
        Self::LfsPointer {
            path: path.to_string_lossy().escape_default().to_string(),
            dependency: dependency.map(|commit| format!("git dependency {commit}")),
        }
    }

    /// Replaces the limit of a timeout by that of several commands together.
    pub(super) fn within(self, limit: Duration) -> Self {
        match self {
            Self::TimedOut { phase, .. } => Self::TimedOut { phase, limit },
            error => error,
        }
    }

    /// Adds the first error that the tool printed to a failure, if there is one.
    pub(super) fn saying(self, first: Option<String>) -> Self {
        match self {
            Self::Failed { phase, exit, .. } if exit != Exit::RefusedAddress => Self::Failed {
                phase,
                exit,
                said: first,
            },
            error => error,
        }
    }

    /// Returns the error for a command of `phase` that did not succeed.
    ///
    /// # Errors
    /// `exit` is anything but status 0.
    pub(super) fn of_exit(phase: Phase, exit: Exit) -> Result<(), Self> {
        match exit {
            Exit::Status(0) => Ok(()),
            Exit::Status(_) | Exit::Signal(_) | Exit::RefusedAddress => Err(Self::Failed {
                phase,
                exit,
                said: None,
            }),
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

#[cfg(test)]
mod tests {
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
}
