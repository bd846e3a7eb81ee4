//! Writes the bundle, and removes the files of a job that nobody needs.
//!
//! * In: what was built, stated and attested.
//! * Out: the bundle on disk, and a directory that contains only what clients can download.
//! * Never: a path that a sandbox could have written to, or a bundle with other bytes than were
//!   stated.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::log_file::LogFile;
use super::record::{AttestedBuild, BundleParts};
use super::run::EVENT_LOG;
use super::{BundleFile, Finished};
use crate::blocking::blocking;
use crate::bundle::{self, Entry, names};
use crate::digest::Sha256Writer;
use crate::sandbox::remove_directory;
use crate::toolchain::{ARTIFACTS_FOLDER, Artifact, Built};

/// The names in the job's directory of what clients can download.
const DOWNLOADS: &[&str] = &[names::BUILD_LOG, BUNDLE, ARTIFACTS_FOLDER];
/// The name of the bundle in the job's directory.
const BUNDLE: &str = "bundle.tar.gz";

/// The reason why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub(super) enum PackError {
    #[error("the bundle could not be written")]
    Bundle(#[source] io::Error),
    #[error("the evidence cannot be serialised")]
    Evidence(#[from] serde_json::Error),
}

/// Writes the bundle of a build that was stated and, where there is an attester, attested.
pub(super) async fn pack(build: AttestedBuild) -> Result<Finished, PackError> {
    let BundleParts {
        directory,
        built,
        log,
        sbom,
        statement,
        envelope,
        evidence,
    } = build.into_parts();
    let evidence = evidence.map(|evidence| evidence.to_json()).transpose()?;
    let packing = blocking(move || {
        let documents = [
            (names::SBOM, Some(&sbom[..])),
            (names::PROVENANCE, Some(statement.as_bytes())),
            (names::ENVELOPE, Some(&envelope)),
            (names::EVIDENCE, evidence.as_deref()),
        ];
        let path = directory.join(BUNDLE);
        let bundle = write(path, &built, &documents, &log)?;
        let (project, toolchain) = (built.tree().project().clone(), built.kind());
        let (artifacts, build_config) = built.into_files();
        Ok(Finished {
            project,
            toolchain,
            bundle,
            artifacts,
            build_config,
            sbom,
            provenance: statement.into_bytes(),
            envelope,
            evidence,
        })
    });
    packing.await.map_err(PackError::Bundle)
}

fn write(
    path: PathBuf,
    built: &Built,
    documents: &[(&'static str, Option<&[u8]>)],
    log: &LogFile,
) -> io::Result<BundleFile> {
    let entries = entries(built, documents, log)?;
    let tree = built.tree();
    let out = Sha256Writer::new(BufWriter::new(File::create_new(&path)?));
    let mut written = bundle::write(out, tree.project().as_str(), entries, tree.epoch())?;
    written.flush()?;
    let (_, sha256, size) = written.finish();
    Ok(BundleFile { path, size, sha256 })
}

fn entries<'a>(
    built: &'a Built,
    documents: &[(&'static str, Option<&'a [u8]>)],
    log: &LogFile,
) -> io::Result<Vec<Entry<'a>>> {
    let lockfile = built.lockfile();
    let config = names::build_config(lockfile.name);
    let mut entries = Vec::new();
    for made in built.artifacts() {
        entries.push(artifact(made)?);
    }
    entries.push(Entry::of_bytes(config, &lockfile.bytes));
    entries.push(log.entry()?);
    for (name, bytes) in documents {
        entries.extend(bytes.map(|bytes| Entry::of_bytes(*name, bytes)));
    }
    Ok(entries)
}

/// Returns an artifact as an entry of the bundle. It is hashed again while it is packed, like the
/// log.
fn artifact(artifact: &Artifact) -> io::Result<Entry<'static>> {
    Ok(Entry {
        path: names::artifact(&artifact.name),
        executable: artifact.executable,
        size: artifact.size,
        recorded: Some(artifact.sha256),
        content: Box::new(File::open(&artifact.path)?),
    })
}

