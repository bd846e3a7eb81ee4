//! Reads a submission as JSON (RFC 8259).
//!
//! * In: the document, cut anywhere.
//! * Out: the archive's bytes while they come, and the fields.
//! * Never: the document in memory as a whole, or a document that is not valid JSON.
//!
//! The value of the top-level key `source_data` is cut out and decoded on the way; the rest, with
//! an empty string in its place, is small and goes through `serde_json` as it is. A document is
//! valid exactly when the rest is valid and the part that was cut out is a string.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::base64::Decoder as Base64;
use super::error::SubmissionError;
use super::field::Field;
use super::fields::{Fields, Submitted, WithoutNonce};
use super::limits::MAX_JSON_FIELDS_BYTES;
use super::value::FieldValue;

/// The number of hexadecimal digits after `\u`.
const UNICODE_DIGITS: usize = 4;

/// A reader of the fields of one document.
#[derive(Debug, Default)]
pub(super) struct JsonDecoder {
    /// The document without the value of `source_data`.
    rest: Vec<u8>,
    position: Position,
    depth: usize,
    /// The string that was last seen, in `rest`, with its quotes.
    string: Range<usize>,
    /// The key of the member of the top-level object whose value is next.
    key: Option<Range<usize>>,
    has_archive: bool,
    base64: Base64,
}

/// The part of the document that the next byte belongs to.
#[derive(Debug, Default)]
enum Position {
    /// The byte is outside of strings.
    #[default]
    Structure,
    /// The byte is in a string that is kept, after a backslash or not.
    String { escaped: bool },
    /// The byte is in the value of `source_data`.
    Data,
    /// The byte is in the value of `source_data`, after a backslash.
    DataEscape,
    /// The byte is in the value of `source_data`, after `\u` and these digits.
    DataUnicode(Vec<u8>),
}

impl JsonDecoder {
    /// Takes the next bytes of the document and appends the bytes of the archive that they complete
    /// to `archive`.
    pub(super) fn feed(
        &mut self,
        mut input: &[u8],
        archive: &mut Vec<u8>,
    ) -> Result<(), SubmissionError> {
        while !input.is_empty() {
            input = self.step(input, archive)?;
        }
        Ok(())
    }

    /// Returns whether the document has an archive, perhaps an empty one.
    pub(super) fn has_archive(&self) -> bool {
        self.has_archive
    }

    /// Returns the submission, when the document is complete.
    pub(super) fn finish(self) -> Result<Submitted, SubmissionError> {
        fields(&self.rest)?.finish(WithoutNonce::Refuse)
    }

