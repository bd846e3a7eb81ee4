//! Any bytes as `evidence.json`, and as the evidence about a TLS key.

use kettle::verifier::{Evidence, SessionEvidence};

/// What is accepted is JSON of the right platform, and a session's evidence differs by its two members only.
pub fn target(data: &[u8]) {
    let session = SessionEvidence::read(data);
    let Ok(evidence) = Evidence::read(data) else { return };
    let document: serde_json::Value = serde_json::from_slice(data).expect("accepted, and serde_json does not read it");
    assert_eq!(document["platform"], "snp");
    assert_eq!(session.expect("evidence of a bundle is evidence").evidence.report, evidence.report);
}
