//! Writes a source tree. Comes in: entries in any order. Goes out: a folder of plain files with fixed modes and times,
//! and its [`Tree`], hashed while it was written. Never: a file that existed before, a followed link (links are made
//! when everything else is written), or an entry of a refused archive that stays.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use super::super::links::{self, Policy};
use super::super::plain_file;
use super::super::tree::{Node, Tree};
use super::error::{ArchiveError, Refusal};
use super::name::EntryName;
use crate::digest::{GitHasher, GitOid};

/// How many entries an archive may have, folders that are only implied included: the Linux kernel has half as many.
pub const MAX_ARCHIVE_ENTRIES: usize = 200_000;

/// How many bytes the names and link targets of an archive may have together.
pub const MAX_NAME_BYTES: usize = 8 << 20;

/// What an archive may unpack to.
pub const MAX_UNPACKED_BYTES: u64 = 4 << 30;

/// How large a file may be.
pub const MAX_FILE_BYTES: u64 = 2 << 30;

/// How many times its size an archive may unpack to. Deflate reaches 1032, source code 10.
pub const MAX_EXPANSION_RATIO: u64 = 200;

/// Up to here the ratio does not matter: a file of zeros is no attack.
pub const EXPANSION_FLOOR_BYTES: u64 = 64 << 20;

/// When every file was last changed, in seconds: what cargo puts into packages (`DETERMINISTIC_TIMESTAMP`), because
/// some tools take 0 for no time.
const TIMESTAMP: u64 = 1_153_704_088;

/// The bit that makes a file executable for git: the owner's alone (`create_ce_mode` in its `cache.h`).
pub(super) const OWNER_EXECUTES: u32 = 0o100;

const COPY_BUFFER_BYTES: usize = 64 * 1024;

/// What an archive may hold, and how its files are written.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The directory that every entry lies in, where it is known before: it is left out of the
    /// paths that are written.
    pub top: Option<String>,
    /// Whether links are written, or refused.
    pub links: bool,
    /// Whether what git does not track is written too: `.git`, and directories without entries.
    pub untracked: bool,
    /// Most entries, with directories that are only implied.
    pub entries: usize,
    /// Most bytes of one file.
    pub file_bytes: u64,
    /// Most bytes of everything that is unpacked, headers included.
    pub unpacked_bytes: u64,
    /// Number of unpacked bytes up to which [`MAX_EXPANSION_RATIO`] does not matter.
    pub expansion_floor_bytes: u64,
    /// When every file was last changed, in seconds since 1970.
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

/// Writes below one folder.
pub struct Builder {
    rules: Rules,
    root: PathBuf,
    tree: Tree,
    /// Folders that an entry named, as opposed to those that were implied.
    named: HashSet<PathBuf>,
    prefix: Vec<String>,
    entries: usize,
    name_bytes: usize,
    packed: u64,
    unpacked: u64,
    buffer: Vec<u8>,
}

impl Builder {
    /// Makes the folder `root`, for source code out of `packed` bytes of archive.
    ///
    /// # Errors
    /// When the folder exists or cannot be made.
    pub fn new(root: &Path, packed: u64) -> Result<Self, ArchiveError> {
        Self::with_rules(Rules::of_source(), root, packed)
    }

