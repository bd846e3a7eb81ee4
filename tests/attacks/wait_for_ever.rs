//! Tries: to hold the build for ever, deaf to every signal that can be ignored
//! Aims at: host
//! Stopped by: the limit of time, and a signal that cannot
//! Expect: fails
//! Fails with: BuildTimeout: the build took longer than 3 s
//! Seconds: 3

mod attack;

use attack::*;

fn main() {
    for number in 1..32 {
        ignore_signal(number);
    }
    loop {
        std::thread::sleep(std::time::Duration::from_secs(3600));
    }
}
