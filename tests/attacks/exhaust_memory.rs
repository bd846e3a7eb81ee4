//! Tries: to take all memory of the machine
//! Aims at: host
//! Stopped by: the limit of memory; the kernel ends what takes most, and the service takes next to nothing
//! Expect: fails
//! Fails with: BuildFailed: the build failed
//! Shows: (signal: 9, SIGKILL: kill)
//! Needs: memory limit

mod attack;

use attack::*;

fn main() {
    let mut all = Vec::new();
    loop {
        all.push(vec![1_u8; 16 << 20]);
        if all.len() == 1024 {
            return succeeded("16 GiB");
        }
    }
}
