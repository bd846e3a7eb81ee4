//! Tries: to learn about the machine from whatever its kernel has in /proc
//! Aims at: host
//! Stopped by: covers over all that is not listed
//! Expect: contained
//! Shows: only what is listed can be read

mod attack;

use attack::*;

use std::path::Path;

const LISTED: [&str; 17] = [
    "cpuinfo",
    "filesystems",
    "loadavg",
    "meminfo",
    "mounts",
    "net",
    "self",
    "stat",
    "sys/kernel/hostname",
    "sys/kernel/osrelease",
    "sys/kernel/pid_max",
    "sys/kernel/random/uuid",
    "sys/vm/max_map_count",
    "sys/vm/overcommit_memory",
    "thread-self",
    "uptime",
    "version",
];

fn main() {
    let mut read = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if name == "1" || !name.bytes().all(|byte| byte.is_ascii_digit()) {
            look(&entry.path(), &mut read);
        }
    }
    for name in read.iter().filter(|name| !LISTED.contains(&name.as_str())) {
        succeeded(name);
    }
    if read.len() >= 10 && read.iter().all(|name| LISTED.contains(&name.as_str())) {
        contained("only what is listed can be read");
    }
}

fn look(path: &Path, read: &mut Vec<String>) {
    let kind = path.symlink_metadata().unwrap().file_type();
    if kind.is_dir() {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            look(&entry.path(), read);
        }
    } else if kind.is_symlink() || std::fs::File::open(path).is_ok() {
        read.push(path.strip_prefix("/proc").unwrap().display().to_string());
    }
}
