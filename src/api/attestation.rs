//! `GET /attestation`: evidence about this machine before any build.

use hyper::http::request::Parts;

use super::problem::Problem;
use super::query;
use crate::provenance::Nonce;

/// Why there is no evidence: the nonce is wrong (400), or else there is no attester (503).
pub fn refusal(parts: &Parts) -> Problem {
    match nonce(parts) {
        Ok(_) => Problem::new(503, "attestation-unavailable", "this platform offers no attestation"),
        Err(problem) => problem,
    }
}

fn nonce(parts: &Parts) -> Result<Nonce, Problem> {
    let text = query::parameter(parts.uri.query(), "nonce")?
        .ok_or_else(|| Problem::new(400, "nonce-missing", "the parameter nonce is needed"))?;
    Nonce::parse(&text).map_err(|error| Problem::new(400, "nonce-invalid", error))
}
