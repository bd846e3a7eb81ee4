//! The guest device's requests, as a program outside the kernel has to serve them.
//!
//! * In: a command, an address, and the parts of the caller's memory that the last round named.
//! * Out: the parts that the next round needs, or the result.
//! * Never: a result that the driver of Linux 6.12 would not return.
//!
//! The kernel copies only the parts that it is told to, so one request takes up to four rounds:
//! only an address; the request structure; the structure that it points to; for certificates, also
//! the room for them. The structures are those of `attester::ioctl`, which is not used here, so
//! that each shows the other's mistakes.

use super::processor::{Processor, Turn};
use crate::attester::ReportData;

/// `SNP_GET_REPORT`, _IOWR('S', 0, 32 bytes).
const GET_REPORT: u32 = 0xc020_5300;
/// `SNP_GET_EXT_REPORT`, _IOWR('S', 2, 32 bytes).
const GET_EXTENDED_REPORT: u32 = 0xc020_5302;

const REQUEST_BYTES: u64 = 32;
const REPORT_REQUEST_BYTES: u64 = 96;
const EXTENDED_REQUEST_BYTES: u64 = 112;
const RESPONSE_BYTES: u64 = 4000;
const PAGE_BYTES: u64 = 4096;
/// The driver's limit for certificates, in bytes (`SEV_FW_BLOB_MAX_SIZE`).
const MAX_CERTIFICATE_BYTES: u64 = 0x4000;
/// The number of the lowest privilege level.
const MAX_VMPL: u32 = 3;
/// The firmware's status INVALID_PARAM (AMD 56860, status codes).
const INVALID_PARAMETER: u32 = 0x16;
/// The host's error for too little room (GHCB specification).
const HOST_INVALID_LENGTH: u32 = 1;
/// The host's error for a busy processor (GHCB specification).
const HOST_BUSY: u32 = 2;

/// A part of the caller's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The address of its first byte.
    pub address: u64,
    /// The length in bytes.
    pub length: u64,
}

/// The reply to one round of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The kernel shall send the request again, with these parts of memory.
    Again {
        /// The parts to be copied in.
        read: Vec<Window>,
        /// The parts that can be written to.
        write: Vec<Window>,
    },
    /// The request is finished.
    Done {
        /// Zero, or an error number, negative.
        result: i32,
        /// The bytes that are copied to the parts, one after the other.
        written: Vec<u8>,
    },
}

impl Window {
    /// Returns whether the driver takes a window of this length for certificates.
    fn fits_certificates(&self) -> bool {
        self.length <= MAX_CERTIFICATE_BYTES && self.length.is_multiple_of(PAGE_BYTES)
    }
}

/// The guest device over a simulated secure processor.
pub struct GuestDevice(Processor);

impl GuestDevice {
    /// Returns the device of `processor`'s guest.
    pub fn new(processor: Processor) -> Self {
        Self(processor)
    }

    /// Serves one round. `read` is the memory that the last round named to be copied in, `room` the
    /// number of bytes that can be copied out.
    pub fn request(&self, command: u32, address: u64, read: &[u8], room: u64) -> Reply {
        let length = match command {
            GET_REPORT => REPORT_REQUEST_BYTES,
            GET_EXTENDED_REPORT => EXTENDED_REQUEST_BYTES,
            _ => return refused(libc::ENOTTY),
        };
        let window = |address, length| Window { address, length };
        let request = window(address, REQUEST_BYTES);
        let Some((first, rest)) = read.split_at_checked(REQUEST_BYTES as usize) else {
            return Reply::Again {
                read: vec![request],
                write: vec![],
            };
        };
        if first[0] == 0 {
            return refused(libc::EINVAL);
        }
        let inner = window(number(first, 8), length);
        let mut write = vec![request, inner, window(number(first, 16), RESPONSE_BYTES)];
        if rest.len() as u64 == length {
            let certificates = certificates(rest).unwrap_or(window(0, 0));
            if !certificates.fits_certificates() {
                return refused(libc::EINVAL);
            }
            write.push(certificates);
            if room == write.iter().map(|window| window.length).sum::<u64>() {
                let table = self.table(command);
                return self.attest(first, rest, certificates.length, &table);
            }
        }
        write.retain(|window| window.length > 0);
        Reply::Again {
            read: vec![request, inner],
            write,
        }
    }

