//! Keeps uploads on disk.
//!
//! * In: the bytes of an archive, in batches.
//! * Out: the tree that they unpack to.
//! * Never: a file that outlives its request, unless it belongs to a tree that was returned.
//!
//! Every upload has its own directory, held by a [`Workspace`] that removes it when it is dropped.
//! Work on the blocking pool that fills the directory owns it meanwhile, so that a request that
//! goes away cannot leave files behind.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, spawn_blocking};

use super::error::SubmissionError;
use super::limits::{MAX_ARCHIVE_BYTES, MAX_CONCURRENT_UPLOADS};
use crate::digest::{Sha256Digest, Sha256Writer};
use crate::job::{Request, SourceRequest};
use crate::source::archive;
use crate::source::{Origin, SourceTree};
use crate::toolchain::{self, Options};

/// The number of bytes that are written at once: so many that passing them to the blocking pool
/// does not count.
pub(super) const BATCH_BYTES: usize = 256 << 10;

/// The mode of the directories: sandboxes under another uid pass through them to the one tree that
/// is mounted for them, and nobody lists them.
const DIRECTORY_MODE: u32 = 0o711;

/// The number of random bytes in the name of a directory.
const NAME_BYTES: usize = 16;

/// The directory in which uploads are spooled and unpacked.
#[derive(Clone, Debug)]
pub struct Intake {
    directory: PathBuf,
    permits: Arc<Semaphore>,
}

impl Intake {
    /// Creates `directory`, which sandboxes may pass through and nobody else may list, unless it
    /// exists.
    ///
    /// # Errors
    /// The directory cannot be created.
    pub fn open(directory: PathBuf) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(&directory)?;
        Ok(Self {
            directory,
            permits: Arc::new(Semaphore::new(MAX_CONCURRENT_UPLOADS)),
        })
    }

    /// Removes, on the runtime's blocking pool, the files that came with a request that nobody will
    /// build.
    pub fn discard(&self, request: Request) {
        let SourceRequest::Archive(tree) = request.source() else {
            return;
        };
        let name = tree
            .root()
            .strip_prefix(&self.directory)
            .ok()
            .and_then(|below| below.iter().next());
        if let Some(upload) = name.map(|name| self.directory.join(name)) {
            spawn_blocking(move || remove(&upload));
        }
    }

    /// Waits until there is room for one more upload.
    async fn permit(&self) -> Result<OwnedSemaphorePermit, SubmissionError> {
        Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(interrupted)
    }
}

/// The directory of one upload, removed when this is dropped.
#[derive(Debug)]
struct Workspace {
    path: PathBuf,
    kept: bool,
    _permit: OwnedSemaphorePermit,
}

impl Workspace {
    fn create(directory: &Path, permit: OwnedSemaphorePermit) -> Result<Self, SubmissionError> {
        let mut name = [0; NAME_BYTES];
        getrandom::getrandom(&mut name).map_err(|error| SubmissionError::Random(error.into()))?;
        let path = directory.join(hex::encode(name));
        DirBuilder::new().mode(DIRECTORY_MODE).create(&path)?;
        Ok(Self {
            path,
            kept: false,
            _permit: permit,
        })
    }

    fn archive(&self) -> PathBuf {
        self.path.join("archive")
    }

    fn tree(&self) -> PathBuf {
        self.path.join("tree")
    }

    /// Leaves the directory to the owner of the tree.
    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if !self.kept {
            remove(&self.path);
        }
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path) {
        log::warn!("{} was not removed: {error}", path.display());
    }
}

/// The result of a write: the file, and the batch to be filled again.
type Written = io::Result<(Sha256Writer<File>, Vec<u8>)>;

/// An archive that is being written while the next batch is being read.
pub(super) struct Spool {
    workspace: Workspace,
    writing: JoinHandle<Written>,
    bytes: u64,
}

impl Spool {
    /// Waits until there is room for one more upload, and creates its directory.
    pub(super) async fn create(intake: &Intake) -> Result<Self, SubmissionError> {
        let permit = intake.permit().await?;
        let directory = intake.directory.clone();
        let (workspace, file) = blocking(move || {
            let workspace = Workspace::create(&directory, permit)?;
            let file = File::create_new(workspace.archive())?;
            Ok((workspace, Sha256Writer::new(file)))
        })
        .await?;
        let writing = spawn_blocking(|| Ok((file, Vec::new())));
        Ok(Self {
            workspace,
            writing,
            bytes: 0,
        })
    }

    /// Starts to write the batch, once the last one is written, and leaves an empty one.
    pub(super) async fn write(self, batch: &mut Vec<u8>) -> Result<Self, SubmissionError> {
        let bytes = self.bytes + batch.len() as u64;
        if bytes > MAX_ARCHIVE_BYTES {
            return Err(SubmissionError::ArchiveTooLarge {
                limit: MAX_ARCHIVE_BYTES,
            });
        }
        let (mut file, empty) = self.writing.await.map_err(interrupted)??;
        let mut full = std::mem::replace(batch, empty);
        let writing = spawn_blocking(move || {
            file.write_all(&full)?;
            full.clear();
            Ok((file, full))
        });
        Ok(Self {
            workspace: self.workspace,
            writing,
            bytes,
        })
    }

