//! Computes the digest by which nix identifies a tree.
//!
//! * In: a file, directory or link that a sandbox could write, after everything in the sandbox is
//!   dead.
//! * Out: SHA-256 and size of its Nix archive (NAR).
//! * Never: a link's target, anything that is neither a file, a directory nor a link, or memory
//!   that grows with a file.
//!
//! A Nix archive (nix manual, "Nix Archive (NAR) format") is a sequence of strings, each a 64-bit
//! little-endian length, the bytes, and zero bytes up to a multiple of 8:
//!
//! | what | strings |
//! |---|---|
//! | archive | `nix-archive-1`, then a node |
//! | file | `(` `type` `regular` \[`executable` ``\] `contents` BYTES `)` |
//! | link | `(` `type` `symlink` `target` BYTES `)` |
//! | directory | `(` `type` `directory` { `entry` `(` `name` NAME `node` NODE `)` } `)`, by NAME |

use std::ffi::OsStr;
use std::io::{self, Read, Sink, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::FileType;

use crate::digest::{Sha256Digest, Sha256Writer};
use crate::toolchain::untrusted::Untrusted;

use super::base32;

/// The most files, directories and links in one tree.
const MAX_TREE_ENTRIES: usize = 1 << 20;

/// The most levels of directories in one tree. Each is a file descriptor while it is read.
const MAX_TREE_DEPTH: usize = 200;

/// The alignment to which the strings of an archive are padded, in bytes.
const ALIGNMENT: u64 = 8;

/// The digest and the size of a Nix archive (NAR).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nar {
    /// The digest of the archive.
    pub sha256: Sha256Digest,
    /// The size of the archive, in bytes.
    pub size: u64,
}

/// Why a tree has no digest. The paths are relative to the tree.
#[derive(Debug, thiserror::Error)]
pub enum NarError {
    /// A part of the tree cannot be read.
    #[error("{path:?} cannot be read")]
    Read {
        /// The path of that part.
        path: PathBuf,
        /// The reason that the system gave.
        source: io::Error,
    },
    /// A part of the tree is a FIFO, socket or device.
    #[error("{path:?} is neither a file, nor a directory, nor a link")]
    Kind {
        /// The path of that part.
        path: PathBuf,
    },
    /// A file has another length than its metadata.
    #[error("{path:?} changed while it was read")]
    Changed {
        /// The path of that part.
        path: PathBuf,
    },
    /// The tree has more entries than the limit.
    #[error("it has more than {limit} files, directories and links")]
    TooMany {
        /// The limit that was exceeded.
        limit: usize,
    },
    /// The directories of the tree are nested too deeply.
    #[error("it has more than {limit} levels of directories")]
    TooDeep {
        /// The limit that was exceeded.
        limit: usize,
    },
}

impl NarError {
    /// Returns whether the machine failed, and the tree is not the cause.
    pub(crate) fn is_fault(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() != io::ErrorKind::InvalidData)
    }
}

/// Why a text is not a hash that can be compared.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NarHashError {
    /// The hash has another algorithm, or none.
    #[error("{text:?} is not a sha256 hash")]
    Algorithm {
        /// The text that was read.
        text: String,
    },
    /// The digits cannot be read.
    #[error("{text:?} has no digest of 32 bytes")]
    Digest {
        /// The text that was read.
        text: String,
    },
}

/// Reads a hash: `sha256-` and base 64, or `sha256:` and 64 hexadecimal or 52 base-32 digits.
pub(super) fn parse_hash(text: &str) -> Result<Sha256Digest, NarHashError> {
    let digest = if let Some(base64) = text.strip_prefix("sha256-") {
        let bytes = STANDARD.decode(base64).ok();
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(Sha256Digest::from_bytes)
    } else if let Some(digits) = text.strip_prefix("sha256:") {
        let hex = digits.parse().ok();
        hex.or_else(|| base32::decode(digits).map(Sha256Digest::from_bytes))
    } else {
        return Err(NarHashError::Algorithm {
            text: text.to_owned(),
        });
    };
    digest.ok_or_else(|| NarHashError::Digest {
        text: text.to_owned(),
    })
}