    /// Returns the certificate table that belongs to a command; empty for one without certificates.
    fn table(&self, command: u32) -> Vec<u8> {
        if command == GET_EXTENDED_REPORT {
            self.0.table()
        } else {
            vec![]
        }
    }

    /// Requests a report from the processor, once all parts of the memory are known.
    fn attest(&self, request: &[u8], inner: &[u8], room: u64, table: &[u8]) -> Reply {
        let turn = self.0.turn();
        let failed = |errno: i32, firmware, host, inner: &[u8]| Reply::Done {
            result: -errno,
            written: [&with_errors(request, firmware, host), inner].concat(),
        };
        match turn {
            Turn::Busy => failed(libc::EAGAIN, 0, HOST_BUSY, inner),
            Turn::Refused(code) => failed(libc::EIO, code, 0, inner),
            Turn::Report if table.len() as u64 > room => {
                let mut inner = inner.to_vec();
                inner[104..108].copy_from_slice(&(table.len() as u32).to_le_bytes());
                failed(libc::EIO, 0, HOST_INVALID_LENGTH, &inner)
            }
            Turn::Report => {
                let errors = with_errors(request, 0, 0);
                let written = [&errors, inner, &self.response(inner), table].concat();
                Reply::Done { result: 0, written }
            }
        }
    }

    /// Returns the response structure, MSG_REPORT_RSP.
    fn response(&self, inner: &[u8]) -> Vec<u8> {
        let mut response = vec![0; RESPONSE_BYTES as usize];
        let report_data: ReportData = std::array::from_fn(|at| inner[at]);
        let vmpl = number(inner, 64) as u32;
        if vmpl > MAX_VMPL {
            response[..4].copy_from_slice(&INVALID_PARAMETER.to_le_bytes());
            return response;
        }
        let report = self.0.report(&report_data, vmpl);
        let bytes = report.as_bytes();
        response[4..8].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        response[32..32 + bytes.len()].copy_from_slice(bytes);
        response
    }
}

fn refused(errno: i32) -> Reply {
    Reply::Done {
        result: -errno,
        written: vec![],
    }
}

/// Returns the room for certificates that an extended request names.
fn certificates(inner: &[u8]) -> Option<Window> {
    let is_extended = inner.len() as u64 == EXTENDED_REQUEST_BYTES;
    let length = u64::from(number(inner.get(100..)?, 4) as u32);
    is_extended.then(|| Window {
        address: number(inner, 96),
        length,
    })
}

/// Returns the request structure with the two errors filled in.
fn with_errors(request: &[u8], firmware: u32, host: u32) -> Vec<u8> {
    [&request[..24], &firmware.to_le_bytes(), &host.to_le_bytes()].concat()
}

