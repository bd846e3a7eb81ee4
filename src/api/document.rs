//! Documents about a job: the answer to a submission, and the job itself.

use hyper::header;
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::links;
use super::respond::{self, Body};
use super::result::ResultDocuments;
use crate::job::{Job, Outcome, Phase};
use crate::provenance::NonceSource;

/// The answer to an accepted submission.
#[derive(Serialize)]
struct Accepted {
    job_id: String,
    nonce: String,
    /// Only where the client did not choose the nonce itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce_source: Option<NonceSource>,
    events: String,
    result: String,
}

/// `GET /build/{id}`, but for `result`, which is JSON already.
#[derive(Serialize)]
struct Document {
    job_id: String,
    build_id: String,
    state: &'static str,
    phase: &'static str,
    nonce: String,
    accepted_at: String,
    finished_at: Option<String>,
    events: String,
    result_url: String,
}

/// 202 for a job that was accepted just now.
pub fn accepted(job: &Job) -> Response<Body> {
    let id = job.id();
    let document = Accepted {
        job_id: id.to_string(),
        nonce: job.nonce().to_string(),
        nonce_source: (job.nonce_source() == NonceSource::Appliance)
            .then_some(NonceSource::Appliance),
        events: links::events(id),
        result: links::result(id),
    };
    let mut response = respond::json(StatusCode::ACCEPTED, "application/json", &document);
    respond::set(response.headers_mut(), header::LOCATION, &links::job(id));
    response
}

/// Returns the job document: the job as it is now, with the result document once it has ended.
pub fn job(job: &Job, result: Option<&ResultDocuments>) -> Response<Body> {
    let (id, ended) = (job.id(), job.ended());
    let document = Document {
        job_id: id.to_string(),
        build_id: id.to_string(),
        state: match ended.map(|ended| &ended.outcome) {
            None => "running",
            Some(Outcome::Succeeded(_)) => "succeeded",
            Some(Outcome::Failed { .. }) => "failed",
        },
        phase: phase_word(job.phase()),
        nonce: job.nonce().to_string(),
        accepted_at: job.accepted_at().to_string(),
        finished_at: ended.map(|ended| ended.finished_at.to_string()),
        events: links::events(id),
        result_url: links::result(id),
    };
    let text = match serde_json::to_string(&document) {
        Ok(text) => text,
        Err(error) => {
            return super::problem::Problem::internal("the job document", &error).into_response();
        }
    };
    let result = result.map_or("null", |documents| documents.full.as_str());
    let members = text.strip_suffix('}').unwrap_or(&text);
    let mut response = respond::whole(
        StatusCode::OK,
        "application/json",
        format!("{members},\"result\":{result}}}"),
    );
    respond::set(response.headers_mut(), header::CACHE_CONTROL, "no-cache");
    response
}

/// Returns the word for a phase: the `type` of the events that belong to it.
fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Queued => "queued",
        Phase::Init => "init",
        Phase::Detect => "detect",
        Phase::Build => "build",
        Phase::Provenance => "provenance",
        Phase::Attest => "attest",
        Phase::Complete => "complete",
    }
}
