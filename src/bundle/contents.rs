//! Collects the files of a bundle while it is read.
//!
//! * In: entries of an archive or of a directory, one after the other.
//! * Out: the [`Bundle`].
//! * Never: more than the limits allow, a repeated file, or one that a bundle does not have.

use std::collections::BTreeSet;
use std::io::{self, Read};

use super::{MAX_PROVENANCE_BYTES, names};
use crate::digest::Sha256Digest;
use crate::name;
use crate::name::project::{MAX_PROJECT_NAME_BYTES, ProjectName};

/// Largest bundle, in bytes as downloaded.
pub const MAX_BUNDLE_BYTES: u64 = 4 << 30;
/// Largest bundle, in bytes unpacked.
pub const MAX_UNPACKED_BYTES: u64 = 16 << 30;
/// Most entries of a bundle; directories, and headers of long paths, count too.
pub const MAX_BUNDLE_ENTRIES: usize = 20_000;
/// Longest path, in bytes, with the top directory.
pub const MAX_BUNDLE_PATH_BYTES: usize = 1024;
/// Most bytes in all paths together, which a reader keeps for every file.
pub const MAX_BUNDLE_PATHS_BYTES: usize = 1 << 20;
/// Largest PAX header, in bytes: one path and its framing.
pub const MAX_PAX_BYTES: u64 = 4096;
/// Largest `evidence.json`, in bytes: a report and three certificates take under 10 KiB.
pub const MAX_EVIDENCE_BYTES: u64 = 64 << 10;
/// Largest `provenance.sigstore.json`, in bytes: the largest statement in base64, with less than
/// 1 KiB around it.
pub const MAX_ENVELOPE_BYTES: u64 = MAX_PROVENANCE_BYTES.div_ceil(3) * 4 + (4 << 10);

/// Returns whether a path below the top directory is an artifact's.
pub(super) fn is_artifact(path: &str) -> bool {
    names::artifact_name(path).is_some()
}

/// Why a bundle cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file does not exist, or cannot be opened.
    #[error("cannot be opened")]
    Open(#[source] io::Error),
    /// The archive is damaged, or a file cannot be read.
    #[error("the bundle is damaged")]
    Damaged(#[source] io::Error),
    /// A part of the bundle is over a limit.
    #[error("{what}: {size} is over the limit {limit} ({name})")]
    Limit {
        /// The part that is too large.
        what: &'static str,
        /// The size of the part, at least.
        size: u64,
        /// The limit that was exceeded.
        limit: u64,
        /// The name of the limit.
        name: &'static str,
    },
    /// Bytes follow the archive.
    #[error("bytes follow the end of the gzip member")]
    Trailing,
    /// The archive is not the one encoding of its files: other programs could unpack other files
    /// than were read here.
    #[error("{place}: {field} is {actual}, and a bundle has {expected} there")]
    NotCanonical {
        /// The entry, or the part of the archive.
        place: String,
        /// The name of the field, or of the rule, that differs.
        field: &'static str,
        /// The value that a bundle has there.
        expected: String,
        /// The value that was found.
        actual: String,
    },
    /// An entry of a directory is not a regular file, or is a file with two names.
    #[error("{path:?} is a link or a special file, and a bundle has regular files only")]
    Kind {
        /// The path of the entry.
        path: String,
    },
    /// A file in a directory would run with other rights, or is executable and no artifact.
    #[error(
        "the mode of {path:?} is {mode:04o}: set-user-id, set-group-id, sticky, or executable \
         without being an artifact"
    )]
    Mode {
        /// The path of the file.
        path: String,
        /// The permission bits of the file.
        mode: u32,
    },
    /// An entry of a directory has more than its bytes and its mode.
    #[error(
        "{path:?} has the extended attribute {attribute:?}, by which it can do more than its mode \
         says, or others can: remove it, or verify the archive"
    )]
    Attribute {
        /// The path below the top directory; empty for that directory itself.
        path: String,
        /// The name of the first such attribute.
        attribute: String,
    },
    /// A path is not plainly below the top directory.
    #[error("{path:?} is no plain path below one top directory")]
    Path {
        /// The path that was found.
        path: String,
    },
    /// The top directory has a name that no project has.
    #[error(
        "the top directory has the name {name:?}: letters, digits, `.`, `_` and `-` are allowed, \
         {MAX_PROJECT_NAME_BYTES} bytes at most, and neither `.` nor `-` at the start"
    )]
    Project {
        /// The name of the directory.
        name: String,
    },
    /// A bundle does not have this file.
    #[error("{path:?} does not belong in a bundle")]
    Unexpected {
        /// The path of the file.
        path: String,
    },
    /// Two files have one path, or a file has the path of a directory.
    #[error("{path:?} is repeated")]
    Duplicate {
        /// The path that is repeated.
        path: String,
    },
    /// The bundle has no `provenance.json`.
    #[error("{} is missing", names::PROVENANCE)]
    NoProvenance,
}

