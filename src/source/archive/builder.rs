//! Writes a source tree.
//!
//! * In: entries in any order.
//! * Out: a directory of plain files with fixed modes and times, and its [`Tree`], hashed while the
//!   files were written.
//! * Never: a file that existed before, a followed link (links are created after everything else),
//!   or an entry of a refused archive that stays.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use super::super::links::{self, LinkPolicy};
use super::super::plain_file;
use super::super::tree::{Node, Tree};
use super::error::{ArchiveError, Refusal};
use super::name::EntryName;
use crate::digest::{GitHasher, GitOid};

/// How many entries an archive may have, including directories that are only implied. The Linux
/// kernel's source has half as many.
pub const MAX_ARCHIVE_ENTRIES: usize = 200_000;

/// How many bytes the names and link targets of an archive may have together.
pub const MAX_NAME_BYTES: usize = 8 << 20;

/// How many bytes an archive may unpack to.
pub const MAX_UNPACKED_BYTES: u64 = 4 << 30;

/// How many bytes a file may have.
pub const MAX_FILE_BYTES: u64 = 2 << 30;

/// How many times its size an archive may unpack to. Deflate reaches 1032, source code 10.
pub const MAX_EXPANSION_RATIO: u64 = 200;

/// Unpacked bytes up to which the ratio does not matter: a file of zeros is no attack.
pub const EXPANSION_FLOOR_BYTES: u64 = 64 << 20;

/// Modification time of every file, in seconds since 1970. It is the one that cargo puts into
/// packages (`DETERMINISTIC_TIMESTAMP`), because some tools take 0 for no time.
pub(in super::super) const TIMESTAMP: u64 = 1_153_704_088;

/// The bit that makes a file executable for git: the owner's alone (`create_ce_mode` in its
/// `cache.h`).
pub(super) const OWNER_EXECUTES: u32 = 0o100;

const COPY_BUFFER_BYTES: usize = 64 * 1024;

/// What an archive may contain, and how its files are written.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The directory that every entry has to be below, if it is known beforehand. It is left out of
    /// the paths that are written.
    pub top: Option<String>,
    /// Whether links are written, rather than refused.
    pub links: bool,
    /// Whether entries that git does not track are written too: `.git`, and directories without
    /// entries.
    pub untracked: bool,
    /// Most entries, including directories that are only implied.
    pub entries: usize,
    /// Most bytes of one file.
    pub file_bytes: u64,
    /// Most bytes of everything that is unpacked, headers included.
    pub unpacked_bytes: u64,
    /// Number of unpacked bytes up to which [`MAX_EXPANSION_RATIO`] does not matter.
    pub expansion_floor_bytes: u64,
    /// Modification time of every file, in seconds since 1970.
    pub time: u64,
}

impl Rules {
    /// Returns the rules for source code: what git tracks, with any top directory.
    pub fn of_source() -> Self {
        Self {
            top: None,
            links: true,
            untracked: false,
            entries: MAX_ARCHIVE_ENTRIES,
            file_bytes: MAX_FILE_BYTES,
            unpacked_bytes: MAX_UNPACKED_BYTES,
            expansion_floor_bytes: EXPANSION_FLOOR_BYTES,
            time: TIMESTAMP,
        }
    }
}

/// Writes entries below one directory, and keeps their tree.
pub struct Builder {
    rules: Rules,
    root: PathBuf,
    tree: Tree,
    /// Directories that had an entry, as opposed to those that were only implied.
    named: HashSet<PathBuf>,
    prefix: Vec<String>,
    entries: usize,
    name_bytes: usize,
    packed: u64,
    unpacked: u64,
    buffer: Vec<u8>,
}

impl Builder {
    /// Creates the directory `root` for source code from an archive of `packed` bytes.
    ///
    /// # Errors
    /// The directory exists or cannot be created.
    pub fn new(root: &Path, packed: u64) -> Result<Self, ArchiveError> {
        Self::with_rules(Rules::of_source(), root, packed)
    }