    /// Makes the folder `root`, for what `rules` allow out of `packed` bytes of archive.
    ///
    /// # Errors
    /// When the folder exists or cannot be made.
    pub fn with_rules(rules: Rules, root: &Path, packed: u64) -> Result<Self, ArchiveError> {
        make_folder(root)?;
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

    /// What was written so far.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The folder that is written to.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the empty folder at `path` the place of a submodule. Returns false when there is no such folder.
    pub(in super::super) fn place_submodule(&mut self, path: &[String], commit: GitOid) -> bool {
        match node_mut(&mut self.tree, path) {
            Some(node) if *node == Node::Folder(Tree::default()) => {
                *node = Node::Submodule {
                    commit,
                    tree: Tree::default(),
                };
                true
            }
            _ => false,
        }
    }

    /// Puts what follows below `prefix`; it comes from an archive of `packed` bytes more.
    pub(in super::super) fn enter(&mut self, prefix: &[String], packed: u64) {
        self.prefix = prefix.to_vec();
        self.packed = self.packed.saturating_add(packed);
    }

    /// Counts bytes that came out of the archive.
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

    /// Folders are made with what is in them: an empty one has no place in a git tree, so a build of source code does not
    /// see it.
    pub(super) fn folder(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        let name = self.name(bytes)?;
        self.place(&name, None)
            .map_err(|reason| at(bytes, reason))?;
        if self.rules.untracked {
            self.make_folders(&name, name.components.len())?;
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
            return Err(at(bytes, Refusal::FileTooLarge { size, limit }));
        }
        let name = self.leaf_name(bytes)?;
        let place = Node::File {
            executable,
            blob: GitOid::from_bytes([0; 20]),
        };
        self.place(&name, Some(place))
            .map_err(|reason| at(bytes, reason))?;
        let mut file = if self.is_dropped(&name) {
            None
        } else {
            Some(self.create(&name, executable)?)
        };
        let blob = self.copy(bytes, size, data, file.as_mut())?;
        if let Some(file) = file {
            plain_file::set_time(&file, self.rules.time).map_err(ArchiveError::write)?;
        }
        if let Some(Node::File { blob: placed, .. }) = node_mut(&mut self.tree, &name.components) {
            *placed = blob;
        }
        Ok(())
    }

    pub(super) fn link(&mut self, bytes: &[u8], target: &[u8]) -> Result<(), ArchiveError> {
        let name = self.leaf_name(bytes)?;
        if !self.rules.links {
            return Err(at(bytes, Refusal::SymbolicLink));
        }
        self.name_bytes += target.len();
        self.place(
            &name,
            Some(Node::Link {
                target: target.to_vec(),
            }),
        )
        .map_err(|reason| at(bytes, reason))?;
        self.make_folders(&name, name.components.len() - 1)
    }

    /// Drops what is not written, checks and makes the links, and fixes the times of folders.
    pub(in super::super) fn finish(mut self, policy: Policy) -> Result<Tree, ArchiveError> {
        check_links(&self.tree, policy)?;
        if !self.rules.untracked {
            self.tree.drop_uncounted();
            check_links(&self.tree, policy)?;
        }
        finish_folder(&self.root, &self.tree, self.rules.time)?;
        Ok(self.tree)
    }

    /// Whether an entry is read and counted, and not written.
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
            // A name that begins with `./` is not below it for every program.
            if !is_below || !bytes.starts_with(top.as_bytes()) {
                return Err(at(bytes, Refusal::OutsideTop));
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

    /// Puts a node into the tree; `None` is a folder.
    fn place(&mut self, name: &EntryName, leaf: Option<Node>) -> Result<(), Refusal> {
        let (parents, last) = match (&leaf, name.components.split_last()) {
            (Some(_), Some((last, parents))) => (parents, Some(last)),
            _ => (name.components.as_slice(), None),
        };
        let mut tree = &mut self.tree;
        for parent in parents {
            let next = tree
                .entries
                .entry(parent.as_bytes().to_vec())
                .or_insert_with(|| {
                    self.entries += 1;
                    Node::Folder(Tree::default())
                });
            tree = match next {
                Node::Folder(below) | Node::Submodule { tree: below, .. } => below,
                Node::Link { .. } => return Err(Refusal::BelowLink),
                Node::File { .. } => return Err(Refusal::FolderConflict),
            };
        }
        match (last, leaf) {
            (Some(last), Some(leaf)) => match tree.entries.insert(last.as_bytes().to_vec(), leaf) {
                None => Ok(()),
                Some(Node::Folder(_) | Node::Submodule { .. }) => Err(Refusal::FolderConflict),
                Some(_) => Err(Refusal::Duplicate),
            },
            _ if self.named.insert(name.components.iter().collect()) => Ok(()),
            _ => Err(Refusal::Duplicate),
        }
    }

    /// Makes the first `count` components, as far as they are not there, of an entry that is written.
    fn make_folders(&self, name: &EntryName, count: usize) -> Result<(), ArchiveError> {
        if self.is_dropped(name) {
            return Ok(());
        }
        let mut path = self.root.clone();
        for component in &name.components[..count] {
            path.push(component);
            match make_folder(&path) {
                Err(ArchiveError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::AlreadyExists => {}
                result => result?,
            }
        }
        Ok(())
    }

    fn create(&self, name: &EntryName, executable: bool) -> Result<File, ArchiveError> {
        let path = name
            .components
            .iter()
            .fold(self.root.clone(), |path, component| path.join(component));
        let created = match plain_file::create(&path, executable) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.make_folders(name, name.components.len() - 1)?;
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
            let wanted = self
                .buffer
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
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
            Node::Folder(below) | Node::Submodule { tree: below, .. } => tree = below,
            Node::File { .. } | Node::Link { .. } => return None,
        }
    }
    tree.entries.get_mut(last.as_bytes())
}

fn at(name: &[u8], reason: Refusal) -> ArchiveError {
    ArchiveError::entry(name, reason)
}

pub(super) fn check_links(tree: &Tree, policy: Policy) -> Result<(), ArchiveError> {
    links::check(tree, policy).map_err(|(path, reason)| ArchiveError::entry(&path, reason))
}

/// The mode is set again because the process's umask may have cut it.
fn make_folder(path: &Path) -> Result<(), ArchiveError> {
    DirBuilder::new()
        .mode(0o755)
        .create(path)
        .map_err(ArchiveError::write)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o755)).map_err(ArchiveError::write)
}

fn finish_folder(path: &Path, tree: &Tree, time: u64) -> Result<(), ArchiveError> {
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
            Node::Folder(tree) | Node::Submodule { tree, .. } => {
                finish_folder(&below, tree, time)?;
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
