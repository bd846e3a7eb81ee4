//! Finds and reads the central directory of a ZIP.
//!
//! * In: a seekable file.
//! * Out: where the central directory is, and its headers.
//! * Never: a file in which two end records fit, or a directory that does not end where the end
//!   records start.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use super::super::builder::{MAX_ARCHIVE_ENTRIES, MAX_NAME_BYTES};
use super::super::error::{ArchiveError, Damage};
use super::fields::{EXTRA_ZIP64, Fields, extra_field, unicode_path_differs, widen};

const CENTRAL: u32 = 0x0201_4b50;
const ZIP64_END: u32 = 0x0606_4b50;
const ZIP64_LOCATOR: u32 = 0x0706_4b50;
const END: u32 = 0x0605_4b50;

const CENTRAL_BYTES: usize = 46;
const ZIP64_END_BYTES: u64 = 56;
const ZIP64_LOCATOR_BYTES: u64 = 20;
const END_BYTES: usize = 22;

/// Largest central directory that is read into memory: every name at its limit, and as much again
/// for extra fields.
const MAX_DIRECTORY_BYTES: u64 = (2 * MAX_NAME_BYTES + MAX_ARCHIVE_ENTRIES * CENTRAL_BYTES) as u64;

/// Hosts that put a Unix mode into the external attributes (4.4.2): UNIX, OS X.
const UNIX_HOSTS: [u8; 2] = [3, 19];

/// The bit of the external attributes that DOS and its heirs set for directories.
const EXTERNAL_ATTRIBUTE_DIRECTORY: u32 = 0x10;

/// An entry as the central directory describes it.
pub(super) struct CentralHeader {
    /// The name as both headers have it.
    pub(super) name: Vec<u8>,
    /// The name with `/` as the separator.
    pub(super) path: Vec<u8>,
    host: u8,
    attributes: u32,
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) crc: u32,
    pub(super) packed: u64,
    pub(super) size: u64,
    /// Offset of the local header.
    pub(super) offset: u64,
}

impl CentralHeader {
    /// Returns the entry's Unix mode. Its type comes from the path and the attributes if the
    /// archive was packed without one.
    pub(super) fn mode(&self) -> u32 {
        let mode = if UNIX_HOSTS.contains(&self.host) {
            self.attributes >> 16
        } else {
            0
        };
        let is_directory =
            self.path.ends_with(b"/") || self.attributes & EXTERNAL_ATTRIBUTE_DIRECTORY != 0;
        match mode & 0o170_000 {
            0 if is_directory => 0o040_000 | mode,
            0 => 0o100_000 | mode,
            _ => mode,
        }
    }
}

/// Where the central directory is.
pub(super) struct CentralDirectory {
    entries: u64,
    size: u64,
    pub(super) offset: u64,
    /// Where the end records start.
    end: u64,
}

/// Finds the central directory of a file of `packed` bytes.
pub(super) fn find(file: &mut File, packed: u64) -> Result<CentralDirectory, ArchiveError> {
    let damaged = || ArchiveError::Damaged(Damage::EndRecord);
    let tail_bytes = packed.min((END_BYTES + usize::from(u16::MAX)) as u64);
    let tail_start = packed - tail_bytes;
    let tail = read_at(file, tail_start, tail_bytes)?;
    let at = only_end_record(&tail).ok_or_else(damaged)?;
    let end = tail_start + at as u64;
    let directory = match read_end(&tail[at..], end).ok_or_else(damaged)? {
        EndRecord::Whole(directory) => directory,
        EndRecord::Zip64 => read_zip64_end(file, end)?,
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
        return Err(damaged());
    }
    Ok(directory)
}

/// Returns where in the file's tail the end record starts, if there is exactly one.
fn only_end_record(tail: &[u8]) -> Option<usize> {
    let starts = 0..tail.len().saturating_sub(END_BYTES - 1);
    let mut fits = starts.filter(|at| end_fits(&tail[*at..]));
    let first = fits.next()?;
    match fits.next() {
        None => Some(first),
        Some(_) => None,
    }
}

