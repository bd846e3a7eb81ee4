//! Repositories. Comes in: a URL and a ref. Goes out: a [`SourceTree`] whose commit and tree ids were computed here.
//! Never: git's word for an id, a file that a sandbox can still write to, or a link that leaves the tree.
//!
//! 1. `git fetch` in a sandbox with network, into a folder of git's own: first one commit, then what the server can do.
//!    It follows no redirect; `git ls-remote` finds out where one leads, and only one on the same host, port and scheme is
//!    asked instead.
//! 2. Everything else without network and with that folder read-only. The commit object must hash to its id.
//! 3. `git archive` prints the files; they go through the same checks as an upload and are written by the service, not
//!    by git. Their tree must be the one that the commit names: whatever git did wrong on the way shows here.
//! 4. Submodules the same way, each by the commit that its superproject names.
//!
//! Links may lead nowhere, since nobody can write to the tree, but never out of it.

pub mod commit;
pub mod modules;
mod plan;
mod reason;
pub mod redirect;
mod reference;
mod resolve;
mod sinks;
mod url;

use std::fs::{File, OpenOptions};
use std::io::{self, Seek};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use commit::MAX_COMMIT_BYTES;
pub use modules::ModulesError;
pub use reference::{GitRef, MAX_REF_BYTES, ParseRefError};
pub use resolve::{RESOLVE_TIME_LIMIT, resolve};
pub use url::{MAX_URL_BYTES, ParseUrlError, RepositoryUrl};

use self::commit::Commit;
use self::modules::Modules;
pub use self::plan::GitBinaryError;
use self::plan::{Amount, Git};
use self::redirect::RedirectError;
use self::sinks::{Capture, Progress, Spool, Submodules};
use super::archive::{self, ArchiveError, Builder, Label, MAX_UNPACKED_BYTES};
use super::links::Policy;
use super::output::Captured;
use super::plain_file::Limited;
use super::redirect::MAX_REDIRECTS;
use super::tree::{Node, Tree};
use super::{Origin, ProjectName, SourceTree};
use crate::blocking::blocking;
use crate::digest::GitOid;
use crate::sandbox::{CommandSpec, Exit, OutputSink, Run, RunError, remove_folder};

/// Wall-clock time for everything that belongs to one repository.
pub const FETCH_TIME_LIMIT: Duration = Duration::from_secs(15 * 60);

/// How large git's own data of one repository may be, in bytes.
pub const MAX_REPOSITORY_BYTES: u64 = 4 << 30;

/// How many submodules a repository may have, in all depths.
pub const MAX_SUBMODULES: usize = 64;

/// How deep submodules may be nested.
pub const MAX_SUBMODULE_DEPTH: usize = 8;

/// Largest `.gitmodules`, as git lists it, in bytes.
pub const MAX_MODULES_BYTES: usize = 256 * 1024;

