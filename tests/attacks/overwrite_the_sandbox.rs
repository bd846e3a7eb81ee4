//! Tries: to write over the programs that make its sandbox, the next one too: bubblewrap, env, cargo, what is running
//! Aims at: phase
//! Stopped by: a read-only /usr of another user, and a /proc/1 that is empty
//! Expect: contained
//! Errors: EROFS EACCES ENOENT EXDEV
//! Shows: contained: the program of cargo: 

mod attack;

use attack::*;

use std::fs::OpenOptions;

fn main() {
    let write = |path: &str| OpenOptions::new().write(true).open(path);
    for program in ["bwrap", "env", "git", "cc"] {
        attempt(program, write(&format!("/usr/bin/{program}")));
        attempt(program, std::fs::rename(out_directory(), format!("/usr/bin/{program}")));
    }
    attempt("the program of cargo", write(&format!("/proc/{}/exe", parent())));
    attempt("the program of the reaper", write("/proc/1/exe"));
    attempt("the same by its root", write(&format!("/proc/{}/root/proc/1/exe", parent())));
    attempt("the same by its parent", write("/proc/self/task/../../1/exe"));
}
