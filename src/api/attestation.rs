//! `GET /attestation`: evidence about this machine before any build. Comes in: a nonce. Goes out: a report about the TLS key
//! and the nonce. Never: more than one request of clients in the secure processor, where a build waits for its own.

use std::io;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::Service;
use super::limits::MAX_SESSION_REQUESTS;
use super::problem::Problem;
use super::query;
use super::respond::{self, Body};
use crate::attester::{AttestError, Attester, Envelope, Evidence};
use crate::job::SlotState;
use crate::provenance::{Nonce, session_report_data};

/// What evidence about the TLS key is made from.
pub struct Session {
    attester: Arc<dyn Attester>,
    public_key: Vec<u8>,
    turn: Arc<Semaphore>,
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    envelope: Envelope<'a>,
    tls_public_key: String,
    state: &'static str,
}

impl Session {
    /// For the TLS key with this DER SubjectPublicKeyInfo.
    pub fn new(attester: Arc<dyn Attester>, public_key: Vec<u8>) -> Self {
        Self { attester, public_key, turn: Arc::new(Semaphore::new(MAX_SESSION_REQUESTS)) }
    }

    async fn attest(&self, nonce: &Nonce) -> Result<Evidence, Problem> {
        let waiting = |error: &(dyn std::error::Error + 'static)| Problem::internal("waiting for evidence", error);
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|error| waiting(&error))?;
        let report_data = session_report_data(&self.public_key, nonce);
        let attester = Arc::clone(&self.attester);
        // The turn ends with the request to the secure processor, also when the client is gone before.
        let ask = move || {
            let _turn = turn;
            attester.attest(&report_data)
        };
        let evidence = spawn_blocking(ask).await;
        evidence.map_err(|error| waiting(&io::Error::other(error)))?.map_err(|error| failed(&error))
    }
}

/// Answers with evidence.
///
/// # Errors
/// The nonce is wrong (400), there is no attester (503), or it failed (500).
pub async fn answer(service: &Service, parts: &Parts) -> Result<Response<Body>, Problem> {
    let nonce = nonce(parts)?;
    let session = service.session.as_ref();
    let session =
        session.ok_or_else(|| Problem::new(503, "attestation-unavailable", "this platform offers no attestation"))?;
    let evidence = session.attest(&nonce).await?;
    let document = Document {
        envelope: evidence.envelope(),
        tls_public_key: STANDARD.encode(&session.public_key),
        state: match service.slot.state() {
            SlotState::Idle => "idle",
            SlotState::Accepted => "accepted",
            SlotState::Finished => "finished",
        },
    };
    Ok(respond::json(StatusCode::OK, "application/json", &document))
}

fn failed(error: &AttestError) -> Problem {
    log::error!("no evidence for a client: {error}");
    Problem::new(500, "attestation-failed", error)
}

fn nonce(parts: &Parts) -> Result<Nonce, Problem> {
    let text = query::parameter(parts.uri.query(), "nonce")?
        .ok_or_else(|| Problem::new(400, "nonce-missing", "the parameter nonce is needed"))?;
    Nonce::parse(&text).map_err(|error| Problem::new(400, "nonce-invalid", error))
}
