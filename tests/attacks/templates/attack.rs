//! Shared by all attacks: how they report, and the calls that std does not have.
#![allow(dead_code)]

use std::ffi::{c_int, c_long, c_ulong};
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn fork() -> c_int;
    fn setsid() -> c_int;
    fn kill(process: c_int, signal: c_int) -> c_int;
    fn getppid() -> c_int;
    fn waitpid(process: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn signal(number: c_int, handler: usize) -> usize;
    fn _exit(status: c_int) -> !;
}

pub const SIGKILL: i32 = 9;
pub const SIGSTOP: i32 = 19;
pub const SIGXFSZ: i32 = 25;

/// What the machine is like, for attacks that need an address: `key=value` lines that the harness wrote.
const HOST: &str = include_str!("host.txt");

pub fn host(key: &str) -> &'static str {
    HOST.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).expect("the harness knows it")
}

pub fn contained(reason: impl Display) {
    println!("cargo::warning=ATTACK: contained: {reason}");
}

pub fn succeeded(what: impl Display) {
    println!("cargo::warning=ATTACK: SUCCEEDED: {what}");
}

/// The attack is that this works.
pub fn attempt<T>(what: impl Display, result: io::Result<T>) {
    match result {
        Ok(_) => succeeded(what),
        Err(error) => contained(format_args!("{what}: {error}")),
    }
}

/// A system call by its number for x86-64.
pub fn call(number: i64, arguments: [usize; 6]) -> io::Result<i64> {
    let [a, b, c, d, e, f] = arguments.map(|argument| argument as c_ulong);
    let answer = unsafe { syscall(number, a, b, c, d, e, f) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

pub fn send_signal(process: i32, number: i32) -> io::Result<()> {
    if unsafe { kill(process, number) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

pub fn ignore_signal(number: i32) {
    unsafe { signal(number, 1) };
}

/// The process that runs us: cargo.
pub fn parent() -> i32 {
    unsafe { getppid() }
}

/// Does something in a process of its own, which it never leaves.
pub fn in_child(act: impl FnOnce()) -> i32 {
    let child = unsafe { fork() };
    if child == 0 {
        act();
        unsafe { _exit(0) };
    }
    child
}

/// Collects a child, as soon as it is dead.
pub fn wait_for_child(child: i32) {
    unsafe { waitpid(child, std::ptr::null_mut(), 0) };
}

/// Closes everything, so that nobody waits for the end of our output.
pub fn close_descriptors() {
    const CLOSE_RANGE: i64 = 436;
    let _ = call(CLOSE_RANGE, [0, u32::MAX as usize, 0, 0, 0, 0]);
}

/// Does something in a process that belongs to nobody and holds no descriptor of ours.
pub fn in_daemon(act: impl FnOnce()) {
    in_child(|| {
        unsafe { setsid() };
        in_child(|| {
            close_descriptors();
            act();
        });
    });
}

/// The directory that holds the finished artifacts: `OUT_DIR` is `<it>/build/<package>/out`.
pub fn release_directory() -> PathBuf {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    out.ancestors().nth(3).expect("cargo's layout").to_owned()
}

pub fn out_directory() -> PathBuf {
    std::env::var_os("OUT_DIR").expect("cargo sets it").into()
}

/// Waits until another package's artifact has appeared, as long as it takes to compile it.
pub fn wait_for(path: &Path) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        if path.symlink_metadata().is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

/// Exchanges what two paths name, in one step.
pub fn exchange(one: &Path, other: &Path) -> io::Result<i64> {
    const RENAMEAT2: i64 = 316;
    const EXCHANGE: usize = 2;
    const AT_FDCWD: usize = -100_isize as usize;
    let name = |path: &Path| std::ffi::CString::new(path.to_str().expect("a path of ours")).expect("no NUL");
    let (one, other) = (name(one), name(other));
    call(RENAMEAT2, [AT_FDCWD, one.as_ptr() as usize, AT_FDCWD, other.as_ptr() as usize, EXCHANGE, 0])
}

/// Makes a copy of this process; true in the older of the two, which is to end.
pub fn fork_and_end() -> bool {
    unsafe { fork() != 0 }
}

/// Gives our standard output and error up without ending anybody's wait for them.
pub fn redirect_to_nothing() {
    use std::os::fd::AsRawFd;
    const DUP2: i64 = 33;
    if let Ok(nothing) = std::fs::File::create("/dev/null") {
        for descriptor in [1, 2] {
            let _ = call(DUP2, [nothing.as_raw_fd() as usize, descriptor, 0, 0, 0, 0]);
        }
    }
}

/// Fills the file system of a directory but for so many bytes.
pub fn fill(directory: &Path, left: u64) {
    use std::io::Write;
    let mut file = std::fs::File::create(directory.join("filling")).expect("a file");
    while file.write_all(&[1; 4096]).is_ok() {}
    let size = file.metadata().expect("its size").len();
    file.set_len(size.saturating_sub(left)).expect("a shorter file");
}
