//! ZIP (PKWARE APPNOTE 6.3.10). Comes in: a seekable file. Goes out: entries, to a [`Builder`], in the order of their
//! data. Never: two readings of one archive. The entries of the central directory must tile the file from its first
//! byte to the directory, so that nothing overlaps, nothing is hidden, and nothing comes before or after.
//!
//! | record | signature | fixed bytes | section |
//! |---|---|---|---|
//! | local header | `PK 3 4` | 30 | 4.3.7 |
//! | data descriptor | `PK 7 8`, optional | 12, zip64 20 | 4.3.9 |
//! | central header | `PK 1 2` | 46 | 4.3.12 |
//! | zip64 end record | `PK 6 6` | 56 | 4.3.14 |
//! | zip64 locator | `PK 6 7` | 20 | 4.3.15 |
//! | end record | `PK 5 6` | 22 | 4.3.16 |
//!
//! The `zip` crate is not used: it merges duplicates before anybody sees them, and reads past what this table forbids.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use flate2::Crc;
use flate2::bufread::DeflateDecoder;

use super::super::links::{LinkError, MAX_TARGET_BYTES};
use super::builder::{Builder, MAX_ARCHIVE_ENTRIES, MAX_NAME_BYTES, OWNER_EXECUTES};
use super::error::{ArchiveError, Damage, Refusal};

const LOCAL: u32 = 0x0403_4b50;
const DESCRIPTOR: u32 = 0x0807_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const ZIP64_END: u32 = 0x0606_4b50;
const ZIP64_LOCATOR: u32 = 0x0706_4b50;
const END: u32 = 0x0605_4b50;

const LOCAL_BYTES: usize = 30;
const CENTRAL_BYTES: usize = 46;
const ZIP64_END_BYTES: u64 = 56;
const ZIP64_LOCATOR_BYTES: u64 = 20;
const END_BYTES: usize = 22;

/// Largest central directory that is read into memory: every name at its limit, and as much again for extra fields.
const MAX_DIRECTORY_BYTES: u64 = (2 * MAX_NAME_BYTES + MAX_ARCHIVE_ENTRIES * CENTRAL_BYTES) as u64;

/// Flags (4.4.4): encrypted, strong encryption, masked headers; patched data.
const FLAGS_ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
const FLAG_PATCHED: u16 = 1 << 5;
const FLAG_DESCRIPTOR: u16 = 1 << 3;

const STORED: u16 = 0;
const DEFLATE: u16 = 8;

/// Extra fields: zip64 (4.5.3), Info-ZIP's second name (4.6.9).
const EXTRA_ZIP64: u16 = 1;
const EXTRA_UNICODE_PATH: u16 = 0x7075;

/// Hosts that put a Unix mode into the external attributes (4.4.2): UNIX, OS X.
const UNIX_HOSTS: [u8; 2] = [3, 19];

const EXTERNAL_ATTRIBUTE_FOLDER: u32 = 0x10;

/// What the central directory says about an entry.
struct Entry {
    name: Vec<u8>,
    mode: u32,
    flags: u16,
    method: u16,
    crc: u32,
    packed: u64,
    size: u64,
    offset: u64,
}

/// Where the central directory is.
struct Directory {
    entries: u64,
    size: u64,
    offset: u64,
    /// Where the end records start.
    end: u64,
}

pub(super) fn unpack(
    file: &mut File,
    packed: u64,
    builder: &mut Builder,
) -> Result<(), ArchiveError> {
    let directory = find_directory(file, packed)?;
    let mut entries = read_directory(file, &directory)?;
    entries.sort_by_key(|entry| entry.offset);
    let mut reader = BufReader::new(file);
    reader.rewind().map_err(ArchiveError::read)?;
    let mut next = 0;
    for entry in &entries {
        expect_offset(next, entry.offset)?;
        next = unpack_entry(&mut reader, entry, next, directory.offset, builder)?;
    }
    expect_offset(next, directory.offset)
}

