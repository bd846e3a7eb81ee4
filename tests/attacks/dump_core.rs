//! Tries: to leave a core dump on the machine
//! Aims at: host
//! Stopped by: a core limit of 0 that cannot be raised
//! Expect: contained
//! Shows: contained: signal: 6

mod attack;

use attack::*;

use std::os::unix::process::ExitStatusExt;

fn main() {
    let directory = out_directory();
    let crash =
        std::process::Command::new("/bin/sh").args(["-c", "ulimit -c unlimited; kill -ABRT $$"]).current_dir(&directory).status().unwrap();
    let left = std::fs::read_dir(&directory).unwrap().count();
    if crash.core_dumped() || left > 0 { succeeded("a core dump") } else { contained(format_args!("{crash}")) }
}
