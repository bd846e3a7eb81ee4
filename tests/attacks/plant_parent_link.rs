//! Tries: to put a link in the place of the folder of artifacts, moved aside
//! Aims at: result
//! Stopped by: death of the namespace first, then a copy that takes regular files only, through no link
//! Expect: fails
//! Fails with: BuildFailed: artifact
//! Shows: a link is where the folder of the artifact was
//! Template: late

mod attack;

use attack::*;

fn main() {
    let artifact = release_folder().join("attack");
    if !wait_for(&artifact) {
        panic!("the artifact never appeared");
    }
    let folder = release_folder();
    let moved = folder.with_file_name("moved");
    std::fs::rename(&folder, &moved).unwrap();
    std::os::unix::fs::symlink("moved", &folder).unwrap();
    contained("a link is where the folder of the artifact was");
}
