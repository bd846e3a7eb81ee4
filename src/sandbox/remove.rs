//! Removes folders that commands could write. Comes in: such a folder, after everything in it is dead. Goes out: nothing
//! of it. Never: memory, stack or descriptors that grow with how deep folders are nested, or a followed link.
//!
//! A command can nest folders deeper than any path is long, and deeper than a recursive removal has stack for. Here
//! folders are moved to the top until there is only one level.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, chmodat, fchmod, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;

/// Removes a folder with all that is in it. One that is missing is no error.
///
/// # Errors
/// What the file system reports.
pub fn remove_directory(path: &Path) -> io::Result<()> {
    let top = match open(CWD, path) {
        Err(Errno::NOENT) => return Ok(()),
        // Its owner may have taken the permission away from itself. A link is another error.
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

/// A folder to whose top every other one is moved.
struct Flat {
    top: OwnedFd,
    next: u64,
}

impl Flat {
    /// Empties the folder `name` of the top, or the top itself; says whether it did anything.
    fn empty(&mut self, name: Option<&CStr>) -> io::Result<bool> {
        let folder = match name {
            Some(name) => open(&self.top, name)?,
            None => self.top.try_clone()?,
        };
        let mut changed = false;
        // From the beginning each time: a folder that is changed while it is read may be read with gaps.
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let below = entry.file_name();
            if below == c"." || below == c".." {
                continue;
            }
            if kind(&folder, below)? != FileType::Directory {
                unlinkat(&folder, below, AtFlags::empty())?;
            } else if name.is_some() {
                self.lift(&folder, below)?;
            } else {
                self.remove(below)?;
            }
            changed = true;
        }
        Ok(changed)
    }

    /// Removes a folder of the top; what it holds in folders goes to the top.
    fn remove(&mut self, name: &CStr) -> io::Result<()> {
        chmodat(&self.top, name, Mode::RWXU, AtFlags::empty())?;
        while self.empty(Some(name))? {}
        Ok(unlinkat(&self.top, name, AtFlags::REMOVEDIR)?)
    }

    fn lift(&mut self, folder: &OwnedFd, name: &CStr) -> io::Result<()> {
        match unlinkat(folder, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            removed => return Ok(removed?),
        }
        chmodat(folder, name, Mode::RWXU, AtFlags::empty())?;
        loop {
            let lifted = CString::new(format!("lifted-{}", self.next))?;
            self.next += 1;
            match renameat(folder, name, &self.top, &lifted) {
                // Somebody expected this name.
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                renamed => return Ok(renamed?),
            }
        }
    }
}

fn open(folder: impl AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(folder, name, flags, Mode::empty())
}

/// Not the listing's word: some file systems do not know.
fn kind(folder: &OwnedFd, name: &CStr) -> rustix::io::Result<FileType> {
    Ok(FileType::from_raw_mode(
        statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode,
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// More than a thread's stack has room for, one frame a level.
    const DEEP: usize = 10_000;

    fn nest(folder: &Path, depth: usize) {
        let mut at = open(CWD, folder).unwrap();
        for _ in 0..depth {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = open(&at, "d").unwrap();
        }
        rustix::fs::symlinkat("/", &at, "link").unwrap();
    }

    #[test]
    fn removes_folders_deeper_than_the_stack() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("target");
        fs::create_dir(&folder).unwrap();
        nest(&folder, DEEP);
        remove_directory(&folder).unwrap();
        assert!(!folder.exists());
        remove_directory(&folder).unwrap();
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let parent = tempfile::tempdir().unwrap();
        let (folder, other) = (parent.path().join("target"), parent.path().join("other"));
        fs::create_dir_all(folder.join("a/b")).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(other.join("kept"), "").unwrap();
        symlink(&other, folder.join("a/b/link")).unwrap();
        symlink(&other, parent.path().join("link")).unwrap();
        remove_directory(&folder).unwrap();
        assert!(remove_directory(&parent.path().join("link")).is_err());
        assert!(other.join("kept").exists() && !folder.exists());
    }

    #[test]
    fn names_that_were_expected_do_not_stop_it() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("target");
        for name in [
            "lifted-0/x",
            "a/b/c",
            "a/lifted-1/d",
            "lifted-2",
            "a/b/lifted-3/x",
        ] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        fs::write(folder.join("lifted-1"), "").unwrap();
        remove_directory(&folder).unwrap();
        assert!(!folder.exists());
    }

    #[test]
    fn permissions_that_were_taken_away_do_not_stop_it() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("target");
        fs::create_dir_all(folder.join("a/b/c")).unwrap();
        for name in ["a/b/c", "a/b", "a", ""] {
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o000)).unwrap();
        }
        remove_directory(&folder).unwrap();
        assert!(!folder.exists());
    }
}
