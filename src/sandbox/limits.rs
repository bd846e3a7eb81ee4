//! How much one command may use. Comes in: the machine's memory. Goes out: [`Limits`], and those of
//! them that a process takes on itself. Never: a limit that a command can raise again.

use rustix::process::{Resource, Rlimit, getrlimit};
use serde::Serialize;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Memory that stays for the kernel and for us, who hold less than 64 MiB, beside a build that takes all it can.
const RESERVED_BYTES: u64 = 256 * MIB;
/// On a small machine the reserve is at most this part of its memory.
const RESERVED_SHARE: u64 = 4;
/// `/tmp` may hold this part of the machine's memory: what is in a tmpfs counts as the command's memory too.
const TMP_SHARE: u64 = 4;
/// HOME holds configuration; cargo and git write next to nothing there.
const HOME_BYTES: u64 = 256 * MIB;
/// Processes and threads. The largest builds run one rustc with some tens of threads for each processor.
const TASKS: u64 = 4096;
/// A linker opens some thousand object files at once.
const OPEN_FILES: u64 = 16 * 1024;
/// The largest single file; the largest static libraries with debug information stay below 4 GiB.
const FILE_BYTES: u64 = 8 * GIB;

/// What the kernel adds to a command's share of memory, in thousandths, when it looks for somebody to end for want of
/// it: all there is, so that it never finds the service first (`proc_pid_oom_score_adj(5)`).
pub(super) const OOM_SCORE_ADJUSTMENT: &str = "1000";

/// What one command may use, in bytes and counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Memory of all its processes together; none on a machine that cannot hold a group to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Processes and threads together.
    pub tasks: u64,
    /// Open files of one process.
    pub open_files: u64,
    /// The largest file.
    pub file_bytes: u64,
    /// What fits into `/tmp`.
    pub tmp_bytes: u64,
    /// What fits into HOME.
    pub home_bytes: u64,
}

impl Limits {
    /// For a machine with this much memory, in bytes.
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

    /// For this machine.
    pub(super) fn of_this_machine() -> Self {
        let info = rustix::system::sysinfo();
        let mut limits = Self::for_memory(u64::from(info.mem_unit) * info.totalram);
        // Only a privileged process could raise a hard limit.
        let within = |value: u64, resource| {
            getrlimit(resource)
                .maximum
                .map_or(value, |hard| value.min(hard))
        };
        limits.tasks = within(limits.tasks, Resource::Nproc);
        limits.open_files = within(limits.open_files, Resource::Nofile);
        limits.file_bytes = within(limits.file_bytes, Resource::Fsize);
        limits
    }

    /// Those that the kernel counts by process or user, for a process to take on before it becomes bubblewrap.
    ///
    /// `RLIMIT_NPROC` is for machines without the pids controller. It counts the user's processes, of which there are
    /// none outside the sandbox when we are root.
    pub(super) fn of_process(&self, count_tasks: bool) -> Vec<(Resource, Rlimit)> {
        let tasks = count_tasks.then_some((Resource::Nproc, self.tasks));
        let others = [
            (Resource::Core, 0),
            (Resource::Nofile, self.open_files),
            (Resource::Fsize, self.file_bytes),
        ];
        let hard = |(resource, value)| {
            (
                resource,
                Rlimit {
                    current: Some(value),
                    maximum: Some(value),
                },
            )
        };
        others.into_iter().chain(tasks).map(hard).collect()
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
