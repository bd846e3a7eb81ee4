//! Makes the one call that needs `unsafe`.
//!
//! * In: the open guest device, report data, and a buffer for certificates.
//! * Out: the responses of the kernel, the firmware and the host, uninterpreted.
//! * Never: a pointer that outlives its call.
//!
//! Structures of linux/sev-guest.h (Linux 6.12), in the machine's byte order:
//!
//! | structure | bytes | content |
//! |---|---|---|
//! | `snp_guest_request_ioctl` | 0 | version of the message |
//! | | 8–15, 16–23 | addresses of request and response |
//! | | 24–31 | error of the firmware, then of the host |
//! | `snp_ext_report_req` | 0–63 | report data |
//! | | 64–67 | VMPL; then 28 reserved |
//! | | 96–103 | address of the buffer for certificates |
//! | | 104–107 | its length, in whole pages; then 4 of padding |
//! | `snp_report_resp` | 0–3999 | MSG_REPORT_RSP (AMD 56860) |
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::ReportData;

/// The size of the response, in bytes.
pub(super) const RESPONSE_BYTES: usize = 4000;
/// The size of a page of the kernel, in bytes.
pub(super) const PAGE_BYTES: usize = 4096;
/// The version of the message to the firmware (AMD 56860, MSG_REPORT_REQ).
const MESSAGE_VERSION: u8 = 1;
/// The privilege level of the report: the highest, ours.
const VMPL: u32 = 0;
/// `SNP_GET_EXT_REPORT`: _IOWR('S', 2, struct snp_guest_request_ioctl)
const GET_EXTENDED_REPORT: libc::c_ulong = (3 << 30)
    | ((size_of::<GuestRequest>() as libc::c_ulong) << 16)
    | ((b'S' as libc::c_ulong) << 8)
    | 2;

#[repr(C)]
struct GuestRequest {
    message_version: u8,
    request: u64,
    response: u64,
    firmware_error: u32,
    host_error: u32,
}

#[repr(C)]
struct ExtendedReportRequest {
    report_data: ReportData,
    vmpl: u32,
    reserved: [u8; 28],
    certificates: u64,
    certificates_length: u32,
    padding: u32,
}

const _: () = assert!(size_of::<GuestRequest>() == 32 && size_of::<ExtendedReportRequest>() == 112);

/// The reply to a request, uninterpreted.
pub(super) struct Reply {
    /// The result of the system call.
    pub(super) result: io::Result<()>,
    /// The lower half of SW_EXITINFO2: zero if the firmware reports no error.
    pub(super) firmware_error: u32,
    /// The upper half of SW_EXITINFO2: zero if the host reports no error.
    pub(super) host_error: u32,
    /// The message of the firmware.
    pub(super) response: Box<[u8; RESPONSE_BYTES]>,
    /// How many bytes the host needs for its certificates.
    pub(super) certificates_length: u32,
}

/// Requests a report and the host's certificates, which are written over `certificates`.
pub(super) fn extended_report(device: &File, data: &ReportData, certificates: &mut [u8]) -> Reply {
    // The kernel takes whole pages only.
    let whole_pages = certificates.len() / PAGE_BYTES * PAGE_BYTES;
    let mut response = Box::new([0; RESPONSE_BYTES]);
    let mut request = ExtendedReportRequest {
        report_data: *data,
        vmpl: VMPL,
        reserved: [0; 28],
        certificates: certificates.as_mut_ptr() as u64,
        // A length that does not fit its type is not offered.
        certificates_length: u32::try_from(whole_pages).unwrap_or(0),
        padding: 0,
    };
    let mut guest_request = GuestRequest {
        message_version: MESSAGE_VERSION,
        request: (&raw mut request) as u64,
        response: response.as_mut_ptr() as u64,
        firmware_error: 0,
        host_error: 0,
    };
    // SAFETY: the kernel reads and writes the three structures, whose sizes it knows and which live
    // in this function, and writes at most `certificates_length` bytes to `certificates`, which is
    // borrowed exclusively and is not shorter. All of them are plain numbers and bytes: any content
    // is valid.
    let result = unsafe {
        libc::ioctl(
            device.as_raw_fd(),
            GET_EXTENDED_REPORT,
            &raw mut guest_request,
        )
    };
    let result = if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    };
    Reply {
        result,
        firmware_error: guest_request.firmware_error,
        host_error: guest_request.host_error,
        response,
        certificates_length: request.certificates_length,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_has_the_kernels_number() {
        assert_eq!(GET_EXTENDED_REPORT, 0xc020_5302);
    }

    #[test]
    fn a_file_that_is_no_guest_device_refuses() {
        let reply = extended_report(
            &File::open("/dev/null").unwrap(),
            &[0; 64],
            &mut [0; PAGE_BYTES],
        );
        assert_eq!(reply.result.unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        assert_eq!(reply.certificates_length as usize, PAGE_BYTES);
    }
}
