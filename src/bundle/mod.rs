//! The bundle, a gzip tar.
//!
//! * In: files, and the name of their top directory.
//! * Out: their one encoding: the same files always give the same archive, and a reader accepts no
//!   other.
//! * Never: a link, a directory entry, an owner, a time of this machine, or bytes that changed
//!   since they were recorded.
//!
//! # One encoding, written and read
//!
//! [`write()`] sorts the files by path and gives each the same time. `header` builds the header
//! blocks of one file, and is the only place that knows them.
//!
//! A reader has no parser that could be more lenient. `stream` takes path, mode, size and time from
//! the blocks of an archive, builds the blocks of such a file with the same `header`, and compares
//! all bytes (`header::compare` names the field that differs). So an archive is either the
//! writer's, byte for byte, or refused, and no other program can unpack other files from it. Only
//! the compression is free, because it says nothing about a file.
//!
//! A directory has no such encoding. `directory` walks it without following links, and refuses what
//! an archive could not contain: special files, second names, special modes, and attributes that
//! have a meaning (`attributes`).
//!
//! Both pass each file to `contents`, which counts against the limits, keeps the two documents, and
//! hashes every other file without keeping it. `read` has the functions that a caller uses.

#[cfg(all(feature = "appraisal", not(target_family = "wasm")))]
mod attributes;
#[cfg(feature = "appraisal")]
mod contents;
#[cfg(all(feature = "appraisal", not(target_family = "wasm")))]
mod directory;
mod header;
pub mod names;
#[cfg(feature = "appraisal")]
pub mod read;
#[cfg(feature = "appraisal")]
mod stream;

use std::io::{self, Read, Write};

use flate2::{Compression, GzBuilder, write::GzEncoder};

use crate::digest::{Sha256Digest, Sha256Reader};
use crate::tar_header::writer::{Archive, Number};

/// The compression level: it takes a third of the time of the usual 6, for a few percent of size,
/// with the engine that is used. It is one of the levels that leave the header's extra flags zero.
const LEVEL: Compression = Compression::new(3);

/// The operating system "unknown" of a gzip header (RFC 1952, section 2.3.1).
const GZIP_OS_UNKNOWN: u8 = 255;

/// Largest `provenance.json`, in bytes: some thousand dependencies. A reader keeps it in memory,
/// and its parts beside it.
pub const MAX_PROVENANCE_BYTES: u64 = 2 << 20;

/// One file of the bundle.
pub struct Entry<'a> {
    /// The path below the top directory: relative, safe, separated by `/`.
    pub path: String,
    /// Whether the mode is 0755 instead of 0644. Only artifacts are executable.
    pub executable: bool,
    /// The size of the content, in bytes.
    pub size: u64,
    /// The digest that was recorded of the content, where it is not in memory and could have
    /// changed since then.
    pub recorded: Option<Sha256Digest>,
    /// The content, exactly `size` bytes.
    pub content: Box<dyn Read + 'a>,
}

impl<'a> Entry<'a> {
    /// Returns a file whose content is in memory.
    pub fn of_bytes(path: impl Into<String>, bytes: &'a [u8]) -> Self {
        let size = bytes.len() as u64;
        Self {
            path: path.into(),
            executable: false,
            size,
            recorded: None,
            content: Box::new(bytes),
        }
    }
}

/// Why a file cannot be in a bundle. Paths are below the top directory.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum EntryError {
    #[error("{path} has the digest {actual}, and {recorded} was recorded")]
    Changed {
        path: String,
        recorded: Sha256Digest,
        actual: Sha256Digest,
    },
    /// The size in bytes, or the time in seconds, is too large for a header.
    #[error("{path}: {value} does not fit into eleven octal digits")]
    Number { path: String, value: u64 },
    /// The path has a NUL, at which a name in a header ends.
    #[error("{path:?} has a NUL")]
    Path { path: String },
    #[error("{path} is repeated")]
    Repeated { path: String },
}

