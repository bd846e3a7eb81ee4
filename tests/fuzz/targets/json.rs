//! Any bytes as a JSON submission, against `serde_json` and `base64` on the whole.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::decoding;

/// Every cut gives the same; an accepted submission is the JSON that `serde_json` reads, archive
/// included.
pub fn target(data: &[u8]) {
    let Some((submitted, archive)) = decoding::decode("application/json", data) else {
        return;
    };
    let document: serde_json::Value =
        serde_json::from_slice(data).expect("accepted, and serde_json does not read it");
    let text = |name: &str| document.get(name).and_then(serde_json::Value::as_str);
    assert_eq!(
        text("nonce").unwrap_or_default().to_lowercase(),
        submitted.nonce.to_string()
    );
    assert_eq!(
        STANDARD
            .decode(text("source_data").unwrap_or_default())
            .as_ref(),
        Ok(&archive)
    );
    assert_eq!(
        text("repo_url").is_some(),
        decoding::archive_name(&submitted).is_none()
    );
}
