//! Finds out whether a repository has the ref that a client names, before anything is built of it.
//!
//! * In: a URL and a ref.
//! * Out: nothing, or why the ref cannot be resolved.
//! * Never: a fetch of more than a few megabytes. A commit that is not found in those is left to the fetch.
//!
//! 1. `git ls-remote` lists the refs of that name. It follows no redirect; one that the fetch would follow is asked next.
//! 2. Commits are not listed. For a commit, git fetches it alone, and where the server does not deliver it by its id,
//!    all branches and tags.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::plan::{self, Amount, Git};
use super::redirect::{self, RedirectError};
use super::{GitRef, RepositoryError, RepositoryToken, RepositoryUrl, reason};
use crate::digest::GitOid;
use crate::sandbox::{CommandSpec, Exit, OutputSink, Run, Stream, remove_directory};
use crate::source::output::Captured;
use crate::source::redirect::MAX_REDIRECTS;

/// Wall-clock time for everything that belongs to one resolution: shorter than a client waits for a response.
pub const RESOLVE_TIME_LIMIT: Duration = Duration::from_secs(60);

/// Most bytes of a listing of refs.
pub(super) const MAX_LISTING_BYTES: usize = 1 << 20;

/// Most bytes that are fetched for a commit, measured as git's own data.
const MAX_COMMIT_BYTES: u64 = 32 << 20;

/// How often the size of a fetch is measured.
const MEASURE_INTERVAL: Duration = Duration::from_millis(250);

/// Longest line of git's that is read, in bytes.
const MAX_LINE_BYTES: usize = 1024;

/// What git looks a name up as, in this order (`gitrevisions(7)`).
const RULES: [[&str; 2]; 6] = [
    ["", ""],
    ["refs/", ""],
    ["refs/tags/", ""],
    ["refs/heads/", ""],
    ["refs/remotes/", ""],
    ["refs/remotes/", "/HEAD"],
];

/// Resolves `reference`, or the default branch, of the repository at `url`; `directory` is made for it and removed.
///
/// # Errors
/// Why there is no such repository or ref, or an internal error.
pub async fn resolve(
    runner: &dyn Run,
    url: &RepositoryUrl,
    reference: Option<&GitRef>,
    token: Option<&RepositoryToken>,
    directory: &Path,
) -> Result<(), RepositoryError> {
    let started = Instant::now();
    let question = Question {
        runner,
        reference,
        token,
        started,
    };
    let mut last = url.clone();
    for _ in 0..=MAX_REDIRECTS {
        let Some(next) = question.ask(&last).await? else {
            return question.ask_for_commit(&last, directory).await;
        };
        last = next;
    }
    Err(RedirectError::TooMany {
        from: url.clone(),
        to: last,
        limit: MAX_REDIRECTS,
    }
    .into())
}

struct Question<'a> {
    runner: &'a dyn Run,
    reference: Option<&'a GitRef>,
    token: Option<&'a RepositoryToken>,
    started: Instant,
}

impl Question<'_> {
    fn left(&self) -> Duration {
        RESOLVE_TIME_LIMIT.saturating_sub(self.started.elapsed())
    }

    /// Lists the ref, and returns the URL to ask instead, if there is one.
    async fn ask(&self, url: &RepositoryUrl) -> Result<Option<RepositoryUrl>, RepositoryError> {
        let name = match self.reference {
            Some(reference) if reference.commit().is_none() => reference.as_str(),
            _ => "HEAD",
        };
        let remote = (url, self.token);
        let spec = plan::list_refs(plan::binary()?, remote, name, self.left());
        let mut said = Said::new(None);
        let exit = self.run(&spec, &mut said).await?;
        if exit == Exit::RefusedAddress {
            return Err(RepositoryError::RefusedAddress { url: url.clone() });
        }
        if !exit.success() {
            let next = redirect::one_step(self.runner, remote, self.left()).await?;
            let failed = || RepositoryError::git("ask the repository", exit, said.reason, remote);
            return next.map(Some).ok_or_else(failed);
        }
        let is_commit = self.reference.and_then(GitRef::commit).is_some();
        if is_commit || has_ref(said.listing.bytes(), name) {
            return Ok(None);
        }
        Err(RepositoryError::NoSuchRef {
            reference: name.to_owned(),
        })
    }

    /// Fetches the commit, if the ref is one, from `url`, which answers.
    async fn ask_for_commit(
        &self,
        url: &RepositoryUrl,
        directory: &Path,
    ) -> Result<(), RepositoryError> {
        let Some(commit) = self.reference.and_then(GitRef::commit) else {
            return Ok(());
        };
        remove_directory(directory)?;
        let git = Git::new(directory)?;
        self.runner.make_writable_directory(directory)?;
        let found = self
            .fetch_commit(&git, url, directory, &commit.to_string())
            .await;
        remove_directory(directory)?;
        if found? {
            return Ok(());
        }
        Err(RepositoryError::NoSuchRef {
            reference: commit.to_string(),
        })
    }

    /// Returns whether the repository has the commit; one that was not found within the limits counts as found.
    async fn fetch_commit(
        &self,
        git: &Git,
        url: &RepositoryUrl,
        directory: &Path,
        commit: &str,
    ) -> Result<bool, RepositoryError> {
        self.run(&git.init(self.left()), &mut Said::new(None))
            .await?;
        for amount in [Amount::Commit, Amount::Everything] {
            let mut said = Said::new(Some(directory));
            let spec = git.fetch((url, self.token), commit, amount, self.left());
            let run = self.run(&spec, &mut said).await;
            if said.is_too_much || matches!(run, Ok(Exit::TimedOut { .. })) {
                return Ok(true);
            }
            if run?.success() {
                let spec = git.resolve(self.reference, amount, self.left());
                let exit = self.run(&spec, &mut Said::new(None)).await?;
                return Ok(exit.success());
            }
        }
        Ok(false)
    }

    async fn run(&self, spec: &CommandSpec, said: &mut Said<'_>) -> Result<Exit, RepositoryError> {
        let ended = self.runner.run(spec, said).await;
        if said.is_too_much {
            return Ok(Exit::Status(1));
        }
        ended.map_err(RepositoryError::Run)
    }
}

