//! Computes git's id of a directory.
//!
//! * In: a directory, or a tree that was built while its files were written.
//! * Out: the id of its tree object under SHA-1.
//! * Never: an id that git reported, a followed link, a read that a FIFO could block.
//!
//! | entry | mode | object |
//! |---|---|---|
//! | file | `100644` | blob of its bytes |
//! | file that its owner may execute | `100755` | blob of its bytes |
//! | link | `120000` | blob of its target |
//! | directory that is not empty | `40000` | tree |
//! | submodule | `160000` | its commit |
//!
//! Entries called `.git`, in any case and at any depth, are ignored: git itself refuses to track
//! them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

use crate::digest::GitOid;

/// How deep directories may be nested.
pub const MAX_TREE_DEPTH: usize = 64;

/// How many entries a directory that is read may have, at all depths together.
pub const MAX_TREE_ENTRIES: usize = 400_000;

/// Why a directory has no tree id. Paths are relative to that directory.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum TreeError {
    #[error("`{}` is neither a file, a directory nor a link", path.display())]
    SpecialFile { path: PathBuf },
    #[error("`{}` is nested deeper than {limit} directories", path.display())]
    TooDeep { path: PathBuf, limit: usize },
    #[error("the directory has more than {limit} entries")]
    TooManyEntries { limit: usize },
    #[error("`{}` could not be read", path.display())]
    Read { path: PathBuf, source: io::Error },
}

/// What a name in a [`Tree`] stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A regular file.
    File {
        /// Whether its owner may execute it.
        executable: bool,
        /// The blob id of its bytes.
        blob: GitOid,
    },
    /// A symbolic link.
    Link {
        /// The target as it is stored.
        target: Vec<u8>,
    },
    /// A directory with its entries.
    Directory(Tree),
    /// A submodule, of which its superproject knows only the commit.
    Submodule {
        /// The commit that the superproject names.
        commit: GitOid,
        /// The files of that commit.
        tree: Tree,
    },
}

/// The names in a directory and what they stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// The entries by their names, which have no slash.
    pub entries: BTreeMap<Vec<u8>, Node>,
}

impl Tree {
    /// Reads the directory `root`. Its subdirectories that `submodules` names, by paths below
    /// `root`, become submodules.
    ///
    /// # Errors
    /// The directory has a special file, exceeds a limit, or cannot be read.
    pub fn read(root: &Path, submodules: &BTreeMap<PathBuf, GitOid>) -> Result<Self, TreeError> {
        let directory = rustix::fs::open(root, DIRECTORY_FLAGS, Mode::empty())
            .map_err(|error| fault(Path::new("."), error))?;
        let mut reader = Reader {
            submodules,
            left: MAX_TREE_ENTRIES,
        };
        reader.read(&directory, Path::new(""), MAX_TREE_DEPTH)
    }

    /// Returns the id of the tree object; that of the empty tree if no entry counts.
    pub fn oid(&self) -> GitOid {
        GitOid::of_object("tree", &self.content())
    }

    /// Returns the subtree at `path`, if that is a directory or a submodule.
    pub fn subtree<N: AsRef<[u8]>>(&self, path: &[N]) -> Option<&Self> {
        let mut tree = self;
        for name in path {
            tree = match tree.entries.get(name.as_ref())? {
                Node::Directory(below) | Node::Submodule { tree: below, .. } => below,
                Node::File { .. } | Node::Link { .. } => return None,
            };
        }
        Some(tree)
    }

    /// Removes the entries that git does not count: those called `.git`, and directories without
    /// entries.
    pub fn drop_uncounted(&mut self) {
        self.entries.retain(|name, node| {
            if let Node::Directory(tree) | Node::Submodule { tree, .. } = node {
                tree.drop_uncounted();
            }
            !is_git(name) && *node != Node::Directory(Self::default())
        });
    }

    /// Returns the bytes of the tree object, without its header.
    pub(super) fn content(&self) -> Vec<u8> {
        let mut rows = Vec::new();
        for (name, node) in &self.entries {
            if !is_git(name) {
                rows.extend(row(name, node));
            }
        }
        rows.sort();
        rows.into_iter().flat_map(|(_, bytes)| bytes).collect()
    }
}

