//! A cache of the key service's responses.
//!
//! * In: names and bytes.
//! * Out: the same bytes later.
//! * Never: half a file, or trust: what is read here is verified like a response.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{KdsError, MAX_RESPONSE_BYTES};

/// The age up to which a revocation list is used without a new request. A certificate never
/// changes.
pub const MAX_LIST_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// A directory of responses, which is created for the first one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache(PathBuf);

impl Cache {
    /// Uses this directory.
    pub const fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Returns the file of this name; none if it is missing, too large, or older than `max_age`.
    ///
    /// # Errors
    /// The file exists and cannot be read.
    pub fn read(&self, name: &str, max_age: Option<Duration>) -> Result<Option<Vec<u8>>, KdsError> {
        let path = self.0.join(name);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed(&path))?,
        };
        if let Some(max_age) = max_age {
            let changed = file
                .metadata()
                .and_then(|found| found.modified())
                .map_err(failed(&path))?;
            // A time in the future says nothing about the age.
            if !changed.elapsed().is_ok_and(|age| age <= max_age) {
                return Ok(None);
            }
        }
        let mut bytes = Vec::new();
        file.take(MAX_RESPONSE_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(failed(&path))?;
        Ok(Some(bytes).filter(|bytes| bytes.len() <= MAX_RESPONSE_BYTES))
    }

    /// Writes a file as a whole, or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), KdsError> {
        fs::create_dir_all(&self.0).map_err(failed(&self.0))?;
        let nanos = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |elapsed| elapsed.as_nanos());
        let unfinished = self
            .0
            .join(format!(".{name}.{}.{nanos}", std::process::id()));
        let written = File::create_new(&unfinished)
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| fs::rename(&unfinished, self.0.join(name)));
        if written.is_err() {
            // The file may not be removable either; the first error is the one that counts.
            let _ = fs::remove_file(&unfinished);
        }
        written.map_err(failed(&self.0.join(name)))
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> KdsError {
    let path = path.to_owned();
    move |source| KdsError::Cache { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_back_as_it_was_and_alone() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().join("a/b"));
        assert_eq!(cache.read("x", None).unwrap(), None);
        for bytes in [&b"one"[..], b"two"] {
            cache.write("x", bytes).unwrap();
            assert_eq!(cache.read("x", None).unwrap().as_deref(), Some(bytes));
        }
        assert_eq!(
            fs::read_dir(directory.path().join("a/b")).unwrap().count(),
            1
        );
    }

    #[test]
    fn what_is_too_old_or_too_large_is_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().to_owned());
        cache.write("list", b"list").unwrap();
        assert!(cache.read("list", Some(MAX_LIST_AGE)).unwrap().is_some());
        let file = File::options()
            .write(true)
            .open(directory.path().join("list"))
            .unwrap();
        for moment in [
            SystemTime::now() - MAX_LIST_AGE * 2,
            SystemTime::now() + MAX_LIST_AGE,
        ] {
            file.set_modified(moment).unwrap();
            assert_eq!(cache.read("list", Some(MAX_LIST_AGE)).unwrap(), None);
        }
        assert!(cache.read("list", None).unwrap().is_some());
        fs::write(
            directory.path().join("large"),
            vec![0; MAX_RESPONSE_BYTES + 1],
        )
        .unwrap();
        assert_eq!(cache.read("large", None).unwrap(), None);
    }

    #[test]
    fn a_directory_that_cannot_be_used_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), b"").unwrap();
        let cache = Cache::new(directory.path().join("file"));
        assert!(matches!(cache.write("x", b""), Err(KdsError::Cache { .. })));
        assert!(matches!(cache.read("x", None), Err(KdsError::Cache { .. })));
    }
}
