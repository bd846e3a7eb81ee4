//! Build script: compiles the published reference values into the verifier.
//!
//! * In: `measurements/*.json` with the list of revoked images, its index and the floor of firmware
//!   versions; or the directory that `KETTLE_MEASUREMENTS` names. There may be no files.
//! * Out: `published.rs`.
//! * Never: anything for a binary without the feature `verifier`: kettle-init is itself measured
//!   and cannot know its own measurement.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The file name of the list of revoked images.
const REVOKED: &str = "revoked.json";
/// The file name of the index of that list, which may be missing.
const INDEX: &str = "revoked.index";
/// The file name of the lowest firmware versions that are accepted by default.
const FLOOR: &str = "tcb-floor.json";

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=src/verifier/build.rs");
    if env::var_os("CARGO_FEATURE_VERIFIER").is_none() {
        return Ok(());
    }
    let directory = measurements()?;
    // In a page bytes count.
    let is_page = env::var_os("CARGO_FEATURE_WEB").is_some();
    let (revoked, others): (Vec<_>, Vec<_>) = files(&directory)?
        .into_iter()
        .partition(|path| path.ends_with(REVOKED));
    let (floor, published): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|path| path.ends_with(FLOOR));
    if !published.is_empty() {
        needed(&directory, REVOKED, &revoked, "none would be revoked")?;
        needed(&directory, FLOOR, &floor, "any firmware would do")?;
    }
    let mut index = vec![directory.join(INDEX)];
    // It saves some milliseconds, which a page does not notice, and is a tenth of its compressed
    // size.
    index.retain(|path| path.is_file() && !is_page);
    let text = if is_page {
        let [published, revoked, floor] = [published, revoked, floor].map(compacted);
        source(&published?, &revoked?, &index, &floor?)
    } else {
        source(&published, &revoked, &index, &floor)
    };
    fs::write(variable("OUT_DIR").join("published.rs"), text)
}

/// Returns the text of `published.rs`, which includes these files.
fn source(
    published: &[PathBuf],
    revoked: &[PathBuf],
    index: &[PathBuf],
    floor: &[PathBuf],
) -> String {
    let list: String = published
        .iter()
        .map(|path| format!("    include_bytes!({path:?}),\n"))
        .collect();
    let (revoked, index, floor) = (included(revoked), included(index), included(floor));
    format!(
        "/// The files of reference values at the time of compilation.\n\
         pub(super) const PUBLISHED: &[&[u8]] = &[\n{list}];\n\
         /// The list of revoked images at the time of compilation.\n\
         pub(super) const REVOKED: Option<&[u8]> = {revoked};\n\
         /// The index of that list.\n\
         pub(super) const REVOKED_INDEX: Option<&[u8]> = {index};\n\
         /// The floor of firmware versions at the time of compilation.\n\
         pub(super) const FLOOR: Option<&[u8]> = {floor};\n"
    )
}

/// Copies files, without the white space between the parts of their JSON, and returns the copies.
fn compacted(files: Vec<PathBuf>) -> io::Result<Vec<PathBuf>> {
    let copy = |path: PathBuf| {
        let copy = variable("OUT_DIR").join(path.file_name().unwrap_or_default());
        fs::write(&copy, compact(&fs::read(&path)?))?;
        Ok(copy)
    };
    files.into_iter().map(copy).collect()
}

/// Returns a JSON document without white space outside of its strings.
fn compact(json: &[u8]) -> Vec<u8> {
    let (mut is_in_string, mut is_escaped) = (false, false);
    let mut kept = Vec::with_capacity(json.len());
    for &byte in json {
        if is_in_string || !byte.is_ascii_whitespace() {
            kept.push(byte);
        }
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => is_in_string = !is_in_string,
            _ => {}
        }
    }
    kept
}

/// Returns the directory with the files. One that the environment names has to exist.
fn measurements() -> io::Result<PathBuf> {
    println!("cargo:rerun-if-env-changed=KETTLE_MEASUREMENTS");
    let named = env::var_os("KETTLE_MEASUREMENTS").map(PathBuf::from);
    let is_named = named.is_some();
    let directory = named.unwrap_or_else(|| variable("CARGO_MANIFEST_DIR").join("measurements"));
    println!("cargo:rerun-if-changed={}", directory.display());
    if is_named && !directory.is_dir() {
        let shown = directory.display();
        return Err(not_found(format!(
            "{shown}, which KETTLE_MEASUREMENTS names, is no directory"
        )));
    }
    Ok(directory)
}

/// Expects a file without which the reference values would allow too much.
fn needed(directory: &Path, name: &str, files: &[PathBuf], otherwise: &str) -> io::Result<()> {
    if files.is_empty() {
        let shown = directory.display();
        return Err(not_found(format!(
            "{shown} has reference values and no {name}: {otherwise}"
        )));
    }
    Ok(())
}

fn not_found(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, message)
}

/// Returns the bytes of the one file, as an expression.
fn included(files: &[PathBuf]) -> String {
    files.first().map_or("None".to_owned(), |path| {
        format!("Some(include_bytes!({path:?}))")
    })
}

fn variable(name: &str) -> PathBuf {
    PathBuf::from(env::var_os(name).unwrap_or_default())
}

fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let paths = fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "json") && !is_bill(path));
    paths.sort();
    Ok(paths)
}

/// Returns whether a file is a bill of materials, which lies beside the reference values that it
/// belongs to.
fn is_bill(path: &Path) -> bool {
    path.to_str()
        .is_some_and(|path| path.ends_with(".cdx.json"))
}
