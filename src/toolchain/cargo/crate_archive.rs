//! Unpacks one `.crate`.
//!
//! - Comes in: its bytes, from a directory that a sandbox could write.
//! - Goes out: the files, below one directory of ours, with the digest of the very bytes that they
//!   were unpacked from.
//! - Never: a link, a device, a name outside the archive's one top directory, more than the limits,
//!   or an archive that other programs read to another end.
//!
//! The end is the one that cargo has always written, and uploads have: two blocks of zeros, nothing
//! but zeros after them, then the end of the one gzip member and of the file. Of the archives that
//! the public registry has, those of 2014 end so too.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use flate2::bufread::GzDecoder;
use tar::{EntryType, Header};

use crate::digest::{Sha256Digest, Sha256Reader};
use crate::source::archive::{EntryName, NameError};
use crate::tar_header::extension::Extension;
use crate::tar_header::{BLOCK_BYTES, Block, checksum_matches, is_unambiguous};

/// Largest archive, in bytes. The public registry's ordinary limit is 10 MiB, its exceptions are below this.
pub const MAX_CRATE_BYTES: u64 = 256 << 20;

/// Most bytes that one archive may unpack to, with its headers. Cargo's own limit is 512 MiB or twenty times the archive.
pub const MAX_CRATE_UNPACKED_BYTES: u64 = 1 << 30;

/// Most files in one archive.
pub const MAX_CRATE_FILES: usize = 100_000;

/// Most bytes of one extended header: a name and its framing.
const MAX_CRATE_EXTENSION_BYTES: u64 = 64 << 10;

/// How both end blocks look.
const END_BLOCK: Block = [0; BLOCK_BYTES];

/// The file that makes a folder a package of a directory source.
pub(super) const CHECKSUM_FILE: &str = ".cargo-checksum.json";

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
pub enum CrateError {
    /// It cannot be read.
    #[error("the archive cannot be read")]
    Read(#[source] io::Error),
    /// A file of ours cannot be written.
    #[error("its files cannot be written")]
    Write(#[source] io::Error),
    /// Too large.
    #[error("it has more than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// Unpacks to too much.
    #[error("it unpacks to more than {limit} bytes")]
    UnpacksTooLarge {
        /// The limit.
        limit: u64,
    },
    /// Too many files.
    #[error("it has more than {limit} files")]
    TooManyFiles {
        /// The limit.
        limit: usize,
    },
    /// A header that does not match its own checksum.
    #[error("a header does not match its checksum")]
    HeaderChecksum,
    /// Something stands after the first end block: some programs stop there, and others read on.
    #[error("it does not end with two blocks of zeros and nothing but zeros after them")]
    End,
    /// Something follows the gzip member: some programs read it, and others do not.
    #[error("bytes follow the end of its gzip member")]
    Trailing,
    /// A name that no upload can have either.
    #[error("the name {name:?} is refused")]
    Name {
        /// The entry's name.
        name: String,
        /// Why.
        source: NameError,
    },
    /// A name that is not below the top folder.
    #[error("it has an entry outside its folder: {name:?}")]
    Outside {
        /// The entry's name.
        name: String,
    },
    /// A header that programs read differently.
    #[error("the header of an entry can be read in two ways: {name:?}")]
    Ambiguous {
        /// The entry's name.
        name: String,
    },
    /// A link, device or FIFO.
    #[error("it has an entry that is neither file nor folder: {name:?}")]
    Kind {
        /// The entry's name.
        name: String,
    },
    /// The same name twice, or once as a file and once as a directory.
    #[error("it has an entry twice, or as a file and as a directory: {name:?}")]
    Duplicate {
        /// The entry's name.
        name: String,
    },
}

/// Unpacks the archive of the package `top` (`NAME-VERSION`) into the new folder `parent`/`top`.
///
/// The digest is that of the whole archive; whoever calls compares it before anything reads the folder.
///
/// # Errors
/// It is refused, or its files cannot be written; what was unpacked until then is left.
pub fn unpack(
    archive: File,
    top: &str,
    parent: &Path,
    time: SystemTime,
) -> Result<Sha256Digest, CrateError> {
    fs::create_dir(parent.join(top)).map_err(CrateError::Write)?;
    let size = archive.metadata().map_err(CrateError::Read)?.len();
    if size > MAX_CRATE_BYTES {
        return Err(CrateError::TooLarge {
            limit: MAX_CRATE_BYTES,
        });
    }
    // What is added to the file meanwhile is not read.
    let packed = BufReader::new(Sha256Reader::new(archive.take(size)));
    let mut stream = Stream {
        plain: GzDecoder::new(packed),
        left: MAX_CRATE_UNPACKED_BYTES,
    };
    unpack_entries(&mut stream, &Target { top, parent, time })?;
    let mut rest = stream.plain.into_inner();
    if !rest.fill_buf().map_err(CrateError::Read)?.is_empty() {
        return Err(CrateError::Trailing);
    }
    let (digest, _) = rest.into_inner().finish();
    Ok(digest)
}

/// Makes the unpacked folder a package of a directory source, with the digest that was computed.
pub(super) fn mark(folder: &Path, digest: Sha256Digest) -> io::Result<()> {
    fs::write(
        folder.join(CHECKSUM_FILE),
        format!("{{\"files\":{{}},\"package\":\"{digest}\"}}"),
    )
}

struct Target<'a> {
    top: &'a str,
    parent: &'a Path,
    time: SystemTime,
}

/// A tar stream, and how much of it may still come.
struct Stream<R> {
    plain: R,
    left: u64,
}

impl<R: Read> Stream<R> {
    /// Reads the next header; nothing at the first end block.
    fn header(&mut self) -> Result<Option<Header>, CrateError> {
        let block = self.block()?;
        if block == END_BLOCK {
            return Ok(None);
        }
        if !checksum_matches(&block) {
            return Err(CrateError::HeaderChecksum);
        }
        Ok(Some(Header::from_byte_slice(&block).clone()))
    }

