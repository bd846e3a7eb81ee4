//! Tries: to go past the system call filter by the kernel's other tables: numbers of x32, and of 32-bit machines
//! Aims at: host
//! Stopped by: the system call filter, which knows one table, and kills for another one
//! Expect: contained
//! Errors: ENOSYS EPERM
//! Shows: contained: a call of a 32-bit machine is the last

mod attack;

use attack::*;

use std::os::unix::process::ExitStatusExt;

const CHILD: &str = "ATTACK_CHILD";

fn main() {
    if std::env::var_os(CHILD).is_some() {
        // getpid, which would do nothing.
        unsafe { std::arch::asm!("int 0x80", inout("eax") 20 => _) };
        return;
    }
    const X32: i64 = 0x4000_0000;
    for (name, number) in [("unshare", 272), ("ptrace", 521), ("mount", 165), ("getpid", 39)] {
        attempt(format_args!("{name} of x32"), call(X32 | number, [0; 6]));
    }
    let child = std::process::Command::new(std::env::current_exe().unwrap()).env(CHILD, "1").status().unwrap();
    match child.signal() {
        Some(signal) => contained(format_args!("a call of a 32-bit machine is the last: signal {signal}")),
        None => succeeded("a call of a 32-bit machine"),
    }
}
