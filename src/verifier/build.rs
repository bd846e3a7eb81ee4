//! Build script: compiles the published reference values into `kettle`.
//!
//! - Comes in: `measurements/*.json` with the list of revoked images, its index and the floor of firmware versions, or the
//!   folder that `KETTLE_MEASUREMENTS` names; there may be none.
//! - Goes out: `published.rs`.
//! - Never: anything for a binary without the feature `cli`: kettle-init is what is measured and cannot know its own
//!   measurement.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The list of revoked images.
const REVOKED: &str = "revoked.json";
/// The index of that list, which may be missing.
const INDEX: &str = "revoked.index";
/// The lowest firmware that is believed by default.
const FLOOR: &str = "tcb-floor.json";

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=src/verifier/build.rs");
    if env::var_os("CARGO_FEATURE_CLI").is_none() {
        return Ok(());
    }
    let folder = measurements()?;
    let (revoked, others): (Vec<_>, Vec<_>) = files(&folder)?
        .into_iter()
        .partition(|path| path.ends_with(REVOKED));
    let (floor, published): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|path| path.ends_with(FLOOR));
    if !published.is_empty() {
        needed(&folder, REVOKED, &revoked, "none would be revoked")?;
        needed(&folder, FLOOR, &floor, "any firmware would do")?;
    }
    let mut index = vec![folder.join(INDEX)];
    index.retain(|path| path.is_file());
    let list: String = published
        .iter()
        .map(|path| format!("    include_bytes!({path:?}),\n"))
        .collect();
    let (revoked, index, floor) = (included(&revoked), included(&index), included(&floor));
    let text = format!(
        "/// The files of reference values that were there at compilation.\n\
         pub(super) const PUBLISHED: &[&[u8]] = &[\n{list}];\n\
         /// The list of revoked images that was there at compilation.\n\
         pub(super) const REVOKED: Option<&[u8]> = {revoked};\n\
         /// The index of that list.\n\
         pub(super) const REVOKED_INDEX: Option<&[u8]> = {index};\n\
         /// The floor of firmware versions that was there at compilation.\n\
         pub(super) const FLOOR: Option<&[u8]> = {floor};\n"
    );
    fs::write(variable("OUT_DIR").join("published.rs"), text)
}

/// The directory with the files, which has to be there where somebody names one.
fn measurements() -> io::Result<PathBuf> {
    println!("cargo:rerun-if-env-changed=KETTLE_MEASUREMENTS");
    let named = env::var_os("KETTLE_MEASUREMENTS").map(PathBuf::from);
    let is_named = named.is_some();
    let folder = named.unwrap_or_else(|| variable("CARGO_MANIFEST_DIR").join("measurements"));
    println!("cargo:rerun-if-changed={}", folder.display());
    if is_named && !folder.is_dir() {
        let shown = folder.display();
        return Err(not_found(format!(
            "{shown}, which KETTLE_MEASUREMENTS names, is no directory"
        )));
    }
    Ok(folder)
}

/// Reference values without this file would be believed for too much.
fn needed(folder: &Path, name: &str, files: &[PathBuf], otherwise: &str) -> io::Result<()> {
    if files.is_empty() {
        let shown = folder.display();
        return Err(not_found(format!(
            "{shown} has reference values and no {name}: {otherwise}"
        )));
    }
    Ok(())
}

fn not_found(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, message)
}

/// The bytes of the one file, as an expression.
fn included(files: &[PathBuf]) -> String {
    files.first().map_or("None".to_owned(), |path| {
        format!("Some(include_bytes!({path:?}))")
    })
}

fn variable(name: &str) -> PathBuf {
    PathBuf::from(env::var_os(name).unwrap_or_default())
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let paths = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "json") && !is_bill(path));
    paths.sort();
    Ok(paths)
}

/// A bill of materials lies beside the reference values that it belongs to.
fn is_bill(path: &Path) -> bool {
    path.to_str()
        .is_some_and(|path| path.ends_with(".cdx.json"))
}
