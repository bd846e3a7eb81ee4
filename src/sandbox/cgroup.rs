//! Control groups, version 2. Comes in: the hierarchy that the machine has mounted. Goes out: a group for one command,
//! with the limits that the machine's controllers can hold. Never: a limit reported that was not accepted.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::limits::Limits;

/// Controllers that we use, as the kernel names them.
pub(super) const CONTROLLERS: [&str; 2] = ["memory", "pids"];
/// Our groups are called by this, the PID namespace and the number of the process that made them, and a count.
const PREFIX: &str = "kettle-";
/// Where we go ourselves when our own group is the one that was delegated: a group with limits for its children may have
/// no process of its own.
const SERVICE_GROUP: &str = "kettle-service";
/// A group whose processes were killed stays busy until they have ended: a moment, and more on a machine with much else to do.
const REMOVE_ATTEMPTS: u32 = 10_000;
/// Between two attempts, which are counted because a clock can go back.
const REMOVE_PAUSE: Duration = Duration::from_millis(1);

/// Why there is no usable hierarchy.
#[derive(Debug, thiserror::Error)]
pub enum NoCgroups {
    /// Nothing of version 2 is mounted.
    #[error("no cgroup v2 hierarchy is mounted")]
    NotMounted,
    /// We may not create groups.
    #[error("no group can be created in the cgroup v2 hierarchy: {source}")]
    NotDelegated {
        /// Why.
        source: io::Error,
    },
    /// The kernel is older than 5.14.
    #[error("the kernel cannot kill a cgroup as a whole")]
    NoKill,
}

/// A place where we can create groups.
#[derive(Debug)]
pub(super) struct Hierarchy {
    base: PathBuf,
    /// Those of [`CONTROLLERS`] that hold limits there.
    pub(super) controllers: Vec<&'static str>,
}

impl Hierarchy {
    /// Prefers our own group, if it was delegated to us with controllers, to the root of the hierarchy.
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

    /// Tries a group there.
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

    /// Whether one of [`CONTROLLERS`] holds limits.
    pub(super) fn has(&self, controller: &str) -> bool {
        self.controllers.contains(&controller)
    }

    /// A group with the limits of one command.
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

    /// Removes the groups of services that were killed, with whatever is in them: bubblewrap's child waits for ever for a
    /// parent that died before it was told to die with it.
    fn remove_abandoned(&self) {
        let (Ok(entries), Ok(namespace)) = (fs::read_dir(&self.base), pid_namespace()) else {
            return;
        };
        for entry in entries.flatten() {
            let maker = entry
                .file_name()
                .to_str()
                .and_then(|name| maker(name, namespace));
            if maker.is_some_and(|maker| !may_be_alive(maker)) {
                drop(Group { path: entry.path() });
            }
        }
    }

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

/// A group of processes; killed and removed when dropped.
#[derive(Debug)]
pub(super) struct Group {
    path: PathBuf,
}

impl Group {
    /// Where a process that writes a zero moves itself in, and with it everything that it will start. Who opened it is whom
    /// the kernel asks for the right to (cgroups(7)).
    pub(super) fn entrance(&self) -> io::Result<OwnedFd> {
        Ok(File::options()
            .write(true)
            .open(self.path.join("cgroup.procs"))?
            .into())
    }

    /// Sends SIGKILL to all of it at once, whatever it is forking at this moment.
    pub(super) fn kill(&self) -> io::Result<()> {
        self.write("cgroup.kill", "1")
    }

    /// Whether the kernel killed something in it for want of memory.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        fs::read_to_string(self.path.join("memory.events"))
            .is_ok_and(|events| oom_kills(&events) > 0)
    }

    fn write(&self, file: &str, value: &str) -> io::Result<()> {
        fs::write(self.path.join(file), value)
    }

    /// For what depends on how the kernel was configured.
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
        // A group that cannot be killed, and is not empty, cannot be removed either.
        let _ = self.kill();
        for _ in 0..REMOVE_ATTEMPTS {
            match fs::remove_dir(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    thread::sleep(REMOVE_PAUSE)
                }
                _ => return,
            }
        }
        log::warn!(
            "a control group could not be removed: {}",
            self.path.display()
        );
    }
}