    /// Passes a content on, and reads what fills its last block.
    fn content<T>(
        &mut self,
        size: u64,
        read: impl FnOnce(&mut io::Take<&mut R>) -> Result<T, CrateError>,
    ) -> Result<T, CrateError> {
        let padded = size.checked_next_multiple_of(BLOCK_BYTES as u64);
        self.count(padded.unwrap_or(u64::MAX))?;
        let mut content = (&mut self.plain).take(size);
        let result = read(&mut content)?;
        // What nobody wanted of it, too.
        io::copy(&mut content, &mut io::sink()).map_err(CrateError::Read)?;
        if content.limit() > 0 {
            return Err(CrateError::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        let mut block = END_BLOCK;
        let used = usize::try_from(size % BLOCK_BYTES as u64).unwrap_or_default();
        let padding = &mut block[..(BLOCK_BYTES - used) % BLOCK_BYTES];
        self.plain.read_exact(padding).map_err(CrateError::Read)?;
        Ok(result)
    }

    /// After the first end block: expects the second, and zeros to the end of the gzip member, where
    /// its checksum is compared.
    fn end(&mut self) -> Result<(), CrateError> {
        if self.block()? != END_BLOCK {
            return Err(CrateError::End);
        }
        let mut buffer = [0; 16 * BLOCK_BYTES];
        loop {
            let count = match self.plain.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(CrateError::Read)?,
            };
            if count == 0 {
                return Ok(());
            }
            if buffer[..count].iter().any(|byte| *byte != 0) {
                return Err(CrateError::End);
            }
            self.count(count as u64)?;
        }
    }

    fn block(&mut self) -> Result<Block, CrateError> {
        self.count(BLOCK_BYTES as u64)?;
        let mut block = END_BLOCK;
        self.plain
            .read_exact(&mut block)
            .map_err(CrateError::Read)?;
        Ok(block)
    }

    fn count(&mut self, bytes: u64) -> Result<(), CrateError> {
        let left = self.left.checked_sub(bytes);
        self.left = left.ok_or(CrateError::UnpacksTooLarge {
            limit: MAX_CRATE_UNPACKED_BYTES,
        })?;
        Ok(())
    }
}

fn unpack_entries(stream: &mut Stream<impl Read>, target: &Target<'_>) -> Result<(), CrateError> {
    let mut files = 0;
    let mut extension = Extension::default();
    while let Some(header) = stream.header()? {
        files += 1;
        if files > MAX_CRATE_FILES {
            return Err(CrateError::TooManyFiles {
                limit: MAX_CRATE_FILES,
            });
        }
        if is_extension(header.entry_type()) {
            read_extension(stream, &header, &mut extension)?;
        } else {
            unpack_entry(stream, &header, std::mem::take(&mut extension), target)?;
        }
    }
    if !extension.is_empty() {
        return Err(CrateError::Ambiguous {
            name: "(no entry)".to_owned(),
        });
    }
    stream.end()
}

fn unpack_entry(
    stream: &mut Stream<impl Read>,
    header: &Header,
    mut extension: Extension,
    target: &Target<'_>,
) -> Result<(), CrateError> {
    let is_alike = is_unambiguous(header) && is_alike(&extension, header);
    let bytes = extension.path(header);
    let ambiguous = || CrateError::Ambiguous {
        name: shown(&bytes),
    };
    match header.entry_type() {
        EntryType::Regular | EntryType::Directory if !is_alike => Err(ambiguous()),
        EntryType::Regular if bytes.ends_with(b"/") => Err(ambiguous()),
        EntryType::Regular => {
            let name = target.name(&bytes)?;
            let executable = header.mode().map_err(CrateError::Read)? & 0o100 != 0;
            let size = header.entry_size().map_err(CrateError::Read)?;
            stream.content(size, |content| target.write(&name, executable, content))
        }
        // It has no content: that would be ambiguous.
        EntryType::Directory => target.make_folder(&target.name(&bytes)?),
        _ => Err(CrateError::Kind {
            name: shown(&bytes),
        }),
    }
}

/// Whether all programs find the same entry.
fn is_alike(extension: &Extension, header: &Header) -> bool {
    let size = header.entry_size().ok();
    let is_size = extension.size().is_none_or(|said| Some(said) == size);
    extension.fits(header) && is_size && !extension.is_sparse()
}

fn is_extension(kind: EntryType) -> bool {
    kind.is_pax_local_extensions()
        || kind.is_pax_global_extensions()
        || kind.is_gnu_longname()
        || kind.is_gnu_longlink()
}

/// Reads an extended header into `extension`.
fn read_extension(
    stream: &mut Stream<impl Read>,
    header: &Header,
    extension: &mut Extension,
) -> Result<(), CrateError> {
    let ambiguous = || CrateError::Ambiguous {
        name: shown(&header.path_bytes()),
    };
    let size = header.entry_size().map_err(CrateError::Read)?;
    if !is_unambiguous(header) || size > MAX_CRATE_EXTENSION_BYTES {
        return Err(ambiguous());
    }
    let bytes = stream.content(size, |content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(CrateError::Read)?;
        Ok(bytes)
    })?;
    let is_read = match header.entry_type() {
        EntryType::XHeader => extension.read_pax(&bytes).is_ok(),
        EntryType::XGlobalHeader => Extension::check_global_pax(&bytes).is_ok(),
        EntryType::GNULongName => extension.set_gnu_path(bytes).is_ok(),
        _ => extension.set_gnu_target(bytes).is_ok(),
    };
    if is_read { Ok(()) } else { Err(ambiguous()) }
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// The name of an entry below the top directory.
struct Name {
    /// As the archive has it.
    whole: String,
    /// Its components, without the top directory; none for that directory itself.
    below: Vec<String>,
}

impl Target<'_> {
    /// Reads a name by the rule for uploads; it has to be below the top directory.
    fn name(&self, bytes: &[u8]) -> Result<Name, CrateError> {
        let whole = shown(bytes);
        let parsed = EntryName::parse(bytes);
        let parsed = parsed.map_err(|source| CrateError::Name {
            name: whole.clone(),
            source,
        })?;
        let is_below = parsed
            .components
            .first()
            .is_some_and(|first| first == self.top);
        if !is_below || !bytes.starts_with(self.top.as_bytes()) {
            return Err(CrateError::Outside { name: whole });
        }
        Ok(Name {
            whole,
            below: parsed.components[1..].to_vec(),
        })
    }

