//! Tries: to type commands into the terminal that the service may have been started from
//! Aims at: host
//! Stopped by: its own session, no terminal among its descriptors, and the system call filter
//! Expect: contained
//! Errors: ENOTTY EPERM ENXIO ENOENT EBADF

mod attack;

use attack::*;

use std::os::fd::AsRawFd;

fn main() {
    const IOCTL: i64 = 16;
    const TIOCSTI: usize = 0x5412;
    const TIOCLINUX: usize = 0x541c;
    for descriptor in 0..3 {
        for request in [TIOCSTI, TIOCLINUX, TIOCSTI | 1 << 32] {
            let byte = b'x';
            attempt(descriptor, call(IOCTL, [descriptor, request, &raw const byte as usize, 0, 0, 0]));
        }
    }
    for path in ["/dev/tty", "/dev/pts/0", "/dev/ptmx"] {
        attempt(path, std::fs::File::open(path).map(|file| file.as_raw_fd()));
    }
}
