//! Reads one output of a build, and packs it as a tar.
//!
//! * In: the path of the output, after everything that could write it is dead.
//! * Out: its entries, its files, and the whole as a tar that depends on nothing else.
//! * Never: a link's target, anything that is neither a file, a directory nor a link, or more than
//!   the limits.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use crate::tar_header::writer::{Archive, Style};
use crate::toolchain::ToolchainError;
use crate::toolchain::artifact::{MAX_ARTIFACT_BYTES, refused};
use crate::toolchain::untrusted::Untrusted;

/// The most files, directories and links in one output.
const MAX_OUTPUT_ENTRIES: usize = 100_000;

/// The most levels of directories in one output.
const MAX_OUTPUT_DEPTH: usize = 200;

/// The way in which the tar of an output writes a name that is too long for a header.
const STYLE: Style = Style {
    placeholder: b"pax-path",
    pax_name: None,
};

/// The entries of an output, in the order of a walk with sorted names.
pub(super) struct Tree {
    /// The directory that the output is in.
    parent: Untrusted,
    /// The name of the output in that directory.
    base: OsString,
    entries: Vec<OutputEntry>,
}

/// A file, directory or link of an output.
pub(super) struct OutputEntry {
    /// The path below the output; empty for the output itself.
    pub path: PathBuf,
    /// The kind of the entry.
    pub kind: EntryKind,
}

/// The kind of an entry of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    /// The entry is a directory.
    Directory {
        /// Whether the directory has no entries.
        is_empty: bool,
    },
    /// The entry is a regular file.
    File {
        /// Whether the owner may execute the file.
        executable: bool,
    },
    /// The entry is a symbolic link.
    Link,
}

impl OutputEntry {
    /// Returns whether the entry is a file.
    pub fn is_file(&self) -> bool {
        matches!(self.kind, EntryKind::File { .. })
    }

    /// Returns whether the entry is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, EntryKind::Directory { .. })
    }
}

impl Tree {
    /// Lists the output at `path`, which no sandbox chose; errors call it `name`.
    pub fn read(path: &Path, name: &str) -> Result<Self, ToolchainError> {
        let (parent, base) = path
            .parent()
            .zip(path.file_name())
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let mut tree = Self {
            parent: Untrusted::open(parent)?,
            base: base.to_owned(),
            entries: Vec::new(),
        };
        let kind = tree.parent.kind(base)?;
        tree.walk(PathBuf::new(), kind, 0, name)?;
        Ok(tree)
    }

    /// Adds the entry at `path`, and everything below it.
    fn walk(
        &mut self,
        path: PathBuf,
        kind: FileType,
        depth: usize,
        name: &str,
    ) -> Result<(), ToolchainError> {
        if self.entries.len() == MAX_OUTPUT_ENTRIES {
            return Err(refused(
                name,
                "it has too many files, directories and links",
            ));
        }
        match kind {
            FileType::RegularFile => self.add_file(path, name),
            FileType::Symlink => {
                self.add(path, EntryKind::Link);
                Ok(())
            }
            FileType::Directory if depth == MAX_OUTPUT_DEPTH => {
                Err(refused(name, "its directories are nested too deeply"))
            }
            FileType::Directory => {
                let children = self.parent.directory(self.below_parent(&path))?.entries()?;
                let is_empty = children.is_empty();
                self.add(path.clone(), EntryKind::Directory { is_empty });
                for (child, kind) in children {
                    self.walk(path.join(child), kind, depth + 1, name)?;
                }
                Ok(())
            }
            _ => Err(refused(
                name,
                "it has something that is neither a file, nor a directory, nor a link",
            )),
        }
    }

    fn add_file(&mut self, path: PathBuf, name: &str) -> Result<(), ToolchainError> {
        let metadata = self.file(&path)?.metadata()?;
        // A header of the tar has no room for a larger size either.
        if metadata.len() > MAX_ARTIFACT_BYTES {
            return Err(refused(name, "it is too large"));
        }
        let executable = metadata.permissions().mode() & 0o100 != 0;
        self.add(path, EntryKind::File { executable });
        Ok(())
    }

    fn add(&mut self, path: PathBuf, kind: EntryKind) {
        self.entries.push(OutputEntry { path, kind });
    }

    /// Returns the entry for the output itself, then everything in it.
    pub fn entries(&self) -> &[OutputEntry] {
        &self.entries
    }

    /// Opens a file of the output.
    pub fn file(&self, path: &Path) -> io::Result<File> {
        self.parent.file(self.below_parent(path))
    }

    /// Returns the target of a link of the output.
    fn link(&self, path: &Path) -> io::Result<OsString> {
        let path = self.below_parent(path);
        match path.parent().zip(path.file_name()) {
            Some((directory, name)) if !directory.as_os_str().is_empty() => {
                self.parent.directory(directory)?.link(name)
            }
            _ => self.parent.link(path),
        }
    }

    /// Returns the path of an entry below the directory that the output is in.
    fn below_parent(&self, path: &Path) -> PathBuf {
        // Joining an empty path would add a slash, which only a directory may have.
        if path.as_os_str().is_empty() {
            self.base.clone().into()
        } else {
            Path::new(&self.base).join(path)
        }
    }

