//! The bundle, a gzip tar. Comes in: files and the name of their folder. Goes out: bytes that depend on these alone: the
//! same files always give the same archive. Never: a link, a folder entry, an owner, or a time of this machine.

pub mod read;

use std::io::{self, Read, Write};

use flate2::{Compression, GzBuilder, write::GzEncoder};
use tar::{Builder, EntryType, Header};

/// How hard to compress: a third of the time of the usual 6 for a few percent of size, with the engine we use.
const LEVEL: Compression = Compression::new(3);

/// "Unknown": the archive says nothing about the machine it was made on (RFC 1952, section 2.3.1).
const GZIP_OS_UNKNOWN: u8 = 255;

/// Longest path that a ustar header holds without a prefix; longer ones get a PAX header (POSIX.1, `pax`).
const MAX_USTAR_NAME_BYTES: usize = 100;

/// What a name in the header says where the PAX header has the real one.
const PAX_PLACEHOLDER: &str = "pax-path";

/// One file of the bundle.
pub struct Entry<'a> {
    /// Below the top folder, `/`-separated, a safe relative path.
    pub path: String,
    /// Mode 0755, else 0644.
    pub executable: bool,
    /// In bytes.
    pub size: u64,
    /// Gives exactly `size` bytes.
    pub content: Box<dyn Read + 'a>,
}

impl<'a> Entry<'a> {
    /// A file that is in memory.
    pub fn of_bytes(path: impl Into<String>, bytes: &'a [u8]) -> Self {
        Self { path: path.into(), executable: false, size: bytes.len() as u64, content: Box::new(bytes) }
    }
}

/// Writes a bundle to `out`: sorted names, owner 0, every time `epoch` (seconds), fixed gzip header.
///
/// # Errors
/// A content of another size than announced, or what reading and writing report.
pub fn write<W: Write>(out: W, top: &str, mut entries: Vec<Entry<'_>>, epoch: u64) -> io::Result<W> {
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let gzip: GzEncoder<W> = GzBuilder::new().operating_system(GZIP_OS_UNKNOWN).write(out, LEVEL);
    let mut archive = Builder::new(gzip);
    for entry in entries {
        append(&mut archive, top, entry, epoch)?;
    }
    archive.into_inner()?.finish()
}

fn append<W: Write>(archive: &mut Builder<W>, top: &str, entry: Entry<'_>, epoch: u64) -> io::Result<()> {
    let path = format!("{top}/{}", entry.path);
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(if entry.executable { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(epoch);
    header.set_size(entry.size);
    if path.len() > MAX_USTAR_NAME_BYTES {
        archive.append_pax_extensions([("path", path.as_bytes())])?;
        header.set_path(PAX_PLACEHOLDER)?;
    } else {
        header.set_path(&path)?;
    }
    header.set_cksum();
    let mut content = Exactly { inner: entry.content, left: entry.size };
    archive.append(&header, &mut content)?;
    content.end()
}

/// Fails for a content that is shorter or longer than announced: the archive would be damaged.
struct Exactly<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Exactly<R> {
    fn end(self) -> io::Result<()> {
        let mut more = Vec::new();
        match self.inner.take(1).read_to_end(&mut more)? {
            0 => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a file of the bundle has grown")),
        }
    }
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.inner.read(&mut buffer[..most])?;
        if count == 0 && most > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a file of the bundle has shrunk"));
        }
        self.left -= count as u64;
        Ok(count)
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
        let make = |names: [&str; 3]| bundle(names.map(|name| Entry::of_bytes(name, b"x")).into()).unwrap();
        assert_eq!(make(["a", "b/c", "b-d"]), make(["b-d", "a", "b/c"]));
    }

    #[test]
    fn entries_carry_names_modes_and_the_epoch_only() {
        let long = format!("artifacts/{}", "n".repeat(200));
        let mut program = Entry::of_bytes("artifacts/hello", b"program");
        program.executable = true;
        let bytes = bundle(vec![Entry::of_bytes(long.clone(), b"long"), program]).unwrap();
        assert_eq!(bytes[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, GZIP_OS_UNKNOWN]);
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&bytes[..]));
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 7));
            seen.push((entry.path().unwrap().to_str().unwrap().to_owned(), header.mode().unwrap(), content));
        }
        let expected = [
            ("hello/artifacts/hello".to_owned(), 0o755, "program".to_owned()),
            (format!("hello/{long}"), 0o644, "long".to_owned()),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_content_of_another_size_is_refused() {
        for (size, kind) in [(2, io::ErrorKind::InvalidData), (4, io::ErrorKind::UnexpectedEof)] {
            let mut entry = Entry::of_bytes("a", b"abc");
            entry.size = size;
            assert_eq!(bundle(vec![entry]).unwrap_err().kind(), kind);
        }
    }
}
