//! Reading a bundle. Comes in: bytes or a folder that anybody may have made. Goes out: the two
//! documents, and the digest of every other file. Never: a file written, a link followed, more
//! memory than the limits say, a file passed over, or an archive in another encoding than the
//! writer's.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

pub use super::MAX_PROVENANCE_BYTES;
use super::stream::Packed;
use super::{directory, stream};
use crate::digest::{Sha256Digest, Sha256Reader};
use crate::name;
use crate::name::project::{MAX_PROJECT_NAME_BYTES, ProjectName};

/// Largest bundle, in bytes as downloaded.
pub const MAX_BUNDLE_BYTES: u64 = 4 << 30;
/// Largest bundle, in bytes unpacked.
pub const MAX_UNPACKED_BYTES: u64 = 16 << 30;
/// Most entries; folders, and headers of long paths, count too.
pub const MAX_BUNDLE_ENTRIES: usize = 20_000;
/// Longest path, in bytes, with the top folder.
pub const MAX_BUNDLE_PATH_BYTES: usize = 1024;
/// All paths together, in bytes: they are what a reader keeps of the files.
pub const MAX_BUNDLE_PATHS_BYTES: usize = 1 << 20;
/// Largest PAX header, in bytes: one path and its framing.
pub const MAX_PAX_BYTES: u64 = 4096;
/// Largest `evidence.json`, in bytes: a report and three certificates take under 10 KiB.
pub const MAX_EVIDENCE_BYTES: u64 = 64 << 10;

/// Whether a file below the top folder is one that a build made.
pub(super) fn is_artifact(path: &str) -> bool {
    path.starts_with("artifacts/")
}

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
    #[error("bytes follow the end of the gzip member")]
    Trailing,
    /// The archive is not the one encoding of its files: other programs could unpack other files
    /// than were read here.
    #[error("{place}: {field} is {actual}, and a bundle has {expected} there")]
    NotCanonical {
        /// Which entry, or which part of the archive.
        place: String,
        /// What differs: the name of a field, or of a rule.
        field: &'static str,
        /// What a bundle has there.
        expected: String,
        /// What is there.
        actual: String,
    },
    /// Something in a folder that is not a file, or one with two names.
    #[error("{path:?} is a link or a special file, and a bundle has regular files only")]
    Kind {
        /// Its path.
        path: String,
    },
    /// A file in a folder that would run with other rights, or is executable and no artifact.
    #[error(
        "the mode of {path:?} is {mode:04o}: set-user-id, set-group-id, sticky, or executable without being an artifact"
    )]
    Mode {
        /// Its path.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// Something in a folder that has more than its bytes and its mode.
    #[error(
        "{path:?} has the extended attribute {attribute:?}, by which it can do more than its mode says, or others can: \
         remove it, or verify the archive"
    )]
    Attribute {
        /// Its path below the top directory; empty for that directory itself.
        path: String,
        /// Name of the first such attribute.
        attribute: String,
    },
    /// A path that is not plainly below the top folder.
    #[error("{path:?} is no plain path below one top folder")]
    Path {
        /// The path.
        path: String,
    },
    /// A top directory that no project is called.
    #[error(
        "the top directory is called {name:?}: letters, digits, `.`, `_` and `-` are allowed, \
         {MAX_PROJECT_NAME_BYTES} bytes at most, and neither `.` nor `-` at the start"
    )]
    Project {
        /// Its name.
        name: String,
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
    /// Whether anybody may execute it.
    pub executable: bool,
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
    /// The time of every entry of the archive, in seconds; a folder says none.
    pub time: Option<u64>,
    /// The name of the archive's top directory. A folder says none: who unpacks can call it as he
    /// likes.
    pub project: Option<ProjectName>,
    /// Whether there is a file in the folder whose extended attributes the file system does not list.
    pub has_unlisted_attributes: bool,
    /// SHA-256 of the tar stream, by which bundles are compared: how it is compressed does not
    /// matter. Of an archive only, and only from [`open_with_digest`], because computing it takes
    /// as long as everything else.
    pub tar_sha256: Option<Sha256Digest>,
}

