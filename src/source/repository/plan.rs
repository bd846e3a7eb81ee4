//! Builds the commands of git as values.
//!
//! * In: URLs, refs and ids that were checked.
//! * Out: [`CommandSpec`]s.
//! * Never: a configuration of the machine or of the repository, a credential, a hook, a filter, or
//!   a network beyond the fetch.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{GitRef, RepositoryToken, RepositoryUrl};
use crate::digest::GitOid;
use crate::presence::first_file;
use crate::sandbox::paths::{GIT_DIRECTORY, HOME, MODULES_FILE};
use crate::sandbox::{Access, CommandSpec, Mount, Network, owned_variables};
use crate::source::git_rules;

/// Paths where git may be installed: below `/usr`, which sandboxes see.
const GIT_BINARIES: [&str; 2] = ["/usr/bin/git", "/usr/local/bin/git"];

/// The ref that a fetch writes.
const FETCHED: &str = "refs/kettle/fetched";

/// Switches off everything that makes files differ from blobs (`gitattributes(5)`). This file
/// overrides the tree's own.
pub(super) const ATTRIBUTES: &str =
    "* -text -eol -crlf -ident -filter -working-tree-encoding -export-subst -export-ignore\n";

/// Settings in addition to those of every fetch.
const CONFIGURATION: [&str; 16] = [
    "advice.detachedHead=false",
    "core.attributesFile=/dev/null",
    "core.autocrlf=false",
    "core.eol=lf",
    "core.fsmonitor=false",
    "core.symlinks=true",
    "fetch.writeCommitGraph=false",
    "init.defaultBranch=main",
    "pack.threads=1",
    "safe.bareRepository=all",
    "safe.directory=*",
    "submodule.recurse=false",
    "tar.umask=0022",
    "transfer.bundleURI=false",
    "transfer.fsckObjects=true",
    "transfer.unpackLimit=1",
];

/// Environment variables in addition to those of every fetch.
const ENVIRONMENT: [(&str, &str); 8] = [
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("HOME", HOME),
    ("LC_ALL", "C.UTF-8"),
    ("PATH", "/usr/bin:/bin"),
    ("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"),
    ("TZ", "UTC"),
];

/// Environment variables that make git print the headers of its requests, without the bodies and
/// without what a login consists of.
const TRACE: [(&str, &str); 3] = [
    ("GIT_TRACE_CURL", "1"),
    ("GIT_TRACE_CURL_NO_DATA", "1"),
    ("GIT_TRACE_REDACT", "1"),
];

/// How much a fetch requests, from the least data to requests that work with any server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    /// One commit without its history.
    Commit,
    /// A commit and its history, the least that servers of plain files can send.
    History,
    /// Every branch and tag, for a commit id that a server does not send by itself.
    Everything,
}

impl Amount {
    /// Returns the amounts to try, one after the other. Everything is tried only for a commit id.
    pub(super) fn to_try(is_commit: bool) -> &'static [Self] {
        if is_commit {
            &[Self::Commit, Self::History, Self::Everything]
        } else {
            &[Self::Commit, Self::History]
        }
    }
}

/// Why there is no git to run.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum GitBinaryError {
    /// The machine has no git where sandboxes could see it.
    #[error("git is not installed")]
    NotInstalled,
    #[error("git could not be looked for")]
    Io(#[from] io::Error),
}

/// Builds the commands on one bare repository.
#[derive(Debug)]
pub(super) struct Git {
    binary: &'static str,
    directory: PathBuf,
    /// A further directory, in which the objects are.
    objects: Option<Mount>,
}

impl Git {
    /// Finds git, for the bare repository in `directory`.
    ///
    /// # Errors
    /// The machine has no git where sandboxes could see it.
    pub(super) fn new(directory: &Path) -> Result<Self, GitBinaryError> {
        Ok(Self {
            binary: binary()?,
            directory: directory.to_owned(),
            objects: None,
        })
    }

    /// Adds a directory that the repository's objects are in.
    pub(super) fn with(self, objects: Mount) -> Self {
        Self {
            objects: Some(objects),
            ..self
        }
    }

