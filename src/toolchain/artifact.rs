//! Copies the files that a build made, and hashes them on the way.
//!
//! * In: files that were opened without following a link.
//! * Out: [`Artifact`]s in a directory that no sandbox sees, hashed while they were written.
//! * Never: a name that a bundle may not have, two names that differ only in upper and lower case,
//!   or more than the limits.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::digest::Sha256Writer;
use crate::name::{self, DistinctNames};
use crate::source::plain_file::{self, Limited};
use crate::toolchain::{Artifact, ToolchainError};

/// Name, in a job's directory, of the directory that artifacts are copied to.
pub const ARTIFACTS_FOLDER: &str = "artifacts";

/// The size of the largest artifact, in bytes.
pub(super) const MAX_ARTIFACT_BYTES: u64 = 2 << 30;

/// The size of all artifacts of one build together, in bytes.
///
/// With the log they fit into a bundle that a verifier reads, even when nothing in them can be
/// compressed.
pub const MAX_ARTIFACTS_BYTES: u64 = 3 << 30;

/// The most artifacts that one build may make.
const MAX_ARTIFACTS: usize = 1000;

/// The length of the longest name, in bytes: a bundle's paths may have 1024, with the names of the
/// bundle's own directories.
const MAX_ARTIFACT_NAME_BYTES: usize = 900;

/// Why the second of two artifacts is refused that some file system would store as one file, or
/// that would need one name for a directory and a file.
const NOT_DISTINCT: &str =
    "there are two of this name, or two that differ in upper and lower case only";

/// A writer that hashes the bytes of an artifact, and fails when there are too many.
pub(super) type Out = Limited<Sha256Writer<File>>;

/// The directory that a build's artifacts are copied to.
pub(super) struct Artifacts {
    directory: PathBuf,
    made: Vec<Artifact>,
    names: DistinctNames,
    /// How much of [`MAX_ARTIFACTS_BYTES`] is left.
    left: u64,
}

impl Artifacts {
    /// Creates the directory, which must not exist yet.
    pub fn create(directory: &Path) -> io::Result<Self> {
        fs::create_dir(directory)?;
        Ok(Self {
            directory: directory.to_owned(),
            made: Vec::new(),
            names: DistinctNames::default(),
            left: MAX_ARTIFACTS_BYTES,
        })
    }

    /// Copies an open file.
    ///
    /// The artifact is executable if the file's owner may execute it.
    pub fn copy(&mut self, name: &str, mut source: File) -> Result<(), ToolchainError> {
        let found = source.metadata()?;
        // A sparse file can claim any length: it is refused before a byte is copied.
        if found.len() > self.room() {
            return Err(self.too_large(name));
        }
        let executable = found.permissions().mode() & 0o100 != 0;
        self.write(name, executable, |out| io::copy(&mut source, out).map(drop))
    }

    /// Creates an artifact from the bytes that `fill` writes.
    pub fn write(
        &mut self,
        name: &str,
        executable: bool,
        fill: impl FnOnce(&mut Out) -> io::Result<()>,
    ) -> Result<(), ToolchainError> {
        check_name(name)?;
        if self.made.len() == MAX_ARTIFACTS {
            return Err(refused("artifacts", "there are too many"));
        }
        if !self.names.insert(name) {
            return Err(refused(name, NOT_DISTINCT));
        }
        let path = self.directory.join(name);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        let file = plain_file::create(&path, executable)?;
        let mut out = Limited::new(Sha256Writer::new(file), self.room());
        let filled = fill(&mut out);
        if out.is_exceeded() {
            return Err(self.too_large(name));
        }
        filled?;
        let (_, sha256, size) = out.into_inner().finish();
        self.left -= size;
        self.made.push(Artifact {
            name: name.to_owned(),
            path,
            sha256,
            size,
            executable,
        });
        Ok(())
    }

    /// Returns how many bytes the next artifact may have.
    fn room(&self) -> u64 {
        self.left.min(MAX_ARTIFACT_BYTES)
    }

    fn too_large(&self, name: &str) -> ToolchainError {
        let is_alone_too_large = self.left >= MAX_ARTIFACT_BYTES;
        let why = if is_alone_too_large {
            "it is too large"
        } else {
            "all of them together are too large"
        };
        refused(name, why)
    }

    /// Returns all artifacts, sorted by name.
    pub fn finish(mut self) -> Vec<Artifact> {
        self.made.sort_by(|a, b| a.name.cmp(&b.name));
        self.made
    }
}

/// Returns the error for an artifact that is not delivered.
///
/// In its name every character is escaped that could be taken for another one.
pub(super) fn refused(name: &str, why: &'static str) -> ToolchainError {
    ToolchainError::Artifact {
        name: name.escape_default().to_string(),
        why,
    }
}

