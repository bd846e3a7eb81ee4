//! A device in `/dev` that a program offers.
//!
//! * In: the kernel's messages from `/dev/cuse`.
//! * Out: the guest device, under the name of the real one.
//! * Never: in a machine that has a real one.
//!
//! linux/fuse.h, protocol 7.41, in the machine's byte order:
//!
//! | message | bytes |
//! |---|---|
//! | every request | length, operation (4 each), number (8), node (8), uid, gid, pid, padding (4 each) |
//! | every reply | length, error (4 each), number of the request (8) |
//! | CUSE_INIT | major, minor, unused, flags (4 each) |
//! | its reply | the same; most to read, most to write, device numbers (4 each), 40 spare bytes, name |
//! | FUSE_IOCTL | handle (8), flags, command (4 each), address (8), bytes in and out (4 each), bytes |
//! | its reply | result, flags, parts to read and to write (4 each), the parts (8 each) or bytes out |
//! | FUSE_OPEN's reply | handle (8), flags, padding (4 each) |

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use super::guest_device::{GuestDevice, Reply, Window};

const CUSE_INIT: u32 = 4096;
const FUSE_OPEN: u32 = 14;
const FUSE_RELEASE: u32 = 18;
const FUSE_FLUSH: u32 = 25;
const FUSE_INTERRUPT: u32 = 36;
const FUSE_IOCTL: u32 = 39;

const HEADER_BYTES: usize = 40;
const IOCTL_BYTES: usize = 32;
/// A flag of CUSE_INIT: the kernel does not know the layout of requests.
const UNRESTRICTED_IOCTL: u32 = 1;
/// A flag of the reply to FUSE_IOCTL: the kernel shall send the request again.
const IOCTL_RETRY: u32 = 4;
/// Longest message: 32 pages of the caller's memory, and headers.
const MAX_MESSAGE_BYTES: usize = 256 << 10;
/// Most bytes to read and to write at once; no caller does either.
const MAX_TRANSFER_BYTES: u32 = 4096;
const DEVICE: &[u8] = b"DEVNAME=sev-guest\0";

/// Offers the guest device through `path`, the kernel's `cuse` device, until the kernel ends it.
///
/// # Errors
/// The kernel refuses the device, or a message cannot be read or written.
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
            // The caller was interrupted, and no longer waits for a reply.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => (),
            written => written?,
        }
    }
}

/// Returns the reply to one message; none where the kernel does not wait for one.
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
    let length = ((16 + body.len()) as u32).to_ne_bytes();
    let parts = [&length, &i32::to_ne_bytes(error), number, &body[..]];
    Some(parts.concat())
}

fn initialised(message: &[u8]) -> Vec<u8> {
    let (major, minor) = (word(message, HEADER_BYTES), word(message, HEADER_BYTES + 4));
    let most = MAX_TRANSFER_BYTES;
    let mut body = words([major, minor, 0, UNRESTRICTED_IOCTL, most, most, 0, 0]);
    body.extend([0; 40]);
    body.extend(DEVICE);
    body
}

fn ioctl(device: &GuestDevice, body: &[u8]) -> Vec<u8> {
    let address = u64::from(word(body, 16)) | u64::from(word(body, 20)) << 32;
    let read = body
        .get(IOCTL_BYTES..IOCTL_BYTES + word(body, 24) as usize)
        .unwrap_or_default();
    let (command, room) = (word(body, 12), u64::from(word(body, 28)));
    match device.request(command, address, read, room) {
        Reply::Done { result, written } => {
            let mut reply = words([result as u32, 0, 0, 0]);
            reply.extend(written);
            reply
        }
        Reply::Again { read, write } => {
            let mut reply = words([0, IOCTL_RETRY, read.len() as u32, write.len() as u32]);
            for Window { address, length } in read.iter().chain(&write) {
                reply.extend(address.to_ne_bytes());
                reply.extend(length.to_ne_bytes());
            }
            reply
        }
    }
}

fn words<const N: usize>(words: [u32; N]) -> Vec<u8> {
    words.into_iter().flat_map(u32::to_ne_bytes).collect()
}

/// Reads four bytes as a number; missing ones count as zero.
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
    fn unknown_messages_are_refused_and_interruptions_get_no_reply() {
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
