//! Tries: to read files of the machine that runs the service
//! Aims at: host
//! Stopped by: the mount namespace: they do not exist
//! Expect: contained
//! Errors: ENOENT

mod attack;

use attack::*;

fn main() {
    let canary = host("canary");
    let files = [
        "/etc/shadow",
        "/etc/hostname",
        "/etc/machine-id",
        "/etc/ssh/sshd_config",
        "/root/.bashrc",
        "/var/log",
        "/home",
    ];
    for file in files.into_iter().chain(["/run", "/sys/kernel", "/boot", "/opt", "/srv", "/mnt", canary]) {
        attempt(file, std::fs::metadata(file));
    }
}
