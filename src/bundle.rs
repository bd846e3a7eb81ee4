//! The bundle, a gzip tar. Comes in: files and the name of their folder. Goes out: the one encoding
//! of them: the same files always give the same archive, and a reader accepts no other. Never: a
//! link, a folder entry, an owner, a time of this machine, or bytes that changed since they were
//! recorded.

#[cfg(feature = "appraisal")]
mod attributes;
#[cfg(feature = "appraisal")]
mod directory;
mod header;
#[cfg(feature = "appraisal")]
pub mod read;
#[cfg(feature = "appraisal")]
mod stream;

use std::io::{self, Read, Write};

use flate2::{Compression, GzBuilder, write::GzEncoder};

use crate::digest::{Sha256Digest, Sha256Reader};
use crate::tar_header::writer::{Archive, Number};

/// How hard to compress: a third of the time of the usual 6 for a few percent of size, with the
/// engine we use. One of the levels that leave the extra flags of the header zero.
const LEVEL: Compression = Compression::new(3);

/// "Unknown" (RFC 1952, section 2.3.1).
const GZIP_OS_UNKNOWN: u8 = 255;

/// Largest `provenance.json`, in bytes: some thousand dependencies. A reader holds it in memory, and
/// its parts beside it.
pub const MAX_PROVENANCE_BYTES: u64 = 2 << 20;

/// One file of the bundle.
pub struct Entry<'a> {
    /// Below the top folder, `/`-separated, a safe relative path.
    pub path: String,
    /// Mode 0755, else 0644. Artifacts alone are executable.
    pub executable: bool,
    /// In bytes.
    pub size: u64,
    /// The digest that was recorded of the content, where it is not in memory and could have
    /// changed since.
    pub recorded: Option<Sha256Digest>,
    /// Gives exactly `size` bytes.
    pub content: Box<dyn Read + 'a>,
}

impl<'a> Entry<'a> {
    /// A file that is in memory.
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

/// Why a file cannot be in a bundle.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EntryError {
    /// Its bytes are not those that the statement speaks of.
    #[error("{path} has the digest {actual}, and {recorded} was recorded")]
    Changed {
        /// Path of the file below the top folder.
        path: String,
        /// What the statement says.
        recorded: Sha256Digest,
        /// Of the bytes that were packed.
        actual: Sha256Digest,
    },
    /// Its size or time is more than a header holds.
    #[error("{path}: {value} is more than eleven octal digits hold")]
    Number {
        /// Path of the file below the top folder.
        path: String,
        /// Its size in bytes, or its time in seconds.
        value: u64,
    },
    /// Its path has a NUL, at which a header ends.
    #[error("{path:?} has a NUL")]
    Path {
        /// Path of the file below the top folder.
        path: String,
    },
    /// Another file has the same path.
    #[error("{path} is repeated")]
    Repeated {
        /// Path of the file below the top folder.
        path: String,
    },
}

impl From<EntryError> for io::Error {
    fn from(error: EntryError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// Writes a bundle to `out`, in the one encoding that there is of these files: sorted by path,
/// every time `epoch` (seconds).
///
/// # Errors
/// A content of another size than announced, an [`EntryError`], or what reading and writing report.
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
        let path = || entry.path.clone();
        let too_large = |value: &u64| Number::new(*value).is_none();
        if let Some(value) = [entry.size, epoch].into_iter().find(too_large) {
            return Err(EntryError::Number {
                path: path(),
                value,
            }
            .into());
        }
        if top.contains('\0') || entry.path.contains('\0') {
            return Err(EntryError::Path { path: path() }.into());
        }
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
