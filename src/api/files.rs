//! What a finished job hands out. Comes in: a job, and names from a request. Goes out: downloads of what was recorded
//! under exactly these names. Never: a name that reaches the file system.

use std::sync::Arc;

use super::download::Download;
use super::problem::Problem;
use crate::job::{Finished, Job, Outcome};

/// The bundle.
///
/// # Errors
/// 500: the file is not as recorded.
pub async fn bundle(finished: &Finished) -> Result<Download, Problem> {
    let file = &finished.bundle;
    let download = Download::of_file(&file.path, file.size, file.sha256).await?;
    Ok(download.named("application/gzip", format!("{}.tar.gz", finished.project)))
}

/// One artifact.
///
/// # Errors
/// 404: none of this name. 500: the file is not as recorded.
pub async fn artifact(finished: &Finished, name: &str) -> Result<Download, Problem> {
    let artifact = finished
        .artifacts
        .iter()
        .find(|artifact| artifact.name == name);
    let artifact = artifact
        .ok_or_else(|| Problem::new(404, "artifact-unknown", "the build made no such artifact"))?;
    let download = Download::of_file(&artifact.path, artifact.size, artifact.sha256).await?;
    Ok(download.named("application/octet-stream", artifact.name.clone()))
}

/// The lockfile.
///
/// # Errors
/// 404: another name.
pub fn build_config(job: &Arc<Job>, name: &str) -> Result<Download, Problem> {
    if finished(job)?.build_config.name != name {
        return Err(Problem::new(
            404,
            "build-config-unknown",
            "the build used no such file",
        ));
    }
    Ok(document(job, "text/plain; charset=utf-8", |finished| {
        Some(&finished.build_config.bytes)
    }))
}

/// `provenance.json`.
///
/// # Errors
/// 404: not finished, or failed.
pub fn provenance(job: &Arc<Job>) -> Result<Download, Problem> {
    finished(job)?;
    Ok(document(job, "application/json", |finished| {
        Some(&finished.provenance)
    }))
}

/// Returns the download of `sbom.cdx.json`.
///
/// # Errors
/// 404: not finished, or failed.
pub fn sbom(job: &Arc<Job>) -> Result<Download, Problem> {
    finished(job)?;
    Ok(document(job, "application/json", |finished| {
        Some(&finished.sbom)
    }))
}

/// Returns the download of `provenance.sigstore.json`.
///
/// # Errors
/// 404: not finished, or failed.
pub fn envelope(job: &Arc<Job>) -> Result<Download, Problem> {
    finished(job)?;
    Ok(document(job, "application/json", |finished| {
        Some(&finished.envelope)
    }))
}

/// `evidence.json`.
///
/// # Errors
/// 404: not finished, failed, or there is no platform.
pub fn evidence(job: &Arc<Job>) -> Result<Download, Problem> {
    if finished(job)?.evidence.is_none() {
        return Err(Problem::new(
            404,
            "evidence-unavailable",
            "this platform gives no evidence",
        ));
    }
    Ok(document(job, "application/json", |finished| {
        finished.evidence.as_deref()
    }))
}

/// What a job made.
///
/// # Errors
/// 404: it runs, or has failed.
pub fn finished(job: &Job) -> Result<&Finished, Problem> {
    let detail = match job.ended().map(|ended| &ended.outcome) {
        Some(Outcome::Succeeded(finished)) => return Ok(finished),
        Some(Outcome::Failed { .. }) => "the build failed: there is no result",
        None => "the build is not finished",
    };
    Err(Problem::new(404, "result-unavailable", detail))
}

type Pick = fn(&Finished) -> Option<&[u8]>;

/// Bytes that stay where they are: in the job.
struct Held {
    job: Arc<Job>,
    pick: Pick,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        finished(&self.job)
            .ok()
            .and_then(self.pick)
            .unwrap_or_default()
    }
}

fn document(job: &Arc<Job>, content_type: &'static str, pick: Pick) -> Download {
    Download::of_bytes(
        hyper::body::Bytes::from_owner(Held {
            job: Arc::clone(job),
            pick,
        }),
        content_type,
    )
}
