//! Any bytes as `evidence.json`, and as the evidence about a TLS key.

use kettle::inspect;
use kettle::verifier::{Evidence, SessionEvidence};

/// Accepted evidence is JSON of a known platform, and a session's evidence differs only by its two
/// members. Evidence of another program is never taken for ours, and the text for people is inert.
pub fn target(data: &[u8]) {
    let session = SessionEvidence::read(data);
    let foreign = Evidence::read_foreign(data);
    if let Some(text) = inspect::bare_evidence(data, false) {
        assert!(
            !text.contains(|character: char| character.is_control() && character != '\n'),
            "{text:?}"
        );
    }
    let Ok(evidence) = Evidence::read(data) else {
        return;
    };
    assert!(foreign.is_err());
    let document: serde_json::Value =
        serde_json::from_slice(data).expect("accepted, and serde_json does not read it");
    assert_eq!(document["platform"], evidence.platform().name());
    assert_eq!(
        session
            .expect("evidence of a bundle is evidence")
            .evidence
            .report,
        evidence.report
    );
}
