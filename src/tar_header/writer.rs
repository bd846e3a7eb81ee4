//! Writes archives that depend only on the files in them.
//!
//! * In: the properties of an entry.
//! * Out: the blocks that come before its content; for the same entry, always the same ones.
//! * Never: an owner other than 0, a time of this machine, or a name that is cut.

use std::io::{self, Write};

use tar::EntryType;

use super::{
    BLOCK_BYTES, Block, CHECKSUM, GID, LINK_NAME, MAGIC, MODE, SIZE, TIME, TYPE, UID, VERSION,
};

/// The length of the longest path that fits into a header, in bytes; a longer one gets a PAX header
/// before it.
pub const MAX_NAME_BYTES: usize = 100;

/// The largest number of eleven octal digits: sizes up to 8 GiB, and times up to the year 2242.
pub const MAX_NUMBER: u64 = 0o777_7777_7777;

/// The mode of a file that is not executable, and of a PAX header that has one.
pub const PLAIN_MODE: u64 = 0o644;

/// The mode of a file that every user may execute.
pub const EXECUTABLE_MODE: u64 = 0o755;

/// The end of an archive: two blocks of zeros.
pub const END: [u8; 2 * BLOCK_BYTES] = [0; 2 * BLOCK_BYTES];

/// A size or a time that has at most eleven octal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(u64);

impl Number {
    /// Wraps a number, unless it is too large.
    pub fn new(value: u64) -> Option<Self> {
        (value <= MAX_NUMBER).then_some(Self(value))
    }

    /// Returns the number itself.
    #[cfg(feature = "appraisal")]
    pub fn value(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for Number {
    type Error = io::Error;

    fn try_from(value: u64) -> io::Result<Self> {
        Self::new(value).ok_or_else(|| {
            let why = format!("{value} has more than eleven octal digits");
            io::Error::new(io::ErrorKind::InvalidInput, why)
        })
    }
}

/// The properties of an entry that its headers contain.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The type of the entry: a file, a directory or a link.
    pub kind: EntryType,
    /// The whole path of the entry.
    pub path: &'a [u8],
    /// The target of a link; empty for everything else.
    pub target: &'a [u8],
    /// The permission bits of the entry.
    pub mode: u64,
    /// The number of bytes of the content.
    pub size: Number,
    /// The time of the last change, in seconds since 1970.
    pub time: Number,
}

impl<'a> Entry<'a> {
    /// Returns the entry of a file, executable or not.
    pub fn of_file(path: &'a [u8], executable: bool, size: Number, time: Number) -> Self {
        let mode = if executable {
            EXECUTABLE_MODE
        } else {
            PLAIN_MODE
        };
        Self {
            kind: EntryType::Regular,
            path,
            target: b"",
            mode,
            size,
            time,
        }
    }
}

/// The differences between kinds of archives.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// The name of an entry whose path or target is in the PAX header before it.
    pub placeholder: &'static [u8],
    /// The name of a PAX header. One without a name has no mode and no owner either, and the time
    /// 0.
    pub pax_name: Option<&'static [u8]>,
}

impl Style {
    /// Returns the blocks that come before the content: one, or, for a long path or target, a PAX
    /// header, its records and one more.
    pub fn headers(&self, entry: &Entry<'_>) -> Vec<u8> {
        let mut records = Vec::new();
        let path = self.field("path", entry.path, &mut records);
        let target = self.field("linkpath", entry.target, &mut records);
        let mut blocks = Vec::new();
        if !records.is_empty() {
            blocks.extend(self.pax_header(records.len() as u64, entry.time));
            blocks.append(&mut records);
            blocks.resize(blocks.len().next_multiple_of(BLOCK_BYTES), 0);
        }
        let own = Entry {
            path,
            target,
            ..*entry
        };
        blocks.extend(block(&own, true));
        blocks
    }

