//! Whether the files of a bundle are those that its statement names.
//!
//! * In: the bundle and its statement.
//! * Out: nothing, or the first file that is missing, different, or not named.
//! * Never: a file that the statement does not name.

use crate::bundle::names;
use crate::bundle::read::{Bundle, HashedFile, ReadError};
use crate::name::project::ProjectName;

use super::rejection::Rejection;
use super::statement::{NamedFile, Statement};

/// Compares every file with the statement, and every name of the statement with the files.
///
/// # Errors
/// The first difference.
pub fn appraise(bundle: &Bundle, statement: &Statement<'_>) -> Result<(), Rejection> {
    appraise_artifacts(&bundle.artifacts, &statement.sorted_subjects())?;
    appraise_lockfile(&bundle.build_config, statement)?;
    let log = statement
        .byproducts(names::BUILD_LOG)
        .next()
        .ok_or_else(|| Rejection::RecordUnlisted {
            name: names::BUILD_LOG.to_owned(),
        })?;
    appraise_records(log, statement)?;
    appraise_record(names::BUILD_LOG.to_owned(), log, bundle.log.as_ref())?;
    appraise_sbom(bundle.sbom.as_ref(), statement)
}

/// Compares the bill of materials with its record. Appliances up to 0.4.0 wrote none, and recorded
/// none.
fn appraise_sbom(file: Option<&HashedFile>, statement: &Statement<'_>) -> Result<(), Rejection> {
    let name = names::SBOM.to_owned();
    match (statement.byproducts(names::SBOM).next(), file) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(Rejection::RecordUnlisted { name }),
        (Some(record), file) => {
            appraise_records(record, statement)?;
            appraise_record(name, record, file)
        }
    }
}

/// Compares the time that every entry of an archive has with that of the statement. An unpacked
/// bundle has none.
///
/// # Errors
/// The archive is not the one that the appliance writes for these files.
pub fn appraise_time(bundle: &Bundle, statement: &Statement<'_>) -> Result<(), Rejection> {
    let Some(actual) = bundle.time else {
        return Ok(());
    };
    let expected = statement.source_date_epoch();
    if expected == Some(actual) {
        return Ok(());
    }
    Err(Rejection::Bundle(ReadError::NotCanonical {
        place: "every entry".to_owned(),
        field: "time",
        expected: expected.map_or(
            "no time (the statement has no sourceDateEpoch)".to_owned(),
            |time| time.to_string(),
        ),
        actual: actual.to_string(),
    }))
}

/// Compares the name of an archive's top directory with that of the statement's repository. A
/// statement about an archive that the client sent names no top directory, and an unpacked bundle
/// has none.
///
/// # Errors
/// The archive is not the one that the appliance writes for these files.
pub fn appraise_project(bundle: &Bundle, statement: &Statement<'_>) -> Result<(), Rejection> {
    let (Some(actual), Some(repository)) = (&bundle.project, statement.repository()) else {
        return Ok(());
    };
    let expected = ProjectName::of_repository(repository);
    if expected == *actual {
        return Ok(());
    }
    Err(Rejection::Project {
        expected: expected.to_string(),
        actual: actual.to_string(),
    })
}

/// Compares artifacts and subjects, both sorted by name, in both directions.
fn appraise_artifacts(
    artifacts: &[HashedFile],
    subjects: &[&NamedFile<'_>],
) -> Result<(), Rejection> {
    for subject in subjects {
        let found = artifacts.binary_search_by(|file| file.name.as_str().cmp(&subject.name));
        let Ok(at) = found else {
            return Err(Rejection::SubjectMissing {
                name: names::artifact(&subject.name),
            });
        };
        appraise_artifact(&artifacts[at], subject)?;
    }
    let is_unlisted = |file: &&HashedFile| {
        let found = subjects.binary_search_by(|subject| (*subject.name).cmp(&file.name));
        found.is_err()
    };
    match artifacts.iter().find(is_unlisted) {
        Some(file) => Err(Rejection::ArtifactUnlisted {
            name: names::artifact(&file.name),
        }),
        None => Ok(()),
    }
}

/// Compares the digest and the mode of one artifact with its subject's.
fn appraise_artifact(file: &HashedFile, subject: &NamedFile<'_>) -> Result<(), Rejection> {
    let name = names::artifact(&subject.name);
    let Some(expected) = subject.sha256() else {
        return Err(Rejection::DigestSyntax { what: name });
    };
    if expected != file.sha256 {
        return Err(Rejection::SubjectDigest {
            name,
            expected,
            actual: file.sha256,
        });
    }
    if subject.is_executable() != file.executable {
        return Err(Rejection::SubjectMode {
            name,
            expected: subject.is_executable(),
            actual: file.executable,
        });
    }
    Ok(())
}

fn appraise_lockfile(files: &[HashedFile], statement: &Statement<'_>) -> Result<(), Rejection> {
    let lockfile = statement.lockfile();
    if let Some(extra) = files.iter().find(|file| file.name != *lockfile.name) {
        return Err(Rejection::RecordUnlisted {
            name: names::build_config(&extra.name),
        });
    }
    appraise_records(lockfile, statement)?;
    appraise_record(names::build_config(&lockfile.name), lockfile, files.first())
}

/// Appraises that all byproducts of one name have one digest.
fn appraise_records(record: &NamedFile<'_>, statement: &Statement<'_>) -> Result<(), Rejection> {
    let digests = statement
        .byproducts(&record.name)
        .filter_map(|other| record.sha256().zip(other.sha256()));
    match digests
        .into_iter()
        .find(|(expected, actual)| expected != actual)
    {
        Some((expected, actual)) => Err(Rejection::RecordContradiction { expected, actual }),
        None => Ok(()),
    }
}

fn appraise_record(
    name: String,
    record: &NamedFile<'_>,
    file: Option<&HashedFile>,
) -> Result<(), Rejection> {
    let Some(file) = file else {
        return Err(Rejection::RecordMissing { name });
    };
    match record.sha256() {
        Some(expected) if expected == file.sha256 => Ok(()),
        Some(expected) => Err(Rejection::RecordDigest {
            name,
            expected,
            actual: file.sha256,
        }),
        None => Err(Rejection::DigestSyntax { what: name }),
    }
}
