//! Tar. Comes in: a stream of blocks (POSIX.1-2017 `pax`, "ustar Interchange Format"; GNU long names). Goes out: entries,
//! to a [`Builder`]. Never: memory by the size that a header claims; a stream that goes on after its end.

use std::io::{ErrorKind, Read};

use tar::{EntryType, Header};

use super::builder::{Builder, OWNER_EXECUTES};
use super::error::{ArchiveError, Damage, Refusal};
use crate::tar_header::is_unambiguous;

/// Longest PAX header or GNU long name, in bytes.
pub const MAX_EXTENDED_HEADER_BYTES: u64 = 64 * 1024;

const BLOCK_BYTES: usize = 512;

type Block = [u8; BLOCK_BYTES];

/// What headers say about the entry that follows them.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
    seen: bool,
}

/// Whether these are the first bytes of a tar: a header that matches its checksum.
pub(super) fn starts(bytes: &[u8]) -> bool {
    bytes.first_chunk().is_some_and(|block: &Block| checksum_matches(block))
}

pub(super) fn unpack(stream: &mut dyn Read, builder: &mut Builder) -> Result<(), ArchiveError> {
    let mut extension = Extension::default();
    loop {
        let block = read_block(stream, builder)?;
        if block == [0; BLOCK_BYTES] {
            return end(stream, builder, &extension);
        }
        if !checksum_matches(&block) {
            return Err(ArchiveError::Damaged(Damage::HeaderChecksum));
        }
        let header = Header::from_byte_slice(&block);
        match header.entry_type() {
            EntryType::XHeader => extension.read_pax(&extended(stream, builder, header)?, true)?,
            EntryType::XGlobalHeader => {
                let mut global = Extension::default();
                global.read_pax(&extended(stream, builder, header)?, false)?;
                if global.path.is_some() || global.target.is_some() || global.size.is_some() || global.sparse {
                    return Err(ArchiveError::Damaged(Damage::GlobalHeader));
                }
            }
            EntryType::GNULongName => set_once(&mut extension.path, gnu_name(extended(stream, builder, header)?))?,
            EntryType::GNULongLink => set_once(&mut extension.target, gnu_name(extended(stream, builder, header)?))?,
            _ => entry(stream, builder, header, std::mem::take(&mut extension))?,
        }
    }
}

fn entry(
    stream: &mut dyn Read,
    builder: &mut Builder,
    header: &Header,
    extension: Extension,
) -> Result<(), ArchiveError> {
    let name = extension.path.unwrap_or_else(|| header.path_bytes().into_owned());
    let size = number(header.entry_size())?;
    let executable = number(header.mode())? & OWNER_EXECUTES != 0;
    let refuse = |reason| Err(ArchiveError::entry(&name, reason));
    if extension.sparse {
        return refuse(Refusal::Sparse);
    }
    if extension.size.is_some_and(|pax| pax != size) {
        return refuse(Refusal::Disagreement { field: "size" });
    }
    match header.entry_type() {
        EntryType::Directory | EntryType::Symlink if size != 0 => refuse(Refusal::Content { size }),
        EntryType::Regular | EntryType::Directory | EntryType::Symlink if !is_unambiguous(header) => {
            refuse(Refusal::Ambiguous)
        }
        EntryType::Regular => {
            builder.file(&name, executable, size, &mut *stream)?;
            padding(stream, builder, size)
        }
        EntryType::Directory => builder.folder(&name),
        EntryType::Symlink => {
            let target = extension.target.or_else(|| header.link_name_bytes().map(|bytes| bytes.into_owned()));
            builder.link(&name, &target.unwrap_or_default())
        }
        EntryType::Link => refuse(Refusal::HardLink),
        EntryType::Char | EntryType::Block => refuse(Refusal::Device),
        EntryType::Fifo => refuse(Refusal::Fifo),
        EntryType::GNUSparse => refuse(Refusal::Sparse),
        other => refuse(Refusal::Type { code: other.as_byte().into() }),
    }
}

