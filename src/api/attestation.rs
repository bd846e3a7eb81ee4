//! Answers `GET /attestation`: evidence about this machine before any build.
//!
//! * In: a nonce.
//! * Out: a report about the TLS key and the nonce.
//! * Never: more than one request of clients in the secure processor at once, since a build waits
//!   there for its own.

use std::io;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use serde::Serialize;
use tokio::sync::Semaphore;

use super::Service;
use super::limits::MAX_SESSION_REQUESTS;
use super::problem::Problem;
use super::query;
use super::respond::{self, Body};
use crate::attester::{AttestError, Attester, Envelope, Evidence};
use crate::blocking::blocking;
use crate::causes::Chain;
use crate::job::SlotState;
use crate::provenance::{Nonce, session_report_data};

/// The message for the caller when the attester failed, whatever the reason.
const NO_EVIDENCE: &str = "the appliance got no evidence; the cause is in its log";

/// The words in the log for an internal error before or after the request to the attester.
const WAITING: &str = "waiting for evidence";

/// Makes evidence about the TLS key of this machine.
pub struct Session {
    attester: Arc<dyn Attester>,
    public_key: Vec<u8>,
    turn: Arc<Semaphore>,
}

#[derive(Serialize)]
struct SessionDocument<'a> {
    #[serde(flatten)]
    envelope: Envelope<'a>,
    tls_public_key: String,
    state: &'static str,
}

impl Session {
    /// Returns a session for the TLS key with this DER SubjectPublicKeyInfo.
    pub fn new(attester: Arc<dyn Attester>, public_key: Vec<u8>) -> Self {
        Self {
            attester,
            public_key,
            turn: Arc::new(Semaphore::new(MAX_SESSION_REQUESTS)),
        }
    }

    async fn attest(&self, nonce: &Nonce) -> Result<Evidence, Problem> {
        let turn = Arc::clone(&self.turn)
            .acquire_owned()
            .await
            .map_err(|error| Problem::internal(WAITING, &error))?;
        let report_data = session_report_data(&self.public_key, nonce);
        let attester = Arc::clone(&self.attester);
        let evidence = blocking(move || {
            // The turn ends with the request to the secure processor, also when the client has left
            // before.
            let _turn = turn;
            Ok(attester.attest(&report_data))
        });
        evidence
            .await
            .map_err(|error: io::Error| Problem::internal(WAITING, &error))?
            .map_err(|error| failed(&error))
    }
}

/// Returns the response with evidence.
///
/// # Errors
/// 400: the nonce is missing or malformed. 503: there is no attester. 500: it failed.
pub async fn answer(service: &Service, parts: &Parts) -> Result<Response<Body>, Problem> {
    let nonce = nonce(parts)?;
    let session = service.session.as_ref().ok_or_else(unavailable)?;
    let evidence = session.attest(&nonce).await?;
    let document = SessionDocument {
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

fn nonce(parts: &Parts) -> Result<Nonce, Problem> {
    let text = query::parameter(parts.uri.query(), "nonce")?
        .ok_or_else(|| Problem::new(400, "nonce-missing", "the parameter nonce is needed"))?;
    Nonce::parse(&text).map_err(|error| Problem::new(400, "nonce-invalid", error))
}

fn unavailable() -> Problem {
    let detail = "this platform offers no attestation";
    Problem::new(503, "attestation-unavailable", detail)
}

fn failed(error: &AttestError) -> Problem {
    log::error!("no evidence for a client: {}", Chain(error));
    Problem::new(500, "attestation-failed", NO_EVIDENCE)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::attester::Certificates;
    use crate::provenance::SESSION_TAG;
    use crate::snp::report::{REPORT_BYTES, Report};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Makes reports that nobody signed, and counts the callers that are in it at once.
    #[derive(Default)]
    struct Counting {
        inside: AtomicUsize,
        most: AtomicUsize,
    }

    impl Attester for Counting {
        fn attest(&self, report_data: &[u8; 64]) -> Result<Evidence, AttestError> {
            let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(inside, Ordering::SeqCst);
            // Long enough for another caller to come in.
            (0..10_000).for_each(|_| std::thread::yield_now());
            self.inside.fetch_sub(1, Ordering::SeqCst);
            let mut report = [0; REPORT_BYTES];
            report[0x50..0x90].copy_from_slice(report_data);
            let certificates = Certificates::default();
            Ok(Evidence::test_only_unchecked(
                Report::from(report),
                certificates,
            ))
        }
    }

    #[test]
    fn clients_have_one_request_in_the_secure_processor_and_each_its_own_answer() {
        let attester = Arc::new(Counting::default());
        let session = Session::new(Arc::clone(&attester) as Arc<dyn Attester>, b"key".to_vec());
        let ask = |number: u8| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            let nonce = Nonce::parse(&hex::encode([number])).unwrap();
            let data = runtime
                .block_on(session.attest(&nonce))
                .unwrap()
                .report()
                .report_data();
            assert_eq!((data[32], &data[48..]), (number, &SESSION_TAG[..]));
        };
        std::thread::scope(|scope| {
            for number in 1..4 {
                scope.spawn(move || ask(number));
            }
        });
        assert_eq!(attester.most.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn why_there_is_no_evidence_is_said_to_the_log_alone() {
        struct Broken;

        impl Attester for Broken {
            fn attest(&self, _: &[u8; 64]) -> Result<Evidence, AttestError> {
                Err(AttestError::Request(io::Error::other("/dev/sev-guest")))
            }
        }

        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let session = Session::new(Arc::new(Broken), Vec::new());
        let nonce = Nonce::parse("00").unwrap();
        let refused = runtime.block_on(session.attest(&nonce)).err().unwrap();
        let response = refused.into_response();
        assert_eq!(response.status(), 500);
        let body = response.into_body().collect();
        let body = runtime.block_on(body).unwrap().to_bytes();
        let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(document["error_type"], "AttestationFailed");
        assert_eq!(document["detail"], NO_EVIDENCE);
        assert_eq!(document["error"], NO_EVIDENCE);
    }
}
