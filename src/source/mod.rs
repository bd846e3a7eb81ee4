//! Takes the source in. Comes in: an uploaded archive, or a repository and a ref. Goes out: a [`SourceTree`], a folder
//! of plain files whose identity was computed from their bytes. Never: a claim of the submitted tree about itself.

pub mod archive;
pub mod git_rules;
mod links;
pub mod output;
mod part;
pub mod plain_file;
pub mod redirect;
pub mod repository;
pub mod tree;

use std::path::{Path, PathBuf};

use crate::digest::{GitOid, Sha256Digest};
pub use crate::name::project::ProjectName;
pub use links::{LinkError, MAX_TARGET_BYTES};
pub use part::{MAX_PART_PATH_BYTES, ParsePathError, PartError, SourcePath};
pub use repository::{GitRef, RepositoryUrl};

/// Where a source tree came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Fetched by the appliance.
    Repository {
        /// As the client gave it.
        url: RepositoryUrl,
        /// As the client gave it, if it did.
        reference: Option<GitRef>,
        /// What the ref resolved to; the object's hash was checked.
        commit: GitOid,
        /// Where the server had it, on the same host, port and scheme; none where that is `url` itself.
        fetched_from: Option<RepositoryUrl>,
    },
    /// Uploaded by the client.
    Archive {
        /// The file name as the client gave it, if it did.
        name: Option<String>,
        /// Of the archive's bytes.
        sha256: Sha256Digest,
    },
}

/// A folder of regular files, folders and links that stay inside, ready to be built: the receipt of [`archive::unpack`] and
/// of [`repository::fetch`].
///
/// ```compile_fail,E0451
/// use kettle::source::SourceTree;
///
/// let tree = SourceTree {
///     root: todo!(),
///     origin: todo!(),
///     tree: todo!(),
///     project: todo!(),
///     epoch: todo!(),
/// };
/// ```
#[derive(Debug)]
pub struct SourceTree {
    root: PathBuf,
    origin: Origin,
    tree: GitOid,
    project: ProjectName,
    epoch: u64,
}

impl SourceTree {
    /// Only this room makes them: after the files were written and hashed.
    fn new(root: PathBuf, origin: Origin, tree: GitOid, project: ProjectName, epoch: u64) -> Self {
        Self {
            root,
            origin,
            tree,
            project,
            epoch,
        }
    }

    /// For tests of later stages: a folder that was never taken in. Its tree id is computed, its origin made up.
    ///
    /// # Errors
    /// A folder that cannot be hashed.
    #[cfg(feature = "host")]
    #[doc(hidden)]
    pub fn test_only_from_folder(root: PathBuf) -> Result<Self, tree::TreeError> {
        let tree = tree::hash(&root)?;
        let origin = Origin::Archive {
            name: None,
            sha256: Sha256Digest::of(b""),
        };
        Ok(Self::new(
            root,
            origin,
            tree,
            ProjectName::of_archive(None, None),
            0,
        ))
    }

    /// For tests of later stages: a tree without a folder, of a repository or an archive that nobody fetched.
    #[cfg(test)]
    pub(crate) fn test_only_of(origin: Origin, tree: GitOid, epoch: u64) -> Self {
        let project = ProjectName::of_archive(None, None);
        Self::new(PathBuf::from("/nonexistent"), origin, tree, project, epoch)
    }

    /// The folder that is built, on this machine.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where it came from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The git tree id of the folder, computed from its files.
    pub fn tree(&self) -> GitOid {
        self.tree
    }

    /// What the bundle's top folder is called.
    pub fn project(&self) -> &ProjectName {
        &self.project
    }

    /// `SOURCE_DATE_EPOCH`: the commit's time in seconds, 0 for an archive.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}
