//! Tries: to open the secure processor, the memory, disks and terminals
//! Aims at: signer
//! Stopped by: its own /dev
//! Expect: contained
//! Errors: ENOENT ENXIO

mod attack;

use attack::*;

fn main() {
    for device in [
        "sev-guest",
        "mem",
        "kmsg",
        "kvm",
        "vda",
        "sda",
        "nvme0n1",
        "fuse",
        "net/tun",
        "console",
        "ptmx",
        "cuse",
        "tty",
    ] {
        let path = format!("/dev/{device}");
        attempt(&path, std::fs::OpenOptions::new().read(true).write(true).open(&path));
    }
}
