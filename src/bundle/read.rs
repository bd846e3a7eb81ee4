//! Reading a bundle. Comes in: bytes or a folder that anybody may have made. Goes out: the two documents, and the digest
//! of every other file. Never: a file written, a link followed, more memory than the limits say, or a file passed over.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;
use tar::{Archive, EntryType};

use crate::digest::Sha256Digest;
use crate::name;
use crate::tar_header::is_unambiguous;

/// Largest bundle, in bytes as downloaded.
pub const MAX_BUNDLE_BYTES: u64 = 4 << 30;
/// Largest bundle, in bytes unpacked.
pub const MAX_UNPACKED_BYTES: u64 = 16 << 30;
/// Most entries, folders and headers counted.
pub const MAX_BUNDLE_ENTRIES: usize = 20_000;
/// Longest path, in bytes, with the top folder.
pub const MAX_BUNDLE_PATH_BYTES: usize = 1024;
/// All paths together, in bytes: they are what a reader keeps of the files.
pub const MAX_BUNDLE_PATHS_BYTES: usize = 1 << 20;
/// Largest PAX header, in bytes: one path and its framing.
pub const MAX_PAX_BYTES: u64 = 4096;
/// Largest `provenance.json`, in bytes: some thousand dependencies. It is held in memory, and its parts beside it.
pub const MAX_PROVENANCE_BYTES: u64 = 2 << 20;
/// Largest `evidence.json`, in bytes: a report and three certificates take under 10 KiB.
pub const MAX_EVIDENCE_BYTES: u64 = 64 << 10;

/// Why a bundle cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such file, or it cannot be opened.
    #[error("cannot be opened")]
    Open(#[source] io::Error),
    /// The archive is damaged, or a file cannot be read.
    #[error("the bundle is damaged")]
    Damaged(#[source] io::Error),
    /// Over a limit.
    #[error("{what}: {size} is over the limit {limit} ({name})")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// How large it is, at least.
        size: u64,
        /// The limit.
        limit: u64,
        /// The limit's name.
        name: &'static str,
    },
    /// Something follows the archive.
    #[error("bytes follow the end of the {0}")]
    Trailing(&'static str),
    /// Neither a regular file, nor a folder, nor a PAX path.
    #[error("{path:?} is neither a regular file nor a folder")]
    Kind {
        /// Its path.
        path: String,
    },
    /// A header whose size or path other programs read differently: they would unpack other files than were read here.
    #[error("the header of {path:?} can be read in two ways")]
    Ambiguous {
        /// Its path.
        path: String,
    },
    /// A path that is not plainly below the top folder.
    #[error("{path:?} is no plain path below one top folder")]
    Path {
        /// The path.
        path: String,
    },
    /// A file that a bundle does not have.
    #[error("{path:?} does not belong into a bundle")]
    Unexpected {
        /// Its path.
        path: String,
    },
    /// The same path twice.
    #[error("{path:?} is there twice")]
    Duplicate {
        /// The path.
        path: String,
    },
    /// There is no `provenance.json`.
    #[error("provenance.json is missing")]
    NoProvenance,
}

/// One file that was hashed and not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashedFile {
    /// Relative to its folder of the bundle.
    pub name: String,
    /// Of the bytes that are there.
    pub sha256: Sha256Digest,
    /// In bytes.
    pub size: u64,
}

/// What is in a bundle, as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle {
    /// `provenance.json`.
    pub provenance: Vec<u8>,
    /// `evidence.json`, if there is one.
    pub evidence: Option<Vec<u8>>,
    /// The files under `artifacts/`, sorted by name.
    pub artifacts: Vec<HashedFile>,
    /// The files under `build-config/`, sorted by name.
    pub build_config: Vec<HashedFile>,
    /// `build.log`, if there is one.
    pub log: Option<HashedFile>,
}

/// Reads a bundle as it was downloaded, or the folder it was unpacked to.
///
/// # Errors
/// As [`archive`].
pub fn open(path: &Path) -> Result<Bundle, ReadError> {
    if path.is_dir() { folder(path) } else { archive(File::open(path).map_err(ReadError::Open)?) }
}

/// Reads a bundle as it was downloaded: a gzip tar.
///
/// # Errors
/// Everything that is not a bundle within the limits.
pub fn archive(file: File) -> Result<Bundle, ReadError> {
    let size = file.metadata().map_err(ReadError::Open)?.len();
    within("the bundle", size, MAX_BUNDLE_BYTES, "MAX_BUNDLE_BYTES")?;
    stream(BufReader::new(file))
}

