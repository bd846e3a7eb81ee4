//! Builds the documents about a job: the response to an accepted submission, and the job document.
//!
//! * In: a job, as it is now.
//! * Out: responses with JSON.
//! * Never: a path of this machine.

use hyper::header;
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::links;
use super::problem::Problem;
use super::respond::{self, Body};
use super::result::Results;
use crate::job::{Job, Outcome, Phase};
use crate::provenance::NonceSource;

#[derive(Serialize)]
struct AcceptedDocument {
    job_id: String,
    nonce: String,
    /// Present only where the client did not choose the nonce itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce_source: Option<NonceSource>,
    events: String,
    result: String,
}

/// The job document without its last member, `result`, which is JSON already.
#[derive(Serialize)]
struct JobDocument {
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

impl JobDocument {
    fn of(job: &Job) -> Self {
        let (id, ended) = (job.id(), job.ended());
        let state = match ended.map(|ended| &ended.outcome) {
            None => "running",
            Some(Outcome::Succeeded(_)) => "succeeded",
            Some(Outcome::Failed { .. }) => "failed",
        };
        Self {
            job_id: id.to_string(),
            build_id: id.to_string(),
            state,
            phase: phase_word(job.phase()),
            nonce: job.nonce().to_string(),
            accepted_at: job.accepted_at().to_string(),
            finished_at: ended.map(|ended| ended.finished_at.to_string()),
            events: links::events(id),
            result_url: links::result(id),
        }
    }
}

/// Returns the response 202 for a job that was accepted just now.
pub fn accepted(job: &Job) -> Response<Body> {
    let id = job.id();
    let source = job.nonce_source();
    let document = AcceptedDocument {
        job_id: id.to_string(),
        nonce: job.nonce().to_string(),
        nonce_source: (source == NonceSource::Appliance).then_some(source),
        events: links::events(id),
        result: links::result(id),
    };
    let mut response = respond::json(StatusCode::ACCEPTED, "application/json", &document);
    respond::set(response.headers_mut(), header::LOCATION, &links::job(id));
    response
}

/// Returns the job document: the job as it is now, with the result document once it has ended.
///
/// # Errors
/// 500: the document cannot be written as JSON.
pub fn job(job: &Job, results: &Results) -> Result<Response<Body>, Problem> {
    let text = serde_json::to_string(&JobDocument::of(job))
        .map_err(|error| Problem::internal("the job document", &error))?;
    let members = text.strip_suffix('}').unwrap_or(&text);
    let result = results.of(job).map_or("null", |documents| &documents.full);
    let document = format!("{members},\"result\":{result}}}");
    let mut response = respond::whole(StatusCode::OK, "application/json", document);
    respond::set(response.headers_mut(), header::CACHE_CONTROL, "no-cache");
    Ok(response)
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
