//! Serves the HTTP API.
//!
//! * In: connections.
//! * Out: responses, and at most one job for the pipeline.
//! * Never: a framework, an unbounded wait or buffer, or, in a response, a path of this machine or
//!   the cause of an internal error.
//!
//! # How a request gets in
//!
//! 1. `server` accepts connections on two ports, a limited number at once. One port has TLS, with
//!    the key of `tls`.
//! 2. `checked_stream` stands between each connection and the HTTP library. It has `header_block`
//!    read every header block byte by byte, and lets one request at a time through, with exactly
//!    the body that the block announces. In place of a refused request the library gets a harmless
//!    one, and `server` answers with the reason of the refusal.
//! 3. `Service::answer` decides from the header block alone: `caller`, whether the client may
//!    ask; `route`, which [`Endpoint`] the path names; `plaintext`, whether the port may serve it.
//!    Only after that is a body read.
//! 4. `Service::dispatch` calls the function of the endpoint.
//!
//! # How a submission takes the slot
//!
//! `submit` refuses a POST without reading its body when the slot is taken, and stops reading when
//! another submission takes the slot meanwhile. [`Receive`] reads the body and checks everything
//! that can be checked before a build; the production reader is `submission`, which `intake`
//! connects. The first request that claims the slot gets the job, and starts the [`Builder`]; no
//! refusal contains the job's id. `negotiate` has decided what the response is: the job at once,
//! the stream, or the bundle at the end.
//!
//! # How a response gets out
//!
//! `respond` builds responses from values in memory, and `problem` builds all that are errors. A
//! body that is too long for memory is a `piece_body`: `download` reads the next piece of a file,
//! and `events` the next events of the log (with the words of `view`), when the client has taken
//! the piece before. So a slow client slows only itself, and costs no more memory than its own
//! piece; `stall` ends the connection of one that takes nothing. `flush` tells `events` when a
//! piece is on its way, so that no two pieces share a record of TLS. `result` writes the documents
//! about a job that has ended, once, for every reader.

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
mod piece_body;
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
use download::Download;
use negotiate::ResponseKind;
pub use problem::Problem;
use resolution::Resolutions;
use respond::Body;
use result::Results;
use route::{Endpoint, Unroutable, Variables};
pub use server::{Addresses, Listeners, serve};
pub use submit::{LocalFuture, Receive};
pub use tls::{TlsError, TlsIdentity};

/// The contract as it is served: OpenAPI 3.1.
pub const OPENAPI: &str = include_str!("openapi.json");

/// The service: everything that a response is made from.
pub struct Service {
    slot: Arc<Slot>,
    receiver: Box<dyn Receive>,
    builder: Box<dyn Builder>,
    session: Option<Session>,
    premises: Premises,
    results: Arc<Results>,
    resolutions: Resolutions,
}

/// The place where the service runs, which decides what its plaintext port serves and to which
/// names it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Premises {
    /// The image: the host and the network read everything that is sent in plaintext. Any name may
    /// be the machine's own.
    Image,
    /// A process of an ordinary host, which a web page could reach by a name that changes to an
    /// address of the host.
    #[cfg(feature = "host")]
    Host {
        /// The names in `Host` that are answered, beside addresses and `localhost`.
        names: Vec<HostName>,
    },
}

impl Premises {
    /// Returns the names that `Host` may have.
    fn names(&self) -> HostNames {
        match self {
            Self::Image => HostNames::Any,
            #[cfg(feature = "host")]
            Self::Host { names } => HostNames::Listed(names.clone()),
        }
    }

    /// Returns whether the port of `scheme` serves responses that are not for everybody.
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
    /// Returns a service over a free slot, with a reader of submissions and a builder for them.
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

