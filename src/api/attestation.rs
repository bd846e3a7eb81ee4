//! `GET /attestation`: evidence about this machine before any build.

use hyper::http::request::Parts;

use super::problem::Problem;
use super::query;
use crate::provenance::Nonce;

/// The nonce that the evidence is asked for.
///
/// # Errors
/// 400: there is none, or it is none.
pub fn nonce(parts: &Parts) -> Result<Nonce, Problem> {
    let text = query::parameter(parts.uri.query(), "nonce")?
        .ok_or_else(|| Problem::new(400, "nonce-missing", "the parameter nonce is needed"))?;
    Nonce::parse(&text).map_err(|error| Problem::new(400, "nonce-invalid", error))
}

/// There is no attester.
pub fn unavailable() -> Problem {
    Problem::new(503, "attestation-unavailable", "this platform offers no attestation")
}
