//! Mounts file systems.
//!
//! * In: the initrd, then the verified device.
//! * Out: the root, read-only, and a few writable directories, in memory.
//! * Never: a writable disk.
//!
//! | mount point | file system |
//! |---|---|
//! | `/` | the verified root, read-only |
//! | `/proc`, `/sys`, `/dev`, `/dev/pts` | the kernel's |
//! | `/sys/fs/cgroup` | control groups, version 2, with no limit yet |
//! | `/run`, `/tmp` | small, in memory |
//! | [`WORK`] | uploads, builds and results, in memory |

use std::ffi::CString;
use std::fs;
use std::io;

use rustix::mount::{MountFlags, mount, mount_move};
use rustix::process::{chdir, chroot};

use super::BootError;
use super::error::file;
use super::settings::HardenedKernel;
use super::verity::VerifiedDevice;

/// The directory of all files of the service.
pub const WORK: &str = "/work";
/// The mount point of the root in the initrd.
const NEW_ROOT: &str = "/root";
/// The size of `/run`, which has the configuration that this boot found: name servers.
const RUN_BYTES: u64 = 1 << 20;
/// The size of the service's own `/tmp`; commands have another one in their sandbox.
const TMP_BYTES: u64 = 16 << 20;
/// [`WORK`] has at most one part in this many of the memory. So the kept files of a build and a
/// command at its limit do not exhaust the machine together before the command's own limit ends it.
const WORK_SHARE: u64 = 2;
/// How many files [`WORK`] may have: a large dependency tree has a hundred thousand, and each costs
/// the kernel about a kilobyte.
const WORK_FILES: u64 = 2_000_000;

const PLAIN: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);
const DATA_ONLY: MountFlags = PLAIN.union(MountFlags::NOEXEC);

/// The kernel's own file systems are mounted: the receipt of [`kernel_file_systems`].
#[derive(Debug)]
pub(super) struct KernelFileSystems(());

/// The verified root is mounted beside the initrd: the receipt of [`root`].
#[derive(Debug)]
pub(super) struct MountedRoot(());

/// The verified root is `/`: the receipt of [`move_to_root`].
#[derive(Debug)]
pub(super) struct Root(());

/// The writable directories are mounted: the receipt of [`writable_directories`].
#[derive(Debug)]
pub(super) struct WritableDirectories(());

/// Control groups can be created: the receipt of [`control_groups`].
#[derive(Debug)]
pub(super) struct ControlGroups(());

/// Phase: mounts the kernel's own file systems, in the initrd.
pub(super) fn kernel_file_systems() -> Result<KernelFileSystems, BootError> {
    let devices = MountFlags::NOSUID | MountFlags::NOEXEC;
    for (path, kind, flags, options) in [
        ("/proc", "proc", DATA_ONLY, ""),
        ("/sys", "sysfs", DATA_ONLY, ""),
        ("/dev", "devtmpfs", devices, "mode=0755"),
    ] {
        fs::create_dir_all(path).map_err(file(path))?;
        mount_at(path, kind, kind, flags, options)?;
    }
    Ok(KernelFileSystems(()))
}

/// Phase: mounts the root, still beside the initrd.
pub(super) fn root(device: VerifiedDevice) -> Result<MountedRoot, BootError> {
    fs::create_dir_all(NEW_ROOT).map_err(file(NEW_ROOT))?;
    mount_at(
        NEW_ROOT,
        &device.path().to_string_lossy(),
        "erofs",
        MountFlags::NODEV | MountFlags::NOSUID | MountFlags::RDONLY,
        "",
    )?;
    Ok(MountedRoot(()))
}

/// Phase: makes the verified root `/`. Nothing of the initrd can be reached any more.
pub(super) fn move_to_root(_: HardenedKernel, _: MountedRoot) -> Result<Root, BootError> {
    for directory in ["/proc", "/sys", "/dev"] {
        let target = format!("{NEW_ROOT}{directory}");
        mount_move(directory, &target).map_err(mounting(&target))?;
    }
    chdir(NEW_ROOT).map_err(kernel("chdir"))?;
    mount_move(".", "/").map_err(mounting("/"))?;
    chroot(".").map_err(kernel("chroot"))?;
    chdir("/").map_err(kernel("chdir"))?;
    Ok(Root(()))
}

/// Phase: mounts the directories that can be written.
pub(super) fn writable_directories(_: Root) -> Result<WritableDirectories, BootError> {
    let information = rustix::system::sysinfo();
    let memory = u64::from(information.mem_unit) * information.totalram;
    let run = format!("mode=0755,size={RUN_BYTES}");
    mount_at("/run", "tmpfs", "tmpfs", DATA_ONLY, &run)?;
    let tmp = format!("mode=1777,size={TMP_BYTES}");
    mount_at("/tmp", "tmpfs", "tmpfs", DATA_ONLY, &tmp)?;
    // Build scripts run from here. Other users may walk through it, but not list it.
    let size = memory / WORK_SHARE;
    let work = format!("mode=0711,size={size},nr_inodes={WORK_FILES}");
    mount_at(WORK, "tmpfs", "tmpfs", PLAIN, &work)?;
    let pts = "/dev/pts";
    fs::create_dir_all(pts).map_err(file(pts))?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    let options = "mode=0620,ptmxmode=0666,newinstance";
    mount_at(pts, "devpts", "devpts", flags, options)?;
    Ok(WritableDirectories(()))
}

/// Phase: mounts the hierarchy in which the sandbox creates its control groups.
pub(super) fn control_groups(_: WritableDirectories) -> Result<ControlGroups, BootError> {
    mount_at("/sys/fs/cgroup", "cgroup2", "cgroup2", DATA_ONLY, "")?;
    let controllers = "/sys/fs/cgroup/cgroup.subtree_control";
    fs::write(controllers, "+memory +pids").map_err(file(controllers))?;
    Ok(ControlGroups(()))
}

fn mount_at(
    path: &str,
    source: &str,
    kind: &str,
    flags: MountFlags,
    options: &str,
) -> Result<(), BootError> {
    let options = CString::new(options).map_err(|error| mounting(path)(io::Error::from(error)))?;
    mount(source, path, kind, flags, options.as_c_str()).map_err(mounting(path))
}

fn mounting<E: Into<io::Error>>(path: &str) -> impl FnOnce(E) -> BootError {
    move |source| BootError::Mount {
        path: path.to_owned(),
        source: source.into(),
    }
}

fn kernel(what: &'static str) -> impl FnOnce(rustix::io::Errno) -> BootError {
    move |source| BootError::Kernel {
        what,
        source: source.into(),
    }
}
