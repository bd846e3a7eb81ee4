//! How a job ended.
//!
//! - Comes in: what the pipeline made, or why it could not.
//! - Goes out: an [`Outcome`], which clients ask for.
//! - Never: a cause of an internal error.

use std::path::PathBuf;

use crate::digest::Sha256Digest;
use crate::error_type::ErrorType;
use crate::source::ProjectName;
use crate::toolchain::{Artifact, Kind, Lockfile};

/// The packed bundle on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleFile {
    /// Where it is, in a folder that no sandbox sees.
    pub path: PathBuf,
    /// In bytes.
    pub size: u64,
    /// Of its bytes.
    pub sha256: Sha256Digest,
}

/// What a build that succeeded has to hand out.
#[derive(Debug)]
pub struct Finished {
    /// Names the bundle.
    pub project: ProjectName,
    /// What built it.
    pub toolchain: Kind,
    /// The whole, packed.
    pub bundle: BundleFile,
    /// Every artifact, as in the bundle.
    pub artifacts: Vec<Artifact>,
    /// The lockfile as it was used.
    pub build_config: Lockfile,
    /// `sbom.cdx.json`, the exact bytes.
    pub sbom: Vec<u8>,
    /// `provenance.json`, the exact bytes.
    pub provenance: Vec<u8>,
    /// `provenance.sigstore.json`, the exact bytes.
    pub envelope: Vec<u8>,
    /// `evidence.json`, the exact bytes; `None` where the platform has none.
    pub evidence: Option<Vec<u8>>,
}

/// How a job ended.
#[derive(Debug)]
pub enum Outcome {
    /// There is a bundle.
    Succeeded(Finished),
    /// There is none.
    Failed {
        /// Why, as a stable code.
        error_type: ErrorType,
        /// Why, for the client: no internal paths.
        message: String,
    },
}

impl Outcome {
    /// Returns the outcome after an internal error, of which clients learn nothing more.
    pub fn internal() -> Self {
        Self::Failed {
            error_type: ErrorType::Internal,
            message: "the appliance failed to complete the build".to_owned(),
        }
    }
}