    /// Creates the directory `root` for entries that `rules` allow, from an archive of `packed`
    /// bytes.
    ///
    /// # Errors
    /// The directory exists or cannot be created.
    pub fn with_rules(rules: Rules, root: &Path, packed: u64) -> Result<Self, ArchiveError> {
        create_directory(root)?;
        Ok(Self {
            rules,
            root: root.to_owned(),
            tree: Tree::default(),
            named: HashSet::new(),
            prefix: Vec::new(),
            entries: 0,
            name_bytes: 0,
            packed,
            unpacked: 0,
            buffer: vec![0; COPY_BUFFER_BYTES],
        })
    }

    /// Returns the tree of the entries that were written so far.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Returns the directory that is written to.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Turns the empty directory at `path` into a submodule. Returns false if there is no such
    /// directory.
    pub(in super::super) fn insert_submodule(&mut self, path: &[String], commit: GitOid) -> bool {
        match node_mut(&mut self.tree, path) {
            Some(node) if *node == Node::Directory(Tree::default()) => {
                *node = Node::Submodule {
                    commit,
                    tree: Tree::default(),
                };
                true
            }
            _ => false,
        }
    }

    /// Writes the following entries below `prefix`. They come from another archive, of `packed`
    /// bytes.
    pub(in super::super) fn enter(&mut self, prefix: &[String], packed: u64) {
        self.prefix = prefix.to_vec();
        self.packed = self.packed.saturating_add(packed);
    }

    /// Counts bytes that came out of the archive, and compares them with the limits.
    pub(super) fn count_bytes(&mut self, bytes: u64) -> Result<(), ArchiveError> {
        self.unpacked = self.unpacked.saturating_add(bytes);
        if self.unpacked > self.rules.unpacked_bytes {
            return Err(ArchiveError::TooLarge {
                limit: self.rules.unpacked_bytes,
            });
        }
        let allowed = self
            .packed
            .saturating_mul(MAX_EXPANSION_RATIO)
            .max(self.rules.expansion_floor_bytes);
        if self.unpacked > allowed {
            return Err(ArchiveError::Expansion {
                packed: self.packed,
                limit: MAX_EXPANSION_RATIO,
            });
        }
        Ok(())
    }

    /// Adds a directory. It is created with its first entry, since an empty directory has no place
    /// in a git tree and a build of source code must not see it.
    pub(super) fn directory(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        let name = self.name(bytes)?;
        self.insert_directory(&name)
            .map_err(|reason| ArchiveError::entry(bytes, reason))?;
        if self.rules.untracked {
            self.create_directories(&name, name.components.len())?;
        }
        Ok(())
    }

    /// Writes exactly `size` bytes of `data`.
    pub(super) fn file(
        &mut self,
        bytes: &[u8],
        executable: bool,
        size: u64,
        data: &mut dyn Read,
    ) -> Result<(), ArchiveError> {
        let limit = self.rules.file_bytes;
        if size > limit {
            let too_large = Refusal::FileTooLarge { size, limit };
            return Err(ArchiveError::entry(bytes, too_large));
        }
        let name = self.leaf_name(bytes)?;
        let not_hashed = Node::File {
            executable,
            blob: GitOid::from_bytes([0; 20]),
        };
        self.insert_leaf(&name, not_hashed)
            .map_err(|reason| ArchiveError::entry(bytes, reason))?;
        let mut file = if self.is_dropped(&name) {
            None
        } else {
            Some(self.create(&name, executable)?)
        };
        let hashed = self.copy(bytes, size, data, file.as_mut())?;
        if let Some(written) = file {
            plain_file::set_time(&written, self.rules.time).map_err(ArchiveError::write)?;
        }
        if let Some(Node::File { blob, .. }) = node_mut(&mut self.tree, &name.components) {
            *blob = hashed;
        }
        Ok(())
    }

    /// Adds a symbolic link, which [`Builder::finish`] creates.
    pub(super) fn link(&mut self, bytes: &[u8], target: &[u8]) -> Result<(), ArchiveError> {
        let name = self.leaf_name(bytes)?;
        if !self.rules.links {
            return Err(ArchiveError::entry(bytes, Refusal::SymbolicLink));
        }
        self.name_bytes += target.len();
        let link = Node::Link {
            target: target.to_vec(),
        };
        self.insert_leaf(&name, link)
            .map_err(|reason| ArchiveError::entry(bytes, reason))?;
        self.create_directories(&name, name.components.len() - 1)
    }

