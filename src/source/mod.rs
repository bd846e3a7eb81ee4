//! Turns a submission into a directory of plain files whose identity was computed from their bytes.
//!
//! * In: an uploaded archive, or a repository and a ref.
//! * Out: a [`SourceTree`].
//! * Never: a claim of the submitted tree about itself.
//!
//! # Two ways to a source tree
//!
//! An uploaded archive goes through [`archive::unpack`]; a repository goes through
//! [`repository::fetch`], which runs git in the sandbox and lets it print the files as a tar. From
//! there on the two are one: [`archive`] reads the entries, refuses whatever could leave the
//! directory, exhaust the machine or be read in two ways, and passes each entry to an
//! [`archive::Builder`]. The builder writes the file and hashes it in the same pass, so the
//! [`tree::Tree`] that it returns describes the bytes that are on the disk.
//!
//! Three rules hold across the files of this module:
//!
//! * Links are created last. While files are written there is no link that a path could lead
//!   through, and where each link leads is decided by `links` on the tree in memory, never by
//!   asking the file system.
//! * The id is git's. An archive and a commit with the same files have the same tree id ([`tree`]);
//!   for a repository the id has to be the one that the commit names.
//! * Only this module constructs a [`SourceTree`]. Code that holds one has a directory that passed
//!   all of this.
//!
//! | module | purpose |
//! |---|---|
//! | [`archive`] | reads ZIP and tar, writes files |
//! | [`repository`] | fetches commits and submodules with git |
//! | `links` | decides where symbolic links lead |
//! | [`tree`] | computes git's tree id, and reads directories that were written elsewhere |
//! | [`redirect`] | URLs, their endpoints, and redirects that curl and git report |
//! | [`git_rules`] | settings that git has in every sandbox |
//! | [`plain_file`], [`output`] | small helpers: files with fixed modes and times, bounded output |

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
pub use repository::{GitRef, RepositoryToken, RepositoryUrl};

/// Where a source tree came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The appliance fetched it from a repository.
    Repository {
        /// The URL as the client gave it.
        url: RepositoryUrl,
        /// The ref as the client gave it; `None` stands for the default branch.
        reference: Option<GitRef>,
        /// The commit that the ref resolved to. Its object was hashed here.
        commit: GitOid,
        /// The URL on the same host, port and scheme that the server redirected to, if it did.
        fetched_from: Option<RepositoryUrl>,
    },
    /// The client uploaded it.
    Archive {
        /// The file name as the client gave it, if it gave one.
        name: Option<String>,
        /// The digest of the archive's bytes.
        sha256: Sha256Digest,
    },
}

impl Origin {
    /// Returns the commit of a repository's tree.
    pub fn commit(&self) -> Option<GitOid> {
        match self {
            Self::Repository { commit, .. } => Some(*commit),
            Self::Archive { .. } => None,
        }
    }
}

/// A directory of regular files, directories, and links that stay inside, ready to be built: the
/// receipt of [`archive::unpack`] and of [`repository::fetch`].
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
///     notes: todo!(),
///     git: todo!(),
/// };
/// ```
#[derive(Debug)]
pub struct SourceTree {
    root: PathBuf,
    origin: Origin,
    tree: GitOid,
    project: ProjectName,
    epoch: u64,
    notes: Vec<String>,
    git: Option<PathBuf>,
}

impl SourceTree {
    /// Called after the files were written and hashed.
    fn new(root: PathBuf, origin: Origin, tree: GitOid, project: ProjectName, epoch: u64) -> Self {
        Self {
            root,
            origin,
            tree,
            project,
            epoch,
            notes: Vec::new(),
            git: None,
        }
    }

    /// Adds a directory with a `.git` that was written here.
    fn with_git(mut self, directory: PathBuf) -> Self {
        self.git = Some(directory);
        self
    }

    /// Adds notes for the log of the build.
    fn with_notes(mut self, notes: Vec<String>) -> Self {
        self.notes.extend(notes);
        self
    }

    /// Wraps a directory that was never unpacked, for tests of later stages. Its tree id is
    /// computed, its origin is invented.
    ///
    /// # Errors
    /// The directory cannot be hashed.
    #[cfg(any(test, feature = "host"))]
    #[doc(hidden)]
    pub fn test_only_from_directory(root: PathBuf) -> Result<Self, tree::TreeError> {
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

    /// Returns a tree without a directory and with an invented origin, for tests of later stages.
    #[cfg(test)]
    pub(crate) fn test_only_of(origin: Origin, tree: GitOid, epoch: u64) -> Self {
        let project = ProjectName::of_archive(None, None);
        Self::new(PathBuf::from("/nonexistent"), origin, tree, project, epoch)
    }

    /// Returns the path of the directory that is built, on this machine.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns where the tree came from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns the git tree id of the directory, computed from its files.
    pub fn tree(&self) -> GitOid {
        self.tree
    }

    /// Returns the name of the bundle's top directory.
    pub fn project(&self) -> &ProjectName {
        &self.project
    }

    /// Returns a directory that has nothing but a `.git` for the whole tree, if it came from a
    /// repository.
    pub fn git(&self) -> Option<&Path> {
        self.git.as_deref()
    }

    /// Returns what the log of the build has to say about the source, a line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns `SOURCE_DATE_EPOCH`: the commit's time in seconds since 1970, 0 for an archive.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}