    /// Takes a byte, or as many as belong together; returns the rest.
    fn step<'a>(
        &mut self,
        input: &'a [u8],
        archive: &mut Vec<u8>,
    ) -> Result<&'a [u8], SubmissionError> {
        let Some((&byte, after)) = input.split_first() else {
            return Ok(input);
        };
        match &mut self.position {
            Position::Data => return self.data(input, archive),
            Position::Structure => self.structure(byte)?,
            Position::String { escaped } => {
                let ends = byte == b'"' && !*escaped;
                *escaped = byte == b'\\' && !*escaped;
                self.keep(byte)?;
                if ends {
                    self.string.end = self.rest.len();
                    self.position = Position::Structure;
                }
            }
            Position::DataEscape if byte == b'u' => {
                self.position = Position::DataUnicode(Vec::with_capacity(UNICODE_DIGITS))
            }
            Position::DataEscape => self.escaped(unescape(byte), archive)?,
            Position::DataUnicode(digits) => {
                digits.push(byte);
                if digits.len() == UNICODE_DIGITS {
                    let character = ascii(digits);
                    self.escaped(character, archive)?;
                }
            }
        }
        Ok(after)
    }

    fn structure(&mut self, byte: u8) -> Result<(), SubmissionError> {
        match byte {
            b'"' if self.takes_source_data() => return self.start_data(),
            b'"' => {
                self.string = self.rest.len()..self.rest.len();
                self.position = Position::String { escaped: false };
            }
            b':' if self.depth == 1 => self.key = Some(self.string.clone()),
            b',' => self.key = None,
            b'{' | b'[' => {
                self.depth += 1;
                self.key = None;
            }
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.keep(byte)
    }

    fn keep(&mut self, byte: u8) -> Result<(), SubmissionError> {
        if self.rest.len() >= MAX_JSON_FIELDS_BYTES {
            return Err(SubmissionError::FieldsTooLarge {
                limit: MAX_JSON_FIELDS_BYTES,
            });
        }
        self.rest.push(byte);
        Ok(())
    }

    /// Returns whether the string that begins is the value of `source_data`. A key has one value,
    /// so it is forgotten.
    fn takes_source_data(&mut self) -> bool {
        let quoted = self.key.take().and_then(|key| self.rest.get(key));
        quoted
            .and_then(|key| serde_json::from_slice::<String>(key).ok())
            .as_deref()
            == Some("source_data")
    }

    /// Begins the archive, unless a field before it is a reason to refuse the submission.
    fn start_data(&mut self) -> Result<(), SubmissionError> {
        if self.has_archive {
            return Err(SubmissionError::FieldRepeated {
                field: Field::Archive,
            });
        }
        self.keep(b'"')?;
        let closed = [&self.rest, &b"\"}"[..]].concat();
        fields(&closed)?;
        self.has_archive = true;
        self.position = Position::Data;
        Ok(())
    }

    /// Takes digits up to the next quote or backslash; returns the input after it.
    fn data<'a>(
        &mut self,
        input: &'a [u8],
        archive: &mut Vec<u8>,
    ) -> Result<&'a [u8], SubmissionError> {
        let end = input
            .iter()
            .position(|byte| matches!(byte, b'"' | b'\\'))
            .unwrap_or(input.len());
        let (digits, after) = input.split_at(end);
        self.base64
            .push(digits, archive)
            .map_err(|_| SubmissionError::SourceData)?;
        let Some((&byte, after)) = after.split_first() else {
            return Ok(after);
        };
        if byte == b'\\' {
            self.position = Position::DataEscape;
        } else {
            self.end_data()?;
        }
        Ok(after)
    }

    fn escaped(
        &mut self,
        character: Option<u8>,
        archive: &mut Vec<u8>,
    ) -> Result<(), SubmissionError> {
        let character = character.ok_or(SubmissionError::SourceData)?;
        self.position = Position::Data;
        self.base64
            .push(&[character], archive)
            .map_err(|_| SubmissionError::SourceData)
    }

    fn end_data(&mut self) -> Result<(), SubmissionError> {
        self.base64
            .finish()
            .map_err(|_| SubmissionError::SourceData)?;
        self.position = Position::Structure;
        self.keep(b'"')
    }
}

/// Returns the character that `\` and `letter` stand for.
fn unescape(letter: u8) -> Option<u8> {
    match letter {
        b'"' | b'\\' | b'/' => Some(letter),
        b'b' => Some(8),
        b'f' => Some(12),
        b'n' => Some(b'\n'),
        b'r' => Some(b'\r'),
        b't' => Some(b'\t'),
        _ => None,
    }
}

/// Returns the ASCII character that four hexadecimal digits stand for.
fn ascii(digits: &[u8]) -> Option<u8> {
    let mut bytes = [0; UNICODE_DIGITS / 2];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    (bytes[0] == 0 && bytes[1].is_ascii()).then_some(bytes[1])
}

/// Reads the fields of a document without the archive's bytes. No key may be repeated; a field that
/// is null counts as not given.
fn fields(document: &[u8]) -> Result<Fields, SubmissionError> {
    let Members(members) =
        serde_json::from_slice(document).map_err(|error| SubmissionError::json(&error))?;
    let mut fields = Fields::default();
    let mut names = Vec::new();
    for (name, value) in members {
        let Some(field) = Field::in_json(&name) else {
            return Err(SubmissionError::UnknownField { name });
        };
        if names.contains(&name) {
            return Err(SubmissionError::FieldRepeated { field });
        }
        names.push(name);
        if let Some(value) = FieldValue::of_json(field, value)? {
            fields.set(field, value)?;
        }
    }
    Ok(fields)
}

/// The members of an object in their order, repeated ones too.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}
