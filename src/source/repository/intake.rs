//! Takes one repository and its submodules from their servers into a source tree.
//!
//! * In: a URL, a ref and a builder.
//! * Out: the superproject's commit, and the files of all commits in the builder's directory.
//! * Never: files whose tree is not the one that their commit names.

use std::fs::{File, OpenOptions};
use std::io::Seek;
use std::path::Path;
use std::time::{Duration, Instant};

use super::commit::{Commit, MAX_COMMIT_BYTES};
use super::modules::Modules;
use super::objects::Objects;
use super::own_git::{FoundRef, MAX_TAG_BYTES, is_tag_of};
use super::plan::{self, Amount, Git};
use super::redirect::{self, RedirectError};
use super::resolve::{self, MAX_LISTING_BYTES};
use super::sinks::{self, Capture, Progress, Spool, Submodules};
use super::{
    FETCH_TIME_LIMIT, FetchLog, GitRef, MAX_MODULES_BYTES, MAX_REPOSITORY_BYTES,
    MAX_SUBMODULE_DEPTH, MAX_SUBMODULES, RepositoryError, RepositoryToken, RepositoryUrl,
};
use crate::blocking::blocking;
use crate::digest::GitOid;
use crate::sandbox::{CommandSpec, Exit, Run, RunError, remove_directory};
use crate::source::archive::{self, Builder, Label, MAX_UNPACKED_BYTES};
use crate::source::links::LinkPolicy;
use crate::source::output::Captured;
use crate::source::plain_file::Limited;
use crate::source::redirect::MAX_REDIRECTS;
use crate::source::tree::{Node, Tree};

/// Most bytes that git prints for one commit id.
const MAX_ID_LINE_BYTES: usize = 64;

/// A repository that is still to be fetched.
struct Pending {
    url: RepositoryUrl,
    reference: Option<GitRef>,
    /// The path of its files below the builder's root; empty for the superproject.
    path: Vec<String>,
    depth: usize,
}

/// The result of a fetch from one URL.
enum Step {
    Fetched(GitOid),
    /// The URL to fetch from instead.
    Redirected(RepositoryUrl),
}

/// The state of one fetch, superproject and submodules.
pub(super) struct Intake<'a> {
    runner: &'a dyn Run,
    sink: &'a mut dyn FetchLog,
    scratch: &'a Path,
    token: Option<&'a RepositoryToken>,
    started: Instant,
    /// The URL of the superproject that the server redirected to, if it did.
    fetched_from: Option<RepositoryUrl>,
    /// The bytes of the superproject's commit.
    object: Vec<u8>,
    /// The ref of the superproject.
    found: Option<FoundRef>,
}

/// What was taken from the servers.
pub(super) struct Taken {
    /// The superproject's commit.
    pub(super) commit: Commit,
    /// The bytes of that commit's object.
    pub(super) object: Vec<u8>,
    /// The ref that the client asked for, if it is a branch or a tag.
    pub(super) found: Option<FoundRef>,
    /// The files of all commits.
    pub(super) tree: Tree,
    /// The URL that the superproject was fetched from, if it is not the one that was asked for.
    pub(super) fetched_from: Option<RepositoryUrl>,
}

impl<'a> Intake<'a> {
    pub(super) fn new(
        runner: &'a dyn Run,
        sink: &'a mut dyn FetchLog,
        scratch: &'a Path,
        token: Option<&'a RepositoryToken>,
    ) -> Self {
        Self {
            runner,
            sink,
            scratch,
            token,
            started: Instant::now(),
            fetched_from: None,
            object: Vec::new(),
            found: None,
        }
    }

    /// Fetches the repository and all its submodules.
    pub(super) async fn take(
        mut self,
        url: &RepositoryUrl,
        reference: Option<&GitRef>,
        mut builder: Builder,
    ) -> Result<Taken, RepositoryError> {
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
        let finish = move || {
            builder
                .finish(LinkPolicy::StayInside)
                .map_err(RepositoryError::from)
        };
        let tree = blocking(finish).await?;
        Ok(Taken {
            commit: top,
            object: self.object,
            found: self.found,
            tree,
            fetched_from: self.fetched_from,
        })
    }

