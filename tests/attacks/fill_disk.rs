//! Tries: to fill the disk, and to have the service fail at it
//! Aims at: host
//! Stopped by: the build fails; what the service needs to say so is there
//! Expect: fails
//! Fails with: BuildFailed: the build failed
//! Shows: No space left on device
//! Needs: small disk

mod attack;

use attack::*;

fn main() {
    fill(&out_directory(), 0);
    contained("the disk is full");
}
