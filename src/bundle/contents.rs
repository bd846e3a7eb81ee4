//! What a reader of bundles has read so far.
//!
//! - Comes in: entries of an archive or of a directory, one after the other.
//! - Goes out: the [`Bundle`].
//! - Never: more than the limits say, a file twice, or one that a bundle does not have.

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
/// Largest `provenance.sigstore.json`, in bytes: the largest statement in base64, with less than 1 KiB around it.
pub const MAX_ENVELOPE_BYTES: u64 = MAX_PROVENANCE_BYTES.div_ceil(3) * 4 + (4 << 10);

/// Whether a file below the top folder is one that a build made.
pub(super) fn is_artifact(path: &str) -> bool {
    names::artifact_name(path).is_some()
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
    #[error("{} is missing", names::PROVENANCE)]
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
    /// `provenance.sigstore.json`, if there is one.
    pub envelope: Option<Vec<u8>>,
    /// The files under `artifacts/`, sorted by name.
    pub artifacts: Vec<HashedFile>,
    /// The files under `build-config/`, sorted by name.
    pub build_config: Vec<HashedFile>,
    /// `build.log`, if there is one.
    pub log: Option<HashedFile>,
    /// `sbom.cdx.json`, if there is one.
    pub sbom: Option<HashedFile>,
    /// The time of every entry of the archive, in seconds; a folder says none.
    pub time: Option<u64>,
    /// The name of the archive's top directory. A folder says none: who unpacks can call it as he
    /// likes.
    pub project: Option<ProjectName>,
    /// Whether there is a file in the folder whose extended attributes the file system does not list.
    pub has_unlisted_attributes: bool,
    /// SHA-256 of the tar stream, by which bundles are compared: how it is compressed does not
    /// matter. Of an archive only, and only from [`open_with_digest`](super::read::open_with_digest), because computing it takes
    /// as long as everything else.
    pub tar_sha256: Option<Sha256Digest>,
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

    pub(super) fn finish(mut self) -> Result<Bundle, ReadError> {
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
