//! Asks its kernel for calls, files and settings, and prints one fact a line. It runs in two
//! places: as the first program of a machine, with all rights, and as a build script in the
//! sandbox.

use std::arch::asm;
use std::ffi::{CString, c_char, c_int, c_long, c_ulong, c_void};
use std::io;
use std::path::Path;
use std::ptr::null;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn fork() -> c_int;
    fn waitpid(process: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn _exit(status: c_int) -> !;
    fn mount(
        source: *const c_char,
        target: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        options: *const c_void,
    ) -> c_int;
    fn klogctl(command: c_int, buffer: *mut c_char, length: c_int) -> c_int;
    fn reboot(command: c_int) -> c_int;
}

/// `LINUX_REBOOT_CMD_RESTART` of reboot(2).
const RESTART: c_int = 0x0123_4567;
/// `SYSLOG_ACTION_READ_ALL` of syslog(2).
const READ_ALL: c_int = 3;
/// Larger than the log that the kernel keeps.
const LOG_BYTES: usize = 1 << 19;
/// The bit that marks the numbers of the x32 ABI.
const X32: c_long = 0x4000_0000;
/// The number of `getpid` for 32-bit programs.
const GETPID_OF_32_BITS: i32 = 20;
/// The page that old programs call for the time.
const VSYSCALL_PAGE: usize = 0xffff_ffff_ff60_0000;
/// A value that is no descriptor, process, command or set of flags.
const NONSENSE: c_long = -1;

/// System calls by their number for x86-64, with arguments that a kernel which has the call
/// refuses, or that change nothing.
const CALLS: &[(&str, c_long, [c_long; 3])] = &[
    // Controls: these are present.
    ("getpid", 39, [0; 3]),
    ("membarrier", 324, [0; 3]),
    // Code for the kernel.
    ("bpf", 321, [NONSENSE; 3]),
    ("init_module", 175, [0; 3]),
    ("finit_module", 313, [NONSENSE, 0, 0]),
    ("delete_module", 176, [0; 3]),
    ("kexec_load", 246, [0, 0, NONSENSE]),
    ("kexec_file_load", 320, [NONSENSE; 3]),
    // Interfaces with a history of defects.
    ("io_uring_setup", 425, [0; 3]),
    ("io_uring_enter", 426, [NONSENSE, 0, 0]),
    ("io_uring_register", 427, [NONSENSE; 3]),
    ("io_setup", 206, [0; 3]),
    ("userfaultfd", 323, [NONSENSE; 3]),
    ("memfd_secret", 447, [NONSENSE; 3]),
    ("add_key", 248, [0; 3]),
    ("request_key", 249, [0; 3]),
    ("keyctl", 250, [NONSENSE; 3]),
    ("mq_open", 240, [0; 3]),
    ("fanotify_init", 300, [NONSENSE; 3]),
    // Other processes.
    ("process_vm_readv", 310, [NONSENSE; 3]),
    ("process_vm_writev", 311, [NONSENSE; 3]),
    ("kcmp", 312, [NONSENSE; 3]),
    ("migrate_pages", 256, [NONSENSE, 0, 0]),
    ("move_pages", 279, [NONSENSE, 0, 0]),
    // Files past the mounts.
    ("name_to_handle_at", 303, [NONSENSE, 0, 0]),
    ("open_by_handle_at", 304, [NONSENSE, 0, 0]),
    // Ports, segments, disks, old things.
    ("iopl", 172, [NONSENSE; 3]),
    ("ioperm", 173, [NONSENSE; 3]),
    ("modify_ldt", 154, [0; 3]),
    ("swapon", 167, [0; 3]),
    ("quotactl", 179, [NONSENSE, 0, 0]),
    ("acct", 163, [0; 3]),
    ("sysfs", 139, [NONSENSE; 3]),
    ("uselib", 134, [0; 3]),
    ("x32 getpid", X32 | 39, [0; 3]),
];

