//! Tries: to hold the build for ever with a FIFO that the compiler includes, and that nobody writes to
//! Aims at: host
//! Stopped by: the limit of time
//! Expect: fails
//! Fails with: BuildTimeout: the build took longer than 5 s
//! Seconds: 5

mod attack;

use attack::*;

fn main() {
    const MKNOD: i64 = 133;
    const FIFO: usize = 0o10_644;
    let path = std::ffi::CString::new(out_directory().join("fifo").to_str().unwrap()).unwrap();
    call(MKNOD, [path.as_ptr() as usize, FIFO, 0, 0, 0, 0]).unwrap();
}
