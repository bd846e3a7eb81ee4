//! Makes directories reachable for the users of sandboxes.
//!
//! * In: the working directory and those of tools, at any path that root can reach.
//! * Out: paths of these directories that an unprivileged uid can walk.
//! * Never: a change that the rest of the machine sees in its mounts.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags};

use super::{SetupError, kernel};

/// The mount point of the private file system. The service does not use the files that it covers.
const BASE: &str = "/mnt";
/// The options of the private file system, which has directories only.
const BASE_OPTIONS: &std::ffi::CStr = c"mode=0755,size=64k";
/// The bits of a directory's mode with which other users can walk through it.
const SEARCH_BY_OTHERS: u32 = 0o011;

/// The paths of the directories after [`enter_private_mounts`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entered {
    /// The path of the working directory.
    pub work: PathBuf,
    /// The paths of the tools' directories, in the given order.
    pub directories: Vec<PathBuf>,
}

/// Mounts the working directory, and directories of tools, at paths that sandboxed commands can
/// reach.
///
/// If this process is root, it enters its own mount namespace and mounts them under `/mnt`, the
/// tools read-only. The mode of the working directory gets the bits with which other users can walk
/// through it; the files in it keep their modes. If it is not root, all paths stay the same. Call
/// this before any thread exists.
///
/// # Errors
/// The namespace or a mount could not be created.
pub fn enter_private_mounts(work: &Path, directories: &[&Path]) -> Result<Entered, SetupError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Entered {
            work: work.to_owned(),
            directories: directories.iter().copied().map(Path::to_owned).collect(),
        });
    }
    open_to_others(work)?;
    enter_namespace()?;
    let opened_work = open(work)?;
    let mut opened = Vec::new();
    for directory in directories {
        opened.push(open(directory)?);
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("tmpfs", BASE, "tmpfs", flags, BASE_OPTIONS)
        .map_err(|source| mount_error(Path::new(BASE), source))?;
    let mut entered = Entered {
        work: bind(&opened_work, "work", flags)?,
        directories: Vec::new(),
    };
    for (index, directory) in opened.iter().enumerate() {
        let name = format!("tools-{index}");
        let path = bind(directory, &name, flags | MountFlags::RDONLY)?;
        entered.directories.push(path);
    }
    Ok(entered)
}

/// Enters a new mount namespace, whose mounts no other namespace sees.
fn enter_namespace() -> Result<(), SetupError> {
    kernel::unshare_mounts().map_err(|source| SetupError::Unshare { source })?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).map_err(|source| mount_error(Path::new("/"), source))
}

/// Opens a directory. This has to happen in the new namespace, because a bind mount takes no
/// directory of another one, and before anything is covered.
fn open(path: &Path) -> Result<fs::File, SetupError> {
    fs::File::open(path).map_err(|source| SetupError::Path {
        path: path.to_owned(),
        source,
    })
}

/// Lets other users walk through the working directory.
fn open_to_others(path: &Path) -> Result<(), SetupError> {
    let widen = || -> io::Result<()> {
        let mode = fs::metadata(path)?.permissions().mode();
        fs::set_permissions(path, fs::Permissions::from_mode(mode | SEARCH_BY_OTHERS))
    };
    widen().map_err(|source| SetupError::Path {
        path: path.to_owned(),
        source,
    })
}

/// Binds a directory by its descriptor: its path may be below the one that was just covered.
fn bind(directory: &fs::File, name: &str, flags: MountFlags) -> Result<PathBuf, SetupError> {
    let target = Path::new(BASE).join(name);
    let source = format!("/proc/self/fd/{}", directory.as_raw_fd());
    fs::create_dir(&target).map_err(|source| SetupError::Path {
        path: target.clone(),
        source,
    })?;
    rustix::mount::mount_bind(source, &target)
        .and_then(|()| rustix::mount::mount_remount(&target, MountFlags::BIND | flags, c""))
        .map_err(|source| mount_error(&target, source))?;
    Ok(target)
}

fn mount_error(path: &Path, source: rustix::io::Errno) -> SetupError {
    SetupError::Mount {
        path: path.to_owned(),
        source: source.into(),
    }
}