impl From<EntryError> for io::Error {
    fn from(error: EntryError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// Writes a bundle to `out`, in the one encoding of these files: sorted by path, every time `epoch`
/// (seconds since 1970).
///
/// # Errors
/// A content has another size than its entry says, an [`EntryError`], or reading or writing fails.
pub fn write<W: Write>(
    out: W,
    top: &str,
    mut entries: Vec<Entry<'_>>,
    epoch: u64,
) -> io::Result<W> {
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    if let Some(pair) = entries.windows(2).find(|pair| pair[0].path == pair[1].path) {
        return Err(EntryError::Repeated {
            path: pair[0].path.clone(),
        }
        .into());
    }
    for entry in &entries {
        check(top, entry, epoch)?;
    }
    let gzip: GzEncoder<W> = GzBuilder::new()
        .operating_system(GZIP_OS_UNKNOWN)
        .write(out, LEVEL);
    let mut archive = Archive::new(gzip, header::STYLE, epoch)?;
    for entry in entries {
        append(&mut archive, top, entry)?;
    }
    archive.finish()?.finish()
}

/// Expects that the headers can represent an entry.
fn check(top: &str, entry: &Entry<'_>, epoch: u64) -> Result<(), EntryError> {
    let path = || entry.path.clone();
    for value in [entry.size, epoch] {
        if Number::new(value).is_none() {
            return Err(EntryError::Number {
                path: path(),
                value,
            });
        }
    }
    if top.contains('\0') || entry.path.contains('\0') {
        return Err(EntryError::Path { path: path() });
    }
    Ok(())
}

fn append<W: Write>(archive: &mut Archive<W>, top: &str, entry: Entry<'_>) -> io::Result<()> {
    let path = format!("{top}/{}", entry.path);
    archive.begin_file(path.as_bytes(), entry.executable, entry.size)?;
    let mut hashed = Sha256Reader::new(entry.content);
    io::copy(&mut hashed, archive)?;
    archive.end_file()?;
    let (actual, _) = hashed.finish();
    match entry.recorded {
        Some(recorded) if recorded != actual => Err(EntryError::Changed {
            path: entry.path,
            recorded,
            actual,
        }
        .into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(entries: Vec<Entry<'_>>) -> io::Result<Vec<u8>> {
        write(Vec::new(), "hello", entries, 7)
    }

    #[test]
    fn the_order_of_the_files_does_not_matter() {
        let make = |names: [&str; 3]| {
            bundle(names.map(|name| Entry::of_bytes(name, b"x")).into()).unwrap()
        };
        assert_eq!(make(["a", "b/c", "b-d"]), make(["b-d", "a", "b/c"]));
    }

    #[test]
    fn entries_carry_names_modes_and_the_epoch_only() {
        let long = format!("artifacts/{}", "n".repeat(200));
        let mut program = Entry::of_bytes("artifacts/hello", b"program");
        program.executable = true;
        let bytes = bundle(vec![Entry::of_bytes(long.clone(), b"long"), program]).unwrap();
        assert_eq!(
            bytes[..10],
            [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, GZIP_OS_UNKNOWN]
        );
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&bytes[..]));
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let header = entry.header();
            assert_eq!(
                (
                    header.uid().unwrap(),
                    header.gid().unwrap(),
                    header.mtime().unwrap()
                ),
                (0, 0, 7)
            );
            seen.push((
                entry.path().unwrap().to_str().unwrap().to_owned(),
                header.mode().unwrap(),
                content,
            ));
        }
        let expected = [
            (
                "hello/artifacts/hello".to_owned(),
                0o755,
                "program".to_owned(),
            ),
            (format!("hello/{long}"), 0o644, "long".to_owned()),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn what_changed_since_it_was_recorded_is_not_packed() {
        let recorded = Sha256Digest::of(b"abc");
        for (content, expected) in [
            (&b"abc"[..], None),
            (b"abd", Some(Sha256Digest::of(b"abd"))),
        ] {
            let entry = Entry {
                recorded: Some(recorded),
                ..Entry::of_bytes("artifacts/a", content)
            };
            let found = bundle(vec![entry])
                .err()
                .and_then(|error| error.downcast::<EntryError>().ok());
            let changed = |actual| EntryError::Changed {
                path: "artifacts/a".to_owned(),
                recorded,
                actual,
            };
            assert_eq!(found, expected.map(changed));
        }
    }

    #[test]
    fn what_has_no_canonical_form_is_not_packed() {
        let refusal = |entries, epoch| {
            let error = write(Vec::new(), "hello", entries, epoch).unwrap_err();
            error.downcast::<EntryError>().unwrap()
        };
        let entry = |path| Entry::of_bytes(path, b"x");
        let repeated = EntryError::Repeated {
            path: "b".to_owned(),
        };
        assert_eq!(
            refusal(vec![entry("b"), entry("a"), entry("b")], 0),
            repeated
        );
        assert_eq!(
            refusal(vec![entry("a\0")], 0),
            EntryError::Path {
                path: "a\0".to_owned()
            }
        );
        let value = 1 << 33;
        let too_large = EntryError::Number {
            path: "a".to_owned(),
            value,
        };
        assert_eq!(
            refusal(
                vec![Entry {
                    size: value,
                    ..entry("a")
                }],
                0
            ),
            too_large
        );
        assert_eq!(refusal(vec![entry("a")], value), too_large);
        assert!(write(Vec::new(), "hello", vec![entry("a")], value - 1).is_ok());
    }

    #[test]
    fn a_content_of_another_size_is_refused() {
        for (size, kind) in [
            (2, io::ErrorKind::InvalidData),
            (4, io::ErrorKind::UnexpectedEof),
        ] {
            let mut entry = Entry::of_bytes("a", b"abc");
            entry.size = size;
            assert_eq!(bundle(vec![entry]).unwrap_err().kind(), kind);
        }
    }
}