/// The same from any reader.
///
/// # Errors
/// As [`archive`].
pub fn stream(packed: impl BufRead) -> Result<Bundle, ReadError> {
    let mut unpacked = GzDecoder::new(packed).take(MAX_UNPACKED_BYTES + 1);
    let mut contents = Contents::default();
    contents.tar(&mut unpacked)?;
    let mut rest = unpacked;
    only_zeros(&mut rest)?;
    within("the unpacked bundle", MAX_UNPACKED_BYTES + 1 - rest.limit(), MAX_UNPACKED_BYTES, "MAX_UNPACKED_BYTES")?;
    let mut packed = rest.into_inner().into_inner();
    if !packed.fill_buf().map_err(ReadError::Damaged)?.is_empty() {
        return Err(ReadError::Trailing("gzip member"));
    }
    contents.finish()
}

/// Reads a bundle that was unpacked: the top folder, or the folder that holds only that.
///
/// # Errors
/// As [`archive`].
pub fn folder(path: &Path) -> Result<Bundle, ReadError> {
    let mut contents = Contents::default();
    let mut below: Vec<PathBuf> = vec![PathBuf::new()];
    let root = if path.join("provenance.json").is_file() { path.to_owned() } else { only_folder(path)? };
    while let Some(relative) = below.pop() {
        for entry in fs::read_dir(root.join(&relative)).map_err(ReadError::Open)? {
            let entry = entry.map_err(ReadError::Damaged)?;
            let kind = entry.file_type().map_err(ReadError::Damaged)?;
            let child = relative.join(entry.file_name());
            contents.count()?;
            let name = plain(child.to_str().ok_or_else(|| path_error(&child))?)?;
            if kind.is_dir() {
                contents.count_path(&name)?;
                below.push(child);
            } else if kind.is_file() {
                contents.file(name, File::open(entry.path()).map_err(ReadError::Open)?)?;
            } else {
                return Err(ReadError::Kind { path: name });
            }
        }
    }
    contents.finish()
}

fn only_folder(path: &Path) -> Result<PathBuf, ReadError> {
    let mut entries = fs::read_dir(path).map_err(ReadError::Open)?;
    match (entries.next(), entries.next()) {
        (Some(Ok(only)), None) if only.file_type().is_ok_and(|kind| kind.is_dir()) => Ok(only.path()),
        _ => Err(ReadError::NoProvenance),
    }
}

fn path_error(path: &Path) -> ReadError {
    ReadError::Path { path: path.to_string_lossy().into_owned() }
}

#[derive(Default)]
struct Contents {
    bundle: Bundle,
    provenance: bool,
    top: Option<String>,
    seen: BTreeSet<String>,
    /// For each folder entry, a path inside of it.
    inside_folders: Vec<String>,
    entries: usize,
    path_bytes: usize,
}

