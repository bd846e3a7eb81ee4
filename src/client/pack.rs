//! The archive of a folder.
//!
//! - Comes in: a folder, and which of its files.
//! - Goes out: a gzip tar, its digest, and git's id of the tree that is in it, computed from the
//!   very bytes that were packed.
//! - Never: a followed link, also in the middle of a path; a time or an owner of this machine.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use flate2::{Compression, GzBuilder};
use rustix::fs::{FileType, Mode, OFlags};

use super::listing::{Listing, is_beyond_a_link};
use crate::digest::{GitHasher, GitOid, Sha256Digest, Sha256Writer};
use crate::source::tree::{Node, Tree, is_git};
use crate::tar_header::writer::{Archive, Style};

/// How an archive of source code writes a path that a header has no room for.
const STYLE: Style = Style {
    placeholder: b"long-name",
    pax_name: None,
};

/// An archive in a file.
#[derive(Debug)]
pub struct Packed {
    /// The archive.
    pub file: File,
    /// How many bytes it has.
    pub size: u64,
    /// The SHA-256 of its bytes.
    pub sha256: Sha256Digest,
    /// Git's id of the tree that was packed.
    pub tree: GitOid,
    /// How many files and links are in it.
    pub files: usize,
    /// Files of the listing that are not on the disk any more.
    pub missing: usize,
}

/// Why a folder cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The path of the file below the folder.
        path: PathBuf,
        /// The reason that the system gave.
        source: io::Error,
    },
    /// Neither a file nor a link.
    #[error("{} is neither a file nor a link: leave it out, or have git ignore it", path.display())]
    Special {
        /// The path of the file below the folder.
        path: PathBuf,
    },
    /// A name that is not UTF-8.
    #[error("{} is not UTF-8, and the appliance takes no such name", path.display())]
    Name {
        /// The path of the file below the folder.
        path: PathBuf,
    },
    /// There is nothing to send.
    #[error("the folder has no file")]
    Empty,
    /// The archive cannot be written.
    #[error("the archive cannot be written")]
    Write(#[source] io::Error),
}

/// Packs the listed files of `folder` into `into`, below one top folder called `top`.
///
/// # Errors
/// A file cannot be packed.
pub fn pack(folder: &Path, listing: &Listing, top: &str, into: File) -> Result<Packed, PackError> {
    let hashed = Sha256Writer::new(into);
    let gzip = GzBuilder::new().write(hashed, Compression::fast());
    let mut packer = Packer {
        archive: Archive::new(gzip, STYLE, 0).map_err(PackError::Write)?,
        tree: Tree::default(),
        files: 0,
    };
    let mut missing = 0;
    for path in &listing.files {
        if path
            .components()
            .any(|part| is_git(part.as_os_str().as_bytes()))
        {
            continue;
        }
        match packer.entry(folder, path, top)? {
            true => packer.files += 1,
            false => missing += 1,
        }
    }
    let Packer {
        archive,
        tree,
        files,
    } = packer;
    if files == 0 {
        return Err(PackError::Empty);
    }
    let gzip = archive.finish().map_err(PackError::Write)?;
    let (file, sha256, size) = gzip.finish().map_err(PackError::Write)?.finish();
    Ok(Packed {
        file,
        size,
        sha256,
        tree: tree.oid(),
        files,
        missing,
    })
}

struct Packer<W: Write> {
    archive: Archive<W>,
    tree: Tree,
    files: usize,
}

impl<W: Write> Packer<W> {
    /// Packs one file; returns false where it is not there any more.
    fn entry(&mut self, folder: &Path, path: &Path, top: &str) -> Result<bool, PackError> {
        if is_beyond_a_link(folder, path) {
            return Ok(false);
        }
        let whole = folder.join(path);
        let failed = |source: io::Error| PackError::Read {
            path: path.to_owned(),
            source,
        };
        let found = match whole.symlink_metadata() {
            Err(error) if is_missing(&error) => return Ok(false),
            found => found.map_err(failed)?,
        };
        let Some(text) = path.to_str() else {
            return Err(PackError::Name {
                path: path.to_owned(),
            });
        };
        let name = format!("{top}/{text}");
        if found.is_symlink() {
            let target = std::fs::read_link(&whole).map_err(failed)?;
            let target = target.as_os_str().as_bytes().to_vec();
            self.archive
                .link(name.as_bytes(), &target)
                .map_err(PackError::Write)?;
            self.put(path, Node::Link { target });
        } else {
            let (executable, blob) = self.file(&whole, path, &name)?;
            self.put(path, Node::File { executable, blob });
        }
        Ok(true)
    }

