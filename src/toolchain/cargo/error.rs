//! The errors that only projects of cargo have, with the codes that clients see.
//!
//! * In: the failures of this room's parts.
//! * Out: one clause for the caller, and the stable code.
//! * Never: a path of this machine, or output of a tool, in the text.

use crate::digest::{GitOid, Sha256Digest};
use crate::error_type::ErrorType;
use crate::source::archive::ArchiveError;
use crate::source::repository::RepositoryError;
use crate::source::repository::redirect::RedirectError;

use super::lockfile::LockfileError;

/// Why a project of cargo cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum CargoError {
    /// The lockfile cannot be used.
    #[error("Cargo.lock cannot be used")]
    Lockfile(#[from] LockfileError),
    /// Cargo would have to change the lockfile.
    #[error("Cargo.lock does not fit the manifest: cargo would have to change it")]
    LockfileOutdated,
    /// The archive of a package has another digest than the lockfile.
    #[error("the archive of {package} has sha256 {actual}, but {expected} in Cargo.lock")]
    Checksum {
        /// The package that is meant, as `NAME@VERSION`.
        package: String,
        /// The digest in the lockfile.
        expected: Sha256Digest,
        /// The digest of the archive.
        actual: Sha256Digest,
    },
    /// Cargo itself found that a checksum differs.
    #[error("a dependency's checksum is not the one in Cargo.lock")]
    ChecksumByCargo,
    /// The archive of a package is refused.
    #[error("the archive of {package} is refused")]
    Crate {
        /// The package that is meant, as `NAME@VERSION`.
        package: String,
        /// The reason for the refusal.
        source: ArchiveError,
    },
    /// The server of a git dependency redirects to a URL that is not followed.
    #[error(transparent)]
    Redirect(#[from] RedirectError),
    /// A commit object is not the one that was locked.
    #[error("the commit object of a git dependency has id {actual}, but {expected} in Cargo.lock")]
    Commit {
        /// The id in the lockfile.
        expected: GitOid,
        /// The id of the object's bytes.
        actual: GitOid,
    },
    /// A commit object names no tree.
    #[error("commit {commit} of a git dependency names no tree")]
    CommitWithoutTree {
        /// The commit that is locked.
        commit: GitOid,
    },
    /// A git dependency's files are not those of its commit.
    #[error(
        "the files of git dependency {commit} have tree id {actual}, but {expected} in its commit"
    )]
    Tree {
        /// The commit that is locked.
        commit: GitOid,
        /// The tree id in the commit.
        expected: GitOid,
        /// The tree id of the files.
        actual: GitOid,
    },
    /// The files of a git dependency cannot be taken from its objects.
    #[error("git dependency {commit} cannot be read")]
    Objects {
        /// The commit that is locked.
        commit: GitOid,
        /// The reason.
        source: RepositoryError,
    },
    /// A package lies outside of all directories that were checked.
    #[error("package {package} lies outside the source and its locked dependencies")]
    Outside {
        /// The package that is meant, as `NAME@VERSION`.
        package: String,
    },
    /// The workspace's root, where cargo looks for the lockfile, is not the source's.
    #[error(
        "the root of the source's workspace, and so its lockfile, is not at the top of the source"
    )]
    WorkspaceRoot,
    /// Cargo cannot read the manifest.
    #[error("cargo cannot read the project")]
    Manifest,
    /// The project's cargo configuration is not TOML, or is too long.
    #[error("the source's cargo configuration cannot be read")]
    Configuration,
    /// Cargo printed a command that is too long or has an unknown form.
    #[error(
        "cargo's list of the commands that it ran cannot be read, so the linker's arguments cannot \
         be recorded"
    )]
    Commands,
    /// The chosen package is missing.
    #[error("the project has no package {package}; it has: {there}")]
    NoSuchPackage {
        /// The name that was chosen.
        package: String,
        /// The names of the workspace's packages.
        there: String,
    },
    /// A chosen program is missing.
    #[error("what is built has no program {bin}; the project has: {there}")]
    NoSuchBin {
        /// The name that was chosen.
        bin: String,
        /// The programs of the workspace, each with its package.
        there: String,
    },
    /// A chosen feature is missing.
    #[error("what is built has no feature {feature}; it has: {there}")]
    NoSuchFeature {
        /// The name that was chosen.
        feature: String,
        /// The features of the packages that are built.
        there: String,
    },
    /// There is no library, and every program needs features that are off.
    #[error(
        "there is no library, and every program needs features that are off: {programs} (choose \
         with features)"
    )]
    AllGated {
        /// The programs, each with its features.
        programs: String,
    },
    /// Two packages make a file of one name, and cargo would write one over the other.
    #[error("{} and {} both make {name}: choose one with package", .packages[0], .packages[1])]
    SameName {
        /// The name of the file.
        name: String,
        /// The two packages, each as `NAME@VERSION`.
        packages: [String; 2],
    },
    /// The compiler is older than a package asks for.
    #[error("package {package} needs rustc {wanted} (rust-version), and this appliance has {have}")]
    RustVersion {
        /// The package that is meant, as `NAME@VERSION`.
        package: String,
        /// The version in the manifest.
        wanted: String,
        /// The version of the compiler.
        have: String,
    },
    /// The configuration builds for several platforms.
    #[error("the source's cargo configuration builds for several targets: one is supported")]
    SeveralTargets,
    /// There is no standard library for a platform.
    #[error(
        "the source's cargo configuration builds for {target}, for which this appliance has no \
         standard library; there are: {there}"
    )]
    NoStandardLibrary {
        /// The target platform in the configuration.
        target: String,
        /// The target platforms that have one.
        there: String,
    },
    /// Build scripts give the linker more arguments than a statement records.
    #[error(
        "build scripts give the linker more than {limit} bytes of arguments: a statement does not \
         record that many"
    )]
    LinkArguments {
        /// The limit that was exceeded, in bytes.
        limit: usize,
    },
}

