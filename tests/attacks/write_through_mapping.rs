//! Tries: to go on changing a finished artifact through memory that is mapped from it, without any descriptor
//! Aims at: result
//! Stopped by: death of the whole namespace before anything is read
//! Expect: consistent
//! Shows: the artifact is mapped
//! Template: late

mod attack;

use attack::*;

use std::os::fd::AsRawFd;

fn main() {
    const MMAP: i64 = 9;
    let artifact = release_directory().join("attack");
    assert!(wait_for(&artifact));
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&artifact).unwrap();
    let size = file.metadata().unwrap().len() as usize;
    // Read and write, shared.
    let start = call(MMAP, [0, size, 3, 1, file.as_raw_fd() as usize, 0]).unwrap() as usize;
    in_daemon(|| {
        for round in 0_usize.. {
            let byte = (start + round * 4093 % size) as *mut u8;
            unsafe { byte.write_volatile(byte.read_volatile().wrapping_add(1)) };
        }
    });
    contained("the artifact is mapped");
}
