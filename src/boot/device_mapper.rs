//! Device mapper requests. Comes in: a name and a target. Goes out: a block device. Never: a device that others can name;
//! nothing else uses the device mapper here.
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
//! `struct dm_target_spec`, 40 bytes: first sector, length in sectors, status, offset of the next, type (16 bytes, zero
//! padded); then the target's parameters as text with a final zero, padded to 8 bytes.

use std::fs::File;
use std::path::PathBuf;

use super::BootError;
use super::error::file;
use super::kernel::{DM_HEADER_BYTES, DmCommand, device_mapper};

/// In devtmpfs, once the module is loaded.
const CONTROL: &str = "/dev/mapper/control";
const READ_ONLY: u32 = 1;
const MAX_NAME_BYTES: usize = 127;
const TYPE_BYTES: usize = 16;
/// Header of the target, before its parameters.
const TARGET_BYTES: usize = 40;

/// One target that is the whole device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Length, in sectors of 512 bytes.
    pub(super) sectors: u64,
    /// The kind of target.
    pub(super) kind: &'static str,
    /// As the kernel's documentation of the target has them.
    pub(super) parameters: String,
}

/// Makes a read-only device, and says where it is.
pub(super) fn create(name: &str, target: &Target) -> Result<PathBuf, BootError> {
    let control = File::options()
        .read(true)
        .write(true)
        .open(CONTROL)
        .map_err(file(CONTROL))?;
    let ask = |step, command, mut request: Vec<u8>| match device_mapper(
        &control,
        command,
        &mut request,
    ) {
        Ok(()) => Ok(request),
        Err(source) => Err(BootError::DeviceMapper { step, source }),
    };
    let created = ask("create", DmCommand::Create, request(name, READ_ONLY, None))?;
    ask(
        "load table",
        DmCommand::LoadTable,
        request(name, READ_ONLY, Some(target)),
    )?;
    ask("resume", DmCommand::SuspendOrResume, request(name, 0, None))?;
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
    for (place, number) in bytes.chunks_exact_mut(4).zip(numbers) {
        place.copy_from_slice(&number.to_ne_bytes());
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
    kind.iter_mut()
        .zip(target.kind.bytes())
        .for_each(|(place, byte)| *place = byte);
    bytes.extend_from_slice(&kind);
    let end = bytes.len() + parameters;
    bytes.extend_from_slice(target.parameters.as_bytes());
    bytes.resize(end, 0);
}

/// Of the device that the answer speaks of. The kernel packs it as `huge_encode_dev` does.
fn minor(answer: &[u8]) -> u64 {
    let number = answer
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
