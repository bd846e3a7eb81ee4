//! The attester. Comes in: the 64 bytes that a report is to carry. Goes out: evidence, the report of the secure processor
//! with the certificates that the host handed over. Never: evidence about other bytes, an unsigned report, or a byte of a
//! certificate table that was not inside the table.
//!
//! | part | file |
//! |---|---|
//! | the guest device: requests, retries, what an answer must be | `device` |
//! | the one call that needs `unsafe` | `ioctl` |
//! | the host's certificate table | `table` |
//! | `evidence.json` | `evidence` |
//!
//! The requests are our own and not the `sev` crate's: its reader of the table follows the host's offsets and lengths through
//! raw pointers without a bound, so that a host could have the guest's memory, keys included, published as a certificate.

mod device;
mod evidence;
mod ioctl;
mod table;

use std::io;

use crate::provenance::REPORT_DATA_BYTES;

pub use device::{GuestDevice, MAX_ATTEMPTS};
pub use evidence::{Envelope, Evidence};
pub use table::{
    Certificates, MAX_CERTIFICATE_BYTES, MAX_TABLE_BYTES, MAX_TABLE_ENTRIES, TableError,
};

/// What a report is to carry: made by `provenance::report_data` or `provenance::session_report_data`.
pub type ReportData = [u8; REPORT_DATA_BYTES];

/// Who makes evidence.
pub trait Attester: Send + Sync {
    /// Has a report made that carries `report_data`. May wait for minutes.
    ///
    /// # Errors
    /// There is no evidence.
    fn attest(&self, report_data: &ReportData) -> Result<Evidence, AttestError>;
}

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// The guest device could not be opened, or taken away from everybody else.
    #[error("the guest device cannot be had")]
    Device(#[source] io::Error),
    /// The kernel refused the request.
    #[error("the guest device refused the request")]
    Request(#[source] io::Error),
    /// The host or the secure processor was busy each time.
    #[error("the secure processor was busy {attempts} times")]
    Busy {
        /// How often it was asked.
        attempts: u32,
    },
    /// The host refused (GHCB specification, SNP guest request: the upper half of SW_EXITINFO2).
    #[error("the host refused the request with error {code:#x}")]
    Host {
        /// Its reason.
        code: u32,
    },
    /// The firmware refused (AMD 56860, status codes).
    #[error("the secure processor refused the request with error {code:#x}")]
    Firmware {
        /// Its reason.
        code: u32,
    },
    /// The answer holds something else than a report.
    #[error("a report has {expected} bytes, the secure processor sent {actual}")]
    ReportLength {
        /// Of every report.
        expected: usize,
        /// Of this one.
        actual: u32,
    },
    /// The report is about something else.
    #[error("the report is about {actual}, not about {expected}")]
    ReportData {
        /// Asked for; hex.
        expected: String,
        /// In the report; hex.
        actual: String,
    },
    /// The host told the firmware to sign nothing.
    #[error("the report is not signed: the host keeps the chip's key from guests")]
    NotSigned,
    /// The host has more certificates than the kernel hands on.
    #[error("the host has {size} bytes of certificates, a guest takes at most {limit}")]
    TableSize {
        /// Bytes that we take.
        limit: usize,
        /// Bytes that there are.
        size: u32,
    },
    /// The host's certificates cannot be read.
    #[error("the host's certificate table is broken")]
    Table(#[from] TableError),
}
