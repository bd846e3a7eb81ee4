//! Whether a TLS key may be trusted before any source is sent.
//!
//! * In: the response to `GET /attestation`, the nonce of that request, and the key.
//! * Out: an attestation result, and the key's pin.
//! * Never: a key accepted because the connection used it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::{Decode as _, Encode as _};
use serde_json::json;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use crate::digest::Sha256Digest;
use crate::provenance::Nonce;

use super::appraisal;
use super::appraisal::SignedData;
use super::certificate::{Certificate, der_of};
use super::envelope::{self, SessionEvidence};
use super::evidence::{self, Subject, verify_evidence};
use super::expectations::Expectations;
use super::outcome::outcome;
use super::rejection::{Rejection, Role};
use super::result::{self, AttestationResult, Check, Outcome};

/// Why a file contains no TLS key.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum SessionError {
    #[error("this is no public key, DER or PEM: {0}")]
    PublicKey(String),
    #[error("this is no certificate, DER or PEM")]
    Certificate(#[source] Rejection),
}

/// Returns the DER SubjectPublicKeyInfo in a file: a public key or a certificate, DER or PEM.
///
/// # Errors
/// The file is not what `is_certificate` says.
pub fn public_key_of(bytes: &[u8], is_certificate: bool) -> Result<Vec<u8>, SessionError> {
    if is_certificate {
        let certificate =
            Certificate::read(bytes, Role::Leaf).map_err(SessionError::Certificate)?;
        return Ok(certificate.public_key_info());
    }
    let der = der_of(bytes, "PUBLIC KEY").map_err(SessionError::PublicKey)?;
    let info = SubjectPublicKeyInfoOwned::from_der(&der)
        .map_err(|error| SessionError::PublicKey(error.to_string()))?;
    info.to_der()
        .map_err(|error| SessionError::PublicKey(error.to_string()))
}

/// Returns the pin that curl takes: `sha256//` and the digest of the DER SubjectPublicKeyInfo in
/// base64.
pub fn pin(public_key: &[u8]) -> String {
    format!(
        "sha256//{}",
        STANDARD.encode(Sha256Digest::of(public_key).as_bytes())
    )
}

/// Verifies evidence about a TLS key. `public_key` is the key that the reader saw; without it, the
/// key is the one in the document, and no other pin than the one in the claims may be used.
pub fn verify_session(
    document: &[u8],
    nonce: &Nonce,
    public_key: Option<&[u8]>,
    expectations: &Expectations,
) -> AttestationResult {
    let named = envelope::platform_of(document);
    let mut result = AttestationResult::new(named.unwrap_or_default());
    let opened = SessionEvidence::read(document).and_then(|session| {
        let key = session_key(&session, public_key)?;
        Ok((session, key))
    });
    match opened {
        Ok((session, key)) => verify_opened(&mut result, &session, &key, nonce, expectations),
        Err(rejection) => result.set(Check::Bundle, Outcome::Reject(rejection)),
    }
    result
}

fn verify_opened(
    result: &mut AttestationResult,
    session: &SessionEvidence,
    key: &[u8],
    nonce: &Nonce,
    expectations: &Expectations,
) {
    result.set(Check::Bundle, Outcome::Pass);
    for check in [
        Check::Statement,
        Check::Expectations,
        Check::Envelope,
        Check::Subjects,
    ] {
        result.set(check, Outcome::NotChecked);
    }
    let Some(verified) = verify_evidence(result, &session.evidence, expectations) else {
        return;
    };
    if let Some(subject) = verified.appraise(result, expectations, None) {
        appraise_subject(result, &subject, key, nonce);
    }
    let mut claims = evidence::claims(&verified, expectations);
    claims.extend(result::owned([
        ("nonce", json!(nonce.to_string())),
        ("pinned_public_key", json!(pin(key))),
    ]));
    result.set_claims(claims);
}

/// Compares the data that the evidence signs with key and nonce.
fn appraise_subject(
    result: &mut AttestationResult,
    subject: &Subject<'_>,
    key: &[u8],
    nonce: &Nonce,
) {
    match subject {
        Subject::Report(report) => {
            let data = SignedData::of_report(*report);
            let found = appraisal::appraise_session_data(&data, key, nonce);
            result.set(Check::ReportData, outcome(found));
            let found = appraisal::appraise_nonce(&data, nonce);
            result.set(Check::Nonce, outcome(found));
        }
        // A quote has one digest of both, so a mismatch rejects both.
        Subject::Quote(quote) => {
            for check in [Check::ReportData, Check::Nonce] {
                let found = appraisal::appraise_quoted_session(quote, key, nonce);
                result.set(check, outcome(found));
            }
        }
    }
}

/// Returns the key that has to be in the report. A document that names another key than the reader
/// saw is refused, whatever the report is about.
fn session_key(session: &SessionEvidence, given: Option<&[u8]>) -> Result<Vec<u8>, Rejection> {
    match (given, &session.public_key) {
        (Some(given), Some(stated)) if given != stated => {
            let (expected, actual) = (Sha256Digest::of(given), Sha256Digest::of(stated));
            Err(Rejection::SessionDocument { expected, actual })
        }
        (Some(given), _) => Ok(given.to_vec()),
        (None, Some(stated)) => Ok(stated.clone()),
        (None, None) => Err(Rejection::SessionKeyMissing),
    }
}
