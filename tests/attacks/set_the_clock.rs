//! Tries: to set the machine's clock, which provenance reads
//! Aims at: provenance
//! Stopped by: no capability, and the system call filter
//! Expect: contained
//! Errors: EPERM ENOSYS

mod attack;

use attack::*;

fn main() {
    let then = [0_i64, 0];
    let time = then.as_ptr() as usize;
    attempt("clock_settime", call(227, [0, time, 0, 0, 0, 0]));
    attempt("settimeofday", call(164, [time, 0, 0, 0, 0, 0]));
    let mut change = [0_i64; 26];
    // ADJ_SETOFFSET, by a year.
    change[0] = 0x0100;
    change[9] = 31_536_000;
    attempt("adjtimex", call(159, [change.as_ptr() as usize, 0, 0, 0, 0, 0]));
    attempt("clock_adjtime", call(305, [0, change.as_ptr() as usize, 0, 0, 0, 0]));
    const NEWTIME: usize = 0x80;
    attempt("a time namespace", call(272, [NEWTIME, 0, 0, 0, 0, 0]));
}
