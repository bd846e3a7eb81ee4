//! Responds to submissions, and decides which one gets the slot.
//!
//! * In: a POST whose body is still on its way.
//! * Out: the one acceptance, which a repeated request gets again, or a refusal.
//! * Never: a body that is read for a slot that another nonce has taken, or a job id in a refusal.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use hyper::body::Incoming;
use hyper::header::{self, HeaderName};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Response};
use tokio::task::spawn_local;

use super::negotiate::ResponseKind;
use super::problem::Problem;
use super::respond::{self, Body};
use super::view::View;
use super::{Service, document, events, files};
use crate::error_type::ErrorType;
use crate::job::{ClaimError, Job, Outcome, Request, ResolveError, Slot, SourceRequest};
use crate::provenance::{Nonce, NonceSource};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
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

/// Returns the response to `POST /build` or `POST /build/stream`.
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
        Ok(Accepted { job, has_token }) => {
            let mut response = answer(service, &job, parts, kind).await;
            if has_token {
                // The buffers of the connection, which had the token, end with it.
                respond::set(response.headers_mut(), header::CONNECTION, "close");
            }
            Ok(response)
        }
        Err(problem) => Err(problem.with(header::CONNECTION, "close")),
    }
}

/// The job that a submission has got.
struct Accepted {
    job: Arc<Job>,
    /// Whether the submission had a token for its repository.
    has_token: bool,
}

async fn accept(service: &Service, parts: &Parts, body: Incoming) -> Result<Accepted, Problem> {
    let key = RetryKey::of(&parts.headers);
    if service.slot.is_taken() && key.job(&service.slot).is_none() {
        return Err(slot_taken());
    }
    let receiving = service.receiver.receive(parts, body);
    let request = unless(key.refused(&service.slot), receiving)
        .await
        .unwrap_or_else(|| Err(slot_taken()))?;
    match resolve(service, parts, &key, &request).await {
        Ok(()) => {
            let has_token = request.source().has_token();
            let job = claim(service, &key, request)?;
            Ok(Accepted { job, has_token })
        }
        Err(problem) => {
            service.receiver.discard(request);
            Err(problem)
        }
    }
}

/// Has the ref of a repository resolved. Once the slot is taken, nothing is left to save from a
/// typo.
async fn resolve(
    service: &Service,
    parts: &Parts,
    key: &RetryKey,
    request: &Request,
) -> Result<(), Problem> {
    let SourceRequest::Repository {
        url,
        reference,
        token,
    } = request.source()
    else {
        return Ok(());
    };
    if service.slot.is_taken() {
        return Ok(());
    }
    let turn = service.resolutions.begin(parts.extensions.get())?;
    let (url, reference, token) = (url.clone(), reference.clone(), token.clone());
    let resolving = service.builder.resolve(url, reference, token);
    // When the client goes away, git goes on, and keeps the turn until it has ended.
    let resolved = spawn_local(async move {
        let resolved = resolving.await;
        drop(turn);
        resolved
    });
    let resolved = Box::pin(async move {
        match resolved.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(ResolveError::Refused(reason))) => {
                Err(Problem::of_failure(ErrorType::SourceFetchFailed, &reason))
            }
            Ok(Err(error)) => Err(Problem::internal("a ref could not be resolved", &error)),
            Err(error) => Err(Problem::internal("a ref could not be resolved", &error)),
        }
    });
    unless(key.refused(&service.slot), resolved)
        .await
        .unwrap_or_else(|| Err(slot_taken()))
}

/// Takes the slot for `request`, or finds the job that the same request started before.
fn claim(service: &Service, key: &RetryKey, request: Request) -> Result<Arc<Job>, Problem> {
    match service.slot.claim(&request) {
        Ok(running) => {
            let job = Arc::clone(running.job());
            log::info!("a job was accepted");
            service.builder.start(running, request);
            Ok(job)
        }
        Err(error) => {
            let repeated = key.job(&service.slot).filter(|job| job.is_of(&request));
            service.receiver.discard(request);
            match error {
                ClaimError::Taken => repeated.ok_or_else(slot_taken),
                ClaimError::Setup(cause) => {
                    Err(Problem::internal("a job could not be set up", &cause))
                }
            }
        }
    }
}

/// The nonce by which a client says that it may have sent the same request before; `None` without
/// a usable header.
struct RetryKey(Option<Nonce>);

impl RetryKey {
    /// Reads the header of a request. One that is repeated or no nonce does not count.
    fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Self(None);
        };
        Self(value.to_str().ok().and_then(|text| Nonce::parse(text).ok()))
    }

    /// Returns the job that was started with this nonce.
    fn job(&self, slot: &Slot) -> Option<Arc<Job>> {
        slot.job_of(self.0.as_ref()?)
    }

    /// Waits until the slot is taken by a job of another nonce.
    async fn refused(&self, slot: &Slot) {
        slot.wait_taken().await;
        if self.job(slot).is_some() {
            std::future::pending().await
        }
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
