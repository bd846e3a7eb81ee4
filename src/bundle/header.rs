//! What stands before the bytes of a file in a bundle. The writer and the reader use the same
//! function, so that there is one encoding of each file.
//!
//! - Comes in: path, executable bit, size and time of a file.
//! - Goes out: the only header blocks that a bundle has for it, and where other blocks differ from
//!   them.
//! - Never: a second encoding of the same file.

use std::ops::Range;

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

pub(super) const NAME: Range<usize> = 0..100;
pub(super) const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
pub(super) const SIZE: Range<usize> = 124..136;
pub(super) const TIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
pub(super) const TYPE: usize = 156;
const MAGIC: Range<usize> = 257..263;
const VERSION: Range<usize> = 263..265;

/// The fields of a header block with their offsets (POSIX.1, `pax`, ustar Interchange Format). The
/// checksum depends on all of the others, so it is looked at last: what is named is the field that
/// was changed.
const FIELDS: [(&str, Range<usize>); 17] = [
    ("name", NAME),
    ("mode", MODE),
    ("uid", UID),
    ("gid", GID),
    ("size", SIZE),
    ("time", TIME),
    ("type", TYPE..TYPE + 1),
    ("link name", 157..257),
    ("magic", MAGIC),
    ("version", VERSION),
    ("owner name", 265..297),
    ("group name", 297..329),
    ("device major", 329..337),
    ("device minor", 337..345),
    ("prefix", 345..500),
    ("padding", 500..512),
    ("checksum", CHECKSUM),
];

/// What a block that belongs to no header is called.
const RECORD: &str = "record";

/// Most bytes of a field that are shown: the longest field of a header fits.
const MAX_SHOWN_BYTES: usize = 155;

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

    /// Reads a field as [`Member::headers`] writes it; nothing for any other form of the same
    /// number.
    pub(super) fn read(field: &[u8]) -> Option<Self> {
        let (end, digits) = field.split_last()?;
        let is_octal = digits.iter().all(|digit| matches!(digit, b'0'..=b'7'));
        if *end != 0 || !is_octal {
            return None;
        }
        let value = digits.iter().fold(0, |value, digit| value * 8 + u64::from(digit - b'0'));
        Self::new(value)
    }

    /// The number itself.
    pub(super) fn value(self) -> u64 {
        self.0
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
        let mode = if self.executable { EXECUTABLE_MODE } else { PLAIN_MODE };
        if self.path.len() <= MAX_NAME_BYTES {
            return header(self.path.as_bytes(), mode, self.size.0, self.time, REGULAR_FILE).to_vec();
        }
        let record = path_record(self.path);
        let mut blocks = header(PAX_HEADER_NAME, PLAIN_MODE, record.len() as u64, self.time, PAX_HEADER).to_vec();
        blocks.extend(record.as_bytes());
        blocks.resize(blocks.len().next_multiple_of(BLOCK_BYTES), 0);
        blocks.extend(header(PAX_PATH_NAME, mode, self.size.0, self.time, REGULAR_FILE));
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
    let Some((end, digits)) = field.split_last_mut() else { return };
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

/// Reads the path of such a record, leniently: whether the record is the one encoding of it,
/// [`difference`] tells.
pub(super) fn path_of_record(record: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(record).ok()?;
    let (_length, path) = text.strip_suffix('\n')?.split_once(" path=")?;
    Some(path)
}

/// The first field in which blocks differ from those that a bundle has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// Whether the field belongs to the PAX header before the file's own.
    pub in_pax_header: bool,
    /// The name of the field, as POSIX.1 or we call it.
    pub field: &'static str,
    /// What a bundle has there, printable.
    pub expected: String,
    /// What was there, printable.
    pub actual: String,
}

