//! Lets a command write to its source, as cargo does, while the source stays as it was hashed.
//!
//! What the command writes is in a directory of its own, over the source (`overlayfs`), and is
//! thrown away. The kernel lets root mount it, and not every container's root.
//!
//! * In: directories that no command can write, and a new directory of the job.
//! * Out: a path where they are seen as one, writable; afterwards the names of what was changed.
//! * Never: a change of the directories below, or a mount that outlives its value.

use std::ffi::{CString, OsStr};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, chown, lchown};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use super::remove::remove_directory;

/// The name of the directory with what commands wrote.
const UPPER: &str = "upper";

/// The most names that are reported.
const MAX_REPORTED: usize = 8;

/// The most entries that are looked at for the report.
const MAX_VISITED: usize = 10_000;

/// The longest path that is opened, in bytes: Linux's `PATH_MAX` is 4096, with a byte for the end.
const MAX_PATH_BYTES: usize = 3800;

/// Mounts overlays for one user.
#[derive(Clone, Copy, Debug)]
pub struct Overlays {
    user: u32,
}

impl Overlays {
    /// Mounts overlays whose files belong to `user`, the user of commands.
    pub(super) fn for_commands_of(user: u32) -> Self {
        Self { user }
    }

    /// Mounts `layers`, of which an earlier one covers a later one, and gives their files to the
    /// user of commands: only the owner of a file can write over it. The mount and what is written
    /// are in `directory`, which is created. Returns none where the kernel has no such file system,
    /// or does not let this process mount it.
    ///
    /// # Errors
    /// A directory cannot be created or given away, or the mount fails otherwise.
    pub fn mount(self, layers: &[&Path], directory: &Path) -> io::Result<Option<Overlay>> {
        let merged = directory.join("merged");
        let (upper, work) = (directory.join(UPPER), directory.join("work"));
        DirBuilder::new().mode(0o711).create(directory)?;
        for path in [&upper, &work, &merged] {
            DirBuilder::new().mode(0o755).create(path)?;
        }
        chown(&upper, Some(self.user), Some(self.user))?;
        for layer in layers {
            give(layer, self.user)?;
        }
        let options = options(layers, &upper, &work)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        match rustix::mount::mount("overlay", &merged, "overlay", flags, &*options) {
            Ok(()) => Ok(Some(Overlay {
                directory: directory.to_owned(),
                merged,
            })),
            Err(Errno::NODEV | Errno::PERM) => {
                remove_directory(directory)?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Directories that commands see as one and may write to. Dropping it unmounts it.
#[derive(Debug)]
pub struct Overlay {
    directory: PathBuf,
    merged: PathBuf,
}

/// What commands changed in an overlay.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The first paths that were written, created or removed, relative and sorted.
    pub paths: Vec<PathBuf>,
    /// How many further ones there are; at least as many.
    pub others: usize,
}

impl Overlay {
    /// Returns the path at which the layers are seen as one.
    pub fn path(&self) -> &Path {
        &self.merged
    }

    /// Unmounts it, removes what commands wrote, and returns what that was. Call this when they are
    /// dead.
    ///
    /// # Errors
    /// What was written cannot be read or removed.
    pub fn finish(self) -> io::Result<Changes> {
        let directory = self.directory.clone();
        drop(self);
        let changes = Changes::in_directory(&directory.join(UPPER))?;
        remove_directory(&directory)?;
        Ok(changes)
    }
}

/// Returns the options of a mount. Features that keep more than files in the upper directory are
/// off.
fn options(layers: &[&Path], upper: &Path, work: &Path) -> io::Result<CString> {
    let mut options = b"index=off,metacopy=off,redirect_dir=off,lowerdir=".to_vec();
    for (index, layer) in layers.iter().enumerate() {
        if index > 0 {
            options.push(b':');
        }
        escape(layer, &mut options);
    }
    for (name, path) in [(",upperdir=", upper), (",workdir=", work)] {
        options.extend_from_slice(name.as_bytes());
        escape(path, &mut options);
    }
    Ok(CString::new(options)?)
}

impl Drop for Overlay {
    fn drop(&mut self) {
        if let Err(error) = rustix::mount::unmount(&self.merged, UnmountFlags::DETACH) {
            log::error!("an overlay could not be unmounted: {error}");
        }
    }
}

/// Appends a path with the characters escaped that mean something in the options of the mount.
fn escape(path: &Path, options: &mut Vec<u8>) {
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b'\\' | b':' | b',') {
            options.push(b'\\');
        }
        options.push(*byte);
    }
}

/// Gives a directory and everything in it to a user. No command can change it meanwhile.
fn give(path: &Path, user: u32) -> io::Result<()> {
    lchown(path, Some(user), Some(user))?;
    if !path.symlink_metadata()?.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        give(&entry?.path(), user)?;
    }
    Ok(())
}

