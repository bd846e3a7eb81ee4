//! Tries: to watch files past the mounts, to get at them by handles, and to learn about mounts and memory by newer calls
//! Aims at: host
//! Stopped by: the system call filter, for which what it does not know does not exist
//! Expect: contained
//! Errors: EPERM ENOSYS

mod attack;

use attack::*;

fn main() {
    let calls = [
        ("fanotify_mark", 301),
        ("name_to_handle_at", 303),
        ("lookup_dcookie", 212),
        ("quotactl", 179),
        ("kcmp", 312),
        ("process_madvise", 440),
        ("process_mrelease", 448),
        ("memfd_secret", 447),
        ("move_pages", 279),
        ("mbind", 237),
        ("uselib", 134),
        ("io_setup", 206),
        ("vmsplice", 278),
        ("clone3", 435),
        ("cachestat", 451),
        ("statmount", 457),
        ("listmount", 458),
        ("lsm_list_modules", 461),
        ("open_tree_attr", 467),
    ];
    for (name, number) in calls {
        attempt(name, call(number, [0; 6]));
    }
}
