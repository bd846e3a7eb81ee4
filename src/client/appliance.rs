//! Sends requests to a machine whose key is pinned: a submission, and then its events.

use std::fs::File;
use std::io::{self, Seek as _};
use std::time::Duration;

use hyper::header::{self, HeaderName};
use hyper::{Method, StatusCode};
use serde_json::Value;

use super::error::ClientError;
use super::events::{Event, Reader};
use super::form::{Form, Multipart};
use super::random;
use super::request::{Client, Reply};
use super::retry::{Observer, Retries};
use crate::provenance::{MAX_NONCE_BYTES, Nonce};

/// Longest response of the API other than events and the bundle, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 1 << 20;

/// Longest text of a refusal that is shown, in characters.
const MAX_REFUSAL_CHARS: usize = 2000;

/// Shortest pause that a server can request.
const SHORTEST_RETRY: Duration = Duration::from_secs(1);

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// A machine that may get a submission.
#[derive(Debug)]
pub struct Appliance {
    pub(super) client: Client,
}

/// A source to build, with options.
pub struct Submission {
    /// The nonce that the evidence will be bound to.
    pub nonce: Nonce,
    /// The source that is built.
    pub source: SubmissionSource,
    /// Options of the API, with the names that they have in a form.
    pub options: Vec<(&'static str, String)>,
}

/// Where the appliance gets a source from.
#[derive(Debug)]
pub enum SubmissionSource {
    /// The appliance fetches the source from a repository.
    Repository {
        /// The URL of the repository.
        url: String,
        /// A branch, tag or commit; the default branch if missing.
        reference: Option<String>,
    },
    /// The client sends the source as an archive.
    Archive {
        /// The file name that the appliance gets.
        name: String,
        /// The file with the archive.
        file: File,
        /// The number of bytes in the file.
        size: u64,
    },
}

/// A job that the appliance accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The id of the job. It is a secret: everybody who knows it can read the bundle.
    pub id: String,
}

/// A refusal, in the words of the appliance.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the appliance refuses with status {status} ({error_type}): {error}")]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The sentence that the appliance gives as the reason.
    pub error: String,
    /// The stable code of the reason.
    pub error_type: String,
    /// How long the client should wait before it tries again.
    pub retry_after: Option<Duration>,
    /// Whether an earlier attempt at this submission may have been accepted and its response lost.
    pub may_be_ours: bool,
}

/// Why a request to the appliance failed.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// There is no response.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The response is a refusal.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Refusal {
    /// Reads a problem document (RFC 9457). Any other body yields a refusal without a reason.
    pub(super) fn read(reply: &Reply, body: &[u8]) -> Self {
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        let shortened = |text: &str| text.chars().take(MAX_REFUSAL_CHARS).collect();
        let member = |name: &str| -> Option<String> { document[name].as_str().map(shortened) };
        let seconds = reply
            .header(&header::RETRY_AFTER)
            .and_then(|text| text.parse().ok());
        let reason = member("error").or_else(|| member("detail"));
        Self {
            status: reply.status.as_u16(),
            error: reason.unwrap_or_else(|| "it does not say why".to_owned()),
            error_type: member("error_type").unwrap_or_else(|| "Unknown".to_owned()),
            retry_after: seconds.map(|count| Duration::from_secs(count).max(SHORTEST_RETRY)),
            may_be_ours: false,
        }
    }
}

impl Submission {
    /// Returns the content type and the body of the request.
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
                let mut archive = file.try_clone()?;
                archive.rewind()?;
                form.file("source", name, archive, *size);
            }
        }
        Ok((form.content_type(), form.finish()))
    }
}

impl Appliance {
    pub(super) const fn new(client: Client) -> Self {
        Self { client }
    }

    /// Submits the build. An attempt that was cut is repeated under the same nonce, by which the
    /// appliance recognises it.
    ///
    /// # Errors
    /// The appliance refuses, or can no longer be reached.
    pub async fn submit(
        &self,
        submission: &Submission,
        retries: &mut Retries,
        observer: &mut dyn Observer,
    ) -> Result<Accepted, SubmitError> {
        let mut may_be_ours = false;
        loop {
            match self.try_submit(submission, observer).await {
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
                    retries.after(error, observer).await?;
                }
            }
        }
    }

    async fn try_submit(
        &self,
        submission: &Submission,
        observer: &mut dyn Observer,
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
            .send(request, form, &mut |sent| observer.sent(sent, size))
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

    /// Reports the events of a job, and returns the last one. Each event is reported once, however
    /// often the stream is cut.
    ///
    /// # Errors
    /// The appliance no longer knows the job, or can no longer be reached.
    pub async fn follow(
        &self,
        job: &Accepted,
        retries: &mut Retries,
        observer: &mut dyn Observer,
    ) -> Result<Event, SubmitError> {
        let mut last = None;
        loop {
            match self.stream(job, &mut last, retries, observer).await {
                Ok(Some(event)) => return Ok(event),
                Ok(None) => {
                    let place = self.client.address().to_string();
                    retries
                        .after(ClientError::Ended { place }, observer)
                        .await?;
                }
                Err(SubmitError::Client(error)) => retries.after(error, observer).await?,
                Err(refused) => return Err(refused),
            }
        }
    }

    /// Reports the events of one response. Returns `None` if the response ended before the build.
    async fn stream(
        &self,
        job: &Accepted,
        last: &mut Option<u64>,
        retries: &mut Retries,
        observer: &mut dyn Observer,
    ) -> Result<Option<Event>, SubmitError> {
        let path = format!("/build/{}/events", job.id);
        let last_id = last.map(|id: u64| id.to_string());
        let mut headers = vec![(header::ACCEPT, "text/event-stream")];
        if let Some(id) = &last_id {
            headers.push((LAST_EVENT_ID, id.as_str()));
        }
        let mut reply = self.client.get(&path, &headers).await?;
        if reply.status != StatusCode::OK {
            let body = reply
                .whole(MAX_DOCUMENT_BYTES, "MAX_DOCUMENT_BYTES")
                .await?;
            return Err(Refusal::read(&reply, &body).into());
        }
        let mut reader = Reader::default();
        while let Some(piece) = reply.piece().await? {
            let events = reader
                .feed(&piece)
                .map_err(|error| reply.unexpected(&error.to_string()))?;
            for event in events {
                if last.is_some_and(|id| event.id <= id) {
                    continue;
                }
                *last = Some(event.id);
                retries.progressed();
                observer.event(&event);
                if event.kind() == "complete" {
                    return Ok(Some(event));
                }
            }
        }
        Ok(None)
    }
}

/// Returns whether a job id is 128 bits in lower-case hex, so that it is safe in a path.
fn is_id(id: &str) -> bool {
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    id.len() == 32 && id.bytes().all(is_digit)
}

/// Returns a boundary that no source contains by accident, and that nobody can predict.
fn boundary() -> io::Result<String> {
    Ok(format!("kettle-{}", hex::encode(random::bytes::<16>()?)))
}
