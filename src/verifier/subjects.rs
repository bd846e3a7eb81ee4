//! Whether the files of a bundle are those that its statement speaks of. Comes in: both. Goes out: nothing, or the first
//! file that is missing, different or too much. Never: a file that nobody spoke of.

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

/// Appliances up to 0.4.0 made no bill of materials, and recorded none.
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
/// The archive is not the one that the appliance makes of these files.
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
/// statement about an archive that was sent names no top directory, and an unpacked bundle has none.
///
/// # Errors
/// The archive is not the one that the appliance makes of these files.
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

/// Both are sorted by name.
fn appraise_artifacts(
    artifacts: &[HashedFile],
    subjects: &[&NamedFile<'_>],
) -> Result<(), Rejection> {
    for subject in subjects {
        let name = names::artifact(&subject.name);
        let Ok(at) = artifacts.binary_search_by(|file| file.name.as_str().cmp(&subject.name))
        else {
            return Err(Rejection::SubjectMissing { name });
        };
        let file = &artifacts[at];
        match subject.sha256() {
            Some(expected) if expected == file.sha256 => {}
            Some(expected) => {
                return Err(Rejection::SubjectDigest {
                    name,
                    expected,
                    actual: file.sha256,
                });
            }
            None => return Err(Rejection::DigestSyntax { what: name }),
        }
        if subject.is_executable() != file.executable {
            let (expected, actual) = (subject.is_executable(), file.executable);
            return Err(Rejection::SubjectMode {
                name,
                expected,
                actual,
            });
        }
    }
    let listed = |file: &&HashedFile| {
        subjects
            .binary_search_by(|subject| (*subject.name).cmp(&file.name))
            .is_err()
    };
    match artifacts.iter().find(listed) {
        Some(file) => Err(Rejection::ArtifactUnlisted {
            name: names::artifact(&file.name),
        }),
        None => Ok(()),
    }
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

/// All byproducts of one name say one digest.
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
