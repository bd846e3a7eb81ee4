//! Reads the statement key that a statement names.
//!
//! * In: `internalParameters.signer`.
//! * Out: a public key on P-256.
//! * Never: a key of another kind, or one that another document than the statement names.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::dsse::PublicKey;
use crate::provenance::SIGNER_ALGORITHM;

use super::json::Text;
use super::rejection::Rejection;

/// A statement's record of the key that signs it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Signer<'a> {
    #[serde(borrow)]
    algorithm: Text<'a>,
    #[serde(borrow)]
    public_key: Text<'a>,
}

impl Signer<'_> {
    /// Reads the key.
    ///
    /// # Errors
    /// The algorithm is another one, or the key is not a point on P-256 in base64 of its DER
    /// SubjectPublicKeyInfo.
    pub fn key(&self) -> Result<PublicKey, Rejection> {
        if *self.algorithm != *SIGNER_ALGORITHM {
            return Err(Rejection::SignerAlgorithm {
                actual: self.algorithm.to_string(),
            });
        }
        let spki = STANDARD.decode(&*self.public_key).ok();
        let key = spki.and_then(|der| PublicKey::from_spki(&der));
        key.ok_or_else(|| Rejection::SignerKey {
            actual: self.public_key.to_string(),
        })
    }
}
