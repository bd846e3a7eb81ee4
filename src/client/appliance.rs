//! A machine whose key is pinned: it takes one submission, tells how the build goes, and has the
//! bundle.

use std::fs::File;
use std::io::{self, Seek as _};
use std::time::Duration;

use hyper::header::{self, HeaderName};
use hyper::{Method, StatusCode};
use serde_json::Value;

use super::error::ClientError;
use super::events::{Event, Reader};
use super::form::{Form, Multipart};
use super::patience::{Patience, Watch};
use super::random;
use super::request::{Client, Reply};
use crate::provenance::{MAX_NONCE_BYTES, Nonce};

/// Longest document of the API but for events and the bundle, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 1 << 20;

/// Longest text of a refusal that is shown, in characters.
const MAX_REFUSAL_CHARS: usize = 2000;

/// Shortest pause that a server can ask for.
const SHORTEST_RETRY: Duration = Duration::from_secs(1);

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// A machine that may be told what to build.
#[derive(Debug)]
pub struct Appliance {
    pub(super) client: Client,
}

/// What to build.
pub struct Submission {
    /// What the evidence will be bound to.
    pub nonce: Nonce,
    /// The source that is built.
    pub source: SubmissionSource,
    /// Options of the API, by their names in a form.
    pub options: Vec<(&'static str, String)>,
}

/// Where the appliance gets a source from.
#[derive(Debug)]
pub enum SubmissionSource {
    /// The appliance fetches it.
    Repository {
        /// Its URL.
        url: String,
        /// Branch, tag or commit.
        reference: Option<String>,
    },
    /// It is sent along.
    Archive {
        /// The file name that the appliance is told.
        name: String,
        /// The archive.
        file: File,
        /// How many bytes it has.
        size: u64,
    },
}

/// The job that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its id: whoever knows it can read the bundle.
    pub id: String,
}

/// A refusal in the words of the machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the appliance refuses with status {status} ({error_type}): {error}")]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The sentence that the appliance gives as the reason.
    pub error: String,
    /// The stable code of it.
    pub error_type: String,
    /// How long it wants to be left alone.
    pub retry_after: Option<Duration>,
    /// Whether an earlier try of this submission may have been accepted, and its response lost.
    pub may_be_ours: bool,
}

/// Why there is no job.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The machine could not be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It was asked, and refuses.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Refusal {
    /// Reads a problem document (RFC 9457), or what stands in its place.
    pub(super) fn read(reply: &Reply, body: &[u8]) -> Self {
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        let shortened = |text: &str| text.chars().take(MAX_REFUSAL_CHARS).collect();
        let member = |name: &str| -> Option<String> { document[name].as_str().map(shortened) };
        let seconds = reply
            .header(&header::RETRY_AFTER)
            .and_then(|text| text.parse().ok());
        let nothing = || "it does not say why".to_owned();
        Self {
            status: reply.status.as_u16(),
            error: member("error")
                .or_else(|| member("detail"))
                .unwrap_or_else(nothing),
            error_type: member("error_type").unwrap_or_else(|| "Unknown".to_owned()),
            retry_after: seconds.map(|it| Duration::from_secs(it).max(SHORTEST_RETRY)),
            may_be_ours: false,
        }
    }
}

impl Submission {
    /// Returns the body of the request with its content type.
    fn form(&self, boundary: String) -> io::Result<(String, Form)> {
        let mut form = Multipart::new(boundary);
        form.field("nonce", &self.nonce.to_string());
        for (name, value) in &self.options {
            form.field(name, value);
        }
        match &self.source {
            SubmissionSource::Repository { url, reference } => {
                form.field("repo_url", url);
                if let Some(reference) = reference {
                    form.field("ref", reference);
                }
            }
            SubmissionSource::Archive { name, file, size } => {
                let mut file = file.try_clone()?;
                file.rewind()?;
                form.file("source", name, file, *size);
            }
        }
        Ok((form.content_type(), form.finish()))
    }
}

impl Appliance {
    pub(super) const fn new(client: Client) -> Self {
        Self { client }
    }

