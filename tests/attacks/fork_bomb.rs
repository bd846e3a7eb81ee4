//! Tries: to take all processes of the machine
//! Aims at: host
//! Stopped by: the limit of tasks
//! Expect: fails
//! Fails with: BuildFailed: the build failed
//! Errors: EAGAIN
//! Alone: because on machines without the pids controller the limit is one for all processes of the user

mod attack;

use attack::*;

fn main() {
    let mut children = 0;
    while children < 100_000 {
        let child = in_child(|| {
            close_descriptors();
            loop {
                std::thread::sleep(std::time::Duration::from_secs(3600));
            }
        });
        if child < 0 {
            return contained(format_args!("{} after {children} processes", std::io::Error::last_os_error()));
        }
        children += 1;
    }
    succeeded(format_args!("{children} processes"));
}
