//! Tries: to fill the disk, and to have the service fail at it
//! Aims at: host
//! Stopped by: the build fails; the service has the space that it needs to say so
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
