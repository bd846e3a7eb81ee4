//! Creates files as unpacking and copying need them.
//!
//! * In: the path of a file, whether it is executable, and its content.
//! * Out: a new file of mode 0644 or 0755, whatever the process's umask is.
//! * Never: a file that existed before, or more bytes than the limit.

use std::fs::{File, FileTimes, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Creates the file at `path`, which must not exist.
///
/// # Errors
/// The file exists or cannot be created.
pub fn create(path: &Path, executable: bool) -> io::Result<File> {
    let mode = if executable { 0o755 } else { 0o644 };
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    // The process's umask may have cut the mode.
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

/// Sets a file's times to `epoch` (seconds since 1970), so that they do not differ between two runs
/// of a build.
///
/// # Errors
/// The system refuses to set the times.
pub fn set_time(file: &File, epoch: u64) -> io::Result<()> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(epoch);
    file.set_times(FileTimes::new().set_accessed(time).set_modified(time))
}

/// Passes writes on, and fails once there are more bytes than a limit.
#[derive(Debug)]
pub struct Limited<W> {
    out: W,
    left: u64,
    is_exceeded: bool,
}

impl<W: Write> Limited<W> {
    /// Wraps a writer that may get up to `limit` bytes.
    pub fn new(out: W, limit: u64) -> Self {
        Self {
            out,
            left: limit,
            is_exceeded: false,
        }
    }

    /// Returns whether there were more bytes than the limit.
    pub fn is_exceeded(&self) -> bool {
        self.is_exceeded
    }

    /// Returns how many more bytes may be written.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Returns the writer that was wrapped.
    pub fn into_inner(self) -> W {
        self.out
    }
}

impl<W: Write> Write for Limited<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
            self.is_exceeded = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        };
        let count = self.out.write(bytes)?;
        self.left = left + (bytes.len() - count) as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_mode_and_its_time_and_is_new() {
        let directory = tempfile::tempdir().unwrap();
        for (name, executable, mode) in [("a", false, 0o644), ("b", true, 0o755)] {
            let path = directory.path().join(name);
            set_time(&create(&path, executable).unwrap(), 7).unwrap();
            let found = path.metadata().unwrap();
            assert_eq!(found.permissions().mode() & 0o7777, mode);
            let time = found.modified().unwrap();
            assert_eq!(time, SystemTime::UNIX_EPOCH + Duration::from_secs(7));
            let again = create(&path, executable).unwrap_err();
            assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        }
    }

    #[test]
    fn no_more_is_written_than_the_limit() {
        let mut out = Limited::new(Vec::new(), 5);
        assert!(out.write_all(b"bytes").is_ok() && out.write_all(b"").is_ok());
        assert!(!out.is_exceeded() && out.left() == 0);
        assert!(out.write_all(b"x").is_err() && out.is_exceeded());
        assert_eq!(out.into_inner(), b"bytes");
    }
}
