//! Creates control groups, version 2.
//!
//! * In: the hierarchy that the machine has mounted.
//! * Out: a group for one command, with the limits that the machine's controllers can enforce.
//! * Never: a limit that is reported although the kernel did not accept it.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::limits::Limits;

/// The controllers that the sandbox uses, as the kernel names them.
pub(super) const CONTROLLERS: [&str; 2] = ["memory", "pids"];
/// The prefix of our groups' names. After it come the PID namespace and the number of the process
/// that created the group, and a count.
const PREFIX: &str = "kettle-";
/// The group into which this process moves if its own group is the delegated one: a group with
/// limits for its children may have no process itself.
const SERVICE_GROUP: &str = "kettle-service";
/// How often removing a group is tried. A group whose processes were killed stays busy until they
/// have ended: a moment, and longer on a busy machine.
const REMOVE_ATTEMPTS: u32 = 10_000;
/// The pause between two attempts. Attempts are counted because a clock can go back.
const REMOVE_PAUSE: Duration = Duration::from_millis(1);

/// Why there is no usable hierarchy.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum NoCgroups {
    #[error("no cgroup v2 hierarchy is mounted")]
    NotMounted,
    #[error("no group can be created in the cgroup v2 hierarchy: {source}")]
    NotDelegated { source: io::Error },
    /// The kernel is older than 5.14.
    #[error("the kernel cannot kill a cgroup as a whole")]
    NoKill,
}

/// A group in which this process can create groups.
#[derive(Debug)]
pub(super) struct Hierarchy {
    base: PathBuf,
    /// Those of [`CONTROLLERS`] that enforce limits there.
    pub(super) controllers: Vec<&'static str>,
}

impl Hierarchy {
    /// Finds a usable group. Prefers the group of this process, if it was delegated with
    /// controllers, to the root of the hierarchy.
    pub(super) fn find() -> Result<Self, NoCgroups> {
        let mounts =
            fs::read_to_string("/proc/self/mountinfo").map_err(|_| NoCgroups::NotMounted)?;
        let (root, mounted) = mount_of_version_2(&mounts).ok_or(NoCgroups::NotMounted)?;
        let own = fs::read_to_string("/proc/self/cgroup")
            .ok()
            .and_then(|groups| own_group(&groups, &root, &mounted));
        let mut result = Err(NoCgroups::NotMounted);
        for base in own.into_iter().chain([mounted]) {
            match Self::at(base) {
                Ok(found) if found.controllers.len() == CONTROLLERS.len() => return Ok(found),
                Ok(found) => result = Ok(found),
                Err(reason) => result = result.or(Err(reason)),
            }
        }
        result
    }

    /// Enables the controllers at `base`, and tries to create a group there.
    fn at(base: PathBuf) -> Result<Self, NoCgroups> {
        let controllers = CONTROLLERS
            .into_iter()
            .filter(|name| enable(&base, name))
            .collect();
        let hierarchy = Self { base, controllers };
        hierarchy.remove_abandoned();
        let trial = hierarchy
            .create()
            .map_err(|source| NoCgroups::NotDelegated { source })?;
        match fs::exists(trial.path.join("cgroup.kill")) {
            Ok(true) => Ok(hierarchy),
            Ok(false) => Err(NoCgroups::NoKill),
            Err(source) => Err(NoCgroups::NotDelegated { source }),
        }
    }

    /// Returns whether one of [`CONTROLLERS`] enforces limits here.
    pub(super) fn has(&self, controller: &str) -> bool {
        self.controllers.contains(&controller)
    }

    /// Creates a group with the limits of one command.
    pub(super) fn group(&self, limits: &Limits) -> io::Result<Group> {
        let group = self.create()?;
        if let Some(bytes) = limits.memory_bytes {
            group.write("memory.max", &bytes.to_string())?;
            group.write("memory.oom.group", "1")?;
            group.write_if_exists("memory.swap.max", "0")?;
        }
        if self.has("pids") {
            group.write("pids.max", &limits.tasks.to_string())?;
        }
        Ok(group)
    }