    /// Drops the entries that are not written, checks and creates the links, and sets the times of
    /// directories.
    pub(in super::super) fn finish(mut self, policy: LinkPolicy) -> Result<Tree, ArchiveError> {
        // Directories that only the last entry's name implied are counted too.
        self.check_limits()?;
        check_links(&self.tree, policy)?;
        if !self.rules.untracked {
            self.tree.drop_uncounted();
            check_links(&self.tree, policy)?;
        }
        finish_directory(&self.root, &self.tree, self.rules.time)?;
        Ok(self.tree)
    }

    /// Returns whether an entry is read and counted, but not written.
    fn is_dropped(&self, name: &EntryName) -> bool {
        !self.rules.untracked && name.is_git()
    }

    fn name(&mut self, bytes: &[u8]) -> Result<EntryName, ArchiveError> {
        self.entries += 1;
        self.name_bytes += bytes.len();
        self.check_limits()?;
        let mut name =
            EntryName::parse(bytes).map_err(|reason| ArchiveError::entry(bytes, reason))?;
        if let Some(top) = &self.rules.top {
            let is_below = name.components.first() == Some(top);
            // Not every program takes a name that begins with `./` for one below the directory.
            if !is_below || !bytes.starts_with(top.as_bytes()) {
                return Err(ArchiveError::entry(bytes, Refusal::OutsideTop));
            }
            name.components.remove(0);
        }
        name.components.splice(0..0, self.prefix.iter().cloned());
        Ok(name)
    }

    fn leaf_name(&mut self, bytes: &[u8]) -> Result<EntryName, ArchiveError> {
        let name = self.name(bytes)?;
        if name.slash || name.components.len() == self.prefix.len() {
            return Err(ArchiveError::entry(bytes, Refusal::NameAndType));
        }
        Ok(name)
    }

    fn check_limits(&self) -> Result<(), ArchiveError> {
        if self.entries > self.rules.entries {
            return Err(ArchiveError::TooManyEntries {
                limit: self.rules.entries,
            });
        }
        if self.name_bytes > MAX_NAME_BYTES {
            return Err(ArchiveError::TooManyNameBytes {
                limit: MAX_NAME_BYTES,
            });
        }
        Ok(())
    }

    /// Returns the tree of a directory; adds those directories on its path that are not there yet.
    fn directory_tree(&mut self, path: &[String]) -> Result<&mut Tree, Refusal> {
        let mut tree = &mut self.tree;
        for component in path {
            let node = tree
                .entries
                .entry(component.as_bytes().to_vec())
                .or_insert_with(|| {
                    self.entries += 1;
                    Node::Directory(Tree::default())
                });
            tree = match node {
                Node::Directory(below) | Node::Submodule { tree: below, .. } => below,
                Node::Link { .. } => return Err(Refusal::BelowLink),
                Node::File { .. } => return Err(Refusal::DirectoryConflict),
            };
        }
        Ok(tree)
    }

    fn insert_directory(&mut self, name: &EntryName) -> Result<(), Refusal> {
        self.directory_tree(&name.components)?;
        let is_new = self.named.insert(name.components.iter().collect());
        // A repeated directory adds nothing, but sources must not have one.
        if is_new || self.rules.untracked {
            Ok(())
        } else {
            Err(Refusal::Duplicate)
        }
    }

    fn insert_leaf(&mut self, name: &EntryName, leaf: Node) -> Result<(), Refusal> {
        let Some((last, parents)) = name.components.split_last() else {
            return Err(Refusal::NameAndType);
        };
        let tree = self.directory_tree(parents)?;
        match tree.entries.insert(last.as_bytes().to_vec(), leaf) {
            None => Ok(()),
            Some(Node::Directory(_) | Node::Submodule { .. }) => Err(Refusal::DirectoryConflict),
            Some(Node::File { .. } | Node::Link { .. }) => Err(Refusal::Duplicate),
        }
    }

