//! Answers submissions: decides which one gets the slot.
//!
//! * In: a POST whose body is still on its way.
//! * Out: the one acceptance, or a refusal.
//! * Never: a body that is read for a slot that is taken, or a job id in a refusal.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use hyper::body::Incoming;
use hyper::header::{self, HeaderName};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Response};

use super::negotiate::ResponseKind;
use super::problem::Problem;
use super::respond::{self, Body};
use super::view::View;
use super::{Service, document, events, files};
use crate::job::{ClaimError, Job, Outcome, Request};
use crate::provenance::NonceSource;

const KETTLE_JOB_ID: HeaderName = HeaderName::from_static("kettle-job-id");
const KETTLE_NONCE: HeaderName = HeaderName::from_static("kettle-nonce");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// A future that stays on its runtime's thread.
pub type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Reads the bodies of submissions.
pub trait Receive {
    /// Reads the body and checks everything that can be checked before a build. Dropping the future
    /// before its end leaves nothing behind.
    ///
    /// # Errors
    /// The submission is refused: the problem is for the client.
    fn receive<'a>(
        &'a self,
        parts: &'a Parts,
        body: Incoming,
    ) -> LocalFuture<'a, Result<Request, Problem>>;

    /// Removes the files of a valid request that did not get the slot.
    fn discard(&self, request: Request);
}

/// Answers `POST /build` and `POST /build/stream`.
///
/// # Errors
/// The submission is refused. The rest of its body may still be on its way: the connection is
/// closed.
pub(super) async fn submit(
    service: &Service,
    parts: &Parts,
    body: Incoming,
    kind: ResponseKind,
) -> Result<Response<Body>, Problem> {
    match accept(service, parts, body).await {
        Ok(job) => Ok(answer(service, &job, parts, kind).await),
        Err(problem) => Err(problem.with(header::CONNECTION, "close")),
    }
}

async fn accept(service: &Service, parts: &Parts, body: Incoming) -> Result<Arc<Job>, Problem> {
    if service.slot.is_taken() {
        return Err(slot_taken());
    }
    let receiving = service.receiver.receive(parts, body);
    let Some(received) = unless(service.slot.wait_taken(), receiving).await else {
        return Err(slot_taken());
    };
    let request = received?;
    match service.slot.claim(&request) {
        Ok(running) => {
            let job = Arc::clone(running.job());
            log::info!("a job was accepted");
            service.builder.start(running, request);
            Ok(job)
        }
        Err(error) => {
            service.receiver.discard(request);
            Err(unclaimed(error))
        }
    }
}

fn unclaimed(error: ClaimError) -> Problem {
    match error {
        ClaimError::Taken => slot_taken(),
        ClaimError::Setup(cause) => Problem::internal("a job could not be set up", &cause),
    }
}

/// Returns the result of `work`, or `None` when `stop` ends first.
async fn unless<T>(stop: impl Future<Output = ()>, mut work: LocalFuture<'_, T>) -> Option<T> {
    let mut stop = std::pin::pin!(stop);
    std::future::poll_fn(|cx| match stop.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => work.as_mut().poll(cx).map(Some),
    })
    .await
}

fn slot_taken() -> Problem {
    let detail = "this machine builds once, and its build has been accepted already";
    Problem::new(409, "slot-taken", detail)
}

async fn answer(
    service: &Service,
    job: &Arc<Job>,
    parts: &Parts,
    kind: ResponseKind,
) -> Response<Body> {
    let answered = match kind {
        ResponseKind::Job { preferred } => Ok(accepted(job, preferred)),
        ResponseKind::Stream => {
            let results = Arc::clone(&service.results);
            events::stream(Arc::clone(job), results, View::messages(), 0, parts)
        }
        ResponseKind::Bundle => bundle(job).await,
    };
    let mut response =
        answered.unwrap_or_else(|problem: Problem| problem.about(job.id()).into_response());
    identify(job, response.headers_mut());
    response
}

fn accepted(job: &Job, preferred: bool) -> Response<Body> {
    let mut response = document::accepted(job);
    if preferred {
        respond::set(response.headers_mut(), PREFERENCE_APPLIED, "respond-async");
    }
    response
}

/// Returns the bundle once the job has ended. HTTP has no status before that, so a waiting client
/// learns the job's id at the end.
async fn bundle(job: &Job) -> Result<Response<Body>, Problem> {
    match &job.wait_ended().await.outcome {
        Outcome::Succeeded(_) => {
            let download = files::bundle(job).await?;
            download.response(&Method::POST, &HeaderMap::new())
        }
        Outcome::Failed {
            error_type,
            message,
        } => Err(Problem::of_failure(*error_type, message)),
    }
}

fn identify(job: &Job, headers: &mut HeaderMap) {
    respond::set(headers, KETTLE_JOB_ID, &job.id().to_string());
    if job.nonce_source() == NonceSource::Appliance {
        respond::set(headers, KETTLE_NONCE, &job.nonce().to_string());
    }
}
