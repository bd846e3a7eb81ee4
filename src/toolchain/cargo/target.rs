//! Chooses the platform that a project's own configuration builds for.
//!
//! * In: `build.target` of the configuration, and the toolchain.
//! * Out: the target platform, for `--target`.
//! * Never: another platform than the one that the configuration names.

use std::fs;
use std::io;
use std::path::Path;

use super::CargoError;
use crate::presence::is_directory;
use crate::toolchain::{Toolchain, ToolchainError};

/// The directory of a sysroot with the standard libraries, by target platform.
const STANDARD_LIBRARIES: &str = "lib/rustlib";

/// Returns the directory, below `target`, of the files of a build for `triple`, or for the
/// machine's own platform.
pub(super) fn release(triple: Option<&str>) -> String {
    match triple {
        Some(triple) => format!("{triple}/release"),
        None => "release".to_owned(),
    }
}

/// Returns the one of `targets`, if there is one, for which the toolchain has a standard library.
///
/// # Errors
/// There are several, or the toolchain has no standard library for it.
pub(super) fn choose(
    targets: &[String],
    toolchain: &Toolchain,
) -> Result<Option<String>, ToolchainError> {
    let [target] = targets else {
        if targets.is_empty() {
            return Ok(None);
        }
        return Err(CargoError::SeveralTargets.into());
    };
    let libraries = toolchain.machine_sysroot().join(STANDARD_LIBRARIES);
    if is_triple(target) && has_library(&libraries, target)? {
        return Ok(Some(target.clone()));
    }
    Err(CargoError::NoStandardLibrary {
        target: target.escape_default().to_string(),
        there: known(&libraries)?.join(", "),
    }
    .into())
}

/// Returns whether text is a name and no path: cargo reads a path as the file of a specification.
fn is_triple(target: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !target.is_empty() && !target.starts_with('-') && target.bytes().all(is_letter)
}

/// Returns whether a toolchain has a standard library for `target`.
fn has_library(libraries: &Path, target: &str) -> io::Result<bool> {
    is_directory(&libraries.join(target).join("lib"))
}

/// Returns the platforms for which a toolchain has a standard library, sorted.
fn known(libraries: &Path) -> io::Result<Vec<String>> {
    let mut known = Vec::new();
    for entry in fs::read_dir(libraries)? {
        let name = entry?.file_name();
        if let Some(name) = name.to_str()
            && has_library(libraries, name)?
        {
            known.push(name.to_owned());
        }
    }
    known.sort();
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toolchain() -> (tempfile::TempDir, Toolchain) {
        let sysroot = tempfile::tempdir().unwrap();
        for target in ["x86_64-unknown-linux-gnu", "wasm32-unknown-unknown"] {
            fs::create_dir_all(sysroot.path().join("lib/rustlib").join(target).join("lib"))
                .unwrap();
        }
        fs::create_dir_all(sysroot.path().join("lib/rustlib/etc")).unwrap();
        let toolchain = Toolchain::test_only_at(sysroot.path().to_str().unwrap());
        (sysroot, toolchain)
    }

    fn chosen(targets: &[&str]) -> Result<Option<String>, String> {
        let (_sysroot, toolchain) = toolchain();
        let targets: Vec<_> = targets.iter().map(|&target| target.to_owned()).collect();
        choose(&targets, &toolchain).map_err(|error| error.to_string())
    }

    #[test]
    fn a_target_with_a_standard_library_is_built_for() {
        assert_eq!(chosen(&[]), Ok(None));
        let wasm = "wasm32-unknown-unknown";
        assert_eq!(chosen(&[wasm]), Ok(Some(wasm.to_owned())));
        assert_eq!(release(Some(wasm)), "wasm32-unknown-unknown/release");
    }

    #[test]
    fn another_target_is_refused_with_those_that_there_are() {
        let refusal = chosen(&["x86_64-unknown-linux-musl"]).unwrap_err();
        assert!(
            refusal.ends_with("there are: wasm32-unknown-unknown, x86_64-unknown-linux-gnu"),
            "{refusal}"
        );
        for target in [
            "evil.json",
            "../etc",
            "",
            "-x",
            "etc",
            "/kettle/source/x.json",
        ] {
            assert!(chosen(&[target]).is_err(), "{target}");
        }
        assert!(chosen(&["x86_64-unknown-linux-gnu", "wasm32-unknown-unknown"]).is_err());
    }
}
