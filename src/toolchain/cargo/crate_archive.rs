//! Unpacks one `.crate`. Comes in: its bytes, from a folder that a sandbox could write. Goes out: the files, below one
//! folder of ours, with the digest of the very bytes that they were unpacked from. Never: a link, a device, a name
//! outside the archive's one top folder, or more than the limits.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use flate2::read::GzDecoder;
use tar::{EntryType, Header};

use crate::digest::{Sha256Digest, Sha256Reader};
use crate::tar_header::extension::Extension;
use crate::tar_header::is_unambiguous;

/// Largest archive, in bytes. The public registry's ordinary limit is 10 MiB, its exceptions are below this.
pub const MAX_CRATE_BYTES: u64 = 256 << 20;

/// Most bytes that one archive may unpack to. Cargo's own limit is 512 MiB or twenty times the archive.
pub const MAX_CRATE_UNPACKED_BYTES: u64 = 1 << 30;

/// Most files in one archive.
pub const MAX_CRATE_FILES: usize = 100_000;

/// Most bytes of one extended header: a name and its framing.
const MAX_CRATE_EXTENSION_BYTES: u64 = 64 << 10;

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
    /// The same name twice.
    #[error("it has an entry twice: {name:?}")]
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
pub fn unpack(archive: File, top: &str, parent: &Path, time: SystemTime) -> Result<Sha256Digest, CrateError> {
    fs::create_dir(parent.join(top)).map_err(CrateError::Write)?;
    let mut hashed = Sha256Reader::new(archive.take(MAX_CRATE_BYTES + 1));
    unpack_entries(&mut hashed, &Target { top, parent, time })?;
    io::copy(&mut hashed, &mut io::sink()).map_err(CrateError::Read)?;
    match hashed.finish() {
        (_, bytes) if bytes > MAX_CRATE_BYTES => Err(CrateError::TooLarge { limit: MAX_CRATE_BYTES }),
        (digest, _) => Ok(digest),
    }
}

/// Makes the unpacked folder a package of a directory source, with the digest that was computed.
pub(super) fn mark(folder: &Path, digest: Sha256Digest) -> io::Result<()> {
    fs::write(folder.join(CHECKSUM_FILE), format!("{{\"files\":{{}},\"package\":\"{digest}\"}}"))
}

struct Target<'a> {
    top: &'a str,
    parent: &'a Path,
    time: SystemTime,
}

fn unpack_entries(archive: impl Read, target: &Target<'_>) -> Result<(), CrateError> {
    // One byte more than the limit, so that reaching it can be told from an archive of that size.
    let plain = GzDecoder::new(archive).take(MAX_CRATE_UNPACKED_BYTES + 1);
    let mut tar = tar::Archive::new(plain);
    let (mut files, mut bytes) = (0, 0);
    let mut extension = Extension::default();
    // Raw: what extended headers say is read by the rules for every archive that comes from
    // outside.
    for entry in tar.entries().map_err(CrateError::Read)?.raw(true) {
        let mut entry = entry.map_err(CrateError::Read)?;
        files += 1;
        bytes += entry.size();
        if files > MAX_CRATE_FILES {
            return Err(CrateError::TooManyFiles { limit: MAX_CRATE_FILES });
        }
        if bytes > MAX_CRATE_UNPACKED_BYTES {
            return Err(CrateError::UnpacksTooLarge { limit: MAX_CRATE_UNPACKED_BYTES });
        }
        let is_unambiguous = is_unambiguous(entry.header());
        let ambiguous = |name: &[u8]| CrateError::Ambiguous { name: shown(name) };
        if is_unambiguous && read_extension(&mut entry, &mut extension)? {
            continue;
        }
        let header = entry.header().clone();
        let mut extension = std::mem::take(&mut extension);
        let is_alike = is_unambiguous && is_alike(&extension, &header);
        let name = extension.path(&header);
        match header.entry_type() {
            EntryType::Regular | EntryType::Directory if !is_alike => return Err(ambiguous(&name)),
            EntryType::Regular if name.ends_with(b"/") => return Err(ambiguous(&name)),
            EntryType::Regular => target.write(&shown(&name), &mut entry)?,
            EntryType::Directory => {}
            _ => return Err(CrateError::Kind { name: shown(&name) }),
        }
    }
    if extension.is_empty() { Ok(()) } else { Err(CrateError::Ambiguous { name: "(no entry)".to_owned() }) }
}