/// Returns the full name of the ref that git takes `name` for, in a listing of `ID\tNAME` lines, if
/// its object is `id`.
pub(super) fn full_name(listing: &[u8], name: &str, id: GitOid) -> Option<String> {
    let listing = String::from_utf8_lossy(listing);
    let id = id.to_string();
    let lines = || listing.lines().filter_map(|line| line.split_once('\t'));
    let mut names = RULES
        .iter()
        .map(|[before, after]| format!("{before}{name}{after}"));
    let found = names.find_map(|full| lines().find(|(_, listed)| *listed == full))?;
    let is_ref = found.1.starts_with("refs/") && found.1.split('/').count() > 2;
    (found.0 == id && is_ref).then(|| found.1.to_owned())
}

/// Whether a listing of `ID\tNAME` lines has a ref that git takes `name` for.
fn has_ref(listing: &[u8], name: &str) -> bool {
    let listing = String::from_utf8_lossy(listing);
    let is_it = |listed: &str| {
        let is_rule = |[before, after]: &[&str; 2]| {
            let rest = listed.strip_prefix(before);
            rest.and_then(|rest| rest.strip_suffix(after)) == Some(name)
        };
        RULES.iter().any(is_rule)
    };
    let names = listing.lines().filter_map(|line| line.split_once('\t'));
    names.map(|(_, listed)| listed).any(is_it)
}

/// What git says: its listing, and its reason to give up.
struct Said<'a> {
    listing: Captured,
    line: Vec<u8>,
    reason: Option<String>,
    /// The directory whose size is limited.
    measured: Option<&'a Path>,
    since: Instant,
    is_too_much: bool,
}

impl<'a> Said<'a> {
    fn new(measured: Option<&'a Path>) -> Self {
        Self {
            listing: Captured::new(MAX_LISTING_BYTES),
            line: Vec::new(),
            reason: None,
            measured,
            since: Instant::now(),
            is_too_much: false,
        }
    }

    fn measure(&mut self) {
        let Some(directory) = self
            .measured
            .filter(|_| self.since.elapsed() > MEASURE_INTERVAL)
        else {
            return;
        };
        self.since = Instant::now();
        self.is_too_much = super::sinks::size(directory, MAX_COMMIT_BYTES) > MAX_COMMIT_BYTES;
    }
}

impl OutputSink for Said<'_> {
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        self.measure();
        if self.is_too_much {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if stream == Stream::Stdout {
            // A listing that is longer than its limit names the ref in the part that is kept, or not at all.
            let _ = self.listing.take(bytes);
            return Ok(());
        }
        for &byte in bytes {
            match byte {
                b'\n' | b'\r' => {
                    let line = std::mem::take(&mut self.line);
                    self.reason = reason::of_line(&line).or(self.reason.take());
                }
                byte if self.line.len() < MAX_LINE_BYTES => self.line.push(byte),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_ref_is_one_that_git_would_take_the_name_for() {
        let listing = "01\tHEAD\n02\trefs/heads/main\n03\trefs/tags/v1\n03\trefs/tags/v1^{}\n04\trefs/heads/x/y\n";
        let has = |name| has_ref(listing.as_bytes(), name);
        for name in ["HEAD", "main", "v1", "heads/main", "refs/tags/v1", "x/y"] {
            assert!(has(name), "{name}");
        }
        for name in ["y", "v", "vv1", "ain", "refs/heads", "v1^{}x"] {
            assert!(!has(name), "{name}");
        }
    }
}
