//! Tries: to have the reaper fail, so that nobody can tell how the build ended, by limits that a process of its user may set
//! Aims at: result
//! Stopped by: nothing, and nothing is gained: what it still does needs no more than it has
//! Expect: contained
//! Shows: contained: the reaper has hardly any limits left

mod attack;

use attack::*;

fn main() {
    const PRLIMIT: i64 = 302;
    let nothing = [0_u64; 2];
    // Data, stack, resident memory, tasks, files, locked memory, addresses, locks, pending signals, queues, file size.
    for resource in [2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 1] {
        call(PRLIMIT, [1, resource, nothing.as_ptr() as usize, 0, 0, 0]).unwrap();
    }
    contained("the reaper has hardly any limits left");
}
