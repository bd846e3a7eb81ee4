//! Decides whether all programs read a tar header alike.
//!
//! * In: a header.
//! * Out: whether it has one meaning only.
//! * Never: an archive from which one program unpacks other files than another.

pub mod extension;
pub mod writer;

use std::ops::Range;

use tar::{EntryType, Header};

/// The size of a block, in bytes: headers and contents are padded to it.
pub const BLOCK_BYTES: usize = 512;

/// One header, or one block of the content of an entry.
pub type Block = [u8; BLOCK_BYTES];

// The positions of the fields of a header (POSIX.1, `pax`, ustar Interchange Format).
/// The field of the mode.
pub const MODE: Range<usize> = 100..108;
/// The field of the owner's user number.
pub const UID: Range<usize> = 108..116;
/// The field of the owner's group number.
pub const GID: Range<usize> = 116..124;
/// The field of the number of bytes of the content.
pub const SIZE: Range<usize> = 124..136;
/// The field of the time of the last change.
pub const TIME: Range<usize> = 136..148;
/// The field of the sum of all bytes of the header.
pub const CHECKSUM: Range<usize> = 148..156;
/// The byte with the type of the entry.
pub const TYPE: usize = 156;
/// The field of a link's target.
pub const LINK_NAME: Range<usize> = 157..257;
/// The field that contains `ustar` and a NUL.
pub const MAGIC: Range<usize> = 257..263;
/// The field that contains `00`.
pub const VERSION: Range<usize> = 263..265;

/// The fields with numbers: mode, owner, group, size, time, device. If one of them cannot be read,
/// some programs take this for the end of the archive.
const NUMBERS: [Range<usize>; 7] = [MODE, UID, GID, SIZE, TIME, 329..337, 337..345];

/// The field in which ustar has the front of a path, and other formats other data.
const PREFIX: Range<usize> = 345..500;

/// The first bytes of a binary number whose other bytes fit into 64 bits.
const BINARY: &[u8] = &[0x80, 0, 0, 0];

/// Returns whether these are the first bytes of a tar: a header with a matching checksum.
pub fn is_tar(start: &[u8]) -> bool {
    start.first_chunk().is_some_and(checksum_matches)
}

/// Returns whether the checksum of a header matches: it is the sum of all bytes, with blanks for
/// the checksum itself.
pub fn checksum_matches(block: &Block) -> bool {
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    let own: u32 = block[CHECKSUM].iter().map(|byte| u32::from(*byte)).sum();
    Header::from_byte_slice(block)
        .cksum()
        .is_ok_and(|claimed| claimed == sum - own + 8 * u32::from(b' '))
}

/// Returns whether all programs find the same size, the same path and the same next header
/// (POSIX.1, `pax`, ustar).
pub fn is_unambiguous(header: &Header) -> bool {
    let bytes = header.as_bytes();
    let mut numbers = NUMBERS.into_iter();
    if !numbers.all(|field| is_plain_number(&bytes[field])) {
        return false;
    }
    let has_prefix = bytes[PREFIX].iter().any(|byte| *byte != 0);
    if has_prefix && header.as_ustar().is_none() {
        return false;
    }
    // Some programs skip the content that a directory claims to have, others read it as headers.
    let has_bytes = header.entry_size().is_ok_and(|size| size != 0);
    !(header.entry_type() == EntryType::Directory && has_bytes)
}

/// Returns whether a field has octal digits, with nothing else than blanks before them and an end
/// after them; or a binary number.
fn is_plain_number(field: &[u8]) -> bool {
    if field.starts_with(BINARY) {
        return true;
    }
    let blanks = field.iter().take_while(|byte| **byte == b' ').count();
    let after_blanks = &field[blanks..];
    let is_digit = |byte: &&u8| matches!(byte, b'0'..=b'7');
    let digits = after_blanks.iter().take_while(is_digit).count();
    let mut end = after_blanks[digits..].iter();
    end.all(|byte| matches!(byte, 0 | b' '))
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