    /// Takes the files of a commit, and of its submodules, from objects that are on this machine.
    /// A submodule that was not fetched has no files.
    pub(super) async fn take_from(
        mut self,
        objects: &Objects<'_>,
        commit: GitOid,
        mut builder: Builder,
    ) -> Result<Commit, RepositoryError> {
        let mut top = None;
        let mut queue = vec![(Vec::new(), commit)];
        let mut count = 0;
        while let Some((prefix, id)) = queue.pop() {
            let directory = self.scratch.join("git");
            let git = objects.git(&directory, &prefix)?;
            let spec = git.commit(id, self.left()?);
            let object = self.capture(&spec, MAX_COMMIT_BYTES, "read the commit");
            let commit = Commit::parse(id, &object.await?)?;
            let submodules = self.list_submodules(&git, id).await?;
            count += submodules.len();
            if count > MAX_SUBMODULES {
                return Err(RepositoryError::TooManySubmodules {
                    limit: MAX_SUBMODULES,
                    depth: MAX_SUBMODULE_DEPTH,
                });
            }
            builder = self
                .write_files(&git, commit, &prefix, &submodules, builder)
                .await?;
            remove_directory(&directory)?;
            let paths = submodules.into_iter();
            let below = paths.map(|(path, id)| (below(&prefix, &path), id));
            queue.extend(below.filter(|(path, _)| objects.have(path)));
            top.get_or_insert(commit);
        }
        let finish = move || {
            builder
                .finish(LinkPolicy::StayInside)
                .map_err(RepositoryError::from)
        };
        blocking(finish).await?;
        top.ok_or(RepositoryError::Resolve)
    }

    /// Fetches one repository. Returns the builder, the commit and the submodules to fetch next.
    async fn take_one(
        &mut self,
        pending: &Pending,
        builder: Builder,
    ) -> Result<(Builder, Commit, Vec<Pending>), RepositoryError> {
        let directory = self.scratch.join("git");
        let git = Git::new(&directory)?;
        self.prepare(&git, &directory).await?;
        let id = self.fetch_commit(&git, &directory, pending).await?;
        let spec = git.commit(id, self.left()?);
        let object = self
            .capture(&spec, MAX_COMMIT_BYTES, "read the commit")
            .await?;
        let commit = Commit::parse(id, &object)?;
        if pending.depth == 0 {
            self.object = object;
            self.found = self.find_ref(&git, pending, id).await?;
        }
        let submodules = self.list_submodules(&git, id).await?;
        let builder = self
            .write_files(&git, commit, &pending.path, &submodules, builder)
            .await?;
        let below = self.submodules(&git, pending, submodules, &builder).await?;
        remove_directory(&directory)?;
        Ok((builder, commit, below))
    }

    /// Creates the bare repository.
    async fn prepare(&mut self, git: &Git, directory: &Path) -> Result<(), RepositoryError> {
        let info = directory.join("info");
        self.runner.make_writable_directory(directory)?;
        self.runner.make_writable_directory(&info)?;
        std::fs::write(info.join("attributes"), plan::ATTRIBUTES)?;
        let spec = git.init(self.left()?);
        self.capture(&spec, 0, "create a repository").await?;
        Ok(())
    }