    /// Creates the directories of the first `count` components that do not exist yet, unless the
    /// entry is dropped.
    fn create_directories(&self, name: &EntryName, count: usize) -> Result<(), ArchiveError> {
        if self.is_dropped(name) {
            return Ok(());
        }
        let mut path = self.root.clone();
        for component in &name.components[..count] {
            path.push(component);
            match create_directory(&path) {
                Err(ArchiveError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::AlreadyExists => {}
                result => result?,
            }
        }
        Ok(())
    }

    /// Creates a file, with its directories if they do not exist yet.
    fn create(&self, name: &EntryName, executable: bool) -> Result<File, ArchiveError> {
        let mut path = self.root.clone();
        path.extend(&name.components);
        let created = match plain_file::create(&path, executable) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.create_directories(name, name.components.len() - 1)?;
                plain_file::create(&path, executable)
            }
            result => result,
        };
        created.map_err(ArchiveError::write)
    }

    fn copy(
        &mut self,
        name: &[u8],
        size: u64,
        data: &mut dyn Read,
        mut file: Option<&mut File>,
    ) -> Result<GitOid, ArchiveError> {
        let mut hasher = GitHasher::new("blob", size);
        let mut left = size;
        while left > 0 {
            let still = usize::try_from(left).unwrap_or(usize::MAX);
            let wanted = still.min(self.buffer.len());
            let count = data
                .read(&mut self.buffer[..wanted])
                .map_err(ArchiveError::read)?;
            if count == 0 {
                return Err(ArchiveError::entry(name, Refusal::Size { expected: size }));
            }
            self.count_bytes(count as u64)?;
            let bytes = &self.buffer[..count];
            hasher.write_all(bytes).map_err(ArchiveError::write)?;
            if let Some(file) = &mut file {
                file.write_all(bytes).map_err(ArchiveError::write)?;
            }
            left -= count as u64;
        }
        Ok(hasher.finish())
    }
}

fn node_mut<'a>(mut tree: &'a mut Tree, path: &[String]) -> Option<&'a mut Node> {
    let (last, parents) = path.split_last()?;
    for parent in parents {
        match tree.entries.get_mut(parent.as_bytes())? {
            Node::Directory(below) | Node::Submodule { tree: below, .. } => tree = below,
            Node::File { .. } | Node::Link { .. } => return None,
        }
    }
    tree.entries.get_mut(last.as_bytes())
}

pub(super) fn check_links(tree: &Tree, policy: LinkPolicy) -> Result<(), ArchiveError> {
    links::check(tree, policy).map_err(|(path, reason)| ArchiveError::entry(&path, reason))
}

/// Creates a directory of mode 0755. The mode is set again because the process's umask may have cut
/// it.
fn create_directory(path: &Path) -> Result<(), ArchiveError> {
    DirBuilder::new()
        .mode(0o755)
        .create(path)
        .map_err(ArchiveError::write)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o755)).map_err(ArchiveError::write)
}

/// Creates the links of a directory and sets its times, after everything below it.
fn finish_directory(path: &Path, tree: &Tree, time: u64) -> Result<(), ArchiveError> {
    for (name, node) in &tree.entries {
        let below = path.join(OsStr::from_bytes(name));
        match node {
            Node::File { .. } => {}
            Node::Link { target } => {
                symlink(OsStr::from_bytes(target), &below).map_err(ArchiveError::write)?;
                set_times(&below, time)?;
            }
            Node::Submodule { tree, .. } if tree.entries.is_empty() => {
                DirBuilder::new()
                    .mode(0o755)
                    .recursive(true)
                    .create(&below)
                    .map_err(ArchiveError::write)?;
            }
            Node::Directory(tree) | Node::Submodule { tree, .. } => {
                finish_directory(&below, tree, time)?;
            }
        }
    }
    set_times(path, time)
}

fn set_times(path: &Path, time: u64) -> Result<(), ArchiveError> {
    let time = Timespec {
        tv_sec: time.cast_signed(),
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| ArchiveError::write(error.into()))
}
