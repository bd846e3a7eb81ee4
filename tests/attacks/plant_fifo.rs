//! Tries: to put a FIFO, which would hold its reader for ever, in the place of a finished artifact
//! Aims at: host
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
    let path = std::ffi::CString::new(artifact.to_str().unwrap()).unwrap();
    call(133, [path.as_ptr() as usize, 0o010666, 0, 0, 0, 0]).unwrap();
    contained("a FIFO is where the artifact was");
}