    /// The type is asked of the open file: meanwhile the name may have become something else.
    fn file(&mut self, whole: &Path, path: &Path, name: &str) -> Result<(bool, GitOid), PackError> {
        let failed = |source: io::Error| PackError::Read {
            path: path.to_owned(),
            source,
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::open(whole, flags, Mode::empty()) {
            // A socket, or a device without a driver.
            Err(rustix::io::Errno::NXIO) => {
                return Err(PackError::Special {
                    path: path.to_owned(),
                });
            }
            opened => opened.map_err(|error| failed(error.into()))?,
        };
        let stat = rustix::fs::fstat(&file).map_err(|error| failed(error.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(PackError::Special {
                path: path.to_owned(),
            });
        }
        let executable = Mode::from_raw_mode(stat.st_mode).contains(Mode::XUSR);
        let size = stat.st_size.unsigned_abs();
        self.archive
            .begin_file(name.as_bytes(), executable, size)
            .map_err(PackError::Write)?;
        let mut hasher = GitHasher::new("blob", size);
        let mut content = File::from(file).take(size);
        let mut buffer = vec![0; 64 << 10];
        let mut left = size;
        while left > 0 {
            let count = content.read(&mut buffer).map_err(failed)?;
            if count == 0 {
                return Err(failed(io::ErrorKind::UnexpectedEof.into()));
            }
            hasher
                .write_all(&buffer[..count])
                .map_err(PackError::Write)?;
            self.archive
                .write_all(&buffer[..count])
                .map_err(PackError::Write)?;
            left -= count as u64;
        }
        self.archive.end_file().map_err(PackError::Write)?;
        Ok((executable, hasher.finish()))
    }

    /// Puts a node into the tree, with the folders above it.
    fn put(&mut self, path: &Path, node: Node) {
        let mut names: Vec<_> = path
            .components()
            .filter_map(|part| match part {
                Component::Normal(name) => Some(name.as_bytes().to_vec()),
                _ => None,
            })
            .collect();
        let Some(last) = names.pop() else { return };
        put(&mut self.tree, &names, last, node);
    }
}

fn put(tree: &mut Tree, folders: &[Vec<u8>], name: Vec<u8>, node: Node) {
    let Some((first, rest)) = folders.split_first() else {
        tree.entries.insert(name, node);
        return;
    };
    let empty = || {
        Node::Folder(Tree {
            entries: BTreeMap::new(),
        })
    };
    let below = tree.entries.entry(first.clone()).or_insert_with(empty);
    if let Node::Folder(below) = below {
        put(below, rest, name, node);
    }
}

/// Also where a folder on the way has become a file.
fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::source::tree;

    fn packed(folder: &Path) -> Packed {
        let listing = Listing::of(folder, true).unwrap();
        pack(folder, &listing, "top", tempfile::tempfile().unwrap()).unwrap()
    }

    #[test]
    fn the_tree_is_that_of_the_files_and_the_archive_does_not_depend_on_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let deep = root.join("d".repeat(80)).join("e".repeat(80));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("long"), "long").unwrap();
        fs::write(root.join("Cargo.toml"), "x".repeat(1000)).unwrap();
        fs::write(root.join("run.sh"), "").unwrap();
        fs::set_permissions(root.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("Cargo.toml", root.join("link")).unwrap();
        fs::create_dir_all(root.join(".git/objects")).unwrap();
        fs::write(root.join(".git/config"), "secret").unwrap();
        let first = packed(root);
        assert_eq!((first.tree, first.files), (tree::hash(root).unwrap(), 4));
        let time = std::time::SystemTime::UNIX_EPOCH;
        File::options()
            .write(true)
            .open(root.join("run.sh"))
            .unwrap()
            .set_modified(time)
            .unwrap();
        assert_eq!(packed(root).sha256, first.sha256);
    }

    #[test]
    fn what_is_no_file_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let listing = |folder: &Path| Listing::of(folder, true).unwrap();
        let refusal = || {
            let into = tempfile::tempfile().unwrap();
            pack(folder.path(), &listing(folder.path()), "top", into).unwrap_err()
        };
        assert!(matches!(refusal(), PackError::Empty));
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(matches!(refusal(), PackError::Special { .. }));
        fs::remove_file(&socket).unwrap();
        let fifo = folder.path().join("fifo");
        let kind = FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, 0o600.into(), 0).unwrap();
        assert!(matches!(refusal(), PackError::Special { .. }));
    }
}
