//! Requests evidence through the guest device.
//!
//! * In: report data.
//! * Out: evidence from the secure processor, at privilege level 0.
//! * Never: an endless wait, a report that is about other bytes or is not signed, or a device that
//!   another process than PID 1 can open.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::io::Errno;

use super::ioctl::{Reply, extended_report};
use super::table::{Certificates, MAX_TABLE_BYTES};
use super::{AttestError, Attester, Evidence, ReportData};
use crate::snp::report::{REPORT_BYTES, Report};

/// The path of the device node of the kernel's driver.
const PATH: &str = "/dev/sev-guest";
/// How often a request to a busy secure processor is tried. The driver itself repeats a request for
/// up to a minute before it reports that.
pub const MAX_ATTEMPTS: u32 = 5;
/// The pause between two attempts: as long as the driver waits between two of its own.
const PAUSE: Duration = Duration::from_secs(2);
/// The host's error "not enough room for the certificates" (GHCB specification, SNP extended guest
/// request).
const HOST_INVALID_LENGTH: u32 = 1;
/// The host's error "busy, ask again" (GHCB specification, SNP guest request).
const HOST_BUSY: u32 = 2;
/// The size of the header before the report in MSG_REPORT_RSP (AMD 56860): status, size of the
/// report, 24 reserved bytes.
const RESPONSE_HEADER_BYTES: usize = 32;

/// Sends one request to the driver. Tests replace it.
trait Driver: Send + Sync {
    fn ask(&self, report_data: &ReportData, certificates: &mut [u8]) -> Reply;
}

impl Driver for File {
    fn ask(&self, report_data: &ReportData, certificates: &mut [u8]) -> Reply {
        extended_report(self, report_data, certificates)
    }
}

/// The secure processor, through the guest device.
pub struct GuestDevice {
    driver: Box<dyn Driver>,
    pause: Duration,
}

impl GuestDevice {
    /// Takes the device for this process alone: opens it with close-on-exec, and removes its node.
    /// Returns none if the machine has no secure processor for guests.
    ///
    /// # Errors
    /// The device exists and cannot be opened, or its node cannot be removed.
    pub fn take() -> Result<Option<Self>, AttestError> {
        Self::take_at(Path::new(PATH))
    }

