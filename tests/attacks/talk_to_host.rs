//! Tries: to reach the hypervisor and the kernel by other socket families
//! Aims at: host
//! Stopped by: the system call filter
//! Expect: contained
//! Errors: EPERM EAFNOSUPPORT

mod attack;

use attack::*;

fn main() {
    const SOCKET: i64 = 41;
    for (name, family, kind) in
        [("vsock", 40, 1), ("netlink", 16, 3), ("packet", 17, 3), ("alg", 38, 5), ("bluetooth", 31, 3)]
    {
        attempt(name, call(SOCKET, [family, kind, 0, 0, 0, 0]));
    }
}
