//! Packs a directory into an archive.
//!
//! * In: a directory, and which of its files.
//! * Out: a gzip tar, its digest, and git's id of its tree, computed from the bytes that were
//!   packed.
//! * Never: a link that is followed, also in the middle of a path; a time or an owner of this
//!   machine.

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

/// How an archive of source code writes a path that is too long for a header.
const STYLE: Style = Style {
    placeholder: b"long-name",
    pax_name: None,
};

/// How many bytes of a file are read at once.
const BUFFER_BYTES: usize = 64 << 10;

/// An archive in a file.
#[derive(Debug)]
pub struct Packed {
    /// The file with the archive.
    pub file: File,
    /// The number of bytes in the archive.
    pub size: u64,
    /// The SHA-256 of the archive's bytes.
    pub sha256: Sha256Digest,
    /// Git's id of the tree that was packed.
    pub tree: GitOid,
    /// How many files and links the archive contains.
    pub files: usize,
    /// How many listed files are no longer on the disk.
    pub missing: usize,
}

/// Why a directory cannot be packed. Paths are relative to that directory.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum PackError {
    #[error("{} cannot be read", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is neither a file nor a link: leave it out, or have git ignore it", path.display())]
    Special { path: PathBuf },
    #[error("{} is not UTF-8, and the appliance takes no such name", path.display())]
    Name { path: PathBuf },
    #[error("the directory has no file")]
    Empty,
    #[error("the archive cannot be written")]
    Write(#[source] io::Error),
}

impl PackError {
    fn read(path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Read {
            path: path.to_owned(),
            source: source.into(),
        }
    }
}

/// Packs the listed files of `directory` into `into`, below one top directory called `top`.
///
/// # Errors
/// A file cannot be packed.
pub fn pack(
    directory: &Path,
    listing: &Listing,
    top: &str,
    into: File,
) -> Result<Packed, PackError> {
    let hashed = Sha256Writer::new(into);
    let gzip = GzBuilder::new().write(hashed, Compression::fast());
    let mut packer = Packer {
        archive: Archive::new(gzip, STYLE, 0).map_err(PackError::Write)?,
        tree: Tree::default(),
        files: 0,
    };
    let mut missing = 0;
    for path in &listing.files {
        let mut names = path.iter();
        if names.any(|name| is_git(name.as_bytes())) {
            continue;
        }
        if packer.entry(directory, path, top)? {
            packer.files += 1;
        } else {
            missing += 1;
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
    let hashed = gzip.finish().map_err(PackError::Write)?;
    let (file, sha256, size) = hashed.finish();
    Ok(Packed {
        file,
        size,
        sha256,
        tree: tree.oid(),
        files,
        missing,
    })
}

/// A file that is open for packing.
struct OpenFile {
    file: File,
    executable: bool,
    size: u64,
}

struct Packer<W: Write> {
    archive: Archive<W>,
    tree: Tree,
    files: usize,
}

impl<W: Write> Packer<W> {
    /// Packs one file or link. Returns false if it is no longer there.
    fn entry(&mut self, directory: &Path, path: &Path, top: &str) -> Result<bool, PackError> {
        if is_beyond_a_link(directory, path) {
            return Ok(false);
        }
        let whole = directory.join(path);
        let found = match whole.symlink_metadata() {
            Err(error) if is_missing(&error) => return Ok(false),
            result => result.map_err(|error| PackError::read(path, error))?,
        };
        let Some(text) = path.to_str() else {
            return Err(PackError::Name {
                path: path.to_owned(),
            });
        };
        let name = format!("{top}/{text}");
        let node = if found.is_symlink() {
            self.link(&whole, path, &name)?
        } else {
            self.file(open(&whole, path)?, path, &name)?
        };
        self.insert(path, node);
        Ok(true)
    }

    fn link(&mut self, whole: &Path, path: &Path, name: &str) -> Result<Node, PackError> {
        let link = std::fs::read_link(whole).map_err(|error| PackError::read(path, error))?;
        let target = link.as_os_str().as_bytes().to_vec();
        self.archive
            .link(name.as_bytes(), &target)
            .map_err(PackError::Write)?;
        Ok(Node::Link { target })
    }

    /// Packs and hashes a file in one pass.
    fn file(&mut self, opened: OpenFile, path: &Path, name: &str) -> Result<Node, PackError> {
        let OpenFile {
            file,
            executable,
            size,
        } = opened;
        let begun = self.archive.begin_file(name.as_bytes(), executable, size);
        begun.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => PackError::read(path, error),
            _ => PackError::Write(error),
        })?;
        let mut hasher = GitHasher::new("blob", size);
        let mut content = file.take(size);
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut left = size;
        while left > 0 {
            let count = content
                .read(&mut buffer)
                .map_err(|error| PackError::read(path, error))?;
            if count == 0 {
                return Err(PackError::read(path, io::ErrorKind::UnexpectedEof));
            }
            let bytes = &buffer[..count];
            hasher.write_all(bytes).map_err(PackError::Write)?;
            self.archive.write_all(bytes).map_err(PackError::Write)?;
            left -= count as u64;
        }
        self.archive.end_file().map_err(PackError::Write)?;
        Ok(Node::File {
            executable,
            blob: hasher.finish(),
        })
    }

    /// Adds a node to the tree, with the directories above it.
    fn insert(&mut self, path: &Path, node: Node) {
        let mut names = Vec::new();
        for component in path.components() {
            if let Component::Normal(name) = component {
                names.push(name.as_bytes().to_vec());
            }
        }
        let Some(last) = names.pop() else { return };
        insert_below(&mut self.tree, &names, last, node);
    }
}

