//! The paths of a bundle's files, below its top directory.
//!
//! * In: the names of artifacts and build configuration files.
//! * Out: their paths in the bundle, and back.
//! * Never: a check of a name, which [`crate::name`] makes.

/// The path of the statement.
pub const PROVENANCE: &str = "provenance.json";

/// The path of the attester's evidence.
pub const EVIDENCE: &str = "evidence.json";

/// The path of the statement that the statement key has signed, in the container that Sigstore's
/// tools read.
pub const ENVELOPE: &str = "provenance.sigstore.json";

/// The path of the build's bill of materials, CycloneDX.
pub const SBOM: &str = "sbom.cdx.json";

/// The path of the log of all tools.
pub const BUILD_LOG: &str = "build.log";

/// The directory of the artifacts.
pub const ARTIFACTS: &str = "artifacts";

/// The directory of the files that decided the build beside the source: the lockfile.
pub const BUILD_CONFIG: &str = "build-config";

/// Returns the path of an artifact.
pub fn artifact(name: &str) -> String {
    format!("{ARTIFACTS}/{name}")
}

/// Returns the path of a build configuration file.
pub fn build_config(name: &str) -> String {
    format!("{BUILD_CONFIG}/{name}")
}

/// Returns the name of the artifact with this path; none for any other path.
#[cfg(feature = "appraisal")]
pub fn artifact_name(path: &str) -> Option<&str> {
    path.strip_prefix(ARTIFACTS)?.strip_prefix('/')
}

/// Returns the name of the build configuration file with this path; none for any other path.
#[cfg(feature = "appraisal")]
pub fn build_config_name(path: &str) -> Option<&str> {
    path.strip_prefix(BUILD_CONFIG)?.strip_prefix('/')
}
