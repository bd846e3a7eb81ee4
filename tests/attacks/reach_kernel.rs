//! Tries: to reach rarely used kernel code: bpf, perf, userfaultfd, modules, kexec
//! Aims at: host
//! Stopped by: the system call filter
//! Expect: contained
//! Errors: EPERM ENOSYS

mod attack;

use attack::*;

fn main() {
    let calls = [
        ("bpf", 321),
        ("perf_event_open", 298),
        ("userfaultfd", 323),
        ("init_module", 175),
        ("finit_module", 313),
        ("kexec_load", 246),
        ("kexec_file_load", 320),
        ("reboot", 169),
        ("swapon", 167),
        ("acct", 163),
        ("syslog", 103),
        ("iopl", 172),
        ("open_by_handle_at", 304),
        ("fanotify_init", 300),
        ("modify_ldt", 154),
    ];
    for (name, number) in calls {
        attempt(name, call(number, [0; 6]));
    }
}
