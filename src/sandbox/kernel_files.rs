//! Hides the kernel's files in `/proc` from commands, except for the listed ones and those of their
//! own processes.
//!
//! * In: the entries that the running kernel has in `/proc`.
//! * Out: the entries that have to be covered: all that this file does not list.
//! * Never: an entry that a command sees because this file does not know it.
//!
//! The kernel has an option for this, `subset=pid`, but it hides `/proc/meminfo` and similar files
//! too, and nothing can be bound to a path that has no entry. So each entry that is not listed is
//! covered by an empty directory or a device that cannot be opened. Each listed entry names its
//! readers.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

const PROC: &str = "/proc";
/// The directory of the kernel's settings, of which commands see [`SETTINGS`].
pub(super) const SETTINGS_DIRECTORY: &str = "/proc/sys";

/// The files that programs of builds read. They describe processors and memory, which programs
/// count, and the kernel, as `uname`, `sysinfo` and `statfs` describe it too.
const FILES: [&str; 7] = [
    // The instructions and the number of processors: `num_cpus`, `configure` scripts, the JVM.
    "cpuinfo",
    // libselinux, in `cp`, `ls` and `install`.
    "filesystems",
    // `make -l`, ninja.
    "loadavg",
    // How many linkers fit into memory: cmake, node, the JVM.
    "meminfo",
    // The number of processors: older C libraries, node's `os.cpus()`.
    "stat",
    // node's `os.uptime()`, `ps`.
    "uptime",
    // The name of the system: scripts that look for WSL.
    "version",
];

/// The settings that programs of builds read, below [`SETTINGS_DIRECTORY`].
pub(super) const SETTINGS: [&str; 6] = [
    "kernel/hostname",
    "kernel/osrelease",
    // The width with which `ps` prints a process's number.
    "kernel/pid_max",
    // Random numbers for scripts.
    "kernel/random/uuid",
    // Databases, the JVM.
    "vm/max_map_count",
    // jemalloc, in rustc: without it, memory is returned to the kernel in a slower way.
    "vm/overcommit_memory",
];

/// The entries that have to be covered, as full paths, and the settings that commands still see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Covered {
    pub(super) directories: Vec<String>,
    pub(super) files: Vec<String>,
    /// The full paths of those of [`SETTINGS`] that this kernel has.
    pub(super) settings: Vec<String>,
}

impl Covered {
    /// Reads the `/proc` of this machine. Do this for each command, because entries come with the
    /// kernel's modules.
    ///
    /// # Errors
    /// `/proc` or an entry of it cannot be read.
    pub(super) fn of_this_machine() -> io::Result<Self> {
        let mut covered = Self::in_directory(Path::new(PROC))?;
        for setting in SETTINGS {
            let path = format!("{SETTINGS_DIRECTORY}/{setting}");
            if Path::new(&path).try_exists()? {
                covered.settings.push(path);
            }
        }
        Ok(covered)
    }

    fn in_directory(proc: &Path) -> io::Result<Self> {
        let mut covered = Self::default();
        let mut is_whole = false;
        for entry in fs::read_dir(proc)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                return Err(invalid(
                    "an entry of /proc has a name that cannot be covered",
                ));
            };
            if is_process(&name) {
                continue;
            }
            if FILES.contains(&name.as_str()) {
                is_whole = true;
                continue;
            }
            covered.add(&entry, format!("{PROC}/{name}"))?;
        }
        if !is_whole {
            // It is mounted with `subset=pid`: a command's own would show entries that are not seen
            // here.
            return Err(invalid(
                "the /proc of this machine shows processes only: mount all of it",
            ));
        }
        covered.directories.sort();
        covered.files.sort();
        Ok(covered)
    }

    /// Adds an entry that is not listed.
    fn add(&mut self, entry: &fs::DirEntry, path: String) -> io::Result<()> {
        let kind = entry.file_type()?;
        if kind.is_dir() {
            self.directories.push(path);
        } else if kind.is_file() || kind.is_char_device() {
            if !is_for_root_alone(&entry.metadata()?) {
                self.files.push(path);
            }
        } else if !kind.is_symlink() {
            return Err(invalid(format!("{path} cannot be covered")));
        }
        // A symbolic link shows nothing: its target has a rule of its own, or is missing.
        Ok(())
    }
}

fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

/// Returns whether an entry is a process, which is one of the command's own namespace.
fn is_process(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns whether only root has any permission. Commands are not root on any machine.
fn is_for_root_alone(found: &fs::Metadata) -> bool {
    const GROUP_AND_OTHERS: u32 = 0o077;
    found.mode() & GROUP_AND_OTHERS == 0 && found.uid() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_listed_is_covered_whatever_it_is_called() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["1", "4194304", "bus", "sys", "of-tomorrow"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        for name in ["cpuinfo", "meminfo", "kallsyms", "new", "1x"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        std::os::unix::fs::symlink("self/net", directory.path().join("net")).unwrap();
        let covered = Covered::in_directory(directory.path()).unwrap();
        assert_eq!(
            covered.directories,
            ["/proc/bus", "/proc/of-tomorrow", "/proc/sys"]
        );
        assert_eq!(covered.files, ["/proc/1x", "/proc/kallsyms", "/proc/new"]);
    }

    #[test]
    fn what_is_not_seen_here_is_not_taken_for_missing() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("1")).unwrap();
        assert!(Covered::in_directory(directory.path()).is_err());
    }

    #[test]
    fn what_cannot_be_covered_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("cpuinfo"), "").unwrap();
        let socket = directory.path().join("socket");
        let _socket = std::os::unix::net::UnixListener::bind(socket).unwrap();
        assert!(Covered::in_directory(directory.path()).is_err());
    }
}
