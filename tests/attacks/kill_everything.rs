//! Tries: to kill every process it may
//! Aims at: host
//! Stopped by: the PID namespace: its own build is all it can kill
//! Expect: fails
//! Fails with: BuildFailed: the build failed (signal 9)

mod attack;

use attack::*;

fn main() {
    contained("what is killed now is this build");
    let _ = send_signal(-1, SIGKILL);
    let _ = send_signal(parent(), SIGKILL);
    std::thread::sleep(std::time::Duration::from_secs(5));
}
