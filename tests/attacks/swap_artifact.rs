//! Tries: to leave a process that goes on exchanging the artifact for a link to a file of the machine, while it is read
//! Aims at: result
//! Stopped by: death of the whole namespace before anything is read, then a copy that takes regular files only
//! Expect: consistent|fails
//! Shows: a daemon exchanges the artifact and a link
//! Fails with: BuildFailed: artifact attack is refused: it is missing, or no regular file

mod attack;

use attack::*;

fn main() {
    let (artifact, link, cargo) = (release_directory().join("attack"), out_directory().join("link"), parent());
    std::os::unix::fs::symlink(host("canary"), &link).unwrap();
    in_daemon(|| {
        while send_signal(cargo, 0).is_ok() {
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
        loop {
            let _ = exchange(&artifact, &link);
        }
    });
    contained("a daemon exchanges the artifact and a link");
}