impl Extension {
    /// Records are `LENGTH KEY=VALUE\n`; the length is decimal and counts itself.
    fn read_pax(&mut self, mut bytes: &[u8], once: bool) -> Result<(), ArchiveError> {
        const MALFORMED: ArchiveError = ArchiveError::Damaged(Damage::ExtendedHeader);
        if once && std::mem::replace(&mut self.seen, true) {
            return Err(MALFORMED);
        }
        while !bytes.is_empty() {
            let (record, rest) = pax_record(bytes).ok_or(MALFORMED)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or(MALFORMED)?;
            let value = &record[equals + 1..];
            match &record[..equals] {
                b"path" => set_once(&mut self.path, value.to_vec())?,
                b"linkpath" => set_once(&mut self.target, value.to_vec())?,
                b"size" => set_once(&mut self.size, decimal(value).ok_or(MALFORMED)?)?,
                key if key.starts_with(b"GNU.sparse.") => self.sparse = true,
                _ => {}
            }
            bytes = rest;
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        !self.seen && self.path.is_none() && self.target.is_none()
    }
}

fn pax_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = bytes.iter().take(8).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..space])?).ok()?;
    let (record, rest) = bytes.split_at_checked(length)?;
    Some((record.get(space + 1..)?.strip_suffix(b"\n")?, rest))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse().ok()
}

fn set_once<T>(place: &mut Option<T>, value: T) -> Result<(), ArchiveError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(ArchiveError::Damaged(Damage::ExtendedHeader)),
    }
}

/// GNU tar ends the name with one NUL.
fn gnu_name(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    bytes
}

fn extended(stream: &mut dyn Read, builder: &mut Builder, header: &Header) -> Result<Vec<u8>, ArchiveError> {
    if !is_unambiguous(header) {
        return Err(ArchiveError::Damaged(Damage::ExtendedHeader));
    }
    let size = number(header.entry_size())?;
    if size > MAX_EXTENDED_HEADER_BYTES {
        let limit = MAX_EXTENDED_HEADER_BYTES;
        return Err(ArchiveError::Damaged(Damage::ExtendedHeaderSize { size, limit }));
    }
    builder.count_bytes(size)?;
    let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
    stream.read_exact(&mut bytes).map_err(ArchiveError::read)?;
    padding(stream, builder, size)?;
    Ok(bytes)
}

fn padding(stream: &mut dyn Read, builder: &mut Builder, size: u64) -> Result<(), ArchiveError> {
    let used = usize::try_from(size % BLOCK_BYTES as u64).unwrap_or_default();
    let mut rest = [0; BLOCK_BYTES];
    let rest = &mut rest[..(BLOCK_BYTES - used) % BLOCK_BYTES];
    builder.count_bytes(rest.len() as u64)?;
    stream.read_exact(rest).map_err(ArchiveError::read)
}

fn read_block(stream: &mut dyn Read, builder: &mut Builder) -> Result<Block, ArchiveError> {
    let mut block = [0; BLOCK_BYTES];
    builder.count_bytes(BLOCK_BYTES as u64)?;
    stream.read_exact(&mut block).map_err(ArchiveError::read)?;
    Ok(block)
}

/// The end is two blocks of zeros; writers fill their last record with more of them.
fn end(stream: &mut dyn Read, builder: &mut Builder, extension: &Extension) -> Result<(), ArchiveError> {
    if !extension.is_empty() {
        return Err(ArchiveError::Damaged(Damage::ExtendedHeader));
    }
    if read_block(stream, builder)? != [0; BLOCK_BYTES] {
        return Err(ArchiveError::Damaged(Damage::TrailingBytes));
    }
    let mut buffer = [0; 16 * BLOCK_BYTES];
    loop {
        let read = match stream.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read.map_err(ArchiveError::read)?,
        };
        match read {
            0 => return Ok(()),
            count if buffer[..count].iter().any(|byte| *byte != 0) => {
                return Err(ArchiveError::Damaged(Damage::TrailingBytes));
            }
            count => builder.count_bytes(count as u64)?,
        }
    }
}

/// The sum of all bytes, with blanks for the checksum itself (bytes 148 to 155).
fn checksum_matches(block: &Block) -> bool {
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    let own: u32 = block[148..156].iter().map(|byte| u32::from(*byte)).sum();
    Header::from_byte_slice(block).cksum().is_ok_and(|claimed| claimed == sum - own + 8 * u32::from(b' '))
}

fn number<T>(field: std::io::Result<T>) -> Result<T, ArchiveError> {
    field.map_err(|_| ArchiveError::Damaged(Damage::HeaderNumber))
}