    fn write(
        &self,
        name: &Name,
        executable: bool,
        content: &mut impl Read,
    ) -> Result<(), CrateError> {
        let Some((file, folders)) = name.below.split_last() else {
            return Err(CrateError::Outside {
                name: name.whole.clone(),
            });
        };
        if folders.is_empty() && file == CHECKSUM_FILE {
            return Ok(());
        }
        let folder = self.folder(name, folders)?;
        let mode = if executable { 0o755 } else { 0o644 };
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(folder.join(file));
        let mut file = file.map_err(|error| conflict(name, error))?;
        io::copy(content, &mut file).map_err(CrateError::Read)?;
        file.set_modified(self.time).map_err(CrateError::Write)
    }

    fn make_folder(&self, name: &Name) -> Result<(), CrateError> {
        self.folder(name, &name.below).map(drop)
    }

    /// Makes the directories that a name goes through, as far as they are not there.
    fn folder(&self, name: &Name, below: &[String]) -> Result<PathBuf, CrateError> {
        if below.first().is_some_and(|first| first == CHECKSUM_FILE) {
            return Err(CrateError::Duplicate {
                name: name.whole.clone(),
            });
        }
        let path = below
            .iter()
            .fold(self.parent.join(self.top), |path, component| {
                path.join(component)
            });
        fs::create_dir_all(&path).map_err(|error| conflict(name, error))?;
        Ok(path)
    }
}

/// Why something cannot be made: another entry has its name, or the machine does not let us.
fn conflict(name: &Name, error: io::Error) -> CrateError {
    match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => CrateError::Duplicate {
            name: name.whole.clone(),
        },
        _ => CrateError::Write(error),
    }
}

