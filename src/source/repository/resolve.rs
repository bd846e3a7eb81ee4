//! Finds out whether a repository has the ref that a client names, before anything is built of it.
//!
//! * In: a URL and a ref.
//! * Out: nothing, or the reason why the ref cannot be resolved.
//! * Never: a fetch that goes on beyond `MAX_COMMIT_BYTES`. A commit that is not found in them is
//!   left to the fetch.
//!
//! 1. `git ls-remote` lists the refs of that name. It follows no redirect; one that the fetch would
//!    follow gets the next request.
//! 2. Commits are not listed. For a commit, git fetches it alone, and where the server does not
//!    deliver it by its id, all branches and tags.

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

/// The wall-clock limit of everything that belongs to one resolution: less than clients wait for a
/// response.
pub const RESOLVE_TIME_LIMIT: Duration = Duration::from_secs(60);

/// The largest number of bytes of a listing of refs that are kept.
pub(super) const MAX_LISTING_BYTES: usize = 1 << 20;

/// The largest number of bytes that are fetched for a commit, measured as git's own data.
const MAX_COMMIT_BYTES: u64 = 32 << 20;

/// The time between two measurements of a fetch.
const MEASURE_INTERVAL: Duration = Duration::from_millis(250);

/// The length of the longest line of git's that is read, in bytes.
const MAX_LINE_BYTES: usize = 1024;

/// The texts before and after a name under which git looks it up, in this order
/// (`gitrevisions(7)`).
const RULES: [[&str; 2]; 6] = [
    ["", ""],
    ["refs/", ""],
    ["refs/tags/", ""],
    ["refs/heads/", ""],
    ["refs/remotes/", ""],
    ["refs/remotes/", "/HEAD"],
];

/// Resolves `reference`, or the default branch, of the repository at `url`; `directory` is created
/// for it and removed.
///
/// # Errors
/// There is no such repository or ref, or there is an internal error.
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

/// One resolution, with the values that all its commands need.
struct Question<'a> {
    runner: &'a dyn Run,
    reference: Option<&'a GitRef>,
    token: Option<&'a RepositoryToken>,
    started: Instant,
}

