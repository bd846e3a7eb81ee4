//! The job's files. Comes in: what was built, stated and attested. Goes out: the bundle on disk, and a
//! folder without what is not handed out. Never: a path that a sandbox could have
//! written to, or a bundle with other bytes than were stated.

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
use crate::provenance::Statement;
use crate::sandbox::remove_folder;
use crate::toolchain::{ARTIFACTS_FOLDER, Artifact, Built};

/// What a job that succeeded hands out.
const HANDED_OUT: &[&str] = &[names::BUILD_LOG, BUNDLE, ARTIFACTS_FOLDER];
/// The bundle.
const BUNDLE: &str = "bundle.tar.gz";

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub(super) enum PackError {
    #[error("the bundle could not be written")]
    Bundle(#[source] io::Error),
    #[error("the evidence cannot be serialised")]
    Evidence(#[from] serde_json::Error),
}

/// Writes the bundle.
pub(super) async fn pack(build: AttestedBuild) -> Result<Finished, PackError> {
    let BundleParts {
        folder,
        built,
        log,
        statement,
        evidence,
    } = build.into_parts();
    let evidence = evidence.map(|evidence| evidence.to_json()).transpose()?;
    blocking(move || {
        let bundle = write(
            &folder.join(BUNDLE),
            &built,
            &statement,
            evidence.as_deref(),
            &log,
        )?;
        let (project, toolchain) = (built.tree().project().clone(), built.kind());
        let (artifacts, build_config) = built.into_files();
        Ok(Finished {
            project,
            toolchain,
            bundle,
            artifacts,
            build_config,
            provenance: statement.into_bytes(),
            evidence,
        })
    })
    .await
    .map_err(PackError::Bundle)
}

fn write(
    path: &Path,
    built: &Built,
    statement: &Statement,
    evidence: Option<&[u8]>,
    log: &LogFile,
) -> io::Result<BundleFile> {
    let mut entries: Vec<Entry<'_>> = built
        .artifacts()
        .iter()
        .map(artifact)
        .collect::<io::Result<_>>()?;
    entries.push(Entry::of_bytes(
        names::build_config(built.lockfile().name),
        &built.lockfile().bytes,
    ));
    entries.push(log.entry()?);
    entries.push(Entry::of_bytes(names::PROVENANCE, statement.as_bytes()));
    entries.extend(evidence.map(|bytes| Entry::of_bytes(names::EVIDENCE, bytes)));
    let out = Sha256Writer::new(BufWriter::new(File::create_new(path)?));
    let mut out = bundle::write(
        out,
        built.tree().project().as_str(),
        entries,
        built.tree().epoch(),
    )?;
    out.flush()?;
    let (_, sha256, size) = out.finish();
    Ok(BundleFile {
        path: path.to_owned(),
        size,
        sha256,
    })
}

/// An artifact as an entry of the bundle, for which it is hashed again: like the log.
fn artifact(artifact: &Artifact) -> io::Result<Entry<'static>> {
    Ok(Entry {
        path: names::artifact(&artifact.name),
        executable: artifact.executable,
        size: artifact.size,
        recorded: Some(artifact.sha256),
        content: Box::new(File::open(&artifact.path)?),
    })
}

/// Removes what there is of a bundle, before anybody is told that the job failed: a service that ends then cleans no more.
pub(super) async fn withdraw(folder: PathBuf) {
    emptying(move || {
        HANDED_OUT
            .iter()
            .try_for_each(|name| remove(&folder.join(name)))
    })
    .await;
}

/// Frees what a finished job no longer needs: sources, dependencies, the build's own folders, and its upload. Others stay:
/// a request that is repeated is still read.
pub(super) async fn clean(folder: PathBuf, upload: Option<PathBuf>) {
    emptying(move || {
        if let Some(upload) = upload {
            remove(&upload)?;
        }
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if !HANDED_OUT
                .iter()
                .chain([&EVENT_LOG])
                .any(|name| entry.file_name() == *name)
            {
                remove(&entry.path())?;
            }
        }
        Ok(())
    })
    .await;
}

async fn emptying(work: impl FnOnce() -> io::Result<()> + Send + 'static) {
    if let Err(error) = blocking(work).await {
        log::warn!("a finished job's folder could not be emptied: {error}");
    }
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => remove_folder(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    removed.or_else(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            Ok(())
        } else {
            Err(error)
        }
    })
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
        use crate::bundle::read::MAX_BUNDLE_BYTES;
        use crate::job::MAX_LOG_BYTES;
        use crate::toolchain::{MAX_ARTIFACTS_BYTES, cargo};

        /// For headers, and for what gzip adds to bytes that it cannot make less.
        const OVERHEAD_BYTES: u64 = 64 << 20;
        let documents = cargo::MAX_LOCKFILE_BYTES + MAX_PROVENANCE_BYTES;
        let largest = MAX_ARTIFACTS_BYTES + MAX_LOG_BYTES + documents + OVERHEAD_BYTES;
        assert!(largest < MAX_BUNDLE_BYTES);
    }

    #[test]
    fn a_file_that_changed_after_it_was_recorded_ends_the_job() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
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
