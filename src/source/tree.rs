//! Git's name for a folder. Comes in: a folder, or a tree that was written file by file. Goes out: the id of its tree
//! object under SHA-1. Never: a claim of git's; a followed link; a read that a FIFO could stop.
//!
//! | entry | mode | object |
//! |---|---|---|
//! | file | `100644` | blob of its bytes |
//! | file that its owner may execute | `100755` | blob of its bytes |
//! | link | `120000` | blob of its target |
//! | folder that is not empty | `40000` | tree |
//! | submodule | `160000` | its commit |
//!
//! Entries called `.git`, in any case and at any depth, do not exist here: git itself refuses to track them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

use crate::digest::GitOid;

/// How deep folders may be nested.
pub const MAX_TREE_DEPTH: usize = 64;

/// How many entries a folder that is read may have, in all its depths.
pub const MAX_TREE_ENTRIES: usize = 400_000;

/// Why a folder has no tree id.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// Neither a file, a folder nor a link.
    #[error("`{}` is neither a file, a folder nor a link", path.display())]
    SpecialFile {
        /// Below the folder.
        path: PathBuf,
    },
    /// Folders are nested too deep.
    #[error("`{}` is nested deeper than {limit} folders", path.display())]
    TooDeep {
        /// Below the folder.
        path: PathBuf,
        /// [`MAX_TREE_DEPTH`].
        limit: usize,
    },
    /// The folder has too many entries.
    #[error("the folder has more than {limit} entries")]
    TooManyEntries {
        /// [`MAX_TREE_ENTRIES`].
        limit: usize,
    },
    /// It could not be read, or changed while it was read.
    #[error("`{}` could not be read", path.display())]
    Read {
        /// Below the folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What a name in a [`Tree`] stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A regular file.
    File {
        /// Whether its owner may execute it.
        executable: bool,
        /// Of its bytes.
        blob: GitOid,
    },
    /// A symbolic link.
    Link {
        /// Where it points, as it is stored.
        target: Vec<u8>,
    },
    /// A folder.
    Folder(Tree),
    /// A submodule: its superproject knows only the commit.
    Submodule {
        /// The commit that the superproject names.
        commit: GitOid,
        /// Its files.
        tree: Tree,
    },
}

/// A folder's names and what they stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// By the bytes of the name, which has no slash.
    pub entries: BTreeMap<Vec<u8>, Node>,
}

impl Tree {
    /// Reads the folder `root` from its files. The entries of `submodules`, paths below `root`, become submodules.
    ///
    /// # Errors
    /// Special files, limits, and what the system reports.
    pub fn read(root: &Path, submodules: &BTreeMap<PathBuf, GitOid>) -> Result<Self, TreeError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder =
            rustix::fs::open(root, flags, Mode::empty()).map_err(|error| TreeError::Read {
                path: PathBuf::from("."),
                source: error.into(),
            })?;
        Reader {
            submodules,
            left: MAX_TREE_ENTRIES,
        }
        .folder(&folder, Path::new(""), MAX_TREE_DEPTH)
    }

    /// The id of the tree object. That of the empty tree where nothing counts.
    pub fn oid(&self) -> GitOid {
        GitOid::of_object("tree", &self.content())
    }

    /// The subtree at `path`, if it is a folder or a submodule.
    pub fn subtree<N: AsRef<[u8]>>(&self, path: &[N]) -> Option<&Self> {
        let mut tree = self;
        for name in path {
            tree = match tree.entries.get(name.as_ref())? {
                Node::Folder(below) | Node::Submodule { tree: below, .. } => below,
                Node::File { .. } | Node::Link { .. } => return None,
            };
        }
        Some(tree)
    }

    /// Leaves out what does not count: entries called `.git`, and folders without entries.
    pub fn drop_uncounted(&mut self) {
        self.entries.retain(|name, node| {
            if let Node::Folder(tree) | Node::Submodule { tree, .. } = node {
                tree.drop_uncounted();
            }
            !is_git(name) && *node != Node::Folder(Self::default())
        });
    }

    fn content(&self) -> Vec<u8> {
        let mut rows: Vec<_> = self
            .entries
            .iter()
            .filter(|(name, _)| !is_git(name))
            .filter_map(row)
            .collect();
        rows.sort();
        rows.into_iter().flat_map(|(_, object)| object).collect()
    }
}

