//! Makes folders reachable for the user of the sandbox. Comes in: the work folder and those of tools, wherever root keeps
//! them. Goes out: paths to them that an unprivileged uid can walk. Never: a change that the rest of the machine sees
//! in its mounts.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags};

use super::{SetupError, kernel};

/// Covered by a file system of our own; its other contents are of no use to us.
const BASE: &str = "/mnt";
/// Folders only.
const BASE_OPTIONS: &std::ffi::CStr = c"mode=0755,size=64k";
/// What a folder's mode needs so that others can walk through it.
const SEARCH_BY_OTHERS: u32 = 0o011;

/// Where things are now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entered {
    /// The work folder.
    pub work: PathBuf,
    /// The others, in the order in which they were given.
    pub folders: Vec<PathBuf>,
}

/// Puts the work folder, and folders of tools, where sandboxed commands can reach them.
///
/// As root: in a mount namespace of our own, under `/mnt`, the tools read-only. The work folder's mode gets the bits
/// that let others walk through it; what is in it keeps its own. As somebody else: they stay where they are. To be
/// called before any thread exists.
///
/// # Errors
/// The namespace or a mount could not be made.
pub fn enter_private_mounts(work: &Path, folders: &[&Path]) -> Result<Entered, SetupError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Entered {
            work: work.to_owned(),
            folders: folders.iter().map(|&folder| folder.into()).collect(),
        });
    }
    open_to_others(work)?;
    kernel::unshare_mounts().map_err(|source| SetupError::Unshare { source })?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private)
        .map_err(|source| mount_error(Path::new("/"), source))?;
    let work_folder = open(work)?;
    let opened = folders
        .iter()
        .map(|folder| open(folder))
        .collect::<Result<Vec<_>, _>>()?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("tmpfs", BASE, "tmpfs", flags, BASE_OPTIONS)
        .map_err(|source| mount_error(Path::new(BASE), source))?;
    let tools = opened.iter().enumerate();
    Ok(Entered {
        work: bind(&work_folder, "work", flags)?,
        folders: tools
            .map(|(index, folder)| {
                bind(
                    folder,
                    &format!("tools-{index}"),
                    flags | MountFlags::RDONLY,
                )
            })
            .collect::<Result<_, _>>()?,
    })
}

/// In the new namespace, and before anything is covered: a bind mount takes no folder of another namespace.
fn open(path: &Path) -> Result<fs::File, SetupError> {
    fs::File::open(path).map_err(|source| SetupError::Path {
        path: path.to_owned(),
        source,
    })
}

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

/// Binds by descriptor: the path may lie under what was just covered.
fn bind(folder: &fs::File, name: &str, flags: MountFlags) -> Result<PathBuf, SetupError> {
    let target = Path::new(BASE).join(name);
    let source = format!("/proc/self/fd/{}", folder.as_raw_fd());
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