    /// Unpacks the archive and removes it. The tree that stays is the project's, which a toolchain
    /// builds.
    pub(super) async fn unpack(
        self,
        name: Option<String>,
        options: Options,
    ) -> Result<SourceTree, SubmissionError> {
        let workspace = self.workspace;
        let (file, _) = self.writing.await.map_err(interrupted)??;
        let (_, sha256, _) = file.finish();
        let (tree, workspace) = blocking(move || {
            let tree = unpack(&workspace, name.as_deref(), sha256)?;
            let tree = project(tree, &options)?;
            Ok((tree, workspace))
        })
        .await?;
        workspace.keep();
        Ok(tree)
    }
}

fn unpack(
    workspace: &Workspace,
    name: Option<&str>,
    sha256: Sha256Digest,
) -> Result<SourceTree, SubmissionError> {
    let path = workspace.archive();
    let tree = archive::unpack(&path, name, &workspace.tree()).map_err(SubmissionError::Archive)?;
    if !matches!(tree.origin(), Origin::Archive { sha256: unpacked, .. } if *unpacked == sha256) {
        return Err(SubmissionError::ArchiveChanged);
    }
    fs::remove_file(path)?;
    Ok(tree)
}

/// Returns the part of the tree that the client chose, which a toolchain can build.
fn project(tree: SourceTree, options: &Options) -> Result<SourceTree, SubmissionError> {
    let part = match &options.path {
        Some(path) => tree.part(path).map_err(SubmissionError::Part)?,
        None => tree,
    };
    toolchain::check(part.root(), options).map_err(SubmissionError::Detect)?;
    Ok(part)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SubmissionError> + Send + 'static,
) -> Result<T, SubmissionError> {
    spawn_blocking(work).await.map_err(interrupted)?
}

fn interrupted(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SubmissionError {
    SubmissionError::Interrupted(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourcePath;
    use crate::toolchain::Kind;

    #[test]
    fn refuses_an_archive_when_it_grows_too_large() {
        let directory = tempfile::TempDir::new().unwrap();
        let uploads = directory.path().join("uploads");
        let intake = Intake::open(uploads.clone()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut spool = Spool::create(&intake).await.unwrap();
            spool.bytes = MAX_ARCHIVE_BYTES - 2;
            let spool = spool.write(&mut vec![0; 2]).await.unwrap();
            let error = spool.write(&mut vec![0]).await.map(drop).unwrap_err();
            assert_eq!((error.status(), error.code()), (413, "archive-too-large"));
        });
        assert_eq!(fs::read_dir(&uploads).unwrap().count(), 0);
    }

    #[test]
    fn refuses_a_tree_of_other_bytes_than_came() {
        let directory = tempfile::TempDir::new().unwrap();
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let workspace = Workspace::create(directory.path(), permit).unwrap();
        let mut archive = tar::Builder::new(File::create_new(workspace.archive()).unwrap());
        let mut header = tar::Header::new_ustar();
        header.set_size(0);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, "Cargo.lock", io::empty())
            .unwrap();
        archive.finish().unwrap();
        let error = unpack(&workspace, None, Sha256Digest::of(b"other")).unwrap_err();
        assert!(
            matches!(error, SubmissionError::ArchiveChanged),
            "{error:?}"
        );
    }

    /// Checks a source with these files, each of them empty.
    fn checked(files: &[&str], options: Options) -> Result<SourceTree, (u16, &'static str)> {
        let directory = tempfile::TempDir::new().unwrap();
        for file in files {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let tree = SourceTree::test_only_from_directory(directory.path().to_owned()).unwrap();
        project(tree, &options).map_err(|error| (error.status(), error.code()))
    }

    #[test]
    fn a_source_is_refused_where_no_toolchain_builds_what_was_chosen() {
        let path = |path| Options {
            path: SourcePath::parse(path).ok(),
            ..Options::default()
        };
        let nix = Options {
            toolchain: Some(Kind::Nix),
            ..Options::default()
        };
        let mut features = Options::default();
        features.cargo.no_default_features = Some(true);
        for (files, options, expected) in [
            (
                &["a/Cargo.lock"][..],
                Options::default(),
                (422, "lockfile-missing"),
            ),
            (&["a/Cargo.lock"], path("b"), (422, "path-missing")),
            (&["Cargo.lock", "b/x"], path("b"), (422, "lockfile-missing")),
            (&["Cargo.lock"], nix, (422, "lockfile-missing")),
            (&["flake.lock"], features.clone(), (400, "option-mismatch")),
            (
                &["flake.lock", "Cargo.lock"],
                features.clone(),
                (400, "option-mismatch"),
            ),
        ] {
            assert_eq!(
                checked(files, options).map(drop),
                Err(expected),
                "{files:?}"
            );
        }
        let part = checked(&["a/Cargo.lock", "x"], path("a")).unwrap();
        assert!(part.root().ends_with("a"));
        features.toolchain = Some(Kind::Cargo);
        assert!(checked(&["flake.lock", "Cargo.lock"], features).is_ok());
    }
}
