//! Tries: to have its own evidence, provenance and an extra artifact delivered
//! Aims at: result
//! Stopped by: a bundle made in memory from cargo's messages, not from a directory
//! Expect: contained
//! Shows: files lie where somebody could collect them

mod attack;

use attack::*;

fn main() {
    let release = release_directory();
    for directory in [release.as_path(), release.parent().unwrap(), "/tmp".as_ref()] {
        for name in ["evidence.json", "provenance.json", "build.log", "artifacts", "extra", "extra.so"] {
            std::fs::write(directory.join(name), "{}").unwrap();
        }
    }
    contained("files lie where somebody could collect them");
}
