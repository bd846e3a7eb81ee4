//! Tries: to leave a process that is a new one every moment, so that a kill by number comes too late
//! Aims at: host
//! Stopped by: death of the whole namespace at once
//! Expect: contained
//! Shows: a process runs away
//! Alone: because on machines without the pids controller it takes from a limit that all share

mod attack;

use attack::*;

fn main() {
    in_daemon(|| {
        loop {
            // The parent ends: what is left is always the youngest.
            if in_child(|| {}) == 0 {
                continue;
            }
            if fork_and_end() {
                return;
            }
        }
    });
    contained("a process runs away");
}
