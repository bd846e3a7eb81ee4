//! Uploads on disk. Comes in: the bytes of an archive, in batches. Goes out: the tree that they unpack to. Never: a
//! file that outlives its request, unless it is a tree that was handed out.
//!
//! Every upload has a folder of its own, held by a [`Workspace`] that removes it when it is dropped. Work on the
//! blocking pool that fills the folder owns it meanwhile, so that a request that goes away cannot leave files behind.

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
use crate::toolchain::Kind;

/// Bytes that are written at once: large enough that handing them to the blocking pool does not count.
pub(super) const BATCH_BYTES: usize = 256 << 10;

/// Sandboxes under another uid go through the folders to the one tree that is mounted for them; nobody lists them.
const FOLDER_MODE: u32 = 0o711;

/// Random bytes in the name of a folder.
const NAME_BYTES: usize = 16;

/// Where uploads are spooled and unpacked.
#[derive(Clone, Debug)]
pub struct Intake {
    folder: PathBuf,
    permits: Arc<Semaphore>,
}

impl Intake {
    /// Makes `folder`, which sandboxes may walk through and nobody else may list, unless it is there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(folder: PathBuf) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(&folder)?;
        Ok(Self {
            folder,
            permits: Arc::new(Semaphore::new(MAX_CONCURRENT_UPLOADS)),
        })
    }

    /// Removes, on the runtime's blocking pool, what came with a request that nobody will build.
    pub fn discard(&self, request: Request) {
        let SourceRequest::Archive(tree) = request.source() else {
            return;
        };
        let name = tree
            .root()
            .strip_prefix(&self.folder)
            .ok()
            .and_then(|below| below.iter().next());
        if let Some(upload) = name.map(|name| self.folder.join(name)) {
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

/// The folder of one upload, removed when this is dropped.
#[derive(Debug)]
struct Workspace {
    path: PathBuf,
    kept: bool,
    _permit: OwnedSemaphorePermit,
}

impl Workspace {
    fn create(folder: &Path, permit: OwnedSemaphorePermit) -> Result<Self, SubmissionError> {
        let mut name = [0; NAME_BYTES];
        getrandom::getrandom(&mut name).map_err(|error| SubmissionError::Random(error.into()))?;
        let path = folder.join(hex::encode(name));
        DirBuilder::new().mode(FOLDER_MODE).create(&path)?;
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

    /// Leaves the folder to whoever has the tree.
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

/// What a write gives back: the file, and the batch to be filled again.
type Written = io::Result<(Sha256Writer<File>, Vec<u8>)>;

/// An archive that is being written while the next batch is being read.
pub(super) struct Spool {
    workspace: Workspace,
    writing: JoinHandle<Written>,
    bytes: u64,
}

impl Spool {
    /// Waits until there is room for one more upload, and makes its folder.
    pub(super) async fn create(intake: &Intake) -> Result<Self, SubmissionError> {
        let permit = intake.permit().await?;
        let folder = intake.folder.clone();
        let (workspace, file) = blocking(move || {
            let workspace = Workspace::create(&folder, permit)?;
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

    /// Takes the batch, and leaves an empty one.
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

    /// Unpacks what was written: the tree is all that is left.
    pub(super) async fn unpack(self, name: Option<String>) -> Result<SourceTree, SubmissionError> {
        let workspace = self.workspace;
        let (file, _) = self.writing.await.map_err(interrupted)??;
        let (_, sha256, _) = file.finish();
        let (tree, workspace) = blocking(move || {
            let tree = unpack(&workspace, name.as_deref(), sha256)?;
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
    if Kind::of(tree.root())?.is_none() {
        return Err(SubmissionError::LockfileMissing);
    }
    fs::remove_file(path)?;
    Ok(tree)
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

    #[test]
    fn refuses_an_archive_when_it_grows_too_large() {
        let folder = tempfile::TempDir::new().unwrap();
        let uploads = folder.path().join("uploads");
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
        let folder = tempfile::TempDir::new().unwrap();
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let workspace = Workspace::create(folder.path(), permit).unwrap();
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
}
