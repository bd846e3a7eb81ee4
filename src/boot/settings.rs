//! Hardens the kernel, and checks what it depends on.
//!
//! * In: a kernel with its modules.
//! * Out: a kernel that loads no more modules, starts no program by itself, and has entropy.
//! * Never: a setting that fails silently.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::system::sethostname;

use super::BootError;
use super::error::file;
use super::mounts::{ControlGroups, KernelFileSystems};
use crate::clock::Date;

const HOST_NAME: &[u8] = b"kettle";

/// A file below `/proc/sys`, and its value.
struct Setting {
    path: &'static str,
    value: &'static str,
    /// Whether the file may be missing, because the kernel was built without the feature that it
    /// sets.
    may_be_missing: bool,
}

impl Setting {
    /// Returns a setting that every kernel has to know.
    const fn always(path: &'static str, value: &'static str) -> Self {
        Self {
            path,
            value,
            may_be_missing: false,
        }
    }

    /// Returns a setting of a feature that the kernel of `image/kernel/config` is built without. A
    /// distribution's kernel, for which the feature `modules` is, is built with it and has to know
    /// the setting.
    const fn of_left_out_feature(path: &'static str, value: &'static str) -> Self {
        Self {
            path,
            value,
            may_be_missing: cfg!(not(feature = "modules")),
        }
    }

    fn apply(&self) -> Result<(), BootError> {
        self.appraise(fs::write(self.path, self.value))
    }

    /// Returns an error unless booting may continue after this result of writing the setting.
    fn appraise(&self, written: io::Result<()>) -> Result<(), BootError> {
        match written {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.may_be_missing => Ok(()),
            written => written.map_err(file(self.path)),
        }
    }
}

/// The settings of the kernel. None of them can be undone, or only by us.
const SETTINGS: [Setting; 8] = [
    // No process, this one included, can load code into the kernel. CONFIG_MODULES; CONFIG_KEXEC,
    // which distributions leave out as well.
    Setting::of_left_out_feature("/proc/sys/kernel/modules_disabled", "1"),
    Setting {
        path: "/proc/sys/kernel/kexec_load_disabled",
        value: "1",
        may_be_missing: true,
    },
    // Programs that the kernel would start by itself, as root, outside of any sandbox.
    // CONFIG_MODULES, CONFIG_COREDUMP.
    Setting::of_left_out_feature("/proc/sys/kernel/modprobe", "\n"),
    Setting::of_left_out_feature("/proc/sys/kernel/core_pattern", "\n"),
    // Keys for the kernel itself, from a keyboard or a serial line of the host: more messages,
    // read-only memory. CONFIG_MAGIC_SYSRQ.
    Setting::of_left_out_feature("/proc/sys/kernel/sysrq", "0"),
    // Builds do not see addresses and messages of the kernel.
    Setting::always("/proc/sys/kernel/kptr_restrict", "2"),
    Setting::always("/proc/sys/kernel/dmesg_restrict", "1"),
    // If filters of system calls and sockets are compiled (CONFIG_BPF_JIT), the compiled code
    // contains none of the numbers that a program chose: machine code cannot be smuggled into the
    // kernel as numbers of a filter.
    Setting::of_left_out_feature("/proc/sys/net/core/bpf_jit_harden", "2"),
];
/// The level of messages on the console: only panics. Other messages of the kernel can contain the
/// name of a process, and so a few bytes that a build chose.
const PANICS_ONLY: &str = "1";
const PRINTK: &str = "/proc/sys/kernel/printk";
/// The number of open files: for connections and the files of a large source.
const OPEN_FILES: u64 = 65_536;
/// How long to wait for entropy. The processor's own generator seeds the kernel before the first
/// process.
const ENTROPY_LIMIT: Duration = Duration::from_secs(10);
const ENTROPY_PAUSE: Duration = Duration::from_millis(20);
/// The earliest plausible time, 2026-01-01, before this version existed.
const EARLIEST: u64 = 1_767_225_600;
/// The latest plausible time, 2100-01-01: certificates and archives have dates with two-digit
/// years.
const LATEST: u64 = 4_102_444_800;

/// The kernel has its settings, and a disk may be read: the receipt of [`apply`].
#[derive(Debug)]
pub(super) struct HardenedKernel(());

/// This process has its limits: the receipt of [`limits`].
#[derive(Debug)]
pub(super) struct OwnLimits(());

/// The kernel's random numbers are random: the receipt of [`entropy`].
#[derive(Debug)]
pub(super) struct Entropy(());