/// Reads eight bytes as a little-endian number; missing ones count as zero.
fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|index| {
        bytes.get(at + index).copied().unwrap_or(0)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attester::Certificates;
    use crate::simulator::{Faults, HandedOver, Identity, Key};
    use crate::snp::report::Report;
    use crate::snp::tcb::Product;

    const REQUEST: u64 = 0x1000;
    const INNER: u64 = 0x2000;
    const RESPONSE: u64 = 0x3000;
    const CERTIFICATES: u64 = 0x5000;

    /// A caller's memory.
    struct Memory(Vec<u8>);

    impl Memory {
        fn new(certificates_length: u32) -> Self {
            let mut memory = Self(vec![0; 0x10000]);
            memory.put(REQUEST, &[1]);
            memory.put(REQUEST + 8, &INNER.to_le_bytes());
            memory.put(REQUEST + 16, &RESPONSE.to_le_bytes());
            memory.put(INNER, &[7; 64]);
            memory.put(INNER + 96, &CERTIFICATES.to_le_bytes());
            memory.put(INNER + 104, &certificates_length.to_le_bytes());
            memory
        }

        fn put(&mut self, address: u64, bytes: &[u8]) {
            self.0[address as usize..][..bytes.len()].copy_from_slice(bytes);
        }

        fn at(&self, address: u64, length: usize) -> &[u8] {
            &self.0[address as usize..][..length]
        }

        /// What the kernel does: the number of rounds, and the result.
        fn ioctl(&mut self, device: &GuestDevice, command: u32) -> (usize, i32) {
            let (mut read, mut write) = (vec![], vec![]);
            for round in 1.. {
                let copied: Vec<u8> = read
                    .iter()
                    .flat_map(|window: &Window| self.at(window.address, window.length as usize))
                    .copied()
                    .collect();
                let room = write.iter().map(|window: &Window| window.length).sum();
                match device.request(command, REQUEST, &copied, room) {
                    Reply::Again { read: r, write: w } => (read, write) = (r, w),
                    Reply::Done {
                        result,
                        mut written,
                    } => {
                        for window in &write {
                            let length = written.len().min(window.length as usize);
                            let part: Vec<u8> = written.drain(..length).collect();
                            self.put(window.address, &part);
                        }
                        assert!(written.is_empty(), "more than the room");
                        return (round, result);
                    }
                }
            }
            unreachable!()
        }
    }

    fn device(faults: Faults) -> GuestDevice {
        let identity = Identity::draw(Product::Milan, Key::Vcek).unwrap();
        // Small, because nobody verifies anything here.
        GuestDevice::new(
            Processor::generate(identity, 1024)
                .unwrap()
                .with_faults(faults),
        )
    }

    fn report(memory: &Memory) -> Report {
        assert_eq!(memory.at(RESPONSE, 8), [0, 0, 0, 0, 0xa0, 4, 0, 0]);
        Report::try_from(memory.at(RESPONSE + 32, 1184)).unwrap()
    }

    #[test]
    fn a_report_takes_three_rounds_and_one_with_certificates_too() {
        let device = device(Faults::default());
        let mut memory = Memory::new(0);
        assert_eq!(memory.ioctl(&device, GET_REPORT), (3, 0));
        assert_eq!(
            (report(&memory).report_data(), report(&memory).vmpl()),
            ([7; 64], 0)
        );
        let mut memory = Memory::new(0x4000);
        assert_eq!(memory.ioctl(&device, GET_EXTENDED_REPORT), (4, 0));
        assert_eq!(report(&memory).report_data(), [7; 64]);
        let certificates = Certificates::read(memory.at(CERTIFICATES, 0x4000)).unwrap();
        assert_eq!(
            certificates.vcek.as_deref(),
            Some(&device.0.hierarchy().vek[..])
        );
        assert_eq!(
            certificates.ark.as_deref(),
            Some(&device.0.hierarchy().ark[..])
        );
    }

    #[test]
    fn too_little_room_is_told_with_the_length_that_is_needed() {
        let device = device(Faults::default());
        for room in [0, 0x1000_u32] {
            let mut memory = Memory::new(room);
            let needed = device.0.table().len() as u32;
            if needed <= room {
                continue;
            }
            let (_, result) = memory.ioctl(&device, GET_EXTENDED_REPORT);
            assert_eq!(result, -libc::EIO);
            assert_eq!(memory.at(REQUEST + 24, 8), [0, 0, 0, 0, 1, 0, 0, 0]);
            assert_eq!(memory.at(INNER + 104, 4), needed.to_le_bytes());
        }
        let mut memory = Memory::new(0x5000);
        assert_eq!(memory.ioctl(&device, GET_EXTENDED_REPORT).1, -libc::EINVAL);
    }

    #[test]
    fn faults_come_as_they_are_described() {
        let device = device(Faults {
            busy: 1,
            reports: Some(1),
            handed_over: HandedOver::Nothing,
        });
        let mut memory = Memory::new(0x4000);
        assert_eq!(memory.ioctl(&device, GET_EXTENDED_REPORT).1, -libc::EAGAIN);
        assert_eq!(memory.at(REQUEST + 28, 4), [2, 0, 0, 0]);
        assert_eq!(memory.ioctl(&device, GET_EXTENDED_REPORT).1, 0);
        assert!(
            Certificates::read(memory.at(CERTIFICATES, 0x4000))
                .unwrap()
                .is_empty()
        );
        assert_eq!(memory.ioctl(&device, GET_EXTENDED_REPORT).1, -libc::EIO);
        assert_eq!(memory.at(REQUEST + 24, 4), [0x16, 0, 0, 0]);
    }

    #[test]
    fn other_requests_and_levels_are_refused() {
        let device = device(Faults::default());
        let mut memory = Memory::new(0);
        assert_eq!(memory.ioctl(&device, GET_REPORT + 1), (1, -libc::ENOTTY));
        memory.put(INNER + 64, &[4]);
        assert_eq!(memory.ioctl(&device, GET_REPORT).1, 0);
        assert_eq!(memory.at(RESPONSE, 4), [0x16, 0, 0, 0]);
        memory.put(REQUEST, &[0]);
        assert_eq!(memory.ioctl(&device, GET_REPORT), (2, -libc::EINVAL));
    }
}
