//! Whether a TLS key may be trusted before any source is sent. Comes in: the answer of `GET /attestation`, the nonce that
//! was asked with, the key. Goes out: an attestation result, and the key's pin. Never: a key taken because the connection
//! had it.

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
use super::result::{AttestationResult, Check, Outcome};

/// Why a file names no TLS key.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// It is no public key.
    #[error("this is no public key, DER or PEM: {0}")]
    PublicKey(String),
    /// It is no certificate.
    #[error("this is no certificate, DER or PEM")]
    Certificate(#[source] Rejection),
}

/// The DER SubjectPublicKeyInfo in a file: a public key or a certificate, DER or PEM.
///
/// # Errors
/// It is neither.
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

/// The pin that curl takes: `sha256//` and the digest of the DER SubjectPublicKeyInfo in base64.
pub fn pin(public_key: &[u8]) -> String {
    format!(
        "sha256//{}",
        STANDARD.encode(Sha256Digest::of(public_key).as_bytes())
    )
}

/// Verifies evidence about a TLS key. `public_key` is the key that the reader saw; without it, the key is the one that the
/// document says, and the pin in the claims is the only one that may be used.
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
    match verified.appraise(result, expectations, None) {
        Some(Subject::Report(report)) => {
            let data = SignedData::of_report(report);
            result.set(
                Check::ReportData,
                outcome(appraisal::appraise_session_data(&data, key, nonce)),
            );
            result.set(
                Check::Nonce,
                outcome(appraisal::appraise_nonce(&data, nonce)),
            );
        }
        // One digest of both: what is wrong about one is wrong about the other.
        Some(Subject::Quote(quote)) => {
            for check in [Check::ReportData, Check::Nonce] {
                result.set(
                    check,
                    outcome(appraisal::appraise_quoted_session(&quote, key, nonce)),
                );
            }
        }
        None => {}
    }
    let mut claims = evidence::claims(&verified, expectations);
    claims.insert("nonce".to_owned(), json!(nonce.to_string()));
    claims.insert("pinned_public_key".to_owned(), json!(pin(key)));
    result.set_claims(claims);
}

/// The key in question. A document that says another key than the reader saw is refused, whatever the report says.
fn session_key(session: &SessionEvidence, given: Option<&[u8]>) -> Result<Vec<u8>, Rejection> {
    match (given, &session.public_key) {
        (Some(given), Some(said)) if given != said => {
            let (expected, actual) = (Sha256Digest::of(given), Sha256Digest::of(said));
            Err(Rejection::SessionDocument { expected, actual })
        }
        (Some(given), _) => Ok(given.to_vec()),
        (None, Some(said)) => Ok(said.clone()),
        (None, None) => Err(Rejection::SessionKeyMissing),
    }
}
