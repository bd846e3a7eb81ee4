//! Describes how a job ended.
//!
//! * In: what the pipeline produced, or the reason why it could not.
//! * Out: an [`Outcome`], which clients request.
//! * Never: the cause of an internal error.

use std::path::PathBuf;

use crate::digest::Sha256Digest;
use crate::error_type::ErrorType;
use crate::source::ProjectName;
use crate::toolchain::{Artifact, Kind, Lockfile};

/// The packed bundle on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleFile {
    /// The path of the file, in a directory that no sandbox sees.
    pub path: PathBuf,
    /// The size of the file, in bytes.
    pub size: u64,
    /// The digest of the file.
    pub sha256: Sha256Digest,
}

/// The products of a build that succeeded.
#[derive(Debug)]
pub struct Finished {
    /// The name of the project, which also names the bundle.
    pub project: ProjectName,
    /// The toolchain that built it.
    pub toolchain: Kind,
    /// The bundle, which contains everything else.
    pub bundle: BundleFile,
    /// Every artifact that is in the bundle.
    pub artifacts: Vec<Artifact>,
    /// The lockfile with the bytes that were used.
    pub build_config: Lockfile,
    /// The exact bytes of `sbom.cdx.json`.
    pub sbom: Vec<u8>,
    /// The exact bytes of `provenance.json`.
    pub provenance: Vec<u8>,
    /// The exact bytes of `provenance.sigstore.json`.
    pub envelope: Vec<u8>,
    /// The exact bytes of `evidence.json`; `None` where there is no attester.
    pub evidence: Option<Vec<u8>>,
}

/// The end of a job.
#[derive(Debug)]
pub enum Outcome {
    /// The build succeeded, and there is a bundle.
    Succeeded(Box<Finished>),
    /// The build failed, and there is no bundle.
    Failed {
        /// The reason, as a stable code.
        error_type: ErrorType,
        /// The reason, for the client: no internal paths.
        message: String,
    },
}

impl Outcome {
    /// Returns the outcome after an internal error, about which clients learn nothing more.
    pub fn internal() -> Self {
        Self::Failed {
            error_type: ErrorType::Internal,
            message: "the appliance failed to complete the build".to_owned(),
        }
    }
}
