//! Opens containers, and seals payloads that somebody else has signed.
//!
//! * In: a container, or a payload with its signature; and the public key that must have signed it.
//! * Out: the payload; or the container.
//! * Never: a payload, or a container, whose signature is not by the given key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::crypto;

use super::{IN_TOTO, MEDIA_TYPE, PublicKey, container, pre_authentication};

/// The largest container that is read, in bytes.
pub const MAX_CONTAINER_BYTES: u64 = 64 << 20;

impl PublicKey {
    /// Returns whether `signature` (DER) is by this key, over `payload` as an in-toto statement.
    pub fn has_signed(&self, payload: &[u8], signature: &[u8]) -> bool {
        crypto::PublicKey::P256(&self.0).has_signed(&pre_authentication(payload), signature)
    }
}

/// The reason why a container is not accepted. The texts document the variants.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum OpenError {
    #[error("it is not a Sigstore bundle with one DSSE envelope")]
    Form(#[source] serde_json::Error),
    #[error("its media type is {actual:?}, not {MEDIA_TYPE:?}")]
    MediaType { actual: String },
    #[error("its payload type is {actual:?}, not {IN_TOTO:?}")]
    PayloadType { actual: String },
    #[error("it has {count} signatures, not one")]
    Signatures { count: usize },
    #[error("its {field} is not base64")]
    Base64 { field: &'static str },
    #[error("it names another key: expected {expected}, actual {actual}")]
    Key { expected: String, actual: String },
    #[error("its signature is not one of the key {hint}")]
    Signature { hint: String },
}

/// The error of a signer: it signed nothing, or its signature does not verify.
#[derive(Debug, thiserror::Error)]
#[error("the signature does not verify with the key {hint}: the signer has another key")]
pub struct NotSigned {
    /// The name of the key that should have signed.
    pub hint: String,
}

/// Returns the [`container`] of an in-toto statement, after the signature was verified.
///
/// # Errors
/// The signature is not by `key`.
pub fn seal(payload: &[u8], key: &PublicKey, signature: &[u8]) -> Result<Vec<u8>, NotSigned> {
    if !key.has_signed(payload, signature) {
        return Err(NotSigned { hint: key.hint() });
    }
    Ok(container(payload, key, signature))
}

/// Returns the payload of a container that `key` has signed. Unknown members are ignored, because
/// containers of other programs have more.
///
/// # Errors
/// It is not such a container, or `key` has not signed it.
pub fn open(container: &[u8], key: &PublicKey) -> Result<Vec<u8>, OpenError> {
    let container: Container = serde_json::from_slice(container).map_err(OpenError::Form)?;
    if container.media_type != MEDIA_TYPE {
        return Err(OpenError::MediaType {
            actual: container.media_type,
        });
    }
    let envelope = container.dsse_envelope;
    if envelope.payload_type != IN_TOTO {
        return Err(OpenError::PayloadType {
            actual: envelope.payload_type,
        });
    }
    let [signature] = &envelope.signatures[..] else {
        return Err(OpenError::Signatures {
            count: envelope.signatures.len(),
        });
    };
    container.verification_material.check_hint(key)?;
    let payload = decoded("payload", &envelope.payload)?;
    let signature = decoded("signature", &signature.sig)?;
    if !key.has_signed(&payload, &signature) {
        return Err(OpenError::Signature { hint: key.hint() });
    }
    Ok(payload)
}

fn decoded(field: &'static str, text: &str) -> Result<Vec<u8>, OpenError> {
    STANDARD
        .decode(text)
        .map_err(|_| OpenError::Base64 { field })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Envelope,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    public_key: Option<Hint>,
    #[serde(default, rename = "tlogEntries")]
    _tlog_entries: Vec<IgnoredAny>,
    #[serde(rename = "timestampVerificationData")]
    _timestamps: Option<Timestamps>,
}

#[derive(Deserialize)]
struct Timestamps {
    #[serde(default, rename = "rfc3161Timestamps")]
    _rfc3161: Vec<IgnoredAny>,
}

impl Material {
    /// Checks that the material does not name another key.
    fn check_hint(self, key: &PublicKey) -> Result<(), OpenError> {
        let actual = self.public_key.map_or(String::new(), |named| named.hint);
        let expected = key.hint();
        if actual.is_empty() || actual == expected {
            return Ok(());
        }
        Err(OpenError::Key { expected, actual })
    }
}

#[derive(Deserialize)]
struct Hint {
    #[serde(default)]
    hint: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    sig: String,
    #[serde(default, rename = "keyid")]
    _keyid: String,
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

    use super::*;

    struct Key {
        pair: EcdsaKeyPair,
        public: PublicKey,
    }

    impl Key {
        fn new() -> Self {
            let random = SystemRandom::new();
            let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
            let public = PublicKey::from_point(pair.public_key().as_ref()).unwrap();
            Self { pair, public }
        }

        fn sealed(&self, payload: &[u8]) -> Vec<u8> {
            let message = pre_authentication(payload);
            let signature = self.pair.sign(&SystemRandom::new(), &message).unwrap();
            seal(payload, &self.public, signature.as_ref()).unwrap()
        }
    }

    #[test]
    fn what_one_key_signed_is_opened_with_that_key_only() {
        let (key, other) = (Key::new(), Key::new());
        let container = key.sealed(b"{}");
        assert_eq!(open(&container, &key.public).unwrap(), b"{}");
        assert!(matches!(
            open(&container, &other.public),
            Err(OpenError::Key { .. })
        ));
        let without_hint = String::from_utf8(container)
            .unwrap()
            .replace(&key.public.hint(), "");
        assert!(open(without_hint.as_bytes(), &key.public).is_ok());
        assert!(matches!(
            open(without_hint.as_bytes(), &other.public),
            Err(OpenError::Signature { .. })
        ));
    }

    #[test]
    fn every_flipped_bit_of_the_payload_and_its_type_is_refused() {
        let key = Key::new();
        let container: serde_json::Value =
            serde_json::from_slice(&key.sealed(b"{\"a\":1}")).unwrap();
        for bit in 0..7 * 8 {
            let mut changed = container.clone();
            let mut payload = b"{\"a\":1}".to_vec();
            payload[bit / 8] ^= 1 << (bit % 8);
            changed["dsseEnvelope"]["payload"] = STANDARD.encode(payload).into();
            assert!(open(changed.to_string().as_bytes(), &key.public).is_err());
        }
        for (pointer, value) in [
            ("/dsseEnvelope/payloadType", "application/json".into()),
            ("/mediaType", "application/json".into()),
            ("/dsseEnvelope/signatures", serde_json::json!([])),
            ("/dsseEnvelope/signatures/0/sig", "".into()),
            ("/dsseEnvelope/payload", "*".into()),
            ("/dsseEnvelope", serde_json::Value::Null),
        ] {
            let mut changed = container.clone();
            *changed.pointer_mut(pointer).unwrap() = value;
            let found = open(changed.to_string().as_bytes(), &key.public);
            assert!(found.is_err(), "{pointer}");
        }
    }

    #[test]
    fn a_signature_of_another_key_is_not_sealed() {
        let (key, other) = (Key::new(), Key::new());
        let message = pre_authentication(b"{}");
        let signature = other.pair.sign(&SystemRandom::new(), &message).unwrap();
        assert!(seal(b"{}", &key.public, signature.as_ref()).is_err());
    }

    #[test]
    fn a_key_is_read_as_it_is_written() {
        let key = Key::new().public;
        assert_eq!(PublicKey::from_spki(&key.to_spki()), Some(key.clone()));
        let mut compressed = key.to_spki();
        compressed[26] = 2;
        assert_eq!(PublicKey::from_spki(&compressed), None);
        assert_eq!(PublicKey::from_spki(&key.to_spki()[1..]), None);
    }
}
