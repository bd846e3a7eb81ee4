//! Tries: to leave a thousand dead processes that nobody collects
//! Aims at: host
//! Stopped by: the namespace, with which they go
//! Expect: contained
//! Shows: 1000 dead processes are left
//! Alone: because on machines without the pids controller they take from a limit that all share

mod attack;

use attack::*;

fn main() {
    for _ in 0..1000 {
        in_child(|| {});
    }
    contained("1000 dead processes are left");
}