/// Opens a regular file. Its type is checked once it is open, because the name may have become
/// something else since it was listed.
fn open(whole: &Path, path: &Path) -> Result<OpenFile, PackError> {
    let special = || PackError::Special {
        path: path.to_owned(),
    };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(whole, flags, Mode::empty()) {
        // A socket, or a device without a driver.
        Err(rustix::io::Errno::NXIO) => return Err(special()),
        result => result.map_err(|error| PackError::read(path, error))?,
    };
    let stat = rustix::fs::fstat(&file).map_err(|error| PackError::read(path, error))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(special());
    }
    Ok(OpenFile {
        file: File::from(file),
        executable: Mode::from_raw_mode(stat.st_mode).contains(Mode::XUSR),
        size: stat.st_size.unsigned_abs(),
    })
}

fn insert_below(tree: &mut Tree, directories: &[Vec<u8>], name: Vec<u8>, node: Node) {
    let Some((first, rest)) = directories.split_first() else {
        tree.entries.insert(name, node);
        return;
    };
    let empty = || Node::Directory(Tree::default());
    let parent = tree.entries.entry(first.clone()).or_insert_with(empty);
    if let Node::Directory(below) = parent {
        insert_below(below, rest, name, node);
    }
}

/// Returns whether a file is missing, or a directory on its path has become a file.
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

    fn packed(directory: &Path) -> Packed {
        let listing = Listing::of(directory, true).unwrap();
        pack(directory, &listing, "top", tempfile::tempfile().unwrap()).unwrap()
    }

    #[test]
    fn the_tree_is_that_of_the_files_and_the_archive_does_not_depend_on_the_machine() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
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
        let directory = tempfile::tempdir().unwrap();
        let listing = |directory: &Path| Listing::of(directory, true).unwrap();
        let refusal = || {
            let into = tempfile::tempfile().unwrap();
            pack(directory.path(), &listing(directory.path()), "top", into).unwrap_err()
        };
        assert!(matches!(refusal(), PackError::Empty));
        let socket = directory.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(matches!(refusal(), PackError::Special { .. }));
        fs::remove_file(&socket).unwrap();
        let fifo = directory.path().join("fifo");
        let kind = FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, 0o600.into(), 0).unwrap();
        assert!(matches!(refusal(), PackError::Special { .. }));
    }
}
