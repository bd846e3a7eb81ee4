//! Commands of git, as values. Comes in: URLs, refs and ids that were checked. Goes out: [`CommandSpec`]s. Never: a
//! configuration of the machine or of the repository, a credential, a hook, a filter, or a network beyond the fetch.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{GitRef, RepositoryUrl};
use crate::digest::GitOid;
use crate::presence::first_file;
use crate::sandbox::paths::{GIT_FOLDER, HOME, MODULES_FILE};
use crate::sandbox::{Access, CommandSpec, Mount, Network};
use crate::source::git_rules;

/// Where git may be: below `/usr`, which sandboxes see.
const GIT_BINARIES: [&str; 2] = ["/usr/bin/git", "/usr/local/bin/git"];

/// The ref that a fetch writes.
const FETCHED: &str = "refs/kettle/fetched";

/// Switches off everything that makes files differ from blobs (`gitattributes(5)`). This file overrides the tree's own.
pub(super) const ATTRIBUTES: &str =
    "* -text -eol -crlf -ident -filter -working-tree-encoding -export-subst -export-ignore\n";

/// Settings beside those of every fetch.
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

/// Variables beside those of every fetch.
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

/// What makes git print the headers of its requests, without what they carry.
const TRACE: [(&str, &str); 2] = [("GIT_TRACE_CURL", "1"), ("GIT_TRACE_CURL_NO_DATA", "1")];

/// How much a fetch asks for, from the least to what works with any server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    /// One commit.
    Commit,
    /// A commit and its history: servers of plain files cannot do less.
    History,
    /// Every branch and tag: for a commit id that a server does not hand out by itself.
    Everything,
}

/// Why there is no git.
#[derive(Debug, thiserror::Error)]
pub enum GitBinaryError {
    /// The machine has no git where sandboxes could see it.
    #[error("git is not installed")]
    NotInstalled,
    /// It cannot be told which one to use.
    #[error("git could not be looked for")]
    Io(#[from] io::Error),
}

/// Commands on one folder of git's.
#[derive(Debug)]
pub(super) struct Git {
    binary: &'static str,
    folder: PathBuf,
}

impl Git {
    /// # Errors
    /// The machine has no git where sandboxes could see it.
    pub(super) fn new(folder: &Path) -> Result<Self, GitBinaryError> {
        Ok(Self {
            binary: binary()?,
            folder: folder.to_owned(),
        })
    }

    pub(super) fn init(&self, time_limit: Duration) -> CommandSpec {
        let arguments = [
            "init",
            "--quiet",
            "--bare",
            "--template=",
            "--object-format=sha1",
            GIT_FOLDER,
        ];
        self.command(&arguments, Access::ReadWrite, Network::None, time_limit)
    }

    pub(super) fn fetch(
        &self,
        url: &RepositoryUrl,
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
        self.command(&arguments, Access::ReadWrite, Network::Fetch, time_limit)
    }

    /// Prints the commit that was fetched, tags peeled.
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
        self.read(
            &[
                "rev-parse",
                "--verify",
                "--end-of-options",
                &format!("{name}^{{commit}}"),
            ],
            time_limit,
        )
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
        let mut spec = self.read(
            &[
                "config",
                "--file",
                MODULES_FILE,
                "--no-includes",
                "--list",
                "-z",
            ],
            time_limit,
        );
        spec.mounts
            .push(Mount::new(file, MODULES_FILE, Access::ReadOnly));
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
        let folder = format!("--git-dir={GIT_FOLDER}");
        let mounts = vec![Mount::new(&self.folder, GIT_FOLDER, access)];
        let argv = configured(self.binary, &[&[folder.as_str()], arguments].concat());
        CommandSpec {
            argv,
            environment: environment(),
            directory: GIT_FOLDER.into(),
            mounts,
            network,
            time_limit,
        }
    }
}

/// The path at which sandboxes find git.
///
/// # Errors
/// The machine has none where sandboxes could see it.
pub(super) fn binary() -> Result<&'static str, GitBinaryError> {
    first_file(GIT_BINARIES)?.ok_or(GitBinaryError::NotInstalled)
}

/// Asks a server for one ref, and prints the headers of each request and response as git traces them.
pub(super) fn ask(binary: &str, url: &RepositoryUrl, time_limit: Duration) -> CommandSpec {
    let mut environment = environment();
    environment.extend(TRACE.map(|(name, value)| (name.to_owned(), value.to_owned())));
    CommandSpec {
        argv: configured(binary, &["ls-remote", "--", url.as_str(), "HEAD"]),
        environment,
        directory: "/".into(),
        mounts: Vec::new(),
        network: Network::Fetch,
        time_limit,
    }
}

/// Lists the refs of a server whose name ends with `name`.
pub(super) fn list_refs(
    binary: &str,
    url: &RepositoryUrl,
    name: &str,
    time_limit: Duration,
) -> CommandSpec {
    CommandSpec {
        argv: configured(binary, &["ls-remote", "--", url.as_str(), name]),
        environment: environment(),
        directory: "/".into(),
        mounts: Vec::new(),
        network: Network::Fetch,
        time_limit,
    }
}

/// A command line of git with our configuration.
fn configured(binary: &str, arguments: &[&str]) -> Vec<String> {
    let common = git_rules::SETTINGS
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let settings = common
        .chain(CONFIGURATION.map(str::to_owned))
        .flat_map(|setting| ["-c".to_owned(), setting]);
    let arguments = arguments.iter().map(|&argument| argument.to_owned());
    [binary.to_owned()]
        .into_iter()
        .chain(settings)
        .chain(arguments)
        .collect()
}

fn environment() -> BTreeMap<String, String> {
    let all = git_rules::ENVIRONMENT.iter().chain(&ENVIRONMENT);
    all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(1);

    fn git() -> Git {
        Git {
            binary: GIT_BINARIES[0],
            folder: "/work/git".into(),
        }
    }

    #[test]
    fn only_the_fetch_has_a_network_and_only_what_writes_can_write() {
        let url = RepositoryUrl::parse("https://example.org/x").unwrap();
        let id = GitOid::from_bytes([1; 20]);
        let fetch = git().fetch(&url, "main", Amount::Commit, LIMIT);
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
        let fetch = git().fetch(&url, "main", Amount::Commit, LIMIT);
        assert_eq!(
            fetch.argv[fetch.argv.len() - 3..],
            ["--", "https://example.org/x", "+main:refs/kettle/fetched"]
        );
        assert!(fetch.argv.contains(&"--depth=1".to_owned()));
    }
}
