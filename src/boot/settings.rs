//! How the kernel behaves from now on. Comes in: a kernel with its modules. Goes out: one that loads no more, starts no
//! program by itself, and has entropy. Never: a setting that fails silently.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::system::sethostname;

use super::error::file;
use super::{BootError, Machine};
use crate::clock::Date;

const HOST_NAME: &[u8] = b"kettle";
/// Each cannot be undone, or only by us.
const SETTINGS: [(&str, &str); 7] = [
    // Not even we.
    ("/proc/sys/kernel/modules_disabled", "1"),
    ("/proc/sys/kernel/kexec_load_disabled", "1"),
    // Programs that the kernel would start by itself, as root, outside of any sandbox.
    ("/proc/sys/kernel/modprobe", "\n"),
    ("/proc/sys/kernel/core_pattern", "\n"),
    // Keys to the kernel itself, from a keyboard or a serial line that are the host's: more messages, read-only memory.
    ("/proc/sys/kernel/sysrq", "0"),
    // Addresses and messages of the kernel are not for builds.
    ("/proc/sys/kernel/kptr_restrict", "2"),
    ("/proc/sys/kernel/dmesg_restrict", "1"),
];
/// Only panics: other messages of the kernel can hold the name of a process, and so a few bytes that a build chose.
const PANICS_ONLY: &str = "1";
const PRINTK: &str = "/proc/sys/kernel/printk";
/// For connections and the files of a large source.
const OPEN_FILES: u64 = 65_536;
/// The processor's own generator seeds the kernel before the first process.
const ENTROPY_LIMIT: Duration = Duration::from_secs(10);
const ENTROPY_PAUSE: Duration = Duration::from_millis(20);
/// 2026-01-01: before this version existed.
const EARLIEST: u64 = 1_767_225_600;
/// 2100-01-01: certificates and archives have dates with two-digit years.
const LATEST: u64 = 4_102_444_800;

/// Phase: what the kernel may no longer do.
pub(super) fn apply(_: &mut Machine) -> Result<(), BootError> {
    for (path, value) in SETTINGS {
        match fs::write(path, value) {
            // A kernel without kexec has no such file.
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.contains("kexec") => {}
            written => written.map_err(file(path))?,
        }
    }
    sethostname(HOST_NAME).map_err(|source| BootError::Kernel { what: "hostname", source: source.into() })
}

/// Phase: our own limits. Commands get theirs from the sandbox.
pub(super) fn limits(_: &mut Machine) -> Result<(), BootError> {
    let limit = Rlimit { current: Some(OPEN_FILES), maximum: Some(OPEN_FILES) };
    setrlimit(Resource::Nofile, limit).map_err(|source| BootError::Kernel { what: "open files", source: source.into() })
}

/// Phase: keys are made of this.
pub(super) fn entropy(_: &mut Machine) -> Result<(), BootError> {
    let deadline = Instant::now() + ENTROPY_LIMIT;
    loop {
        match getrandom(&mut [0; 1], GetRandomFlags::NONBLOCK) {
            Ok(_) => return Ok(()),
            Err(Errno::AGAIN | Errno::INTR) if Instant::now() < deadline => thread::sleep(ENTROPY_PAUSE),
            Err(Errno::AGAIN | Errno::INTR) => return Err(BootError::NoEntropy { seconds: ENTROPY_LIMIT.as_secs() }),
            Err(source) => return Err(BootError::Kernel { what: "getrandom", source: source.into() }),
        }
    }
}

/// Phase: the clock belongs to the host; all we can say is whether it is absurd.
pub(super) fn clock(_: &mut Machine) -> Result<(), BootError> {
    plausible(Date::now().seconds())
}

fn plausible(now: u64) -> Result<(), BootError> {
    if (EARLIEST..LATEST).contains(&now) {
        Ok(())
    } else {
        Err(BootError::Clock { now, earliest: EARLIEST, latest: LATEST })
    }
}

/// Phase: the last before anything that is not ours runs.
pub(super) fn quiet_console(_: &mut Machine) -> Result<(), BootError> {
    fs::write(PRINTK, PANICS_ONLY).map_err(file(PRINTK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absurd_clock_is_refused() {
        assert!(plausible(EARLIEST).is_ok());
        for now in [0, EARLIEST - 1, LATEST, u64::MAX] {
            assert!(matches!(plausible(now), Err(BootError::Clock { .. })), "{now}");
        }
    }
}
