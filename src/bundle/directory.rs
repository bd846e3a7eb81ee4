//! Reads a bundle that was unpacked.
//!
//! * In: a directory from anybody.
//! * Out: the files below it, one after the other, to [`Contents`].
//! * Never: a link followed, a file that another name could change, rights or other attributes that
//!   a bundle's file does not have, or a directory without a file.

use std::fs::{self, DirEntry, File, FileType};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::attributes::{Attributes, Reader};
use super::contents::{Contents, ReadError, is_artifact, plain};
use super::names;

/// The bits set-user-id, set-group-id and sticky (POSIX.1, `sys/stat.h`).
const SPECIAL_BITS: u32 = 0o7000;

/// The bits by which anybody may execute a file.
const EXECUTABLE_BITS: u32 = 0o111;

/// All permission bits of a mode.
const MODE_BITS: u32 = 0o7777;

/// Passes every file of the top directory, or of the directory that contains only that, to
/// `contents`.
pub(super) fn read(path: &Path, contents: &mut Contents) -> Result<(), ReadError> {
    let root = if path.join(names::PROVENANCE).is_file() {
        path.to_owned()
    } else {
        only_directory(path)?
    };
    let mut walk = Walk {
        root,
        attributes: Reader::new(),
        waiting: vec![PathBuf::new()],
        names: Vec::new(),
        contents,
    };
    while let Some(directory) = walk.waiting.pop() {
        walk.read_directory(&directory)?;
    }
    walk.check_directories()
}

/// A walk over all directories of a bundle.
struct Walk<'c> {
    root: PathBuf,
    attributes: Reader,
    /// The directories that are still to be read, below the root.
    waiting: Vec<PathBuf>,
    /// The names of all directories that were found.
    names: Vec<String>,
    contents: &'c mut Contents,
}

impl Walk<'_> {
    fn read_directory(&mut self, directory: &Path) -> Result<(), ReadError> {
        let path = self.root.join(directory);
        let opened = open(&path, OFlags::DIRECTORY)?;
        self.check_attributes(&opened, &directory.to_string_lossy())?;
        for entry in fs::read_dir(&path).map_err(ReadError::Open)? {
            self.read_entry(directory, &entry.map_err(ReadError::Damaged)?)?;
        }
        Ok(())
    }

    fn read_entry(&mut self, directory: &Path, entry: &DirEntry) -> Result<(), ReadError> {
        let kind = entry.file_type().map_err(ReadError::Damaged)?;
        let child = directory.join(entry.file_name());
        self.contents.count()?;
        let name = plain(child.to_str().ok_or_else(|| path_error(&child))?)?;
        if kind.is_dir() {
            self.contents.count_path(&name)?;
            self.waiting.push(child);
            self.names.push(name);
            return Ok(());
        }
        let file = open_file(&entry.path(), kind, &name)?;
        self.check_attributes(&file, &name)?;
        read_file(file, &name, self.contents)
    }

    fn check_attributes(&mut self, file: impl AsFd, name: &str) -> Result<(), ReadError> {
        match self.attributes.read(file).map_err(ReadError::Damaged)? {
            Attributes::Harmless => {}
            Attributes::Unlisted => self.contents.attributes_unlisted(),
            Attributes::Refused(attribute) => {
                return Err(ReadError::Attribute {
                    path: name.to_owned(),
                    attribute,
                });
            }
        }
        Ok(())
    }

    /// Expects a file in or below every directory.
    fn check_directories(self) -> Result<(), ReadError> {
        for name in self.names {
            if !self.contents.has_file_in(&name) {
                return Err(ReadError::Unexpected { path: name });
            }
        }
        Ok(())
    }
}

/// Opens a file, and checks what was opened: another file can take its name meanwhile.
fn open_file(path: &Path, kind: FileType, name: &str) -> Result<File, ReadError> {
    let not_regular = || ReadError::Kind {
        path: name.to_owned(),
    };
    if !kind.is_file() {
        return Err(not_regular());
    }
    let file = open(path, OFlags::NONBLOCK)?;
    let found = file.metadata().map_err(ReadError::Open)?;
    if !found.is_file() || found.nlink() > 1 {
        return Err(not_regular());
    }
    Ok(file)
}

fn open(path: &Path, more: OFlags) -> Result<File, ReadError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | more;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    opened
        .map(File::from)
        .map_err(|error| ReadError::Open(error.into()))
}

fn read_file(file: File, name: &str, contents: &mut Contents) -> Result<(), ReadError> {
    let mode = file.metadata().map_err(ReadError::Open)?.mode() & MODE_BITS;
    let executable = mode & EXECUTABLE_BITS != 0;
    if mode & SPECIAL_BITS != 0 || executable && !is_artifact(name) {
        return Err(ReadError::Mode {
            path: name.to_owned(),
            mode,
        });
    }
    contents.file(name, executable, file)
}

/// Returns the one directory in a directory that contains nothing else.
fn only_directory(path: &Path) -> Result<PathBuf, ReadError> {
    let mut entries = fs::read_dir(path).map_err(ReadError::Open)?;
    match (entries.next(), entries.next()) {
        (Some(Ok(only)), None) if only.file_type().is_ok_and(|kind| kind.is_dir()) => {
            Ok(only.path())
        }
        _ => Err(ReadError::NoProvenance),
    }
}

fn path_error(path: &Path) -> ReadError {
    ReadError::Path {
        path: path.to_string_lossy().into_owned(),
    }
}
