//! The record of the statement key in a statement.
//!
//! * In: the DER SubjectPublicKeyInfo of the key.
//! * Out: the record, which the report covers as a part of the statement.
//! * Never: a private key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

/// The one algorithm of statement keys: ECDSA on P-256 with SHA-256.
pub const SIGNER_ALGORITHM: &str = "ecdsa-p256-sha256";

/// The public half of the key that signs a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SignerRecord {
    algorithm: &'static str,
    public_key: String,
}

impl SignerRecord {
    /// Returns the record of a key on P-256, of which `spki` is the DER SubjectPublicKeyInfo.
    pub fn new(spki: &[u8]) -> Self {
        Self {
            algorithm: SIGNER_ALGORITHM,
            public_key: STANDARD.encode(spki),
        }
    }
}