impl CargoError {
    /// Returns the stable code that clients see.
    pub fn error_type(&self) -> ErrorType {
        match self {
            Self::Lockfile(_)
            | Self::LockfileOutdated
            | Self::Checksum { .. }
            | Self::ChecksumByCargo
            | Self::Commit { .. }
            | Self::CommitWithoutTree { .. }
            | Self::Tree { .. }
            | Self::WorkspaceRoot => ErrorType::LockfileMismatch,
            Self::Objects { source, .. } if source.is_fault() => ErrorType::Internal,
            Self::Crate { .. } | Self::Objects { .. } => ErrorType::DependencyFetchFailed,
            Self::Redirect(error) if !error.is_fault() => ErrorType::DependencyFetchFailed,
            Self::Redirect(_) => ErrorType::Internal,
            Self::AllGated { .. } => ErrorType::NoArtifacts,
            Self::RustVersion { .. } | Self::SeveralTargets | Self::NoStandardLibrary { .. } => {
                ErrorType::UnsupportedToolchain
            }
            Self::NoSuchPackage { .. }
            | Self::NoSuchBin { .. }
            | Self::NoSuchFeature { .. }
            | Self::SameName { .. }
            | Self::Outside { .. }
            | Self::Manifest
            | Self::Configuration
            | Self::Commands
            | Self::LinkArguments { .. } => ErrorType::BuildFailed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let lockfile = CargoError::Lockfile(LockfileError::Encoding);
        let archive = CargoError::Crate {
            package: "a@1.0.0".to_owned(),
            source: ArchiveError::TooManyEntries { limit: 1 },
        };
        for error in [lockfile, archive] {
            let cause = error.source().unwrap().to_string();
            assert!(!error.to_string().contains(&cause), "{error}: {cause}");
        }
    }
}