/// Returns whether the bytes are an end record with a comment that reaches to their end.
fn end_fits(bytes: &[u8]) -> bool {
    let comment = bytes.len() - END_BYTES;
    bytes.starts_with(&END.to_le_bytes())
        && bytes[END_BYTES - 2..END_BYTES] == (comment as u32).to_le_bytes()[..2]
        && comment <= usize::from(u16::MAX)
}

/// The two kinds of end records.
enum EndRecord {
    Whole(CentralDirectory),
    /// The numbers are in the zip64 record.
    Zip64,
}

fn read_end(bytes: &[u8], end: u64) -> Option<EndRecord> {
    let mut fields = Fields(bytes);
    fields.u32()?;
    let (disk, directory_disk) = (fields.u16()?, fields.u16()?);
    let (here, entries) = (fields.u16()?, fields.u16()?);
    let (size, offset) = (fields.u32()?, fields.u32()?);
    if entries == u16::MAX || size == u32::MAX || offset == u32::MAX {
        return Some(EndRecord::Zip64);
    }
    if disk != 0 || directory_disk != 0 || here != entries {
        return None;
    }
    Some(EndRecord::Whole(CentralDirectory {
        entries: entries.into(),
        size: size.into(),
        offset: offset.into(),
        end,
    }))
}

fn read_zip64_end(file: &mut File, end: u64) -> Result<CentralDirectory, ArchiveError> {
    let damaged = || ArchiveError::Damaged(Damage::EndRecord);
    let start = end
        .checked_sub(ZIP64_LOCATOR_BYTES + ZIP64_END_BYTES)
        .ok_or_else(damaged)?;
    let bytes = read_at(file, start, ZIP64_LOCATOR_BYTES + ZIP64_END_BYTES)?;
    parse_zip64_end(&bytes, start).ok_or_else(damaged)
}

fn parse_zip64_end(bytes: &[u8], start: u64) -> Option<CentralDirectory> {
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
    (whole && exact).then_some(CentralDirectory {
        entries,
        size,
        offset,
        end: start,
    })
}

/// Reads the headers of the central directory, in its order.
pub(super) fn read(
    file: &mut File,
    directory: &CentralDirectory,
) -> Result<Vec<CentralHeader>, ArchiveError> {
    let damaged = || ArchiveError::Damaged(Damage::CentralDirectory);
    let bytes = read_at(file, directory.offset, directory.size)?;
    let mut fields = Fields(&bytes);
    let mut headers = Vec::new();
    while !fields.0.is_empty() {
        headers.push(read_header(&mut fields).ok_or_else(damaged)?);
    }
    if headers.len() as u64 != directory.entries {
        return Err(damaged());
    }
    Ok(headers)
}

/// Reads one header, in the order of 4.3.12.
fn read_header(fields: &mut Fields<'_>) -> Option<CentralHeader> {
    if fields.u32()? != CENTRAL {
        return None;
    }
    let [_version, host] = fields.u16()?.to_le_bytes();
    let _version_needed = fields.u16()?;
    let (flags, method) = (fields.u16()?, fields.u16()?);
    let _time_and_date = fields.u32()?;
    let crc = fields.u32()?;
    let (narrow_packed, narrow_size) = (fields.u32()?, fields.u32()?);
    let name_bytes = fields.u16()?;
    let extra_bytes = fields.u16()?;
    let comment_bytes = fields.u16()?;
    let disk = fields.u16()?;
    let _internal_attributes = fields.u16()?;
    let attributes = fields.u32()?;
    let narrow_offset = fields.u32()?;
    let name = fields.bytes(name_bytes.into())?.to_vec();
    let extra = fields.bytes(extra_bytes.into())?;
    fields.bytes(comment_bytes.into())?;
    let zip64 = extra_field(extra, EXTRA_ZIP64)?;
    let [size, packed, offset] = widen([narrow_size, narrow_packed, narrow_offset], zip64)?;
    if disk != 0 || unicode_path_differs(extra, &name)? {
        return None;
    }
    Some(CentralHeader {
        path: name.clone(),
        name,
        host,
        attributes,
        flags,
        method,
        crc,
        packed,
        size,
        offset,
    })
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