    /// Fetches the commit from the repository's URL, or from one that the same server redirects to.
    async fn fetch_commit(
        &mut self,
        git: &Git,
        directory: &Path,
        pending: &Pending,
    ) -> Result<GitOid, RepositoryError> {
        let mut url = pending.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let reference = pending.reference.as_ref();
            match self.fetch_from(git, directory, &url, reference).await? {
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

    /// Fetches from one URL, the least amount of data first.
    async fn fetch_from(
        &mut self,
        git: &Git,
        directory: &Path,
        url: &RepositoryUrl,
        reference: Option<&GitRef>,
    ) -> Result<Step, RepositoryError> {
        let wanted = reference.and_then(GitRef::commit);
        let name = match (&wanted, reference) {
            (Some(id), _) => id.to_string(),
            (None, Some(reference)) => reference.as_str().to_owned(),
            (None, None) => "HEAD".to_owned(),
        };
        let remote = (url, self.token);
        let (mut exit, mut said) = (Exit::Status(0), None);
        for amount in Amount::to_try(wanted.is_some()) {
            let spec = git.fetch(remote, &name, *amount, self.left()?);
            (exit, said) = self.try_fetch(&spec, directory).await?;
            if exit == Exit::RefusedAddress {
                return Err(RepositoryError::RefusedAddress { url: url.clone() });
            }
            if exit.success() {
                let id = self.resolve(git, reference, *amount, wanted).await?;
                return Ok(Step::Fetched(id));
            }
            if *amount == Amount::Commit
                && let Some(next) = redirect::one_step(self.runner, remote, self.left()?).await?
            {
                let note = format!("the server has this repository at {next}");
                self.sink.note(&note)?;
                return Ok(Step::Redirected(next));
            }
        }
        Err(RepositoryError::git("fetch the ref", exit, said, remote))
    }

    /// Returns the commit that was fetched, which must be the wanted one if an id was given.
    async fn resolve(
        &mut self,
        git: &Git,
        reference: Option<&GitRef>,
        amount: Amount,
        wanted: Option<GitOid>,
    ) -> Result<GitOid, RepositoryError> {
        let spec = git.resolve(reference, amount, self.left()?);
        let line = self
            .capture(&spec, MAX_ID_LINE_BYTES, "resolve the ref")
            .await?;
        let actual = parse_id(&line)?;
        if let Some(expected) = wanted
            && expected != actual
        {
            return Err(RepositoryError::OtherCommit { expected, actual });
        }
        Ok(actual)
    }

    /// Returns the ref that the client named as the repository has it; none for a commit, and for a
    /// ref that is another one by now.
    async fn find_ref(
        &mut self,
        git: &Git,
        pending: &Pending,
        commit: GitOid,
    ) -> Result<Option<FoundRef>, RepositoryError> {
        let named = pending.reference.as_ref();
        let is_ref = |named: &&GitRef| named.commit().is_none() && named.as_str() != "HEAD";
        let Some(named) = named.filter(is_ref) else {
            return Ok(None);
        };
        let spec = git.fetched(self.left()?);
        let line = self.capture(&spec, MAX_ID_LINE_BYTES, "find the ref");
        let id = parse_id(&line.await?)?;
        let Some(name) = self.full_name(pending, named.as_str(), id).await? else {
            return Ok(None);
        };
        if id == commit {
            return Ok(Some(FoundRef { name, tag: None }));
        }
        let spec = git.tag(id, self.left()?);
        let object = self.capture(&spec, MAX_TAG_BYTES, "read the tag").await?;
        let is_it = GitOid::of_object("tag", &object) == id && is_tag_of(&object, commit);
        let tag = Some(object);
        Ok(is_it.then_some(FoundRef { name, tag }))
    }

    /// Asks the server what a name stands for, unless it is a full one.
    async fn full_name(
        &mut self,
        pending: &Pending,
        name: &str,
        id: GitOid,
    ) -> Result<Option<String>, RepositoryError> {
        if name.starts_with("refs/") {
            let is_complete = name.split('/').count() > 2;
            return Ok(is_complete.then(|| name.to_owned()));
        }
        let url = self.fetched_from.as_ref().unwrap_or(&pending.url);
        let spec = plan::list_refs(plan::binary()?, (url, self.token), name, self.left()?);
        let listing = self
            .capture(&spec, MAX_LISTING_BYTES, "list the ref")
            .await?;
        Ok(resolve::full_name(&listing, name, id))
    }

    /// Runs one fetch and measures its data. Returns how git ended, unless a limit was exceeded.
    async fn try_fetch(
        &mut self,
        spec: &CommandSpec,
        directory: &Path,
    ) -> Result<(Exit, Option<String>), RepositoryError> {
        let mut progress = Progress::new(self.sink, directory, MAX_REPOSITORY_BYTES);
        let result = self.runner.run(spec, &mut progress).await;
        if progress.exceeded || sinks::size(directory, MAX_REPOSITORY_BYTES) > MAX_REPOSITORY_BYTES
        {
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

    /// Returns the submodules of a commit: their paths and commits.
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

    /// Writes the files of a commit, and compares their tree with the one that the commit names.
    async fn write_files(
        &mut self,
        git: &Git,
        commit: Commit,
        prefix: &[String],
        submodules: &[(String, GitOid)],
        mut builder: Builder,
    ) -> Result<Builder, RepositoryError> {
        let (tar, bytes) = self.spool(&git.archive(commit.id, self.left()?)).await?;
        builder.enter(prefix, bytes);
        let unpack = move || {
            archive::unpack_git_tar(tar, &mut builder)?;
            Ok::<_, RepositoryError>(builder)
        };
        let mut builder = blocking(unpack).await?;
        for (path, id) in submodules {
            if !builder.insert_submodule(&below(prefix, path), *id) {
                return Err(RepositoryError::SubmoduleDirectory {
                    path: Label::of(path.as_bytes()),
                });
            }
        }
        let no_files = Tree::default();
        let files = builder.tree().subtree(prefix);
        let actual = files.unwrap_or(&no_files).oid();
        if actual != commit.tree {
            return Err(RepositoryError::TreeHash {
                commit: commit.id,
                expected: commit.tree,
                actual,
            });
        }
        Ok(builder)
    }

    /// Returns the submodules that are still to be fetched, with their URLs.
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
        let mut submodules = Vec::new();
        for (path, id) in found {
            submodules.push(Pending {
                url: modules.url(&path, &pending.url)?,
                reference: GitRef::parse(&id.to_string()).ok(),
                path: below(&pending.path, &path),
                depth: pending.depth + 1,
            });
        }
        Ok(submodules)
    }

    /// Reads `.gitmodules`; a repository without that file has no settings.
    async fn read_modules(
        &mut self,
        git: &Git,
        pending: &Pending,
        builder: &Builder,
    ) -> Result<Modules, RepositoryError> {
        let tree = builder.tree().subtree(&pending.path);
        let node = tree.and_then(|tree| tree.entries.get(&b".gitmodules"[..]));
        if !matches!(node, Some(Node::File { .. })) {
            return Ok(Modules::parse(b"")?);
        }
        let mut file = builder.root().to_owned();
        file.extend(&pending.path);
        file.push(".gitmodules");
        let spec = git.modules(&file, self.left()?);
        let listing = self
            .capture(&spec, MAX_MODULES_BYTES, "read .gitmodules")
            .await?;
        Ok(Modules::parse(&listing)?)
    }

    /// Runs a command and returns its output, at most `limit` bytes.
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

    /// Runs a command and returns its output in a file without a name, with the number of bytes.
    async fn spool(&mut self, spec: &CommandSpec) -> Result<(File, u64), RepositoryError> {
        let path = self.scratch.join("files.tar");
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

    /// Returns how much time is left.
    fn left(&self) -> Result<Duration, RepositoryError> {
        let left = FETCH_TIME_LIMIT.checked_sub(self.started.elapsed());
        left.ok_or(RepositoryError::TimedOut {
            limit: FETCH_TIME_LIMIT,
        })
    }
}

/// Returns the path of a submodule below the builder's root.
fn below(prefix: &[String], path: &str) -> Vec<String> {
    let mut components = prefix.to_vec();
    components.extend(path.split('/').map(str::to_owned));
    components
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
