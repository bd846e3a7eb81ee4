//! Tries: to take all memory with processes that are each smaller than the service, so that the kernel ends that
//! Aims at: host
//! Stopped by: the limit of memory; a build is what the kernel ends first
//! Expect: fails
//! Fails with: BuildFailed: the build failed
//! Needs: memory limit

mod attack;

use attack::*;

fn main() {
    for _ in 0..2000 {
        in_child(|| {
            let held = vec![1_u8; 2 << 20];
            std::thread::sleep(std::time::Duration::from_secs(10));
            drop(held);
        });
    }
    std::thread::sleep(std::time::Duration::from_secs(2));
    succeeded("4 GiB");
}