fn expect_offset(expected: u64, actual: u64) -> Result<(), ArchiveError> {
    if expected == actual {
        Ok(())
    } else {
        Err(ArchiveError::Damaged(Damage::Layout { expected, actual }))
    }
}

/// A record under a cursor: every read says whether there were enough bytes.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn u16(&mut self) -> Option<u16> {
        self.bytes(2)?.try_into().ok().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.bytes(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.bytes(8)?.try_into().ok().map(u64::from_le_bytes)
    }
}

/// The value of the extra field `wanted`. Fields that do not fill the block exactly are malformed.
fn extra_field(block: &[u8], wanted: u16) -> Option<Option<&[u8]>> {
    let mut fields = Fields(block);
    let mut found = None;
    while !fields.0.is_empty() {
        let id = fields.u16()?;
        let size = fields.u16()?;
        let value = fields.bytes(size.into())?;
        if id == wanted && found.replace(value).is_some() {
            return None;
        }
    }
    Some(found)
}

fn find_directory(file: &mut File, packed: u64) -> Result<Directory, ArchiveError> {
    let tail_bytes = packed.min((END_BYTES + usize::from(u16::MAX)) as u64);
    let tail = read_at(file, packed - tail_bytes, tail_bytes)?;
    let mut fits =
        (0..tail.len().saturating_sub(END_BYTES - 1)).filter(|at| end_fits(&tail[*at..]));
    let (Some(at), None) = (fits.next(), fits.next()) else {
        return Err(ArchiveError::Damaged(Damage::EndRecord));
    };
    let end = packed - tail_bytes + at as u64;
    let directory =
        match read_end(&tail[at..], end).ok_or(ArchiveError::Damaged(Damage::EndRecord))? {
            Some(directory) => directory,
            None => read_zip64_end(file, end)?,
        };
    if directory.entries > MAX_ARCHIVE_ENTRIES as u64 {
        return Err(ArchiveError::TooManyEntries {
            limit: MAX_ARCHIVE_ENTRIES,
        });
    }
    if directory.size > MAX_DIRECTORY_BYTES {
        return Err(ArchiveError::TooManyNameBytes {
            limit: MAX_NAME_BYTES,
        });
    }
    if directory.offset.checked_add(directory.size) != Some(directory.end) {
        return Err(ArchiveError::Damaged(Damage::EndRecord));
    }
    Ok(directory)
}

fn end_fits(bytes: &[u8]) -> bool {
    let comment = bytes.len() - END_BYTES;
    bytes.starts_with(&END.to_le_bytes())
        && bytes[END_BYTES - 2..END_BYTES] == (comment as u32).to_le_bytes()[..2]
        && comment <= usize::from(u16::MAX)
}

/// `Some(None)`: the numbers are in the zip64 record.
fn read_end(bytes: &[u8], end: u64) -> Option<Option<Directory>> {
    let mut fields = Fields(bytes);
    fields.u32()?;
    let (disk, directory_disk) = (fields.u16()?, fields.u16()?);
    let (here, entries) = (fields.u16()?, fields.u16()?);
    let (size, offset) = (fields.u32()?, fields.u32()?);
    if entries == u16::MAX || size == u32::MAX || offset == u32::MAX {
        return Some(None);
    }
    let whole = disk == 0 && directory_disk == 0 && here == entries;
    whole.then(|| {
        Some(Directory {
            entries: entries.into(),
            size: size.into(),
            offset: offset.into(),
            end,
        })
    })
}

fn read_zip64_end(file: &mut File, end: u64) -> Result<Directory, ArchiveError> {
    let damaged = || ArchiveError::Damaged(Damage::EndRecord);
    let start = end
        .checked_sub(ZIP64_LOCATOR_BYTES + ZIP64_END_BYTES)
        .ok_or_else(damaged)?;
    let bytes = read_at(file, start, ZIP64_LOCATOR_BYTES + ZIP64_END_BYTES)?;
    parse_zip64_end(&bytes, start).ok_or_else(damaged)
}

