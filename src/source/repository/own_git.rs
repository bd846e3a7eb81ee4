//! Writes a `.git` for the build, so that its tools can tell which commit they build.
//!
//! It has the commit, its trees, and the ref that the client asked for, with the annotated tag if
//! it is one. Each object hashed to its id here. It has no blobs, no history and no remote: `git
//! rev-parse`, `git describe` and `git status` work, `git show` of a file does not.
//!
//! * In: the commit's object and its tree, a directory with the commit's files, and the ref.
//! * Out: a directory with nothing but `.git` in it.
//! * Never: a byte of the repository that git itself wrote, or a byte that differs between two
//!   builds of the same commit.
//!
//! The index is in git's version 2 (git, `gitformat-index(5)`): a header of 12 bytes, the entries,
//! and the SHA-1 of all that.
//!
//! | bytes | entry |
//! |---|---|
//! | 0-7 | time of the last change of its inode: zeros, which `core.trustctime` ignores |
//! | 8-15 | time of modification: seconds, nanoseconds |
//! | 16-23 | device and inode: zeros, which `core.checkStat` ignores |
//! | 24-27 | mode |
//! | 28-35 | user and group: zeros, likewise |
//! | 36-39 | size |
//! | 40-59 | object id |
//! | 60-61 | length of the path, at most 0xfff |
//! | 62- | path, then 1 to 8 zeros up to a multiple of 8 |

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use sha1::{Digest, Sha1};

use crate::digest::GitOid;
use crate::source::plain_file;
use crate::source::tree::{Node, Tree, is_git};

/// Largest tag object, in bytes: messages and signatures are text.
pub(super) const MAX_TAG_BYTES: usize = 1 << 20;

/// The settings. The time and the size of a file tell whether it was changed: all else differs
/// between machines.
const SETTINGS: &str = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\
                        \tlogallrefupdates = false\n\tcheckStat = minimal\n\ttrustctime = false\n";

/// The ref that a client asked for, as the repository has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoundRef {
    /// The full name, `refs/heads/…` or `refs/tags/…`.
    pub(super) name: String,
    /// The object of an annotated tag.
    pub(super) tag: Option<Vec<u8>>,
}

/// A commit with everything that its `.git` has.
pub(super) struct Contents<'a> {
    pub(super) commit: GitOid,
    /// The bytes of the commit's object.
    pub(super) object: &'a [u8],
    pub(super) tree: &'a Tree,
    pub(super) found: Option<&'a FoundRef>,
    /// The directory with the files.
    pub(super) root: &'a Path,
    /// The time of the files of `.git`, later than that of all others: git takes a file that is not
    /// older than the index for one that may have changed.
    pub(super) time: u64,
}

/// Returns whether a tag object is of `commit`, and of nothing between the two.
pub(super) fn is_tag_of(object: &[u8], commit: GitOid) -> bool {
    object.starts_with(format!("object {commit}\ntype commit\n").as_bytes())
}

