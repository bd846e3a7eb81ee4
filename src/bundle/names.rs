//! What the files of a bundle are called, below its top directory.
//!
//! - Comes in: what artifacts and build configuration files are called.
//! - Goes out: their paths in the bundle, and back.
//! - Never: a check of a name, which is [`crate::name`]'s.

/// The statement.
pub const PROVENANCE: &str = "provenance.json";

/// What the attester made.
pub const EVIDENCE: &str = "evidence.json";

/// The statement in the container that Sigstore's tools read, signed by the statement key.
pub const ENVELOPE: &str = "provenance.sigstore.json";

/// The bill of materials of the build, CycloneDX.
pub const SBOM: &str = "sbom.cdx.json";

/// What tools printed.
pub const BUILD_LOG: &str = "build.log";

/// The directory of what was built.
pub const ARTIFACTS: &str = "artifacts";

/// The directory of what decided the build beside the source: the lockfile.
pub const BUILD_CONFIG: &str = "build-config";

/// Returns the path of an artifact.
pub fn artifact(name: &str) -> String {
    format!("{ARTIFACTS}/{name}")
}

/// Returns the path of a build configuration file.
pub fn build_config(name: &str) -> String {
    format!("{BUILD_CONFIG}/{name}")
}

/// Returns what the artifact with this path is called, or `None` for a path of something else.
#[cfg(feature = "appraisal")]
pub fn artifact_name(path: &str) -> Option<&str> {
    path.strip_prefix(ARTIFACTS)?.strip_prefix('/')
}

/// Returns what the build configuration file with this path is called, or `None` for a path of something else.
#[cfg(feature = "appraisal")]
pub fn build_config_name(path: &str) -> Option<&str> {
    path.strip_prefix(BUILD_CONFIG)?.strip_prefix('/')
}
