//! Any bytes as `provenance.json`.

use kettle::verifier::{Platform, Statement};

/// An accepted statement is JSON, and has everything that is compared later.
pub fn target(data: &[u8]) {
    let Ok(statement) = Statement::read(data) else {
        return;
    };
    let document: serde_json::Value =
        serde_json::from_slice(data).expect("accepted, and serde_json does not read it");
    let is_in_order = |platform| statement.appraise(platform, false).is_ok();
    if Platform::ALL.into_iter().any(is_in_order) {
        assert!(statement.nonce().is_some() && statement.lockfile().sha256().is_some());
        let subjects = statement.sorted_subjects();
        assert_eq!(
            document["subject"].as_array().map(Vec::len),
            Some(subjects.len())
        );
        assert!(
            subjects
                .iter()
                .all(|subject| subject.sha256().is_some() && !subject.name.starts_with('/'))
        );
    }
}
