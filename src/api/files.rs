//! Finds what a finished job offers for download.
//!
//! * In: a job, and a name from a request.
//! * Out: the download of what was recorded under exactly this name.
//! * Never: a name that reaches the file system.

use std::sync::Arc;

use hyper::body::Bytes;

use super::download::Download;
use super::problem::Problem;
use crate::job::{Finished, Job, Outcome};

/// Returns the download of the bundle.
///
/// # Errors
/// 404: the job runs, or has failed. 500: the file is not as recorded.
pub async fn bundle(job: &Job) -> Result<Download, Problem> {
    let finished = finished(job)?;
    let file = &finished.bundle;
    let download = Download::of_file(&file.path, file.size, file.sha256).await?;
    Ok(download.named("application/gzip", format!("{}.tar.gz", finished.project)))
}

/// Returns the download of one artifact.
///
/// # Errors
/// 404: the job runs or has failed, or there is no artifact of this name. 500: the file is not as
/// recorded.
pub async fn artifact(job: &Job, name: &str) -> Result<Download, Problem> {
    let mut artifacts = finished(job)?.artifacts.iter();
    let artifact = artifacts
        .find(|artifact| artifact.name == name)
        .ok_or_else(|| Problem::new(404, "artifact-unknown", "the build made no such artifact"))?;
    let download = Download::of_file(&artifact.path, artifact.size, artifact.sha256).await?;
    Ok(download.named("application/octet-stream", artifact.name.clone()))
}

/// Returns the download of the lockfile, the one build configuration file.
///
/// # Errors
/// 404: the job runs or has failed, or the lockfile has another name.
pub fn build_config(job: &Arc<Job>, name: &str) -> Result<Download, Problem> {
    if finished(job)?.build_config.name != name {
        let detail = "the build used no such file";
        return Err(Problem::new(404, "build-config-unknown", detail));
    }
    Ok(document(job, "text/plain; charset=utf-8", |finished| {
        Some(&finished.build_config.bytes)
    }))
}

/// Returns the download of `provenance.json`.
///
/// # Errors
/// 404: the job runs, or has failed.
pub fn provenance(job: &Arc<Job>) -> Result<Download, Problem> {
    finished(job)?;
    Ok(document(job, "application/json", |finished| {
        Some(&finished.provenance)
    }))
}

/// Returns the download of `sbom.cdx.json`.
///
/// # Errors
/// 404: the job runs or has failed.
pub fn sbom(job: &Arc<Job>) -> Result<Download, Problem> {
    finished(job)?;
    Ok(document(job, "application/json", |finished| {
        Some(&finished.sbom)
    }))
}

/// Returns the download of `provenance.sigstore.json`.
///
/// # Errors
/// 404: the job runs or has failed.
pub fn envelope(job: &Arc<Job>) -> Result<Download, Problem> {
    finished(job)?;
    Ok(document(job, "application/json", |finished| {
        Some(&finished.envelope)
    }))
}

/// Returns the download of `evidence.json`.
///
/// # Errors
/// 404: the job runs or has failed, or there is no platform.
pub fn evidence(job: &Arc<Job>) -> Result<Download, Problem> {
    if finished(job)?.evidence.is_none() {
        let detail = "this platform gives no evidence";
        return Err(Problem::new(404, "evidence-unavailable", detail));
    }
    Ok(document(job, "application/json", |finished| {
        finished.evidence.as_deref()
    }))
}

/// Returns what a job produced.
///
/// # Errors
/// 404: the job runs, or has failed.
fn finished(job: &Job) -> Result<&Finished, Problem> {
    let detail = match job.ended().map(|ended| &ended.outcome) {
        Some(Outcome::Succeeded(finished)) => return Ok(finished),
        Some(Outcome::Failed { .. }) => "the build failed: there is no result",
        None => "the build is not finished",
    };
    Err(Problem::new(404, "result-unavailable", detail))
}

fn document(job: &Arc<Job>, content_type: &'static str, select: Select) -> Download {
    let bytes = BytesOfJob {
        job: Arc::clone(job),
        select,
    };
    Download::of_bytes(Bytes::from_owner(bytes), content_type)
}

type Select = fn(&Finished) -> Option<&[u8]>;

/// Bytes that stay in the job while they are sent.
struct BytesOfJob {
    job: Arc<Job>,
    select: Select,
}

impl AsRef<[u8]> for BytesOfJob {
    fn as_ref(&self) -> &[u8] {
        let finished = finished(&self.job).ok();
        finished.and_then(self.select).unwrap_or_default()
    }
}