/// Reads a bundle as it was downloaded, or the folder it was unpacked to.
///
/// # Errors
/// As [`archive`].
pub fn open(path: &Path) -> Result<Bundle, ReadError> {
    if path.is_dir() {
        folder(path)
    } else {
        archive(File::open(path).map_err(ReadError::Open)?)
    }
}

/// Reads a bundle like [`open`], and computes the digest that bundles are compared by.
///
/// # Errors
/// As [`archive`].
pub fn open_with_digest(path: &Path) -> Result<Bundle, ReadError> {
    if path.is_dir() {
        return folder(path);
    }
    stream_with_digest(BufReader::new(within_size(
        File::open(path).map_err(ReadError::Open)?,
    )?))
}

/// Reads a bundle as it was downloaded: a gzip tar.
///
/// # Errors
/// Everything that is not a bundle within the limits.
pub fn archive(file: File) -> Result<Bundle, ReadError> {
    stream(BufReader::new(within_size(file)?))
}

fn within_size(file: File) -> Result<File, ReadError> {
    let size = file.metadata().map_err(ReadError::Open)?.len();
    within("the bundle", size, MAX_BUNDLE_BYTES, "MAX_BUNDLE_BYTES")?;
    Ok(file)
}

/// The same from any reader.
///
/// # Errors
/// As [`archive`].
pub fn stream(packed: impl BufRead) -> Result<Bundle, ReadError> {
    let mut packed = Packed::open(packed)?;
    let mut contents = Contents::default();
    stream::read(&mut packed, &mut contents)?;
    packed.end()?;
    contents.finish()
}

/// The same from any reader, with the digest of the tar stream.
///
/// # Errors
/// As [`archive`].
pub fn stream_with_digest(packed: impl BufRead) -> Result<Bundle, ReadError> {
    let mut packed = Packed::open(packed)?;
    let mut contents = Contents::default();
    let mut hashed = Sha256Reader::new(&mut packed);
    stream::read(&mut hashed, &mut contents)?;
    let (tar_sha256, _) = hashed.finish();
    packed.end()?;
    Ok(Bundle {
        tar_sha256: Some(tar_sha256),
        ..contents.finish()?
    })
}

/// Reads a bundle that was unpacked: the top folder, or the folder that holds only that.
///
/// # Errors
/// As [`archive`].
pub fn folder(path: &Path) -> Result<Bundle, ReadError> {
    let mut contents = Contents::default();
    directory::read(path, &mut contents)?;
    contents.finish()
}

/// What was read so far, within the limits.
#[derive(Default)]
pub(super) struct Contents {
    bundle: Bundle,
    provenance: bool,
    seen: BTreeSet<String>,
    entries: usize,
    path_bytes: usize,
}

impl Contents {
    pub(super) fn count(&mut self) -> Result<(), ReadError> {
        self.entries += 1;
        within(
            "the entries",
            self.entries as u64,
            MAX_BUNDLE_ENTRIES as u64,
            "MAX_BUNDLE_ENTRIES",
        )
    }

    pub(super) fn count_path(&mut self, path: &str) -> Result<(), ReadError> {
        self.path_bytes += path.len();
        let limit = MAX_BUNDLE_PATHS_BYTES as u64;
        within(
            "the paths together",
            self.path_bytes as u64,
            limit,
            "MAX_BUNDLE_PATHS_BYTES",
        )
    }

    pub(super) fn attributes_unlisted(&mut self) {
        self.bundle.has_unlisted_attributes = true;
    }

    pub(super) fn dated(&mut self, time: Option<u64>) {
        self.bundle.time = time;
    }

    /// Cuts the top folder, which is the same for all.
    pub(super) fn below_top(&mut self, path: &str) -> Result<String, ReadError> {
        let path = plain(path)?;
        let Some((top, rest)) = path.split_once('/') else {
            return Err(ReadError::Path { path });
        };
        let project = match self.bundle.project.take() {
            Some(project) => project,
            None => ProjectName::parse(top).ok_or_else(|| ReadError::Project {
                name: top.to_owned(),
            })?,
        };
        let is_same = project.as_str() == top;
        self.bundle.project = Some(project);
        if is_same {
            Ok(rest.to_owned())
        } else {
            Err(ReadError::Path { path })
        }
    }

