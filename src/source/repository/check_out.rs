//! Writes the files of a commit from objects that another program fetched: cargo, for a git
//! dependency.
//!
//! Cargo's own checkout differs from the commit where attributes change files, and where submodules
//! are. The files that are written here are the blobs, as for a source.
//!
//! * In: the objects, and a commit.
//! * Out: a directory with the commit's files and those of its submodules, each with the tree that
//!   its commit names.
//! * Never: files whose tree is another one.

use std::fs;
use std::path::Path;

use super::commit::Commit;
use super::intake::Intake;
use super::objects::Objects;
use super::{FetchLog, RepositoryError};
use crate::digest::GitOid;
use crate::sandbox::{Run, remove_directory};
use crate::source::archive::{Builder, Rules};

/// Writes the files of `commit`, with the time `epoch`, to the directory `into`, which is created.
/// Returns the id of the commit's tree. `scratch` is created and removed.
///
/// # Errors
/// The objects are not those of the commit, or there is an internal error.
pub async fn check_out(
    runner: &dyn Run,
    objects: Objects<'_>,
    commit: GitOid,
    (epoch, into): (u64, &Path),
    scratch: &Path,
    sink: &mut dyn FetchLog,
) -> Result<GitOid, RepositoryError> {
    let rules = Rules {
        time: epoch,
        ..Rules::of_source()
    };
    let builder = Builder::with_rules(rules, into, 0)?;
    fs::create_dir(scratch)?;
    let intake = Intake::new(runner, sink, scratch, None);
    let taken = intake.take_from(&objects, commit, builder).await;
    remove_directory(scratch)?;
    let Commit { tree, .. } = taken?;
    Ok(tree)
}
