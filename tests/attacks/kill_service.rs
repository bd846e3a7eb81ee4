//! Tries: to kill the service by its number, and the reaper
//! Aims at: host
//! Stopped by: the PID namespace, whose number 1 takes no signal from within
//! Expect: contained
//! Errors: ESRCH
//! Shows: the reaper took four signals

mod attack;

use attack::*;

fn main() {
    attempt("the service", send_signal(host("pid").parse().unwrap(), SIGKILL));
    for signal in [SIGKILL, SIGSTOP, 15, 6] {
        // The kernel says that it was sent; what counts is that we are still here to tell.
        let _ = send_signal(1, signal);
    }
    contained("the reaper took four signals and we are still here");
}