/// Compares the headers of a file with those that were found; nothing when they are the same, byte
/// for byte.
pub(super) fn difference(expected: &[u8], actual: &[u8]) -> Option<Difference> {
    if expected == actual {
        return None;
    }
    let own_header = expected.len().saturating_sub(BLOCK_BYTES);
    let pairs = expected.chunks(BLOCK_BYTES).zip(actual.chunks(BLOCK_BYTES));
    for (start, (expected, actual)) in (0..).step_by(BLOCK_BYTES).zip(pairs) {
        let in_pax_header = start < own_header;
        let is_record = in_pax_header && start > 0;
        let found = if is_record { record_difference(expected, actual) } else { field_difference(expected, actual) };
        if let Some((field, expected, actual)) = found {
            let (expected, actual) = (printable(expected), printable(actual));
            return Some(Difference { in_pax_header, field, expected, actual });
        }
    }
    // Only the number of blocks can be left.
    let blocks = |bytes: &[u8]| format!("{} blocks", bytes.len() / BLOCK_BYTES);
    Some(Difference { in_pax_header: true, field: "length", expected: blocks(expected), actual: blocks(actual) })
}

/// The name of a field, and both sides.
type Sides<'a> = (&'static str, &'a [u8], &'a [u8]);

fn record_difference<'a>(expected: &'a [u8], actual: &'a [u8]) -> Option<Sides<'a>> {
    let start = expected.iter().zip(actual).position(|(expected, actual)| expected != actual)?;
    Some((RECORD, &expected[start..], &actual[start..]))
}

fn field_difference<'a>(expected: &'a [u8], actual: &'a [u8]) -> Option<Sides<'a>> {
    let differs = |(_, range): &(&str, Range<usize>)| expected[range.clone()] != actual[range.clone()];
    let (field, range) = FIELDS.into_iter().find(differs)?;
    Some((field, &expected[range.clone()], &actual[range]))
}

/// Bytes for a message: escaped, without the zeros that fill a field, and not too many of them.
pub(super) fn printable(bytes: &[u8]) -> String {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    format!("\"{}\"", bytes[..end.min(MAX_SHOWN_BYTES)].escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(path: &str) -> Member<'_> {
        Member { path, executable: true, size: Number(0o1234), time: Number(0o7654) }
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
        assert!(blocks.starts_with(b"pax-header\0") && blocks[2 * BLOCK_BYTES..].starts_with(b"pax-path\0"));
        let record = format!("111 path={path}\n");
        assert_eq!(blocks[BLOCK_BYTES..][..record.len()], *record.as_bytes());
        assert!(blocks[BLOCK_BYTES + record.len()..2 * BLOCK_BYTES].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn the_length_of_a_record_counts_its_own_digits() {
        for length in 1..2000 {
            let path = "n".repeat(length);
            let record = path_record(&path);
            assert!(record.starts_with(&format!("{} path=n", record.len())), "{length}");
            assert_eq!(path_of_record(record.as_bytes()), Some(&*path));
        }
    }

    #[test]
    fn numbers_have_one_form() {
        assert_eq!(Number::read(b"00000001234\0"), Some(Number(0o1234)));
        assert_eq!(Number::read(b"77777777777\0"), Number::new(MAX_NUMBER));
        assert_eq!(Number::new(MAX_NUMBER + 1), None);
        for other in
            [&b"       1234\0"[..], b"1234\0\0\0\0\0\0\0\0", b"000000012340", b"00000001238\0", b"-0000001234\0"]
        {
            assert_eq!(Number::read(other), None, "{}", other.escape_ascii());
        }
        assert_eq!((Number::read(b""), Number::read(b"\x80\0\0\0\0\0\0\0\0\0\0\x08")), (None, None));
    }

    #[test]
    fn every_byte_belongs_to_a_field_and_a_changed_one_is_named() {
        let path = "n".repeat(600);
        for path in ["p/x", &path] {
            let blocks = member(path).headers();
            assert_eq!(difference(&blocks, &blocks), None);
            for at in 0..blocks.len() {
                let mut changed = blocks.clone();
                changed[at] ^= 0x20;
                let found = difference(&blocks, &changed).unwrap();
                let is_header = at < BLOCK_BYTES || at >= blocks.len() - BLOCK_BYTES;
                let offset = at % BLOCK_BYTES;
                let of_header = FIELDS.iter().find(|(_, range)| range.contains(&offset)).unwrap().0;
                assert_eq!(found.field, if is_header { of_header } else { RECORD }, "{at}");
                assert_eq!(found.in_pax_header, at < blocks.len() - BLOCK_BYTES, "{at}");
                assert_ne!(found.expected, found.actual, "{at}");
            }
        }
    }
}
