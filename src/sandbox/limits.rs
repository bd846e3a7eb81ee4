//! Decides how much one command may use.
//!
//! * In: the machine's memory, and the hard limits of this process.
//! * Out: [`Limits`], and those of them that a process sets for itself.
//! * Never: a limit that a command can raise again.

use rustix::process::{Resource, Rlimit, getrlimit};
use serde::Serialize;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Memory that remains for the kernel and for this process, which uses less than 64 MiB, beside a
/// build that takes all it can.
const RESERVED_BYTES: u64 = 256 * MIB;
/// On a small machine the reserve is at most one part in this many of its memory.
const RESERVED_SHARE: u64 = 4;
/// `/tmp` may have one part in this many of the machine's memory: the files of a tmpfs count as the
/// command's memory too.
const TMP_SHARE: u64 = 4;
/// The size of HOME, which has configuration: cargo and git write next to nothing there.
const HOME_BYTES: u64 = 256 * MIB;
/// The number of processes and threads. The largest builds run one rustc for each processor, with
/// some tens of threads.
const TASKS: u64 = 4096;
/// The number of open files: a linker opens some thousand object files at once.
const OPEN_FILES: u64 = 16 * 1024;
/// The size of a single file: the largest static libraries with debug information stay below 4 GiB.
const FILE_BYTES: u64 = 8 * GIB;

/// The number that the kernel adds to a command's share of memory, in thousandths, when it chooses
/// a process to kill because memory is exhausted. It is the highest possible, so that the kernel
/// never chooses the service first (`proc_pid_oom_score_adj(5)`).
pub(super) const OOM_SCORE_ADJUSTMENT: &str = "1000";

/// The limits of one command, in bytes and counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// The memory of all its processes together; none on a machine that cannot enforce it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The number of processes and threads together.
    pub tasks: u64,
    /// The number of open files of one process.
    pub open_files: u64,
    /// The size of the largest file.
    pub file_bytes: u64,
    /// The size of `/tmp`.
    pub tmp_bytes: u64,
    /// The size of HOME.
    pub home_bytes: u64,
}

impl Limits {
    /// Returns the limits for a machine with this much memory, in bytes.
    pub(super) fn for_memory(total: u64) -> Self {
        Self {
            memory_bytes: Some(total - RESERVED_BYTES.min(total / RESERVED_SHARE)),
            tasks: TASKS,
            open_files: OPEN_FILES,
            file_bytes: FILE_BYTES,
            tmp_bytes: total / TMP_SHARE,
            home_bytes: HOME_BYTES,
        }
    }

    /// Returns the limits for this machine.
    pub(super) fn of_this_machine() -> Self {
        let info = rustix::system::sysinfo();
        let mut limits = Self::for_memory(u64::from(info.mem_unit) * info.totalram);
        // Only a privileged process could raise a hard limit.
        let within = |value: u64, resource| match getrlimit(resource).maximum {
            Some(hard) => value.min(hard),
            None => value,
        };
        limits.tasks = within(limits.tasks, Resource::Nproc);
        limits.open_files = within(limits.open_files, Resource::Nofile);
        limits.file_bytes = within(limits.file_bytes, Resource::Fsize);
        limits
    }

    /// Returns the limits that the kernel counts by process or user, which a process sets for
    /// itself before it becomes bubblewrap.
    ///
    /// `count_tasks` is for machines without the pids controller. `RLIMIT_NPROC` counts the
    /// processes of the user, who has none outside the sandbox if this process is root.
    pub(super) fn of_process(&self, count_tasks: bool) -> Vec<(Resource, Rlimit)> {
        let hard = |value| Rlimit {
            current: Some(value),
            maximum: Some(value),
        };
        let mut limits = vec![
            (Resource::Core, hard(0)),
            (Resource::Nofile, hard(self.open_files)),
            (Resource::Fsize, hard(self.file_bytes)),
        ];
        if count_tasks {
            limits.push((Resource::Nproc, hard(self.tasks)));
        }
        limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserve_is_constant_on_large_machines_and_a_share_on_small_ones() {
        assert_eq!(
            Limits::for_memory(8 * GIB).memory_bytes,
            Some(8 * GIB - 256 * MIB)
        );
        assert_eq!(Limits::for_memory(512 * MIB).memory_bytes, Some(384 * MIB));
    }

    #[test]
    fn tmp_leaves_room_for_the_build_itself() {
        let limits = Limits::for_memory(8 * GIB);
        assert!(limits.tmp_bytes + limits.home_bytes < limits.memory_bytes.unwrap() / 2);
    }
}
