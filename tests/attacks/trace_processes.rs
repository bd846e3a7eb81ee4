//! Tries: to attach to the reaper, which has no filter, and to cargo
//! Aims at: signer
//! Stopped by: the system call filter, and a /proc/1 that is empty
//! Expect: contained
//! Errors: EPERM ENOENT ESRCH ENOSYS

mod attack;

use attack::*;

fn main() {
    const PTRACE: i64 = 101;
    const PROCESS_VM_READV: i64 = 310;
    const PIDFD_GETFD: i64 = 438;
    for process in [1, parent() as usize] {
        attempt(format_args!("attach to {process}"), call(PTRACE, [16, process, 0, 0, 0, 0]));
        attempt(format_args!("seize {process}"), call(PTRACE, [0x4206, process, 0, 0, 0, 0]));
        attempt(format_args!("read memory of {process}"), call(PROCESS_VM_READV, [process, 0, 0, 0, 0, 0]));
    }
    attempt("take a descriptor", call(PIDFD_GETFD, [0, 0, 0, 0, 0, 0]));
    attempt("the reaper's memory", std::fs::OpenOptions::new().write(true).open("/proc/1/mem"));
    attempt("the same by another name", std::fs::OpenOptions::new().write(true).open("/proc/1/task/1/mem"));
}