    /// Returns the text that the header itself has for `value`, and adds a record if that is too
    /// long.
    fn field<'a>(&self, key: &str, value: &'a [u8], records: &mut Vec<u8>) -> &'a [u8] {
        if value.len() <= MAX_NAME_BYTES {
            return value;
        }
        records.extend(record(key, value));
        self.placeholder
    }

    fn pax_header(&self, bytes: u64, time: Number) -> Block {
        let header = Entry {
            kind: EntryType::XHeader,
            path: self.pax_name.unwrap_or_default(),
            target: b"",
            mode: PLAIN_MODE,
            size: Number(bytes),
            time: self.pax_name.map_or(Number(0), |_| time),
        };
        block(&header, self.pax_name.is_some())
    }
}

/// An archive that is being written, all of whose entries have the same time. The bytes that are
/// written to it are the content of the file that was begun.
pub struct Archive<W> {
    out: W,
    style: Style,
    time: Number,
    size: u64,
    left: u64,
}

impl<W: Write> Archive<W> {
    /// Begins an archive with the time `epoch`, in seconds since 1970.
    ///
    /// # Errors
    /// The time is too large for a header.
    pub fn new(out: W, style: Style, epoch: u64) -> io::Result<Self> {
        Ok(Self {
            out,
            style,
            time: epoch.try_into()?,
            size: 0,
            left: 0,
        })
    }

    /// Writes a directory; its path ends with a slash.
    ///
    /// # Errors
    /// Writing fails.
    pub fn directory(&mut self, path: &[u8]) -> io::Result<()> {
        let entry = Entry::of_file(path, true, Number(0), self.time);
        self.begin(Entry {
            kind: EntryType::Directory,
            ..entry
        })
    }

    /// Writes a symbolic link.
    ///
    /// # Errors
    /// Writing fails.
    pub fn link(&mut self, path: &[u8], target: &[u8]) -> io::Result<()> {
        let entry = Entry::of_file(path, true, Number(0), self.time);
        self.begin(Entry {
            kind: EntryType::Symlink,
            target,
            mode: 0o777,
            ..entry
        })
    }

    /// Begins a file, of which `size` bytes follow and then [`Self::end_file`].
    ///
    /// # Errors
    /// The size is too large for a header, or writing fails.
    pub fn begin_file(&mut self, path: &[u8], executable: bool, size: u64) -> io::Result<()> {
        let number = size.try_into()?;
        self.begin(Entry::of_file(path, executable, number, self.time))
    }

    /// Ends a file.
    ///
    /// # Errors
    /// The file had fewer bytes than announced, so that the rest of the archive would become part
    /// of it; or writing fails.
    pub fn end_file(&mut self) -> io::Result<()> {
        if self.left > 0 {
            let why = "a file of the archive has shrunk";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
        }
        self.out.write_all(padding(self.size))
    }

    /// Ends the archive, and returns the writer.
    ///
    /// # Errors
    /// Writing fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&END)?;
        Ok(self.out)
    }

    fn begin(&mut self, entry: Entry<'_>) -> io::Result<()> {
        (self.size, self.left) = (entry.size.0, entry.size.0);
        self.out.write_all(&self.style.headers(&entry))
    }
}

impl<W: Write> Write for Archive<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            let why = "a file of the archive has grown";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let count = self.out.write(bytes)?;
        self.left -= count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Returns the zeros that fill the last block of a content of `size` bytes.
pub fn padding(size: u64) -> &'static [u8] {
    let used = usize::try_from(size % BLOCK_BYTES as u64).unwrap_or_default();
    &END[..(BLOCK_BYTES - used) % BLOCK_BYTES]
}

/// Returns one header for an entry whose names fit into it.
fn block(entry: &Entry<'_>, has_owner: bool) -> Block {
    let mut block = [0; BLOCK_BYTES];
    block[..entry.path.len()].copy_from_slice(entry.path);
    block[LINK_NAME][..entry.target.len()].copy_from_slice(entry.target);
    if has_owner {
        put_octal(&mut block[MODE], entry.mode);
        put_octal(&mut block[UID], 0);
        put_octal(&mut block[GID], 0);
    }
    put_octal(&mut block[SIZE], entry.size.0);
    put_octal(&mut block[TIME], entry.time.0);
    block[TYPE] = entry.kind.as_byte();
    block[MAGIC].copy_from_slice(b"ustar\0");
    block[VERSION].copy_from_slice(b"00");
    // The checksum counts its own field as blanks.
    block[CHECKSUM].fill(b' ');
    let sum = block.iter().map(|byte| u64::from(*byte)).sum();
    put_octal(&mut block[CHECKSUM], sum);
    block
}

