//! Reads ZIP (PKWARE APPNOTE 6.3.10).
//!
//! * In: a seekable file.
//! * Out: entries, to a [`Builder`], in the order of their data.
//! * Never: two readings of one archive. The entries of the central directory must tile the file
//!   from its first byte to the directory, so that nothing overlaps, nothing is hidden, and nothing
//!   comes before or after.
//!
//! | record | signature | fixed bytes | section | read in |
//! |---|---|---|---|---|
//! | local header | `PK 3 4` | 30 | 4.3.7 | here |
//! | data descriptor | `PK 7 8`, optional | 12, zip64 20 | 4.3.9 | here |
//! | central header | `PK 1 2` | 46 | 4.3.12 | `central` |
//! | zip64 end record | `PK 6 6` | 56 | 4.3.14 | `central` |
//! | zip64 locator | `PK 6 7` | 20 | 4.3.15 | `central` |
//! | end record | `PK 5 6` | 22 | 4.3.16 | `central` |
//!
//! The `zip` crate is not used: it merges duplicates before its caller sees them, and reads over
//! bytes that this table forbids.

mod central;
mod fields;

use std::fs::File;
use std::io::{BufReader, Read, Seek};

use flate2::Crc;
use flate2::bufread::DeflateDecoder;

use self::central::CentralHeader;
use self::fields::{EXTRA_ZIP64, Fields, extra_field, unicode_path_differs, widen};
use super::super::links::{LinkError, MAX_TARGET_BYTES};
use super::builder::{Builder, OWNER_EXECUTES};
use super::error::{ArchiveError, Damage, Refusal};

const LOCAL: u32 = 0x0403_4b50;
const DESCRIPTOR: u32 = 0x0807_4b50;

const LOCAL_BYTES: usize = 30;

/// Flags (4.4.4): encrypted, strong encryption, masked headers; patched data.
const FLAGS_ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
const FLAG_PATCHED: u16 = 1 << 5;
const FLAG_DESCRIPTOR: u16 = 1 << 3;

const STORED: u16 = 0;
const DEFLATE: u16 = 8;

/// The character between the components of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Separator {
    Slash,
    /// As PowerShell 5.1 writes names (`Compress-Archive`), against 4.4.17.1.
    Backslash,
}

/// Unpacks the archive. Returns the separator that its names have.
pub(super) fn unpack(
    file: &mut File,
    packed: u64,
    builder: &mut Builder,
) -> Result<Separator, ArchiveError> {
    let directory = central::find(file, packed)?;
    let mut headers = central::read(file, &directory)?;
    let separator = Separator::of(&headers);
    if separator == Separator::Backslash {
        headers.iter_mut().for_each(replace_backslashes);
    }
    headers.sort_by_key(|header| header.offset);
    let mut reader = BufReader::new(file);
    reader.rewind().map_err(ArchiveError::read)?;
    let mut next = 0;
    for header in &headers {
        expect_offset(next, header.offset)?;
        next = unpack_entry(&mut reader, header, next, directory.offset, builder)?;
    }
    expect_offset(next, directory.offset)?;
    Ok(separator)
}

impl Separator {
    /// Returns the separator of an archive. It is the backslash only if no name has a slash: names
    /// with both have two readings, and are refused.
    fn of(headers: &[CentralHeader]) -> Self {
        let has = |byte| headers.iter().any(|header| header.name.contains(&byte));
        if has(b'\\') && !has(b'/') {
            Self::Backslash
        } else {
            Self::Slash
        }
    }
}

fn replace_backslashes(header: &mut CentralHeader) {
    for byte in &mut header.path {
        if *byte == b'\\' {
            *byte = b'/';
        }
    }
}

fn expect_offset(expected: u64, actual: u64) -> Result<(), ArchiveError> {
    if expected == actual {
        Ok(())
    } else {
        Err(ArchiveError::Damaged(Damage::Layout { expected, actual }))
    }
}

/// Unpacks the entry that starts at `start` and has to end at `limit` or before. Returns where it
/// ends.
fn unpack_entry(
    reader: &mut BufReader<&mut File>,
    header: &CentralHeader,
    start: u64,
    limit: u64,
    builder: &mut Builder,
) -> Result<u64, ArchiveError> {
    check_readable(header)?;
    let local = read_local_header(reader, header)?;
    let data_start = start + local.bytes;
    let data_end = data_start.saturating_add(header.packed);
    if data_end > limit {
        return Err(ArchiveError::Damaged(Damage::Layout {
            expected: limit,
            actual: data_end,
        }));
    }
    unpack_data(reader, header, builder)?;
    if header.flags & FLAG_DESCRIPTOR == 0 {
        Ok(data_end)
    } else {
        Ok(data_end + descriptor(reader, header, local.has_zip64)?)
    }
}

