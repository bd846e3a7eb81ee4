//! Tries: to change the kernel through /proc: where core dumps go, sysrq
//! Aims at: host
//! Stopped by: no privilege over the machine, and a read-only /proc/sys
//! Expect: contained
//! Errors: EROFS EACCES ENOENT

mod attack;

use attack::*;

fn main() {
    for file in
        ["sys/kernel/core_pattern", "sys/kernel/modprobe", "sysrq-trigger", "sys/vm/drop_caches", "sys/kernel/hostname"]
    {
        attempt(file, std::fs::write(format!("/proc/{file}"), "|/kettle/target/x"));
    }
}