/// Fills a field with octal digits, zeros before them, and a NUL after them.
fn put_octal(field: &mut [u8], value: u64) {
    let Some((end, digits)) = field.split_last_mut() else {
        return;
    };
    *end = 0;
    let mut left = value;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (left & 7) as u8;
        left >>= 3;
    }
}

/// Returns one record of a PAX header: `LENGTH KEY=VALUE` and a line end. The length counts its own
/// digits.
pub(crate) fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
    let mut length = rest.len();
    loop {
        let digits = length.to_string();
        if digits.len() + rest.len() == length {
            return [digits.as_bytes(), &rest].concat();
        }
        length = digits.len() + rest.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tar::{Builder, Header};

    const PLAIN: Style = Style {
        placeholder: b"long",
        pax_name: None,
    };

    fn entry<'a>(path: &'a [u8], target: &'a [u8]) -> Entry<'a> {
        Entry {
            kind: EntryType::Symlink,
            path,
            target,
            mode: 0o777,
            size: Number(0o1234),
            time: Number(0o7654),
        }
    }

    #[test]
    fn blocks_are_what_another_writer_makes_of_the_same_fields() {
        for (path, target) in [(1, 1), (100, 100), (101, 1), (1, 101), (99_999, 5000)] {
            let (path, target) = (vec![b'p'; path], vec![b't'; target]);
            let mut other = Builder::new(Vec::new());
            let long = |name: &[u8]| name.len() > MAX_NAME_BYTES;
            let records = [("path", &path[..]), ("linkpath", &target)];
            let records = records.into_iter().filter(|(_, name)| long(name));
            other.append_pax_extensions(records).unwrap();
            let mut header = Header::new_ustar();
            let name = if long(&path) { b"long" } else { &path[..] };
            header.as_old_mut().name[..name.len()].copy_from_slice(name);
            let name = if long(&target) { b"long" } else { &target[..] };
            header.as_old_mut().linkname[..name.len()].copy_from_slice(name);
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            header.set_uid(0);
            header.set_gid(0);
            header.set_size(0o1234);
            header.set_mtime(0o7654);
            header.set_cksum();
            let mut expected = other.get_ref().clone();
            expected.extend(header.as_bytes());
            assert_eq!(PLAIN.headers(&entry(&path, &target)), expected);
        }
    }

    #[test]
    fn the_length_of_a_record_counts_its_own_digits() {
        for length in 1..2000 {
            let record = record("path", &vec![b'n'; length]);
            let start = format!("{} path=n", record.len());
            assert!(record.starts_with(start.as_bytes()), "{length}");
            assert!(record.ends_with(b"n\n"), "{length}");
        }
    }

    #[test]
    fn a_file_has_as_many_bytes_as_were_announced() {
        let mut archive = Archive::new(Vec::new(), PLAIN, 7).unwrap();
        archive.begin_file(b"a", false, 3).unwrap();
        assert!(archive.write_all(b"abcd").is_err());
        archive.write_all(b"ab").unwrap();
        assert!(archive.end_file().is_err());
        archive.write_all(b"c").unwrap();
        archive.end_file().unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len(), 4 * BLOCK_BYTES);
        assert!(bytes[BLOCK_BYTES..].starts_with(b"abc\0"));
    }

    #[test]
    fn a_content_is_padded_to_whole_blocks() {
        let padded = [(0, 0), (1, 511), (511, 1), (512, 0), (513, 511)];
        for (size, expected) in padded {
            assert_eq!(padding(size).len(), expected, "{size}");
        }
        assert!(Number::try_from(MAX_NUMBER + 1).is_err());
    }
}
