//! Sends requests to the device mapper.
//!
//! * In: a name and a target.
//! * Out: a read-only block device.
//! * Never: a device that others can name; nothing else uses the device mapper here.
//!
//! `struct dm_ioctl` (linux/dm-ioctl.h), in the machine's byte order:
//!
//! | bytes | content |
//! |---|---|
//! | 0–11 | version of the interface: 4, 0, 0 |
//! | 12–15 | size of header and data |
//! | 16–19 | where the data starts |
//! | 20–23 | number of targets |
//! | 28–31 | flags |
//! | 40–47 | device number |
//! | 48–175 | name, with a final zero |
//!
//! `struct dm_target_spec`, 40 bytes: first sector, length in sectors, status, offset of the next
//! one, type (16 bytes, zero padded); then the target's parameters as text with a final zero,
//! padded to 8 bytes.

use std::fs::File;
use std::path::PathBuf;

use super::BootError;
use super::error::file;
use super::kernel::{DM_HEADER_BYTES, DmCommand, device_mapper};

/// The device of requests, which devtmpfs has once the module is loaded.
const CONTROL: &str = "/dev/mapper/control";
const READ_ONLY: u32 = 1;
const MAX_NAME_BYTES: usize = 127;
const TYPE_BYTES: usize = 16;
/// The size of a target's header, before its parameters.
const TARGET_BYTES: usize = 40;

/// One target that is the whole device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The length, in sectors of 512 bytes.
    pub(super) sectors: u64,
    /// The type of the target.
    pub(super) kind: &'static str,
    /// The parameters, as the kernel's documentation of the target describes them.
    pub(super) parameters: String,
}

/// Creates a read-only device, and returns its path.
pub(super) fn create(name: &str, target: &Target) -> Result<PathBuf, BootError> {
    let control = File::options()
        .read(true)
        .write(true)
        .open(CONTROL)
        .map_err(file(CONTROL))?;
    let mut created = request(name, READ_ONLY, None);
    let mut loaded = request(name, READ_ONLY, Some(target));
    let mut resumed = request(name, 0, None);
    for (step, command, bytes) in [
        ("create", DmCommand::Create, &mut created),
        ("load table", DmCommand::LoadTable, &mut loaded),
        ("resume", DmCommand::SuspendOrResume, &mut resumed),
    ] {
        device_mapper(&control, command, bytes)
            .map_err(|source| BootError::DeviceMapper { step, source })?;
    }
    Ok(PathBuf::from(format!("/dev/dm-{}", minor(&created))))
}

fn request(name: &str, flags: u32, target: Option<&Target>) -> Vec<u8> {
    let mut bytes = vec![0; DM_HEADER_BYTES];
    if let Some(target) = target {
        push_target(&mut bytes, target);
    }
    let size = bytes.len() as u32;
    let numbers = [
        4,
        0,
        0,
        size,
        DM_HEADER_BYTES as u32,
        u32::from(target.is_some()),
        0,
        flags,
    ];
    for (field, number) in bytes.chunks_exact_mut(4).zip(numbers) {
        field.copy_from_slice(&number.to_ne_bytes());
    }
    let name = &name.as_bytes()[..name.len().min(MAX_NAME_BYTES)];
    bytes[48..48 + name.len()].copy_from_slice(name);
    bytes
}

fn push_target(bytes: &mut Vec<u8>, target: &Target) {
    let parameters = (target.parameters.len() + 1).next_multiple_of(8);
    bytes.extend_from_slice(&0u64.to_ne_bytes());
    bytes.extend_from_slice(&target.sectors.to_ne_bytes());
    bytes.extend_from_slice(&0u32.to_ne_bytes());
    bytes.extend_from_slice(&((TARGET_BYTES + parameters) as u32).to_ne_bytes());
    let mut kind = [0; TYPE_BYTES];
    for (slot, byte) in kind.iter_mut().zip(target.kind.bytes()) {
        *slot = byte;
    }
    bytes.extend_from_slice(&kind);
    let end = bytes.len() + parameters;
    bytes.extend_from_slice(target.parameters.as_bytes());
    bytes.resize(end, 0);
}

/// Returns the minor number of the device in the kernel's reply, which is packed as by
/// `huge_encode_dev`.
fn minor(reply: &[u8]) -> u64 {
    let number = reply
        .get(40..48)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_ne_bytes);
    (number & 0xff) | ((number >> 12) & 0xfff00)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_kernels_layout() {
        let target = Target {
            sectors: 16,
            kind: "verity",
            parameters: "1 a".to_owned(),
        };
        let bytes = request("root", READ_ONLY, Some(&target));
        let number = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!(bytes.len(), 312 + 40 + 8);
        assert_eq!(
            [number(0), number(12), number(16), number(20), number(28)],
            [4, 360, 312, 1, 1]
        );
        assert_eq!(bytes[48..53], *b"root\0");
        assert_eq!([number(312), number(320), number(332)], [0, 16, 48]);
        assert_eq!(bytes[336..343], *b"verity\0");
        assert_eq!(bytes[352..360], *b"1 a\0\0\0\0\0");
    }

    #[test]
    fn reads_the_minor_number_of_the_answer() {
        let mut answer = request("root", 0, None);
        answer[40..48].copy_from_slice(&0x0010_fd03_u64.to_ne_bytes());
        assert_eq!(minor(&answer), 0x103);
        assert_eq!(minor(&[]), 0);
    }
}