fn parse_zip64_end(bytes: &[u8], start: u64) -> Option<Directory> {
    let mut fields = Fields(bytes);
    let signature = fields.u32()?;
    let length = fields.u64()?;
    fields.bytes(4)?;
    let (disk, directory_disk) = (fields.u32()?, fields.u32()?);
    let (here, entries) = (fields.u64()?, fields.u64()?);
    let (size, offset) = (fields.u64()?, fields.u64()?);
    let locator = fields.u32()?;
    let (locator_disk, locator_offset, disks) = (fields.u32()?, fields.u64()?, fields.u32()?);
    let whole =
        disk == 0 && directory_disk == 0 && locator_disk == 0 && disks <= 1 && here == entries;
    let exact = signature == ZIP64_END
        && length == ZIP64_END_BYTES - 12
        && locator == ZIP64_LOCATOR
        && locator_offset == start;
    (whole && exact).then_some(Directory {
        entries,
        size,
        offset,
        end: start,
    })
}

fn read_directory(file: &mut File, directory: &Directory) -> Result<Vec<Entry>, ArchiveError> {
    let bytes = read_at(file, directory.offset, directory.size)?;
    let mut fields = Fields(&bytes);
    let mut entries = Vec::new();
    while !fields.0.is_empty() {
        entries.push(
            central_header(&mut fields).ok_or(ArchiveError::Damaged(Damage::CentralDirectory))?,
        );
    }
    if entries.len() as u64 != directory.entries {
        return Err(ArchiveError::Damaged(Damage::CentralDirectory));
    }
    Ok(entries)
}

fn central_header(fields: &mut Fields<'_>) -> Option<Entry> {
    if fields.u32()? != CENTRAL {
        return None;
    }
    let [_, host] = fields.u16()?.to_le_bytes();
    fields.u16()?;
    let (flags, method) = (fields.u16()?, fields.u16()?);
    fields.u32()?;
    let crc = fields.u32()?;
    let (packed, size) = (fields.u32()?, fields.u32()?);
    let (name, extra, comment) = (fields.u16()?, fields.u16()?, fields.u16()?);
    let disk = fields.u16()?;
    fields.u16()?;
    let attributes = fields.u32()?;
    let offset = fields.u32()?;
    let name = fields.bytes(name.into())?.to_vec();
    let extra = fields.bytes(extra.into())?;
    fields.bytes(comment.into())?;
    let mut zip64 = Fields(extra_field(extra, EXTRA_ZIP64)?.unwrap_or_default());
    let mut wide = |narrow: u32| {
        if narrow == u32::MAX {
            zip64.u64()
        } else {
            Some(narrow.into())
        }
    };
    let (size, packed, offset) = (wide(size)?, wide(packed)?, wide(offset)?);
    if disk != 0 || unicode_path_differs(extra, &name)? {
        return None;
    }
    let mode = mode(host, attributes, &name);
    Some(Entry {
        name,
        mode,
        flags,
        method,
        crc,
        packed,
        size,
        offset,
    })
}

/// Version, checksum of the other name, the name (4.6.9).
fn unicode_path_differs(extra: &[u8], name: &[u8]) -> Option<bool> {
    Some(match extra_field(extra, EXTRA_UNICODE_PATH)? {
        None => false,
        Some(field) => field.get(5..)? != name,
    })
}

fn mode(host: u8, attributes: u32, name: &[u8]) -> u32 {
    let mode = if UNIX_HOSTS.contains(&host) {
        attributes >> 16
    } else {
        0
    };
    let folder = name.ends_with(b"/") || attributes & EXTERNAL_ATTRIBUTE_FOLDER != 0;
    match mode & 0o170_000 {
        0 if folder => 0o040_000 | mode,
        0 => 0o100_000 | mode,
        _ => mode,
    }
}

