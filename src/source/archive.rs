//! (being written)

use std::path::Path;

use super::{Origin, ProjectName, SourceTree};
use crate::digest::{GitOid, Sha256Digest};

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It cannot be read.
    #[error("the archive is no plain tar")]
    Unreadable,
    /// A fault of ours.
    #[error("the archive could not be {action}")]
    Io {
        /// Past participle.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl ArchiveError {
    /// Whether it is a fault of ours.
    pub fn is_fault(&self) -> bool {
        matches!(self, Self::Io { .. })
    }
}

impl From<std::io::Error> for ArchiveError {
    fn from(source: std::io::Error) -> Self {
        Self::Io { action: "read", source }
    }
}

/// Unpacks `archive` into the folder `into`.
///
/// # Errors
/// It is no archive.
pub fn unpack(archive: &Path, name: Option<&str>, into: &Path) -> Result<SourceTree, ArchiveError> {
    let (sha256, bytes) = Sha256Digest::of_reader(std::fs::File::open(archive)?)?;
    if bytes == 0 {
        return Err(ArchiveError::Unreadable);
    }
    std::fs::create_dir_all(into)?;
    tar::Archive::new(std::fs::File::open(archive)?).unpack(into).map_err(|_| ArchiveError::Unreadable)?;
    let origin = Origin::Archive { name: name.map(str::to_owned), sha256 };
    let project = ProjectName::of_archive(None, name);
    Ok(SourceTree::new(into.to_owned(), origin, GitOid::of_object("tree", b""), project, 0))
}
