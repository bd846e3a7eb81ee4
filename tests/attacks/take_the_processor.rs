//! Tries: to come before everybody else on the machine: by priority, by real time, on the disk, and when memory ends
//! Aims at: host
//! Stopped by: no capability
//! Expect: contained
//! Errors: EPERM EACCES

mod attack;

use attack::*;

fn main() {
    const SETPRIORITY: i64 = 141;
    const SCHED_SETSCHEDULER: i64 = 144;
    const IOPRIO_SET: i64 = 251;
    const SCHED_SETATTR: i64 = 314;
    const REAL_TIME_OF_DISKS: usize = 1 << 13;
    let highest = [99_i32];
    // Size, policy 6 (deadline), flags, nice, priority; then runtime, deadline and period.
    let deadline: [u64; 6] = [48 | 6 << 32, 0, 0, 10_000_000, 10_000_000, 10_000_000];
    attempt("a higher priority", call(SETPRIORITY, [0, 0, -20_isize as usize, 0, 0, 0]));
    attempt("real time", call(SCHED_SETSCHEDULER, [0, 1, highest.as_ptr() as usize, 0, 0, 0]));
    attempt("a deadline", call(SCHED_SETATTR, [0, deadline.as_ptr() as usize, 0, 0, 0, 0]));
    attempt("the disk first", call(IOPRIO_SET, [1, 0, REAL_TIME_OF_DISKS, 0, 0, 0]));
    attempt("to be spared", std::fs::write("/proc/self/oom_score_adj", "-1000"));
}