/// Refuses entries whose data cannot be decoded here.
fn check_readable(header: &CentralHeader) -> Result<(), ArchiveError> {
    let refuse = |reason| Err(ArchiveError::entry(&header.name, reason));
    if header.flags & FLAGS_ENCRYPTED != 0 {
        return refuse(Refusal::Encrypted);
    }
    if !matches!(header.method, STORED | DEFLATE) || header.flags & FLAG_PATCHED != 0 {
        return refuse(Refusal::Method {
            method: header.method,
        });
    }
    Ok(())
}

/// Decodes the data and passes the entry to the builder. The data must have exactly the announced
/// sizes, packed and unpacked, and the announced checksum.
fn unpack_data(
    reader: &mut BufReader<&mut File>,
    header: &CentralHeader,
    builder: &mut Builder,
) -> Result<(), ArchiveError> {
    let mut raw = reader.by_ref().take(header.packed);
    let mut data = Data::new(&mut raw, header.method);
    write_entry(&mut data, header, builder)?;
    let (crc, at_end) = data.finish()?;
    let refuse = |reason| Err(ArchiveError::entry(&header.name, reason));
    if !at_end || raw.limit() != 0 {
        return refuse(Refusal::Size {
            expected: header.size,
        });
    }
    if crc != header.crc {
        return refuse(Refusal::Checksum {
            expected: header.crc,
            actual: crc,
        });
    }
    Ok(())
}

/// A local header that agrees with the central one.
struct LocalHeader {
    /// Length with the name and the extra fields.
    bytes: u64,
    has_zip64: bool,
}

/// Reads a local header and compares it with the central one.
fn read_local_header(
    reader: &mut impl Read,
    header: &CentralHeader,
) -> Result<LocalHeader, ArchiveError> {
    let disagree = |field| ArchiveError::entry(&header.name, Refusal::Disagreement { field });
    let mut fixed = [0; LOCAL_BYTES];
    reader.read_exact(&mut fixed).map_err(ArchiveError::read)?;
    let length = |at: usize| usize::from(u16::from_le_bytes([fixed[at], fixed[at + 1]]));
    let (name_bytes, extra_bytes) = (length(26), length(28));
    let mut variable = vec![0; name_bytes + extra_bytes];
    reader
        .read_exact(&mut variable)
        .map_err(ArchiveError::read)?;
    let (name, extra) = variable.split_at(name_bytes);
    let zip64 = extra_field(extra, EXTRA_ZIP64).ok_or_else(|| disagree("extra fields"))?;
    let local = LocalFields::parse(&fixed, zip64).ok_or_else(|| disagree("signature"))?;
    if name != header.name || unicode_path_differs(extra, name) != Some(false) {
        return Err(disagree("name"));
    }
    if let Some(field) = local.difference(header) {
        return Err(disagree(field));
    }
    Ok(LocalHeader {
        bytes: (LOCAL_BYTES + variable.len()) as u64,
        has_zip64: zip64.is_some(),
    })
}

/// The fixed fields of a local header that have to agree with the central one.
struct LocalFields {
    flags: u16,
    method: u16,
    crc: u32,
    packed: u64,
    size: u64,
}

impl LocalFields {
    fn parse(fixed: &[u8], zip64: Option<&[u8]>) -> Option<Self> {
        let mut fields = Fields(fixed);
        if fields.u32()? != LOCAL {
            return None;
        }
        let _version_needed = fields.u16()?;
        let (flags, method) = (fields.u16()?, fields.u16()?);
        let _time_and_date = fields.u32()?;
        let crc = fields.u32()?;
        let (narrow_packed, narrow_size) = (fields.u32()?, fields.u32()?);
        let [size, packed] = widen([narrow_size, narrow_packed], zip64)?;
        Some(Self {
            flags,
            method,
            crc,
            packed,
            size,
        })
    }