/// Returns digest and size of the tree `root`, whose own path no sandbox chooses.
pub(super) fn hash(root: &Path) -> Result<Nar, NarError> {
    let (parent, name) = root
        .parent()
        .zip(root.file_name())
        .ok_or_else(|| unread(io::ErrorKind::NotFound.into()))?;
    hash_in(&Untrusted::open(parent).map_err(unread)?, name)
}

/// Returns digest and size of a file or directory in `root`, whose path is not trusted.
///
/// # Errors
/// The path names or passes a link, or the tree cannot be hashed.
pub(super) fn hash_below(root: &Path, path: &Path) -> Result<Nar, NarError> {
    if path.as_os_str().is_empty() {
        return hash(root);
    }
    let name = path
        .file_name()
        .ok_or_else(|| unread(io::ErrorKind::NotFound.into()))?;
    let mut directory = Untrusted::open(root).map_err(unread)?;
    if let Some(parent) = path.parent()
        && !parent.as_os_str().is_empty()
    {
        directory = directory.directory(parent).map_err(unread)?;
    }
    if directory.kind(name).map_err(unread)?.is_symlink() {
        return Err(NarError::Kind {
            path: path.to_owned(),
        });
    }
    hash_in(&directory, name)
}

fn hash_in(directory: &Untrusted, name: &OsStr) -> Result<Nar, NarError> {
    let kind = directory.kind(name).map_err(unread)?;
    let mut archive = Archive {
        out: Sha256Writer::new(io::sink()),
        path: PathBuf::new(),
        depth: 0,
        entries: 0,
    };
    archive.strings(&[b"nix-archive-1"])?;
    archive.node(directory, name, kind)?;
    let (_, sha256, size) = archive.out.finish();
    Ok(Nar { sha256, size })
}

fn unread(source: io::Error) -> NarError {
    NarError::Read {
        path: PathBuf::new(),
        source,
    }
}

/// A Nix archive that is hashed while it is written.
struct Archive {
    out: Sha256Writer<Sink>,
    /// The path of the part that is being read, relative to the root.
    path: PathBuf,
    depth: usize,
    entries: usize,
}

impl Archive {
    /// Writes the entry `name` of a directory.
    fn node(
        &mut self,
        directory: &Untrusted,
        name: &OsStr,
        kind: FileType,
    ) -> Result<(), NarError> {
        self.entries += 1;
        if self.entries > MAX_TREE_ENTRIES {
            return Err(NarError::TooMany {
                limit: MAX_TREE_ENTRIES,
            });
        }
        self.strings(&[b"(", b"type"])?;
        match kind {
            FileType::RegularFile => self.file(directory, name)?,
            FileType::Symlink => {
                let target = self.reading(directory.link(name))?;
                self.strings(&[b"symlink", b"target", target.as_bytes()])?;
            }
            FileType::Directory => {
                let inner = self.reading(directory.directory(name))?;
                self.directory(&inner)?;
            }
            _ => {
                return Err(NarError::Kind {
                    path: self.path.clone(),
                });
            }
        }
        self.strings(&[b")"])
    }