    pub(super) fn file(
        &mut self,
        path: &str,
        executable: bool,
        content: impl Read,
    ) -> Result<(), ReadError> {
        self.count_path(path)?;
        if !self.seen.insert(path.to_owned()) {
            return Err(ReadError::Duplicate {
                path: path.to_owned(),
            });
        }
        if path == "provenance.json" {
            self.bundle.provenance =
                document(content, MAX_PROVENANCE_BYTES, "MAX_PROVENANCE_BYTES")?;
            self.provenance = true;
        } else if path == "evidence.json" {
            self.bundle.evidence =
                Some(document(content, MAX_EVIDENCE_BYTES, "MAX_EVIDENCE_BYTES")?);
        } else if path == "build.log" {
            self.bundle.log = Some(hashed(path, executable, content)?);
        } else if let Some(name) = path.strip_prefix("artifacts/") {
            self.bundle
                .artifacts
                .push(hashed(name, executable, content)?);
        } else if let Some(name) = path.strip_prefix("build-config/") {
            self.bundle
                .build_config
                .push(hashed(name, executable, content)?);
        } else {
            return Err(ReadError::Unexpected {
                path: path.to_owned(),
            });
        }
        Ok(())
    }

    /// Whether a file lies in this folder, or below it.
    pub(super) fn has_file_in(&self, folder: &str) -> bool {
        let inside = format!("{folder}/");
        self.seen
            .range(inside.clone()..)
            .next()
            .is_some_and(|path| path.starts_with(&inside))
    }

    /// A path that is a file, and a folder too: the later one would replace the other.
    fn file_and_folder(&self) -> Option<&str> {
        let mut folders = self
            .seen
            .iter()
            .flat_map(|path| path.match_indices('/').map(|(end, _)| &path[..end]));
        folders.find(|folder| self.seen.contains(*folder))
    }

    fn finish(mut self) -> Result<Bundle, ReadError> {
        if !self.provenance {
            return Err(ReadError::NoProvenance);
        }
        if let Some(path) = self.file_and_folder() {
            return Err(ReadError::Duplicate {
                path: path.to_owned(),
            });
        }
        self.bundle.artifacts.sort_by(|a, b| a.name.cmp(&b.name));
        self.bundle.build_config.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(self.bundle)
    }
}

/// What [`crate::name`] says that files of a bundle may be called.
pub(super) fn plain(path: &str) -> Result<String, ReadError> {
    within(
        "a path",
        path.len() as u64,
        MAX_BUNDLE_PATH_BYTES as u64,
        "MAX_BUNDLE_PATH_BYTES",
    )?;
    match name::check(path) {
        Ok(()) => Ok(path.to_owned()),
        Err(_) => Err(ReadError::Path {
            path: path.to_owned(),
        }),
    }
}

pub(super) fn within(
    what: &'static str,
    size: u64,
    limit: u64,
    name: &'static str,
) -> Result<(), ReadError> {
    if size > limit {
        Err(ReadError::Limit {
            what,
            size,
            limit,
            name,
        })
    } else {
        Ok(())
    }
}

fn document(content: impl Read, limit: u64, name: &'static str) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    content
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(ReadError::Damaged)?;
    within("a document", bytes.len() as u64, limit, name)?;
    Ok(bytes)
}

