//! Tries: to raise its own limits again
//! Aims at: host
//! Stopped by: hard limits
//! Expect: contained
//! Errors: EPERM

mod attack;

use attack::*;

fn main() {
    const PRLIMIT: i64 = 302;
    let unlimited = [u64::MAX, u64::MAX];
    for (name, resource) in [("core", 4), ("file size", 1), ("open files", 7)] {
        attempt(name, call(PRLIMIT, [0, resource, unlimited.as_ptr() as usize, 0, 0, 0]));
    }
}
