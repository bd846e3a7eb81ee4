//! Copies what a build made. Comes in: the target folder, after everything that could write it is dead, and the names
//! to take from it. Goes out: [`Artifact`]s, copies in a folder that no sandbox sees, hashed while they were copied.
//! Never: a link's target, a FIFO, a device, or more than the limits.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::digest::Sha256Writer;
use crate::toolchain::untrusted::Untrusted;
use crate::toolchain::{Artifact, ToolchainError};

/// Largest artifact, in bytes.
const MAX_ARTIFACT_BYTES: u64 = 2 << 30;

/// Most artifacts of one build.
const MAX_ARTIFACTS: usize = 1000;

/// A file to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    root: PathBuf,
    folder: &'static str,
    name: String,
}

impl Wanted {
    /// The file `name`, which the artifact is called too, in `folder` of `root`, which a sandbox could write.
    pub fn new(root: &Path, folder: &'static str, name: String) -> Self {
        Self { root: root.to_owned(), folder, name }
    }
}

/// Copies `wanted` into the new folder `artifacts`; sorted by name.
pub(super) fn collect(mut wanted: Vec<Wanted>, artifacts: &Path) -> Result<Vec<Artifact>, ToolchainError> {
    if wanted.len() > MAX_ARTIFACTS {
        return Err(refused("artifacts", "there are too many"));
    }
    fs::create_dir(artifacts)?;
    wanted.sort_by(|a, b| a.name.cmp(&b.name));
    wanted.iter().map(|wanted| copy(wanted, artifacts)).collect()
}

fn copy(wanted: &Wanted, artifacts: &Path) -> Result<Artifact, ToolchainError> {
    let name = &wanted.name;
    if Path::new(name).file_name() != Some(name.as_ref()) {
        return Err(refused(name, "its name is no file name"));
    }
    // A build that runs as our own user can take our access to its folder away.
    let source = Untrusted::open(&wanted.root).and_then(|root| root.file(Path::new(wanted.folder).join(name)));
    let source = source.map_err(|_| refused(name, "it is missing, or no regular file"))?;
    let found = source.metadata()?;
    // A file of a few blocks can have any length: none of it is copied to find that out.
    if found.len() > MAX_ARTIFACT_BYTES {
        return Err(refused(name, "it is too large"));
    }
    let executable = found.permissions().mode() & 0o100 != 0;
    let path = artifacts.join(name);
    let copy = create(&path, executable).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => refused(name, "there are two of this name"),
        _ => error.into(),
    })?;
    let mut writer = Sha256Writer::new(copy);
    io::copy(&mut source.take(MAX_ARTIFACT_BYTES), &mut writer)?;
    let (_, sha256, size) = writer.finish();
    Ok(Artifact { name: name.clone(), path, sha256, size, executable })
}

fn create(path: &Path, executable: bool) -> io::Result<File> {
    let mode = if executable { 0o755 } else { 0o644 };
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

fn refused(name: &str, why: &'static str) -> ToolchainError {
    ToolchainError::Artifact { name: name.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::digest::Sha256Digest;

    fn wanted(folder: &tempfile::TempDir, name: &str) -> Vec<Wanted> {
        vec![Wanted::new(&folder.path().join("target"), "release", name.to_owned())]
    }

    fn fixture() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("target/release")).unwrap();
        folder
    }

    #[test]
    fn copies_and_hashes() {
        let folder = fixture();
        fs::write(folder.path().join("target/release/app"), "bytes").unwrap();
        let copies = folder.path().join("artifacts");
        let artifacts = collect(wanted(&folder, "app"), &copies).unwrap();
        assert_eq!(artifacts[0].sha256, Sha256Digest::of(b"bytes"));
        assert_eq!((artifacts[0].size, artifacts[0].executable), (5, false));
        assert_eq!(fs::read(&artifacts[0].path).unwrap(), b"bytes");
    }

    #[test]
    fn refuses_links_fifos_folders_and_names_with_folders() {
        let folder = fixture();
        let release = folder.path().join("target/release");
        symlink("/etc/passwd", release.join("link")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, release.join("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
        fs::create_dir(release.join("folder")).unwrap();
        for (n, name) in ["link", "fifo", "folder", "missing", "../x", "/etc/passwd", ""].into_iter().enumerate() {
            let copies = folder.path().join(format!("artifacts-{n}"));
            let refusal = collect(wanted(&folder, name), &copies).unwrap_err();
            assert!(matches!(refusal, ToolchainError::Artifact { .. }), "{name}");
        }
    }

    #[test]
    fn refuses_a_file_without_blocks_by_its_length() {
        let folder = fixture();
        File::create(folder.path().join("target/release/app")).unwrap().set_len(MAX_ARTIFACT_BYTES + 1).unwrap();
        let copies = folder.path().join("artifacts");
        let refusal = collect(wanted(&folder, "app"), &copies).unwrap_err();
        assert!(matches!(refusal, ToolchainError::Artifact { why: "it is too large", .. }));
        assert_eq!(fs::read_dir(copies).unwrap().count(), 0, "something of it was copied");
    }

    #[test]
    fn refuses_two_of_one_name() {
        let folder = fixture();
        fs::write(folder.path().join("target/release/app"), "bytes").unwrap();
        let twice = [wanted(&folder, "app"), wanted(&folder, "app")].concat();
        let refusal = collect(twice, &folder.path().join("artifacts")).unwrap_err();
        assert!(matches!(refusal, ToolchainError::Artifact { why: "there are two of this name", .. }));
    }
}
