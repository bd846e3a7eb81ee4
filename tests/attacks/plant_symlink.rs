//! Tries: to put a link to a file of the machine in the place of a finished artifact
//! Aims at: result
//! Stopped by: death of the namespace first, then a copy that takes regular files only, through no link
//! Expect: fails
//! Fails with: BuildFailed: artifact attack is refused: it is missing, or no regular file
//! Template: late

mod attack;

use attack::*;

fn main() {
    let artifact = release_directory().join("attack");
    if !wait_for(&artifact) {
        panic!("the artifact never appeared");
    }
    std::fs::remove_file(&artifact).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &artifact).unwrap();
    contained("a link is where the artifact was");
}
