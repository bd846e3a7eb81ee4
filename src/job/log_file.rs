//! Writes the file `build.log`.
//!
//! * In: the job's event log.
//! * Out: every line of build output, in a file that was hashed while it was written.
//! * Never: a bundle with a log of other bytes than were hashed.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use super::Job;
use crate::blocking::blocking;
use crate::bundle::{Entry, names::BUILD_LOG};
use crate::digest::{Sha256Digest, Sha256Writer};

/// The reason why there is no log file.
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
        let written = blocking(move || {
            let path = job.directory().join(BUILD_LOG);
            let mut file = Sha256Writer::new(BufWriter::new(File::create_new(&path)?));
            job.log().write_build_log(&mut file)?;
            file.flush()?;
            let (_, sha256, size) = file.finish();
            Ok(Self { path, sha256, size })
        });
        written.await.map_err(LogFileError)
    }

    /// Returns the digest of the file.
    pub fn sha256(&self) -> &Sha256Digest {
        &self.sha256
    }

    /// Returns the log as an entry of a bundle. It is hashed again while it is packed: the bundle
    /// has the bytes that the statement names, or there is no bundle.
    pub fn entry(&self) -> io::Result<Entry<'static>> {
        Ok(Entry {
            path: BUILD_LOG.to_owned(),
            executable: false,
            size: self.size,
            recorded: Some(self.sha256),
            content: Box::new(BufReader::new(File::open(&self.path)?)),
        })
    }

    /// Returns a file that was not written as a log.
    #[cfg(test)]
    pub fn test_only_at(path: PathBuf, sha256: Sha256Digest, size: u64) -> Self {
        Self { path, sha256, size }
    }
}
