//! A device in `/dev` that a program offers. Comes in: the kernel's messages of `/dev/cuse`. Goes out: the guest device,
//! named as the real one is. Never: in a machine that has a real one.
//!
//! linux/fuse.h, protocol 7.41, in the machine's byte order:
//!
//! | message | bytes |
//! |---|---|
//! | every request | length, operation (4 each), number (8), node (8), uid, gid, pid, padding (4 each) |
//! | every reply | length, error (4 each), number of the request (8) |
//! | CUSE_INIT | major, minor, unused, flags (4 each); in the reply then most to read and to write, device numbers (4 each), 40 spare bytes, `DEVNAME=…` |
//! | FUSE_IOCTL | handle (8), flags, command (4 each), address (8), bytes in, bytes out (4 each), then the bytes in |
//! | its reply | result, flags, parts to read, parts to write (4 each), then the parts (address, length; 8 each) or the bytes out |
//! | FUSE_OPEN's reply | handle (8), flags, padding (4 each) |

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use super::guest_device::{Answer, GuestDevice, Window};

const CUSE_INIT: u32 = 4096;
const FUSE_OPEN: u32 = 14;
const FUSE_RELEASE: u32 = 18;
const FUSE_FLUSH: u32 = 25;
const FUSE_INTERRUPT: u32 = 36;
const FUSE_IOCTL: u32 = 39;

const HEADER_BYTES: usize = 40;
const IOCTL_BYTES: usize = 32;
/// CUSE_INIT: requests have no layout that the kernel could know.
const UNRESTRICTED_IOCTL: u32 = 1;
/// Of the reply to FUSE_IOCTL: the request shall come again.
const IOCTL_RETRY: u32 = 4;
/// Longest message: 32 pages of the caller's memory, and headers.
const MAX_MESSAGE_BYTES: usize = 256 << 10;
/// Most to read and to write at once; nobody does.
const MAX_TRANSFER_BYTES: u32 = 4096;
const DEVICE: &[u8] = b"DEVNAME=sev-guest\0";

/// Offers the guest device through `path`, the kernel's `cuse` device, until the kernel ends it.
///
/// # Errors
/// The kernel does not want it.
pub fn serve(path: &Path, device: &GuestDevice) -> io::Result<()> {
    let mut channel = File::options().read(true).write(true).open(path)?;
    let mut message = vec![0; MAX_MESSAGE_BYTES];
    loop {
        let length = match channel.read(&mut message) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(()),
            Err(error) => return Err(error),
        };
        let Some(reply) = reply(device, &message[..length]) else {
            continue;
        };
        match channel.write_all(&reply) {
            // The caller was interrupted, and waits for no reply any more.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => (),
            written => written?,
        }
    }
}

/// The reply to one message; none where the kernel waits for none.
fn reply(device: &GuestDevice, message: &[u8]) -> Option<Vec<u8>> {
    let number = message.get(8..16)?;
    let (error, body) = match word(message, 4) {
        CUSE_INIT => (0, initialised(message)),
        FUSE_OPEN => (0, vec![0; 16]),
        FUSE_RELEASE | FUSE_FLUSH => (0, vec![]),
        FUSE_INTERRUPT => return None,
        FUSE_IOCTL => (0, ioctl(device, message.get(HEADER_BYTES..)?)),
        _ => (-libc::ENOSYS, vec![]),
    };
    let length = (16 + body.len()) as u32;
    Some(
        [
            &length.to_ne_bytes(),
            &i32::to_ne_bytes(error),
            number,
            &body[..],
        ]
        .concat(),
    )
}

fn initialised(message: &[u8]) -> Vec<u8> {
    let (major, minor) = (word(message, HEADER_BYTES), word(message, HEADER_BYTES + 4));
    let words = [
        major,
        minor,
        0,
        UNRESTRICTED_IOCTL,
        MAX_TRANSFER_BYTES,
        MAX_TRANSFER_BYTES,
        0,
        0,
    ];
    let mut body: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
    body.extend([0; 40]);
    body.extend(DEVICE);
    body
}

fn ioctl(device: &GuestDevice, body: &[u8]) -> Vec<u8> {
    let address = u64::from(word(body, 16)) | u64::from(word(body, 20)) << 32;
    let read = body
        .get(IOCTL_BYTES..IOCTL_BYTES + word(body, 24) as usize)
        .unwrap_or_default();
    let head = |result: i32, flags: u32, read: usize, write: usize| {
        [result as u32, flags, read as u32, write as u32]
            .into_iter()
            .flat_map(u32::to_ne_bytes)
    };
    match device.request(word(body, 12), address, read, u64::from(word(body, 28))) {
        Answer::Done { result, written } => head(result, 0, 0, 0).chain(written).collect(),
        Answer::Again { read, write } => {
            let parts = read
                .iter()
                .chain(&write)
                .flat_map(|Window { address, length }| [*address, *length]);
            head(0, IOCTL_RETRY, read.len(), write.len())
                .chain(parts.flat_map(u64::to_ne_bytes))
                .collect()
        }
    }
}

/// Four bytes as a number; what is missing is zero.
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(std::array::from_fn(|index| {
        bytes.get(at + index).copied().unwrap_or(0)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::{Identity, Key, Processor};
    use crate::snp::tcb::Product;

    fn device() -> GuestDevice {
        let identity = Identity::draw(Product::Genoa, Key::Vcek).unwrap();
        GuestDevice::new(Processor::generate(identity, 1024).unwrap())
    }

    fn message(operation: u32, body: &[u32]) -> Vec<u8> {
        let length = (HEADER_BYTES + 4 * body.len()) as u32;
        let head = [length, operation, 7, 0, 0, 0, 0, 0, 0, 0];
        head.iter()
            .chain(body)
            .flat_map(|word| word.to_ne_bytes())
            .collect()
    }

    #[test]
    fn the_kernel_learns_the_devices_name() {
        let answer = reply(&device(), &message(CUSE_INIT, &[7, 41, 0, 1])).unwrap();
        assert_eq!(
            [word(&answer, 0), word(&answer, 4), word(&answer, 8)],
            [answer.len() as u32, 0, 7]
        );
        assert_eq!(
            [word(&answer, 16), word(&answer, 20), word(&answer, 28)],
            [7, 41, UNRESTRICTED_IOCTL]
        );
        assert_eq!(answer[16 + 72..], *DEVICE);
    }

    #[test]
    fn the_first_round_asks_for_the_request_structure() {
        let answer = reply(
            &device(),
            &message(FUSE_IOCTL, &[0, 0, 0, 0xc020_5302, 0x1234, 1, 0, 0]),
        )
        .unwrap();
        let words: Vec<_> = answer[16..].chunks(4).map(|chunk| word(chunk, 0)).collect();
        assert_eq!(words, [0, IOCTL_RETRY, 1, 0, 0x1234, 1, 32, 0]);
    }

    #[test]
    fn what_is_not_understood_is_refused_and_interruptions_are_not_answered() {
        let device = device();
        assert_eq!(
            word(&reply(&device, &message(15, &[])).unwrap(), 4) as i32,
            -libc::ENOSYS
        );
        assert_eq!(reply(&device, &message(FUSE_INTERRUPT, &[0, 0])), None);
        assert_eq!(reply(&device, &[0; 5]), None);
        let unfinished =
            reply(&device, &message(FUSE_IOCTL, &[0, 0, 0, 0, 0, 0, 9999, 0])).unwrap();
        assert_eq!(word(&unfinished, 16) as i32, -libc::ENOTTY);
    }
}
