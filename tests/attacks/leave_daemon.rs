//! Tries: to leave a process that rewrites the artifact once the build is over
//! Stopped by: death of the whole namespace before anything is read
//! Expect: contained

mod attack;

use attack::*;

fn main() {
    let (artifact, cargo) = (release_folder().join("attack"), parent());
    in_daemon(|| {
        while send_signal(cargo, 0).is_ok() {
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
        loop {
            let _ = std::fs::write(&artifact, "#!/bin/sh\necho rewritten\n");
        }
    });
    contained("a daemon waits for the end of cargo");
}
