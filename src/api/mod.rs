//! The HTTP API. Comes in: connections. Goes out: answers, and at most one job for the pipeline. Never: a framework, an
//! unbounded wait or buffer, a path of this machine or a cause of ours in an answer.
//!
//! # How a request gets in
//!
//! `checked_stream` stands between each connection and the HTTP library: it has `header_block` read the header block byte by
//! byte, and lets one request at a time through. `server` hands the library's request on, beside what was found in its
//! header block. Then `caller` decides who may ask, `plaintext` what the image answers in plaintext, and `route` who
//! answers. Only after that is a body read.

mod attestation;
mod caller;
mod checked_stream;
mod document;
mod download;
mod events;
mod files;
mod flush;
pub mod header_block;
mod intake;
pub mod limits;
mod links;
pub mod negotiate;
mod plaintext;
mod problem;
pub mod query;
pub mod range;
mod resolution;
mod respond;
mod result;
pub mod route;
mod server;
mod spelling;
mod stall;
mod stream_line;
pub mod submission;
mod submit;
mod tls;
mod view;

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};

use crate::job::{Builder, Job, JobId, Slot};
pub use attestation::Session;
#[cfg(feature = "host")]
pub use caller::HostName;
use caller::HostNames;
pub use caller::Scheme;
use negotiate::Wish;
pub use problem::Problem;
use resolution::Resolutions;
use respond::Body;
use result::Results;
use route::{Endpoint, Unroutable, Variables};
pub use server::{Addresses, Listeners, serve};
pub use submit::{LocalFuture, Receive};
pub use tls::{TlsError, TlsIdentity};

/// The contract as served: OpenAPI 3.1.
pub const OPENAPI: &str = include_str!("openapi.json");

/// Everything that requests are answered from.
pub struct Service {
    slot: Arc<Slot>,
    receiver: Box<dyn Receive>,
    builder: Box<dyn Builder>,
    session: Option<Session>,
    premises: Premises,
    results: Arc<Results>,
    resolutions: Resolutions,
}

/// Where the service runs, which decides what its plaintext port serves and which names it answers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Premises {
    /// The image: everything that is said in plaintext is said to the host and the network. Any name may be its own.
    Image,
    /// A process of an ordinary host, where a web page could reach it by a name that changes to an address of the host.
    #[cfg(feature = "host")]
    Host {
        /// The names in `Host` that are answered, beside addresses and `localhost`.
        names: Vec<HostName>,
    },
}

impl Premises {
    fn names(&self) -> HostNames {
        match self {
            Self::Image => HostNames::Any,
            #[cfg(feature = "host")]
            Self::Host { names } => HostNames::Listed(names.clone()),
        }
    }

    /// Returns whether a port serves what is not for everybody to read.
    fn trusts(&self, scheme: Scheme) -> bool {
        match (self, scheme) {
            (Self::Image, Scheme::Http) => false,
            (Self::Image, Scheme::Https) => true,
            #[cfg(feature = "host")]
            (Self::Host { .. }, _) => true,
        }
    }
}

impl Service {
    /// A service over a free slot, with what reads submissions and what builds them.
    pub fn new(
        slot: Arc<Slot>,
        receiver: Box<dyn Receive>,
        builder: Box<dyn Builder>,
        premises: Premises,
    ) -> Self {
        Self {
            slot,
            receiver,
            builder,
            session: None,
            premises,
            results: Arc::default(),
            resolutions: Resolutions::default(),
        }
    }

    /// The same, with evidence about the TLS key for whoever asks.
    pub fn with_session(self, session: Session) -> Self {
        Self {
            session: Some(session),
            ..self
        }
    }