    /// Writes the output as a tar, below the directory `top`.
    ///
    /// The names are in order, links are links, the owner is 0, and every time is `epoch`
    /// (seconds).
    pub fn tar(&self, top: &str, epoch: u64, out: impl Write) -> io::Result<()> {
        let mut archive = Archive::new(BufWriter::new(out), STYLE, epoch)?;
        for OutputEntry { path, kind } in &self.entries {
            let mut name = name_in_tar(top, path);
            match kind {
                EntryKind::Directory { .. } => {
                    name.push(b'/');
                    archive.directory(&name)?;
                }
                EntryKind::File { executable } => {
                    let file = self.file(path)?;
                    let size = file.metadata()?.len();
                    archive.begin_file(&name, *executable, size)?;
                    io::copy(&mut file.take(size), &mut archive)?;
                    archive.end_file()?;
                }
                EntryKind::Link => archive.link(&name, self.link(path)?.as_bytes())?,
            }
        }
        archive.finish()?.flush()
    }
}

/// Returns the name of an entry in the tar, without a slash at its end.
fn name_in_tar(top: &str, path: &Path) -> Vec<u8> {
    let mut name = top.as_bytes().to_vec();
    if !path.as_os_str().is_empty() {
        name.push(b'/');
        name.extend_from_slice(path.as_os_str().as_bytes());
    }
    name
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn tar(tree: &Path) -> Vec<u8> {
        let mut bytes = Vec::new();
        Tree::read(tree, "x")
            .unwrap()
            .tar("hello-1.0", 7, &mut bytes)
            .unwrap();
        bytes
    }

    fn fixture() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("share/empty")).unwrap();
        fs::create_dir(tree.join("bin")).unwrap();
        fs::write(tree.join("bin/hello"), "program").unwrap();
        fs::set_permissions(tree.join("bin/hello"), fs::Permissions::from_mode(0o555)).unwrap();
        fs::write(tree.join("share").join("n".repeat(200)), "long").unwrap();
        fs::write(tree.join("share").join(OsStr::from_bytes(b"\xff")), "raw").unwrap();
        symlink("../../elsewhere//x/", tree.join("bin/link")).unwrap();
        symlink("t".repeat(150), tree.join("share/far")).unwrap();
        folder
    }

    #[test]
    fn a_tar_has_everything_and_nothing_of_this_machine() {
        let folder = fixture();
        let bytes = tar(&folder.path().join("tree"));
        let mut seen = Vec::new();
        for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let header = entry.header();
            assert_eq!(
                (
                    header.uid().unwrap(),
                    header.gid().unwrap(),
                    header.mtime().unwrap()
                ),
                (0, 0, 7)
            );
            let mode = header.mode().unwrap();
            let (name, target) = (
                entry.path_bytes().into_owned(),
                entry.link_name_bytes().map(|link| link.into_owned()),
            );
            let mut content = target.unwrap_or_default();
            entry.read_to_end(&mut content).unwrap();
            seen.push((
                String::from_utf8_lossy(&name).into_owned(),
                mode,
                String::from_utf8(content).unwrap(),
            ));
        }
        let expected = [
            ("hello-1.0/", 0o755, ""),
            ("hello-1.0/bin/", 0o755, ""),
            ("hello-1.0/bin/hello", 0o755, "program"),
            ("hello-1.0/bin/link", 0o777, "../../elsewhere//x/"),
            ("hello-1.0/share/", 0o755, ""),
            ("hello-1.0/share/empty/", 0o755, ""),
            ("hello-1.0/share/far", 0o777, &"t".repeat(150)),
            (
                &format!("hello-1.0/share/{}", "n".repeat(200)),
                0o644,
                "long",
            ),
            ("hello-1.0/share/\u{fffd}", 0o644, "raw"),
        ];
        let expected =
            expected.map(|(name, mode, content)| (name.to_owned(), mode, content.to_owned()));
        assert_eq!(seen, expected);
        assert_eq!(
            tar(&fixture().path().join("tree")),
            bytes,
            "another directory, the same bytes"
        );
    }

    #[test]
    fn an_output_can_be_a_file_or_a_link() {
        let folder = fixture();
        let file = Tree::read(&folder.path().join("tree/bin/hello"), "x").unwrap();
        assert_eq!(file.entries()[0].kind, EntryKind::File { executable: true });
        let bytes = tar(&folder.path().join("tree/bin/link"));
        let mut archive = tar::Archive::new(&bytes[..]);
        let entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(
            (&*entry.path_bytes(), &*entry.link_name_bytes().unwrap()),
            (&b"hello-1.0"[..], &b"../../elsewhere//x/"[..])
        );
    }

    #[test]
    fn other_things_and_deep_folders_are_refused() {
        let folder = fixture();
        let why = |path: &Path| match Tree::read(path, "hello").map(|_| ()).unwrap_err() {
            ToolchainError::Artifact { name, why } => (name, why),
            other => panic!("{other}"),
        };
        let fifo = folder.path().join("tree/share/fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, 0o600.into(), 0).unwrap();
        let kind = "it has something that is neither a file, nor a directory, nor a link";
        assert_eq!(why(&folder.path().join("tree")), ("hello".to_owned(), kind));
        let deep: PathBuf = std::iter::repeat_n("d", MAX_OUTPUT_DEPTH).collect();
        fs::create_dir_all(folder.path().join("deep").join(&deep)).unwrap();
        assert!(Tree::read(&folder.path().join("deep/d"), "x").is_ok());
        assert_eq!(
            why(&folder.path().join("deep")).1,
            "its directories are nested too deeply"
        );
        assert!(Tree::read(&folder.path().join("tree/bin/link/x"), "x").is_err());
    }
}
