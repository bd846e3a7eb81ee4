//! Decides which files of a directory are sent.
//!
//! * In: a directory.
//! * Out: paths below it. In a git work tree they are the tracked files and those that would be
//!   tracked if everything were added; in another directory, or on request, every file.
//! * Never: `.git`, a program that the directory's own configuration names, or a listing that is
//!   incomplete because git failed.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::source::tree::{MAX_TREE_DEPTH, MAX_TREE_ENTRIES, is_git};

/// Environment variables that would make git look at another directory.
const MISLEADING: [&str; 6] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_CEILING_DIRECTORIES",
];

/// The files of a directory that are sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Listing {
    /// Paths below the directory, sorted by their bytes. Some may be missing on the disk.
    pub files: BTreeSet<PathBuf>,
    /// The rule by which the files were chosen.
    pub chosen_by: ChosenBy,
}

/// The rule by which files are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChosenBy {
    /// Git lists tracked files, and untracked ones that are not ignored.
    Git,
    /// The user requested every file.
    User,
    /// The directory is not in a work tree: every file.
    NoWorkTree,
    /// The machine has no git: every file.
    NoGit,
}

impl ChosenBy {
    /// Returns a clause that says which files are sent.
    pub const fn clause(self) -> &'static str {
        match self {
            Self::Git => "tracked files, and untracked ones that are not ignored",
            Self::User => "every file, because of --all",
            Self::NoWorkTree => "every file: this is no work tree of git",
            Self::NoGit => {
                "EVERY FILE, ignored ones too: git, which knows what is ignored, is not on this \
                 machine"
            }
        }
    }
}

/// Why a directory has no listing.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum ListingError {
    /// Git failed. `message` is the first line of its standard error.
    #[error(
        "git cannot list the files of {}: {message}; --all sends every file",
        directory.display()
    )]
    Git { directory: PathBuf, message: String },
    #[error("git could not be started")]
    Run(#[source] io::Error),
    #[error(
        "git lists no file of {}, which may be ignored as a whole; --all sends every file",
        directory.display()
    )]
    Nothing { directory: PathBuf },
    #[error(
        "the submodule {} is not checked out: run `git submodule update --init`",
        path.display()
    )]
    Submodule { path: PathBuf },
    #[error("{} cannot be read", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "the directory has more than {MAX_TREE_ENTRIES} files, or is deeper than {MAX_TREE_DEPTH}"
    )]
    TooMany,
}

impl Listing {
    /// Lists the files of `directory`: every file if `all` is set.
    ///
    /// # Errors
    /// The directory cannot be read, or git fails.
    pub fn of(directory: &Path, all: bool) -> Result<Self, ListingError> {
        let chosen_by = if all {
            ChosenBy::User
        } else {
            choose(directory)?
        };
        let mut files = BTreeSet::new();
        if chosen_by == ChosenBy::Git {
            tracked(directory, Path::new(""), MAX_TREE_DEPTH, &mut files)?;
            if files.is_empty() {
                return Err(ListingError::Nothing {
                    directory: directory.to_owned(),
                });
            }
        } else {
            everything(directory, Path::new(""), MAX_TREE_DEPTH, &mut files)?;
        }
        Ok(Self { files, chosen_by })
    }
}

/// Finds out whether git lists the files. If there is a `.git` and git fails, this fails too,
/// rather than guess.
fn choose(directory: &Path) -> Result<ChosenBy, ListingError> {
    match git(directory, &["rev-parse", "--is-inside-work-tree"]) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ChosenBy::NoGit),
        Err(error) => Err(ListingError::Run(error)),
        Ok(output) if output.status.success() => Ok(ChosenBy::Git),
        Ok(_) if !has_git_above(directory)? => Ok(ChosenBy::NoWorkTree),
        Ok(output) => Err(failure(directory, &output)),
    }
}

