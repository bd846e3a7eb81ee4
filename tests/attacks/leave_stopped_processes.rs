//! Tries: to leave stopped processes behind
//! Aims at: host
//! Stopped by: death of the whole namespace: SIGKILL reaches stopped processes too
//! Expect: contained
//! Shows: three stopped processes are left

mod attack;

use attack::*;

fn main() {
    for _ in 0..3 {
        in_child(|| {
            close_descriptors();
            let _ = send_signal(std::process::id() as i32, SIGSTOP);
        });
    }
    contained("three stopped processes are left");
}
