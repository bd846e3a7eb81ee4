//! Obtains evidence on a confidential machine of Azure, from the TPM that the paravisor provides.
//!
//! * In: the 64 bytes of report data.
//! * Out: a quote over all registers and over this data, with the registers, the report that names
//!   the TPM's key, and the chip's certificate where a service has it.
//! * Never: a quote about other bytes or other registers, an endless wait, more data than such a
//!   TPM takes, or a device that another process than PID 1 can open.
//!
//! | part | file |
//! |---|---|
//! | the attester | here |
//! | commands of a TPM | `command` |
//! | the certificate of the chip | `metadata` |
//!
//! Two of the TPM's objects are used. The paravisor keeps its HCL report, which contains the secure
//! processor's report, in an NV index, and the key that the report names at a fixed handle.
//! `verifier::azure` says how a verifier follows the chain.

mod command;
mod metadata;

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use command::Registers;
use command::{
    Channel, MAX_EXTRA_DATA_BYTES, Quote, extra_data, quote, read_index, read_registers,
};

use super::{AttestError, Attester, Evidence, ReportData};
use crate::provenance::SESSION_TAG;
use crate::snp::report::{REPORT_BYTES, Report};

/// The nodes of a TPM: itself, and through the kernel's resource manager.
const NODES: [&str; 2] = ["/dev/tpm0", "/dev/tpmrm0"];
/// The NV index with the HCL report.
const HCL_INDEX: u32 = 0x0140_0001;
/// The handle of the attestation key.
const ATTESTATION_KEY: u32 = 0x8100_0003;
/// Where the HCL report has the report of the secure processor.
const REPORT_AT: usize = 0x20;
/// The part of report data that a quote of a build is about: digest and nonce.
const QUOTED_BYTES: usize = 48;
/// How often a busy TPM is asked, and the pause before it is asked again.
const MAX_ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// Why a TPM has no evidence.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum TpmError {
    #[error("the TPM cannot be reached")]
    Io(#[source] io::Error),
    #[error("the TPM is busy")]
    Busy,
    /// Command codes and response codes are those of the TPM 2.0 Library, part 2, section 6.
    #[error("the TPM refused the command {command:#x} with {code:#x}")]
    Refused { command: u32, code: u32 },
    #[error("the TPM's response is malformed: {0}")]
    Malformed(&'static str),
    /// Something extended a register between two commands.
    #[error("the quote is over other registers than those that were read")]
    Registers,
    #[error("a quote takes at most {MAX_EXTRA_DATA_BYTES} bytes, not {size}")]
    ExtraData { size: usize },
    #[error("the HCL report has no report of a secure processor")]
    NoReport,
}

/// A paravisor's TPM.
pub struct ParavisorTpm {
    channel: Mutex<Box<dyn Channel>>,
    pause: Duration,
    /// Returns the chip's certificate.
    vcek: fn() -> Option<Vec<u8>>,
}

impl ParavisorTpm {
    /// Takes the TPM for this process alone: opens it with close-on-exec, and removes its nodes.
    /// Returns none if the machine has no TPM, or one in which no paravisor left a report.
    ///
    /// # Errors
    /// The TPM exists and cannot be opened or asked, or its nodes cannot be removed.
    pub fn take() -> Result<Option<Self>, AttestError> {
        let opened = File::options().read(true).write(true).open(NODES[0]);
        let device = match opened {
            Ok(device) => Some(device),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(AttestError::Device(error)),
        };
        for node in NODES {
            remove(Path::new(node)).map_err(AttestError::Device)?;
        }
        match device {
            None => Ok(None),
            Some(device) => Self::of(Box::new(device), PAUSE, metadata::vcek),
        }
    }

    fn of(
        channel: Box<dyn Channel>,
        pause: Duration,
        vcek: fn() -> Option<Vec<u8>>,
    ) -> Result<Option<Self>, AttestError> {
        let tpm = Self {
            channel: Mutex::new(channel),
            pause,
            vcek,
        };
        let report = tpm.patiently(|channel| read_index(channel, HCL_INDEX))?;
        Ok(report.map(|_| tpm))
    }

    /// Asks until the TPM is not busy, and not for ever.
    fn patiently<T>(
        &self,
        ask: impl Fn(&mut dyn Channel) -> Result<T, TpmError>,
    ) -> Result<T, AttestError> {
        // A panic in between leaves no half of a command behind.
        let mut channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        for attempt in 0..MAX_ATTEMPTS {
            if attempt > 0 {
                sleep(self.pause);
            }
            match ask(&mut **channel) {
                Err(TpmError::Busy) => {}
                found => return Ok(found?),
            }
        }
        Err(AttestError::Busy {
            attempts: MAX_ATTEMPTS,
        })
    }
}

impl Attester for ParavisorTpm {
    fn attest(&self, report_data: &ReportData) -> Result<Evidence, AttestError> {
        let data = quoted(report_data);
        let missing = || TpmError::NoReport;
        let hcl = self
            .patiently(|channel| read_index(channel, HCL_INDEX))?
            .ok_or_else(missing)?;
        let report = hcl.get(REPORT_AT..REPORT_AT + REPORT_BYTES);
        let report = report.and_then(|bytes| Report::try_from(bytes).ok());
        let report = report.ok_or_else(missing)?;
        let (quote, registers) = self.patiently(|channel| {
            let quote = quote(channel, ATTESTATION_KEY, &data)?;
            Ok((quote, read_registers(channel)?))
        })?;
        let actual = extra_data(&quote.message)?;
        if actual != data {
            return Err(AttestError::ReportData {
                expected: hex::encode(data),
                actual: hex::encode(actual),
            });
        }
        // The digest of the registers is the end of a quote.
        if !quote
            .message
            .ends_with(&Sha256::digest(registers.as_flattened()))
        {
            return Err(TpmError::Registers.into());
        }
        let Quote { message, signature } = quote;
        Ok(Evidence::quoted(
            report,
            QuotedEvidence {
                hcl,
                message,
                signature,
                registers,
                vcek: (self.vcek)(),
            },
        ))
    }
}

/// What evidence of such a machine consists of.
pub struct QuotedEvidence {
    /// The HCL report, as long as its NV index.
    pub hcl: Vec<u8>,
    /// The quote's signed bytes.
    pub message: Vec<u8>,
    /// The quote's signature.
    pub signature: Vec<u8>,
    /// The registers that the quote is over.
    pub registers: Registers,
    /// The chip's certificate in DER, which nobody has checked.
    pub vcek: Option<Vec<u8>>,
}

/// Returns what a quote is about: of a build's report data the part that is not zero, of a
/// session's its digest. Their lengths keep the two apart.
fn quoted(report_data: &ReportData) -> Vec<u8> {
    if report_data.ends_with(SESSION_TAG) {
        Sha256::digest(report_data).to_vec()
    } else {
        report_data[..QUOTED_BYTES].to_vec()
    }
}

fn remove(node: &Path) -> io::Result<()> {
    match fs::remove_file(node) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