impl Contents {
    fn tar(&mut self, unpacked: &mut impl Read) -> Result<(), ReadError> {
        let mut archive = Archive::new(unpacked);
        let mut long_path = None;
        // Raw: a header of the archive never makes the reader allocate what it says.
        for entry in archive.entries().map_err(ReadError::Damaged)?.raw(true) {
            let mut entry = entry.map_err(ReadError::Damaged)?;
            self.count()?;
            let kind = entry.header().entry_type();
            let header = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if !is_unambiguous(entry.header()) {
                return Err(ReadError::Ambiguous { path: header });
            }
            if kind == EntryType::XHeader {
                // Of two in a row, some programs take the first and some the second.
                if long_path.is_some() {
                    return Err(ReadError::Ambiguous { path: header });
                }
                let size = entry.header().size().map_err(ReadError::Damaged)?;
                within("a PAX header", size, MAX_PAX_BYTES, "MAX_PAX_BYTES")?;
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).map_err(ReadError::Damaged)?;
                long_path = Some(pax_path(&bytes)?);
                continue;
            }
            let path = long_path.take().unwrap_or(header);
            match kind {
                EntryType::Regular => {
                    let name = self.below_top(&path)?;
                    self.file(name, entry)?;
                }
                EntryType::Directory => {
                    let inside = self.below_top(&format!("{}/x", path.trim_end_matches('/')))?;
                    self.count_path(&inside)?;
                    self.inside_folders.push(inside);
                }
                _ => return Err(ReadError::Kind { path }),
            }
        }
        if long_path.is_some() {
            Err(ReadError::Path { path: "(PAX header without an entry)".to_owned() })
        } else {
            Ok(())
        }
    }

    fn count(&mut self) -> Result<(), ReadError> {
        self.entries += 1;
        within("the entries", self.entries as u64, MAX_BUNDLE_ENTRIES as u64, "MAX_BUNDLE_ENTRIES")
    }

    fn count_path(&mut self, path: &str) -> Result<(), ReadError> {
        self.path_bytes += path.len();
        let limit = MAX_BUNDLE_PATHS_BYTES as u64;
        within("the paths together", self.path_bytes as u64, limit, "MAX_BUNDLE_PATHS_BYTES")
    }

    /// Cuts the top folder, which is the same for all.
    fn below_top(&mut self, path: &str) -> Result<String, ReadError> {
        let path = plain(path)?;
        let Some((top, rest)) = path.split_once('/') else { return Err(ReadError::Path { path }) };
        if self.top.get_or_insert_with(|| top.to_owned()) != top {
            return Err(ReadError::Path { path });
        }
        Ok(rest.to_owned())
    }

    fn file(&mut self, path: String, content: impl Read) -> Result<(), ReadError> {
        self.count_path(&path)?;
        if !self.seen.insert(path.clone()) {
            return Err(ReadError::Duplicate { path });
        }
        if path == "provenance.json" {
            self.bundle.provenance = document(content, MAX_PROVENANCE_BYTES, "MAX_PROVENANCE_BYTES")?;
            self.provenance = true;
        } else if path == "evidence.json" {
            self.bundle.evidence = Some(document(content, MAX_EVIDENCE_BYTES, "MAX_EVIDENCE_BYTES")?);
        } else if path == "build.log" {
            self.bundle.log = Some(hashed(&path, content)?);
        } else if let Some(name) = path.strip_prefix("artifacts/") {
            self.bundle.artifacts.push(hashed(name, content)?);
        } else if let Some(name) = path.strip_prefix("build-config/") {
            self.bundle.build_config.push(hashed(name, content)?);
        } else {
            return Err(ReadError::Unexpected { path });
        }
        Ok(())
    }

    /// A path that is a file, and a folder too: the later one would replace the other.
    fn file_and_folder(&self) -> Option<&str> {
        let paths = self.seen.iter().chain(&self.inside_folders);
        let mut folders = paths.flat_map(|path| path.match_indices('/').map(|(end, _)| &path[..end]));
        folders.find(|folder| self.seen.contains(*folder))
    }

    fn finish(mut self) -> Result<Bundle, ReadError> {
        if !self.provenance {
            return Err(ReadError::NoProvenance);
        }
        if let Some(path) = self.file_and_folder() {
            return Err(ReadError::Duplicate { path: path.to_owned() });
        }
        self.bundle.artifacts.sort_by(|a, b| a.name.cmp(&b.name));
        self.bundle.build_config.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(self.bundle)
    }
}

/// The path of the one record that a PAX header of a bundle has: `LENGTH path=PATH` and a line end.
fn pax_path(bytes: &[u8]) -> Result<String, ReadError> {
    let record = std::str::from_utf8(bytes).ok().and_then(|text| text.strip_suffix('\n')?.split_once(" path="));
    match record {
        Some((length, path)) if *length == bytes.len().to_string() => Ok(path.to_owned()),
        _ => Err(ReadError::Path { path: "(PAX header)".to_owned() }),
    }
}

/// What [`crate::name`] says that files of a bundle may be called.
fn plain(path: &str) -> Result<String, ReadError> {
    within("a path", path.len() as u64, MAX_BUNDLE_PATH_BYTES as u64, "MAX_BUNDLE_PATH_BYTES")?;
    match name::check(path) {
        Ok(()) => Ok(path.to_owned()),
        Err(_) => Err(ReadError::Path { path: path.to_owned() }),
    }
}

fn within(what: &'static str, size: u64, limit: u64, name: &'static str) -> Result<(), ReadError> {
    if size > limit { Err(ReadError::Limit { what, size, limit, name }) } else { Ok(()) }
}

fn document(content: impl Read, limit: u64, name: &'static str) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    content.take(limit + 1).read_to_end(&mut bytes).map_err(ReadError::Damaged)?;
    within("a document", bytes.len() as u64, limit, name)?;
    Ok(bytes)
}

fn hashed(name: &str, content: impl Read) -> Result<HashedFile, ReadError> {
    let (sha256, size) = Sha256Digest::of_reader(content).map_err(ReadError::Damaged)?;
    Ok(HashedFile { name: name.to_owned(), sha256, size })
}

