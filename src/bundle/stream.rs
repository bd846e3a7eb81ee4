//! Reads a bundle as it is downloaded: one gzip member around a tar stream.
//!
//! * In: bytes from anybody.
//! * Out: the files in it, one after the other, to [`Contents`].
//! * Never: an archive that is not, byte for byte, the one that the writer makes of these files.
//!   Only the compression is free: it says nothing about a file.

use std::io::{self, BufRead, Cursor, Read};
use std::ops::Range;

use flate2::bufread::GzDecoder;

use super::GZIP_OS_UNKNOWN;
use super::contents::{
    Contents, MAX_PAX_BYTES, MAX_UNPACKED_BYTES, ReadError, is_artifact, within,
};
use super::header::{NAME, STYLE, difference, path_of_record, printable};
use crate::tar_header::writer::{EXECUTABLE_MODE, Entry, Number};
use crate::tar_header::{BLOCK_BYTES, Block, MODE, SIZE, TIME, TYPE};

/// The header of the one gzip member (RFC 1952, section 2.3): deflate, no flags, no time, no extra
/// flags, and an unknown system, so that it says nothing about the machine that made the bundle.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, GZIP_OS_UNKNOWN];

/// The fields of a gzip header with the offset of each one's end (RFC 1952, section 2.3).
const GZIP_FIELDS: [(&str, usize); 6] = [
    ("magic", 2),
    ("method", 3),
    ("flags", 4),
    ("time", 8),
    ("extra flags", 9),
    ("system", 10),
];

/// The type of a PAX header that applies to the next entry.
const PAX_HEADER: u8 = b'x';

/// The content of both end blocks.
const END_BLOCK: Block = [0; BLOCK_BYTES];

/// A gzip member whose header was compared: the receipt of [`Packed::open`].
pub(super) struct Packed<R>(GzDecoder<io::Chain<Cursor<Vec<u8>>, R>>);

impl<R: BufRead> Packed<R> {
    /// Compares the header with the one that a bundle has.
    pub(super) fn open(mut packed: R) -> Result<Self, ReadError> {
        let mut header = vec![0; GZIP_HEADER.len()];
        packed.read_exact(&mut header).map_err(ReadError::Damaged)?;
        let mut start = 0;
        for (field, end) in GZIP_FIELDS {
            let (expected, actual) = (&GZIP_HEADER[start..end], &header[start..end]);
            if expected != actual {
                let (expected, actual) = (hex::encode(expected), hex::encode(actual));
                return Err(ReadError::NotCanonical {
                    place: "the gzip header".to_owned(),
                    field,
                    expected,
                    actual,
                });
            }
            start = end;
        }
        // The decoder reads the header again.
        Ok(Self(GzDecoder::new(Cursor::new(header).chain(packed))))
    }

    /// Expects that the member was read to its end, with its checksum, and that nothing follows it.
    pub(super) fn end(self) -> Result<(), ReadError> {
        let (_header, mut packed) = self.0.into_inner().into_inner();
        let rest = packed.fill_buf().map_err(ReadError::Damaged)?;
        if rest.is_empty() {
            Ok(())
        } else {
            Err(ReadError::Trailing)
        }
    }
}

impl<R: BufRead> Read for Packed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

/// Passes every file of a tar stream to `contents`, and expects the end of the stream after the end
/// blocks.
pub(super) fn read(unpacked: impl Read, contents: &mut Contents) -> Result<(), ReadError> {
    let mut stream = Stream {
        unpacked,
        left: MAX_UNPACKED_BYTES,
        time: None,
        last_path: String::new(),
    };
    while let Some(found) = stream.headers(contents)? {
        stream.file(found, contents)?;
    }
    stream.end()?;
    contents.dated(stream.time.map(Number::value));
    Ok(())
}

/// The headers of one file, as they were found.
struct Found {
    path: String,
    /// All blocks, including those of a PAX header and its record.
    blocks: Vec<u8>,
    /// The block directly before the content.
    header: Block,
}

impl Found {
    /// Describes the entry for a message.
    fn place(&self) -> String {
        format!("the entry {:?}", self.path)
    }

    fn is_executable(&self) -> bool {
        let mode = Number::read(&self.header[MODE]).map(Number::value);
        mode == Some(EXECUTABLE_MODE)
    }

    /// Compares all blocks with those that a bundle has for such a file.
    fn compare(&self, expected: &[u8]) -> Result<(), ReadError> {
        let Some(found) = difference(expected, &self.blocks) else {
            return Ok(());
        };
        let place = if found.in_pax_header {
            format!("the PAX header of {:?}", self.path)
        } else {
            self.place()
        };
        Err(ReadError::NotCanonical {
            place,
            field: found.field,
            expected: found.expected,
            actual: found.actual,
        })
    }
}

struct Stream<R> {
    unpacked: R,
    /// The number of bytes that may still follow.
    left: u64,
    /// The time of every entry, which the first one sets.
    time: Option<Number>,
    /// The path of the previous file.
    last_path: String,
}

impl<R: Read> Stream<R> {
    /// Reads the headers of the next file; none at the first end block.
    fn headers(&mut self, contents: &mut Contents) -> Result<Option<Found>, ReadError> {
        let block = self.block()?;
        if block == END_BLOCK {
            return Ok(None);
        }
        contents.count()?;
        if block[TYPE] != PAX_HEADER {
            let path = name_in(&block)?;
            return Ok(Some(Found {
                path,
                blocks: block.to_vec(),
                header: block,
            }));
        }
        let mut blocks = block.to_vec();
        let path = self.record(&block, &mut blocks)?;
        contents.count()?;
        let header = self.block()?;
        blocks.extend(header);
        Ok(Some(Found {
            path,
            blocks,
            header,
        }))
    }

