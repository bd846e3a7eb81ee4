//! Tries: to mount, remount and unmount, by the old and the new calls
//! Aims at: host
//! Stopped by: the system call filter
//! Expect: contained
//! Errors: EPERM

mod attack;

use attack::*;

fn main() {
    let path = |text: &'static std::ffi::CStr| text.as_ptr() as usize;
    const REMOUNT_BIND: usize = 32 | 4096;
    attempt("mount", call(165, [path(c"tmpfs"), path(c"/tmp"), path(c"tmpfs"), 0, 0, 0]));
    attempt("remount", call(165, [0, path(c"/kettle/source"), 0, REMOUNT_BIND, 0, 0]));
    attempt("uncover the reaper", call(166, [path(c"/proc/1"), 2, 0, 0, 0, 0]));
    attempt("pivot_root", call(155, [path(c"/tmp"), path(c"/tmp"), 0, 0, 0, 0]));
    attempt("chroot", call(161, [path(c"/tmp"), 0, 0, 0, 0, 0]));
    for (name, number) in
        [("open_tree", 428), ("move_mount", 429), ("fsopen", 430), ("fsmount", 432), ("mount_setattr", 442)]
    {
        attempt(name, call(number, [0; 6]));
    }
}