/// Why there is no source tree.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The machine has no git that could be used.
    #[error(transparent)]
    GitBinary(#[from] GitBinaryError),
    /// Git did not succeed; the log has what it said.
    #[error("git could not {action}{}", .said.as_ref().map(|said| format!(": {said}")).unwrap_or_default())]
    Git {
        /// What it should have done.
        action: &'static str,
        /// How it ended.
        exit: Exit,
        /// Its own reason, on one line of limited length.
        said: Option<String>,
    },
    /// The repository does not have the ref.
    #[error("git could not resolve the ref: couldn't find remote ref {reference}")]
    NoSuchRef {
        /// As the client gave it.
        reference: String,
    },
    /// The server sends us elsewhere.
    #[error(transparent)]
    Redirect(#[from] RedirectError),
    /// It is at an address that fetch phases do not reach.
    #[error("{url} is at no public address: only public addresses are reached")]
    RefusedAddress {
        /// What was asked for. The address is in the log of the machine.
        url: RepositoryUrl,
    },
    /// Too slow.
    #[error("the repository took longer than {} s", limit.as_secs())]
    TimedOut {
        /// [`FETCH_TIME_LIMIT`].
        limit: Duration,
    },
    /// Too large.
    #[error("{what} has more than {limit} bytes")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// Bytes that are allowed.
        limit: u64,
    },
    /// What git printed is no commit id.
    #[error("the ref was resolved to no commit id")]
    Resolve,
    /// Another commit than the client, or the superproject, asked for.
    #[error("commit {expected} was asked for, the repository gave {actual}")]
    OtherCommit {
        /// As asked for.
        expected: GitOid,
        /// As resolved.
        actual: GitOid,
    },
    /// The commit object does not hash to its id.
    #[error("the commit object of {expected} hashes to {actual}")]
    CommitHash {
        /// Its id.
        expected: GitOid,
        /// Of its bytes.
        actual: GitOid,
    },
    /// The commit object has no tree or no time.
    #[error("the commit object of {commit} is malformed")]
    CommitFormat {
        /// Its id.
        commit: GitOid,
    },
    /// The files are not those of the commit.
    #[error("commit {commit} names tree {expected}, its files make tree {actual}")]
    TreeHash {
        /// Whose files.
        commit: GitOid,
        /// As the commit object says.
        expected: GitOid,
        /// Of the files.
        actual: GitOid,
    },
    /// The files of the commit are refused.
    #[error("the repository's files are refused")]
    Files(#[source] ArchiveError),
    /// Too many submodules, or nested too deep.
    #[error("the repository has more than {limit} submodules, or nests them deeper than {depth}")]
    TooManySubmodules {
        /// [`MAX_SUBMODULES`].
        limit: usize,
        /// [`MAX_SUBMODULE_DEPTH`].
        depth: usize,
    },
    /// The listing names a submodule where the files have none.
    #[error("there is no place for the submodule `{path}`")]
    SubmodulePlace {
        /// Escaped.
        path: Label,
    },
    /// What the repository says about its submodules.
    #[error("the repository's .gitmodules is refused")]
    Modules(#[from] ModulesError),
    /// The sandbox failed.
    #[error("git could not be run")]
    Run(#[source] RunError),
    /// A fault of ours.
    #[error("the repository could not be written")]
    Io(#[from] io::Error),
}

impl RepositoryError {
    /// Whether the fault is ours, not the repository's or its server's.
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

/// Takes what a client sees of a fetch while it runs: git's output, which a server writes much of,
/// and apart from it notes of ours. An error ends the fetch.
pub trait FetchLog: OutputSink {
    /// Takes a note of ours, without a line ending.
    ///
    /// # Errors
    /// When it cannot be kept.
    fn note(&mut self, line: &str) -> io::Result<()>;
}

/// Fetches the commit that `reference`, or the default branch, names, and makes its files the folder
/// `folder/source`. Everything else that it puts into `folder` is gone afterwards.
///
/// # Errors
/// Why there is no such tree, or a fault of ours.
pub async fn fetch(
    runner: &dyn Run,
    url: &RepositoryUrl,
    reference: Option<&GitRef>,
    folder: &Path,
    sink: &mut dyn FetchLog,
) -> Result<SourceTree, RepositoryError> {
    std::fs::create_dir_all(folder)?;
    let root = folder.join("source");
    let scratch = folder.join("fetch");
    let builder = Builder::new(&root, 0)?;
    let fetched = match std::fs::create_dir(&scratch) {
        Ok(()) => {
            let intake = Intake {
                runner,
                sink,
                scratch: &scratch,
                started: Instant::now(),
                fetched_from: None,
            };
            intake.take(url, reference, builder).await
        }
        Err(error) => Err(error.into()),
    };
    let cleaned = remove_folder(&scratch);
    let result = fetched.and_then(|taken| cleaned.map(|()| taken).map_err(RepositoryError::from));
    if result.is_err() {
        std::fs::remove_dir_all(&root)?;
    }
    let (commit, fetched_from) = result?;
    let project = ProjectName::of_repository(url.as_str());
    let (url, reference) = (url.clone(), reference.cloned());
    let origin = Origin::Repository {
        url,
        reference,
        commit: commit.id,
        fetched_from,
    };
    Ok(SourceTree::new(
        root,
        origin,
        commit.tree,
        project,
        commit.time,
    ))
}

/// A repository that is still to be fetched.
struct Pending {
    url: RepositoryUrl,
    reference: Option<GitRef>,
    /// Where its files go; empty for the superproject.
    path: Vec<String>,
    depth: usize,
}

/// What came of asking one URL.
enum Step {
    Fetched(GitOid),
    /// To ask instead.
    Redirected(RepositoryUrl),
}

struct Intake<'a> {
    runner: &'a dyn Run,
    sink: &'a mut dyn FetchLog,
    scratch: &'a Path,
    started: Instant,
    /// Where the superproject was, if the server sent us there.
    fetched_from: Option<RepositoryUrl>,
}

impl Intake<'_> {
    async fn take(
        mut self,
        url: &RepositoryUrl,
        reference: Option<&GitRef>,
        mut builder: Builder,
    ) -> Result<(Commit, Option<RepositoryUrl>), RepositoryError> {
        let first = Pending {
            url: url.clone(),
            reference: reference.cloned(),
            path: Vec::new(),
            depth: 0,
        };
        let (top, mut queue);
        (builder, top, queue) = self.take_one(&first, builder).await?;
        let mut count = queue.len();
        while let Some(next) = queue.pop() {
            if count > MAX_SUBMODULES || next.depth > MAX_SUBMODULE_DEPTH {
                return Err(RepositoryError::TooManySubmodules {
                    limit: MAX_SUBMODULES,
                    depth: MAX_SUBMODULE_DEPTH,
                });
            }
            let below;
            (builder, _, below) = self.take_one(&next, builder).await?;
            count += below.len();
            queue.extend(below);
        }
        blocking(move || {
            builder
                .finish(Policy::StayInside)
                .map_err(RepositoryError::from)
        })
        .await?;
        Ok((top, self.fetched_from))
    }

    /// Fetches one repository; returns its commit and its submodules.
    async fn take_one(
        &mut self,
        pending: &Pending,
        builder: Builder,
    ) -> Result<(Builder, Commit, Vec<Pending>), RepositoryError> {
        let folder = self.scratch.join("git");
        let git = Git::new(&folder)?;
        self.prepare(&git, &folder).await?;
        let id = self.fetch_commit(&git, &folder, pending).await?;
        let object = self
            .capture(
                &git.commit(id, self.left()?),
                MAX_COMMIT_BYTES,
                "read the commit",
            )
            .await?;
        let commit = Commit::parse(id, &object)?;
        let submodules = self.list_submodules(&git, id).await?;
        let builder = self
            .write_files(&git, commit, pending, &submodules, builder)
            .await?;
        let below = self.submodules(&git, pending, submodules, &builder).await?;
        remove_folder(&folder)?;
        Ok((builder, commit, below))
    }

    async fn prepare(&mut self, git: &Git, folder: &Path) -> Result<(), RepositoryError> {
        let info = folder.join("info");
        self.runner.make_writable_folder(folder)?;
        self.runner.make_writable_folder(&info)?;
        std::fs::write(info.join("attributes"), plan::ATTRIBUTES)?;
        self.capture(&git.init(self.left()?), 0, "make a folder")
            .await?;
        Ok(())
    }

    /// Fetches the commit from where the server, and nobody else, has it.
    async fn fetch_commit(
        &mut self,
        git: &Git,
        folder: &Path,
        pending: &Pending,
    ) -> Result<GitOid, RepositoryError> {
        let mut url = pending.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            match self
                .fetch_from(git, folder, &url, pending.reference.as_ref())
                .await?
            {
                Step::Fetched(id) => {
                    if pending.depth == 0 && url != pending.url {
                        self.fetched_from = Some(url);
                    }
                    return Ok(id);
                }
                Step::Redirected(next) => url = next,
            }
        }
        Err(RedirectError::TooMany {
            from: pending.url.clone(),
            to: url,
            limit: MAX_REDIRECTS,
        }
        .into())
    }

    async fn fetch_from(
        &mut self,
        git: &Git,
        folder: &Path,
        url: &RepositoryUrl,
        reference: Option<&GitRef>,
    ) -> Result<Step, RepositoryError> {
        let wanted = reference.and_then(GitRef::commit);
        let name = match (&wanted, reference) {
            (Some(id), _) => id.to_string(),
            (None, Some(reference)) => reference.as_str().to_owned(),
            (None, None) => "HEAD".to_owned(),
        };
        let amounts = [Amount::Commit, Amount::History, Amount::Everything];
        let amounts = if wanted.is_some() {
            &amounts[..]
        } else {
            &amounts[..2]
        };
        let (mut exit, mut said) = (Exit::Status(0), None);
        for amount in amounts {
            (exit, said) = self
                .try_fetch(&git.fetch(url, &name, *amount, self.left()?), folder)
                .await?;
            if exit == Exit::RefusedAddress {
                return Err(RepositoryError::RefusedAddress { url: url.clone() });
            }
            if exit.success() {
                return self
                    .resolve(git, reference, *amount, wanted)
                    .await
                    .map(Step::Fetched);
            }
            if *amount == Amount::Commit
                && let Some(next) = redirect::one_step(self.runner, url, self.left()?).await?
            {
                self.sink
                    .note(&format!("the server has this repository at {next}"))?;
                return Ok(Step::Redirected(next));
            }
        }
        Err(RepositoryError::Git {
            action: "fetch the ref",
            exit,
            said,
        })
    }

    /// The commit that was fetched, which has to be the wanted one.
    async fn resolve(
        &mut self,
        git: &Git,
        reference: Option<&GitRef>,
        amount: Amount,
        wanted: Option<GitOid>,
    ) -> Result<GitOid, RepositoryError> {
        let spec = git.resolve(reference, amount, self.left()?);
        let actual = parse_id(&self.capture(&spec, 64, "resolve the ref").await?)?;
        match wanted {
            Some(expected) if expected != actual => {
                Err(RepositoryError::OtherCommit { expected, actual })
            }
            _ => Ok(actual),
        }
    }

    async fn try_fetch(
        &mut self,
        spec: &CommandSpec,
        folder: &Path,
    ) -> Result<(Exit, Option<String>), RepositoryError> {
        let mut progress = Progress::new(self.sink, folder, MAX_REPOSITORY_BYTES);
        let result = self.runner.run(spec, &mut progress).await;
        if progress.exceeded || sinks::size(folder, MAX_REPOSITORY_BYTES) > MAX_REPOSITORY_BYTES {
            return Err(RepositoryError::TooLarge {
                what: "the repository",
                limit: MAX_REPOSITORY_BYTES,
            });
        }
        match result.map_err(RepositoryError::Run)? {
            Exit::TimedOut { .. } => Err(RepositoryError::TimedOut {
                limit: FETCH_TIME_LIMIT,
            }),
            exit => Ok((exit, progress.reason)),
        }
    }

    async fn list_submodules(
        &mut self,
        git: &Git,
        id: GitOid,
    ) -> Result<Vec<(String, GitOid)>, RepositoryError> {
        let spec = git.list(id, self.left()?);
        let mut sink = Submodules::new(self.sink, MAX_SUBMODULES);
        let result = self.runner.run(&spec, &mut sink).await;
        if sink.exceeded {
            return Err(RepositoryError::TooManySubmodules {
                limit: MAX_SUBMODULES,
                depth: MAX_SUBMODULE_DEPTH,
            });
        }
        succeeded(result, "list the files")?;
        Ok(sink.found)
    }

    async fn write_files(
        &mut self,
        git: &Git,
        commit: Commit,
        pending: &Pending,
        submodules: &[(String, GitOid)],
        mut builder: Builder,
    ) -> Result<Builder, RepositoryError> {
        let (tar, bytes) = self.spool(&git.archive(commit.id, self.left()?)).await?;
        builder.enter(&pending.path, bytes);
        let unpack = move || {
            archive::unpack_git_tar(tar, &mut builder)?;
            Ok::<_, RepositoryError>(builder)
        };
        let mut builder = blocking(unpack).await?;
        for (path, id) in submodules {
            if !builder.place_submodule(&below(pending, path), *id) {
                return Err(RepositoryError::SubmodulePlace {
                    path: Label::of(path.as_bytes()),
                });
            }
        }
        let actual = builder
            .tree()
            .subtree(&pending.path)
            .unwrap_or(&Tree::default())
            .oid();
        if actual != commit.tree {
            return Err(RepositoryError::TreeHash {
                commit: commit.id,
                expected: commit.tree,
                actual,
            });
        }
        Ok(builder)
    }

    async fn submodules(
        &mut self,
        git: &Git,
        pending: &Pending,
        found: Vec<(String, GitOid)>,
        builder: &Builder,
    ) -> Result<Vec<Pending>, RepositoryError> {
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let modules = self.read_modules(git, pending, builder).await?;
        let pending_below = |(path, id): (String, GitOid)| {
            let reference = GitRef::parse(&id.to_string()).ok();
            let url = modules.url(&path, &pending.url)?;
            Ok(Pending {
                url,
                reference,
                path: below(pending, &path),
                depth: pending.depth + 1,
            })
        };
        found.into_iter().map(pending_below).collect()
    }

    async fn read_modules(
        &mut self,
        git: &Git,
        pending: &Pending,
        builder: &Builder,
    ) -> Result<Modules, RepositoryError> {
        let tree = builder.tree().subtree(&pending.path);
        if !matches!(
            tree.and_then(|tree| tree.entries.get(&b".gitmodules"[..])),
            Some(Node::File { .. })
        ) {
            return Ok(Modules::parse(b"")?);
        }
        let folder = pending
            .path
            .iter()
            .fold(builder.root().to_owned(), |path, component| {
                path.join(component)
            });
        let spec = git.modules(&folder.join(".gitmodules"), self.left()?);
        let listing = self
            .capture(&spec, MAX_MODULES_BYTES, "read .gitmodules")
            .await?;
        Ok(Modules::parse(&listing)?)
    }

    async fn capture(
        &mut self,
        spec: &CommandSpec,
        limit: usize,
        action: &'static str,
    ) -> Result<Vec<u8>, RepositoryError> {
        let mut sink = Capture {
            log: self.sink,
            output: Captured::new(limit),
        };
        let result = self.runner.run(spec, &mut sink).await;
        if sink.output.is_exceeded() {
            return Err(RepositoryError::TooLarge {
                what: "what git printed",
                limit: limit as u64,
            });
        }
        succeeded(result, action)?;
        Ok(sink.output.into_bytes())
    }

    async fn spool(&mut self, spec: &CommandSpec) -> Result<(File, u64), RepositoryError> {
        let path: PathBuf = self.scratch.join("files.tar");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        std::fs::remove_file(&path)?;
        let mut sink = Spool {
            log: self.sink,
            file: Limited::new(file, MAX_UNPACKED_BYTES),
            fault: None,
        };
        let result = self.runner.run(spec, &mut sink).await;
        if sink.file.is_exceeded() {
            return Err(RepositoryError::TooLarge {
                what: "the checked-out tree",
                limit: MAX_UNPACKED_BYTES,
            });
        }
        if let Some(fault) = sink.fault {
            return Err(fault.into());
        }
        succeeded(result, "write the files")?;
        let bytes = MAX_UNPACKED_BYTES - sink.file.left();
        let mut file = sink.file.into_inner();
        file.rewind()?;
        Ok((file, bytes))
    }

    fn left(&self) -> Result<Duration, RepositoryError> {
        let left = FETCH_TIME_LIMIT.checked_sub(self.started.elapsed());
        left.ok_or(RepositoryError::TimedOut {
            limit: FETCH_TIME_LIMIT,
        })
    }
}

fn below(pending: &Pending, path: &str) -> Vec<String> {
    pending
        .path
        .iter()
        .cloned()
        .chain(path.split('/').map(str::to_owned))
        .collect()
}

fn parse_id(line: &[u8]) -> Result<GitOid, RepositoryError> {
    let text = line
        .strip_suffix(b"\n")
        .and_then(|digits| std::str::from_utf8(digits).ok());
    text.and_then(|digits| digits.parse().ok())
        .ok_or(RepositoryError::Resolve)
}

fn succeeded(result: Result<Exit, RunError>, action: &'static str) -> Result<(), RepositoryError> {
    match result.map_err(RepositoryError::Run)? {
        exit if exit.success() => Ok(()),
        Exit::TimedOut { .. } => Err(RepositoryError::TimedOut {
            limit: FETCH_TIME_LIMIT,
        }),
        exit => Err(RepositoryError::Git {
            action,
            exit,
            said: None,
        }),
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