    /// Answers one request that came in by the port of `scheme`.
    async fn answer(&self, request: Request<Incoming>, scheme: Scheme) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let authority = match caller::check(&parts, scheme, &self.premises.names()) {
            Ok(authority) => authority,
            Err(problem) => return problem.with(header::CONNECTION, "close").into_response(),
        };
        let found = route::find(&parts.method, parts.uri.path());
        let public = found
            .as_ref()
            .is_ok_and(|(endpoint, _)| plaintext::is_public(*endpoint));
        if !public && !self.premises.trusts(scheme) {
            return plaintext::refusal(&authority).into_response();
        }
        let (endpoint, variables) = match found {
            Ok(found) => found,
            Err(Unroutable::Unknown) => {
                return Problem::new(404, "path-unknown", "there is no such path").into_response();
            }
            Err(Unroutable::Method { allowed, id }) => {
                return self.about(&id, wrong_method(allowed)).into_response();
            }
        };
        let answer = self.dispatch(endpoint, &variables, &parts, body).await;
        answer.unwrap_or_else(|problem| self.about(&variables.id, problem).into_response())
    }

    /// The same problem; it names the job where `id` is that of one.
    fn about(&self, id: &str, problem: Problem) -> Problem {
        match self.find(id) {
            Ok(job) => problem.about(job.id()),
            Err(_) => problem,
        }
    }

    async fn dispatch(
        &self,
        endpoint: Endpoint,
        variables: &Variables,
        parts: &Parts,
        body: Incoming,
    ) -> Result<Response<Body>, Problem> {
        let job = || self.find(&variables.id);
        let download = match endpoint {
            Endpoint::Submit => {
                return submit::submit(self, parts, body, Wish::of(&parts.headers)).await;
            }
            Endpoint::SubmitAndStream => {
                return submit::submit(self, parts, body, Wish::Stream).await;
            }
            Endpoint::Health => return Ok(respond::whole(StatusCode::OK, "text/plain", "ok")),
            Endpoint::Ready => return self.ready(),
            Endpoint::OpenApi => {
                return Ok(respond::whole(StatusCode::OK, "application/json", OPENAPI));
            }
            Endpoint::Attestation => return attestation::answer(self, parts).await,
            Endpoint::Job => {
                let job = job()?;
                return Ok(document::job(&job, self.results.of(&job)));
            }
            Endpoint::Events => return events::answer(job()?, Arc::clone(&self.results), parts),
            Endpoint::BuildLog => {
                return events::build_log(job()?, Arc::clone(&self.results), parts);
            }
            Endpoint::Result => files::bundle(files::finished(&*job()?)?).await?,
            Endpoint::Artifact => {
                files::artifact(files::finished(&*job()?)?, &variables.name).await?
            }
            Endpoint::BuildConfig => files::build_config(&job()?, &variables.name)?,
            Endpoint::Provenance => files::provenance(&job()?)?,
            Endpoint::Evidence => files::evidence(&job()?)?,
        };
        download.answer(&parts.method, &parts.headers)
    }

    /// Says whether a submission would be taken; a load balancer stops sending clients here once it would not.
    fn ready(&self) -> Result<Response<Body>, Problem> {
        if self.slot.taken() {
            return Err(Problem::new(
                404,
                "machine-taken",
                "this machine builds once, and its build has been accepted already",
            ));
        }
        if !self.builder.is_ready() {
            let problem = Problem::new(
                503,
                "not-ready",
                "the toolchain is not ready yet; ask again in a few seconds",
            );
            return Err(problem.with(
                header::RETRY_AFTER,
                &limits::READY_RETRY.as_secs().to_string(),
            ));
        }
        Ok(respond::whole(StatusCode::OK, "text/plain", "ready"))
    }

    fn find(&self, id: &str) -> Result<Arc<Job>, Problem> {
        let job = JobId::parse(id).and_then(|id| self.slot.find(id));
        job.ok_or_else(|| Problem::new(404, "job-unknown", "there is no such job"))
    }
}

fn wrong_method(allowed: &[Method]) -> Problem {
    let allowed: Vec<_> = allowed.iter().map(Method::as_str).collect();
    let allowed = allowed.join(", ");
    Problem::new(
        405,
        "method-not-allowed",
        format!("the methods for this path are {allowed}"),
    )
    .with(header::ALLOW, &allowed)
}
