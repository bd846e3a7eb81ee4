//! Finds out whether there is a file or directory at a path.
//!
//! * In: a path.
//! * Out: what is there, or an error.
//! * Never: "nothing is there" for a path that could not be examined. The caller would then use,
//!   build or record something else.

use std::fs::Metadata;
use std::io;
use std::path::Path;

/// Returns the metadata that a look at a path found, or `None` where there is nothing.
///
/// # Errors
/// The path cannot be examined.
pub fn there(looked: io::Result<Metadata>) -> io::Result<Option<Metadata>> {
    match looked {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_absence(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_absence(error: &io::Error) -> bool {
    // No command opens anything by a path that has too many links, is too long, or contains a zero.
    let is_unusable = matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENAMETOOLONG))
        || error.kind() == io::ErrorKind::InvalidInput;
    let is_missing = matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    );
    is_missing || is_unusable
}

/// Returns whether a path leads to a directory.
///
/// # Errors
/// The path cannot be examined.
pub fn is_directory(path: &Path) -> io::Result<bool> {
    Ok(there(path.metadata())?.is_some_and(|found| found.is_dir()))
}

/// Returns whether a path leads to a file.
///
/// # Errors
/// The path cannot be examined.
pub fn is_file(path: &Path) -> io::Result<bool> {
    Ok(there(path.metadata())?.is_some_and(|found| found.is_file()))
}

/// Returns the first path that leads to a file.
///
/// # Errors
/// A path cannot be examined, before one that leads to a file was found.
pub fn first_file<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> io::Result<Option<P>> {
    for path in paths {
        if is_file(path.as_ref())? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_cannot_be_looked_at_is_not_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let [file, circle] = ["file", "circle"].map(|name| directory.path().join(name));
        std::fs::write(&file, "").unwrap();
        symlink(&circle, &circle).unwrap();
        let [below, long, zero] =
            ["file/below", &"x".repeat(5000), "\0"].map(|name| directory.path().join(name));
        let first = first_file([&*below, &circle, &long, &zero, directory.path(), &file]);
        assert_eq!(first.unwrap(), Some(&*file));
        for error in [libc::EIO, libc::EACCES, libc::EMFILE, libc::ENOMEM] {
            let looked = there(Err(io::Error::from_raw_os_error(error)));
            assert_eq!(looked.unwrap_err().raw_os_error(), Some(error));
        }
    }
}
