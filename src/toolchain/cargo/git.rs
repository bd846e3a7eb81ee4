//! Fills a `CARGO_HOME` with the locked commits of git dependencies.
//!
//! * In: the `CARGO_HOME` that the fetch phase left.
//! * Out: a fresh one, in which each checkout is a copy whose git tree id is the one that the
//!   locked commit names.
//! * Never: a repository that the fetch phase wrote. The repositories here have the commit objects
//!   and nothing else: an offline cargo needs no more, and packages inherit from their workspace as
//!   usual.
//!
//! A commit object is `tree HEX LF …` (git, Documentation/gitformat-loose); its id is SHA-1 over
//! `commit SIZE NUL CONTENT`, and a loose object is the zlib stream of those same bytes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::{Compression, write::ZlibEncoder};

use crate::digest::GitOid;
use crate::sandbox::paths::CARGO_HOME;
use crate::source::tree;
use crate::toolchain::untrusted::Untrusted;
use crate::toolchain::{ToolchainError, lfs};

use super::CargoError;
use super::copy;

/// How many digits of a commit the name of its checkout has: git's default, with which cargo finds
/// the checkout again in a repository of one commit.
const SHORT_ID_DIGITS: usize = 7;

/// The directory of all checkouts, in a `CARGO_HOME`.
const CHECKOUTS: &str = "git/checkouts";

/// The file that cargo writes when a checkout is complete.
const COMPLETE: &str = ".cargo-ok";

/// A checkout that the fetch phase left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checkout {
    /// The repository's name in cargo's directories.
    pub repository: String,
    /// The checkout's directory below that of the repository.
    pub directory: String,
    /// The locked commit that the checkout claims to be.
    pub commit: GitOid,
}

/// A git dependency that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checked {
    /// The directory of the checkout in the sandbox.
    pub directory: PathBuf,
    /// The locked commit, whose object was hashed.
    pub commit: GitOid,
    /// The tree id that was computed from the copied files.
    pub tree: GitOid,
}

/// Returns every checkout of `commit` below `fetched`, one for each URL that names the repository.
///
/// A directory's name, the beginning of a commit, is a hint only: each checkout is checked before
/// it is used.
pub(super) fn checkouts(fetched: &Path, commit: GitOid) -> io::Result<Vec<Checkout>> {
    let all = Untrusted::open(fetched)?.directory(CHECKOUTS)?;
    let id = commit.to_string();
    let mut found = Vec::new();
    for name in all.names()? {
        let Some(repository) = name.to_str().filter(|name| is_repository(name)) else {
            continue;
        };
        let checkouts = all.directory(repository)?;
        for directory in checkouts.names()?.iter().filter_map(|name| name.to_str()) {
            if directory.len() >= SHORT_ID_DIGITS && id.starts_with(directory) {
                found.push(Checkout {
                    repository: repository.to_owned(),
                    directory: directory.to_owned(),
                    commit,
                });
            }
        }
    }
    Ok(found)
}

/// Returns the tree that `content`, the raw commit object of `commit`, names.
pub(super) fn tree_of(commit: GitOid, content: &[u8]) -> Result<GitOid, CargoError> {
    let actual = GitOid::of_object("commit", content);
    if actual != commit {
        return Err(CargoError::Commit {
            expected: commit,
            actual,
        });
    }
    let first_line = content.split(|&byte| byte == b'\n').next();
    first_line
        .and_then(|line| line.strip_prefix(b"tree "))
        .and_then(|tree| std::str::from_utf8(tree).ok()?.parse().ok())
        .ok_or(CargoError::CommitWithoutTree { commit })
}

impl Checkout {
    /// Returns the path of the checkout in the `CARGO_HOME` of the fetch phase.
    pub fn path(&self) -> PathBuf {
        let checkouts = Path::new(CHECKOUTS).join(&self.repository);
        checkouts.join(&self.directory)
    }

    /// Returns the path of its copy in the fresh `CARGO_HOME`.
    pub fn target(&self) -> PathBuf {
        let checkouts = Path::new(CHECKOUTS).join(&self.repository);
        checkouts.join(&self.commit.to_string()[..SHORT_ID_DIGITS])
    }
}

/// Returns whether a copy of a checkout may differ from its commit though nobody changed it: it has
/// submodules, or attributes.
pub(super) fn may_differ(copy: &Path) -> io::Result<bool> {
    let mut directories = vec![copy.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == ".gitattributes" || name == ".gitmodules" {
                return Ok(true);
            }
            if entry.file_type()?.is_dir() {
                directories.push(entry.path());
            }
        }
    }
    Ok(false)
}

/// Copies a checkout into the fresh `CARGO_HOME` `home`, and compares the copy with its commit.
pub(super) fn place(
    checkout: &Checkout,
    content: &[u8],
    fetched: &Path,
    home: &Path,
    epoch: u64,
) -> Result<Checked, ToolchainError> {
    let expected = tree_of(checkout.commit, content)?;
    let commit = checkout.commit;
    let target = home.join(checkout.target());
    let source = Untrusted::open(fetched)?.directory(checkout.path())?;
    fs::create_dir_all(&target)?;
    copy::directory(&source, &target, &[COMPLETE], epoch)?;
    let actual = tree::hash(&target)?;
    if actual != expected {
        return Err(CargoError::Tree {
            commit,
            expected,
            actual,
        }
        .into());
    }
    complete(checkout, content, home, actual)
}

