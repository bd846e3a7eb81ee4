//! Tries: to open what the process with number 1 of its namespace has open: its descriptors, directory and root
//! Aims at: signer
//! Stopped by: a /proc/1 that is empty
//! Expect: contained
//! Errors: ENOENT EACCES EPERM

mod attack;

use attack::*;

fn main() {
    for part in ["fd", "fdinfo", "root", "cwd", "exe", "environ", "maps", "mem", "ns/net", "ns/user", "task/1/fd"] {
        attempt(part, std::fs::metadata(format!("/proc/1/{part}")));
    }
    for descriptor in 0..32 {
        attempt(descriptor, std::fs::File::open(format!("/proc/1/fd/{descriptor}")));
    }
}
