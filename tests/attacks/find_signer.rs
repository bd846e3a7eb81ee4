//! Tries: to open the secure processor's guest device by every path, and to make a node of its own for it, also as root of its
//! own namespaces
//! Aims at: signer
//! Stopped by: its own /dev, a node that is removed before the service starts, no capability, mounts without devices
//! Expect: contained
//! Errors: ENOENT EPERM EACCES
//! Shows: contained: no node was made

mod attack;

use attack::*;

use std::fs::{self, OpenOptions};

fn main() {
    for path in [
        "/dev/sev-guest",
        "/proc/1/root/dev/sev-guest",
        "/proc/self/root/dev/sev-guest",
        "/proc/self/cwd/../../../../../../dev/sev-guest",
        "/sys/kernel/config/tsm/report",
        "/dev/cuse",
    ] {
        attempt(path, OpenOptions::new().read(true).write(true).open(path));
    }
    let numbers = numbers();
    contained(format_args!("{} device numbers to try", numbers.len()));
    make_nodes(&numbers);
    const NEWUSER_AND_NEWNS: usize = 0x1002_0000;
    attempt("namespaces", call(272, [NEWUSER_AND_NEWNS, 0, 0, 0, 0, 0]));
    make_nodes(&numbers);
}

/// Major and minor: whatever the kernel says of the device, and every miscellaneous device, of which it is one.
fn numbers() -> Vec<(usize, usize)> {
    let said = ["/sys/class/misc/sev-guest/dev", "/sys/class/cuse/sev-guest/dev"];
    let said = said.iter().filter_map(|path| fs::read_to_string(path).ok());
    let pair = |text: String| {
        let (major, minor) = text.trim().split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    said.filter_map(pair).chain((0..256).map(|minor| (10, minor))).collect()
}

fn make_nodes(numbers: &[(usize, usize)]) {
    const MKNOD: i64 = 133;
    const CHARACTER: usize = 0o020666;
    let path = out_directory().join("node");
    let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    for (major, minor) in numbers {
        let device = major << 8 | minor & 0xff | (minor & !0xff) << 12;
        let made = call(MKNOD, [name.as_ptr() as usize, CHARACTER, device, 0, 0, 0]);
        if made.is_ok() || OpenOptions::new().read(true).write(true).open(&path).is_ok() {
            succeeded(format_args!("a node for {major}:{minor}"));
        }
        let _ = fs::remove_file(&path);
    }
    contained("no node was made");
}