impl Changes {
    /// Looks through a directory that commands could write. A directory in it is only counted if it
    /// is empty: it is also there for what is in it.
    fn in_directory(upper: &Path) -> io::Result<Self> {
        let (mut paths, mut visited) = (Vec::new(), 0);
        let mut directories = vec![PathBuf::new()];
        while let Some(directory) = directories.pop() {
            let mut is_empty = true;
            for entry in fs::read_dir(upper.join(&directory))? {
                let entry = entry?;
                (is_empty, visited) = (false, visited + 1);
                if visited > MAX_VISITED {
                    return Ok(Self::of(paths));
                }
                let path = directory.join(entry.file_name());
                // A path can be longer than the system takes: the rest is not looked at.
                let is_short = upper.as_os_str().len() + path.as_os_str().len() < MAX_PATH_BYTES;
                if entry.file_type()?.is_dir() && is_short {
                    directories.push(path);
                } else {
                    paths.push(path);
                }
            }
            if is_empty && directory.as_os_str() != OsStr::new("") {
                paths.push(directory);
            }
        }
        Ok(Self::of(paths))
    }

    fn of(mut paths: Vec<PathBuf>) -> Self {
        paths.sort();
        let others = paths.len().saturating_sub(MAX_REPORTED);
        paths.truncate(MAX_REPORTED);
        Self { paths, others }
    }

    /// Returns whether nothing was changed.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_is_named_and_the_rest_is_counted() {
        let upper = tempfile::tempdir().unwrap();
        assert!(Changes::in_directory(upper.path()).unwrap().is_empty());
        fs::create_dir_all(upper.path().join("src/empty")).unwrap();
        fs::write(upper.path().join("src/main.rs"), "").unwrap();
        let changes = Changes::in_directory(upper.path()).unwrap();
        assert_eq!(
            changes.paths,
            ["src/empty", "src/main.rs"].map(PathBuf::from)
        );
        for index in 0..MAX_REPORTED {
            fs::write(upper.path().join(format!("z{index}")), "").unwrap();
        }
        let changes = Changes::in_directory(upper.path()).unwrap();
        assert_eq!((changes.paths.len(), changes.others), (MAX_REPORTED, 2));
    }

    #[test]
    fn a_command_changes_what_it_sees_and_not_what_is_below() {
        let directory = tempfile::tempdir().unwrap();
        // The characters that mean something in the options of a mount.
        let top = directory.path().join("a:b,c\\d");
        let (source, covering) = (top.join("source"), top.join("covering"));
        fs::create_dir_all(&source).unwrap();
        fs::create_dir_all(covering.join(".git")).unwrap();
        fs::write(source.join("kept"), "1").unwrap();
        fs::write(source.join("gone"), "1").unwrap();
        fs::write(covering.join(".git/HEAD"), "x").unwrap();
        let layers = [&*covering, &*source];
        let mounted = Overlays::for_commands_of(0).mount(&layers, &top.join("overlay"));
        let Ok(Some(overlay)) = mounted else {
            assert!(!rustix::process::geteuid().is_root(), "{mounted:?}");
            return;
        };
        let merged = overlay.path().to_owned();
        assert_eq!(fs::read(merged.join(".git/HEAD")).unwrap(), b"x");
        fs::write(merged.join("kept"), "2").unwrap();
        fs::write(merged.join("new"), "2").unwrap();
        fs::remove_file(merged.join("gone")).unwrap();
        let changes = overlay.finish().unwrap();
        assert_eq!(changes.paths, ["gone", "kept", "new"].map(PathBuf::from));
        assert_eq!(fs::read(source.join("kept")).unwrap(), b"1");
        assert!(source.join("gone").exists() && !source.join("new").exists());
        assert!(!top.join("overlay").exists());
    }
}
