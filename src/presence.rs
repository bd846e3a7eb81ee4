//! Whether something is at a path. Comes in: a path. Goes out: what is there, or an error. Never: "nothing there" for a path
//! that could not be examined, which would use, build or record something else.

use std::fs::Metadata;
use std::io;
use std::path::Path;

/// What a look at a path found; none where nothing is.
///
/// # Errors
/// The path cannot be examined.
pub fn there(looked: io::Result<Metadata>) -> io::Result<Option<Metadata>> {
    match looked {
        Ok(found) => Ok(Some(found)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        // No command opens anything by a path with too many links, one that is too long, or one with a zero in it.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENAMETOOLONG)) => {
            Ok(None)
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a path leads to a folder.
///
/// # Errors
/// The path cannot be examined.
pub fn is_folder(path: &Path) -> io::Result<bool> {
    Ok(there(path.metadata())?.is_some_and(|found| found.is_dir()))
}

/// Whether a path leads to a file.
///
/// # Errors
/// The path cannot be examined.
pub fn is_file(path: &Path) -> io::Result<bool> {
    Ok(there(path.metadata())?.is_some_and(|found| found.is_file()))
}

/// The first path that leads to a file.
///
/// # Errors
/// It, or one before it, cannot be examined.
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
        let folder = tempfile::tempdir().unwrap();
        let [file, circle] = ["file", "circle"].map(|name| folder.path().join(name));
        std::fs::write(&file, "").unwrap();
        symlink(&circle, &circle).unwrap();
        let [below, long, zero] =
            ["file/below", &"x".repeat(5000), "\0"].map(|name| folder.path().join(name));
        let first = first_file([&*below, &circle, &long, &zero, folder.path(), &file]);
        assert_eq!(first.unwrap(), Some(&*file));
        for error in [libc::EIO, libc::EACCES, libc::EMFILE, libc::ENOMEM] {
            let looked = there(Err(io::Error::from_raw_os_error(error)));
            assert_eq!(looked.unwrap_err().raw_os_error(), Some(error));
        }
    }
}
