//! Obtains evidence from the secure processor.
//!
//! * In: the 64 bytes of report data.
//! * Out: evidence, which is the report of the secure processor with the certificates that the host
//!   passed, or a TPM's quote with such a report.
//! * Never: evidence about other bytes, an unsigned report, or a byte of a certificate table that
//!   was not inside the table.
//!
//! | part | file |
//! |---|---|
//! | the guest device: requests, retries, checks of the response | `device` |
//! | the one call that needs `unsafe` | `ioctl` |
//! | the host's certificate table | `table` |
//! | a machine whose secure processor a paravisor asks: its TPM | `tpm` |
//! | `evidence.json` | `evidence` |
//!
//! The requests do not use the `sev` crate: its reader of the table follows the host's offsets and
//! lengths through raw pointers without a bound, so that a host could have the guest's memory, keys
//! included, published as a certificate.

mod device;
mod evidence;
mod ioctl;
mod table;
mod tpm;

use std::io;

use crate::provenance::REPORT_DATA_BYTES;

pub use device::{GuestDevice, MAX_ATTEMPTS};
pub use evidence::{Envelope, Evidence};
pub use table::{
    Certificates, MAX_CERTIFICATE_BYTES, MAX_TABLE_BYTES, MAX_TABLE_ENTRIES, TableError,
};
pub use tpm::{ParavisorTpm, TpmError};

/// The bytes that the guest chooses for a report, from `provenance::report_data` or
/// `provenance::session_report_data`.
pub type ReportData = [u8; REPORT_DATA_BYTES];

/// A source of evidence.
pub trait Attester: Send + Sync {
    /// Obtains evidence whose report has `report_data`. May wait for minutes.
    ///
    /// # Errors
    /// There is no evidence, for the reason that the error names.
    fn attest(&self, report_data: &ReportData) -> Result<Evidence, AttestError>;
}

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum AttestError {
    /// The device cannot be opened, or its node cannot be removed.
    #[error("the guest device cannot be opened for this process alone")]
    Device(#[source] io::Error),
    #[error("the guest device refused the request")]
    Request(#[source] io::Error),
    /// The host or the secure processor was busy each time.
    #[error("the secure processor was busy {attempts} times")]
    Busy { attempts: u32 },
    /// The code is the upper half of SW_EXITINFO2 (GHCB specification, SNP guest request).
    #[error("the host refused the request with error {code:#x}")]
    Host { code: u32 },
    /// The code is a status code of AMD 56860.
    #[error("the secure processor refused the request with error {code:#x}")]
    Firmware { code: u32 },
    #[error("a report has {expected} bytes, the secure processor sent {actual}")]
    ReportLength { expected: usize, actual: u32 },
    /// Both values are in hex.
    #[error("the report is about {actual}, not about {expected}")]
    ReportData { expected: String, actual: String },
    #[error("the report is not signed: the host keeps the chip's key from guests")]
    NotSigned,
    /// The limit is that of the guest's kernel.
    #[error("the host has {size} bytes of certificates, a guest takes at most {limit}")]
    TableSize { limit: usize, size: u32 },
    #[error("the TPM has no evidence")]
    Tpm(#[from] TpmError),
    #[error("the host's certificate table is broken")]
    Table(#[from] TableError),
}
