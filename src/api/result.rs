//! The result document: what every view says of a job that has ended.
//!
//! - Comes in: how the job ended.
//! - Goes out: the document as JSON, with either word for success.
//! - Never: a path of this machine.

use std::sync::OnceLock;

use serde::Serialize;
use serde_json::Value;

use super::links;
use crate::digest::Sha256Digest;
use crate::job::{Finished, Job, JobId, Outcome};
use crate::provenance::Nonce;
use crate::toolchain::Artifact;

/// The result documents of this machine's one job, made when the first reader needs one.
#[derive(Debug, Default)]
pub struct Results(OnceLock<ResultDocuments>);

/// One result document in the words of both views.
#[derive(Debug, Default)]
pub struct ResultDocuments {
    /// For the job document and the stream of messages, which call success `success`.
    pub full: String,
    /// For the typed events, which call success `ok`. Existing clients test for both words.
    pub typed: String,
}

/// The two words for the same success.
#[derive(Clone, Copy)]
enum SuccessWord {
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

impl Results {
    /// Returns the documents about `job`, or `None` while it runs.
    pub fn of(&self, job: &Job) -> Option<&ResultDocuments> {
        let ended = job.ended()?;
        let make = || ResultDocuments::new(job.id(), job.nonce(), &ended.outcome);
        Some(self.0.get_or_init(make))
    }
}

impl ResultDocuments {
    fn new(id: JobId, nonce: &Nonce, outcome: &Outcome) -> Self {
        Self::written(id, nonce, outcome).unwrap_or_else(|error| {
            log::error!("the result document cannot be written as JSON: {error}");
            Self::written(id, nonce, &Outcome::internal()).unwrap_or_default()
        })
    }

    /// # Errors
    /// Provenance or evidence is no JSON.
    fn written(id: JobId, nonce: &Nonce, outcome: &Outcome) -> Result<Self, serde_json::Error> {
        let write = |success| serde_json::to_string(&Document::new(id, nonce, outcome, success)?);
        Ok(Self {
            full: write(SuccessWord::Success)?,
            typed: write(SuccessWord::Ok)?,
        })
    }
}

impl<'a> Document<'a> {
    fn new(
        id: JobId,
        nonce: &Nonce,
        outcome: &'a Outcome,
        success: SuccessWord,
    ) -> Result<Self, serde_json::Error> {
        match outcome {
            Outcome::Succeeded(finished) => {
                Succeeded::new(id, nonce, finished, success).map(Self::Succeeded)
            }
            Outcome::Failed {
                error_type,
                message,
            } => Ok(Self::Failed(Failed {
                build_id: id.to_string(),
                job_id: id.to_string(),
                status: "failed",
                error: message,
                error_type: error_type.as_str(),
            })),
        }
    }
}

impl<'a> Succeeded<'a> {
    fn new(
        id: JobId,
        nonce: &Nonce,
        finished: &'a Finished,
        success: SuccessWord,
    ) -> Result<Self, serde_json::Error> {
        let artifacts = finished.artifacts.iter();
        let evidence = finished.evidence.as_deref();
        let lockfile = &finished.build_config;
        Ok(Self {
            build_id: id.to_string(),
            job_id: id.to_string(),
            status: match success {
                SuccessWord::Success => "success",
                SuccessWord::Ok => "ok",
            },
            nonce: nonce.to_string(),
            toolchain: finished.toolchain.to_string(),
            artifacts: artifacts
                .map(|artifact| ArtifactLink::new(id, artifact))
                .collect(),
            build_config: FileLink {
                name: lockfile.name,
                sha256: Sha256Digest::of(&lockfile.bytes).to_string(),
                download_url: links::build_config(id, lockfile.name),
            },
            provenance: serde_json::from_slice(&finished.provenance)?,
            evidence: evidence.map(serde_json::from_slice).transpose()?,
            result_url: links::result(id),
        })
    }
}

impl<'a> ArtifactLink<'a> {
    fn new(id: JobId, artifact: &'a Artifact) -> Self {
        Self {
            file: FileLink {
                name: &artifact.name,
                sha256: artifact.sha256.to_string(),
                download_url: links::artifact(id, &artifact.name),
            },
            size: artifact.size,
        }
    }
}
