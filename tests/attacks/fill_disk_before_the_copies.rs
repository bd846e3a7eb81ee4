//! Tries: to leave just so much of the disk that the build succeeds, and the service finds no room for the delivered files
//! Aims at: result
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
    fill(&out_directory(), 1100 << 10);
    contained("little of the disk is left");
}
