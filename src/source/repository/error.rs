//! Reasons why a repository yields no source tree, for the caller.

use std::io;
use std::time::Duration;

use super::modules::ModulesError;
use super::plan::{GitBinaryError, Remote};
use super::redirect::RedirectError;
use super::url::RepositoryUrl;
use crate::digest::GitOid;
use crate::sandbox::{Exit, RunError};
use crate::source::archive::{ArchiveError, Label};

/// Why there is no source tree.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum RepositoryError {
    #[error(transparent)]
    GitBinary(#[from] GitBinaryError),
    /// Git failed; the log has its output. `action` is an infinitive.
    #[error(
        "git could not {action}{}",
        said.as_ref().map(|said| format!(": {said}")).unwrap_or_default()
    )]
    Git {
        action: &'static str,
        exit: Exit,
        /// Git's own reason, on one line of limited length.
        said: Option<String>,
    },
    /// The server wants a login, or refuses the one that it got.
    #[error("git could not {action}: the server of {url} {}", login(*has_token))]
    Login {
        action: &'static str,
        url: RepositoryUrl,
        has_token: bool,
    },
    /// The repository does not have the ref, as the client gave it.
    #[error("git could not resolve the ref: couldn't find remote ref {reference}")]
    NoSuchRef { reference: String },
    #[error(transparent)]
    Redirect(#[from] RedirectError),
    /// The host has an address that fetch phases do not reach. The address is in the machine's log.
    #[error("{url} is at no public address: only public addresses are reached")]
    RefusedAddress { url: RepositoryUrl },
    #[error("the repository took longer than {} s", limit.as_secs())]
    TimedOut { limit: Duration },
    #[error("{what} has more than {limit} bytes")]
    TooLarge { what: &'static str, limit: u64 },
    #[error("the ref was resolved to no commit id")]
    Resolve,
    /// Another commit than the one that the client, or the superproject, named.
    #[error("commit {expected} was requested, the repository returned {actual}")]
    OtherCommit { expected: GitOid, actual: GitOid },
    #[error("the commit object of {expected} hashes to {actual}")]
    CommitHash { expected: GitOid, actual: GitOid },
    /// The commit object has no tree or no time.
    #[error("the commit object of {commit} is malformed")]
    CommitFormat { commit: GitOid },
    #[error("commit {commit} names tree {expected}, its files make tree {actual}")]
    TreeHash {
        commit: GitOid,
        expected: GitOid,
        actual: GitOid,
    },
    #[error("the repository's files are refused")]
    Files(#[source] ArchiveError),
    #[error("the repository has more than {limit} submodules, or nests them deeper than {depth}")]
    TooManySubmodules { limit: usize, depth: usize },
    /// The listing names a submodule where the files have no empty directory.
    #[error("the files have no empty directory for the submodule `{path}`")]
    SubmoduleDirectory { path: Label },
    #[error("the repository's .gitmodules is refused")]
    Modules(#[from] ModulesError),
    #[error("git could not be run")]
    Run(#[source] RunError),
    #[error("the repository could not be written")]
    Io(#[from] io::Error),
}

/// What a server wants, for the caller of a repository that may be private or missing.
const fn login(has_token: bool) -> &'static str {
    if has_token {
        "does not accept repo_token for it"
    } else {
        "wants a login: is the URL right? A private repository needs repo_token"
    }
}

/// Git's words where the server answered 401, whichever way git would have asked for a login.
const LOGIN_WORDS: [&str; 2] = ["could not read Username", "Authentication failed"];

impl RepositoryError {
    /// Returns the error of a failed command of git that talked to `remote`. The token is not in
    /// git's reason, whatever the server answered.
    pub(super) fn git(
        action: &'static str,
        exit: Exit,
        said: Option<String>,
        (url, token): Remote<'_>,
    ) -> Self {
        let hide = |said: String| match token {
            Some(token) => token.hide_in_reason(&said),
            None => said,
        };
        let said = said.map(hide);
        let is_login = |said: &String| LOGIN_WORDS.iter().any(|words| said.contains(words));
        if said.as_ref().is_some_and(is_login) {
            return Self::Login {
                action,
                url: url.clone(),
                has_token: token.is_some_and(|token| token.is_for(url)),
            };
        }
        Self::Git { action, exit, said }
    }

    /// Returns whether this is an internal error and no fault of the repository or its server.
    pub fn is_fault(&self) -> bool {
        match self {
            Self::GitBinary(_) | Self::Run(_) | Self::Io(_) => true,
            Self::Files(error) => error.is_fault(),
            Self::Redirect(error) => error.is_fault(),
            _ => false,
        }
    }
}

impl From<ArchiveError> for RepositoryError {
    fn from(error: ArchiveError) -> Self {
        Self::Files(error)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        for error in [
            RepositoryError::Files(ArchiveError::NoFiles),
            RepositoryError::Modules(ModulesError::Malformed),
        ] {
            let cause = error.source().unwrap().to_string();
            assert!(!error.to_string().contains(&cause), "{error}: {cause}");
        }
    }
}