    /// Returns the same service, which also gives clients evidence about the TLS key.
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
        let is_public = matches!(&found, Ok((endpoint, _)) if plaintext::is_public(*endpoint));
        if !is_public && !self.premises.trusts(scheme) {
            return plaintext::refusal(&authority).into_response();
        }
        match found {
            Ok((endpoint, variables)) => {
                let response = self.dispatch(endpoint, &variables, &parts, body).await;
                response
                    .unwrap_or_else(|problem| self.about(&variables.id, problem).into_response())
            }
            Err(Unroutable::Unknown) => {
                Problem::new(404, "path-unknown", "there is no such path").into_response()
            }
            Err(Unroutable::Method { allowed, id }) => {
                self.about(&id, wrong_method(allowed)).into_response()
            }
        }
    }

    /// Returns the same problem, which names the job if `id` is the id of one.
    fn about(&self, id: &str, problem: Problem) -> Problem {
        match self.find(id) {
            Ok(job) => problem.about(job.id()),
            Err(_) => problem,
        }
    }

    /// Calls the function of the endpoint.
    async fn dispatch(
        &self,
        endpoint: Endpoint,
        variables: &Variables,
        parts: &Parts,
        body: Incoming,
    ) -> Result<Response<Body>, Problem> {
        let job = || self.find(&variables.id);
        let results = || Arc::clone(&self.results);
        let send = |file: Download| file.response(&parts.method, &parts.headers);
        let name = &variables.name;
        match endpoint {
            Endpoint::Submit => {
                submit::submit(self, parts, body, ResponseKind::of(&parts.headers)).await
            }
            Endpoint::SubmitAndStream => {
                submit::submit(self, parts, body, ResponseKind::Stream).await
            }
            Endpoint::Health => Ok(respond::whole(StatusCode::OK, "text/plain", "ok")),
            Endpoint::Ready => self.ready(),
            Endpoint::OpenApi => Ok(respond::whole(StatusCode::OK, "application/json", OPENAPI)),
            Endpoint::Attestation => attestation::answer(self, parts).await,
            Endpoint::Job => document::job(&*job()?, &self.results),
            Endpoint::Events => events::answer(job()?, results(), parts),
            Endpoint::BuildLog => events::build_log(job()?, results(), parts),
            Endpoint::Result => send(files::bundle(&*job()?).await?),
            Endpoint::Artifact => send(files::artifact(&*job()?, name).await?),
            Endpoint::BuildConfig => send(files::build_config(&job()?, name)?),
            Endpoint::Provenance => send(files::provenance(&job()?)?),
            Endpoint::Sbom => send(files::sbom(&job()?)?),
            Endpoint::Envelope => send(files::envelope(&job()?)?),
            Endpoint::Evidence => send(files::evidence(&job()?)?),
        }
    }

    /// Reports whether a submission would be taken; a load balancer stops sending clients here once
    /// it would not.
    fn ready(&self) -> Result<Response<Body>, Problem> {
        if self.slot.is_taken() {
            let detail = "this machine builds once, and its build has been accepted already";
            return Err(Problem::new(404, "machine-taken", detail));
        }
        if !self.builder.is_ready() {
            let detail = "the toolchain is not ready yet; ask again in a few seconds";
            let seconds = limits::READY_RETRY.as_secs().to_string();
            let problem = Problem::new(503, "not-ready", detail);
            return Err(problem.with(header::RETRY_AFTER, &seconds));
        }
        Ok(respond::whole(StatusCode::OK, "text/plain", "ready"))
    }

    /// Finds the job that has this id.
    fn find(&self, id: &str) -> Result<Arc<Job>, Problem> {
        let job = JobId::parse(id).and_then(|id| self.slot.find(id));
        job.ok_or_else(|| Problem::new(404, "job-unknown", "there is no such job"))
    }
}

fn wrong_method(allowed: &[Method]) -> Problem {
    let allowed: Vec<_> = allowed.iter().map(Method::as_str).collect();
    let allowed = allowed.join(", ");
    let detail = format!("the methods for this path are {allowed}");
    Problem::new(405, "method-not-allowed", detail).with(header::ALLOW, &allowed)
}
