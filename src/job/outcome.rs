//! How a job ended. Comes in: what the pipeline made, or why it could not. Goes out: the result document that every
//! view shows. Never: a path of this machine in a document.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use super::{ErrorType, JobId, links};
use crate::digest::Sha256Digest;
use crate::provenance::Nonce;
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
    /// `provenance.json`, the exact bytes.
    pub provenance: Vec<u8>,
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

/// Two words for the same success: `success` in the full result, `ok` in the typed events. Existing clients test for
/// both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SuccessWord {
    Success,
    Ok,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Document<'a> {
    Succeeded(Succeeded<'a>),
    Failed(Failed<'a>),
}

#[derive(Serialize)]
struct Succeeded<'a> {
    build_id: String,
    job_id: String,
    status: &'static str,
    nonce: String,
    toolchain: String,
    artifacts: Vec<ArtifactLink<'a>>,
    build_config: FileLink<'a>,
    provenance: Value,
    evidence: Option<Value>,
    result_url: String,
}

#[derive(Serialize)]
struct ArtifactLink<'a> {
    #[serde(flatten)]
    file: FileLink<'a>,
    size: u64,
}

#[derive(Serialize)]
struct FileLink<'a> {
    name: &'a str,
    sha256: String,
    download_url: String,
}

#[derive(Serialize)]
struct Failed<'a> {
    build_id: String,
    job_id: String,
    status: &'static str,
    error: &'a str,
    error_type: &'static str,
}

impl Outcome {
    /// A fault of ours, of which the client learns nothing more.
    pub(super) fn internal() -> Self {
        Self::Failed {
            error_type: ErrorType::Internal,
            message: "the appliance failed to complete the build".to_owned(),
        }
    }

    /// The result document, compact.
    ///
    /// # Errors
    /// Provenance or evidence is no JSON.
    pub(super) fn document(
        &self,
        id: JobId,
        nonce: &Nonce,
        success: SuccessWord,
    ) -> Result<String, serde_json::Error> {
        serde_json::to_string(&match self {
            Self::Succeeded(finished) => {
                Document::Succeeded(finished.document(id, nonce, success)?)
            }
            Self::Failed {
                error_type,
                message,
            } => Document::Failed(Failed {
                build_id: id.to_string(),
                job_id: id.to_string(),
                status: "failed",
                error: message,
                error_type: error_type.as_str(),
            }),
        })
    }
}

impl Finished {
    fn document(
        &self,
        id: JobId,
        nonce: &Nonce,
        success: SuccessWord,
    ) -> Result<Succeeded<'_>, serde_json::Error> {
        Ok(Succeeded {
            build_id: id.to_string(),
            job_id: id.to_string(),
            status: match success {
                SuccessWord::Success => "success",
                SuccessWord::Ok => "ok",
            },
            nonce: nonce.to_string(),
            toolchain: self.toolchain.to_string(),
            artifacts: self
                .artifacts
                .iter()
                .map(|artifact| artifact_link(id, artifact))
                .collect(),
            build_config: FileLink {
                name: self.build_config.name,
                sha256: Sha256Digest::of(&self.build_config.bytes).to_string(),
                download_url: links::build_config(id, self.build_config.name),
            },
            provenance: serde_json::from_slice(&self.provenance)?,
            evidence: self
                .evidence
                .as_deref()
                .map(serde_json::from_slice)
                .transpose()?,
            result_url: links::result(id),
        })
    }
}

fn artifact_link(id: JobId, artifact: &Artifact) -> ArtifactLink<'_> {
    ArtifactLink {
        file: FileLink {
            name: &artifact.name,
            sha256: artifact.sha256.to_string(),
            download_url: links::artifact(id, &artifact.name),
        },
        size: artifact.size,
    }
}
