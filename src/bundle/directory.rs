//! The bundle as it was unpacked.
//!
//! - Comes in: a folder that anybody may have made.
//! - Goes out: the files below it, one after the other, to [`Contents`].
//! - Never: a link followed, a file that another name could change, rights or other attributes
//!   that a bundle's file does not have, or a folder without a file.

use std::fs::{self, File, FileType};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::attributes::{Attributes, Reader};
use super::contents::{Contents, ReadError, is_artifact, plain};
use super::names;

/// Set-user-id, set-group-id, sticky (POSIX.1, `sys/stat.h`).
const SPECIAL_BITS: u32 = 0o7000;

/// Anybody may execute it.
const EXECUTABLE_BITS: u32 = 0o111;

/// All permission bits.
const MODE_BITS: u32 = 0o7777;

/// Gives every file of the top folder, or of the folder that holds only that, to `contents`.
pub(super) fn read(path: &Path, contents: &mut Contents) -> Result<(), ReadError> {
    let root = if path.join(names::PROVENANCE).is_file() {
        path.to_owned()
    } else {
        only_folder(path)?
    };
    let mut attributes = Reader::new();
    let mut folders = vec![PathBuf::new()];
    let mut names = Vec::new();
    while let Some(folder) = folders.pop() {
        let opened = open(&root.join(&folder), OFlags::DIRECTORY)?;
        check_attributes(
            &opened,
            &folder.to_string_lossy(),
            &mut attributes,
            contents,
        )?;
        for entry in fs::read_dir(root.join(&folder)).map_err(ReadError::Open)? {
            let entry = entry.map_err(ReadError::Damaged)?;
            let kind = entry.file_type().map_err(ReadError::Damaged)?;
            let child = folder.join(entry.file_name());
            contents.count()?;
            let name = plain(child.to_str().ok_or_else(|| path_error(&child))?)?;
            if kind.is_dir() {
                contents.count_path(&name)?;
                folders.push(child);
                names.push(name);
            } else {
                let file = open_file(&entry.path(), kind, &name)?;
                check_attributes(&file, &name, &mut attributes, contents)?;
                read_file(file, &name, contents)?;
            }
        }
    }
    match names
        .into_iter()
        .find(|folder| !contents.has_file_in(folder))
    {
        Some(path) => Err(ReadError::Unexpected { path }),
        None => Ok(()),
    }
}

/// The file that is opened is the one that is looked at: what has its name can change meanwhile.
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

fn check_attributes(
    file: impl AsFd,
    name: &str,
    attributes: &mut Reader,
    contents: &mut Contents,
) -> Result<(), ReadError> {
    match attributes.read(file).map_err(ReadError::Damaged)? {
        Attributes::Harmless => {}
        Attributes::Unlisted => contents.attributes_unlisted(),
        Attributes::Refused(attribute) => {
            return Err(ReadError::Attribute {
                path: name.to_owned(),
                attribute,
            });
        }
    }
    Ok(())
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

fn only_folder(path: &Path) -> Result<PathBuf, ReadError> {
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