    /// Removes the groups of services that were killed, and kills the processes in them:
    /// bubblewrap's child waits forever if its parent died before the child asked the kernel to be
    /// killed with it.
    fn remove_abandoned(&self) {
        let (Ok(entries), Ok(namespace)) = (fs::read_dir(&self.base), pid_namespace()) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let creator = name.to_str().and_then(|name| creator(name, namespace));
            if creator.is_some_and(|process| !may_be_alive(process)) {
                drop(Group { path: entry.path() });
            }
        }
    }

    /// Creates a group with a name that no other group has.
    fn create(&self) -> io::Result<Group> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let namespace = pid_namespace()?;
        loop {
            let name = format!(
                "{PREFIX}{namespace}-{}-{}",
                std::process::id(),
                NEXT.fetch_add(1, Ordering::Relaxed)
            );
            let path = self.base.join(name);
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Group { path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A group of processes. Dropping kills them and removes the group.
#[derive(Debug)]
pub(super) struct Group {
    path: PathBuf,
}

impl Group {
    /// Opens the file by which a process enters the group: it writes a zero. All processes that it
    /// starts later are in the group too. The kernel checks the permission of the process that
    /// opened the file (cgroups(7)).
    pub(super) fn entrance(&self) -> io::Result<OwnedFd> {
        let processes = self.path.join("cgroup.procs");
        let file = File::options().write(true).open(processes)?;
        Ok(file.into())
    }

    /// Sends SIGKILL to all its processes at once, even while they are forking.
    pub(super) fn kill(&self) -> io::Result<()> {
        self.write("cgroup.kill", "1")
    }

    /// Returns whether the kernel killed a process in it because memory was exhausted.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        fs::read_to_string(self.path.join("memory.events"))
            .is_ok_and(|events| oom_kills(&events) > 0)
    }

    fn write(&self, file: &str, value: &str) -> io::Result<()> {
        fs::write(self.path.join(file), value)
    }

    /// Writes a file that only some configurations of the kernel have.
    fn write_if_exists(&self, file: &str, value: &str) -> io::Result<()> {
        if fs::exists(self.path.join(file))? {
            self.write(file, value)
        } else {
            Ok(())
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A group that cannot be killed and is not empty cannot be removed either: that is reported
        // below.
        let _ = self.kill();
        for _ in 0..REMOVE_ATTEMPTS {
            match fs::remove_dir(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    thread::sleep(REMOVE_PAUSE)
                }
                _ => return,
            }
        }
        let path = self.path.display();
        log::warn!("a control group could not be removed: {path}");
    }
}

/// Returns the number of our PID namespace: numbers of processes mean nothing in another namespace.
fn pid_namespace() -> io::Result<u64> {
    fs::metadata("/proc/self/ns/pid").map(|found| found.ino())
}

/// Returns the number of the process of our namespace that created the group of this name.
fn creator(group: &str, namespace: u64) -> Option<u32> {
    let (of, rest) = group.strip_prefix(PREFIX)?.split_once('-')?;
    if of.parse() != Ok(namespace) {
        return None;
    }
    let (process, _) = rest.split_once('-')?;
    process.parse().ok()
}

/// Returns whether a process may be alive. One that cannot be looked up is not taken for dead.
fn may_be_alive(process: u32) -> bool {
    Path::new("/proc")
        .join(process.to_string())
        .try_exists()
        .unwrap_or(true)
}

/// Enables a controller for the children of `base`. The kernel refuses this if `base` has processes
/// itself; if this process is the only one, it moves.
fn enable(base: &Path, controller: &str) -> bool {
    let control = base.join("cgroup.subtree_control");
    let request = format!("+{controller}");
    let try_once = || fs::write(&control, &request).is_ok();
    try_once() || (leave(base).is_ok() && try_once())
}

/// Moves this process into its own group below `base`, if it is alone in `base`.
fn leave(base: &Path) -> io::Result<()> {
    let own = std::process::id().to_string();
    let processes = fs::read_to_string(base.join("cgroup.procs"))?;
    if processes.lines().ne([own.as_str()]) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let service = base.join(SERVICE_GROUP);
    fs::create_dir_all(&service)?;
    fs::write(service.join("cgroup.procs"), own)
}

/// Returns the root (in the hierarchy) and the mount point of the first mount of version 2 in
/// `/proc/PID/mountinfo` (see proc(5)).
fn mount_of_version_2(mounts: &str) -> Option<(PathBuf, PathBuf)> {
    mounts.lines().find_map(|line| {
        let (fields, file_system) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        let (root, mount_point) = (fields.next()?, fields.next()?);
        let is_version_2 = file_system.starts_with("cgroup2 ");
        is_version_2.then(|| (root.into(), mount_point.into()))
    })
}

/// Returns our own group, from the line of version 2 in `/proc/self/cgroup`: `0::/path`.
fn own_group(groups: &str, root: &Path, mounted: &Path) -> Option<PathBuf> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let below = Path::new(own).strip_prefix(root).ok()?;
    (!below.as_os_str().is_empty()).then(|| mounted.join(below))
}

