//! Tries: to hold the build for ever by stopping cargo, which waits for nothing any more
//! Aims at: host
//! Stopped by: the limit of time, which is the service's own
//! Expect: fails
//! Fails with: BuildTimeout: the build took longer than 3 s
//! Seconds: 3

mod attack;

use attack::*;

fn main() {
    let _ = send_signal(parent(), SIGSTOP);
}