    fn directory(&mut self, directory: &Untrusted) -> Result<(), NarError> {
        self.depth += 1;
        if self.depth > MAX_TREE_DEPTH {
            return Err(NarError::TooDeep {
                limit: MAX_TREE_DEPTH,
            });
        }
        self.strings(&[b"directory"])?;
        for (name, kind) in self.reading(directory.entries())? {
            self.strings(&[b"entry", b"(", b"name", name.as_bytes(), b"node"])?;
            self.path.push(&name);
            self.node(directory, &name, kind)?;
            self.path.pop();
            self.strings(&[b")"])?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn file(&mut self, directory: &Untrusted, name: &OsStr) -> Result<(), NarError> {
        let file = self.reading(directory.file(name))?;
        let found = self.reading(file.metadata())?;
        self.strings(&[b"regular"])?;
        if found.permissions().mode() & 0o100 != 0 {
            self.strings(&[b"executable", b""])?;
        }
        self.strings(&[b"contents"])?;
        let size = found.len();
        let written = self.out.write_all(&size.to_le_bytes());
        self.reading(written)?;
        let copied = io::copy(&mut file.take(size + 1), &mut self.out);
        if self.reading(copied)? != size {
            return Err(NarError::Changed {
                path: self.path.clone(),
            });
        }
        self.pad(size)
    }

    /// Writes strings, each with its length and its padding.
    fn strings(&mut self, strings: &[&[u8]]) -> Result<(), NarError> {
        for string in strings {
            let size = string.len() as u64;
            let written = self
                .out
                .write_all(&size.to_le_bytes())
                .and_then(|()| self.out.write_all(string));
            self.reading(written)?;
            self.pad(size)?;
        }
        Ok(())
    }

    /// Writes the padding of a string of `size` bytes.
    fn pad(&mut self, size: u64) -> Result<(), NarError> {
        let missing = size.next_multiple_of(ALIGNMENT) - size;
        let written = self
            .out
            .write_all(&[0; ALIGNMENT as usize][..missing as usize]);
        self.reading(written)
    }

    /// Adds the path of the current part to an error of the file system.
    fn reading<T>(&self, result: io::Result<T>) -> Result<T, NarError> {
        result.map_err(|source| NarError::Read {
            path: self.path.clone(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// The tree of the known answers, which `nix hash path` and `nix-store --dump` (2.26.3) gave.
    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("sub/deep")).unwrap();
        fs::create_dir(tree.join("empty")).unwrap();
        let files = [
            ("file", "hello\n"),
            ("run", "#!/bin/sh\n"),
            ("eight", "12345678"),
            ("nothing", ""),
            ("sub/deep/z", "z"),
        ];
        for (name, content) in
            files
                .into_iter()
                .chain([("B", "A"), ("a", "b"), ("ü", "u"), ("sub.txt", "s")])
        {
            fs::write(tree.join(name), content).unwrap();
            fs::set_permissions(tree.join(name), fs::Permissions::from_mode(0o644)).unwrap();
        }
        fs::set_permissions(tree.join("run"), fs::Permissions::from_mode(0o744)).unwrap();
        symlink("../elsewhere/x", tree.join("link")).unwrap();
        symlink("tree", folder.path().join("onlylink")).unwrap();
        folder
    }

    #[test]
    fn gives_the_hashes_that_nix_gives() {
        let folder = tree();
        for (name, expected, size) in [
            (
                "tree",
                "sha256-45QXaIFwxkDodgNkHYYIfM4b3P0ONvgBkXJW5owQS2w=",
                Some(2560),
            ),
            (
                "tree/file",
                "sha256-HDfQGvQL4ugGkd48w99EN3ppmvuxfGjwgJZLL9Bx/BM=",
                None,
            ),
            (
                "tree/run",
                "sha256-YoPBZoJg+QPRqJXAzWuCL6S2h2K7CxfO3vLTnZfiZVQ=",
                Some(160),
            ),
            (
                "tree/eight",
                "sha256-ItYyI0JkR+ZKog121Qaz4GKi0kK7eXU22/PuaBvj9Tw=",
                None,
            ),
            (
                "tree/nothing",
                "sha256-d6xi4mKdjkX2JFicDIv5niSzpyI0m/Hnm8GGAIU04kY=",
                None,
            ),
            (
                "tree/empty",
                "sha256-pQpattmS9VmO3ZIQUFn66az8GSmB4IvYhTTCFn6SUmo=",
                None,
            ),
            (
                "onlylink",
                "sha256-a4D1/KMgZhjruT1oiI8JhZJ405+OL7Wy3MYJ1b3Wytw=",
                Some(120),
            ),
        ] {
            let nar = hash(&folder.path().join(name)).unwrap();
            assert_eq!(nar.sha256, parse_hash(expected).unwrap(), "{name}");
            assert!(
                size.is_none_or(|size| size == nar.size),
                "{name}: {}",
                nar.size
            );
        }
    }

    #[test]
    fn everything_that_nix_looks_at_changes_the_hash() {
        let change = |change: &dyn Fn(&Path)| {
            let folder = tree();
            change(&folder.path().join("tree"));
            hash(&folder.path().join("tree")).unwrap().sha256
        };
        let unchanged = change(&|_| ());
        let changes: [&dyn Fn(&Path); 5] = [
            &|tree| fs::write(tree.join("file"), "hullo\n").unwrap(),
            &|tree| fs::rename(tree.join("a"), tree.join("c")).unwrap(),
            &|tree| {
                fs::set_permissions(tree.join("file"), fs::Permissions::from_mode(0o744)).unwrap()
            },
            &|tree| fs::remove_dir(tree.join("empty")).unwrap(),
            &|tree| {
                fs::remove_file(tree.join("link")).unwrap();
                fs::write(tree.join("link"), "../elsewhere/x").unwrap();
            },
        ];
        for (number, made) in changes.iter().enumerate() {
            assert_ne!(change(made), unchanged, "{number}");
        }
        let others = change(&|tree| {
            fs::set_permissions(tree.join("file"), fs::Permissions::from_mode(0o655)).unwrap()
        });
        assert_eq!(others, unchanged, "only the owner's bit counts");
    }

    #[test]
    fn refuses_what_is_no_file_folder_or_link() {
        let folder = tree();
        let fifo = folder.path().join("tree/sub/fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, 0o600.into(), 0).unwrap();
        let refusal = hash(&folder.path().join("tree")).unwrap_err();
        assert!(
            matches!(&refusal, NarError::Kind { path } if path == Path::new("sub/fifo")),
            "{refusal}"
        );
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
        assert!(matches!(
            hash(&folder.path().join("socket")),
            Err(NarError::Kind { .. })
        ));
        assert!(matches!(
            hash(&folder.path().join("missing")),
            Err(NarError::Read { .. })
        ));
        assert!(matches!(
            hash(&folder.path().join("onlylink/file")),
            Err(NarError::Read { .. })
        ));
    }

    #[test]
    fn a_path_in_a_tree_passes_no_link_and_stays_in_it() {
        let folder = tree();
        let root = folder.path().join("tree");
        symlink("sub", root.join("short")).unwrap();
        let below = |path: &str| hash_below(&root, Path::new(path));
        for path in ["", "file", "sub/deep", "sub/deep/z"] {
            assert_eq!(
                below(path).unwrap(),
                hash(&root.join(path)).unwrap(),
                "{path}"
            );
        }
        for path in [
            "short",
            "short/deep",
            "link",
            "missing",
            "file/x",
            "..",
            "../onlylink",
            "sub/../../tree/file",
            "/etc",
        ] {
            assert!(below(path).is_err(), "{path}");
        }
    }

    #[test]
    fn folders_in_each_other_have_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let mut deep = folder.path().join("0");
        (1..MAX_TREE_DEPTH).for_each(|_| deep.push("d"));
        fs::create_dir_all(&deep).unwrap();
        assert!(hash(&folder.path().join("0")).is_ok());
        fs::create_dir(deep.join("d")).unwrap();
        let refusal = hash(&folder.path().join("0")).unwrap_err();
        assert!(
            matches!(
                refusal,
                NarError::TooDeep {
                    limit: MAX_TREE_DEPTH
                }
            ),
            "{refusal}"
        );
    }

    #[test]
    fn reads_every_way_that_nix_writes_a_hash() {
        let hex = "1c37d01af40be2e80691de3cc3df44377a699afbb17c68f080964b2fd071fc13";
        for text in [
            format!("sha256:{hex}"),
            "sha256:04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw".to_owned(),
            "sha256-HDfQGvQL4ugGkd48w99EN3ppmvuxfGjwgJZLL9Bx/BM=".to_owned(),
        ] {
            assert_eq!(parse_hash(&text).unwrap().to_string(), hex, "{text}");
        }
        for text in ["", hex, "md5:x", "sha512-x", "SHA256-x", " sha256:x"] {
            assert!(
                matches!(parse_hash(text), Err(NarHashError::Algorithm { .. })),
                "{text}"
            );
        }
        for text in [
            "sha256:",
            "sha256-",
            "sha256-AA==",
            "sha256:00",
            "sha256-HDfQGvQL4ugGkd48w99EN3ppmvuxfGjwgJZLL9Bx/BM",
        ] {
            assert!(
                matches!(parse_hash(text), Err(NarHashError::Digest { .. })),
                "{text}"
            );
        }
    }
}
