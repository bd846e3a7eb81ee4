//! Reads PE files of 64 bits (Microsoft, "PE Format"; the tables that comments name are its).
//!
//! * In: a file, from anybody.
//! * Out: its sections by name, and its Authenticode digest.
//! * Never: a file whose digest another reader would take over other bytes.

use std::iter::once;
use std::ops::Range;

use sha2::{Digest as _, Sha256};

use crate::digest::Sha256Digest;

/// Where the offset of the PE header is ("MS-DOS Stub").
const HEADER_OFFSET_AT: usize = 0x3c;
/// The size of signature and COFF header, before the optional header.
pub(super) const COFF_BYTES: usize = 24;
/// The magic number of an optional header with 64-bit addresses.
pub(super) const PE32_PLUS: u16 = 0x20b;
/// The offsets of fields of the optional header.
const SIZE_OF_HEADERS_AT: usize = 60;
const CHECKSUM_AT: usize = 64;
const DIRECTORY_COUNT_AT: usize = 108;
/// The fifth directory: where the file has its signatures.
const CERTIFICATES_AT: usize = 144;
const CERTIFICATES_NUMBER: u32 = 4;
/// The size of one row of the section table.
pub(super) const SECTION_BYTES: usize = 40;

/// The reason why a file is not a PE file of which a digest can be taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PeError {
    /// A header is missing, or is one of another kind of file.
    #[error("{part} is missing")]
    Missing {
        /// The header.
        part: &'static str,
    },
    /// A part lies outside of the file, or over another one.
    #[error("{part} lies outside of the file, or over another part of it")]
    Range {
        /// The part.
        part: &'static str,
    },
}

/// A PE file.
pub struct Pe<'a> {
    bytes: &'a [u8],
    optional: usize,
    headers: usize,
    sections: Vec<Section>,
}

/// A row of the section table.
struct Section {
    name: [u8; 8],
    /// The bytes of the file that are loaded, which may end before or after the padded ones.
    size: usize,
    /// The bytes of the file that the section has, padded.
    raw: Range<usize>,
}

