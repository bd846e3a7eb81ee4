//! Tries: to leave a process that goes on exchanging the directory of artifacts for one of links, while it is read
//! Aims at: result
//! Stopped by: death of the whole namespace before anything is read, then a copy that goes through no link
//! Expect: consistent|fails
//! Shows: a daemon exchanges the directory of artifacts
//! Fails with: BuildFailed: artifact attack is refused: it is missing, or no regular file

mod attack;

use attack::*;

fn main() {
    let (release, cargo) = (release_directory(), parent());
    let other = release.with_file_name("other");
    std::fs::create_dir(&other).unwrap();
    std::os::unix::fs::symlink(host("canary"), other.join("attack")).unwrap();
    in_daemon(|| {
        while send_signal(cargo, 0).is_ok() {
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
        loop {
            let _ = exchange(&release, &other);
        }
    });
    contained("a daemon exchanges the directory of artifacts");
}
