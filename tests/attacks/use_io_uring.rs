//! Tries: to do its system calls through io_uring, past the filter
//! Aims at: host
//! Stopped by: the system call filter: there is no io_uring
//! Expect: contained
//! Errors: EPERM ENOSYS

mod attack;

use attack::*;

fn main() {
    let parameters = [0u8; 120];
    attempt("io_uring_setup", call(425, [8, parameters.as_ptr() as usize, 0, 0, 0, 0]));
    attempt("io_uring_enter", call(426, [0; 6]));
    attempt("io_uring_register", call(427, [0; 6]));
}
