//! Why an archive is refused, for the caller: entries by their escaped names, no path of this machine.

use std::io;

use super::super::links::LinkError;
use super::name::{Label, NameError};

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// No format that is read here.
    #[error("the archive is neither ZIP, gzip tar nor plain tar")]
    UnknownFormat,
    /// Nothing to build in it.
    #[error("the archive has no files")]
    NoFiles,
    /// The archive as a whole is wrong.
    #[error("the archive is damaged: {0}")]
    Damaged(Damage),
    /// One entry is refused, and the archive with it.
    #[error("entry `{entry}`: {reason}")]
    Entry {
        /// Its name.
        entry: Label,
        /// Why.
        reason: Refusal,
    },
    /// The archive itself is too large.
    #[error("the archive has more than {limit} bytes")]
    PackedTooLarge {
        /// Bytes that are allowed.
        limit: u64,
    },
    /// Too many entries.
    #[error("the archive has more than {limit} entries")]
    TooManyEntries {
        /// Entries that are allowed.
        limit: usize,
    },
    /// The names alone would fill the memory.
    #[error("the names in the archive have more than {limit} bytes together")]
    TooManyNameBytes {
        /// Bytes that are allowed.
        limit: usize,
    },
    /// Too much comes out.
    #[error("the archive unpacks to more than {limit} bytes")]
    TooLarge {
        /// Bytes that are allowed.
        limit: u64,
    },
    /// Too much comes out for what went in.
    #[error("the archive of {packed} bytes unpacks to more than {limit} times its size")]
    Expansion {
        /// Size of the archive.
        packed: u64,
        /// Factor that is allowed.
        limit: u64,
    },
    /// A fault of ours.
    #[error("the archive could not be {action}")]
    Io {
        /// Past participle.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl ArchiveError {
    /// Whether the fault is ours, not the archive's.
    pub fn is_fault(&self) -> bool {
        matches!(self, Self::Io { .. })
    }

    pub(super) fn entry(name: &[u8], reason: impl Into<Refusal>) -> Self {
        Self::Entry {
            entry: Label::of(name),
            reason: reason.into(),
        }
    }

    pub(crate) fn write(source: io::Error) -> Self {
        Self::Io {
            action: "written",
            source,
        }
    }

    /// Of reading the archive: decoders make up their errors, the system's have a number.
    pub(crate) fn read(source: io::Error) -> Self {
        match source.kind() {
            _ if source.raw_os_error().is_some() => Self::Io {
                action: "read",
                source,
            },
            io::ErrorKind::UnexpectedEof => Self::Damaged(Damage::Truncated),
            _ => Self::Damaged(Damage::Compression),
        }
    }
}

/// What is wrong with an archive as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It ends early.
    #[error("it ends early")]
    Truncated,
    /// The compressed data, or its checksum, is wrong.
    #[error("its compressed data or checksum is wrong")]
    Compression,
    /// There are bytes after its end.
    #[error("there are bytes after its end")]
    TrailingBytes,
    /// A tar header does not match its own checksum.
    #[error("a header does not match its checksum")]
    HeaderChecksum,
    /// A number in a header is unreadable.
    #[error("a number in a header is unreadable")]
    HeaderNumber,
    /// A PAX or GNU extension is malformed, misplaced or repeated.
    #[error("an extended header is malformed, misplaced or repeated")]
    ExtendedHeader,
    /// A PAX or GNU extension is too long.
    #[error("an extended header has {size} bytes, allowed are {limit}")]
    ExtendedHeaderSize {
        /// Of the extension.
        size: u64,
        /// Bytes that are allowed.
        limit: u64,
    },
    /// A PAX header for all entries changes what entries are.
    #[error("a global header changes names or sizes")]
    GlobalHeader,
    /// The ZIP's end record is missing, ambiguous or contradicts itself.
    #[error("its end record is missing or ambiguous")]
    EndRecord,
    /// The ZIP's directory is malformed.
    #[error("its central directory is malformed")]
    CentralDirectory,
    /// The ZIP's entries overlap, or there are bytes that belong to none.
    #[error("an entry starts at byte {actual} where byte {expected} was next")]
    Layout {
        /// Where the previous entry ends.
        expected: u64,
        /// Where the next one starts.
        actual: u64,
    },
}

/// Why an entry is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Where it leads.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A name that does not lie in the directory that all entries have to lie in.
    #[error("the entry lies outside of the archive's directory")]
    OutsideTop,
    /// A symbolic link, where none is written.
    #[error("links are refused")]
    SymbolicLink,
    /// A link to another entry's bytes.
    #[error("hard links are refused")]
    HardLink,
    /// A device.
    #[error("devices are refused")]
    Device,
    /// A FIFO.
    #[error("FIFOs are refused")]
    Fifo,
    /// A socket.
    #[error("sockets are refused")]
    Socket,
    /// A file with holes.
    #[error("sparse files are refused")]
    Sparse,
    /// A type that is none of ours.
    #[error("the entry's type {code:#x} is refused")]
    Type {
        /// As it is in the archive.
        code: u32,
    },
    /// A file whose name is that of a folder, or the other way round.
    #[error("the entry's name and type disagree on whether it is a folder")]
    NameAndType,
    /// A folder or link with content.
    #[error("a folder or link of {size} bytes is refused")]
    Content {
        /// Bytes that it claims.
        size: u64,
    },
    /// A header that programs read differently.
    #[error("the entry's header can be read in two ways")]
    Ambiguous,
    /// The path was there before.
    #[error("the path occurs twice")]
    Duplicate,
    /// A file or link where a folder is needed, or the other way round.
    #[error("the path is a folder in one place and none in another")]
    FolderConflict,
    /// Something below a link.
    #[error("the path leads through a link")]
    BelowLink,
    /// The file is too large.
    #[error("the file has {size} bytes, allowed are {limit}")]
    FileTooLarge {
        /// Of the file.
        size: u64,
        /// Bytes that are allowed.
        limit: u64,
    },
    /// Encrypted.
    #[error("encrypted entries are refused")]
    Encrypted,
    /// A compression that is not read here.
    #[error("compression method {method} is refused; stored (0) and deflate (8) are read")]
    Method {
        /// Its number.
        method: u16,
    },
    /// ZIP's two headers disagree.
    #[error("the local header and the central directory disagree on the {field}")]
    Disagreement {
        /// What they disagree on.
        field: &'static str,
    },
    /// The size is not what was announced.
    #[error("the data are not the {expected} bytes that were announced")]
    Size {
        /// As announced.
        expected: u64,
    },
    /// The checksum is wrong.
    #[error("the checksum is {actual:08x}, announced was {expected:08x}")]
    Checksum {
        /// As announced.
        expected: u32,
        /// Of the data.
        actual: u32,
    },
}
