//! Reasons to refuse an archive.
//!
//! * In: what the readers and the builder found.
//! * Out: messages for the caller, which show the names of entries escaped and cut.
//! * Never: a path of this machine.

use std::io;

use super::super::links::LinkError;
use super::name::{Label, NameError};

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum ArchiveError {
    #[error("the archive is neither ZIP, gzip tar nor plain tar")]
    UnknownFormat,
    #[error("the archive has no files")]
    NoFiles,
    #[error("the archive is damaged: {0}")]
    Damaged(Damage),
    #[error("entry `{entry}`: {reason}")]
    Entry { entry: Label, reason: Refusal },
    #[error("the archive has more than {limit} bytes")]
    PackedTooLarge { limit: u64 },
    #[error("the archive has more than {limit} entries")]
    TooManyEntries { limit: usize },
    #[error("the names in the archive have more than {limit} bytes together")]
    TooManyNameBytes { limit: usize },
    #[error("the archive unpacks to more than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("the archive of {packed} bytes unpacks to more than {limit} times its size")]
    Expansion { packed: u64, limit: u64 },
    /// An internal error. `action` is a past participle.
    #[error("the archive could not be {action}")]
    Io {
        action: &'static str,
        source: io::Error,
    },
}

impl ArchiveError {
    /// Returns whether this is an internal error and no fault of the archive.
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

    /// Converts an error of reading the archive. The system's errors have a number; decoders
    /// construct theirs without one.
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
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum Damage {
    #[error("it ends early")]
    Truncated,
    #[error("its compressed data or checksum is wrong")]
    Compression,
    #[error("there are bytes after its end")]
    TrailingBytes,
    /// A tar header does not match its own checksum.
    #[error("a header does not match its checksum")]
    HeaderChecksum,
    #[error("a number in a header is unreadable")]
    HeaderNumber,
    /// A PAX or GNU extension is malformed, misplaced or repeated.
    #[error("an extended header is malformed, misplaced or repeated")]
    ExtendedHeader,
    #[error("an extended header has {size} bytes, allowed are {limit}")]
    ExtendedHeaderSize { size: u64, limit: u64 },
    /// A PAX header for all entries changes what entries are.
    #[error("a global header changes names or sizes")]
    GlobalHeader,
    /// The ZIP's end record is missing, ambiguous or contradicts itself.
    #[error("its end record is missing or ambiguous")]
    EndRecord,
    /// The ZIP's central directory is malformed.
    #[error("its central directory is malformed")]
    CentralDirectory,
    /// The ZIP's entries overlap, or there are bytes that belong to none. The previous entry ends
    /// at `expected`.
    #[error("an entry starts at byte {actual} where byte {expected} was next")]
    Layout { expected: u64, actual: u64 },
}

/// Why an entry is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum Refusal {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The rules require one top directory, and the entry is not below it.
    #[error("the entry lies outside of the archive's directory")]
    OutsideTop,
    /// A symbolic link where the rules allow none.
    #[error("links are refused")]
    SymbolicLink,
    #[error("hard links are refused")]
    HardLink,
    #[error("devices are refused")]
    Device,
    #[error("FIFOs are refused")]
    Fifo,
    #[error("sockets are refused")]
    Socket,
    #[error("sparse files are refused")]
    Sparse,
    /// Any other type. `code` is the number that the archive has.
    #[error("the entry's type {code:#x} is refused")]
    Type { code: u32 },
    #[error("the entry's name and type disagree on whether it is a directory")]
    NameAndType,
    /// A directory or link claims to have content.
    #[error("a directory or link of {size} bytes is refused")]
    Content { size: u64 },
    /// A header that programs read differently.
    #[error("the entry's header can be read in two ways")]
    Ambiguous,
    #[error("the path occurs twice")]
    Duplicate,
    /// A file or link where other entries need a directory, or the other way round.
    #[error("the path is a directory in one entry and none in another")]
    DirectoryConflict,
    #[error("the path leads through a link")]
    BelowLink,
    #[error("the file has {size} bytes, allowed are {limit}")]
    FileTooLarge { size: u64, limit: u64 },
    #[error("encrypted entries are refused")]
    Encrypted,
    #[error("compression method {method} is refused; stored (0) and deflate (8) are read")]
    Method { method: u16 },
    /// ZIP's two headers disagree, or a tar header and its extension.
    #[error("the local header and the central directory disagree on the {field}")]
    Disagreement { field: &'static str },
    #[error("the data are not the {expected} bytes that were announced")]
    Size { expected: u64 },
    #[error("the checksum is {actual:08x}, announced was {expected:08x}")]
    Checksum { expected: u32, actual: u32 },
}