/// Returns an entry's sort key and its bytes in the tree object; `None` for a directory without
/// content. Directories sort as if their name ended with a slash (git, `base_name_compare`);
/// submodules do not.
fn row(name: &[u8], node: &Node) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut key = name.to_vec();
    let (mode, oid) = match node {
        Node::File { executable, blob } => (if *executable { "100755" } else { "100644" }, *blob),
        Node::Link { target } => ("120000", GitOid::of_object("blob", target)),
        Node::Submodule { commit, .. } => ("160000", *commit),
        Node::Directory(tree) => {
            let content = tree.content();
            if content.is_empty() {
                return None;
            }
            key.push(b'/');
            ("40000", GitOid::of_object("tree", &content))
        }
    };
    let bytes = [mode.as_bytes(), b" ", name, b"\0", oid.as_bytes()].concat();
    Some((key, bytes))
}

/// Returns whether git would refuse to track an entry of this name.
pub fn is_git(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b".git")
}

/// Returns the id of the tree that the files of the directory `root` form.
///
/// # Errors
/// The directory has a special file, exceeds a limit, or cannot be read.
pub fn hash(root: &Path) -> Result<GitOid, TreeError> {
    Ok(Tree::read(root, &BTreeMap::new())?.oid())
}

/// How directories are opened: never through a link.
const DIRECTORY_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

struct Reader<'a> {
    submodules: &'a BTreeMap<PathBuf, GitOid>,
    /// How many more entries there may be.
    left: usize,
}

impl Reader<'_> {
    fn read(&mut self, directory: &OwnedFd, path: &Path, depth: usize) -> Result<Tree, TreeError> {
        if depth == 0 {
            return Err(TreeError::TooDeep {
                path: path.to_owned(),
                limit: MAX_TREE_DEPTH,
            });
        }
        let mut tree = Tree::default();
        let entries = Dir::read_from(directory).map_err(|error| fault(path, error))?;
        for result in entries {
            let entry = result.map_err(|error| fault(path, error))?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." || is_git(name) {
                continue;
            }
            self.left = self.left.checked_sub(1).ok_or(TreeError::TooManyEntries {
                limit: MAX_TREE_ENTRIES,
            })?;
            let below = path.join(OsStr::from_bytes(name));
            let node = self.node(directory, name, &below, depth)?;
            tree.entries.insert(name.to_vec(), node);
        }
        Ok(tree)
    }

    fn node(
        &mut self,
        directory: &OwnedFd,
        name: &[u8],
        path: &Path,
        depth: usize,
    ) -> Result<Node, TreeError> {
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| fault(path, error))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => hash_file(directory, name, path),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(directory, name, Vec::new())
                    .map_err(|error| fault(path, error))?;
                Ok(Node::Link {
                    target: target.into_bytes(),
                })
            }
            FileType::Directory => {
                let below = rustix::fs::openat(directory, name, DIRECTORY_FLAGS, Mode::empty())
                    .map_err(|error| fault(path, error))?;
                let tree = self.read(&below, path, depth - 1)?;
                Ok(match self.submodules.get(path) {
                    Some(commit) => Node::Submodule {
                        commit: *commit,
                        tree,
                    },
                    None => Node::Directory(tree),
                })
            }
            _ => Err(TreeError::SpecialFile {
                path: path.to_owned(),
            }),
        }
    }
}

/// Hashes a file. Its type is checked again once it is open: since the first check the name may
/// have become a FIFO.
fn hash_file(directory: &OwnedFd, name: &[u8], path: &Path) -> Result<Node, TreeError> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, Mode::empty())
        .map_err(|error| fault(path, error))?;
    let stat = rustix::fs::fstat(&file).map_err(|error| fault(path, error))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(TreeError::SpecialFile {
            path: path.to_owned(),
        });
    }
    let size = stat.st_size.unsigned_abs();
    let blob = GitOid::of_blob(File::from(file), size).map_err(|source| TreeError::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(Node::File {
        executable: Mode::from_raw_mode(stat.st_mode).contains(Mode::XUSR),
        blob,
    })
}

fn fault(path: &Path, error: rustix::io::Errno) -> TreeError {
    TreeError::Read {
        path: path.to_owned(),
        source: error.into(),
    }
}