    /// Returns the first field in which the two headers differ. The numbers may be zero here if a
    /// data descriptor follows.
    fn difference(&self, central: &CentralHeader) -> Option<&'static str> {
        let is_described = central.flags & FLAG_DESCRIPTOR != 0;
        let agree = |here: u64, there: u64| here == there || is_described && here == 0;
        let comparisons = [
            ("flags", self.flags == central.flags),
            ("method", self.method == central.method),
            ("checksum", agree(self.crc.into(), central.crc.into())),
            ("compressed size", agree(self.packed, central.packed)),
            ("size", agree(self.size, central.size)),
        ];
        let (field, _) = comparisons.iter().find(|(_, agrees)| !agrees)?;
        Some(field)
    }
}

/// Reads a data descriptor, with or without its signature. Its sizes have 8 bytes if the local
/// header has a zip64 field. Returns its length.
fn descriptor(
    reader: &mut BufReader<&mut File>,
    header: &CentralHeader,
    has_zip64: bool,
) -> Result<u64, ArchiveError> {
    let sizes = match (u32::try_from(header.packed), u32::try_from(header.size)) {
        (Ok(packed), Ok(size)) if !has_zip64 => [packed.to_le_bytes(), size.to_le_bytes()].concat(),
        _ => [header.packed.to_le_bytes(), header.size.to_le_bytes()].concat(),
    };
    let expected = [&header.crc.to_le_bytes()[..], &sizes].concat();
    let mut actual = vec![0; expected.len()];
    reader.read_exact(&mut actual).map_err(ArchiveError::read)?;
    if actual == expected {
        return Ok(expected.len() as u64);
    }
    let mut rest = [0; 4];
    reader.read_exact(&mut rest).map_err(ArchiveError::read)?;
    actual.extend(rest);
    if actual == [&DESCRIPTOR.to_le_bytes()[..], &expected].concat() {
        return Ok(actual.len() as u64);
    }
    Err(ArchiveError::entry(
        &header.name,
        Refusal::Disagreement {
            field: "data descriptor",
        },
    ))
}

fn write_entry(
    data: &mut Data<'_>,
    header: &CentralHeader,
    builder: &mut Builder,
) -> Result<(), ArchiveError> {
    let (name, mode, size) = (&header.path, header.mode(), header.size);
    let refuse = |reason| Err(ArchiveError::entry(name, reason));
    match mode & 0o170_000 {
        0o100_000 => builder.file(name, mode & OWNER_EXECUTES != 0, size, data),
        0o040_000 if size != 0 => refuse(Refusal::Content { size }),
        0o040_000 if !name.ends_with(b"/") => refuse(Refusal::NameAndType),
        0o040_000 => builder.directory(name),
        0o120_000 => builder.link(name, &target(data, header)?),
        0o020_000 | 0o060_000 => refuse(Refusal::Device),
        0o010_000 => refuse(Refusal::Fifo),
        0o140_000 => refuse(Refusal::Socket),
        code => refuse(Refusal::Type { code }),
    }
}

/// Reads the target of a link, which is its data.
fn target(data: &mut Data<'_>, header: &CentralHeader) -> Result<Vec<u8>, ArchiveError> {
    let size = usize::try_from(header.size).unwrap_or(usize::MAX);
    if size > MAX_TARGET_BYTES {
        let too_long = LinkError::TargetLength {
            size,
            limit: MAX_TARGET_BYTES,
        };
        return Err(ArchiveError::entry(&header.name, too_long));
    }
    let mut target = vec![0; size];
    data.read_exact(&mut target).map_err(ArchiveError::read)?;
    Ok(target)
}

/// The data of an entry, decompressed, and their checksum so far.
struct Data<'a> {
    reader: Box<dyn Read + 'a>,
    crc: Crc,
}

impl<'a> Data<'a> {
    fn new(raw: &'a mut std::io::Take<&mut BufReader<&mut File>>, method: u16) -> Self {
        let reader: Box<dyn Read> = if method == STORED {
            Box::new(raw)
        } else {
            Box::new(DeflateDecoder::new(raw))
        };
        Self {
            reader,
            crc: Crc::new(),
        }
    }

    /// Returns the checksum, and whether all data were read.
    fn finish(mut self) -> Result<(u32, bool), ArchiveError> {
        let at_end = self.reader.read(&mut [0]).map_err(ArchiveError::read)? == 0;
        Ok((self.crc.sum(), at_end))
    }
}

impl Read for Data<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.crc.update(&buffer[..count]);
        Ok(count)
    }
}
