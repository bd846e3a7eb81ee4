//! Reads tar.
//!
//! * In: a stream of blocks (POSIX.1-2017 `pax`, "ustar Interchange Format"; GNU long names).
//! * Out: entries, to a [`Builder`].
//! * Never: memory by the size that a header claims; a stream that goes on after its end.

use std::io::{ErrorKind, Read};

use tar::{EntryType, Header};

use super::builder::{Builder, OWNER_EXECUTES};
use super::error::{ArchiveError, Damage, Refusal};
use crate::tar_header::extension::{Extension, GlobalError, Malformed};
use crate::tar_header::{BLOCK_BYTES, Block, checksum_matches, is_unambiguous};

/// Longest PAX header or GNU long name, in bytes.
pub const MAX_EXTENDED_HEADER_BYTES: u64 = 64 * 1024;

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
            EntryType::XHeader => extension.read_pax(&extended(stream, builder, header)?)?,
            EntryType::XGlobalHeader => {
                Extension::check_global_pax(&extended(stream, builder, header)?)?
            }
            EntryType::GNULongName => extension.set_gnu_path(extended(stream, builder, header)?)?,
            EntryType::GNULongLink => {
                extension.set_gnu_target(extended(stream, builder, header)?)?
            }
            _ => entry(stream, builder, header, std::mem::take(&mut extension))?,
        }
    }
}

/// Checks one entry and passes it to the builder.
fn entry(
    stream: &mut dyn Read,
    builder: &mut Builder,
    header: &Header,
    mut extension: Extension,
) -> Result<(), ArchiveError> {
    let fits = extension.fits(header);
    let name = extension.path(header);
    let size = entry_size(header)?;
    let refuse = |reason| Err(ArchiveError::entry(&name, reason));
    if extension.is_sparse() {
        return refuse(Refusal::Sparse);
    }
    if extension.size().is_some_and(|pax| pax != size) {
        return refuse(Refusal::Disagreement { field: "size" });
    }
    let is_clear = fits && is_unambiguous(header);
    match header.entry_type() {
        EntryType::Directory | EntryType::Symlink if size != 0 => refuse(Refusal::Content { size }),
        EntryType::Regular | EntryType::Directory | EntryType::Symlink if !is_clear => {
            refuse(Refusal::Ambiguous)
        }
        EntryType::Regular => {
            let executable = number(header.mode())? & OWNER_EXECUTES != 0;
            builder.file(&name, executable, size, &mut *stream)?;
            padding(stream, builder, size)
        }
        EntryType::Directory => builder.directory(&name),
        EntryType::Symlink => builder.link(&name, &extension.target(header)),
        other => refuse(refused_type(other)),
    }
}

fn entry_size(header: &Header) -> Result<u64, ArchiveError> {
    // A directory's size may be left out: its field has only zeros then.
    if header.entry_type() == EntryType::Directory && header.as_old().size == [0; 12] {
        return Ok(0);
    }
    number(header.entry_size())
}

/// Returns the refusal of an entry that is neither a file, a directory nor a symbolic link.
fn refused_type(entry_type: EntryType) -> Refusal {
    match entry_type {
        EntryType::Link => Refusal::HardLink,
        EntryType::Char | EntryType::Block => Refusal::Device,
        EntryType::Fifo => Refusal::Fifo,
        EntryType::GNUSparse => Refusal::Sparse,
        other => Refusal::Type {
            code: other.as_byte().into(),
        },
    }
}

impl From<Malformed> for ArchiveError {
    fn from(Malformed: Malformed) -> Self {
        Self::Damaged(Damage::ExtendedHeader)
    }
}

impl From<GlobalError> for ArchiveError {
    fn from(error: GlobalError) -> Self {
        Self::Damaged(match error {
            GlobalError::Malformed => Damage::ExtendedHeader,
            GlobalError::Names => Damage::GlobalHeader,
        })
    }
}

/// Reads the content of a PAX header or a GNU long name.
fn extended(
    stream: &mut dyn Read,
    builder: &mut Builder,
    header: &Header,
) -> Result<Vec<u8>, ArchiveError> {
    if !is_unambiguous(header) {
        return Err(ArchiveError::Damaged(Damage::ExtendedHeader));
    }
    let size = number(header.entry_size())?;
    if size > MAX_EXTENDED_HEADER_BYTES {
        return Err(ArchiveError::Damaged(Damage::ExtendedHeaderSize {
            size,
            limit: MAX_EXTENDED_HEADER_BYTES,
        }));
    }
    builder.count_bytes(size)?;
    let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
    stream.read_exact(&mut bytes).map_err(ArchiveError::read)?;
    padding(stream, builder, size)?;
    Ok(bytes)
}

/// Reads the bytes that fill the last block of an entry's data.
fn padding(stream: &mut dyn Read, builder: &mut Builder, size: u64) -> Result<(), ArchiveError> {
    let used = usize::try_from(size % BLOCK_BYTES as u64).unwrap_or_default();
    let mut block = [0; BLOCK_BYTES];
    let rest = &mut block[..(BLOCK_BYTES - used) % BLOCK_BYTES];
    builder.count_bytes(rest.len() as u64)?;
    stream.read_exact(rest).map_err(ArchiveError::read)
}

fn read_block(stream: &mut dyn Read, builder: &mut Builder) -> Result<Block, ArchiveError> {
    let mut block = [0; BLOCK_BYTES];
    builder.count_bytes(BLOCK_BYTES as u64)?;
    stream.read_exact(&mut block).map_err(ArchiveError::read)?;
    Ok(block)
}

/// Reads the rest of the stream after the first of the two blocks of zeros that end an archive.
/// Writers fill their last record with more of them.
fn end(
    stream: &mut dyn Read,
    builder: &mut Builder,
    extension: &Extension,
) -> Result<(), ArchiveError> {
    if !extension.is_empty() {
        return Err(ArchiveError::Damaged(Damage::ExtendedHeader));
    }
    if read_block(stream, builder)? != [0; BLOCK_BYTES] {
        return Err(ArchiveError::Damaged(Damage::TrailingBytes));
    }
    let mut buffer = [0; 16 * BLOCK_BYTES];
    loop {
        let count = match stream.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result.map_err(ArchiveError::read)?,
        };
        if count == 0 {
            return Ok(());
        }
        if buffer[..count].iter().any(|byte| *byte != 0) {
            return Err(ArchiveError::Damaged(Damage::TrailingBytes));
        }
        builder.count_bytes(count as u64)?;
    }
}

fn number<T>(field: std::io::Result<T>) -> Result<T, ArchiveError> {
    field.map_err(|_| ArchiveError::Damaged(Damage::HeaderNumber))
}