/// The time that every unpacked file carries, so that no build can tell one run from another by it.
pub fn time_of(epoch: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(epoch)
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use flate2::{Compression, write::GzEncoder};
    use tar::Builder;

    use super::*;

    fn archive(fill: impl FnOnce(&mut Builder<GzEncoder<Vec<u8>>>)) -> Vec<u8> {
        let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        fill(&mut builder);
        builder.into_inner().unwrap().finish().unwrap()
    }

    fn entry(
        builder: &mut Builder<GzEncoder<Vec<u8>>>,
        name: &str,
        kind: EntryType,
        content: &[u8],
    ) {
        entry_of(builder, name.as_bytes(), kind, content);
    }

    fn entry_of(
        builder: &mut Builder<GzEncoder<Vec<u8>>>,
        name: &[u8],
        kind: EntryType,
        content: &[u8],
    ) {
        let mut header = Header::new_gnu();
        // Written by hand, since the builder itself refuses names like `../x`.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(content.len() as u64);
        if kind.is_symlink() || kind.is_hard_link() {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }

    fn unpack_bytes(bytes: &[u8]) -> (tempfile::TempDir, Result<Sha256Digest, CrateError>) {
        let folder = tempfile::tempdir().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        let result = unpack(file, "a-1.0.0", folder.path(), time_of(7));
        (folder, result)
    }

    #[test]
    fn unpacks_and_hashes_the_same_bytes() {
        let bytes =
            archive(|builder| entry(builder, "a-1.0.0/src/lib.rs", EntryType::Regular, b"x"));
        let (folder, digest) = unpack_bytes(&bytes);
        assert_eq!(digest.unwrap(), Sha256Digest::of(&bytes));
        let file = folder.path().join("a-1.0.0/src/lib.rs");
        assert_eq!(fs::read(&file).unwrap(), b"x");
        assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), time_of(7));
    }

    /// The tar stream of an archive with two files, and where its end blocks begin.
    fn two_files() -> (Vec<u8>, usize) {
        let packed = archive(|builder| {
            entry(
                builder,
                "a-1.0.0/Cargo.toml",
                EntryType::Regular,
                b"[package]",
            );
            entry(builder, "a-1.0.0/src/lib.rs", EntryType::Regular, b"x");
        });
        let mut tar = Vec::new();
        GzDecoder::new(&packed[..]).read_to_end(&mut tar).unwrap();
        let end = tar.len() - 2 * BLOCK_BYTES;
        assert_eq!(end, 4 * BLOCK_BYTES);
        (tar, end)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }

    #[test]
    fn an_archive_ends_with_two_blocks_of_zeros_and_nothing_but_zeros_after_them() {
        let (tar, end) = two_files();
        let zeros = |count: usize| vec![0; count];
        for more in [0, 1, 511, 512, 8 * 512, 18 * 512, 100_000] {
            let padded = [&tar[..], &zeros(more)].concat();
            unpack_bytes(&gzip(&padded)).1.unwrap();
        }
        // The second file after end blocks, which some programs read and others do not.
        let (first, second) = tar[..end].split_at(end / 2);
        for blocks in 1..5 {
            let hidden = [
                first,
                &zeros(blocks * BLOCK_BYTES),
                second,
                &zeros(2 * BLOCK_BYTES),
            ]
            .concat();
            let refusal = unpack_bytes(&gzip(&hidden)).1.unwrap_err();
            assert!(matches!(refusal, CrateError::End), "{blocks}: {refusal}");
        }
        for after in [
            &b"x"[..],
            &[&zeros(511)[..], b"x"].concat(),
            &[&zeros(9000)[..], b"#!/bin/sh"].concat(),
        ] {
            let refusal = unpack_bytes(&gzip(&[&tar[..], after].concat()))
                .1
                .unwrap_err();
            assert!(matches!(refusal, CrateError::End), "{refusal}");
        }
        let half = [
            &tar[..end],
            &zeros(BLOCK_BYTES),
            b"x",
            &zeros(BLOCK_BYTES - 1),
        ]
        .concat();
        assert!(matches!(unpack_bytes(&gzip(&half)).1, Err(CrateError::End)));
        for missing in [1, 512, 513, 1023, 1024] {
            let refusal = unpack_bytes(&gzip(&tar[..tar.len() - missing]))
                .1
                .unwrap_err();
            assert!(
                matches!(refusal, CrateError::Read(_)),
                "{missing}: {refusal}"
            );
        }
    }

    #[test]
    fn an_archive_is_one_gzip_member_and_the_end_of_the_file() {
        let (tar, end) = two_files();
        let good = gzip(&tar);
        unpack_bytes(&good).1.unwrap();
        for after in [
            &b"\0"[..],
            &[0; 512],
            b"text",
            &good,
            &gzip(b""),
            &gzip(&tar[..end]),
            &good[..5],
        ] {
            let refusal = unpack_bytes(&[&good[..], after].concat()).1.unwrap_err();
            assert!(matches!(refusal, CrateError::Trailing), "{refusal}");
        }
        // Members of which only all together are an archive.
        for cut in [512, end - 1, end, end + 512, tar.len() - 1] {
            let refusal = unpack_bytes(&[gzip(&tar[..cut]), gzip(&tar[cut..])].concat())
                .1
                .unwrap_err();
            assert!(
                matches!(refusal, CrateError::Read(_) | CrateError::Trailing),
                "{cut}: {refusal}"
            );
        }
        assert!(matches!(
            unpack_bytes(&[gzip(b""), good.clone()].concat()).1,
            Err(CrateError::Read(_))
        ));
        // The checksum of the member, and its length, are compared.
        for at in 1..=8 {
            let mut changed = good.clone();
            let length = changed.len();
            changed[length - at] ^= 1;
            assert!(
                matches!(unpack_bytes(&changed).1, Err(CrateError::Read(_))),
                "{at}"
            );
            assert!(
                matches!(
                    unpack_bytes(&good[..length - at]).1,
                    Err(CrateError::Read(_))
                ),
                "{at}"
            );
        }
    }

    #[test]
    fn every_header_matches_its_checksum() {
        let (tar, end) = two_files();
        for at in (0..512).chain(end / 2..end / 2 + 512) {
            let mut changed = tar.clone();
            changed[at] ^= 1;
            let refusal = unpack_bytes(&gzip(&changed)).1.unwrap_err();
            assert!(
                matches!(refusal, CrateError::HeaderChecksum),
                "{at}: {refusal}"
            );
        }
    }

    #[test]
    fn refuses_names_outside_the_folder() {
        for name in [
            "b-1.0.0/x",
            "a-1.0.0",
            "a-1.0.0x/y",
            "./a-1.0.0/x",
            "x",
            "A-1.0.0/x",
        ] {
            let (_folder, result) = unpack_bytes(&archive(|builder| {
                entry(builder, name, EntryType::Regular, b"x")
            }));
            assert!(matches!(result, Err(CrateError::Outside { .. })), "{name}");
        }
    }

    #[test]
    fn names_of_files_and_folders_are_those_that_uploads_may_have() {
        let long = format!("a-1.0.0/{}", "n".repeat(80));
        for name in [
            "a-1.0.0/x",
            "a-1.0.0/\u{e9}/x y",
            "a-1.0.0/-x",
            "a-1.0.0/...",
            "a-1.0.0/.cargo/x",
            &long,
        ] {
            for (kind, end) in [
                (EntryType::Regular, ""),
                (EntryType::Directory, ""),
                (EntryType::Directory, "/"),
            ] {
                let name = format!("{name}{end}");
                let (folder, result) =
                    unpack_bytes(&archive(|builder| entry(builder, &name, kind, b"")));
                result.unwrap();
                assert_eq!(folder.path().join(&name).is_dir(), kind.is_dir(), "{name}");
            }
        }
        for name in [
            &b"/etc/x"[..],
            b"../x",
            b"a-1.0.0/../x",
            b"a-1.0.0/..",
            b"a-1.0.0/x/../y",
            b"a-1.0.0/./x",
            b"a-1.0.0//x",
            b"a-1.0.0/x\\y",
            b"a-1.0.0/\xff",
            b"a-1.0.0/\xc3",
            b"a-1.0.0/\n",
            b"a-1.0.0/\x1b[2J",
            b"a-1.0.0/\xc2\x85",
            b"C:/x",
        ] {
            for kind in [EntryType::Regular, EntryType::Directory] {
                let (folder, result) =
                    unpack_bytes(&archive(|builder| entry_of(builder, name, kind, b"")));
                assert!(
                    matches!(result, Err(CrateError::Name { .. })),
                    "{} {kind:?}",
                    name.escape_ascii()
                );
                assert_eq!(
                    fs::read_dir(folder.path().join("a-1.0.0")).unwrap().count(),
                    0
                );
            }
        }
    }

    #[test]
    fn folders_are_below_the_top_folder_and_no_files() {
        let refused = |entries: &[(&str, EntryType)]| {
            let bytes = archive(|builder| {
                entries
                    .iter()
                    .for_each(|(name, kind)| entry(builder, name, *kind, b""))
            });
            unpack_bytes(&bytes).1.unwrap_err()
        };
        let (file, folder) = (EntryType::Regular, EntryType::Directory);
        for outside in ["b-1.0.0/", "x", "a-1.0.0x/", "./a-1.0.0/"] {
            assert!(
                matches!(refused(&[(outside, folder)]), CrateError::Outside { .. }),
                "{outside}"
            );
        }
        for entries in [
            [("a-1.0.0/x", file), ("a-1.0.0/x", folder)],
            [("a-1.0.0/x", folder), ("a-1.0.0/x", file)],
            [("a-1.0.0/x", file), ("a-1.0.0/x/y", file)],
            [("a-1.0.0/x", file), ("a-1.0.0/x/y/z", folder)],
            [("a-1.0.0/x/y", file), ("a-1.0.0/x", file)],
            [
                ("a-1.0.0/y", file),
                ("a-1.0.0/.cargo-checksum.json", folder),
            ],
            [
                ("a-1.0.0/y", file),
                ("a-1.0.0/.cargo-checksum.json/x", file),
            ],
        ] {
            let refusal = refused(&entries);
            assert!(
                matches!(refusal, CrateError::Duplicate { .. }),
                "{entries:?}: {refusal}"
            );
        }
        // The top folder itself, and folders that were there because of their files.
        let plain = archive(|builder| {
            entry(builder, "a-1.0.0/", folder, b"");
            entry(builder, "a-1.0.0/src/lib.rs", file, b"x");
            entry(builder, "a-1.0.0/src", folder, b"");
        });
        unpack_bytes(&plain).1.unwrap();
    }

    #[test]
    fn refuses_links_devices_and_fifos() {
        for kind in [
            EntryType::Symlink,
            EntryType::Link,
            EntryType::Char,
            EntryType::Block,
            EntryType::Fifo,
        ] {
            let (_folder, result) =
                unpack_bytes(&archive(|builder| entry(builder, "a-1.0.0/x", kind, b"")));
            assert!(matches!(result, Err(CrateError::Kind { .. })), "{kind:?}");
        }
    }

    #[test]
    fn refuses_a_header_that_programs_read_in_two_ways() {
        let hidden =
            archive(|builder| entry(builder, "a-1.0.0/b", EntryType::Directory, &[0; 512]));
        assert!(matches!(
            unpack_bytes(&hidden).1,
            Err(CrateError::Ambiguous { .. })
        ));
    }

    #[test]
    fn a_file_says_in_its_own_header_that_it_is_one() {
        // The source archive that two programs read as two sources: its extended name is a file's,
        // its own a folder's.
        let with = |own: &[u8], kind: u8, extended: EntryType, name: &[u8]| {
            archive(|builder| {
                let content = match extended {
                    EntryType::XHeader => {
                        let length = name.len() + " path=\n".len() + 2;
                        [format!("{length} path=").as_bytes(), name, b"\n"].concat()
                    }
                    _ => [name, b"\0"].concat(),
                };
                entry(builder, "extension", extended, &content);
                let mut header = Header::new_ustar();
                header.as_old_mut().name[..own.len()].copy_from_slice(own);
                header.set_mode(0o644);
                header.set_size(1);
                header.as_mut_bytes()[156] = kind;
                header.set_cksum();
                builder.append(&header, &b"x"[..]).unwrap();
            })
        };
        let name = b"a-1.0.0/src/lib.rs";
        for extended in [EntryType::XHeader, EntryType::GNULongName] {
            for (own, kind) in [
                (&b"a-1.0.0/src/"[..], 0),
                (b"a-1.0.0/src/", b'0'),
                (b"a-1.0.0/src/lib.rs", 0),
            ] {
                let result = unpack_bytes(&with(own, kind, extended, name)).1;
                assert!(
                    matches!(result, Err(CrateError::Ambiguous { .. })),
                    "{result:?}"
                );
            }
            let (folder, result) = unpack_bytes(&with(b"pax-path", b'0', extended, name));
            result.unwrap();
            assert_eq!(
                fs::read(folder.path().join("a-1.0.0/src/lib.rs")).unwrap(),
                b"x"
            );
        }
    }

    #[test]
    fn refuses_what_extended_headers_say_twice_or_about_everything() {
        let pax = b"27 path=a-1.0.0/src/lib.rs\n";
        let refused = |extensions: &[(EntryType, &[u8])], kind: EntryType| {
            let bytes = archive(|builder| {
                for (extended, content) in extensions {
                    entry(builder, "extension", *extended, content);
                }
                entry(builder, "a-1.0.0/x", kind, b"x");
            });
            unpack_bytes(&bytes).1.unwrap_err()
        };
        let (x, g, l) = (
            EntryType::XHeader,
            EntryType::XGlobalHeader,
            EntryType::GNULongName,
        );
        let name = &b"a-1.0.0/y\0"[..];
        for extensions in [
            &[(x, &pax[..]), (x, pax)][..],
            &[(x, pax), (l, name)],
            &[(l, name), (l, name)],
            &[(g, pax)],
        ] {
            let error = refused(extensions, EntryType::Regular);
            assert!(
                matches!(error, CrateError::Ambiguous { .. }),
                "{extensions:?}: {error}"
            );
        }
        for record in [&b"10 size=2\n"[..], b"18 SUN.holesdata=\n", b"no record"] {
            let error = refused(&[(x, record)], EntryType::Regular);
            assert!(matches!(error, CrateError::Ambiguous { .. }), "{error}");
        }
        let error = refused(&[], EntryType::Continuous);
        assert!(matches!(error, CrateError::Kind { .. }), "{error}");
        let dangling = archive(|builder| entry(builder, "extension", x, pax));
        assert!(matches!(
            unpack_bytes(&dangling).1,
            Err(CrateError::Ambiguous { .. })
        ));
        let folder = archive(|builder| entry(builder, "a-1.0.0/x/", EntryType::Regular, b"x"));
        assert!(matches!(
            unpack_bytes(&folder).1,
            Err(CrateError::Ambiguous { .. })
        ));
    }

    #[test]
    fn long_names_are_unpacked_wherever_they_are_cut() {
        for length in 80..130 {
            let name = format!("a-1.0.0/{}/{}", "d".repeat(length), "é".repeat(60));
            let bytes = archive(|builder| {
                let mut header = Header::new_gnu();
                header.set_mode(0o644);
                header.set_size(1);
                header.set_entry_type(EntryType::Regular);
                builder.append_data(&mut header, &name, &b"x"[..]).unwrap();
            });
            let (folder, result) = unpack_bytes(&bytes);
            result.unwrap();
            assert_eq!(
                fs::read(folder.path().join(&name)).unwrap(),
                b"x",
                "{length}"
            );
        }
    }

    #[test]
    fn refuses_a_name_twice() {
        let (_folder, result) = unpack_bytes(&archive(|builder| {
            entry(builder, "a-1.0.0/x", EntryType::Regular, b"1");
            entry(builder, "a-1.0.0/x", EntryType::Regular, b"2");
        }));
        assert!(matches!(result, Err(CrateError::Duplicate { .. })));
    }

    #[test]
    fn refuses_bombs_and_half_archives() {
        let mut header = Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..9].copy_from_slice(b"a-1.0.0/x");
        header.set_size(MAX_CRATE_UNPACKED_BYTES + 1);
        header.set_mode(0o644);
        header.set_cksum();
        let bomb = archive(|builder| builder.get_mut().write_all(header.as_bytes()).unwrap());
        assert!(matches!(
            unpack_bytes(&bomb).1,
            Err(CrateError::UnpacksTooLarge { .. })
        ));
        // Zeros after the end are counted too.
        let mut stream = Stream {
            plain: &[0; 4096][..],
            left: 1024,
        };
        assert!(stream.header().unwrap().is_none());
        assert!(matches!(
            stream.end(),
            Err(CrateError::UnpacksTooLarge { .. })
        ));
        let whole = archive(|builder| entry(builder, "a-1.0.0/x", EntryType::Regular, &[7; 4000]));
        assert!(matches!(
            unpack_bytes(&whole[..whole.len() / 2]).1,
            Err(CrateError::Read(_))
        ));
    }

    #[test]
    fn ignores_a_checksum_file_that_came_along() {
        let name = format!("a-1.0.0/{CHECKSUM_FILE}");
        let (folder, result) = unpack_bytes(&archive(|builder| {
            entry(builder, &name, EntryType::Regular, b"{}")
        }));
        mark(&folder.path().join("a-1.0.0"), result.unwrap()).unwrap();
        assert!(
            fs::read_to_string(folder.path().join(name))
                .unwrap()
                .contains("package")
        );
    }
}
