//! Tries: to take all memory through files of /tmp, which belong to no process
//! Aims at: host
//! Stopped by: the size of /tmp, and the limit of memory, which counts them
//! Expect: fails
//! Fails with: BuildFailed: the build failed
//! Needs: memory limit

mod attack;

use attack::*;

use std::io::Write;

fn main() {
    let mut file = std::fs::File::create("/tmp/large").unwrap();
    for _ in 0..1024 {
        file.write_all(&vec![1; 16 << 20]).unwrap();
    }
    succeeded("16 GiB");
}
