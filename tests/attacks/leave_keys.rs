//! Tries: to leave a secret in a keyring for a later process
//! Aims at: phase
//! Stopped by: the system call filter
//! Expect: contained
//! Errors: EPERM ENOSYS

mod attack;

use attack::*;

fn main() {
    let text = |text: &'static std::ffi::CStr| text.as_ptr() as usize;
    const USER_KEYRING: usize = -4isize as usize;
    attempt("add_key", call(248, [text(c"user"), text(c"kettle"), text(c"secret"), 6, USER_KEYRING, 0]));
    attempt("request_key", call(249, [text(c"user"), text(c"kettle"), 0, USER_KEYRING, 0, 0]));
    attempt("keyctl", call(250, [0, USER_KEYRING, 0, 0, 0, 0]));
}