    /// Creates the bare repository.
    pub(super) fn init(&self, time_limit: Duration) -> CommandSpec {
        let arguments = [
            "init",
            "--quiet",
            "--bare",
            "--template=",
            "--object-format=sha1",
            GIT_DIRECTORY,
        ];
        self.command(&arguments, Access::ReadWrite, Network::None, time_limit)
    }

    /// Fetches `reference`, a ref or a commit id.
    pub(super) fn fetch(
        &self,
        (url, token): Remote<'_>,
        reference: &str,
        amount: Amount,
        time_limit: Duration,
    ) -> CommandSpec {
        let wanted = format!("+{reference}:{FETCHED}");
        let mut arguments = vec![
            "fetch",
            "--progress",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
        ];
        if amount == Amount::Commit {
            arguments.push("--depth=1");
        }
        arguments.extend(["--", url.as_str()]);
        match amount {
            Amount::Commit | Amount::History => arguments.push(&wanted),
            Amount::Everything => {
                arguments.extend([
                    "+refs/heads/*:refs/kettle/heads/*",
                    "+refs/tags/*:refs/kettle/tags/*",
                ]);
            }
        }
        let mut spec = self.command(&arguments, Access::ReadWrite, Network::Fetch, time_limit);
        add_token(&mut spec, (url, token));
        spec
    }

    /// Prints the id of the commit that was fetched. A tag is followed to its commit.
    pub(super) fn resolve(
        &self,
        reference: Option<&GitRef>,
        amount: Amount,
        time_limit: Duration,
    ) -> CommandSpec {
        let name = match (amount, reference) {
            (Amount::Everything, Some(reference)) => reference.as_str(),
            _ => FETCHED,
        };
        let commit = format!("{name}^{{commit}}");
        let arguments = ["rev-parse", "--verify", "--end-of-options", &commit];
        self.read(&arguments, time_limit)
    }

    /// Prints the id of the object that was fetched: a tag is not followed.
    pub(super) fn fetched(&self, time_limit: Duration) -> CommandSpec {
        let arguments = ["rev-parse", "--verify", "--end-of-options", FETCHED];
        self.read(&arguments, time_limit)
    }

    /// Prints the raw tag object.
    pub(super) fn tag(&self, tag: GitOid, time_limit: Duration) -> CommandSpec {
        self.read(&["cat-file", "tag", &tag.to_string()], time_limit)
    }

    /// Prints the raw commit object.
    pub(super) fn commit(&self, commit: GitOid, time_limit: Duration) -> CommandSpec {
        self.read(&["cat-file", "commit", &commit.to_string()], time_limit)
    }

    /// Prints all paths of the commit's tree, ended by NUL.
    pub(super) fn list(&self, commit: GitOid, time_limit: Duration) -> CommandSpec {
        self.read(
            &["ls-tree", "-r", "-z", "--full-tree", &commit.to_string()],
            time_limit,
        )
    }

    /// Prints the commit's files as tar.
    pub(super) fn archive(&self, commit: GitOid, time_limit: Duration) -> CommandSpec {
        self.read(
            &["archive", "--format=tar", &commit.to_string()],
            time_limit,
        )
    }

    /// Prints the settings of a `.gitmodules`, `KEY\nVALUE\0`.
    pub(super) fn modules(&self, file: &Path, time_limit: Duration) -> CommandSpec {
        let arguments = [
            "config",
            "--file",
            MODULES_FILE,
            "--no-includes",
            "--list",
            "-z",
        ];
        let mut spec = self.read(&arguments, time_limit);
        let mount = Mount::new(file, MODULES_FILE, Access::ReadOnly);
        spec.mounts.push(mount);
        spec
    }

    fn read(&self, arguments: &[&str], time_limit: Duration) -> CommandSpec {
        self.command(arguments, Access::ReadOnly, Network::None, time_limit)
    }

    fn command(
        &self,
        arguments: &[&str],
        access: Access,
        network: Network,
        time_limit: Duration,
    ) -> CommandSpec {
        let directory = format!("--git-dir={GIT_DIRECTORY}");
        let mut mounts = vec![Mount::new(&self.directory, GIT_DIRECTORY, access)];
        mounts.extend(self.objects.clone());
        let argv = configured(self.binary, &[&[directory.as_str()], arguments].concat());
        CommandSpec {
            argv,
            environment: environment(),
            directory: GIT_DIRECTORY.into(),
            mounts,
            secret: None,
            network,
            time_limit,
        }
    }
}

