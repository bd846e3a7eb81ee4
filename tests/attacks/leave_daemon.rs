//! Tries: to leave a process that goes on rewriting the artifact once the build is over and while it is read
//! Aims at: result
//! Stopped by: death of the whole namespace before anything is read
//! Expect: consistent
//! Shows: a daemon waits for the end of cargo

mod attack;

use attack::*;

fn main() {
    let (artifact, cargo) = (release_directory().join("attack"), parent());
    in_daemon(|| {
        while send_signal(cargo, 0).is_ok() {
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
        for size in 0.. {
            let _ = std::fs::write(&artifact, vec![b'x'; size % 4096]);
        }
    });
    contained("a daemon waits for the end of cargo");
}
