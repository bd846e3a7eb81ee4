//! What stands before the bytes of a file in a bundle. The writer and the reader use the same
//! function, so that there is one encoding of each file.
//!
//! - Comes in: path, executable bit, size and time of a file.
//! - Goes out: the only header blocks that a bundle has for it, and where other blocks differ from
//!   them.
//! - Never: a second encoding of the same file.

#[cfg(feature = "appraisal")]
mod compare;

use std::ops::Range;

#[cfg(feature = "appraisal")]
pub(super) use compare::{Difference, NAME, difference, path_of_record, printable};

/// Number of bytes of a block: headers and contents are padded to it (POSIX.1, `pax`, ustar
/// Interchange Format).
pub(super) const BLOCK_BYTES: usize = 512;

/// Number of bytes of the longest path that a header holds by itself; a longer one gets a PAX
/// header before it.
pub(super) const MAX_NAME_BYTES: usize = 100;

/// Largest number that eleven octal digits hold: sizes up to 8 GiB, and times up to the year 2242.
const MAX_NUMBER: u64 = 0o777_7777_7777;

/// The name of a PAX header. Some programs stop at a header without a name.
const PAX_HEADER_NAME: &[u8] = b"pax-header";

/// The name of an entry whose path is in the PAX header before it.
const PAX_PATH_NAME: &[u8] = b"pax-path";

/// Mode of a file that nobody executes, and of every PAX header.
pub(super) const PLAIN_MODE: u64 = 0o644;

/// Mode of a file that anybody may execute.
pub(super) const EXECUTABLE_MODE: u64 = 0o755;

/// Type of a PAX header that speaks of the next entry.
pub(super) const PAX_HEADER: u8 = b'x';

/// Type of a regular file.
const REGULAR_FILE: u8 = b'0';

pub(super) const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
pub(super) const SIZE: Range<usize> = 124..136;
pub(super) const TIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
pub(super) const TYPE: usize = 156;
const MAGIC: Range<usize> = 257..263;
const VERSION: Range<usize> = 263..265;

/// One header block, or one block of a content.
pub(super) type Block = [u8; BLOCK_BYTES];

/// A size or a time that eleven octal digits hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number(u64);

impl Number {
    /// Wraps a number, unless it is too large.
    pub(super) fn new(value: u64) -> Option<Self> {
        (value <= MAX_NUMBER).then_some(Self(value))
    }
}

/// Everything that the headers of a file say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'a> {
    /// The whole path, with the top directory.
    pub path: &'a str,
    /// Whether the mode is 0755 instead of 0644.
    pub executable: bool,
    /// Number of bytes of the content.
    pub size: Number,
    /// In seconds; the same for every file of a bundle.
    pub time: Number,
}

impl Member<'_> {
    /// Returns the blocks that stand before the content: one, or, for a long path, a PAX header,
    /// its record and one more.
    pub(super) fn headers(&self) -> Vec<u8> {
        let mode = if self.executable {
            EXECUTABLE_MODE
        } else {
            PLAIN_MODE
        };
        if self.path.len() <= MAX_NAME_BYTES {
            return header(
                self.path.as_bytes(),
                mode,
                self.size.0,
                self.time,
                REGULAR_FILE,
            )
            .to_vec();
        }
        let record = path_record(self.path);
        let mut blocks = header(
            PAX_HEADER_NAME,
            PLAIN_MODE,
            record.len() as u64,
            self.time,
            PAX_HEADER,
        )
        .to_vec();
        blocks.extend(record.as_bytes());
        blocks.resize(blocks.len().next_multiple_of(BLOCK_BYTES), 0);
        blocks.extend(header(
            PAX_PATH_NAME,
            mode,
            self.size.0,
            self.time,
            REGULAR_FILE,
        ));
        blocks
    }
}

fn header(name: &[u8], mode: u64, size: u64, time: Number, kind: u8) -> Block {
    let mut block = [0; BLOCK_BYTES];
    block[..name.len()].copy_from_slice(name);
    put_octal(&mut block[MODE], mode);
    put_octal(&mut block[UID], 0);
    put_octal(&mut block[GID], 0);
    put_octal(&mut block[SIZE], size);
    put_octal(&mut block[TIME], time.0);
    block[TYPE] = kind;
    block[MAGIC].copy_from_slice(b"ustar\0");
    block[VERSION].copy_from_slice(b"00");
    // The checksum counts its own field as blanks.
    block[CHECKSUM].fill(b' ');
    let sum = block.iter().map(|byte| u64::from(*byte)).sum();
    put_octal(&mut block[CHECKSUM], sum);
    block
}

/// Fills a field with octal digits, zeros before them, and a NUL after them.
fn put_octal(field: &mut [u8], value: u64) {
    let Some((end, digits)) = field.split_last_mut() else {
        return;
    };
    *end = 0;
    let mut left = value;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (left & 7) as u8;
        left >>= 3;
    }
}

/// The one record of a PAX header: `LENGTH path=PATH` and a line end. The length counts its own
/// digits.
fn path_record(path: &str) -> String {
    let rest = format!(" path={path}\n");
    let mut length = rest.len();
    loop {
        let record = format!("{length}{rest}");
        if record.len() == length {
            return record;
        }
        length = record.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(path: &str) -> Member<'_> {
        Member {
            path,
            executable: true,
            size: Number(0o1234),
            time: Number(0o7654),
        }
    }

    #[test]
    fn a_header_is_what_another_writer_makes_of_the_same_fields() {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_path("p/artifacts/x").unwrap();
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0o1234);
        header.set_mtime(0o7654);
        header.set_cksum();
        assert_eq!(member("p/artifacts/x").headers(), header.as_bytes());
    }

    #[test]
    fn a_path_over_100_bytes_has_a_pax_header_with_a_name() {
        assert_eq!(member(&"n".repeat(100)).headers().len(), BLOCK_BYTES);
        let path = "n".repeat(101);
        let blocks = member(&path).headers();
        assert_eq!(blocks.len(), 3 * BLOCK_BYTES);
        assert!(
            blocks.starts_with(b"pax-header\0")
                && blocks[2 * BLOCK_BYTES..].starts_with(b"pax-path\0")
        );
        let record = format!("111 path={path}\n");
        assert_eq!(blocks[BLOCK_BYTES..][..record.len()], *record.as_bytes());
        assert!(
            blocks[BLOCK_BYTES + record.len()..2 * BLOCK_BYTES]
                .iter()
                .all(|byte| *byte == 0)
        );
    }

    #[test]
    fn the_length_of_a_record_counts_its_own_digits() {
        for length in 1..2000 {
            let path = "n".repeat(length);
            let record = path_record(&path);
            assert!(
                record.starts_with(&format!("{} path=n", record.len())),
                "{length}"
            );
            assert!(record.ends_with(&format!("{path}\n")), "{length}");
        }
    }
}