/// The URL that a command talks to, and the token of the client, which may be for another server.
pub(super) type Remote<'a> = (&'a RepositoryUrl, Option<&'a RepositoryToken>);

fn add_token(spec: &mut CommandSpec, (url, token): Remote<'_>) {
    if let Some(token) = token {
        token.add_to(spec, url);
    }
}

/// Returns the path at which sandboxes find git.
///
/// # Errors
/// The machine has no git where sandboxes could see it.
pub(super) fn binary() -> Result<&'static str, GitBinaryError> {
    first_file(GIT_BINARIES)?.ok_or(GitBinaryError::NotInstalled)
}

/// Requests one ref from a server, and prints the headers as git traces them.
pub(super) fn ask(binary: &str, remote: Remote<'_>, time_limit: Duration) -> CommandSpec {
    let mut spec = list_refs(binary, remote, "HEAD", time_limit);
    spec.environment.extend(owned_variables(TRACE));
    spec
}

/// Lists the refs of a server whose names end with `name`, as whole components.
pub(super) fn list_refs(
    binary: &str,
    (url, token): Remote<'_>,
    name: &str,
    time_limit: Duration,
) -> CommandSpec {
    let mut spec = CommandSpec {
        argv: configured(binary, &["ls-remote", "--", url.as_str(), name]),
        environment: environment(),
        directory: "/".into(),
        mounts: Vec::new(),
        secret: None,
        network: Network::Fetch,
        time_limit,
    };
    add_token(&mut spec, (url, token));
    spec
}

/// Returns a command line of git with the appliance's configuration.
fn configured(binary: &str, arguments: &[&str]) -> Vec<String> {
    let mut argv = vec![binary.to_owned()];
    for (name, value) in git_rules::SETTINGS {
        argv.extend(["-c".to_owned(), format!("{name}={value}")]);
    }
    for setting in CONFIGURATION {
        argv.extend(["-c".to_owned(), setting.to_owned()]);
    }
    argv.extend(arguments.iter().map(|&argument| argument.to_owned()));
    argv
}

fn environment() -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for (name, value) in git_rules::ENVIRONMENT.iter().chain(&ENVIRONMENT) {
        variables.insert((*name).to_owned(), (*value).to_owned());
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(1);

    fn git() -> Git {
        Git {
            binary: GIT_BINARIES[0],
            directory: "/work/git".into(),
            objects: None,
        }
    }

    #[test]
    fn only_the_fetch_has_a_network_and_only_what_writes_can_write() {
        let url = RepositoryUrl::parse("https://example.org/x").unwrap();
        let id = GitOid::from_bytes([1; 20]);
        let fetch = git().fetch((&url, None), "main", Amount::Commit, LIMIT);
        assert_eq!(
            (fetch.network, fetch.mounts[0].access),
            (Network::Fetch, Access::ReadWrite)
        );
        for spec in [
            git().resolve(None, Amount::Commit, LIMIT),
            git().commit(id, LIMIT),
            git().list(id, LIMIT),
            git().archive(id, LIMIT),
            git().modules(Path::new("/work/source/.gitmodules"), LIMIT),
        ] {
            assert_eq!(spec.network, Network::None);
            assert!(
                spec.mounts
                    .iter()
                    .all(|mount| mount.access == Access::ReadOnly),
                "{spec:?}"
            );
        }
        assert_eq!(git().init(LIMIT).network, Network::None);
    }

    #[test]
    fn what_a_client_chose_comes_after_the_options() {
        let url = RepositoryUrl::parse("https://example.org/x").unwrap();
        let fetch = git().fetch((&url, None), "main", Amount::Commit, LIMIT);
        assert_eq!(
            fetch.argv[fetch.argv.len() - 3..],
            ["--", "https://example.org/x", "+main:refs/kettle/fetched"]
        );
        assert!(fetch.argv.contains(&"--depth=1".to_owned()));
    }
}
