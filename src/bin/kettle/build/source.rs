//! Prepares the source that `kettle build` sends.
//!
//! * In: a path or a URL, as it was typed.
//! * Out: what is sent to the appliance, and what its statement has to say about it.
//! * Never: a source that is sent before it was hashed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use kettle::client::{ChosenBy, Listing, ListingError, PackError, Packed, SubmissionSource, pack};
use kettle::digest::Sha256Digest;
use kettle::verifier::{Expectations, RepositoryName};

/// How many digits a full commit id has.
const COMMIT_DIGITS: usize = 40;

/// The name for a directory whose own name has no letters that are kept.
const NAMELESS: &str = "source";

/// Longest name of a directory that is kept, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// A source, ready to be sent.
pub enum Source {
    /// A repository that the appliance fetches.
    Repository {
        /// The URL as it was typed.
        url: String,
        /// The value of --ref.
        reference: Option<String>,
    },
    /// An archive, which is sent as it is.
    Archive {
        /// The name of the file.
        name: String,
        /// The open file.
        file: File,
        /// The number of bytes in the file.
        size: u64,
        /// The digest of the file.
        sha256: Sha256Digest,
    },
    /// A directory, which was packed.
    Directory {
        /// The name of the top directory in the archive.
        name: String,
        /// The archive.
        packed: Packed,
        /// The rule by which the files were chosen.
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
    #[error("a temporary file cannot be created")]
    Temporary(#[source] io::Error),
    #[error(transparent)]
    Listing(#[from] ListingError),
    #[error(transparent)]
    Pack(#[from] PackError),
}

impl Source {
    /// Opens a source, and packs it if it is a directory.
    pub fn open(text: &str, reference: Option<String>, all: bool) -> Result<Self, SourceError> {
        let owned = || text.to_owned();
        let is_repository = text.starts_with("http://") || text.starts_with("https://");
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
            return Self::directory(path, all);
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

    fn directory(path: &Path, all: bool) -> Result<Self, SourceError> {
        let whole = fs::canonicalize(path).map_err(|source| SourceError::Read {
            path: path.to_owned(),
            source,
        })?;
        let name = plain_name(&whole);
        let listing = Listing::of(&whole, all)?;
        let packed = pack(&whole, &listing, &name, temporary_file()?)?;
        Ok(Self::Directory {
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

    /// Adds this source to what the verifier expects of the statement. With `has_path` the tree
    /// that is built is only a part of the one that is sent; the archive's digest covers all of it.
    ///
    /// # Errors
    /// An option or a policy expects another repository.
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
                if let Some(id) = reference
                    && id.len() == COMMIT_DIGITS
                {
                    expectations.commit = expectations.commit.or(id.parse().ok());
                }
            }
            Self::Archive { sha256, .. } => expectations.source_archive = Some(*sha256),
            Self::Directory { packed, .. } => {
                expectations.source_archive = Some(packed.sha256);
                expectations.source_tree = (!has_path).then_some(packed.tree);
            }
        }
        Ok(())
    }

    /// Returns a clause that says what is sent.
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
            Self::Directory {
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

    /// Returns the source for the submission.
    pub fn submitted(self) -> SubmissionSource {
        match self {
            Self::Repository { url, reference } => SubmissionSource::Repository { url, reference },
            Self::Archive {
                name, file, size, ..
            } => SubmissionSource::Archive { name, file, size },
            Self::Directory {
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

/// Returns the name of the directory, reduced to ASCII letters, digits, `.`, `_` and `-`.
fn plain_name(directory: &Path) -> String {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '-'
        }
    };
    let mut replaced: String = name.chars().map(plain).collect();
    replaced.truncate(MAX_NAME_BYTES);
    let trimmed = replaced.trim_start_matches(['.', '-']);
    if trimmed.is_empty() {
        NAMELESS.to_owned()
    } else {
        trimmed.to_owned()
    }
}

/// Creates a file without a name, which is gone when this process ends.
fn temporary_file() -> Result<File, SourceError> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| SourceError::Temporary(error.into()))?;
    let path = std::env::temp_dir().join(format!(".kettle-{}", hex::encode(bytes)));
    let mut options = File::options();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .map_err(SourceError::Temporary)?;
    fs::remove_file(&path).map_err(SourceError::Temporary)?;
    Ok(file)
}