const FILES: &[&str] = &[
    // Controls: these are present.
    "/proc/self/status",
    "/dev/null",
    // Memory, ports and names of the kernel.
    "/dev/mem",
    "/dev/kmem",
    "/dev/port",
    "/dev/cpu",
    "/proc/kcore",
    "/proc/kallsyms",
    "/proc/config.gz",
    "/sys/kernel/debug",
    "/sys/kernel/tracing",
    "/sys/kernel/security",
// Files that belong to the system calls above.
    "/proc/modules",
    "/proc/keys",
    "/proc/swaps",
    "/sys/module/kvm",
    "/dev/userfaultfd",
// Commands of the host, and its programs.
    "/proc/sysrq-trigger",
    "/proc/sys/kernel/sysrq",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/core_pattern",
    "/dev/input",
    "/sys/bus/usb",
    "/sys/bus/acpi/devices",
    "/sys/firmware/acpi",
    "/sys/firmware/dmi",
// Devices that only tests of evidence have.
    "/dev/fuse",
    "/dev/cuse",
];

/// Lines of the kernel's log with one of these texts are printed.
const TOLD: &[&str] = &["mem auto-init", "locked down", "ACPI: Disabled"];

fn fact(key: &str, value: &str) {
// Cargo shows lines of a build script only with this prefix. On a console it does no harm.
    println!("cargo::warning=FACT: {key}: {value}");
}

fn answer(result: c_long) -> String {
    if result >= 0 {
        return "success".to_owned();
    }
    let error = io::Error::last_os_error();
    format!("error {}", error.raw_os_error().unwrap_or_default())
}

/// Runs something in a child, and prints how that ended.
fn end_of(act: impl FnOnce()) -> String {
    let mut status = 0;
    unsafe {
        let child = fork();
        if child == 0 {
            act();
            _exit(0);
        }
        waitpid(child, &mut status, 0);
    }
    match status & 0x7f {
        0 => "success".to_owned(),
        signal => format!("signal {signal}"),
    }
}

fn ask() {
    for (name, number, [first, second, third]) in CALLS {
        let result = unsafe {
            syscall(
                *number,
                *first,
                *second,
                *third,
                0 as c_long,
                0 as c_long,
                0 as c_long,
            )
        };
        fact(name, &answer(result));
    }
    let entry_of_32_bits = || {
        let mut register = GETPID_OF_32_BITS;
        unsafe { asm!("int 0x80", inout("eax") register) };
        std::hint::black_box(register);
    };
    fact("int 0x80", &end_of(entry_of_32_bits));
    let vsyscall = || {
        let time: extern "C" fn(*mut c_long, *mut c_void) -> c_long =
            unsafe { std::mem::transmute(VSYSCALL_PAGE) };
        time(std::ptr::null_mut(), std::ptr::null_mut());
    };
    fact("vsyscall", &end_of(vsyscall));
    for path in FILES {
        fact(
            path,
            if Path::new(path).exists() {
                "present"
            } else {
                "absent"
            },
        );
    }
}

fn mount_kernel_file_systems() {
    for (path, kind) in [("/proc", "proc"), ("/sys", "sysfs"), ("/dev", "devtmpfs")] {
        let [path, kind] = [path, kind].map(|text| CString::new(text).unwrap());
        let mounted = unsafe { mount(kind.as_ptr(), path.as_ptr(), kind.as_ptr(), 0, null()) };
        assert_eq!(mounted, 0, "{path:?}: {}", io::Error::last_os_error());
    }
}

fn tell_log() {
    let mut log = vec![0_u8; LOG_BYTES];
    let length = unsafe { klogctl(READ_ALL, log.as_mut_ptr().cast(), LOG_BYTES as c_int) };
    let text = String::from_utf8_lossy(&log[..usize::try_from(length).unwrap()]);
    for line in text
        .lines()
        .filter(|line| TOLD.iter().any(|told| line.contains(told)))
    {
        fact("log", line);
    }
}

fn main() {
    if std::process::id() != 1 {
        return ask();
    }
    mount_kernel_file_systems();
    ask();
    tell_log();
    fact("end", "of all");
    unsafe { reboot(RESTART) };
}