/// Returns where the entry ends.
fn unpack_entry(
    reader: &mut BufReader<&mut File>,
    entry: &Entry,
    start: u64,
    limit: u64,
    builder: &mut Builder,
) -> Result<u64, ArchiveError> {
    let refuse = |reason| Err(ArchiveError::entry(&entry.name, reason));
    if entry.flags & FLAGS_ENCRYPTED != 0 {
        return refuse(Refusal::Encrypted);
    }
    if !matches!(entry.method, STORED | DEFLATE) || entry.flags & FLAG_PATCHED != 0 {
        return refuse(Refusal::Method {
            method: entry.method,
        });
    }
    let (header, zip64) = local_header(reader, entry)?;
    let data = start + header;
    let end = data.checked_add(entry.packed).filter(|end| *end <= limit);
    let Some(end) = end else {
        return Err(ArchiveError::Damaged(Damage::Layout {
            expected: limit,
            actual: data.saturating_add(entry.packed),
        }));
    };
    let mut raw = reader.by_ref().take(entry.packed);
    let mut data = Data::new(&mut raw, entry.method);
    write_entry(&mut data, entry, builder)?;
    let (crc, at_end) = data.finish()?;
    if !at_end || raw.limit() != 0 {
        return refuse(Refusal::Size {
            expected: entry.size,
        });
    }
    if crc != entry.crc {
        return refuse(Refusal::Checksum {
            expected: entry.crc,
            actual: crc,
        });
    }
    if entry.flags & FLAG_DESCRIPTOR == 0 {
        Ok(end)
    } else {
        Ok(end + descriptor(reader, entry, zip64)?)
    }
}

/// Compares the local header with the central directory; returns its length, and whether it has a zip64 field.
fn local_header(reader: &mut impl Read, entry: &Entry) -> Result<(u64, bool), ArchiveError> {
    let disagree = |field| ArchiveError::entry(&entry.name, Refusal::Disagreement { field });
    let mut fixed = [0; LOCAL_BYTES];
    reader.read_exact(&mut fixed).map_err(ArchiveError::read)?;
    let lengths = [26, 28].map(|at| usize::from(u16::from_le_bytes([fixed[at], fixed[at + 1]])));
    let mut variable = vec![0; lengths[0] + lengths[1]];
    reader
        .read_exact(&mut variable)
        .map_err(ArchiveError::read)?;
    let (name, extra) = variable.split_at(lengths[0]);
    let zip64 = extra_field(extra, EXTRA_ZIP64).ok_or_else(|| disagree("extra fields"))?;
    let local = LocalHeader::parse(&fixed, zip64).ok_or_else(|| disagree("signature"))?;
    let described = entry.flags & FLAG_DESCRIPTOR != 0;
    let announced = |value: u64, expected: u64| value == expected || described && value == 0;
    let comparisons = [
        (
            "name",
            name == entry.name && unicode_path_differs(extra, name) == Some(false),
        ),
        ("flags", local.flags == entry.flags),
        ("method", local.method == entry.method),
        ("checksum", announced(local.crc.into(), entry.crc.into())),
        ("compressed size", announced(local.packed, entry.packed)),
        ("size", announced(local.size, entry.size)),
    ];
    match comparisons.iter().find(|(_, agree)| !agree) {
        Some((field, _)) => Err(disagree(field)),
        None => Ok(((LOCAL_BYTES + variable.len()) as u64, zip64.is_some())),
    }
}

struct LocalHeader {
    flags: u16,
    method: u16,
    crc: u32,
    packed: u64,
    size: u64,
}

impl LocalHeader {
    fn parse(fixed: &[u8], zip64: Option<&[u8]>) -> Option<Self> {
        let mut fields = Fields(fixed);
        if fields.u32()? != LOCAL {
            return None;
        }
        fields.u16()?;
        let (flags, method) = (fields.u16()?, fields.u16()?);
        fields.u32()?;
        let crc = fields.u32()?;
        let (packed, size) = (fields.u32()?, fields.u32()?);
        let mut zip64 = Fields(zip64.unwrap_or_default());
        let mut wide = |narrow: u32| {
            if narrow == u32::MAX {
                zip64.u64()
            } else {
                Some(narrow.into())
            }
        };
        let (size, packed) = (wide(size)?, wide(packed)?);
        Some(Self {
            flags,
            method,
            crc,
            packed,
            size,
        })
    }
}

