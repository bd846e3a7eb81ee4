//! Tries: to find the service among the processes and read its command line
//! Aims at: host
//! Stopped by: the PID namespace
//! Expect: contained
//! Errors: ENOENT

mod attack;

use attack::*;

fn main() {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains("kettle-host") {
            succeeded(entry.path().display());
        }
    }
    attempt("the service's /proc directory", std::fs::read(format!("/proc/{}/cmdline", host("pid"))));
}