fn hashed(name: &str, executable: bool, content: impl Read) -> Result<HashedFile, ReadError> {
    let (sha256, size) = Sha256Digest::of_reader(content).map_err(ReadError::Damaged)?;
    Ok(HashedFile {
        name: name.to_owned(),
        sha256,
        size,
        executable,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::bundle::{Entry, write};

    fn packed(paths: &[&str]) -> Vec<u8> {
        write(
            Vec::new(),
            "p",
            paths
                .iter()
                .map(|path| Entry::of_bytes(*path, b"{}\n"))
                .collect(),
            0,
        )
        .unwrap()
    }

    fn unpacked(packed: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        tar::Archive::new(flate2::read::GzDecoder::new(packed))
            .unpack(folder.path())
            .unwrap();
        folder
    }

    #[test]
    fn reads_back_what_was_written() {
        let long = format!("artifacts/{}", "n".repeat(200));
        let bundle = stream(
            &packed(&[
                "provenance.json",
                "build.log",
                "build-config/Cargo.lock",
                &long,
            ])[..],
        )
        .unwrap();
        assert_eq!(
            (bundle.provenance.as_slice(), bundle.evidence),
            (&b"{}\n"[..], None)
        );
        assert_eq!(bundle.artifacts[0].name, long["artifacts/".len()..]);
        assert_eq!(bundle.artifacts[0].sha256, Sha256Digest::of(b"{}\n"));
        assert_eq!(
            (bundle.build_config.len(), bundle.log.unwrap().size),
            (1, 3)
        );
        assert_eq!((bundle.time, bundle.tar_sha256), (Some(0), None));
    }

    #[test]
    fn a_bundle_without_provenance_or_with_a_foreign_file_is_refused() {
        assert!(matches!(
            stream(&packed(&["build.log"])[..]),
            Err(ReadError::NoProvenance)
        ));
        for foreign in ["x", "provenance.json/x", "artifacts"] {
            let refusal = stream(&packed(&["provenance.json", foreign])[..]).unwrap_err();
            assert!(
                matches!(refusal, ReadError::Unexpected { .. }),
                "{foreign}: {refusal}"
            );
        }
    }

    #[test]
    fn paths_have_a_limit_together() {
        let names: Vec<_> = (0..1100)
            .map(|number| format!("artifacts/{number:0990}"))
            .collect();
        let names: Vec<_> = names
            .iter()
            .map(String::as_str)
            .chain(["provenance.json"])
            .collect();
        let refusal = stream(&packed(&names)[..]).unwrap_err();
        assert!(
            matches!(
                refusal,
                ReadError::Limit {
                    name: "MAX_BUNDLE_PATHS_BYTES",
                    ..
                }
            ),
            "{refusal}"
        );
    }

    #[test]
    fn damage_and_trailing_bytes_are_refused() {
        let good = packed(&["provenance.json"]);
        let mut longer = good.clone();
        longer.push(0);
        assert!(matches!(stream(&longer[..]), Err(ReadError::Trailing)));
        assert!(matches!(
            stream(&good[..good.len() - 1]),
            Err(ReadError::Damaged(_))
        ));
        assert!(matches!(
            stream(&b"no gzip"[..]),
            Err(ReadError::Damaged(_))
        ));
        assert!(matches!(
            stream(&b"PK\x03\x04 a ZIP archive"[..]),
            Err(ReadError::NotCanonical { .. })
        ));
    }

    #[test]
    fn the_digest_is_of_the_tar_stream_and_not_of_its_compression() {
        let good = packed(&["provenance.json", "artifacts/a"]);
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(&good[..])
            .read_to_end(&mut tar)
            .unwrap();
        let mut stored = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(9));
        io::Write::write_all(&mut stored, &tar).unwrap();
        let mut other = stored.finish().unwrap();
        other[8] = 0;
        assert_ne!(other, good);
        for packed in [good, other] {
            let bundle = stream_with_digest(&packed[..]).unwrap();
            assert_eq!(bundle.tar_sha256, Some(Sha256Digest::of(&tar)));
            assert_eq!(
                Bundle {
                    tar_sha256: None,
                    ..bundle
                },
                stream(&packed[..]).unwrap()
            );
        }
    }

    #[test]
    fn a_folder_reads_like_its_archive() {
        let packed = packed(&["provenance.json", "artifacts/a", "artifacts/b/c"]);
        let unpacked = unpacked(&packed);
        let expected = Bundle {
            time: None,
            project: None,
            ..stream(&packed[..]).unwrap()
        };
        assert_eq!(folder(unpacked.path()).unwrap(), expected);
        assert_eq!(folder(&unpacked.path().join("p")).unwrap(), expected);
    }

    /// What a reader says of a folder that was changed.
    fn changed(change: impl FnOnce(&Path)) -> ReadError {
        let unpacked = unpacked(&packed(&[
            "provenance.json",
            "artifacts/a",
            "artifacts/b/c",
        ]));
        change(&unpacked.path().join("p"));
        folder(unpacked.path()).unwrap_err()
    }

    #[test]
    fn a_folder_has_regular_files_of_one_name_and_nothing_else() {
        for name in [
            "artifacts/link",
            "artifacts/b/link",
            "build.log",
            "build-config/Cargo.lock",
            "link",
        ] {
            let refusal = changed(|folder| {
                fs::create_dir_all(folder.join("build-config")).unwrap();
                symlink("/etc/passwd", folder.join(name)).unwrap();
            });
            assert!(
                matches!(refusal, ReadError::Kind { .. }),
                "{name}: {refusal}"
            );
        }
        let refusal = changed(|folder| symlink("b", folder.join("artifacts/link")).unwrap());
        assert!(
            matches!(refusal, ReadError::Kind { .. }),
            "a link to a folder: {refusal}"
        );
        let refusal = changed(|folder| {
            fs::hard_link(folder.join("artifacts/a"), folder.join("artifacts/z")).unwrap()
        });
        assert!(
            matches!(refusal, ReadError::Kind { .. }),
            "a second name: {refusal}"
        );
        let refusal = changed(|folder| {
            let fifo = folder.join("artifacts/fifo");
            rustix::fs::mknodat(
                rustix::fs::CWD,
                fifo,
                rustix::fs::FileType::Fifo,
                0o600.into(),
                0,
            )
            .unwrap();
        });
        assert!(
            matches!(refusal, ReadError::Kind { .. }),
            "a FIFO: {refusal}"
        );
        for name in ["x", "artifacts.txt", "build-config", "evidence.json.bak"] {
            let refusal = changed(|folder| fs::write(folder.join(name), "x").unwrap());
            assert!(
                matches!(refusal, ReadError::Unexpected { .. }),
                "{name}: {refusal}"
            );
        }
        for name in [
            "empty",
            "artifacts/empty",
            "artifacts/b/d/e",
            "build-config",
        ] {
            let refusal = changed(|folder| fs::create_dir_all(folder.join(name)).unwrap());
            assert!(
                matches!(refusal, ReadError::Unexpected { .. }),
                "{name}: {refusal}"
            );
        }
    }

    #[test]
    fn a_folder_has_no_file_with_special_rights() {
        let of_mode = |name: &'static str, mode: u32| {
            changed(|folder| {
                fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap()
            })
        };
        for mode in [0o4755, 0o2755, 0o1755, 0o4644, 0o2644, 0o1644, 0o7777] {
            for name in ["artifacts/a", "artifacts/b/c", "provenance.json"] {
                let refusal = of_mode(name, mode);
                assert!(
                    matches!(refusal, ReadError::Mode { mode: found, .. } if found == mode),
                    "{name}: {refusal}"
                );
            }
        }
        for mode in [0o755, 0o700, 0o654, 0o645] {
            let refusal = of_mode("provenance.json", mode);
            assert!(
                matches!(refusal, ReadError::Mode { .. }),
                "{mode:o}: {refusal}"
            );
        }
    }

    #[test]
    fn an_artifact_in_a_folder_is_executable_where_anybody_may_execute_it() {
        let packed = packed(&["provenance.json", "artifacts/a"]);
        for (mode, executable) in [
            (0o755, true),
            (0o700, true),
            (0o611, true),
            (0o644, false),
            (0o600, false),
        ] {
            let unpacked = unpacked(&packed);
            fs::set_permissions(
                unpacked.path().join("p/artifacts/a"),
                fs::Permissions::from_mode(mode),
            )
            .unwrap();
            assert_eq!(
                folder(unpacked.path()).unwrap().artifacts[0].executable,
                executable,
                "{mode:o}"
            );
        }
    }
}
