//! Tries: to fill the disk with an artifact that takes none of it until it is copied
//! Aims at: host
//! Stopped by: a copy that fails is no artifact, and a lack of space fails the build
//! Expect: fails
//! Fails with: BuildFailed: there is no room left for what the build writes
//! Template: late
//! Needs: small disk

mod attack;

use attack::*;

fn main() {
    let artifact = release_directory().join("attack");
    assert!(wait_for(&artifact));
    std::fs::File::create(&artifact).unwrap().set_len(1 << 30).unwrap();
}