/// Reads to the end; a tar is padded with zeros.
fn only_zeros(rest: &mut impl Read) -> Result<(), ReadError> {
    let mut buffer = [0; 8192];
    loop {
        match rest.read(&mut buffer).map_err(ReadError::Damaged)? {
            0 => return Ok(()),
            count if buffer[..count].iter().all(|byte| *byte == 0) => {}
            _ => return Err(ReadError::Trailing("tar archive")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::{Entry, write};

    fn packed(paths: &[&str]) -> Vec<u8> {
        write(Vec::new(), "p", paths.iter().map(|path| Entry::of_bytes(*path, b"{}\n")).collect(), 0).unwrap()
    }

    fn with_entry(path: &str, kind: EntryType) -> Vec<u8> {
        let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut archive = tar::Builder::new(gzip);
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_cksum();
        archive.append(&header, io::empty()).unwrap();
        archive.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn reads_back_what_was_written() {
        let long = format!("artifacts/{}", "n".repeat(200));
        let bundle = stream(&packed(&["provenance.json", "build.log", "build-config/Cargo.lock", &long])[..]).unwrap();
        assert_eq!((bundle.provenance.as_slice(), bundle.evidence), (&b"{}\n"[..], None));
        assert_eq!(bundle.artifacts[0].name, long["artifacts/".len()..]);
        assert_eq!(bundle.artifacts[0].sha256, Sha256Digest::of(b"{}\n"));
        assert_eq!((bundle.build_config.len(), bundle.log.unwrap().size), (1, 3));
    }

    #[test]
    fn a_bundle_without_provenance_or_with_a_foreign_file_is_refused() {
        assert!(matches!(stream(&packed(&["build.log"])[..]), Err(ReadError::NoProvenance)));
        for foreign in ["x", "provenance.json/x", "artifacts"] {
            let refusal = stream(&packed(&["provenance.json", foreign])[..]).unwrap_err();
            assert!(matches!(refusal, ReadError::Unexpected { .. }), "{foreign}: {refusal}");
        }
        let twice = stream(&packed(&["provenance.json", "provenance.json"])[..]);
        assert!(matches!(twice, Err(ReadError::Duplicate { .. })));
    }

    #[test]
    fn paths_have_a_limit_together() {
        let names: Vec<_> = (0..1100).map(|number| format!("artifacts/{number:0990}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).chain(["provenance.json"]).collect();
        let refusal = stream(&packed(&names)[..]).unwrap_err();
        assert!(matches!(refusal, ReadError::Limit { name: "MAX_BUNDLE_PATHS_BYTES", .. }), "{refusal}");
    }

    #[test]
    fn path_tricks_and_links_are_refused() {
        for path in [
            "/p/x",
            "p/../x",
            "p/artifacts/./x",
            "p//x",
            "p\\x",
            "p/a\nb",
            "x",
            "-p/x",
            "p/artifacts/-x",
            "p/artifacts/\u{e4}",
        ] {
            let refusal = stream(&with_entry(path, EntryType::Regular)[..]).unwrap_err();
            assert!(matches!(refusal, ReadError::Path { .. }), "{path}: {refusal}");
        }
        for kind in [EntryType::Symlink, EntryType::Link, EntryType::Fifo, EntryType::Char, EntryType::GNULongName] {
            let refusal = stream(&with_entry("p/artifacts/x", kind)[..]).unwrap_err();
            assert!(matches!(refusal, ReadError::Kind { .. }), "{kind:?}: {refusal}");
        }
    }

    #[test]
    fn damage_and_trailing_bytes_are_refused() {
        let good = packed(&["provenance.json"]);
        let mut longer = good.clone();
        longer.push(0);
        assert!(matches!(stream(&longer[..]), Err(ReadError::Trailing("gzip member"))));
        assert!(matches!(stream(&good[..good.len() - 1]), Err(ReadError::Damaged(_))));
        assert!(matches!(stream(&b"no gzip"[..]), Err(ReadError::Damaged(_))));
    }

    #[test]
    fn a_folder_reads_like_its_archive() {
        let packed = packed(&["provenance.json", "artifacts/a", "artifacts/b/c"]);
        let folder_path = tempfile::tempdir().unwrap();
        Archive::new(flate2::read::GzDecoder::new(&packed[..])).unpack(folder_path.path()).unwrap();
        let expected = stream(&packed[..]).unwrap();
        assert_eq!(folder(folder_path.path()).unwrap(), expected);
        assert_eq!(folder(&folder_path.path().join("p")).unwrap(), expected);
        std::os::unix::fs::symlink("/etc/passwd", folder_path.path().join("p/artifacts/link")).unwrap();
        assert!(matches!(folder(folder_path.path()), Err(ReadError::Kind { .. })));
    }
}
