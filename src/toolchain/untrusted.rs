//! Reads directories that a sandbox could write, after everything in the sandbox is dead.
//!
//! * In: a directory and a name below it.
//! * Out: a regular file, opened without following any link.
//! * Never: a FIFO that blocks, a device, a link's target, anything outside the directory.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};

/// The most names that are read from one directory.
const MAX_DIRECTORY_ENTRIES: usize = 100_000;

/// Keeps a lookup below the opened directory, on its file system, and away from links.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// A directory that a sandbox could write.
pub(super) struct Untrusted(OwnedFd);

impl Untrusted {
    /// Opens a directory whose own path no sandbox chooses.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        Ok(Self(rustix::fs::open(directory, flags, Mode::empty())?))
    }

    /// Opens a directory below this one.
    pub fn directory(&self, name: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self(self.open_beneath(name.as_ref(), OFlags::DIRECTORY)?))
    }

    /// Opens a regular file below this directory.
    ///
    /// The error is `InvalidData` when `name` is something else.
    pub fn file(&self, name: impl AsRef<Path>) -> io::Result<File> {
        let opened = self.open_beneath(name.as_ref(), OFlags::NONBLOCK | OFlags::NOCTTY)?;
        if !FileType::from_raw_mode(fstat(&opened)?.st_mode).is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "not a regular file",
            ));
        }
        Ok(File::from(opened))
    }

    /// Removes a file or link of this directory; a missing one is no error.
    pub fn remove(&self, name: impl AsRef<Path>) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.0, name.as_ref(), rustix::fs::AtFlags::empty()) {
            Err(rustix::io::Errno::NOENT) => Ok(()),
            removed => Ok(removed?),
        }
    }

    /// Returns whether this directory has an entry called `name`.
    pub fn has(&self, name: impl AsRef<Path>) -> io::Result<bool> {
        match self.kind(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            found => found.map(|_| true),
        }
    }

    /// Returns the file type of an entry of this directory, without following a link.
    pub fn kind(&self, name: impl AsRef<Path>) -> io::Result<FileType> {
        let found = rustix::fs::statat(
            &self.0,
            name.as_ref(),
            rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
        )?;
        Ok(FileType::from_raw_mode(found.st_mode))
    }

    /// Returns the names in this directory, sorted.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        Ok(self.entries()?.into_iter().map(|(name, _)| name).collect())
    }

    /// Returns the names in this directory with their file types, sorted by name.
    pub fn entries(&self) -> io::Result<Vec<(OsString, FileType)>> {
        use std::os::unix::ffi::OsStringExt;
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
            if name == "." || name == ".." {
                continue;
            }
            if entries.len() == MAX_DIRECTORY_ENTRIES {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "too many names in a directory",
                ));
            }
            let kind = self.kind(&name)?;
            entries.push((name, kind));
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(entries)
    }

    /// Returns the target of a link in this directory.
    pub fn link(&self, name: impl AsRef<Path>) -> io::Result<OsString> {
        use std::os::unix::ffi::OsStringExt;
        let target = rustix::fs::readlinkat(&self.0, name.as_ref(), Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()))
    }

    fn open_beneath(&self, name: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(openat2(&self.0, name, flags, Mode::empty(), BENEATH)?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn fixture() -> (tempfile::TempDir, Untrusted) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("sub")).unwrap();
        fs::write(folder.path().join("sub/file"), "x").unwrap();
        symlink("sub/file", folder.path().join("link")).unwrap();
        symlink("sub", folder.path().join("folder-link")).unwrap();
        symlink("/etc", folder.path().join("etc")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            folder.path().join("fifo"),
            FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        let opened = Untrusted::open(folder.path()).unwrap();
        (folder, opened)
    }

    #[test]
    fn opens_regular_files_only() {
        let (_folder, opened) = fixture();
        assert!(opened.file("sub/file").is_ok());
        for hostile in [
            "link",
            "folder-link/file",
            "etc/passwd",
            "fifo",
            "sub",
            "../x",
            "/etc/passwd",
            "missing",
        ] {
            assert!(opened.file(hostile).is_err(), "{hostile}");
        }
    }

    #[test]
    fn lists_names_in_order() {
        let (_folder, opened) = fixture();
        assert_eq!(
            opened.names().unwrap(),
            ["etc", "fifo", "folder-link", "link", "sub"]
        );
        assert!(opened.directory("etc").is_err());
        assert!(opened.directory("sub").is_ok());
    }
}
