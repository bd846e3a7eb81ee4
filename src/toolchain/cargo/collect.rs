//! Copies the artifacts of a build out of its target directory.
//!
//! * In: the target directory, after everything that could write it is dead, and the names to take
//!   from it.
//! * Out: [`Artifact`]s, copies in a directory that no sandbox sees, hashed while they were copied.
//! * Never: a link's target, a FIFO, a device, or more than the limits.

use std::path::{Path, PathBuf};

use crate::toolchain::artifact::{Artifacts, refused};
use crate::toolchain::untrusted::Untrusted;
use crate::toolchain::{Artifact, ToolchainError};

/// A file to copy as an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    root: PathBuf,
    directory: String,
    name: String,
}

impl Wanted {
    /// Names the file `name` in `directory` of `root`, which a sandbox could write.
    ///
    /// The artifact has the name of the file.
    pub fn new(root: &Path, directory: &str, name: String) -> Self {
        Self {
            root: root.to_owned(),
            directory: directory.to_owned(),
            name,
        }
    }
}

/// Copies `wanted` into the new directory `artifacts`, and returns the copies, sorted by name.
pub(super) fn collect(
    wanted: Vec<Wanted>,
    artifacts: &Path,
) -> Result<Vec<Artifact>, ToolchainError> {
    let mut artifacts = Artifacts::create(artifacts)?;
    for Wanted {
        root,
        directory,
        name,
    } in wanted
    {
        if Path::new(&name).file_name() != Some(name.as_ref()) {
            return Err(refused(&name, "its name is not a file name"));
        }
        // Every error is the artifact's: a build that runs as the appliance's own user can revoke
        // the access to its directory.
        let source = Untrusted::open(&root)
            .and_then(|root| root.file(Path::new(&directory).join(&name)))
            .map_err(|_| refused(&name, "it is missing, or no regular file"))?;
        artifacts.copy(&name, source)?;
    }
    Ok(artifacts.finish())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::fs::File;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::digest::Sha256Digest;
    use crate::toolchain::artifact::MAX_ARTIFACT_BYTES;

    fn wanted(directory: &tempfile::TempDir, name: &str) -> Vec<Wanted> {
        vec![Wanted::new(
            &directory.path().join("target"),
            "release",
            name.to_owned(),
        )]
    }

    fn fixture() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("target/release")).unwrap();
        directory
    }

    #[test]
    fn copies_and_hashes() {
        let directory = fixture();
        fs::write(directory.path().join("target/release/app"), "bytes").unwrap();
        let copies = directory.path().join("artifacts");
        let artifacts = collect(wanted(&directory, "app"), &copies).unwrap();
        assert_eq!(artifacts[0].sha256, Sha256Digest::of(b"bytes"));
        assert_eq!((artifacts[0].size, artifacts[0].executable), (5, false));
        assert_eq!(fs::read(&artifacts[0].path).unwrap(), b"bytes");
    }

    #[test]
    fn refuses_links_fifos_folders_and_names_with_folders() {
        let directory = fixture();
        let release = directory.path().join("target/release");
        symlink("/etc/passwd", release.join("link")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            release.join("fifo"),
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        fs::create_dir(release.join("folder")).unwrap();
        for (n, name) in [
            "link",
            "fifo",
            "folder",
            "missing",
            "../x",
            "/etc/passwd",
            "",
        ]
        .into_iter()
        .enumerate()
        {
            let copies = directory.path().join(format!("artifacts-{n}"));
            let refusal = collect(wanted(&directory, name), &copies).unwrap_err();
            assert!(matches!(refusal, ToolchainError::Artifact { .. }), "{name}");
        }
    }

    #[test]
    fn refuses_a_file_without_blocks_by_its_length() {
        let directory = fixture();
        File::create(directory.path().join("target/release/app"))
            .unwrap()
            .set_len(MAX_ARTIFACT_BYTES + 1)
            .unwrap();
        let copies = directory.path().join("artifacts");
        let refusal = collect(wanted(&directory, "app"), &copies).unwrap_err();
        assert!(matches!(
            refusal,
            ToolchainError::Artifact {
                why: "it is too large",
                ..
            }
        ));
        assert_eq!(
            fs::read_dir(copies).unwrap().count(),
            0,
            "something of it was copied"
        );
    }

    #[test]
    fn refuses_two_of_one_name() {
        let directory = fixture();
        fs::write(directory.path().join("target/release/app"), "bytes").unwrap();
        let twice = [wanted(&directory, "app"), wanted(&directory, "app")].concat();
        let refusal = collect(twice, &directory.path().join("artifacts")).unwrap_err();
        assert!(matches!(
            refusal,
            ToolchainError::Artifact {
                why: "there are two of this name, or two that differ in upper and lower case only",
                ..
            }
        ));
    }
}