    fn take_at(path: &Path) -> Result<Option<Self>, AttestError> {
        // The standard library opens with O_CLOEXEC.
        match File::options().read(true).write(true).open(path) {
            Ok(device) => {
                fs::remove_file(path).map_err(AttestError::Device)?;
                Ok(Some(Self {
                    driver: Box::new(device),
                    pause: PAUSE,
                }))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(AttestError::Device(error)),
        }
    }

    /// Makes one request. Returns none if the secure processor or the host is busy.
    fn ask(&self, report_data: &ReportData) -> Result<Option<Evidence>, AttestError> {
        let mut table = vec![0; MAX_TABLE_BYTES];
        let reply = self.driver.ask(report_data, &mut table);
        match reply {
            Reply {
                host_error: HOST_INVALID_LENGTH,
                certificates_length: size,
                ..
            } => Err(AttestError::TableSize {
                limit: MAX_TABLE_BYTES,
                size,
            }),
            Reply {
                host_error: HOST_BUSY,
                ..
            } => Ok(None),
            Reply {
                result: Err(error), ..
            } if is_busy(&error) => Ok(None),
            Reply {
                host_error: code @ 1..,
                ..
            } => Err(AttestError::Host { code }),
            Reply {
                firmware_error: code @ 1..,
                ..
            } => Err(AttestError::Firmware { code }),
            Reply {
                result: Err(error), ..
            } => Err(AttestError::Request(error)),
            Reply {
                result: Ok(()),
                response,
                ..
            } => {
                let report = report(&response[..])?;
                let certificates = Certificates::read(&table)?;
                Evidence::about(report_data, report, certificates).map(Some)
            }
        }
    }
}

impl Attester for GuestDevice {
    fn attest(&self, report_data: &ReportData) -> Result<Evidence, AttestError> {
        for attempt in 0..MAX_ATTEMPTS {
            if attempt > 0 {
                sleep(self.pause);
            }
            if let Some(evidence) = self.ask(report_data)? {
                return Ok(evidence);
            }
        }
        Err(AttestError::Busy {
            attempts: MAX_ATTEMPTS,
        })
    }
}

/// Returns whether an error of the driver means that the request can be tried again.
fn is_busy(error: &io::Error) -> bool {
    let busy = [Errno::AGAIN, Errno::BUSY, Errno::INTR, Errno::TIMEDOUT];
    Errno::from_io_error(error).is_some_and(|error| busy.contains(&error))
}

/// Returns the report in MSG_REPORT_RSP.
fn report(response: &[u8]) -> Result<Report, AttestError> {
    let number = |at: usize| {
        let bytes = response.get(at..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    };
    let (status, length) = (number(0), number(4));
    if status != 0 {
        return Err(AttestError::Firmware { code: status });
    }
    let wrong_length = AttestError::ReportLength {
        expected: REPORT_BYTES,
        actual: length,
    };
    let bytes = response.get(RESPONSE_HEADER_BYTES..RESPONSE_HEADER_BYTES + REPORT_BYTES);
    let report = bytes
        .filter(|_| length as usize == REPORT_BYTES)
        .and_then(|bytes| Report::try_from(bytes).ok());
    report.ok_or(wrong_length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attester::ioctl::RESPONSE_BYTES;
    use std::sync::Mutex;

    const DATA: ReportData = [7; 64];

    fn reply(result: Result<(), i32>, host_error: u32) -> Reply {
        let mut response = Box::new([0; RESPONSE_BYTES]);
        response[4..8].copy_from_slice(&(REPORT_BYTES as u32).to_le_bytes());
        response[RESPONSE_HEADER_BYTES + 0x50..][..64].copy_from_slice(&DATA);
        let result = result.map_err(io::Error::from_raw_os_error);
        Reply {
            result,
            firmware_error: 0,
            host_error,
            response,
            certificates_length: 0,
        }
    }

    fn edited(edit: impl FnOnce(&mut Reply)) -> Reply {
        let mut reply = reply(Ok(()), 0);
        edit(&mut reply);
        reply
    }

    /// Returns these replies, then only busy ones.
    struct Script(Mutex<Vec<Reply>>);

    impl Driver for Script {
        fn ask(&self, report_data: &ReportData, certificates: &mut [u8]) -> Reply {
            assert_eq!((*report_data, certificates.len()), (DATA, MAX_TABLE_BYTES));
            let mut left = self.0.lock().unwrap();
            if left.is_empty() {
                reply(Err(libc::EAGAIN), HOST_BUSY)
            } else {
                left.remove(0)
            }
        }
    }

    fn attest(replies: Vec<Reply>) -> Result<Evidence, AttestError> {
        GuestDevice {
            driver: Box::new(Script(Mutex::new(replies))),
            pause: Duration::ZERO,
        }
        .attest(&DATA)
    }

    #[test]
    fn a_good_answer_is_evidence() {
        let evidence = attest(vec![reply(Ok(()), 0)]).unwrap();
        assert_eq!(evidence.report().report_data(), DATA);
        let json = String::from_utf8(evidence.to_json().unwrap()).unwrap();
        assert!(json.contains("\"cert_chain\":null"), "{json}");
    }

    #[test]
    fn a_busy_processor_is_asked_again_and_not_for_ever() {
        let busy = || {
            vec![
                reply(Err(libc::ETIMEDOUT), 0),
                reply(Err(libc::EINTR), 0),
                reply(Err(libc::EIO), HOST_BUSY),
            ]
        };
        let mut replies = busy();
        replies.push(reply(Ok(()), 0));
        assert!(attest(replies).is_ok());
        assert!(matches!(
            attest(busy()),
            Err(AttestError::Busy {
                attempts: MAX_ATTEMPTS
            })
        ));
    }

    #[test]
    fn every_other_answer_is_an_error_at_once() {
        type Edit = fn(&mut Reply);
        let cases: [(Edit, &str); 9] = [
            (
                |reply| reply.result = Err(io::Error::from_raw_os_error(libc::ENOTTY)),
                "Request",
            ),
            (|reply| reply.host_error = 7, "Host { code: 7 }"),
            (|reply| reply.firmware_error = 0x16, "Firmware { code: 22 }"),
            (|reply| reply.response[0] = 0x16, "Firmware { code: 22 }"),
            (
                |reply| reply.response[4] = 0,
                "ReportLength { expected: 1184, actual: 1024 }",
            ),
            (
                |reply| reply.response[RESPONSE_HEADER_BYTES + 0x50] = 0,
                "ReportData",
            ),
            (
                |reply| reply.response[RESPONSE_HEADER_BYTES + 0x48] = 7 << 2,
                "NotSigned",
            ),
            (
                |reply| reply.response[RESPONSE_HEADER_BYTES + 0x48] = 2,
                "NotSigned",
            ),
            (
                |reply| {
                    reply.result = Err(io::Error::from_raw_os_error(libc::EIO));
                    reply.host_error = HOST_INVALID_LENGTH;
                    reply.certificates_length = 20480;
                },
                "TableSize { limit: 16384, size: 20480 }",
            ),
        ];
        for (edit, expected) in cases {
            let error = format!("{:?}", attest(vec![edited(edit)]).unwrap_err());
            assert!(error.starts_with(expected), "{error}, not {expected}");
        }
    }

    #[test]
    fn a_broken_table_is_an_error() {
        struct Broken;
        impl Driver for Broken {
            fn ask(&self, _: &ReportData, certificates: &mut [u8]) -> Reply {
                certificates.fill(0xff);
                reply(Ok(()), 0)
            }
        }
        let device = GuestDevice {
            driver: Box::new(Broken),
            pause: Duration::ZERO,
        };
        assert!(matches!(device.attest(&DATA), Err(AttestError::Table(_))));
    }

    #[test]
    fn a_taken_device_has_no_node_any_more() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sev-guest");
        assert!(GuestDevice::take_at(&path).unwrap().is_none());
        fs::write(&path, "").unwrap();
        assert!(GuestDevice::take_at(&path).unwrap().is_some());
        assert!(!path.exists());
        fs::create_dir(&path).unwrap();
        assert!(matches!(
            GuestDevice::take_at(&path),
            Err(AttestError::Device(_))
        ));
    }
}