/// Refuses a name that a bundle's reader does not take.
fn check_name(name: &str) -> Result<(), ToolchainError> {
    name::check(name).map_err(|error| refused(name, error.why()))?;
    if name.len() > MAX_ARTIFACT_NAME_BYTES {
        return Err(refused(name, "its name is too long"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::digest::Sha256Digest;

    fn write(artifacts: &mut Artifacts, name: &str) -> Result<(), &'static str> {
        match artifacts.write(name, false, |out| out.write_all(b"bytes")) {
            Ok(()) => Ok(()),
            Err(ToolchainError::Artifact { why, .. }) => Err(why),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn artifacts_are_sorted_hashed_and_in_their_folders() {
        let folder = tempfile::tempdir().unwrap();
        let mut artifacts = Artifacts::create(&folder.path().join("a")).unwrap();
        for name in ["lib/z/x y.so", "lib-a", "bin/u"] {
            write(&mut artifacts, name).unwrap();
        }
        let made = artifacts.finish();
        assert_eq!(
            made.iter()
                .map(|made| made.name.as_str())
                .collect::<Vec<_>>(),
            ["bin/u", "lib-a", "lib/z/x y.so"]
        );
        assert_eq!(
            (made[0].sha256, made[0].size, made[0].executable),
            (Sha256Digest::of(b"bytes"), 5, false)
        );
        assert_eq!(
            fs::read(folder.path().join("a/lib/z/x y.so")).unwrap(),
            b"bytes"
        );
    }

    #[test]
    fn names_that_a_bundle_cannot_have_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut artifacts = Artifacts::create(&folder.path().join("a")).unwrap();
        for name in ["", ".", "..", "/x", "x/", "a//b", "a/../b", "./a", "a\\b"] {
            assert_eq!(
                write(&mut artifacts, name),
                Err("its name is no plain path"),
                "{name:?}"
            );
        }
        // The third has a Cyrillic letter, the last the replacement for bytes that are not UTF-8.
        for name in [
            "a\nb",
            "a\u{85}",
            "t\u{43e}ol",
            "gr\u{f6}\u{df}e",
            "a\u{200b}",
            "\u{202e}a",
            "a\u{fffd}",
        ] {
            let why = "its name has a character that is not printable ASCII";
            assert_eq!(write(&mut artifacts, name), Err(why), "{name:?}");
        }
        for name in ["-rf", "bin/-x", "--help"] {
            let why = "a part of its name starts with a dash, like an option";
            assert_eq!(write(&mut artifacts, name), Err(why), "{name:?}");
        }
        let refusal = artifacts
            .write("t\u{43e}ol", false, |_| Ok(()))
            .unwrap_err()
            .to_string();
        assert!(
            refusal.contains("artifact t\\u{43e}ol is refused"),
            "{refusal}"
        );
        assert_eq!(
            write(&mut artifacts, "n/".repeat(500).trim_end_matches('/')),
            Err("its name is too long")
        );
        write(&mut artifacts, "n/".repeat(450).trim_end_matches('/')).unwrap();
    }

    #[test]
    fn two_of_one_name_are_refused_whatever_they_are_and_in_every_case() {
        let folder = tempfile::tempdir().unwrap();
        let mut artifacts = Artifacts::create(&folder.path().join("a")).unwrap();
        write(&mut artifacts, "x/y").unwrap();
        for name in ["x/y", "x", "x/y/z", "x/y/z/w", "X/y", "x/Y", "X", "X/Y/z"] {
            assert_eq!(write(&mut artifacts, name), Err(NOT_DISTINCT), "{name}");
        }
        write(&mut artifacts, "X/z").unwrap();
    }

    #[test]
    fn number_and_size_have_limits() {
        let folder = tempfile::tempdir().unwrap();
        let mut artifacts = Artifacts::create(&folder.path().join("a")).unwrap();
        for number in 0..MAX_ARTIFACTS {
            write(&mut artifacts, &number.to_string()).unwrap();
        }
        assert_eq!(write(&mut artifacts, "one more"), Err("there are too many"));
    }

    #[test]
    fn all_of_them_together_have_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let mut artifacts = Artifacts::create(&folder.path().join("a")).unwrap();
        artifacts.left = 9;
        write(&mut artifacts, "one").unwrap();
        assert_eq!(
            write(&mut artifacts, "two"),
            Err("all of them together are too large")
        );
        let long = File::create_new(folder.path().join("long")).unwrap();
        long.set_len(5).unwrap();
        let refusal = artifacts.copy("three", long).unwrap_err();
        assert!(matches!(
            refusal,
            ToolchainError::Artifact {
                why: "all of them together are too large",
                ..
            }
        ));
        assert!(
            !folder.path().join("a/three").exists(),
            "something of it was copied"
        );
        artifacts
            .copy("four", File::open(folder.path().join("a/one")).unwrap())
            .unwrap_err();
        artifacts.left = 5;
        artifacts
            .copy("four", File::open(folder.path().join("a/one")).unwrap())
            .unwrap();
    }
}
