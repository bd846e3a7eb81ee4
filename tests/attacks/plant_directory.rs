//! Tries: to put a directory in the place of a finished artifact
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
    std::fs::create_dir(&artifact).unwrap();
    contained("a directory is where the artifact was");
}