impl Contents<'_> {
    /// Writes `.git` below `directory`, which is created.
    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        let git = directory.join(".git");
        create_directory(directory)?;
        for path in ["", "objects", "refs", "refs/heads", "refs/tags"] {
            create_directory(&git.join(path))?;
        }
        self.file(&git.join("config"), SETTINGS.as_bytes())?;
        self.object(&git, "commit", self.object)?;
        self.trees(&git, self.tree)?;
        let id = format!("{}\n", self.commit);
        if self.has_parents() {
            self.file(&git.join("shallow"), id.as_bytes())?;
        }
        let head = self.reference(&git, &id)?;
        self.file(&git.join("HEAD"), head.as_bytes())?;
        self.file(&git.join("index"), &self.index()?)
    }

    /// Writes the ref, and returns what `HEAD` is: the branch, or else the commit itself.
    fn reference(&self, git: &Path, id: &str) -> io::Result<String> {
        let Some(FoundRef { name, tag }) = self.found else {
            return Ok(id.to_owned());
        };
        let value = match tag {
            Some(object) => format!("{}\n", self.object(git, "tag", object)?),
            None => id.to_owned(),
        };
        let path = git.join(name);
        if let Some(parent) = path.parent() {
            DirBuilder::new()
                .mode(0o755)
                .recursive(true)
                .create(parent)?;
        }
        self.file(&path, value.as_bytes())?;
        let is_branch = name.starts_with("refs/heads/");
        Ok(if is_branch {
            format!("ref: {name}\n")
        } else {
            id.to_owned()
        })
    }

    fn has_parents(&self) -> bool {
        let mut lines = self.object.split(|byte| *byte == b'\n');
        let headers = lines.by_ref().take_while(|line| !line.is_empty());
        headers.into_iter().any(|line| line.starts_with(b"parent "))
    }

    /// Writes the trees of the commit. A submodule's are not the superproject's.
    fn trees(&self, git: &Path, tree: &Tree) -> io::Result<()> {
        for (name, node) in &tree.entries {
            if let Node::Directory(below) = node
                && !is_git(name)
            {
                self.trees(git, below)?;
            }
        }
        self.object(git, "tree", &tree.content()).map(|_| ())
    }

    /// Writes an object as a file of its own, unless it is there, and returns its id.
    fn object(&self, git: &Path, kind: &str, content: &[u8]) -> io::Result<GitOid> {
        let id = GitOid::of_object(kind, content);
        let digits = id.to_string();
        let (first, rest) = digits.split_at(2);
        let directory = git.join("objects").join(first);
        let path = directory.join(rest);
        if path.symlink_metadata().is_ok() {
            return Ok(id);
        }
        if directory.symlink_metadata().is_err() {
            create_directory(&directory)?;
        }
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
        write!(packed, "{kind} {}\0", content.len())?;
        packed.write_all(content)?;
        self.file(&path, &packed.finish()?)?;
        Ok(id)
    }

    fn file(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut file = plain_file::create(path, false)?;
        file.write_all(content)?;
        plain_file::set_time(&file, self.time)
    }

    /// Returns the index of the files as they are.
    fn index(&self) -> io::Result<Vec<u8>> {
        let mut entries = Vec::new();
        self.entries(self.tree, &PathBuf::new(), &mut entries)?;
        // Git sorts by whole paths, without a separator after a directory's name.
        entries.sort();
        let mut index = b"DIRC\0\0\0\x02".to_vec();
        let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        index.extend(count.to_be_bytes());
        index.extend(entries.into_iter().flat_map(|(_, entry)| entry));
        let checksum = Sha1::digest(&index);
        index.extend(checksum);
        Ok(index)
    }

    fn entries(
        &self,
        tree: &Tree,
        path: &Path,
        entries: &mut Vec<(Vec<u8>, Vec<u8>)>,
    ) -> io::Result<()> {
        for (name, node) in &tree.entries {
            if is_git(name) {
                continue;
            }
            let path = path.join(std::ffi::OsStr::from_bytes(name));
            let (mode, id) = match node {
                Node::Directory(below) => {
                    self.entries(below, &path, entries)?;
                    continue;
                }
                Node::File { executable, blob } if *executable => (0o100_755, *blob),
                Node::File { blob, .. } => (0o100_644, *blob),
                Node::Link { target } => (0o120_000, GitOid::of_object("blob", target)),
                Node::Submodule { commit, .. } => (0o160_000, *commit),
            };
            let entry = self.entry(&path, mode, id)?;
            entries.push((path.as_os_str().as_bytes().to_vec(), entry));
        }
        Ok(())
    }

    fn entry(&self, path: &Path, mode: u32, id: GitOid) -> io::Result<Vec<u8>> {
        let found = fs::symlink_metadata(self.root.join(path))?;
        let (seconds, size) = match found.is_dir() {
            true => (0, 0),
            false => (found.mtime(), found.size()),
        };
        // Git keeps the lowest 32 bits of both.
        let low = |number: u64| (number & u64::from(u32::MAX)) as u32;
        let path = path.as_os_str().as_bytes();
        let mut entry = Vec::with_capacity(72 + path.len());
        for field in [
            0,
            0,
            low(seconds.cast_unsigned()),
            0,
            0,
            0,
            mode,
            0,
            0,
            low(size),
        ] {
            entry.extend(field.to_be_bytes());
        }
        entry.extend(id.as_bytes());
        let length = u16::try_from(path.len()).unwrap_or(u16::MAX).min(0xfff);
        entry.extend(length.to_be_bytes());
        entry.extend(path);
        let padded = (entry.len() + 8) / 8 * 8;
        entry.resize(padded, 0);
        Ok(entry)
    }
}

fn create_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o755).create(path)
}
