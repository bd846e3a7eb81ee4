//! PID 1 for a moment, in an initrd segment after the image's: leaves a child that prints the
//! machine's memory to the console every second, and becomes the image's own PID 1, `/image-init`.
//! `rustc -C target-feature=+crt-static`.
//!
//! Each line is `memory: total T available A free F pid1 R`, in KiB.

use std::ffi::{CString, c_char, c_int, c_ulong, c_void};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

/// `MNT_DETACH` of umount2(2).
const DETACH: c_int = 2;
const EVERY: Duration = Duration::from_secs(1);

unsafe extern "C" {
    fn mount(
        from: *const c_char,
        to: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        data: *const c_void,
    ) -> c_int;
    fn umount2(target: *const c_char, flags: c_int) -> c_int;
    fn fork() -> c_int;
}

fn main() {
    let (kind, place) = (
        CString::new("proc").unwrap(),
        CString::new("/memory").unwrap(),
    );
    // SAFETY: the strings end in zeros and outlive the call; there is no data.
    assert_eq!(
        unsafe {
            mount(
                kind.as_ptr(),
                place.as_ptr(),
                kind.as_ptr(),
                0,
                std::ptr::null(),
            )
        },
        0
    );
    let files = ["/memory/meminfo", "/memory/1/status"].map(|path| File::open(path).unwrap());
    // SAFETY: as above. Open files stay open; the image mounts its own file systems.
    assert_eq!(unsafe { umount2(place.as_ptr(), DETACH) }, 0);
    // SAFETY: there is one thread.
    if unsafe { fork() } == 0 {
        watch(files);
    }
    panic!("{}", Command::new("/image-init").exec());
}

fn watch([mut memory, mut status]: [File; 2]) -> ! {
    loop {
        let (all, own) = (text(&mut memory), text(&mut status));
        println!(
            "memory: total {} available {} free {} pid1 {}",
            value(&all, "MemTotal:"),
            value(&all, "MemAvailable:"),
            value(&all, "MemFree:"),
            value(&own, "VmRSS:")
        );
        sleep(EVERY);
    }
}

fn text(file: &mut File) -> String {
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

fn value<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next())
        .unwrap_or("unknown")
}