/// The host's clock is not absurd: the receipt of [`clock`].
#[derive(Debug)]
pub(super) struct PlausibleClock(());

/// Everything but the network is ready, and the console is quiet: the receipt of [`quiet_console`].
#[derive(Debug)]
pub(super) struct QuietConsole(());

/// Phase: applies the settings of the kernel. It consumes the receipt with which modules are
/// loaded: no module is loaded after it.
pub(super) fn apply(_: KernelFileSystems) -> Result<HardenedKernel, BootError> {
    for setting in &SETTINGS {
        setting.apply()?;
    }
    sethostname(HOST_NAME).map_err(|source| BootError::Kernel {
        what: "hostname",
        source: source.into(),
    })?;
    Ok(HardenedKernel(()))
}

/// Phase: sets the limits of this process. Commands get theirs from the sandbox.
pub(super) fn limits(_: ControlGroups) -> Result<OwnLimits, BootError> {
    let limit = Rlimit {
        current: Some(OPEN_FILES),
        maximum: Some(OPEN_FILES),
    };
    setrlimit(Resource::Nofile, limit).map_err(|source| BootError::Kernel {
        what: "open files",
        source: source.into(),
    })?;
    Ok(OwnLimits(()))
}

/// Phase: waits for the entropy from which keys are generated.
pub(super) fn entropy(_: OwnLimits) -> Result<Entropy, BootError> {
    let deadline = Instant::now() + ENTROPY_LIMIT;
    loop {
        match getrandom(&mut [0; 1], GetRandomFlags::NONBLOCK) {
            Ok(_) => return Ok(Entropy(())),
            Err(Errno::AGAIN | Errno::INTR) if Instant::now() < deadline => {
                thread::sleep(ENTROPY_PAUSE)
            }
            Err(Errno::AGAIN | Errno::INTR) => {
                return Err(BootError::NoEntropy {
                    seconds: ENTROPY_LIMIT.as_secs(),
                });
            }
            Err(source) => {
                return Err(BootError::Kernel {
                    what: "getrandom",
                    source: source.into(),
                });
            }
        }
    }
}

/// Phase: checks the clock. It belongs to the host, so the only possible check is whether it is
/// absurd.
pub(super) fn clock(_: Entropy) -> Result<PlausibleClock, BootError> {
    plausible(Date::now().seconds())?;
    Ok(PlausibleClock(()))
}

fn plausible(now: u64) -> Result<(), BootError> {
    if (EARLIEST..LATEST).contains(&now) {
        Ok(())
    } else {
        Err(BootError::Clock {
            now,
            earliest: EARLIEST,
            latest: LATEST,
        })
    }
}

/// Phase: silences the console, the last phase before a command of a build can run.
pub(super) fn quiet_console(_: PlausibleClock) -> Result<QuietConsole, BootError> {
    fs::write(PRINTK, PANICS_ONLY).map_err(file(PRINTK))?;
    Ok(QuietConsole(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing() -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }

    #[test]
    fn a_missing_setting_is_accepted_only_of_a_feature_that_was_left_out() {
        assert!(matches!(
            Setting::always("/x", "1").appraise(missing()),
            Err(BootError::File { .. })
        ));
        let accepted = Setting::of_left_out_feature("/x", "1")
            .appraise(missing())
            .is_ok();
        assert_eq!(accepted, cfg!(not(feature = "modules")));
        let refused = SETTINGS
            .iter()
            .filter(|setting| setting.appraise(missing()).is_err());
        let paths: Vec<_> = refused.map(|setting| setting.path).collect();
        for needed in ["kernel/kptr_restrict", "kernel/dmesg_restrict"] {
            assert!(paths.iter().any(|path| path.ends_with(needed)), "{needed}");
        }
    }

    #[test]
    fn a_setting_that_is_there_and_cannot_be_written_ends_the_boot() {
        for setting in &SETTINGS {
            let refused = setting.appraise(Err(io::ErrorKind::PermissionDenied.into()));
            assert!(
                matches!(refused, Err(BootError::File { .. })),
                "{}",
                setting.path
            );
            assert!(setting.appraise(Ok(())).is_ok(), "{}", setting.path);
        }
    }

    #[test]
    fn an_absurd_clock_is_refused() {
        assert!(plausible(EARLIEST).is_ok());
        for now in [0, EARLIEST - 1, LATEST, u64::MAX] {
            assert!(
                matches!(plausible(now), Err(BootError::Clock { .. })),
                "{now}"
            );
        }
    }
}
