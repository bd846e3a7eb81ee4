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

use command::{
    Channel, MAX_EXTRA_DATA_BYTES, Quote, extra_data, index_size, quote, read_index, read_registers,
};

use super::evidence::QuotedEvidence;
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
        let size = tpm.patiently(|channel| index_size(channel, HCL_INDEX))?;
        Ok(size.map(|_| tpm))
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

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::VecDeque;

    /// The commands that [`Fake`] knows.
    const NV_READ: u32 = 0x14e;
    const QUOTE: u32 = 0x158;
    const NV_READ_PUBLIC: u32 = 0x169;
    const PCR_READ: u32 = 0x17e;
    /// A real HCL report (`tests/data/snp/README.md`).
    const HCL: &[u8] = include_bytes!("../../../tests/data/snp/azure/live-milan-v3/hcl_report.bin");

    /// A TPM that signs with 256 zeros. Faults change its responses.
    #[derive(Default)]
    struct Fake {
        /// Responses that it gives first, whatever is asked.
        first: VecDeque<Vec<u8>>,
        has_no_index: bool,
        /// Whether the quote is over other registers than those that can be read.
        has_moved: bool,
        /// Replaces the caller's data in a quote.
        extra_data: Option<Vec<u8>>,
        /// Bytes that follow each response.
        tail: Vec<u8>,
    }

    impl Channel for Fake {
        fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
            if let Some(response) = self.first.pop_front() {
                return Ok(response);
            }
            let number = |at: usize| u32::from_be_bytes(command[at..at + 4].try_into().unwrap());
            assert_eq!(number(2) as usize, command.len());
            Ok(match number(6) {
                NV_READ_PUBLIC if self.has_no_index => response(0x18b, 0x8001, &[]),
                NV_READ_PUBLIC => {
                    let size = (HCL.len() as u16).to_be_bytes();
                    let public = [&[0; 10][..], &[0, 0], &size].concat();
                    response(0, 0x8001, &self.with_tail(sized(&public)))
                }
                NV_READ => {
                    let part = &command[command.len() - 4..];
                    let length = usize::from(u16::from_be_bytes([part[0], part[1]]));
                    let offset = usize::from(u16::from_be_bytes([part[2], part[3]]));
                    let content = sized(&HCL[offset..offset + length]);
                    authorised(&self.with_tail(content))
                }
                PCR_READ => {
                    let selection = &command[10..20];
                    let mut body = [&[0; 4][..], selection, &[0, 0, 0, 8]].concat();
                    (0..8).for_each(|_| body.extend(sized(&[7; 32])));
                    response(0, 0x8001, &self.with_tail(body))
                }
                QUOTE => authorised(&self.with_tail(self.quote(command))),
                code => panic!("{code:#x}"),
            })
        }
    }

    impl Fake {
        fn quote(&self, command: &[u8]) -> Vec<u8> {
            let length = usize::from(u16::from_be_bytes([command[27], command[28]]));
            let data = self.extra_data.clone();
            let data = data.unwrap_or_else(|| command[29..29 + length].to_vec());
            let register = if self.has_moved { 8 } else { 7 };
            let digest = Sha256::digest([register; REGISTERS_BYTES]);
            let parts: [&[u8]; 7] = [
                &[0xff, 0x54, 0x43, 0x47, 0x80, 0x18],
                &sized(&[0; 34]),
                &sized(&data),
                &[0; 25],
                &[0, 0, 0, 1, 0, 11, 3, 0xff, 0xff, 0xff],
                &sized(&digest),
                &[],
            ];
            let signature = sized(&[0; 256]);
            let message = sized(&parts.concat());
            [&message[..], &[0, 0x14, 0, 0x0b], &signature].concat()
        }

        fn with_tail(&self, mut body: Vec<u8>) -> Vec<u8> {
            body.extend_from_slice(&self.tail);
            body
        }
    }

    const REGISTERS_BYTES: usize = 24 * 32;

    fn sized(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
    }

    fn response(code: u32, tag: u16, body: &[u8]) -> Vec<u8> {
        let size = 10 + body.len() as u32;
        [
            &tag.to_be_bytes()[..],
            &size.to_be_bytes(),
            &code.to_be_bytes(),
            body,
        ]
        .concat()
    }

    /// A response to an authorised command: the size of its parameters, these, an authorisation.
    fn authorised(parameters: &[u8]) -> Vec<u8> {
        let size = (parameters.len() as u32).to_be_bytes();
        response(0, 0x8002, &[&size[..], parameters, &[0; 5]].concat())
    }

    fn tpm(fake: Fake) -> Result<Option<ParavisorTpm>, AttestError> {
        ParavisorTpm::of(Box::new(fake), Duration::ZERO, || Some(vec![0x30]))
    }

    fn build_data() -> ReportData {
        let mut data = [9; 64];
        data[QUOTED_BYTES..].fill(0);
        data
    }

    fn attest(fake: Fake, data: &ReportData) -> Result<String, AttestError> {
        let evidence = tpm(Fake::default())?.unwrap();
        *evidence.channel.lock().unwrap() = Box::new(fake);
        let json = evidence.attest(data)?.to_json().unwrap();
        Ok(String::from_utf8(json).unwrap())
    }

    #[test]
    fn evidence_has_the_contracts_shape() {
        let json = attest(Fake::default(), &build_data()).unwrap();
        let document: serde_json::Value = serde_json::from_str(&json).unwrap();
        let evidence = &document["evidence"];
        assert_eq!(document["platform"], "az-snp");
        assert_eq!(evidence["version"], 1);
        assert_eq!(evidence["tpm_quote"]["pcrs"].as_array().unwrap().len(), 24);
        assert_eq!(evidence["tpm_quote"]["signature"], "00".repeat(256));
        assert_eq!(evidence["vcek"], "MA");
        let start = r#"{"platform":"az-snp","evidence":{"version":1,"tpm_quote":{"signature":"#;
        assert!(json.starts_with(start) && json.ends_with("}}\n"), "{json}");
    }

    /// The verifier's own reader takes it.
    #[cfg(feature = "verifier")]
    #[test]
    fn the_verifier_reads_the_evidence() {
        let json = attest(Fake::default(), &build_data()).unwrap();
        let evidence = crate::verifier::Evidence::read(json.as_bytes()).unwrap();
        assert_eq!(
            evidence.report.as_bytes()[..],
            HCL[0x20..0x20 + REPORT_BYTES]
        );
    }

    #[test]
    fn a_build_and_a_session_are_quoted_apart() {
        assert_eq!(quoted(&build_data()), [9; QUOTED_BYTES]);
        let mut session = build_data();
        session[QUOTED_BYTES..].copy_from_slice(SESSION_TAG);
        assert_eq!(quoted(&session), Sha256::digest(session).to_vec());
        assert!(attest(Fake::default(), &session).is_ok());
    }

    #[test]
    fn more_data_than_such_a_tpm_takes_is_not_sent() {
        let mut fake = Fake::default();
        assert!(quote(&mut fake, ATTESTATION_KEY, &[0; MAX_EXTRA_DATA_BYTES]).is_ok());
        let refused = quote(&mut fake, ATTESTATION_KEY, &[0; MAX_EXTRA_DATA_BYTES + 1]);
        assert!(matches!(refused, Err(TpmError::ExtraData { size: 51 })));
    }

    #[test]
    fn a_tpm_without_a_report_is_none() {
        let fake = Fake {
            has_no_index: true,
            ..Fake::default()
        };
        assert!(tpm(fake).unwrap().is_none());
    }

    #[test]
    fn a_busy_tpm_is_asked_again_and_not_for_ever() {
        let busy = |times| Fake {
            first: vec![response(0x922, 0x8001, &[]); times].into(),
            ..Fake::default()
        };
        assert!(attest(busy(4), &build_data()).is_ok());
        let refused = attest(busy(5), &build_data());
        assert!(matches!(refused, Err(AttestError::Busy { attempts: 5 })));
    }

    #[test]
    fn evidence_about_anything_else_is_an_error() {
        let cases: [(Fake, &str); 5] = [
            (
                Fake {
                    extra_data: Some(vec![8; QUOTED_BYTES]),
                    ..Fake::default()
                },
                "ReportData",
            ),
            (
                Fake {
                    has_moved: true,
                    ..Fake::default()
                },
                "Tpm(Registers)",
            ),
            (
                Fake {
                    tail: vec![0],
                    ..Fake::default()
                },
                "Tpm(Malformed",
            ),
            (
                Fake {
                    has_no_index: true,
                    ..Fake::default()
                },
                "Tpm(NoReport)",
            ),
            (
                Fake {
                    first: vec![response(0x101, 0x8001, &[])].into(),
                    ..Fake::default()
                },
                "Tpm(Refused { command: 361, code: 257 })",
            ),
        ];
        for (fake, expected) in cases {
            let error = format!("{:?}", attest(fake, &build_data()).unwrap_err());
            assert!(error.starts_with(expected), "{error}, not {expected}");
        }
    }

    #[test]
    fn every_cut_of_a_response_is_an_error() {
        for length in 0..10 {
            let fake = Fake {
                first: vec![response(0, 0x8001, &[])[..length].to_vec()].into(),
                ..Fake::default()
            };
            let error = attest(fake, &build_data()).unwrap_err();
            assert!(matches!(error, AttestError::Tpm(TpmError::Malformed(_))));
        }
    }
}
