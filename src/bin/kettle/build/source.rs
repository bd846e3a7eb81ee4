//! What `kettle build` sends.
//!
//! - Comes in: a path or a URL, as it was typed.
//! - Goes out: what the appliance is told or sent, and what its statement has to say of it.
//! - Never: a source that is sent before it was hashed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use kettle::client::{ChosenBy, Listing, ListingError, PackError, Packed, SubmissionSource, pack};
use kettle::digest::Sha256Digest;
use kettle::verifier::{Expectations, RepositoryName};

/// Digits of a whole commit id.
const COMMIT_DIGITS: usize = 40;

/// The name of a folder that has none that everybody reads alike.
const NAMELESS: &str = "source";

/// Longest name of a folder that is kept, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// A source, ready to be sent.
pub enum Source {
    Repository {
        url: String,
        reference: Option<String>,
    },
    Archive {
        name: String,
        file: File,
        size: u64,
        sha256: Sha256Digest,
    },
    Folder {
        name: String,
        packed: Packed,
        chosen_by: ChosenBy,
    },
}

/// Why a source cannot be sent.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum SourceError {
    #[error("{text} is no directory, no file, and no http:// or https:// URL")]
    Missing { text: String },
    #[error("{text}: a repository has to have an https:// or http:// URL")]
    Scheme { text: String },
    #[error("--ref is of a repository, and {text} is none")]
    Reference { text: String },
    #[error("--all is about the files of a directory, and {text} is none")]
    All { text: String },
    #[error("{expected} is expected, and {text} is another repository")]
    OtherRepository { text: String, expected: String },
    #[error("{path} cannot be read")]
    Read { path: PathBuf, source: io::Error },
    #[error("a temporary file")]
    Temporary(#[source] io::Error),
    #[error(transparent)]
    Listing(#[from] ListingError),
    #[error(transparent)]
    Pack(#[from] PackError),
}

impl Source {
    /// Opens a source, and packs it if it is a folder.
    pub fn open(text: &str, reference: Option<String>, all: bool) -> Result<Self, SourceError> {
        let owned = || text.to_owned();
        let is_repository = ["http://", "https://"]
            .iter()
            .any(|scheme| text.starts_with(scheme));
        let path = Path::new(text);
        if all && !path.is_dir() {
            return Err(SourceError::All { text: owned() });
        }
        if is_repository {
            return Ok(Self::Repository {
                url: owned(),
                reference,
            });
        }
        if reference.is_some() {
            return Err(SourceError::Reference { text: owned() });
        }
        if path.is_dir() {
            return Self::folder(path, all);
        }
        if path.exists() {
            return Self::archive(path);
        }
        let is_remote = text.contains("://") || text.contains('@') && text.contains(':');
        Err(if is_remote {
            SourceError::Scheme { text: owned() }
        } else {
            SourceError::Missing { text: owned() }
        })
    }

    fn folder(path: &Path, all: bool) -> Result<Self, SourceError> {
        let whole = fs::canonicalize(path);
        let whole = whole.map_err(|source| SourceError::Read {
            path: path.to_owned(),
            source,
        })?;
        let name = plain_name(&whole);
        let listing = Listing::of(&whole, all)?;
        let packed = pack(&whole, &listing, &name, temporary_file()?)?;
        Ok(Self::Folder {
            name,
            packed,
            chosen_by: listing.chosen_by,
        })
    }

    fn archive(path: &Path) -> Result<Self, SourceError> {
        let failed = |source| SourceError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let (sha256, size) = Sha256Digest::of_reader(&file).map_err(failed)?;
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Ok(Self::Archive {
            name,
            file,
            size,
            sha256,
        })
    }

    /// Has the verifier expect this source in the statement. With `has_path` the tree that is built
    /// is only a part of the one that is sent; the archive's digest covers all of it.
    ///
    /// # Errors
    /// Another repository is expected already, by an option or a policy.
    pub fn expect(
        &self,
        expectations: &mut Expectations,
        has_path: bool,
    ) -> Result<(), SourceError> {
        match self {
            Self::Repository { url, reference } => {
                let is_other =
                    |expected: &String| RepositoryName::of(expected) != RepositoryName::of(url);
                if let Some(expected) = expectations.repository.take().filter(is_other) {
                    return Err(SourceError::OtherRepository {
                        text: url.clone(),
                        expected,
                    });
                }
                expectations.repository = Some(url.clone());
                let is_commit = |text: &&String| text.len() == COMMIT_DIGITS;
                let commit = reference
                    .as_ref()
                    .filter(is_commit)
                    .and_then(|id| id.parse().ok());
                expectations.commit = expectations.commit.or(commit);
            }
            Self::Archive { sha256, .. } => expectations.source_archive = Some(*sha256),
            Self::Folder { packed, .. } => {
                expectations.source_archive = Some(packed.sha256);
                expectations.source_tree = (!has_path).then_some(packed.tree);
            }
        }
        Ok(())
    }

    /// Returns a clause about what is sent.
    pub fn about(&self) -> String {
        match self {
            Self::Repository {
                url,
                reference: None,
            } => format!("the name of {url}"),
            Self::Repository {
                url,
                reference: Some(reference),
            } => {
                format!("the name of {url} at {reference}")
            }
            Self::Archive { name, size, .. } => format!("{name}, {}", bytes(*size)),
            Self::Folder {
                name,
                packed,
                chosen_by,
            } => {
                let Packed {
                    size,
                    files,
                    missing,
                    ..
                } = packed;
                let gone = match missing {
                    0 => String::new(),
                    missing => format!("; {missing} that git tracks are not on the disk"),
                };
                let clause = chosen_by.clause();
                format!(
                    "{name}: {files} files, {} packed ({clause}{gone})",
                    bytes(*size)
                )
            }
        }
    }

    /// Returns what the appliance is told.
    pub fn submitted(self) -> SubmissionSource {
        match self {
            Self::Repository { url, reference } => SubmissionSource::Repository { url, reference },
            Self::Archive {
                name, file, size, ..
            } => SubmissionSource::Archive { name, file, size },
            Self::Folder {
                name,
                packed: Packed { file, size, .. },
                ..
            } => SubmissionSource::Archive {
                name: format!("{name}.tar.gz"),
                file,
                size,
            },
        }
    }
}

/// Returns a size for people.
pub fn bytes(size: u64) -> String {
    match size {
        0..1_000 => format!("{size} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", size as f64 / 1e3),
        _ => format!("{:.1} MB", size as f64 / 1e6),
    }
}

/// The name of the folder, reduced to letters that everybody reads alike.
fn plain_name(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '-'
        }
    };
    let mut name: String = name.chars().map(plain).collect();
    name.truncate(MAX_NAME_BYTES);
    let name = name.trim_start_matches(['.', '-']);
    if name.is_empty() {
        NAMELESS.to_owned()
    } else {
        name.to_owned()
    }
}

/// A file that is gone when this process is.
fn temporary_file() -> Result<File, SourceError> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| SourceError::Temporary(error.into()))?;
    let path = std::env::temp_dir().join(format!(".kettle-{}", hex::encode(bytes)));
    let mut options = File::options();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.read(true).write(true).create_new(true).open(&path);
    let file = file.map_err(SourceError::Temporary)?;
    fs::remove_file(&path).map_err(SourceError::Temporary)?;
    Ok(file)
}