/// One file that was hashed and not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashedFile {
    /// The name relative to the file's directory of the bundle.
    pub name: String,
    /// The digest of the bytes that were read.
    pub sha256: Sha256Digest,
    /// The size in bytes.
    pub size: u64,
    /// Whether anybody may execute it.
    pub executable: bool,
}

/// The contents of a bundle that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle {
    /// The bytes of `provenance.json`.
    pub provenance: Vec<u8>,
    /// The bytes of `evidence.json`, if there is one.
    pub evidence: Option<Vec<u8>>,
    /// The bytes of `provenance.sigstore.json`, if there is one.
    pub envelope: Option<Vec<u8>>,
    /// The files under `artifacts/`, sorted by name.
    pub artifacts: Vec<HashedFile>,
    /// The files under `build-config/`, sorted by name.
    pub build_config: Vec<HashedFile>,
    /// The file `build.log`, if there is one.
    pub log: Option<HashedFile>,
    /// The file `sbom.cdx.json`, if there is one.
    pub sbom: Option<HashedFile>,
    /// The time of every entry of the archive, in seconds since 1970; none for a directory.
    pub time: Option<u64>,
    /// The name of the archive's top directory; none for a directory, which may have been renamed
    /// after unpacking.
    pub project: Option<ProjectName>,
    /// Whether the directory has a file whose extended attributes the file system does not list.
    pub has_unlisted_attributes: bool,
    /// The SHA-256 digest of the tar stream, by which bundles are compared, whatever their
    /// compression. Only [`open_with_digest`](super::read::open_with_digest) computes it, for an
    /// archive, because that takes as long as everything else.
    pub tar_sha256: Option<Sha256Digest>,
}

/// The files that were read so far, within the limits.
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

    #[cfg(not(target_family = "wasm"))]
    pub(super) fn attributes_unlisted(&mut self) {
        self.bundle.has_unlisted_attributes = true;
    }

    pub(super) fn dated(&mut self, time: Option<u64>) {
        self.bundle.time = time;
    }

    /// Removes the top directory from a path; it has to be the same for all paths.
    pub(super) fn below_top(&mut self, path: &str) -> Result<String, ReadError> {
        let path = plain(path)?;
        let Some((top, rest)) = path.split_once('/') else {
            return Err(ReadError::Path { path });
        };
        match &self.bundle.project {
            Some(project) if project.as_str() == top => {}
            Some(_) => return Err(ReadError::Path { path }),
            None => {
                let project = ProjectName::parse(top);
                self.bundle.project = Some(project.ok_or_else(|| ReadError::Project {
                    name: top.to_owned(),
                })?);
            }
        }
        Ok(rest.to_owned())
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
        if path == names::PROVENANCE {
            self.bundle.provenance =
                document(content, MAX_PROVENANCE_BYTES, "MAX_PROVENANCE_BYTES")?;
            self.provenance = true;
        } else if path == names::EVIDENCE {
            self.bundle.evidence =
                Some(document(content, MAX_EVIDENCE_BYTES, "MAX_EVIDENCE_BYTES")?);
        } else if path == names::ENVELOPE {
            self.bundle.envelope =
                Some(document(content, MAX_ENVELOPE_BYTES, "MAX_ENVELOPE_BYTES")?);
        } else if path == names::BUILD_LOG {
            self.bundle.log = Some(hashed(path, executable, content)?);
        } else if path == names::SBOM {
            self.bundle.sbom = Some(hashed(path, executable, content)?);
        } else if let Some(name) = names::artifact_name(path) {
            self.bundle
                .artifacts
                .push(hashed(name, executable, content)?);
        } else if let Some(name) = names::build_config_name(path) {
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

    /// Returns whether a file is in this directory, or below it.
    #[cfg(not(target_family = "wasm"))]
    pub(super) fn has_file_in(&self, directory: &str) -> bool {
        let inside = format!("{directory}/");
        let first = self.seen.range(inside.clone()..).next();
        first.is_some_and(|path| path.starts_with(&inside))
    }

    /// Returns a path that is both a file and a directory: the later one would replace the other.
    fn file_and_directory(&self) -> Option<&str> {
        for path in &self.seen {
            for (end, _) in path.match_indices('/') {
                if self.seen.contains(&path[..end]) {
                    return Some(&path[..end]);
                }
            }
        }
        None
    }

    pub(super) fn finish(mut self) -> Result<Bundle, ReadError> {
        if !self.provenance {
            return Err(ReadError::NoProvenance);
        }
        if let Some(path) = self.file_and_directory() {
            return Err(ReadError::Duplicate {
                path: path.to_owned(),
            });
        }
        self.bundle.artifacts.sort_by(|a, b| a.name.cmp(&b.name));
        self.bundle.build_config.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(self.bundle)
    }
}

/// Checks a path by the rules of [`crate::name`] and the limit for paths.
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
