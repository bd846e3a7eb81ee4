//! Removes directories that commands could write.
//!
//! * In: such a directory, after every process that could write it is dead.
//! * Out: nothing; the directory is gone.
//! * Never: memory, stack or descriptors that grow with the depth of the directories, or a followed
//!   link.
//!
//! A command can nest directories deeper than the longest path, and deeper than the stack of a
//! recursive removal allows. Here, directories are moved to the top until there is only one level.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, chmodat, fchmod, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;

/// Removes a directory with everything in it. A missing directory is no error.
///
/// # Errors
/// The file system reports an error, or `path` is not a directory.
pub fn remove_directory(path: &Path) -> io::Result<()> {
    let top = match open(CWD, path) {
        Err(Errno::NOENT) => return Ok(()),
        // Its owner may have removed its own permission. For a link, the error is another one.
        Err(Errno::ACCESS) => {
            chmodat(CWD, path, Mode::RWXU, AtFlags::empty())?;
            open(CWD, path)?
        }
        opened => opened?,
    };
    fchmod(&top, Mode::RWXU)?;
    let mut flat = Flat { top, next: 0 };
    while flat.empty(None)? {}
    Ok(rustix::fs::rmdir(path)?)
}

/// A directory to whose top level all directories below are moved.
struct Flat {
    top: OwnedFd,
    next: u64,
}

impl Flat {
    /// Empties the directory `name` of the top, or the top itself. Returns whether there was an
    /// entry.
    fn empty(&mut self, name: Option<&CStr>) -> io::Result<bool> {
        let directory = match name {
            Some(name) => open(&self.top, name)?,
            None => self.top.try_clone()?,
        };
        let mut changed = false;
        // The caller repeats this until nothing is found: a directory that is changed while it is
        // read may be read with gaps.
        for entry in Dir::read_from(&directory)? {
            let entry = entry?;
            let below = entry.file_name();
            if below == c"." || below == c".." {
                continue;
            }
            if file_type(&directory, below)? != FileType::Directory {
                unlinkat(&directory, below, AtFlags::empty())?;
            } else if name.is_some() {
                self.lift(&directory, below)?;
            } else {
                self.remove(below)?;
            }
            changed = true;
        }
        Ok(changed)
    }

    /// Removes a directory of the top. The directories in it that are not empty are moved to the
    /// top.
    fn remove(&mut self, name: &CStr) -> io::Result<()> {
        chmodat(&self.top, name, Mode::RWXU, AtFlags::empty())?;
        while self.empty(Some(name))? {}
        Ok(unlinkat(&self.top, name, AtFlags::REMOVEDIR)?)
    }

    /// Removes a directory if it is empty, and moves it to the top if it is not.
    fn lift(&mut self, parent: &OwnedFd, name: &CStr) -> io::Result<()> {
        match unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            removed => return Ok(removed?),
        }
        chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
        loop {
            let lifted = CString::new(format!("lifted-{}", self.next))?;
            self.next += 1;
            match renameat(parent, name, &self.top, &lifted) {
                // A command expected this name and has used it.
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                renamed => return Ok(renamed?),
            }
        }
    }
}

fn open(parent: impl AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// Returns the type of a file. That of the listing is not used, because some file systems do not
/// know it.
fn file_type(parent: &OwnedFd, name: &CStr) -> rustix::io::Result<FileType> {
    let found = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(found.st_mode))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A depth for which a thread's stack has no room, with one frame for each level.
    const DEEP: usize = 10_000;

    fn nest(directory: &Path, depth: usize) {
        let mut at = open(CWD, directory).unwrap();
        for _ in 0..depth {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = open(&at, "d").unwrap();
        }
        rustix::fs::symlinkat("/", &at, "link").unwrap();
    }

    #[test]
    fn removes_directories_deeper_than_the_stack() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("target");
        fs::create_dir(&directory).unwrap();
        nest(&directory, DEEP);
        remove_directory(&directory).unwrap();
        assert!(!directory.exists());
        remove_directory(&directory).unwrap();
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let parent = tempfile::tempdir().unwrap();
        let (directory, other) = (parent.path().join("target"), parent.path().join("other"));
        fs::create_dir_all(directory.join("a/b")).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(other.join("kept"), "").unwrap();
        symlink(&other, directory.join("a/b/link")).unwrap();
        symlink(&other, parent.path().join("link")).unwrap();
        remove_directory(&directory).unwrap();
        assert!(remove_directory(&parent.path().join("link")).is_err());
        assert!(other.join("kept").exists() && !directory.exists());
    }

    #[test]
    fn names_that_were_expected_do_not_stop_it() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("target");
        for name in [
            "lifted-0/x",
            "a/b/c",
            "a/lifted-1/d",
            "lifted-2",
            "a/b/lifted-3/x",
        ] {
            fs::create_dir_all(directory.join(name)).unwrap();
        }
        fs::write(directory.join("lifted-1"), "").unwrap();
        remove_directory(&directory).unwrap();
        assert!(!directory.exists());
    }

    #[test]
    fn permissions_that_were_taken_away_do_not_stop_it() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("target");
        fs::create_dir_all(directory.join("a/b/c")).unwrap();
        for name in ["a/b/c", "a/b", "a", ""] {
            fs::set_permissions(directory.join(name), fs::Permissions::from_mode(0o000)).unwrap();
        }
        remove_directory(&directory).unwrap();
        assert!(!directory.exists());
    }
}
