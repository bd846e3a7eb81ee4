//! Where header blocks differ from those that a bundle has. Only the reader uses this.
//!
//! * In: blocks from anybody.
//! * Out: the values in them, and the first field in which they differ from the writer's.
//! * Never: a difference that is passed over.

use std::ops::Range;

use crate::tar_header::writer::Number;
use crate::tar_header::{
    BLOCK_BYTES, CHECKSUM, GID, LINK_NAME, MAGIC, MODE, SIZE, TIME, TYPE, UID, VERSION,
};

pub(in crate::bundle) const NAME: Range<usize> = 0..100;

/// The fields of a header block with their offsets (POSIX.1, `pax`, ustar Interchange Format). The
/// checksum depends on all of the others, so it is compared last: the field that is named is the
/// one that was changed.
const FIELDS: [(&str, Range<usize>); 17] = [
    ("name", NAME),
    ("mode", MODE),
    ("uid", UID),
    ("gid", GID),
    ("size", SIZE),
    ("time", TIME),
    ("type", TYPE..TYPE + 1),
    ("link name", LINK_NAME),
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

/// The name of a block that belongs to no header.
const RECORD: &str = "record";

/// Most bytes of a field that are shown: the longest field of a header fits.
const MAX_SHOWN_BYTES: usize = 155;

impl Number {
    /// Reads a field in the writer's form; none for any other form of the same number.
    pub(in crate::bundle) fn read(field: &[u8]) -> Option<Self> {
        let (end, digits) = field.split_last()?;
        let is_octal = digits.iter().all(|digit| matches!(digit, b'0'..=b'7'));
        if *end != 0 || !is_octal {
            return None;
        }
        let value = digits
            .iter()
            .fold(0, |value, digit| value * 8 + u64::from(digit - b'0'));
        Self::new(value)
    }
}

/// Reads the path in a PAX record, leniently: [`difference`] compares the record with its one
/// encoding.
pub(in crate::bundle) fn path_of_record(record: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(record).ok()?;
    let (_length, path) = text.strip_suffix('\n')?.split_once(" path=")?;
    Some(path)
}

/// The first field in which blocks differ from those that a bundle has.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::bundle) struct Difference {
    /// Whether the field belongs to the PAX header before the file's own.
    pub in_pax_header: bool,
    /// The name of the field, by POSIX.1 or the table above.
    pub field: &'static str,
    /// The value that a bundle has there, printable.
    pub expected: String,
    /// The value that was found, printable.
    pub actual: String,
}

/// Compares the headers of a file with those that were found; none if they are the same, byte for
/// byte.
pub(in crate::bundle) fn difference(expected: &[u8], actual: &[u8]) -> Option<Difference> {
    if expected == actual {
        return None;
    }
    let own_header = expected.len().saturating_sub(BLOCK_BYTES);
    let pairs = expected.chunks(BLOCK_BYTES).zip(actual.chunks(BLOCK_BYTES));
    for (start, (expected_block, actual_block)) in (0..).step_by(BLOCK_BYTES).zip(pairs) {
        let in_pax_header = start < own_header;
        let is_record = in_pax_header && start > 0;
        let found = if is_record {
            record_difference(expected_block, actual_block)
        } else {
            field_difference(expected_block, actual_block)
        };
        if let Some((field, expected_bytes, actual_bytes)) = found {
            return Some(Difference {
                in_pax_header,
                field,
                expected: printable(expected_bytes),
                actual: printable(actual_bytes),
            });
        }
    }
    // Only the number of blocks can be left.
    let blocks = |bytes: &[u8]| format!("{} blocks", bytes.len() / BLOCK_BYTES);
    Some(Difference {
        in_pax_header: true,
        field: "length",
        expected: blocks(expected),
        actual: blocks(actual),
    })
}

/// The name of a field, and both sides of the comparison.
type Sides<'a> = (&'static str, &'a [u8], &'a [u8]);

fn record_difference<'a>(expected: &'a [u8], actual: &'a [u8]) -> Option<Sides<'a>> {
    let start = expected
        .iter()
        .zip(actual)
        .position(|(expected, actual)| expected != actual)?;
    Some((RECORD, &expected[start..], &actual[start..]))
}

fn field_difference<'a>(expected: &'a [u8], actual: &'a [u8]) -> Option<Sides<'a>> {
    let differs =
        |(_, range): &(&str, Range<usize>)| expected[range.clone()] != actual[range.clone()];
    let (field, range) = FIELDS.into_iter().find(differs)?;
    Some((field, &expected[range.clone()], &actual[range]))
}

/// Returns bytes for a message: escaped, without the zeros that fill a field, and cut to a limit.
pub(in crate::bundle) fn printable(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    format!("\"{}\"", bytes[..end.min(MAX_SHOWN_BYTES)].escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::super::STYLE;
    use super::*;
    use crate::tar_header::writer::{Entry, MAX_NUMBER, record};

    fn headers(path: &str) -> Vec<u8> {
        let (size, time) = (Number::new(0o1234).unwrap(), Number::new(0o7654).unwrap());
        STYLE.headers(&Entry::of_file(path.as_bytes(), true, size, time))
    }

    #[test]
    fn the_path_of_a_record_is_the_one_that_was_written() {
        for length in 1..2000 {
            let path = "n".repeat(length);
            assert_eq!(
                path_of_record(&record("path", path.as_bytes())),
                Some(&*path)
            );
        }
    }

    #[test]
    fn numbers_have_one_form() {
        assert_eq!(
            Number::read(b"00000001234\0"),
            Some(Number::new(0o1234).unwrap())
        );
        assert_eq!(Number::read(b"77777777777\0"), Number::new(MAX_NUMBER));
        assert_eq!(Number::new(MAX_NUMBER + 1), None);
        for other in [
            &b"       1234\0"[..],
            b"1234\0\0\0\0\0\0\0\0",
            b"000000012340",
            b"00000001238\0",
            b"-0000001234\0",
        ] {
            assert_eq!(Number::read(other), None, "{}", other.escape_ascii());
        }
        assert_eq!(
            (
                Number::read(b""),
                Number::read(b"\x80\0\0\0\0\0\0\0\0\0\0\x08")
            ),
            (None, None)
        );
    }

    #[test]
    fn every_byte_belongs_to_a_field_and_a_changed_one_is_named() {
        let path = "n".repeat(600);
        for path in ["p/x", &path] {
            let blocks = headers(path);
            assert_eq!(difference(&blocks, &blocks), None);
            for at in 0..blocks.len() {
                let mut changed = blocks.clone();
                changed[at] ^= 0x20;
                let found = difference(&blocks, &changed).unwrap();
                let is_header = at < BLOCK_BYTES || at >= blocks.len() - BLOCK_BYTES;
                let offset = at % BLOCK_BYTES;
                let of_header = FIELDS
                    .iter()
                    .find(|(_, range)| range.contains(&offset))
                    .unwrap()
                    .0;
                assert_eq!(
                    found.field,
                    if is_header { of_header } else { RECORD },
                    "{at}"
                );
                assert_eq!(found.in_pax_header, at < blocks.len() - BLOCK_BYTES, "{at}");
                assert_ne!(found.expected, found.actual, "{at}");
            }
        }
    }
}