/// Removes what there is of a bundle. Call it before any client learns that the job failed: a
/// service that ends at that moment removes nothing more.
pub(super) async fn withdraw(directory: PathBuf) {
    let removing = blocking(move || {
        for name in DOWNLOADS {
            remove(&directory.join(name))?;
        }
        Ok(())
    });
    warn_of(removing.await);
}

/// Removes what a finished job no longer needs: sources, dependencies, the build's own directories,
/// and its upload. Other uploads stay: a request that is repeated is still read.
pub(super) async fn clean(directory: PathBuf, upload: Option<PathBuf>) {
    let removing = blocking(move || {
        if let Some(upload) = upload {
            remove(&upload)?;
        }
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if !is_kept(&entry.file_name()) {
                remove(&entry.path())?;
            }
        }
        Ok(())
    });
    warn_of(removing.await);
}

fn is_kept(name: &OsStr) -> bool {
    name == EVENT_LOG || DOWNLOADS.iter().any(|kept| name == *kept)
}

fn warn_of(removed: io::Result<()>) {
    if let Err(error) = removed {
        log::warn!("a finished job's directory could not be emptied: {error}");
    }
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => remove_directory(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::EntryError;
    use crate::digest::Sha256Digest;

    #[cfg(feature = "appraisal")]
    #[test]
    fn the_largest_bundle_is_one_that_a_verifier_reads() {
        use crate::bundle::MAX_PROVENANCE_BYTES;
        use crate::bundle::read::{MAX_BUNDLE_BYTES, MAX_ENVELOPE_BYTES};
        use crate::job::MAX_LOG_BYTES;
        use crate::toolchain::{MAX_ARTIFACTS_BYTES, cargo};

        /// The bytes of headers, and those that gzip adds where it cannot compress.
        const OVERHEAD_BYTES: u64 = 64 << 20;
        let documents = cargo::MAX_LOCKFILE_BYTES + MAX_PROVENANCE_BYTES + MAX_ENVELOPE_BYTES;
        let largest = MAX_ARTIFACTS_BYTES + MAX_LOG_BYTES + documents + OVERHEAD_BYTES;
        assert!(largest < MAX_BUNDLE_BYTES);
    }

    #[test]
    fn a_file_that_changed_after_it_was_recorded_ends_the_job() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let (sha256, size) = (Sha256Digest::of(b"recorded"), 8);
        let packed = |content: &str| {
            fs::write(&path, content).unwrap();
            let log = LogFile::test_only_at(path.clone(), sha256, size);
            let made = Artifact {
                name: "a".to_owned(),
                path: path.clone(),
                sha256,
                size,
                executable: true,
            };
            [log.entry(), artifact(&made)].map(|entry| {
                let packed = bundle::write(Vec::new(), "p", vec![entry.unwrap()], 0);
                packed
                    .map(drop)
                    .map_err(|error| (error.kind(), error.downcast::<EntryError>().ok()))
            })
        };
        assert_eq!(packed("recorded"), [Ok(()), Ok(())]);
        let actual = Sha256Digest::of(b"Recorded");
        for (found, path) in packed("Recorded")
            .into_iter()
            .zip(["build.log", "artifacts/a"])
        {
            let changed = EntryError::Changed {
                path: path.to_owned(),
                recorded: sha256,
                actual,
            };
            assert_eq!(found, Err((io::ErrorKind::InvalidData, Some(changed))));
        }
        for (content, kind) in [
            ("record", io::ErrorKind::UnexpectedEof),
            ("recorded.", io::ErrorKind::InvalidData),
        ] {
            assert!(
                packed(content)
                    .iter()
                    .all(|found| *found == Err((kind, None))),
                "{content}"
            );
        }
    }
}