    /// Submits the build. A try that was cut is repeated under the same nonce, by which the
    /// appliance recognises it.
    ///
    /// # Errors
    /// It is refused, or the machine cannot be reached any more.
    pub async fn submit(
        &self,
        submission: &Submission,
        patience: &mut Patience,
        watch: &mut dyn Watch,
    ) -> Result<Accepted, SubmitError> {
        let mut may_be_ours = false;
        loop {
            match self.try_submit(submission, watch).await {
                Ok(accepted) => return Ok(accepted),
                Err(SubmitError::Refused(refusal)) => {
                    return Err(Refusal {
                        may_be_ours,
                        ..refusal
                    }
                    .into());
                }
                Err(SubmitError::Client(error)) => {
                    may_be_ours |= !error.is_unreachable();
                    patience.after(error, watch).await?;
                }
            }
        }
    }

    async fn try_submit(
        &self,
        submission: &Submission,
        watch: &mut dyn Watch,
    ) -> Result<Accepted, SubmitError> {
        let boundary = boundary().map_err(ClientError::Random)?;
        let (content_type, form) = submission.form(boundary).map_err(ClientError::File)?;
        let size = form.size();
        let mut request = self
            .client
            .request(Method::POST, "/build")
            .header(header::CONTENT_TYPE, content_type)
            .header(header::ACCEPT, "application/json")
            .header(PREFER, "respond-async");
        if submission.nonce.as_bytes().len() == MAX_NONCE_BYTES {
            request = request.header(IDEMPOTENCY_KEY, submission.nonce.to_string());
        }
        let mut reply = self
            .client
            .send(request, form, &mut |sent| watch.sent(sent, size))
            .await?;
        let body = reply
            .whole(MAX_DOCUMENT_BYTES, "MAX_DOCUMENT_BYTES")
            .await?;
        if reply.status != StatusCode::ACCEPTED {
            return Err(Refusal::read(&reply, &body).into());
        }
        let document: Value = serde_json::from_slice(&body).unwrap_or_default();
        let id = document["job_id"].as_str().filter(|id| is_id(id));
        let id = id.ok_or_else(|| reply.unexpected("202 without a job id"))?;
        Ok(Accepted { id: id.to_owned() })
    }

    /// Follows the events until the last one, which it returns. Each event is told once, however
    /// often the stream is cut.
    ///
    /// # Errors
    /// The job is not known any more, or the machine cannot be reached any more.
    pub async fn follow(
        &self,
        job: &Accepted,
        patience: &mut Patience,
        watch: &mut dyn Watch,
    ) -> Result<Event, SubmitError> {
        let mut last = None;
        loop {
            match self.stream(job, &mut last, patience, watch).await {
                Ok(Some(event)) => return Ok(event),
                Ok(None) => {
                    let place = self.client.address().to_string();
                    patience.after(ClientError::Ended { place }, watch).await?;
                }
                Err(SubmitError::Client(error)) => patience.after(error, watch).await?,
                Err(refused) => return Err(refused),
            }
        }
    }

    async fn stream(
        &self,
        job: &Accepted,
        last: &mut Option<u64>,
        patience: &mut Patience,
        watch: &mut dyn Watch,
    ) -> Result<Option<Event>, SubmitError> {
        let path = format!("/build/{}/events", job.id);
        let seen = last.map(|last: u64| last.to_string());
        let mut headers = vec![(header::ACCEPT, "text/event-stream")];
        headers.extend(seen.as_ref().map(|seen| (LAST_EVENT_ID, seen.as_str())));
        let mut reply = self.client.get(&path, &headers).await?;
        if reply.status != StatusCode::OK {
            let body = reply
                .whole(MAX_DOCUMENT_BYTES, "MAX_DOCUMENT_BYTES")
                .await?;
            return Err(Refusal::read(&reply, &body).into());
        }
        let mut reader = Reader::default();
        while let Some(piece) = reply.piece().await? {
            let events = reader.feed(&piece);
            for event in events.map_err(|error| reply.unexpected(&error.to_string()))? {
                if last.is_some_and(|last| event.id <= last) {
                    continue;
                }
                *last = Some(event.id);
                patience.progressed();
                watch.event(&event);
                if event.kind() == "complete" {
                    return Ok(Some(event));
                }
            }
        }
        Ok(None)
    }
}

/// 128 bits in lower-case hex, which can stand in a path.
fn is_id(id: &str) -> bool {
    id.len() == 32
        && id
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Text that no source contains by accident, and that nobody can foresee.
fn boundary() -> io::Result<String> {
    Ok(format!("kettle-{}", hex::encode(random::bytes::<16>()?)))
}
