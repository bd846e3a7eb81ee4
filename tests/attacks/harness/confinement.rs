//! Limits around the service for attacks that would take the test machine's memory, disk or tasks
//! as well.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::corpus::Need;

/// Enough for a compilation, and soon used up.
const MEMORY_BYTES: u64 = 640 << 20;
/// The size of the disk: enough for a compilation, and soon used up.
const DISK: &str = "size=64m";
/// Half of the tasks of a sandbox. Without the pids controller the kernel counts the tasks of a
/// user: the other half stays for other services on this machine, whose sandboxes have the same
/// user.
const TASKS: &str = "--nproc=2048:2048";
/// A group whose processes are all dead can stay busy for a moment.
const REMOVE_ATTEMPTS: u32 = 100;
const REMOVE_PAUSE: Duration = Duration::from_millis(20);

/// The limit around one service.
pub enum Confinement {
    /// No limit.
    Open,
    /// A control group with a limit of memory.
    Memory(PathBuf),
    /// A small file system for its work directory.
    Disk,
    /// A limit of tasks.
    Tasks,
}

impl Confinement {
    /// Returns the limit that `need` requires, or why this machine cannot provide it.
    pub fn of(need: Option<Need>) -> Result<Self, String> {
        match need {
            None => Ok(Self::Open),
            Some(Need::Memory) => memory_group().map(Self::Memory),
            Some(Need::Disk) => match Command::new("unshare").args(["--mount", "true"]).status() {
                Ok(status) if status.success() => Ok(Self::Disk),
                _ => Err(
                    "no mount namespace can be made here: a small file system needs one".to_owned(),
                ),
            },
        }
    }

    /// Returns the limit for an attack that has to run alone, because it takes all the tasks that
    /// it can get. Where the service is not root, its commands have its own user, and a test cannot
    /// limit the tasks that this user has already.
    pub fn of_tasks() -> Self {
        if rustix::process::geteuid().is_root() {
            Self::Tasks
        } else {
            Self::Open
        }
    }

    /// Runs `program`, whose work directory will be `work`.
    pub fn command(&self, program: &Path, work: &Path) -> Command {
        match self {
            Self::Open | Self::Memory(_) => Command::new(program),
            Self::Disk => Self::on_a_small_disk(program, work),
            Self::Tasks => {
                let mut command = Command::new("prlimit");
                command.arg(TASKS).arg(program);
                command
            }
        }
    }

    fn on_a_small_disk(program: &Path, work: &Path) -> Command {
        fs::create_dir(work).unwrap();
        let script = format!("mount -t tmpfs -o {DISK} none \"$1\" && shift && exec \"$@\"");
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", &script, "sh"])
            .arg(work)
            .arg(program);
        command
    }

    /// Puts a process, and everything that it will start, under the memory limit, if there is one.
    pub fn take_in(&self, process: u32) {
        if let Self::Memory(group) = self {
            fs::write(group.join("cgroup.procs"), process.to_string()).unwrap();
        }
    }
}

impl Drop for Confinement {
    fn drop(&mut self) {
        let Self::Memory(group) = self else { return };
        for _ in 0..REMOVE_ATTEMPTS {
            if fs::remove_dir(&*group).is_ok() {
                return;
            }
            std::thread::sleep(REMOVE_PAUSE);
        }
    }
}

/// Creates a group of the version 1 controller. With version 2 the service creates groups itself,
/// as large as the machine: using those up is for the tests that boot a machine.
fn memory_group() -> Result<PathBuf, String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let unavailable =
        |why: String| format!("no cgroup v1 memory controller to hold the service in: {why}");
    let mounts = fs::read_to_string("/proc/self/mountinfo")
        .map_err(|error| unavailable(error.to_string()))?;
    let mount = mounts.lines().find_map(|line| {
        let (fields, kind) = line.split_once(" - cgroup ")?;
        kind.split([' ', ','])
            .any(|option| option == "memory")
            .then(|| fields.split(' ').nth(4))?
    });
    let mount = mount.ok_or_else(|| unavailable("none is mounted".to_owned()))?;
    let name = format!(
        "kettle-attack-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    let group = Path::new(mount).join(name);
    let made = fs::create_dir(&group).and_then(|()| {
        fs::write(
            group.join("memory.limit_in_bytes"),
            MEMORY_BYTES.to_string(),
        )
    });
    made.map(|()| group)
        .map_err(|error| unavailable(error.to_string()))
}