/// Returns the number of killed processes in `memory.events`, whose lines have a name and a count.
fn oom_kills(events: &str) -> u64 {
    let mut kills = 0;
    for line in events.lines() {
        if let Some(count) = line.strip_prefix("oom_kill ") {
            kills += count.trim().parse::<u64>().unwrap_or(0);
        }
    }
    kills
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
        36 31 0:33 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        41 31 0:38 /part /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";

    #[test]
    fn finds_the_mount_of_version_2_among_those_of_version_1() {
        let found = mount_of_version_2(MOUNTS).unwrap();
        assert_eq!(found, ("/part".into(), "/sys/fs/cgroup/unified".into()));
        assert_eq!(
            mount_of_version_2("36 31 0:33 / /x rw - cgroup cgroup rw\n"),
            None
        );
    }

    #[test]
    fn own_group_is_relative_to_what_is_mounted() {
        let groups = "4:memory:/other\n0::/part/user.slice/a\n";
        let own = own_group(groups, Path::new("/part"), Path::new("/m"));
        assert_eq!(own.unwrap(), Path::new("/m/user.slice/a"));
        assert_eq!(
            own_group("0::/\n", Path::new("/"), Path::new("/m")),
            None,
            "the root is tried by itself"
        );
    }

    #[test]
    fn maker_of_a_group_is_in_its_name() {
        assert_eq!(creator("kettle-5-17-3", 5), Some(17));
        for others in [
            "kettle-6-17-3",
            "kettle-5-17",
            "kettle-17-3",
            "kettle-service",
            "system.slice",
        ] {
            assert_eq!(creator(others, 5), None, "{others}");
        }
    }

    #[test]
    fn groups_of_dead_makers_are_killed_and_others_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        // Above the highest number that a process can have (proc(5), pid_max).
        let namespace = pid_namespace().unwrap();
        let (dead, own) = (
            format!("{PREFIX}{namespace}-4194305-0"),
            format!("{PREFIX}{namespace}-{}-0", std::process::id()),
        );
        let elsewhere = format!("{PREFIX}{}-4194305-0", namespace + 1);
        for name in [&dead, &own, &elsewhere] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        Hierarchy {
            base: directory.path().into(),
            controllers: Vec::new(),
        }
        .remove_abandoned();
        assert_eq!(
            fs::read_to_string(directory.path().join(dead).join("cgroup.kill")).unwrap(),
            "1"
        );
        for left in [own, elsewhere] {
            assert_eq!(
                fs::read_dir(directory.path().join(left)).unwrap().count(),
                0
            );
        }
    }

    #[test]
    fn counts_processes_killed_for_memory() {
        assert_eq!(
            oom_kills("low 0\nhigh 0\nmax 7\noom 1\noom_kill 3\noom_group_kill 1\n"),
            3
        );
        assert_eq!(oom_kills("max 7\noom 1\noom_kill 0\n"), 0);
    }

    #[test]
    fn limits_are_written_as_the_kernel_reads_them() {
        let directory = tempfile::tempdir().unwrap();
        let hierarchy = Hierarchy {
            base: directory.path().into(),
            controllers: CONTROLLERS.to_vec(),
        };
        let limits = Limits::for_memory(1 << 30);
        let group = hierarchy.group(&limits).unwrap();
        let read = |file| fs::read_to_string(group.path.join(file)).unwrap();
        assert_eq!(read("memory.max"), limits.memory_bytes.unwrap().to_string());
        assert_eq!(read("memory.oom.group"), "1");
        assert_eq!(read("pids.max"), limits.tasks.to_string());
        assert!(!group.ran_out_of_memory());
        fs::write(group.path.join("memory.events"), "oom_kill 1\n").unwrap();
        assert!(group.ran_out_of_memory());
    }
}
