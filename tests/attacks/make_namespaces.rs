//! Tries: to become root of a user namespace of its own
//! Aims at: host
//! Stopped by: the system call filter, and user namespaces that are switched off inside
//! Expect: contained
//! Errors: EPERM ENOSYS

mod attack;

use attack::*;

fn main() {
    const NEWUSER: usize = 0x1000_0000;
    attempt("unshare", call(272, [NEWUSER, 0, 0, 0, 0, 0]));
    attempt("clone", call(56, [NEWUSER | 17, 0, 0, 0, 0, 0]));
    let arguments: [u64; 11] = [NEWUSER as u64, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0];
    attempt("clone3", call(435, [arguments.as_ptr() as usize, std::mem::size_of_val(&arguments), 0, 0, 0, 0]));
    attempt("setns", call(308, [0; 6]));
}
