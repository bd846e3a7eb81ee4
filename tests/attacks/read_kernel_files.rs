//! Tries: to read the kernel's memory, its addresses, keys, and the machine's firmware and bus
//! Aims at: host
//! Stopped by: masked files, a /proc of the namespace, and no /sys
//! Expect: contained
//! Shows: nothing is in
//! Errors: ENOENT EACCES EPERM

mod attack;

use attack::*;

use std::io::Read;

fn main() {
    for path in ["/proc/kcore", "/proc/keys", "/proc/key-users", "/proc/timer_list", "/proc/kmsg", "/proc/kpagecount"] {
        let mut bytes = [0; 64];
        match std::fs::File::open(path).and_then(|mut file| file.read(&mut bytes)) {
            Ok(0) => contained(format_args!("nothing is in {path}")),
            Ok(_) => succeeded(path),
            Err(error) => contained(format_args!("nothing is in {path}: {error}")),
        }
    }
    for path in ["/sys/kernel/security", "/sys/firmware", "/sys/fs/cgroup", "/dev/mem"] {
        attempt(path, std::fs::metadata(path));
    }
    // Addresses are zeros to whoever has no capability.
    let symbols = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let shown = symbols.lines().find(|line| !line.starts_with("0000000000000000"));
    if let Some(line) = shown { succeeded(line) } else { contained("nothing is in /proc/kallsyms") }
}
