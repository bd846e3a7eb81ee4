//! What can go wrong with any project, with the code that clients see. What only one kind of project has is its own error.

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
    /// No toolchain builds the source as it was submitted.
    #[error(transparent)]
    Detect(#[from] DetectError),
    /// A kind whose tools are not there.
    #[error("the source is a {0} project, and this appliance has no {0}")]
    Unsupported(Kind),
    /// What only projects of cargo have.
    #[error(transparent)]
    Cargo(#[from] CargoError),
    /// What only flakes have.
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
        /// The git dependency that it belongs to; none for a file of the source.
        dependency: Option<String>,
    },
    /// A locked dependency did not come.
    #[error("{dependency} was not fetched")]
    NotFetched {
        /// `NAME@VERSION`, or a commit.
        dependency: String,
    },
    /// A server sent us to a URL that cannot be recorded.
    #[error(
        "{download} was redirected, and it cannot be recorded where to: a URL is too long, no text, or nobody's"
    )]
    UnreadableUrl {
        /// An archive, or the URL that was asked for, escaped and cut.
        download: String,
    },
    /// Settings and sources that were carried over are more than the system takes as words of a command.
    #[error(
        "the source's cargo configuration, or what its lockfile names, has more than a command can take"
    )]
    CommandTooLong,
    /// A tool failed.
    #[error("{phase} failed ({}){}", describe(.exit), after(.said))]
    Failed {
        /// Which part.
        phase: Phase,
        /// How it ended.
        exit: Exit,
        /// The first error that the tool printed, on one line of limited length.
        said: Option<String>,
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

fn after(said: &Option<String>) -> String {
    said.as_ref()
        .map(|said| format!(": {said}"))
        .unwrap_or_default()
}

impl ToolchainError {
    /// The stable code.
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

    /// The error about a pointer of git LFS at `path` in the source, or in a git dependency.
    pub(super) fn pointer(path: &Path, dependency: Option<GitOid>) -> Self {
        Self::LfsPointer {
            path: path.to_string_lossy().escape_default().to_string(),
            dependency: dependency.map(|commit| format!("git dependency {commit}")),
        }
    }

    /// The same error of several commands that have `limit` together.
    pub(super) fn within(self, limit: Duration) -> Self {
        match self {
            Self::TimedOut { phase, .. } => Self::TimedOut { phase, limit },
            error => error,
        }
    }

    /// The same error with the first one that the tool printed, where that says more.
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

    /// The error that `exit` of a command of `phase` is, if it is one.
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
