//! Limits what the plaintext port of the image serves: endpoints without secrets, and none that
//! takes a source or is about a job.
//!
//! The host and the network read and change everything on that port. They would learn a source that
//! was posted there, and the slot would be taken before the client noticed.
//!
//! * In: the endpoint of a request, or `None` where it has none.
//! * Out: whether the plaintext port serves it, and the refusal, which tells how to ask by TLS.
//! * Never: a response that depends on the body of a request, or on whether a job exists.

use hyper::header;

use super::caller::Authority;
use super::problem::Problem;
use super::route::Endpoint;

/// Returns whether an endpoint is served in plaintext, too.
pub fn is_public(endpoint: Endpoint) -> bool {
    match endpoint {
        Endpoint::Health | Endpoint::Ready | Endpoint::Attestation | Endpoint::OpenApi => true,
        Endpoint::Submit
        | Endpoint::SubmitAndStream
        | Endpoint::Job
        | Endpoint::Events
        | Endpoint::BuildLog
        | Endpoint::Result
        | Endpoint::Provenance
        | Endpoint::Sbom
        | Endpoint::Envelope
        | Endpoint::Evidence
        | Endpoint::Artifact
        | Endpoint::BuildConfig => false,
    }
}

/// Returns the refusal: 426 (RFC 9110, section 15.5.22), with the commands that request evidence,
/// verify it and pin the key. `authority` is the address at which the client reached the appliance;
/// from outside, the port with TLS may be another one than 443.
pub fn refusal(authority: &Authority) -> Problem {
    let host = authority.host();
    let detail = format!(
        "this port is read by the host and the network, and takes no source; ask for evidence of \
         the TLS key, verify it, and send the source to that key alone:\n\
         NONCE=$(openssl rand -hex 16); curl -k \"https://{host}/attestation?nonce=$NONCE\" -o session.json\n\
         PIN=$(kettle verify --session session.json --nonce $NONCE --json | \
         jq -er 'select(.verdict == \"accepted\").claims.pinned_public_key')\n\
         curl -k --pinnedpubkey \"$PIN\" -F nonce=$NONCE -F source=@SOURCE -o bundle.tar.gz https://{host}/build"
    );
    Problem::in_lines(426, "tls-required", &detail)
        .with(header::UPGRADE, "TLS/1.2, HTTP/1.1")
        .with(header::CONNECTION, "Upgrade, close")
}