/// Sort key, and bytes in the tree object. Folders sort as if their name ended with a slash
/// (git, `base_name_compare`); submodules do not.
fn row((name, node): (&Vec<u8>, &Node)) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mode, oid) = match node {
        Node::File {
            executable: false,
            blob,
        } => ("100644", *blob),
        Node::File {
            executable: true,
            blob,
        } => ("100755", *blob),
        Node::Link { target } => ("120000", GitOid::of_object("blob", target)),
        Node::Submodule { commit, .. } => ("160000", *commit),
        Node::Folder(tree) => match tree.content() {
            content if content.is_empty() => return None,
            content => ("40000", GitOid::of_object("tree", &content)),
        },
    };
    let key = if mode == "40000" {
        [name, &b"/"[..]].concat()
    } else {
        name.clone()
    };
    Some((
        key,
        [mode.as_bytes(), b" ", name, b"\0", oid.as_bytes()].concat(),
    ))
}

/// Whether git would refuse to track an entry of this name.
pub fn is_git(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b".git")
}

/// The id of the tree that the files of the folder `root` make.
///
/// # Errors
/// Special files, limits, and what the system reports.
pub fn hash(root: &Path) -> Result<GitOid, TreeError> {
    Ok(Tree::read(root, &BTreeMap::new())?.oid())
}

struct Reader<'a> {
    submodules: &'a BTreeMap<PathBuf, GitOid>,
    left: usize,
}

impl Reader<'_> {
    fn folder(&mut self, folder: &OwnedFd, path: &Path, depth: usize) -> Result<Tree, TreeError> {
        if depth == 0 {
            return Err(TreeError::TooDeep {
                path: path.to_owned(),
                limit: MAX_TREE_DEPTH,
            });
        }
        let mut tree = Tree::default();
        for entry in Dir::read_from(folder).map_err(|error| fault(path, error))? {
            let entry = entry.map_err(|error| fault(path, error))?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." || is_git(name) {
                continue;
            }
            self.left = self.left.checked_sub(1).ok_or(TreeError::TooManyEntries {
                limit: MAX_TREE_ENTRIES,
            })?;
            let below = path.join(OsStr::from_bytes(name));
            let node = self.node(folder, name, &below, depth)?;
            tree.entries.insert(name.to_vec(), node);
        }
        Ok(tree)
    }

    fn node(
        &mut self,
        folder: &OwnedFd,
        name: &[u8],
        path: &Path,
        depth: usize,
    ) -> Result<Node, TreeError> {
        let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| fault(path, error))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => file(folder, name, path),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(folder, name, Vec::new())
                    .map_err(|error| fault(path, error))?;
                Ok(Node::Link {
                    target: target.into_bytes(),
                })
            }
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let below = rustix::fs::openat(folder, name, flags, Mode::empty())
                    .map_err(|error| fault(path, error))?;
                let tree = self.folder(&below, path, depth - 1)?;
                Ok(match self.submodules.get(path) {
                    Some(commit) => Node::Submodule {
                        commit: *commit,
                        tree,
                    },
                    None => Node::Folder(tree),
                })
            }
            _ => Err(TreeError::SpecialFile {
                path: path.to_owned(),
            }),
        }
    }
}

/// The type is asked again of the open file: between the two calls the name may have become a FIFO.
fn file(folder: &OwnedFd, name: &[u8], path: &Path) -> Result<Node, TreeError> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, name, flags, Mode::empty())
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
