//! Tries: to keep the disk, with directories that nobody may open and names that a shell would stumble over
//! Aims at: host
//! Stopped by: a removal that takes permissions back and follows nothing
//! Expect: contained
//! Errors: EPERM ENOTTY EOPNOTSUPP ENOSYS
//! Shows: locked directories are left

mod attack;

use attack::*;

use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

fn main() {
    let top = out_directory().join("locked");
    for name in [&b"-rf"[..], b"a\nb", b"\xff\xfe", b"\x1b[2J", b" ", b"*"] {
        let directory = top.join(std::ffi::OsStr::from_bytes(name)).join("below");
        std::fs::create_dir_all(&directory).unwrap();
        let file = std::fs::File::create(directory.join("file")).unwrap();
        // FS_IOC_SETFLAGS: immutable.
        let flags = 0x10_u64;
        attempt("immutable", call(16, [file.as_raw_fd() as usize, 0x4008_6602, &raw const flags as usize, 0, 0, 0]));
        for path in [directory.as_path(), directory.parent().unwrap()] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0)).unwrap();
        }
    }
    std::os::unix::fs::symlink(host("canary"), out_directory().join("link")).unwrap();
    std::fs::set_permissions(&top, std::fs::Permissions::from_mode(0)).unwrap();
    contained("locked directories are left");
}