/// Our PID namespace: numbers of processes mean nothing in another.
fn pid_namespace() -> io::Result<u64> {
    fs::metadata("/proc/self/ns/pid").map(|found| found.ino())
}

/// The number of the process of our namespace that made the group of this name.
fn maker(group: &str, namespace: u64) -> Option<u32> {
    let (of, rest) = group.strip_prefix(PREFIX)?.split_once('-')?;
    (of.parse() == Ok(namespace)).then_some(())?;
    rest.split_once('-')?.0.parse().ok()
}

/// Who cannot be looked at is not taken for dead.
fn may_be_alive(process: u32) -> bool {
    Path::new("/proc")
        .join(process.to_string())
        .try_exists()
        .unwrap_or(true)
}

/// Lets the children of `base` have a controller. A base that has processes of its own refuses; if we are those, we move.
fn enable(base: &Path, controller: &str) -> bool {
    let control = base.join("cgroup.subtree_control");
    let request = format!("+{controller}");
    fs::write(&control, &request).is_ok()
        || (leave(base).is_ok() && fs::write(&control, &request).is_ok())
}

/// Moves this process into a group of its own below `base`, if it is alone in `base`.
fn leave(base: &Path) -> io::Result<()> {
    let own = std::process::id().to_string();
    if fs::read_to_string(base.join("cgroup.procs"))?
        .lines()
        .ne([own.as_str()])
    {
        return Err(io::ErrorKind::NotFound.into());
    }
    let service = base.join(SERVICE_GROUP);
    fs::create_dir_all(&service)?;
    fs::write(service.join("cgroup.procs"), own)
}

/// Root (in the hierarchy) and place of the first mount of version 2 in `/proc/PID/mountinfo` (see proc(5)).
fn mount_of_version_2(mounts: &str) -> Option<(PathBuf, PathBuf)> {
    mounts.lines().find_map(|line| {
        let (fields, kind) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        let (root, place) = (fields.next()?, fields.next()?);
        kind.starts_with("cgroup2 ")
            .then(|| (root.into(), place.into()))
    })
}

/// Our own group, from the line of version 2 in `/proc/self/cgroup`: `0::/path`.
fn own_group(groups: &str, root: &Path, mounted: &Path) -> Option<PathBuf> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let below = Path::new(own).strip_prefix(root).ok()?;
    (!below.as_os_str().is_empty()).then(|| mounted.join(below))
}

/// From `memory.events`: lines of name and count.
fn oom_kills(events: &str) -> u64 {
    let counts = events
        .lines()
        .filter_map(|line| line.strip_prefix("oom_kill "));
    counts
        .filter_map(|count| count.trim().parse::<u64>().ok())
        .sum()
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
        assert_eq!(maker("kettle-5-17-3", 5), Some(17));
        for others in [
            "kettle-6-17-3",
            "kettle-5-17",
            "kettle-17-3",
            "kettle-service",
            "system.slice",
        ] {
            assert_eq!(maker(others, 5), None, "{others}");
        }
    }

    #[test]
    fn groups_of_dead_makers_are_killed_and_others_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        // Above the highest number that a process can have (proc(5), pid_max).
        let namespace = pid_namespace().unwrap();
        let (dead, own) = (
            format!("{PREFIX}{namespace}-4194305-0"),
            format!("{PREFIX}{namespace}-{}-0", std::process::id()),
        );
        let elsewhere = format!("{PREFIX}{}-4194305-0", namespace + 1);
        for name in [&dead, &own, &elsewhere] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Hierarchy {
            base: folder.path().into(),
            controllers: Vec::new(),
        }
        .remove_abandoned();
        assert_eq!(
            fs::read_to_string(folder.path().join(dead).join("cgroup.kill")).unwrap(),
            "1"
        );
        for left in [own, elsewhere] {
            assert_eq!(fs::read_dir(folder.path().join(left)).unwrap().count(), 0);
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
        let folder = tempfile::tempdir().unwrap();
        let hierarchy = Hierarchy {
            base: folder.path().into(),
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
