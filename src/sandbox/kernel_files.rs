//! What a command sees of the kernel's files in `/proc`: what is listed here, its own processes,
//! and nothing else.
//!
//! - Comes in: the entries that the running kernel has in `/proc`.
//! - Goes out: those of them that have to be covered, which are all that this file does not name.
//! - Never: an entry that is seen because nobody has heard of it.
//!
//! The kernel has an option for this, `subset=pid`, but with it `/proc/meminfo` and its like are
//! gone too, and nothing can be bound where no entry is. So each entry that is not listed is
//! covered by an empty directory or a device that cannot be opened. Beside what is listed stands
//! who reads it.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

const PROC: &str = "/proc";
/// Has the settings of the kernel's parts, of which [`SETTINGS`] are seen.
pub(super) const SETTINGS_DIRECTORY: &str = "/proc/sys";

/// Files that programs of builds read: about processors and memory, which they count, and about the
/// kernel as `uname`, `sysinfo` and `statfs` tell it too.
const FILES: [&str; 7] = [
    // The instructions and the number of processors: `num_cpus`, `configure` scripts, the JVM.
    "cpuinfo",
    // libselinux, in `cp`, `ls` and `install`.
    "filesystems",
    // `make -l`, ninja.
    "loadavg",
    // How many linkers fit: cmake, node, the JVM.
    "meminfo",
    // How many processors: older C libraries, node's `os.cpus()`.
    "stat",
    // node's `os.uptime()`, `ps`.
    "uptime",
    // Which system this is: scripts that look for WSL.
    "version",
];

/// Settings that programs of builds read, below [`SETTINGS_DIRECTORY`].
pub(super) const SETTINGS: [&str; 6] = [
    "kernel/hostname",
    "kernel/osrelease",
    // How wide `ps` prints a process's number.
    "kernel/pid_max",
    // Random numbers for scripts.
    "kernel/random/uuid",
    // Databases, the JVM.
    "vm/max_map_count",
    // jemalloc, in rustc: without it memory is given back in a slower way.
    "vm/overcommit_memory",
];

/// What has to be covered; full paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Covered {
    pub(super) folders: Vec<String>,
    pub(super) files: Vec<String>,
    /// Of [`SETTINGS`], what this kernel has.
    pub(super) settings: Vec<String>,
}

impl Covered {
    /// Looks at the `/proc` of this machine: to be done for each command, because entries come with
    /// the kernel's modules.
    ///
    /// # Errors
    /// `/proc` or an entry of it cannot be looked at.
    pub(super) fn of_this_machine() -> io::Result<Self> {
        let mut covered = Self::in_folder(Path::new(PROC))?;
        for setting in SETTINGS {
            let path = format!("{SETTINGS_DIRECTORY}/{setting}");
            if Path::new(&path).try_exists()? {
                covered.settings.push(path);
            }
        }
        Ok(covered)
    }

    fn in_folder(proc: &Path) -> io::Result<Self> {
        let mut covered = Self::default();
        let mut is_whole = false;
        for entry in fs::read_dir(proc)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "an entry of /proc has no name that can be covered",
                ));
            };
            if is_process(&name) {
                continue;
            }
            if FILES.contains(&name.as_str()) {
                is_whole = true;
                continue;
            }
            let path = format!("{PROC}/{name}");
            let kind = entry.file_type()?;
            if kind.is_dir() {
                covered.folders.push(path);
            } else if kind.is_file() || kind.is_char_device() {
                if !is_for_root_alone(&entry.metadata()?) {
                    covered.files.push(path);
                }
            } else if !kind.is_symlink() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{path} cannot be covered"),
                ));
            }
            // A link shows nothing: where it leads to has a rule of its own, or is not there.
        }
        if !is_whole {
            // Mounted with `subset=pid`: a command's own would show what is not seen here.
            let why = "the /proc of this machine shows processes only: mount all of it";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        covered.folders.sort();
        covered.files.sort();
        Ok(covered)
    }
}

/// Processes are those of the command's own namespace.
fn is_process(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether only root may do anything with it, whom commands are not on any machine.
fn is_for_root_alone(found: &fs::Metadata) -> bool {
    const GROUP_AND_OTHERS: u32 = 0o077;
    found.mode() & GROUP_AND_OTHERS == 0 && found.uid() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_listed_is_covered_whatever_it_is_called() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["1", "4194304", "bus", "sys", "of-tomorrow"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        for name in ["cpuinfo", "meminfo", "kallsyms", "new", "1x"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        std::os::unix::fs::symlink("self/net", folder.path().join("net")).unwrap();
        let covered = Covered::in_folder(folder.path()).unwrap();
        assert_eq!(
            covered.folders,
            ["/proc/bus", "/proc/of-tomorrow", "/proc/sys"]
        );
        assert_eq!(covered.files, ["/proc/1x", "/proc/kallsyms", "/proc/new"]);
    }

    #[test]
    fn what_is_not_seen_here_is_not_taken_for_missing() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("1")).unwrap();
        assert!(Covered::in_folder(folder.path()).is_err());
    }

    #[test]
    fn what_cannot_be_covered_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("cpuinfo"), "").unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
        assert!(Covered::in_folder(folder.path()).is_err());
    }
}
