//! Tries: to hold the build for ever by stopping every process of it, itself included
//! Aims at: host
//! Stopped by: the limit of time, and a signal that reaches stopped processes too
//! Expect: fails
//! Fails with: BuildTimeout: the build took longer than 3 s
//! Seconds: 3

mod attack;

use attack::*;

fn main() {
    let _ = send_signal(-1, SIGSTOP);
    let _ = send_signal(std::process::id() as i32, SIGSTOP);
}
