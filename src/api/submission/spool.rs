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
use crate::source::archive;
use crate::source::{Origin, SourceTree};
use crate::toolchain::Kind;

/// Bytes that are written at once: large enough that handing them to the blocking pool does not count.
pub(super) const BATCH_BYTES: usize = 256 << 10;

/// Random bytes in the name of a folder.
const NAME_BYTES: usize = 16;

/// Where uploads are spooled and unpacked.
#[derive(Clone, Debug)]
pub struct Intake {
    folder: PathBuf,
    permits: Arc<Semaphore>,
}

impl Intake {
    /// Makes `folder`, readable by nobody else, unless it is there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(folder: PathBuf) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(Self { folder, permits: Arc::new(Semaphore::new(MAX_CONCURRENT_UPLOADS)) })
    }

    /// Removes a tree that was received and that nobody will build.
    pub async fn discard(&self, tree: SourceTree) {
        let Some(name) = tree.root().strip_prefix(&self.folder).ok().and_then(|below| below.iter().next()) else {
            return;
        };
        let path = self.folder.join(name);
        if let Err(error) = spawn_blocking(move || remove(&path)).await {
            log::warn!("an upload was not removed: {error}");
        }
    }

    /// Waits until there is room for one more upload.
    async fn permit(&self) -> Result<OwnedSemaphorePermit, SubmissionError> {
        Arc::clone(&self.permits).acquire_owned().await.map_err(interrupted)
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
        getrandom::fill(&mut name).map_err(|error| SubmissionError::Random(error.into()))?;
        let path = folder.join(hex::encode(name));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path, kept: false, _permit: permit })
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
        Ok(Self { workspace, writing, bytes: 0 })
    }

    /// Takes the batch, and leaves an empty one.
    pub(super) async fn write(self, batch: &mut Vec<u8>) -> Result<Self, SubmissionError> {
        let bytes = self.bytes + batch.len() as u64;
        if bytes > MAX_ARCHIVE_BYTES {
            return Err(SubmissionError::ArchiveTooLarge { limit: MAX_ARCHIVE_BYTES });
        }
        let (mut file, empty) = self.writing.await.map_err(interrupted)??;
        let mut full = std::mem::replace(batch, empty);
        let writing = spawn_blocking(move || {
            file.write_all(&full)?;
            full.clear();
            Ok((file, full))
        });
        Ok(Self { workspace: self.workspace, writing, bytes })
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

fn unpack(workspace: &Workspace, name: Option<&str>, sha256: Sha256Digest) -> Result<SourceTree, SubmissionError> {
    let path = workspace.archive();
    let tree = archive::unpack(&path, name, &workspace.tree()).map_err(SubmissionError::Archive)?;
    if !matches!(tree.origin(), Origin::Archive { sha256: unpacked, .. } if *unpacked == sha256) {
        return Err(SubmissionError::ArchiveChanged);
    }
    if Kind::of(tree.root()).is_none() {
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
