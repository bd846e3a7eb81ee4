//! Tries: to leave the root through parent directories and links of /proc
//! Aims at: host
//! Stopped by: the mount namespace: there is nothing above the root
//! Expect: contained
//! Errors: ENOENT EACCES EPERM

mod attack;

use attack::*;

fn main() {
    let canary = host("canary");
    for way in
        ["/..", "/../..", "/proc/self/root", "/proc/self/cwd/../../..", "/proc/2/root", "/proc/thread-self/root/.."]
    {
        attempt(way, std::fs::read(format!("{way}{canary}")));
    }
}
