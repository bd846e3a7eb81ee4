//! Fetches repositories.
//!
//! * In: a URL and a ref.
//! * Out: a [`SourceTree`] whose commit and tree ids were computed here.
//! * Never: an id that git reported, a file that a sandbox can still write to, or a link that
//!   leaves the tree.
//!
//! # From a URL to a source tree
//!
//! [`fetch`] creates a [`Builder`] and a scratch directory, and passes both to `intake`, which
//! takes the superproject and then its submodules through these steps:
//!
//! 1. `git fetch` runs in a sandbox with network and writes to a bare repository in the scratch
//!    directory. It fetches one commit first, and more only if the server cannot send that.
//! 2. Git follows no redirect. If the fetch failed, `git ls-remote` finds out whether the server
//!    redirects ([`redirect`]); a URL on the same host, port and scheme is then fetched instead.
//! 3. All other commands run without network and see the bare repository read-only. The commit
//!    object must hash to its id ([`commit`]).
//! 4. `git archive` prints the files. They go through the same checks as an uploaded tar and are
//!    written by the service, not by git. Their tree must be the one that the commit names, so
//!    whatever git did wrong on the way is found here.
//! 5. Each submodule that the commit's tree contains gets its URL from `.gitmodules` ([`modules`])
//!    and its commit from the tree of its superproject. The bare repository is removed before the
//!    next one is fetched.
//!
//! `plan` builds the command lines as values, `sinks` bounds what the commands print, and `intake`
//! runs them. [`RepositoryUrl`] and [`GitRef`] are the receipts of text that git cannot take for an
//! option, a credential or another host.
//!
//! `own_git` writes a `.git` with the commit, its trees and the ref, from the bytes that were
//! checked.
//!
//! A token ([`RepositoryToken`]) goes to the server of the repository's own URL: to its redirects
//! and submodules on the same host, port and scheme, and to no other server.
//!
//! Links may lead nowhere, since nobody can write to the tree, but never out of it.

mod check_out;
pub mod commit;
mod error;
mod intake;
pub mod modules;
mod objects;
mod own_git;
mod plan;
mod reason;
pub mod redirect;
mod reference;
mod resolve;
mod sinks;
mod token;
mod url;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use check_out::check_out;
pub use commit::MAX_COMMIT_BYTES;
pub use error::RepositoryError;
pub use modules::ModulesError;
pub use objects::Objects;
pub use plan::GitBinaryError;
pub use reference::{GitRef, MAX_REF_BYTES, ParseRefError};
pub use resolve::{RESOLVE_TIME_LIMIT, resolve};
pub use token::{MAX_TOKEN_BYTES, MIN_TOKEN_BYTES, RepositoryToken, TokenError};
pub use url::{MAX_URL_BYTES, ParseUrlError, RepositoryUrl};

use self::intake::{Intake, Taken};
use self::own_git::Contents;
use self::token::Discreet;
use super::archive::{Builder, TIMESTAMP};
use super::{Origin, ProjectName, SourceTree};
use crate::blocking::blocking;
use crate::sandbox::{OutputSink, Run, remove_directory};

/// Wall-clock time for the repository and its submodules together.
pub const FETCH_TIME_LIMIT: Duration = Duration::from_secs(15 * 60);

/// How large git's own data of one repository may be, in bytes.
pub const MAX_REPOSITORY_BYTES: u64 = 4 << 30;

/// How many submodules a repository may have, at all depths together.
pub const MAX_SUBMODULES: usize = 64;

/// How deep submodules may be nested.
pub const MAX_SUBMODULE_DEPTH: usize = 8;

/// Largest `.gitmodules`, as git lists it, in bytes.
pub const MAX_MODULES_BYTES: usize = 256 * 1024;

/// Name of the directory with the `.git` for the build, beside the source.
const OWN_GIT: &str = "git";

/// The log of a fetch that the client sees while it runs.
///
/// The output of git, most of which a server controls, is kept apart from the appliance's own
/// notes. An error ends the fetch.
pub trait FetchLog: OutputSink {
    /// Adds a note of the appliance, without a line ending.
    ///
    /// # Errors
    /// The note cannot be kept.
    fn note(&mut self, line: &str) -> io::Result<()>;
}

/// Fetches the commit that `reference` names, or else the default branch, and writes its files to
/// `directory/source`, and a `.git` about them to `directory/git`. Everything else that was written
/// to `directory` is removed again. Only the server of `url` gets the token.
///
/// # Errors
/// The repository yields no source tree, or there is an internal error.
pub async fn fetch(
    runner: &dyn Run,
    url: &RepositoryUrl,
    reference: Option<&GitRef>,
    token: Option<&RepositoryToken>,
    directory: &Path,
    sink: &mut dyn FetchLog,
) -> Result<SourceTree, RepositoryError> {
    std::fs::create_dir_all(directory)?;
    let root = directory.join("source");
    let scratch = directory.join("fetch");
    let builder = Builder::new(&root, 0)?;
    let mut log = Discreet::new(sink, token);
    let fetched = match std::fs::create_dir(&scratch) {
        Ok(()) => {
            let intake = Intake::new(runner, &mut log, &scratch, token);
            intake.take(url, reference, builder).await
        }
        Err(error) => Err(error.into()),
    };
    let cleaned = remove_directory(&scratch).map_err(RepositoryError::from);
    let flushed = log.flush().map_err(RepositoryError::from);
    let result = fetched.and_then(|taken| flushed.and(cleaned).map(|()| taken));
    if result.is_err() {
        std::fs::remove_dir_all(&root)?;
    }
    let mut taken = result?;
    let origin = Origin::Repository {
        url: url.clone(),
        reference: reference.cloned(),
        commit: taken.commit.id,
        fetched_from: taken.fetched_from.take(),
    };
    let project = ProjectName::of_repository(url.as_str());
    let (tree, time) = (taken.commit.tree, taken.commit.time);
    let git = directory.join(OWN_GIT);
    write_own_git(taken, root.clone(), git.clone()).await?;
    Ok(SourceTree::new(root, origin, tree, project, time).with_git(git))
}

/// Writes a `.git` about the files in `root`, which are those of the commit, to `target`.
async fn write_own_git(
    taken: Taken,
    root: PathBuf,
    target: PathBuf,
) -> Result<(), RepositoryError> {
    let writing = move || {
        let contents = Contents {
            commit: taken.commit.id,
            object: &taken.object,
            tree: &taken.tree,
            found: taken.found.as_ref(),
            root: &root,
            time: TIMESTAMP + 1,
        };
        contents.write(&target)
    };
    Ok(blocking(writing).await?)
}