    /// Reads the record of a PAX header, and finds the path in it.
    fn record(&mut self, pax_header: &Block, blocks: &mut Vec<u8>) -> Result<String, ReadError> {
        let place = || "a PAX header".to_owned();
        let size = number(pax_header, SIZE, "size", place)?.value();
        within("a PAX header", size, MAX_PAX_BYTES, "MAX_PAX_BYTES")?;
        let mut record = Vec::new();
        while (record.len() as u64) < size {
            record.extend(self.block()?);
        }
        blocks.extend(&record);
        record.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        let path = path_of_record(&record).ok_or_else(|| ReadError::NotCanonical {
            place: place(),
            field: "record",
            expected: "LENGTH path=PATH, a line end, and no other record".to_owned(),
            actual: printable(&record),
        })?;
        Ok(path.to_owned())
    }

    /// Compares the headers with those that a bundle has for this file, and passes its content on.
    fn file(&mut self, found: Found, contents: &mut Contents) -> Result<(), ReadError> {
        let place = || found.place();
        let size = number(&found.header, SIZE, "size", place)?;
        let time = match self.time {
            Some(time) => time,
            None => number(&found.header, TIME, "time", place)?,
        };
        self.time = Some(time);
        let executable = found.is_executable();
        let member = Entry::of_file(found.path.as_bytes(), executable, size, time);
        found.compare(&STYLE.headers(&member))?;
        let name = contents.below_top(&found.path)?;
        if executable && !is_artifact(&name) {
            return Err(ReadError::NotCanonical {
                place: place(),
                field: "mode",
                expected: "the mode of a file that nobody executes".to_owned(),
                actual: printable(&found.header[MODE]),
            });
        }
        self.in_order(&found.path)?;
        self.content(&name, executable, size.value(), contents)?;
        self.last_path = found.path;
        Ok(())
    }

    /// Expects a path that sorts after the previous one, byte by byte.
    fn in_order(&self, path: &str) -> Result<(), ReadError> {
        if path == self.last_path {
            return Err(ReadError::Duplicate {
                path: path.to_owned(),
            });
        }
        if *path > *self.last_path {
            return Ok(());
        }
        Err(ReadError::NotCanonical {
            place: format!("the entry {path:?}"),
            field: "order",
            expected: format!("a path after {:?}", self.last_path),
            actual: format!("{path:?}"),
        })
    }

    fn content(
        &mut self,
        name: &str,
        executable: bool,
        size: u64,
        contents: &mut Contents,
    ) -> Result<(), ReadError> {
        let padded = size.next_multiple_of(BLOCK_BYTES as u64);
        self.take(padded)?;
        let mut content = (&mut self.unpacked).take(size);
        contents.file(name, executable, &mut content)?;
        if content.limit() > 0 {
            return Err(ReadError::Damaged(io::ErrorKind::UnexpectedEof.into()));
        }
        let mut block = END_BLOCK;
        let padding = &mut block[..usize::try_from(padded - size).unwrap_or(BLOCK_BYTES)];
        self.unpacked
            .read_exact(padding)
            .map_err(ReadError::Damaged)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(ReadError::NotCanonical {
                place: format!("the entry {name:?}"),
                field: "padding of the content",
                expected: "zeros".to_owned(),
                actual: printable(padding),
            });
        }
        Ok(())
    }

    /// Expects the second end block, and then the end of the stream.
    fn end(&mut self) -> Result<(), ReadError> {
        let not_canonical = |field, expected: &str, actual: &[u8]| ReadError::NotCanonical {
            place: "the end of the archive".to_owned(),
            field,
            expected: expected.to_owned(),
            actual: printable(actual),
        };
        let second = self.block()?;
        if second != END_BLOCK {
            return Err(not_canonical("second end block", "zeros", &second));
        }
        let mut more = [0];
        match self.unpacked.read(&mut more).map_err(ReadError::Damaged)? {
            0 => Ok(()),
            _ => Err(not_canonical("rest", "nothing after two end blocks", &more)),
        }
    }

    fn block(&mut self) -> Result<Block, ReadError> {
        self.take(BLOCK_BYTES as u64)?;
        let mut block = END_BLOCK;
        self.unpacked
            .read_exact(&mut block)
            .map_err(ReadError::Damaged)?;
        Ok(block)
    }

    /// Counts bytes before they are read.
    fn take(&mut self, bytes: u64) -> Result<(), ReadError> {
        let size = MAX_UNPACKED_BYTES - self.left + bytes;
        within(
            "the unpacked bundle",
            size,
            MAX_UNPACKED_BYTES,
            "MAX_UNPACKED_BYTES",
        )?;
        self.left -= bytes;
        Ok(())
    }
}

/// Returns the path in the name field of a header.
fn name_in(header: &Block) -> Result<String, ReadError> {
    let name = header[NAME]
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default();
    let Ok(name) = std::str::from_utf8(name) else {
        return Err(ReadError::Path {
            path: String::from_utf8_lossy(name).into_owned(),
        });
    };
    Ok(name.to_owned())
}

fn number(
    header: &Block,
    range: Range<usize>,
    field: &'static str,
    place: impl Fn() -> String,
) -> Result<Number, ReadError> {
    Number::read(&header[range.clone()]).ok_or_else(|| ReadError::NotCanonical {
        place: place(),
        field,
        expected: "11 octal digits and NUL".to_owned(),
        actual: printable(&header[range]),
    })
}
