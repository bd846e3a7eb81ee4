//! Which files of a folder are sent.
//!
//! - Comes in: a folder.
//! - Goes out: paths below it: of a work tree those that git tracks, and those that it would track
//!   if somebody added everything; of another folder, or when somebody says so, every file.
//! - Never: `.git`, a program that the folder's own configuration names, or a listing that leaves
//!   something out because git failed.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::source::tree::{MAX_TREE_DEPTH, MAX_TREE_ENTRIES, is_git};

/// Environment variables by which git would look at another folder than the one it is asked about.
const MISLEADING: [&str; 6] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_CEILING_DIRECTORIES",
];

/// The files of a folder.
#[derive(Debug, PartialEq, Eq)]
pub struct Listing {
    /// Paths below the folder, sorted by their bytes. Some may be missing on the disk.
    pub files: BTreeSet<PathBuf>,
    /// Who chose them.
    pub chosen_by: ChosenBy,
}

/// Who chose the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChosenBy {
    /// git: tracked files, and untracked ones that are not ignored.
    Git,
    /// The user wants everything.
    User,
    /// The folder is no work tree: everything.
    NoWorkTree,
    /// There is no git on this machine: everything.
    NoGit,
}

impl ChosenBy {
    /// Returns a clause about the files that are sent.
    pub const fn clause(self) -> &'static str {
        match self {
            Self::Git => "tracked files, and untracked ones that are not ignored",
            Self::User => "every file, as --all says",
            Self::NoWorkTree => "every file: this is no work tree of git",
            Self::NoGit => {
                "EVERY FILE, ignored ones too: git, which knows what is ignored, is not on this \
                 machine"
            }
        }
    }
}

/// Why a folder has no listing.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// git cannot say.
    #[error("git cannot list the files of {}: {message}; --all sends every file", folder.display())]
    Git {
        /// Which folder it was asked about.
        folder: PathBuf,
        /// The first line of its complaint.
        message: String,
    },
    /// git did not run.
    #[error("git did not run")]
    Run(#[source] io::Error),
    /// git lists nothing.
    #[error("git lists no file of {}, which may be ignored as a whole; --all sends every file", folder.display())]
    Nothing {
        /// Which folder it was asked about.
        folder: PathBuf,
    },
    /// A submodule has no files.
    #[error("the submodule {} is not checked out: run `git submodule update --init`", path.display())]
    Submodule {
        /// The path of the submodule below the folder.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// Which file or folder.
        path: PathBuf,
        /// The reason that the system gave.
        source: io::Error,
    },
    /// It has too many files.
    #[error(
        "the folder has more than {MAX_TREE_ENTRIES} files, or is deeper than {MAX_TREE_DEPTH}"
    )]
    TooMany,
}

impl Listing {
    /// Lists the files of `folder`; every one if `all` is said.
    ///
    /// # Errors
    /// The folder or git does not say.
    pub fn of(folder: &Path, all: bool) -> Result<Self, ListingError> {
        let chosen_by = if all { ChosenBy::User } else { judge(folder)? };
        let mut files = BTreeSet::new();
        if chosen_by == ChosenBy::Git {
            tracked(folder, Path::new(""), MAX_TREE_DEPTH, &mut files)?;
            if files.is_empty() {
                return Err(ListingError::Nothing {
                    folder: folder.to_owned(),
                });
            }
        } else {
            everything(folder, Path::new(""), MAX_TREE_DEPTH, &mut files)?;
        }
        Ok(Self { files, chosen_by })
    }
}

/// Whether git can be asked. Where a `.git` says that it could, and it does not answer, nobody
/// guesses.
fn judge(folder: &Path) -> Result<ChosenBy, ListingError> {
    match git(folder, &["rev-parse", "--is-inside-work-tree"]) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ChosenBy::NoGit),
        Err(error) => Err(ListingError::Run(error)),
        Ok(output) if output.status.success() => Ok(ChosenBy::Git),
        Ok(_) if !has_git_above(folder)? => Ok(ChosenBy::NoWorkTree),
        Ok(output) => Err(complaint(folder, &output)),
    }
}

fn has_git_above(folder: &Path) -> Result<bool, ListingError> {
    let whole = fs::canonicalize(folder);
    let whole = whole.map_err(|source| ListingError::Read {
        path: folder.to_owned(),
        source,
    })?;
    Ok(whole
        .ancestors()
        .any(|above| above.join(".git").symlink_metadata().is_ok()))
}

/// Asks git, without a program that the repository's own configuration would have it run.
fn git(folder: &Path, arguments: &[&str]) -> io::Result<Output> {
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
        .current_dir(folder)
        .env("LC_ALL", "C")
        .env("GIT_OPTIONAL_LOCKS", "0")
        // An object that is not there is not fetched, by whatever program the repository names for that. The second
        // one is for git before 2.45, which does not know the first.
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_ALLOW_PROTOCOL", "none")
        .stdin(Stdio::null())
        .output()
}

fn complaint(folder: &Path, output: &Output) -> ListingError {
    let message = String::from_utf8_lossy(&output.stderr);
    let message = message
        .lines()
        .next()
        .unwrap_or("it does not say why")
        .to_owned();
    ListingError::Git {
        folder: folder.to_owned(),
        message,
    }
}

/// Lists what git knows below `root.join(below)`; repositories within it are asked for themselves.
fn tracked(
    root: &Path,
    below: &Path,
    depth: usize,
    files: &mut BTreeSet<PathBuf>,
) -> Result<(), ListingError> {
    let folder = root.join(below);
    let arguments = [
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ];
    let output = git(&folder, &arguments).map_err(ListingError::Run)?;
    if !output.status.success() {
        return Err(complaint(&folder, &output));
    }
    for name in output
        .stdout
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let path = below.join(OsStr::from_bytes(name));
        if is_beyond_a_link(root, &path) {
            // git knows it from before, and takes it for deleted.
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

/// Whether a name is only reached through a symbolic link below `root`: what is there is not of the folder.
pub(super) fn is_beyond_a_link(root: &Path, path: &Path) -> bool {
    let above = path
        .ancestors()
        .skip(1)
        .filter(|part| !part.as_os_str().is_empty());
    let is_link = |part: &Path| {
        root.join(part)
            .symlink_metadata()
            .is_ok_and(|found| found.is_symlink())
    };
    above.into_iter().any(is_link)
}

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
    for entry in fs::read_dir(root.join(below)).map_err(failed)? {
        let entry = entry.map_err(failed)?;
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