impl<'a> Pe<'a> {
    /// Reads the headers of a file.
    ///
    /// # Errors
    /// The file is of another kind, or has parts outside of itself.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PeError> {
        let missing = |part| PeError::Missing { part };
        if !bytes.starts_with(b"MZ") {
            return Err(missing("the MS-DOS header"));
        }
        let header = u32_at(bytes, HEADER_OFFSET_AT).ok_or(missing("the MS-DOS header"))?;
        if part(bytes, header, 4) != Some(b"PE\0\0") {
            return Err(missing("the PE signature"));
        }
        let coff = || missing("the COFF header");
        let count = u16_at(bytes, header + 6).ok_or_else(coff)?;
        let optional_size = u16_at(bytes, header + 20).ok_or_else(coff)?;
        let optional = header + COFF_BYTES;
        if u16_at(bytes, optional) != Some(PE32_PLUS) {
            return Err(missing("an optional header of 64 bits"));
        }
        let directories = u32_at(bytes, optional + DIRECTORY_COUNT_AT).unwrap_or(0);
        let has_certificates = directories > CERTIFICATES_NUMBER as usize
            && usize::from(optional_size) >= CERTIFICATES_AT + 8;
        if !has_certificates {
            return Err(missing("the directory of certificates"));
        }
        let table = optional + usize::from(optional_size);
        let sections = (0..usize::from(count))
            .map(|index| Section::parse(bytes, table + SECTION_BYTES * index))
            .collect::<Result<Vec<_>, _>>()?;
        let headers = u32_at(bytes, optional + SIZE_OF_HEADERS_AT).unwrap_or(0);
        let end_of_table = table + SECTION_BYTES * sections.len();
        if headers < end_of_table || headers > bytes.len() {
            return Err(PeError::Range {
                part: "the headers",
            });
        }
        let file = Self {
            bytes,
            optional,
            headers,
            sections,
        };
        file.check_order()?;
        Ok(file)
    }

    /// Returns the sections that are in the file, by their place in it.
    fn in_order(&self) -> Vec<&Section> {
        let mut found: Vec<_> = self
            .sections
            .iter()
            .filter(|it| !it.raw.is_empty())
            .collect();
        found.sort_by_key(|section| section.raw.start);
        found
    }

    /// Expects headers, sections and certificates one after another.
    fn check_order(&self) -> Result<(), PeError> {
        let mut end = self.headers;
        for section in self.in_order() {
            if section.raw.start < end {
                return Err(PeError::Range { part: "a section" });
            }
            end = section.raw.end;
        }
        if end > self.end_of_content()? {
            return Err(PeError::Range {
                part: "the table of certificates",
            });
        }
        Ok(())
    }

    /// Returns where the certificates begin, which are the last part of a file, or the file ends.
    fn end_of_content(&self) -> Result<usize, PeError> {
        let at = self.optional + CERTIFICATES_AT;
        let (start, size) = (u32_at(self.bytes, at), u32_at(self.bytes, at + 4));
        let (start, size) = (start.unwrap_or(0), size.unwrap_or(0));
        match (start, size) {
            (0, 0) => Ok(self.bytes.len()),
            (start, 1..) if start.checked_add(size) == Some(self.bytes.len()) => Ok(start),
            _ => Err(PeError::Range {
                part: "the table of certificates",
            }),
        }
    }

    /// Returns the names of all sections, in the order of the table.
    pub fn names(&self) -> impl Iterator<Item = &[u8; 8]> {
        self.sections.iter().map(|section| &section.name)
    }

    /// Returns the content of the first section with a name, without padding.
    pub fn section(&self, name: &[u8; 8]) -> Option<&'a [u8]> {
        let section = self.sections.iter().find(|it| it.name == *name)?;
        self.bytes.get(section.raw.clone())?.get(..section.size)
    }

    /// Returns the digest that a signature covers, and that firmware extends PCR 4 with (Microsoft,
    /// "Windows Authenticode Portable Executable Signature Format", 2008, "Calculating the PE Image
    /// Hash"): the whole file without its checksum, its directory entry of certificates, and these.
    pub fn authenticode(&self) -> Sha256Digest {
        let (checksum, certificates) =
            (self.optional + CHECKSUM_AT, self.optional + CERTIFICATES_AT);
        let end = self.end_of_content().unwrap_or(self.bytes.len());
        // The sections lie one after another, but there may be gaps between them, which are left
        // out; what is behind the last one counts.
        let sections = self.in_order();
        let last = sections.last().map_or(self.headers, |it| it.raw.end);
        let mut digest = Sha256::new();
        let headers = [
            0..checksum,
            checksum + 4..certificates,
            certificates + 8..self.headers,
        ];
        let sections = sections.iter().map(|section| section.raw.clone());
        for range in headers.into_iter().chain(sections).chain(once(last..end)) {
            digest.update(self.bytes.get(range).unwrap_or_default());
        }
        Sha256Digest::from_bytes(digest.finalize().into())
    }
}

impl Section {
    fn parse(bytes: &[u8], at: usize) -> Result<Self, PeError> {
        let row = part(bytes, at, SECTION_BYTES).ok_or(PeError::Missing {
            part: "a row of the section table",
        })?;
        let outside = PeError::Range { part: "a section" };
        let field = |offset| u32_at(row, offset).unwrap_or(0);
        let (size, raw_size, raw_start) = (field(8), field(16), field(20));
        let Some(raw) = raw_start.checked_add(raw_size).map(|end| raw_start..end) else {
            return Err(outside);
        };
        if !raw.is_empty() && bytes.get(raw.clone()).is_none() {
            return Err(outside);
        }
        let name = row.first_chunk().copied().unwrap_or_default();
        Ok(Self { name, size, raw })
    }
}

fn part(bytes: &[u8], at: usize, size: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(size)?)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let field = part(bytes, at, 2)?.first_chunk()?;
    Some(u16::from_le_bytes(*field))
}

/// Returns a field of four bytes, as an offset or size.
fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    let field = part(bytes, at, 4)?.first_chunk()?;
    usize::try_from(u32::from_le_bytes(*field)).ok()
}