fn has_git_above(directory: &Path) -> Result<bool, ListingError> {
    let whole = fs::canonicalize(directory).map_err(|source| ListingError::Read {
        path: directory.to_owned(),
        source,
    })?;
    let has_git = |above: &Path| above.join(".git").symlink_metadata().is_ok();
    Ok(whole.ancestors().any(has_git))
}

/// Runs git without any program that the repository's own configuration names.
fn git(directory: &Path, arguments: &[&str]) -> io::Result<Output> {
    let mut command = Command::new("git");
    for variable in MISLEADING {
        command.env_remove(variable);
    }
    command
        .args([
            "-c",
            "core.fsmonitor=false",
            "-c",
            "core.hooksPath=/dev/null",
        ])
        .args(arguments)
        .current_dir(directory)
        .env("LC_ALL", "C")
        .env("GIT_OPTIONAL_LOCKS", "0")
        // A missing object is not fetched, whatever program the repository names for that. The
        // second variable is for git before 2.45, which does not know the first.
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_ALLOW_PROTOCOL", "none")
        .stdin(Stdio::null())
        .output()
}

fn failure(directory: &Path, output: &Output) -> ListingError {
    let text = String::from_utf8_lossy(&output.stderr);
    let first = text.lines().next();
    ListingError::Git {
        directory: directory.to_owned(),
        message: first.unwrap_or("it does not say why").to_owned(),
    }
}

/// Adds the files that git lists below `root.join(below)`, also those of repositories within it.
fn tracked(
    root: &Path,
    below: &Path,
    depth: usize,
    files: &mut BTreeSet<PathBuf>,
) -> Result<(), ListingError> {
    let directory = root.join(below);
    let arguments = [
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ];
    let output = git(&directory, &arguments).map_err(ListingError::Run)?;
    if !output.status.success() {
        return Err(failure(&directory, &output));
    }
    for name in output.stdout.split(|byte| *byte == 0) {
        if name.is_empty() {
            continue;
        }
        let path = below.join(OsStr::from_bytes(name));
        if is_beyond_a_link(root, &path) {
            // Git still tracks it, and takes it for deleted.
            files.insert(path);
            continue;
        }
        let found = root.join(&path).symlink_metadata();
        if !found.is_ok_and(|found| found.is_dir()) {
            files.insert(path);
        } else if depth == 0 {
            return Err(ListingError::TooMany);
        } else if root.join(&path).join(".git").symlink_metadata().is_ok() {
            tracked(root, &path, depth - 1, files)?;
        } else {
            return Err(ListingError::Submodule { path });
        }
        if files.len() > MAX_TREE_ENTRIES {
            return Err(ListingError::TooMany);
        }
    }
    Ok(())
}

/// Returns whether a path leads through a symbolic link below `root`: a file there does not belong
/// to the directory.
pub(super) fn is_beyond_a_link(root: &Path, path: &Path) -> bool {
    let is_link = |part: &Path| {
        let found = root.join(part).symlink_metadata();
        found.is_ok_and(|metadata| metadata.is_symlink())
    };
    let mut above = path.ancestors().skip(1);
    above.any(|part| !part.as_os_str().is_empty() && is_link(part))
}

/// Adds every file below `root.join(below)` except `.git`.
fn everything(
    root: &Path,
    below: &Path,
    depth: usize,
    files: &mut BTreeSet<PathBuf>,
) -> Result<(), ListingError> {
    if depth == 0 {
        return Err(ListingError::TooMany);
    }
    let failed = |source| ListingError::Read {
        path: root.join(below),
        source,
    };
    for result in fs::read_dir(root.join(below)).map_err(failed)? {
        let entry = result.map_err(failed)?;
        if is_git(entry.file_name().as_bytes()) {
            continue;
        }
        let path = below.join(entry.file_name());
        if entry.file_type().map_err(failed)?.is_dir() {
            everything(root, &path, depth - 1, files)?;
        } else {
            files.insert(path);
        }
        if files.len() > MAX_TREE_ENTRIES {
            return Err(ListingError::TooMany);
        }
    }
    Ok(())
}
