//! Tries: to take all tasks of the machine with threads
//! Aims at: host
//! Stopped by: the limit of tasks
//! Expect: contained
//! Errors: EAGAIN
//! Alone: because on machines without the pids controller the limit is one for all processes of the user

mod attack;

use attack::*;

fn main() {
    for number in 0..100_000 {
        let made = std::thread::Builder::new().stack_size(16 << 10).spawn(|| {
            std::thread::sleep(std::time::Duration::from_secs(3600));
        });
        if let Err(error) = made {
            contained(format_args!("{error} after {number} threads"));
            // The process takes its threads with it.
            std::process::exit(0);
        }
    }
    succeeded("100000 threads");
}
