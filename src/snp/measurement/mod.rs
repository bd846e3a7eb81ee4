//! The launch measurement, as a report has it.
//!
//! * In: 48 bytes.
//! * Out: a value that prints as hex.
//! * Never: a verdict.
//!
//! | part of the calculation | file |
//! |---|---|
//! | all of it, in the order of a launch | `launch` |
//! | the digest to which pages are added | `digest`, `page` |
//! | the sections of a firmware image | `firmware` |
//! | the page with the hashes of kernel, initrd and command line | `boot` |
//! | the page with a vCPU's first registers, which depends on hypervisor and vCPU type | `vmsa`, `vmm`, `cpu` |
//! | the measurements for every number of vCPUs | `chain` |

#[cfg(feature = "appraisal")]
mod boot;
#[cfg(feature = "appraisal")]
mod chain;
#[cfg(feature = "appraisal")]
mod cpu;
#[cfg(feature = "appraisal")]
mod digest;
#[cfg(feature = "appraisal")]
mod firmware;
#[cfg(feature = "appraisal")]
mod launch;
#[cfg(feature = "appraisal")]
mod page;
#[cfg(feature = "appraisal")]
mod vmm;
#[cfg(feature = "appraisal")]
mod vmsa;

use std::fmt;

#[cfg(feature = "appraisal")]
pub use boot::{BootError, BootHashes};
#[cfg(feature = "appraisal")]
pub use chain::{Chain, PageDigest};
#[cfg(feature = "appraisal")]
pub use cpu::{CpuSignature, UnknownCpu};
#[cfg(feature = "appraisal")]
pub use firmware::{Firmware, FirmwareError, MAX_FIRMWARE_BYTES, MAX_MEASURED_PAGES, MAX_SECTIONS};
#[cfg(feature = "appraisal")]
pub use launch::{KernelHashesPage, Launch, LaunchError, ParseMeasurementError};
#[cfg(feature = "appraisal")]
pub use vmm::Vmm;

#[cfg(feature = "cli")]
pub(super) use digest::RunningDigest;
#[cfg(feature = "cli")]
pub(super) use launch::{VMSA_ADDRESS, added_pages};
#[cfg(feature = "cli")]
pub(super) use page::{AddedPage, PAGE_BYTES, PageType};

/// A launch measurement: 48 bytes, printed as lower-case hex (AMD 56860, ATTESTATION_REPORT,
/// MEASUREMENT).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaunchMeasurement([u8; Self::BYTES]);

impl LaunchMeasurement {
    /// The length of a measurement, in bytes.
    pub const BYTES: usize = 48;

    /// Wraps bytes that already are a launch measurement.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for LaunchMeasurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for LaunchMeasurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
