//! The digests of the toolchain's files, as the measured root lists them.
//!
//! * In: the list that was written when the root image was made, from the files that it has.
//! * Out: the digest of a file: the listed one, or that of its bytes.
//! * Never: a list of another root, or of one that is not measured. Every block of the image's root
//!   is checked on its way to whoever reads it, so the list holds for what runs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::digest::Sha256Digest;

/// The image's list: a line `SHA256  PATH` for each file, the path below the root, as `sha256sum`
/// prints it (`scripts/image/root.sh`). A host has none.
const LIST: &str = "/usr/share/kettle/digests";

/// Digests by absolute path. Without any, every file is hashed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedDigests(Arc<BTreeMap<PathBuf, Sha256Digest>>);

impl ListedDigests {
    /// Reads the list of the measured root that this program runs in.
    ///
    /// # Errors
    /// The list cannot be read, or has another form.
    pub fn of_the_image() -> io::Result<Self> {
        Self::parse(&fs::read_to_string(LIST)?)
    }

    fn parse(text: &str) -> io::Result<Self> {
        let digest = |line: &str| {
            let (hex, path) = line.split_once("  ")?;
            Some((Path::new("/").join(path), hex.parse().ok()?))
        };
        let digests: Option<_> = text.lines().map(digest).collect();
        let digests = digests.ok_or_else(|| io::Error::other("the list of digests is damaged"))?;
        Ok(Self(Arc::new(digests)))
    }

    /// Returns the digest of a file, links resolved.
    pub(super) fn file(&self, path: &Path) -> io::Result<Sha256Digest> {
        match self.0.get(path) {
            Some(listed) => Ok(*listed),
            None => Ok(Sha256Digest::of_reader(File::open(path)?)?.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_file_is_not_read_and_another_one_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "content").unwrap();
        let listed = Sha256Digest::of(b"what was listed");
        let line = format!("{listed}  {}\n", path.strip_prefix("/").unwrap().display());
        let list = ListedDigests::parse(&line).unwrap();
        assert_eq!(list.file(&path).unwrap(), listed);
        let none = ListedDigests::default();
        assert_eq!(none.file(&path).unwrap(), Sha256Digest::of(b"content"));
        assert!(list.file(&directory.path().join("missing")).is_err());
        for damaged in [&line[1..], "usr/bin/rustc\n"] {
            assert!(ListedDigests::parse(damaged).is_err(), "{damaged}");
        }
    }
}
