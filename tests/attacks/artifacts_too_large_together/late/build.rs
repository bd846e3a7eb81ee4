//! Tries: to have a bundle made that no verifier reads, and disk and time used up, by artifacts that are each small enough
//! Aims at: result
//! Stopped by: the limit of all artifacts together, which is looked at before each is copied
//! Expect: fails
//! Fails with: BuildFailed: artifact two is refused: all of them together are too large
//! Template: late

mod attack;

use attack::*;

fn main() {
    for (name, length) in [("one", (1 << 30) + 1), ("two", 2 << 30)] {
        let artifact = release_directory().join(name);
        assert!(wait_for(&artifact));
        std::fs::File::create(&artifact).unwrap().set_len(length).unwrap();
    }
}
