//! Tries: to put a link in the place of the directory of artifacts, moved aside
//! Aims at: result
//! Stopped by: death of the namespace first, then a copy that takes regular files only, through no link
//! Expect: fails
//! Fails with: BuildFailed: artifact
//! Shows: a link is where the directory of the artifact was
//! Template: late

mod attack;

use attack::*;

fn main() {
    let artifact = release_directory().join("attack");
    if !wait_for(&artifact) {
        panic!("the artifact never appeared");
    }
    let directory = release_directory();
    let moved = directory.with_file_name("moved");
    std::fs::rename(&directory, &moved).unwrap();
    std::os::unix::fs::symlink("moved", &directory).unwrap();
    contained("a link is where the directory of the artifact was");
}
