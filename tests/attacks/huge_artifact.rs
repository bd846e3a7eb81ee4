//! Tries: to fill memory, disk and time with an artifact that is long and has no bytes
//! Aims at: host
//! Stopped by: the limit of an artifact, which is looked at before it is copied
//! Expect: fails
//! Fails with: BuildFailed: artifact attack is refused: it is too large
//! Template: late

mod attack;

use attack::*;

fn main() {
    let artifact = release_directory().join("attack");
    assert!(wait_for(&artifact));
    let file = std::fs::File::create(&artifact).unwrap();
    file.set_len(7 << 30).unwrap();
    contained("the artifact has seven gigabytes");
}
