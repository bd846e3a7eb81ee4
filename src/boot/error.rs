//! Names the reasons for which a machine does not boot.
//!
//! * In: the failures of the phases.
//! * Out: one enum.
//! * Never: a failure that a caller could take for a success.

use std::io;
use std::path::PathBuf;

use super::dhcp::Refusal;

/// Why the machine did not come up.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A phase failed.
    #[error("{name}")]
    Phase {
        /// Its name in the table.
        name: &'static str,
        /// Why.
        source: Box<BootError>,
    },
    /// The thread of the network phase ended without a result.
    #[error("the thread of the network phase panicked")]
    NetworkThread,
    /// The command line is not ours.
    #[error(transparent)]
    CommandLine(#[from] CommandLineError),
    /// A file or folder could not be made, read or written.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something could not be mounted.
    #[error("mounting {path}")]
    Mount {
        /// Where.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file of the module folder has a name without a place in the order.
    #[cfg(feature = "modules")]
    #[error("module {name:?} has no number")]
    ModuleName {
        /// Its name.
        name: String,
    },
    /// The kernel refused a module.
    #[cfg(feature = "modules")]
    #[error("module {name}")]
    Module {
        /// Its file's name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// No disk has the root hash.
    #[error("none of the {looked_at} block devices carries the root hash {expected}")]
    NoRootDisk {
        /// How many there are.
        looked_at: usize,
        /// The root hash of the command line.
        expected: String,
    },
    /// The device mapper refused.
    #[error("device mapper: {step}")]
    DeviceMapper {
        /// What it was asked for.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A system call failed that should not.
    #[error("{what}")]
    Kernel {
        /// What was asked for.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The random number generator is not ready.
    #[error("the kernel has no entropy after {seconds} s")]
    NoEntropy {
        /// How long we waited.
        seconds: u64,
    },
    /// The host's clock is out of the range that a build can happen in.
    #[error("the clock says {now} s after 1970, not between {earliest} and {latest}")]
    Clock {
        /// What it says.
        now: u64,
        /// Before this, the image did not exist.
        earliest: u64,
        /// After this, nobody uses it.
        latest: u64,
    },
    /// There is no network interface.
    #[error("there is no network interface")]
    NoInterface,
    /// Nobody offered an address.
    #[error("no usable DHCP lease after {attempts} attempts{}", last_refusal(.refusal.as_ref()))]
    NoLease {
        /// How often we asked.
        attempts: usize,
        /// Why the last answer was not used, if there was one.
        refusal: Option<Refusal>,
    },
}

/// What is wrong with the command line.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CommandLineError {
    /// It lacks a parameter.
    #[error("{0} is missing on the kernel command line")]
    Missing(&'static str),
    /// It has one twice.
    #[error("{0} is given twice on the kernel command line")]
    Repeated(String),
    /// It has one that we do not know.
    #[error("{0} on the kernel command line is not known")]
    Unknown(String),
    /// There are words in front of the measured line or after it that no known loader adds.
    #[error(
        "the kernel command line has {words:?} outside of kettle.begin and kettle.end: no known boot loader adds that"
    )]
    Outside {
        /// What stands there.
        words: String,
    },
    /// A value is malformed.
    #[error("{name} on the kernel command line is not {expected}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What it should be.
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
