//! `build.log`, the file. Comes in: the job's event log. Goes out: every line of build output, in a file that was hashed while
//! it was written. Never: a file with other bytes than were hashed in a bundle.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::Job;
use crate::bundle::Entry;
use crate::digest::{Sha256Digest, Sha256Writer};

/// What the log is called in the job's folder, and in the bundle.
pub(super) const LOG_NAME: &str = "build.log";

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
#[error("the build log could not be written")]
pub(super) struct LogFileError(#[source] io::Error);

/// The build log on disk: the receipt of [`LogFile::write`].
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    sha256: Sha256Digest,
    size: u64,
}

impl LogFile {
    /// Writes every line of build output to a file.
    pub async fn write(job: &Arc<Job>) -> Result<Self, LogFileError> {
        let job = Arc::clone(job);
        let written = spawn_blocking(move || {
            let path = job.folder().join(LOG_NAME);
            let mut file = Sha256Writer::new(BufWriter::new(File::create_new(&path)?));
            job.log().write_build_log(&mut file)?;
            file.flush()?;
            let (_, sha256, size) = file.finish();
            Ok(Self { path, sha256, size })
        });
        written
            .await
            .map_err(io::Error::other)
            .flatten()
            .map_err(LogFileError)
    }

    /// Returns the digest of its bytes.
    pub fn sha256(&self) -> &Sha256Digest {
        &self.sha256
    }

    /// Returns the log as an entry of a bundle, for which it is hashed again: the bundle has the bytes that the statement
    /// names, or there is none.
    pub fn entry(&self) -> io::Result<Entry<'static>> {
        Ok(Entry {
            path: LOG_NAME.to_owned(),
            executable: false,
            size: self.size,
            recorded: Some(self.sha256),
            content: Box::new(BufReader::new(File::open(&self.path)?)),
        })
    }

    /// A file that nobody wrote as a log.
    #[cfg(test)]
    pub fn test_only_at(path: PathBuf, sha256: Sha256Digest, size: u64) -> Self {
        Self { path, sha256, size }
    }
}
