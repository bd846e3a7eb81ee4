//! Whether everybody reads a tar header alike. Comes in: a header. Goes out: yes or no. Never: an archive of which one program
//! unpacks other files than another.

pub mod extension;
pub mod writer;

use std::ops::Range;

use tar::{EntryType, Header};

/// Number of bytes of a block: headers and contents are padded to it.
pub const BLOCK_BYTES: usize = 512;

/// One header, or one block of a content.
pub type Block = [u8; BLOCK_BYTES];

// Where a header has its fields (POSIX.1, `pax`, ustar Interchange Format).
/// The mode.
pub const MODE: Range<usize> = 100..108;
/// The number of the user who owns it.
pub const UID: Range<usize> = 108..116;
/// The number of the group that owns it.
pub const GID: Range<usize> = 116..124;
/// The number of bytes of the content.
pub const SIZE: Range<usize> = 124..136;
/// When it was last changed.
pub const TIME: Range<usize> = 136..148;
/// The sum of all bytes of the header.
pub const CHECKSUM: Range<usize> = 148..156;
/// The type of the entry.
pub const TYPE: usize = 156;
/// Where a link leads.
pub const LINK_NAME: Range<usize> = 157..257;
/// `ustar`, and a NUL.
pub const MAGIC: Range<usize> = 257..263;
/// `00`.
pub const VERSION: Range<usize> = 263..265;

/// Mode, owner, group, size, time, device: some end an archive where they cannot read one of them.
const NUMBERS: [Range<usize>; 7] = [MODE, UID, GID, SIZE, TIME, 329..337, 337..345];

/// Where ustar has the front of a path, and other forms something else.
const PREFIX: Range<usize> = 345..500;

/// How a binary number begins of which the other bytes fit into 64 bits.
const BINARY: &[u8] = &[0x80, 0, 0, 0];

/// Whether these are the first bytes of a tar: a header that has its checksum.
pub fn is_tar(start: &[u8]) -> bool {
    start.first_chunk().is_some_and(checksum_matches)
}

/// Whether a header has the checksum that it says: the sum of all bytes, with blanks for the
/// checksum itself.
pub fn checksum_matches(block: &Block) -> bool {
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    let own: u32 = block[CHECKSUM].iter().map(|byte| u32::from(*byte)).sum();
    Header::from_byte_slice(block)
        .cksum()
        .is_ok_and(|claimed| claimed == sum - own + 8 * u32::from(b' '))
}

/// Whether everybody who unpacks finds the same size, the same path and the same next header (POSIX.1, `pax`, ustar).
pub fn is_unambiguous(header: &Header) -> bool {
    let bytes = header.as_bytes();
    let has_prefix = bytes[PREFIX].iter().any(|byte| *byte != 0);
    let has_bytes = header.entry_size().is_ok_and(|size| size != 0);
    // Some skip what a folder says is its content, some read it as headers.
    let is_full_folder = header.entry_type() == EntryType::Directory && has_bytes;
    NUMBERS
        .into_iter()
        .all(|field| is_plain_number(&bytes[field]))
        && (header.as_ustar().is_some() || !has_prefix)
        && !is_full_folder
}

/// Octal digits, with blanks before them and an end behind them at most; or binary.
fn is_plain_number(field: &[u8]) -> bool {
    let start = field.iter().take_while(|byte| **byte == b' ').count();
    let digits = field[start..]
        .iter()
        .take_while(|byte| matches!(byte, b'0'..=b'7'))
        .count();
    field[start + digits..]
        .iter()
        .all(|byte| matches!(byte, 0 | b' '))
        || field.starts_with(BINARY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(change: impl FnOnce(&mut [u8; 512])) -> Header {
        let mut header = Header::new_ustar();
        header.set_size(8);
        change(header.as_mut_bytes());
        header
    }

    #[test]
    fn numbers_are_what_every_program_reads_alike() {
        for (size, is_plain) in [
            (&b"00000000010\0"[..], true),
            (b"10\0\0\0\0\0\0\0\0\0\0", true),
            (b"        10  ", true),
            (b"\0\0\0\0\0\0\0\0\0\0\0\0", true),
            (b"\x80\0\0\0\0\0\0\0\0\0\0\x08", true),
            (b"+10\0\0\0\0\0\0\0\0\0", false),
            (b"-10\0\0\0\0\0\0\0\0\0", false),
            (b"8\0\0\0\0\0\0\0\0\0\0\0", false),
            (b"10\0\0\0\0\0\0\x00007", false),
            (b"\x80\x01\0\0\0\0\0\0\0\0\0\x08", false),
            (b"\xff\0\0\0\0\0\0\0\0\0\0\x08", false),
        ] {
            let header = header(|bytes| bytes[SIZE].copy_from_slice(size));
            assert_eq!(is_unambiguous(&header), is_plain, "{}", size.escape_ascii());
        }
        for field in NUMBERS {
            assert!(
                !is_unambiguous(&header(|bytes| bytes[field.start] = b'x')),
                "{field:?}"
            );
        }
    }

    #[test]
    fn the_front_of_a_path_is_ustars_only_and_folders_are_empty() {
        let magic = |magic: &[u8; 8], prefix: u8| {
            is_unambiguous(&header(|bytes| {
                bytes[257..265].copy_from_slice(magic);
                bytes[345] = prefix;
            }))
        };
        assert!(magic(b"ustar\x0000", b'a') && magic(b"ustar  \0", 0) && magic(&[0; 8], 0));
        assert!(
            !magic(b"ustar  \0", b'a') && !magic(&[0; 8], b'a') && !magic(b"ustar\0\0\0", b'a')
        );
        let folder = |size: u64| {
            let mut header = header(|_| ());
            header.set_entry_type(EntryType::Directory);
            header.set_size(size);
            is_unambiguous(&header)
        };
        assert!(folder(0) && !folder(1));
    }
}
