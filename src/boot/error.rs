//! Names the reasons for which a machine does not boot.
//!
//! * In: the failures of the phases.
//! * Out: one enum.
//! * Never: a failure that a caller could take for a success.

use std::io;
use std::path::PathBuf;

use super::dhcp::Refusal;

/// Why the machine did not boot.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum BootError {
    /// A phase failed; the name is that of the phase on the console.
    #[error("{name}")]
    Phase {
        name: &'static str,
        source: Box<BootError>,
    },
    #[error("the thread of the network phase panicked")]
    NetworkThread,
    /// The command line is not that of an image.
    #[error(transparent)]
    CommandLine(#[from] CommandLineError),
    /// A file or directory could not be created, read or written.
    #[error("{}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("mounting {path}")]
    Mount { path: String, source: io::Error },
    /// The name of a module does not begin with its number in the order.
    #[cfg(feature = "modules")]
    #[error("module {name:?} has no number")]
    ModuleName { name: String },
    /// The kernel refused a module; the name is that of its file.
    #[cfg(feature = "modules")]
    #[error("module {name}")]
    Module { name: String, source: io::Error },
    /// The expected root hash is that of the command line.
    #[error("none of the {looked_at} block devices carries the root hash {expected}")]
    NoRootDisk { looked_at: usize, expected: String },
    /// The device mapper refused a request, which the step names.
    #[error("device mapper: {step}")]
    DeviceMapper {
        step: &'static str,
        source: io::Error,
    },
    /// A system call failed that should not fail.
    #[error("{what}")]
    Kernel {
        what: &'static str,
        source: io::Error,
    },
    #[error("the kernel has no entropy after {seconds} s")]
    NoEntropy { seconds: u64 },
    /// The host's clock is out of the range in which a build can happen: before `earliest`, the image did
    /// not exist, and after `latest`, no one uses it.
    #[error("the clock says {now} s after 1970, not between {earliest} and {latest}")]
    Clock {
        now: u64,
        earliest: u64,
        latest: u64,
    },
    #[error("there is no network interface")]
    NoInterface,
    /// No server offered a usable address. The refusal is that of the last reply, if there was one.
    #[error("no usable DHCP lease after {attempts} attempts{}", last_refusal(.refusal.as_ref()))]
    NoLease {
        attempts: usize,
        refusal: Option<Refusal>,
    },
}

/// Why the command line is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum CommandLineError {
    #[error("{0} is missing on the kernel command line")]
    Missing(&'static str),
    #[error("{0} is given twice on the kernel command line")]
    Repeated(String),
    #[error("{0} on the kernel command line is not known")]
    Unknown(String),
    /// There are words before the measured line or after it that no known boot loader adds.
    #[error(
        "the kernel command line has {words:?} outside of kettle.begin and kettle.end: no known boot loader adds that"
    )]
    Outside { words: String },
    #[error("{name} on the kernel command line is not {expected}")]
    Value {
        name: &'static str,
        expected: &'static str,
    },
}

fn last_refusal(refusal: Option<&Refusal>) -> String {
    refusal.map_or_else(String::new, |refusal| format!(": {refusal}"))
}

/// Returns a function for `map_err`, which makes an error of the file at `path`.
pub(super) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> BootError {
    let path = path.into();
    move |source| BootError::File { path, source }
}