/// Completes a checkout whose files are those of the commit, with the tree `actual`, as cargo
/// expects it.
pub(super) fn complete(
    checkout: &Checkout,
    content: &[u8],
    home: &Path,
    actual: GitOid,
) -> Result<Checked, ToolchainError> {
    let commit = checkout.commit;
    let relative = checkout.target();
    let target = home.join(&relative);
    if let Some(path) = lfs::first_pointer(&target)? {
        return Err(ToolchainError::pointer(&path, Some(checkout.commit)));
    }
    let database = home.join("git/db").join(&checkout.repository);
    write_repository(&database, commit, content)?;
    write_repository(&target.join(".git"), commit, content)?;
    fs::write(target.join(COMPLETE), "")?;
    Ok(Checked {
        directory: Path::new(CARGO_HOME).join(relative),
        commit,
        tree: actual,
    })
}

/// Creates, or adds to, a repository that has commit objects only.
fn write_repository(directory: &Path, commit: GitOid, content: &[u8]) -> io::Result<()> {
    let id = commit.to_string();
    let objects = directory.join("objects").join(&id[..2]);
    fs::create_dir_all(&objects)?;
    fs::create_dir_all(directory.join("refs"))?;
    fs::write(directory.join("HEAD"), format!("{id}\n"))?;
    let mut object = ZlibEncoder::new(
        File::create(objects.join(&id[2..]))?,
        Compression::default(),
    );
    write!(object, "commit {}\0", content.len())?;
    object.write_all(content)?;
    object.finish()?;
    Ok(())
}

/// Returns whether `name` can be `NAME-HASH`, as cargo names a repository's directories.
fn is_repository(name: &str) -> bool {
    !name.starts_with(['.', '-'])
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a fetched home with one checkout of one file, and its commit object.
    fn fixture() -> (tempfile::TempDir, GitOid, Vec<u8>) {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join("ours")).unwrap();
        let plain = home.path().join("plain");
        fs::create_dir(&plain).unwrap();
        fs::write(plain.join("lib.rs"), "pub fn x() {}").unwrap();
        let content = format!(
            "tree {}\nauthor x\n\nmessage\n",
            tree::hash(&plain).unwrap()
        )
        .into_bytes();
        let commit = GitOid::of_object("commit", &content);
        let checkout = checkout(home.path(), commit);
        fs::create_dir_all(checkout.join(".git")).unwrap();
        fs::rename(plain.join("lib.rs"), checkout.join("lib.rs")).unwrap();
        fs::write(checkout.join(COMPLETE), "").unwrap();
        (home, commit, content)
    }

    fn checkout(home: &Path, commit: GitOid) -> PathBuf {
        home.join("fetched/git/checkouts/repo-1")
            .join(&commit.to_string()[..8])
    }

    fn place_in(home: &Path, commit: GitOid, content: &[u8]) -> Result<Checked, ToolchainError> {
        let fetched = home.join("fetched");
        let found = checkouts(&fetched, commit).unwrap();
        assert_eq!(found.len(), 1);
        place(&found[0], content, &fetched, &home.join("ours"), 0)
    }

    #[test]
    fn places_a_checkout_that_is_its_commit() {
        let (home, commit, content) = fixture();
        let checked = place_in(home.path(), commit, &content).unwrap();
        let short = commit.to_string()[..7].to_owned();
        assert_eq!(
            checked.directory,
            Path::new("/kettle/cargo/git/checkouts/repo-1").join(&short)
        );
        let ours = home.path().join("ours/git/checkouts/repo-1").join(short);
        assert_eq!(
            fs::read_to_string(ours.join(".git/HEAD")).unwrap(),
            format!("{commit}\n")
        );
    }

    #[test]
    fn refuses_files_that_are_not_the_commit() {
        let (home, commit, content) = fixture();
        fs::write(
            checkout(home.path(), commit).join("build.rs"),
            "fn main() {}",
        )
        .unwrap();
        let refusal = place_in(home.path(), commit, &content).unwrap_err();
        assert!(
            matches!(refusal, ToolchainError::Cargo(CargoError::Tree { .. })),
            "{refusal}"
        );
    }

    #[test]
    fn refuses_a_commit_object_that_is_another() {
        let (home, commit, mut content) = fixture();
        content.push(b'x');
        let refusal = place_in(home.path(), commit, &content).unwrap_err();
        assert!(
            matches!(refusal, ToolchainError::Cargo(CargoError::Commit { .. })),
            "{refusal}"
        );
        let no_tree = b"parent x\n";
        let refusal = tree_of(GitOid::of_object("commit", no_tree), no_tree).unwrap_err();
        assert!(
            matches!(refusal, CargoError::CommitWithoutTree { .. }),
            "{refusal}"
        );
    }
}