/// With or without its signature; sizes of 8 bytes where the local header has a zip64 field. Returns its length.
fn descriptor(
    reader: &mut BufReader<&mut File>,
    entry: &Entry,
    zip64: bool,
) -> Result<u64, ArchiveError> {
    let sizes = match (u32::try_from(entry.packed), u32::try_from(entry.size)) {
        (Ok(packed), Ok(size)) if !zip64 => [packed.to_le_bytes(), size.to_le_bytes()].concat(),
        _ => [entry.packed.to_le_bytes(), entry.size.to_le_bytes()].concat(),
    };
    let expected = [&entry.crc.to_le_bytes()[..], &sizes].concat();
    let mut read = vec![0; expected.len()];
    reader.read_exact(&mut read).map_err(ArchiveError::read)?;
    if read == expected {
        return Ok(expected.len() as u64);
    }
    let mut rest = [0; 4];
    reader.read_exact(&mut rest).map_err(ArchiveError::read)?;
    if [&read[..], &rest].concat() == [&DESCRIPTOR.to_le_bytes()[..], &expected].concat() {
        return Ok(expected.len() as u64 + 4);
    }
    Err(ArchiveError::entry(
        &entry.name,
        Refusal::Disagreement {
            field: "data descriptor",
        },
    ))
}

fn write_entry(
    data: &mut Data<'_>,
    entry: &Entry,
    builder: &mut Builder,
) -> Result<(), ArchiveError> {
    let refuse = |reason| Err(ArchiveError::entry(&entry.name, reason));
    match entry.mode & 0o170_000 {
        0o100_000 => builder.file(
            &entry.name,
            entry.mode & OWNER_EXECUTES != 0,
            entry.size,
            data,
        ),
        0o040_000 if entry.size != 0 => refuse(Refusal::Content { size: entry.size }),
        0o040_000 if !entry.name.ends_with(b"/") => refuse(Refusal::NameAndType),
        0o040_000 => builder.folder(&entry.name),
        0o120_000 => builder.link(&entry.name, &target(data, entry)?),
        0o020_000 | 0o060_000 => refuse(Refusal::Device),
        0o010_000 => refuse(Refusal::Fifo),
        0o140_000 => refuse(Refusal::Socket),
        code => refuse(Refusal::Type { code }),
    }
}

fn target(data: &mut Data<'_>, entry: &Entry) -> Result<Vec<u8>, ArchiveError> {
    match usize::try_from(entry.size) {
        Ok(size) if size <= MAX_TARGET_BYTES => {
            let mut target = vec![0; size];
            data.read_exact(&mut target).map_err(ArchiveError::read)?;
            Ok(target)
        }
        _ => {
            let size = usize::try_from(entry.size).unwrap_or(usize::MAX);
            Err(ArchiveError::entry(
                &entry.name,
                LinkError::TargetLength {
                    size,
                    limit: MAX_TARGET_BYTES,
                },
            ))
        }
    }
}

/// An entry's data, decompressed, with their checksum.
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

    /// The checksum, and whether everything was read.
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

fn read_at(file: &mut File, offset: u64, bytes: u64) -> Result<Vec<u8>, ArchiveError> {
    file.seek(SeekFrom::Start(offset))
        .map_err(ArchiveError::read)?;
    let mut buffer = Vec::new();
    file.take(bytes)
        .read_to_end(&mut buffer)
        .map_err(ArchiveError::read)?;
    if buffer.len() as u64 == bytes {
        Ok(buffer)
    } else {
        Err(ArchiveError::Damaged(Damage::Truncated))
    }
}