/// Whether all programs find the same entry.
fn is_alike(extension: &Extension, header: &Header) -> bool {
    let size = header.entry_size().ok();
    let is_size = extension.size().is_none_or(|said| Some(said) == size);
    extension.fits(header) && is_size && !extension.is_sparse()
}

/// Reads an extended header into `extension`. Returns false for an entry that is none.
fn read_extension(entry: &mut tar::Entry<'_, impl Read>, extension: &mut Extension) -> Result<bool, CrateError> {
    let kind = entry.header().entry_type();
    let is_extension = kind.is_pax_local_extensions()
        || kind.is_pax_global_extensions()
        || kind.is_gnu_longname()
        || kind.is_gnu_longlink();
    if !is_extension {
        return Ok(false);
    }
    let ambiguous = CrateError::Ambiguous { name: shown(&entry.path_bytes()) };
    if entry.size() > MAX_CRATE_EXTENSION_BYTES {
        return Err(ambiguous);
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(CrateError::Read)?;
    let is_read = match kind {
        EntryType::XHeader => extension.read_pax(&bytes).is_ok(),
        EntryType::XGlobalHeader => Extension::check_global_pax(&bytes).is_ok(),
        EntryType::GNULongName => extension.set_gnu_path(bytes).is_ok(),
        _ => extension.set_gnu_target(bytes).is_ok(),
    };
    if is_read { Ok(true) } else { Err(ambiguous) }
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

impl Target<'_> {
    fn write(&self, name: &str, entry: &mut tar::Entry<'_, impl Read>) -> Result<(), CrateError> {
        let path = self.place(name)?;
        if path.file_name().is_some_and(|name| name == CHECKSUM_FILE) && path.parent().is_some_and(|p| self.is_top(p)) {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(CrateError::Write)?;
        }
        let executable = entry.header().mode().map_err(CrateError::Read)? & 0o100 != 0;
        let mode = if executable { 0o755 } else { 0o644 };
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        let mut file = file.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => CrateError::Duplicate { name: name.to_owned() },
            _ => CrateError::Write(error),
        })?;
        let expected = entry.size();
        let copied = io::copy(entry, &mut file).map_err(CrateError::Read)?;
        if copied != expected {
            return Err(CrateError::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        file.set_modified(self.time).map_err(CrateError::Write)
    }

    fn is_top(&self, folder: &Path) -> bool {
        folder == self.parent.join(self.top)
    }

    /// Where an entry goes: below the top folder, by ordinary names only.
    fn place(&self, name: &str) -> Result<PathBuf, CrateError> {
        let outside = || CrateError::Outside { name: name.to_owned() };
        let relative = Path::new(name).strip_prefix(self.top).map_err(|_| outside())?;
        let ordinary = relative.components().all(|component| matches!(component, Component::Normal(_)));
        if !ordinary || relative.as_os_str().is_empty() || name.contains('\0') {
            return Err(outside());
        }
        Ok(self.parent.join(self.top).join(relative))
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

    fn entry(builder: &mut Builder<GzEncoder<Vec<u8>>>, name: &str, kind: EntryType, content: &[u8]) {
        let mut header = Header::new_gnu();
        // Written by hand, since the builder itself refuses names like `../x`.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
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
        let mut bytes = archive(|builder| entry(builder, "a-1.0.0/src/lib.rs", EntryType::Regular, b"x"));
        bytes.extend_from_slice(b"trailing bytes are part of the archive");
        let (folder, digest) = unpack_bytes(&bytes);
        assert_eq!(digest.unwrap(), Sha256Digest::of(&bytes));
        let file = folder.path().join("a-1.0.0/src/lib.rs");
        assert_eq!(fs::read(&file).unwrap(), b"x");
        assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), time_of(7));
    }

    #[test]
    fn refuses_names_outside_the_folder() {
        for name in ["/etc/x", "../x", "a-1.0.0/../x", "b-1.0.0/x", "a-1.0.0", "a-1.0.0x/y"] {
            let (_folder, result) = unpack_bytes(&archive(|builder| entry(builder, name, EntryType::Regular, b"x")));
            assert!(matches!(result, Err(CrateError::Outside { .. })), "{name}");
        }
    }

    #[test]
    fn refuses_links_devices_and_fifos() {
        for kind in [EntryType::Symlink, EntryType::Link, EntryType::Char, EntryType::Block, EntryType::Fifo] {
            let (_folder, result) = unpack_bytes(&archive(|builder| entry(builder, "a-1.0.0/x", kind, b"")));
            assert!(matches!(result, Err(CrateError::Kind { .. })), "{kind:?}");
        }
    }

    #[test]
    fn refuses_a_header_that_programs_read_in_two_ways() {
        let hidden = archive(|builder| entry(builder, "a-1.0.0/b", EntryType::Directory, &[0; 512]));
        assert!(matches!(unpack_bytes(&hidden).1, Err(CrateError::Ambiguous { .. })));
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
            for (own, kind) in [(&b"a-1.0.0/src/"[..], 0), (b"a-1.0.0/src/", b'0'), (b"a-1.0.0/src/lib.rs", 0)] {
                let result = unpack_bytes(&with(own, kind, extended, name)).1;
                assert!(matches!(result, Err(CrateError::Ambiguous { .. })), "{result:?}");
            }
            let (folder, result) = unpack_bytes(&with(b"pax-path", b'0', extended, name));
            result.unwrap();
            assert_eq!(fs::read(folder.path().join("a-1.0.0/src/lib.rs")).unwrap(), b"x");
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
        let (x, g, l) = (EntryType::XHeader, EntryType::XGlobalHeader, EntryType::GNULongName);
        let name = &b"a-1.0.0/y\0"[..];
        for extensions in [&[(x, &pax[..]), (x, pax)][..], &[(x, pax), (l, name)], &[(l, name), (l, name)], &[(g, pax)]]
        {
            let error = refused(extensions, EntryType::Regular);
            assert!(matches!(error, CrateError::Ambiguous { .. }), "{extensions:?}: {error}");
        }
        for record in [&b"10 size=2\n"[..], b"18 SUN.holesdata=\n", b"no record"] {
            let error = refused(&[(x, record)], EntryType::Regular);
            assert!(matches!(error, CrateError::Ambiguous { .. }), "{error}");
        }
        let error = refused(&[], EntryType::Continuous);
        assert!(matches!(error, CrateError::Kind { .. }), "{error}");
        let dangling = archive(|builder| entry(builder, "extension", x, pax));
        assert!(matches!(unpack_bytes(&dangling).1, Err(CrateError::Ambiguous { .. })));
        let folder = archive(|builder| entry(builder, "a-1.0.0/x/", EntryType::Regular, b"x"));
        assert!(matches!(unpack_bytes(&folder).1, Err(CrateError::Ambiguous { .. })));
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
            assert_eq!(fs::read(folder.path().join(&name)).unwrap(), b"x", "{length}");
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
        assert!(matches!(unpack_bytes(&bomb).1, Err(CrateError::UnpacksTooLarge { .. })));
        let whole = archive(|builder| entry(builder, "a-1.0.0/x", EntryType::Regular, &[7; 4000]));
        assert!(matches!(unpack_bytes(&whole[..whole.len() / 2]).1, Err(CrateError::Read(_))));
    }

    #[test]
    fn ignores_a_checksum_file_that_came_along() {
        let name = format!("a-1.0.0/{CHECKSUM_FILE}");
        let (folder, result) = unpack_bytes(&archive(|builder| entry(builder, &name, EntryType::Regular, b"{}")));
        mark(&folder.path().join("a-1.0.0"), result.unwrap()).unwrap();
        assert!(fs::read_to_string(folder.path().join(name)).unwrap().contains("package"));
    }
}