impl Question<'_> {
    /// Returns how much time is left.
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
        let mut output = Output::new(None);
        let exit = self.run(&spec, &mut output).await?;
        if exit == Exit::RefusedAddress {
            return Err(RepositoryError::RefusedAddress { url: url.clone() });
        }
        if matches!(exit, Exit::TimedOut { .. }) {
            let limit = RESOLVE_TIME_LIMIT;
            return Err(RepositoryError::TimedOut { limit });
        }
        if !exit.success() {
            let next = redirect::one_step(self.runner, remote, self.left()).await?;
            let failed = || RepositoryError::git("list the refs", exit, output.reason, remote);
            return next.map(Some).ok_or_else(failed);
        }
        let is_commit = self.reference.and_then(GitRef::commit).is_some();
        if is_commit || has_ref(output.listing.bytes(), name) {
            return Ok(None);
        }
        Err(RepositoryError::NoSuchRef {
            reference: name.to_owned(),
        })
    }

    /// Fetches the commit, if the ref is one, from `url`, whose server has responded.
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

    /// Returns whether the repository has the commit; one that was not found within the limits
    /// counts as found.
    ///
    /// # Errors
    /// Neither the commit nor all branches and tags can be fetched.
    async fn fetch_commit(
        &self,
        git: &Git,
        url: &RepositoryUrl,
        directory: &Path,
        commit: &str,
    ) -> Result<bool, RepositoryError> {
        self.create_repository(git).await?;
        let remote = (url, self.token);
        let (mut exit, mut said) = (Exit::Status(0), None);
        for amount in [Amount::Commit, Amount::Everything] {
            let mut output = Output::new(Some(directory));
            let spec = git.fetch(remote, commit, amount, self.left());
            let run = self.run(&spec, &mut output).await;
            if output.is_too_much || matches!(run, Ok(Exit::TimedOut { .. })) {
                return Ok(true);
            }
            exit = run?;
            if exit == Exit::RefusedAddress {
                return Err(RepositoryError::RefusedAddress { url: url.clone() });
            }
            if exit.success() {
                let spec = git.resolve(self.reference, amount, self.left());
                let exit = self.run(&spec, &mut Output::new(None)).await?;
                return Ok(exit.success() || matches!(exit, Exit::TimedOut { .. }));
            }
            said = output.reason;
        }
        Err(RepositoryError::git("fetch the commit", exit, said, remote))
    }

    async fn create_repository(&self, git: &Git) -> Result<(), RepositoryError> {
        let spec = git.init(self.left());
        let exit = self.run(&spec, &mut Output::new(None)).await?;
        // Without time left, the fetch ends at once too.
        if exit.success() || matches!(exit, Exit::TimedOut { .. }) {
            return Ok(());
        }
        Err(RepositoryError::Git {
            action: "create a repository",
            exit,
            said: None,
        })
    }

    async fn run(
        &self,
        spec: &CommandSpec,
        output: &mut Output<'_>,
    ) -> Result<Exit, RepositoryError> {
        let ended = self.runner.run(spec, output).await;
        if output.is_too_much {
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

/// Returns whether a listing of `ID\tNAME` lines has a ref that git takes `name` for.
fn has_ref(listing: &[u8], name: &str) -> bool {
    let listing = String::from_utf8_lossy(listing);
    let is_meant = |listed: &str| {
        let is_rule = |[before, after]: &[&str; 2]| {
            let rest = listed.strip_prefix(before);
            rest.and_then(|rest| rest.strip_suffix(after)) == Some(name)
        };
        RULES.iter().any(is_rule)
    };
    let lines = listing.lines().filter_map(|line| line.split_once('\t'));
    lines.map(|(_, listed)| listed).any(is_meant)
}

/// The output of git: its listing, and its reason to give up.
struct Output<'a> {
    listing: Captured,
    line: Vec<u8>,
    reason: Option<String>,
    /// The directory whose size is limited.
    measured: Option<&'a Path>,
    measured_at: Instant,
    is_too_much: bool,
}

impl<'a> Output<'a> {
    fn new(measured: Option<&'a Path>) -> Self {
        Self {
            listing: Captured::new(MAX_LISTING_BYTES),
            line: Vec::new(),
            reason: None,
            measured,
            measured_at: Instant::now(),
            is_too_much: false,
        }
    }

    /// Measures the directory again, unless that was done a moment ago.
    fn measure(&mut self) {
        let Some(directory) = self
            .measured
            .filter(|_| self.measured_at.elapsed() > MEASURE_INTERVAL)
        else {
            return;
        };
        self.measured_at = Instant::now();
        self.is_too_much = super::sinks::size(directory, MAX_COMMIT_BYTES) > MAX_COMMIT_BYTES;
    }
}

impl OutputSink for Output<'_> {
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        self.measure();
        if self.is_too_much {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if stream == Stream::Stdout {
            // A listing that is longer than its limit names the ref in the part that is kept, or
            // not at all.
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
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::pin::Pin;

    use super::*;
    use crate::sandbox::{RunError, Served, Work};

    /// A sandbox in which each command ends as the next of these, after it printed these lines.
    struct Scripted(RefCell<VecDeque<(Exit, &'static str)>>);

    impl Run for Scripted {
        fn run<'a>(
            &'a self,
            _: &'a CommandSpec,
            sink: &'a mut dyn OutputSink,
        ) -> Pin<Box<dyn Future<Output = Result<Exit, RunError>> + 'a>> {
            let (exit, lines) = self.0.borrow_mut().pop_front().unwrap();
            Box::pin(async move {
                sink.chunk(Stream::Stderr, lines.as_bytes()).unwrap();
                Ok(exit)
            })
        }

        fn make_writable_directory(&self, path: &Path) -> io::Result<()> {
            std::fs::create_dir(path)
        }

        fn serve<'a>(
            &'a self,
            _: &'a CommandSpec,
            _: &'a Path,
            _: Work<'a>,
        ) -> Pin<Box<dyn Future<Output = Result<Served, RunError>> + 'a>> {
            unreachable!("git needs no service")
        }

        fn make_service_directory(&self, _: &Path) -> io::Result<()> {
            unreachable!("git needs no service")
        }
    }

    /// Resolves a commit with commands that end like this.
    fn of_commit(commands: &[(Exit, &'static str)]) -> Result<(), String> {
        let directory = tempfile::tempdir().unwrap();
        let runner = Scripted(RefCell::new(commands.iter().cloned().collect()));
        let url = RepositoryUrl::parse("https://example.org/x").unwrap();
        let reference = GitRef::parse(&"1".repeat(40)).unwrap();
        let scratch = directory.path().join("resolution");
        let resolving = resolve(&runner, &url, Some(&reference), None, &scratch);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let resolved = runtime.block_on(resolving);
        assert!(!scratch.exists() && runner.0.borrow().is_empty());
        resolved.map_err(|error| error.to_string())
    }

    #[test]
    fn a_commit_is_missing_only_where_everything_was_fetched() {
        let done = || (Exit::Status(0), "");
        let failed = |reason| (Exit::Status(128), reason);
        let limit = Duration::from_secs(1);
        assert_eq!(of_commit(&[done(), done(), done(), done()]), Ok(()));
        assert_eq!(
            of_commit(&[done(), done(), failed(""), done(), done()]),
            Ok(())
        );
        assert_eq!(
            of_commit(&[done(), done(), (Exit::TimedOut { limit }, "")]),
            Ok(())
        );
        let missing = of_commit(&[done(), done(), failed(""), done(), failed("")]);
        assert!(missing.unwrap_err().contains("couldn't find remote ref 1"));
        let broken = "fatal: unable to access 'https://example.org/x/': timed out\n";
        for (commands, expected) in [
            (
                &[done(), done(), failed(""), failed(broken)][..],
                "git could not fetch the commit: unable to access 'https://example.org/x/': \
                 timed out",
            ),
            (
                &[
                    done(),
                    done(),
                    failed(""),
                    failed("error: File 01 has bad hash\n"),
                ],
                "git could not fetch the commit: File 01 has bad hash",
            ),
            (&[done(), failed("")], "git could not create a repository"),
        ] {
            assert_eq!(of_commit(commands), Err(expected.to_owned()));
        }
        let refused = of_commit(&[done(), done(), (Exit::RefusedAddress, "")]).unwrap_err();
        assert!(refused.contains("no public address"), "{refused}");
        let slow = of_commit(&[(Exit::TimedOut { limit }, "")]).unwrap_err();
        assert!(slow.contains("60 s"), "{slow}");
    }

    #[test]
    fn a_listed_ref_is_one_that_git_would_take_the_name_for() {
        let listing = "01\tHEAD\n02\trefs/heads/main\n03\trefs/tags/v1\n\
                       03\trefs/tags/v1^{}\n04\trefs/heads/x/y\n";
        let has = |name| has_ref(listing.as_bytes(), name);
        for name in ["HEAD", "main", "v1", "heads/main", "refs/tags/v1", "x/y"] {
            assert!(has(name), "{name}");
        }
        for name in ["y", "v", "vv1", "ain", "refs/heads", "v1^{}x"] {
            assert!(!has(name), "{name}");
        }
    }
}
