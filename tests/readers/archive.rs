//! Builds a tar stream from its blocks, and a gzip member around it: everything can be set, nothing
//! is checked.

use std::io::Write as _;
use std::ops::Range;

use flate2::{Compression, Crc, write::DeflateEncoder};

pub const BLOCK_BYTES: usize = 512;

/// The header of the gzip member of a bundle.
pub const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

// Fields of a header (POSIX.1, `pax`, ustar Interchange Format).
pub const NAME: Range<usize> = 0..100;
pub const MODE: Range<usize> = 100..108;
pub const UID: Range<usize> = 108..116;
pub const GID: Range<usize> = 116..124;
pub const SIZE: Range<usize> = 124..136;
pub const TIME: Range<usize> = 136..148;
pub const CHECKSUM: Range<usize> = 148..156;
pub const TYPE: Range<usize> = 156..157;
pub const LINK_NAME: Range<usize> = 157..257;
pub const MAGIC: Range<usize> = 257..265;
pub const OWNER: Range<usize> = 265..297;
pub const GROUP: Range<usize> = 297..329;
pub const MAJOR: Range<usize> = 329..337;
pub const MINOR: Range<usize> = 337..345;
pub const PREFIX: Range<usize> = 345..500;
pub const PADDING: Range<usize> = 500..512;

/// One file of a bundle.
#[derive(Clone, Debug)]
pub struct File {
    /// The path with the top directory.
    pub path: String,
    pub executable: bool,
    pub content: Vec<u8>,
}

/// A header and the content after it.
#[derive(Clone)]
pub struct Entry {
    pub header: [u8; BLOCK_BYTES],
    pub content: Vec<u8>,
    /// The padding of the last block of the content.
    pub padding: u8,
}

impl Entry {
    pub fn new(name: &[u8], kind: u8, mode: &str, content: Vec<u8>, time: u64) -> Self {
        let mut header = [0; BLOCK_BYTES];
        header[..name.len()].copy_from_slice(name);
        let numbers = [
            (MODE, format!("{mode:0>7}")),
            (UID, "0".repeat(7)),
            (GID, "0".repeat(7)),
            (SIZE, format!("{:011o}", content.len())),
            (TIME, format!("{time:011o}")),
        ];
        for (field, digits) in numbers {
            header[field.start..field.end - 1].copy_from_slice(digits.as_bytes());
        }
        header[TYPE.start] = kind;
        header[MAGIC].copy_from_slice(b"ustar\x0000");
        let mut entry = Self {
            header,
            content,
            padding: 0,
        };
        entry.sum();
        entry
    }

    /// Corrects the checksum.
    pub fn sum(&mut self) {
        self.header[CHECKSUM].fill(b' ');
        let sum: u32 = self.header.iter().map(|byte| u32::from(*byte)).sum();
        self.header[CHECKSUM].copy_from_slice(format!("{sum:07o}\0").as_bytes());
    }

    /// Sets a field, with zeros after the value, and the checksum.
    pub fn set(&mut self, field: Range<usize>, value: &[u8]) {
        let (start, end) = (field.start, field.end);
        self.header[start..end].fill(0);
        self.header[start..start + value.len()].copy_from_slice(value);
        if field != CHECKSUM {
            self.sum();
        }
    }

    /// Returns the name in the header itself.
    pub fn name(&self) -> String {
        let name = self.header[NAME].split(|byte| *byte == 0).next().unwrap();
        String::from_utf8_lossy(name).into_owned()
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = [&self.header[..], &self.content].concat();
        bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), self.padding);
        bytes
    }
}

/// Returns a record: `LENGTH KEY=VALUE` and a line end.
pub fn record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let length = (1..)
        .find(|length| length.to_string().len() + rest.len() == *length)
        .unwrap();
    format!("{length}{rest}")
}

/// Returns the PAX header of a path.
pub fn pax(path: &str, time: u64) -> Entry {
    pax_of(&record("path", path), time)
}

pub fn pax_of(records: &str, time: u64) -> Entry {
    Entry::new(
        b"pax-header",
        b'x',
        "644",
        records.as_bytes().to_vec(),
        time,
    )
}

/// Returns a bundle's entries for a file: one, or two.
pub fn entries_of(file: &File, time: u64) -> Vec<Entry> {
    let mode = if file.executable { "755" } else { "644" };
    let entry = |name: &str| Entry::new(name.as_bytes(), b'0', mode, file.content.clone(), time);
    if file.path.len() <= NAME.len() {
        return vec![entry(&file.path)];
    }
    vec![pax(&file.path, time), entry("pax-path")]
}

/// Entries, and the bytes after them.
#[derive(Clone)]
pub struct Archive {
    pub entries: Vec<Entry>,
    pub end: Vec<u8>,
}

impl Archive {
    /// Returns the archive of a bundle with these files.
    pub fn of(files: &[File], time: u64) -> Self {
        let mut files = files.to_vec();
        files.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
        Self {
            entries: files
                .iter()
                .flat_map(|file| entries_of(file, time))
                .collect(),
            end: vec![0; 1024],
        }
    }

    pub fn tar(&self) -> Vec<u8> {
        let mut tar: Vec<u8> = self.entries.iter().flat_map(Entry::bytes).collect();
        tar.extend(&self.end);
        tar
    }

    pub fn packed(&self) -> Vec<u8> {
        gzip(&self.tar())
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    member(&GZIP_HEADER, bytes, 6)
}

/// Returns a gzip member with any header.
pub fn member(header: &[u8], bytes: &[u8], level: u32) -> Vec<u8> {
    let mut deflate = DeflateEncoder::new(header.to_vec(), Compression::new(level));
    deflate.write_all(bytes).unwrap();
    let mut crc = Crc::new();
    crc.update(bytes);
    let trailer = [crc.sum().to_le_bytes(), (bytes.len() as u32).to_le_bytes()].concat();
    [deflate.finish().unwrap(), trailer].concat()
}
