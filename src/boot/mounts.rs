//! File systems. Comes in: the initrd, then the verified device. Goes out: the root, read-only, and the few folders that can
//! be written, in memory. Never: a writable disk.
//!
//! | where | what |
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

/// Where the service keeps everything.
pub const WORK: &str = "/work";
/// Mount point in the initrd.
const NEW_ROOT: &str = "/root";
/// Configuration that this boot found out: name servers.
const RUN_BYTES: u64 = 1 << 20;
/// Ours; commands have another in their sandbox.
const TMP_BYTES: u64 = 16 << 20;
/// At most this part of the memory, so that what is kept of a build and a command at its limit do not together
/// exhaust the machine before the command's own limit ends it.
const WORK_SHARE: u64 = 2;
/// Files of the work folder: a large dependency tree has a hundred thousand; each costs the kernel about a kilobyte.
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

/// The few writable folders are there: the receipt of [`writable_folders`].
#[derive(Debug)]
pub(super) struct WritableFolders(());

/// Control groups can be made: the receipt of [`control_groups`].
#[derive(Debug)]
pub(super) struct ControlGroups(());

/// Phase: the kernel's own file systems, in the initrd.
pub(super) fn kernel_file_systems() -> Result<KernelFileSystems, BootError> {
    for (path, kind, flags) in [
        ("/proc", "proc", DATA_ONLY),
        ("/sys", "sysfs", DATA_ONLY),
        (
            "/dev",
            "devtmpfs",
            MountFlags::NOSUID.union(MountFlags::NOEXEC),
        ),
    ] {
        fs::create_dir_all(path).map_err(file(path))?;
        mount_at(
            path,
            kind,
            kind,
            flags,
            if kind == "devtmpfs" { "mode=0755" } else { "" },
        )?;
    }
    Ok(KernelFileSystems(()))
}

/// Phase: the root, still beside the initrd.
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

/// Phase: the verified root becomes `/`. Nothing of the initrd is reachable any more.
pub(super) fn move_to_root(_: HardenedKernel, _: MountedRoot) -> Result<Root, BootError> {
    for folder in ["/proc", "/sys", "/dev"] {
        let target = format!("{NEW_ROOT}{folder}");
        mount_move(folder, &target).map_err(mounting(&target))?;
    }
    chdir(NEW_ROOT).map_err(kernel("chdir"))?;
    mount_move(".", "/").map_err(mounting("/"))?;
    chroot(".").map_err(kernel("chroot"))?;
    chdir("/").map_err(kernel("chdir"))?;
    Ok(Root(()))
}

/// Phase: what can be written.
pub(super) fn writable_folders(_: Root) -> Result<WritableFolders, BootError> {
    let information = rustix::system::sysinfo();
    let memory = u64::from(information.mem_unit) * information.totalram;
    mount_at(
        "/run",
        "tmpfs",
        "tmpfs",
        DATA_ONLY,
        &format!("mode=0755,size={RUN_BYTES}"),
    )?;
    mount_at(
        "/tmp",
        "tmpfs",
        "tmpfs",
        DATA_ONLY,
        &format!("mode=1777,size={TMP_BYTES}"),
    )?;
    // Build scripts are run from here. Others may walk through it, not look into it.
    let size = memory / WORK_SHARE;
    mount_at(
        WORK,
        "tmpfs",
        "tmpfs",
        PLAIN,
        &format!("mode=0711,size={size},nr_inodes={WORK_FILES}"),
    )?;
    let pts = "/dev/pts";
    fs::create_dir_all(pts).map_err(file(pts))?;
    mount_at(
        pts,
        "devpts",
        "devpts",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        "mode=0620,ptmxmode=0666,newinstance",
    )?;
    Ok(WritableFolders(()))
}

/// Phase: the hierarchy in which the sandbox makes its groups.
pub(super) fn control_groups(_: WritableFolders) -> Result<ControlGroups, BootError> {
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
