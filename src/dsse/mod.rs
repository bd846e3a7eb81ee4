//! A signed document in the container that Sigstore's tools read: a Sigstore bundle with one DSSE envelope and one signature.
//!
//! - Comes in: a payload and somebody who signs; or a container and the public key that has to have signed it.
//! - Goes out: the container; or the payload, after its signature was verified.
//! - Never: a payload of which the given key has not signed every byte and the type.
//!
//! DSSE v1 (secure-systems-lab/dsse, `protocol.md` and `envelope.md`), Sigstore bundle v0.3 (sigstore/protobuf-specs,
//! `sigstore_bundle.proto`). The key is on P-256 and its `keyid` empty, because cosign takes nothing else. There is no
//! certificate, no transparency log and no time stamp: who trusts the key needs none of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use crate::digest::Sha256Digest;

/// What kind of container it is.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// What the payload is: an in-toto statement.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// Largest container that is read, in bytes.
pub const MAX_CONTAINER_BYTES: u64 = 64 << 20;

/// What the SPKI of every key on P-256 begins with, up to its point (RFC 5480, sections 2 and 2.2).
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Bytes of a point that is not compressed (SEC 1, section 2.3.3).
const POINT_BYTES: usize = 65;

/// A public key on P-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; POINT_BYTES]);

impl PublicKey {
    /// Takes a point that is not compressed: 0x04, X and Y. Returns `None` for anything else.
    pub fn from_point(point: &[u8]) -> Option<Self> {
        let point: [u8; POINT_BYTES] = point.try_into().ok()?;
        (point[0] == 4).then_some(Self(point))
    }

    /// Reads a DER SubjectPublicKeyInfo. Returns `None` where it is not one of a point on P-256 that is not compressed.
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        Self::from_point(der.strip_prefix(&SPKI_PREFIX)?)
    }

    /// Returns the DER SubjectPublicKeyInfo, 91 bytes.
    pub fn to_spki(&self) -> Vec<u8> {
        [&SPKI_PREFIX[..], &self.0].concat()
    }

    /// Returns what the container calls the key: SHA-256 of its SPKI, hex.
    pub fn hint(&self) -> String {
        Sha256Digest::of(&self.to_spki()).to_string()
    }

    fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.0)
            .verify(message, signature)
            .is_ok()
    }
}

/// Why a container is not believed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
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

/// The signer's fault: nothing was signed, or what was signed does not verify.
#[derive(Debug, thiserror::Error)]
#[error("the signature does not verify with the key {hint}: the signer has another key")]
pub struct NotSigned {
    /// The name of the key that should have signed.
    pub hint: String,
}

/// Returns what is signed for a payload: the pre-authentication encoding (`protocol.md`).
pub fn pre_authentication(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {IN_TOTO} {} ", IN_TOTO.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// Returns the container of an in-toto statement; `signature` is DER, over [`pre_authentication`] of the payload.
///
/// # Errors
/// The signature is not one of `key`.
pub fn seal(payload: &[u8], key: &PublicKey, signature: &[u8]) -> Result<Vec<u8>, NotSigned> {
    if !key.has_signed(&pre_authentication(payload), signature) {
        return Err(NotSigned { hint: key.hint() });
    }
    let container = Container {
        media_type: MEDIA_TYPE.to_owned(),
        verification_material: Material {
            public_key: Some(Hint { hint: key.hint() }),
            tlog_entries: Vec::new(),
            timestamps: Some(Timestamps::default()),
        },
        dsse_envelope: Envelope {
            payload: STANDARD.encode(payload),
            payload_type: IN_TOTO.to_owned(),
            signatures: vec![Signature {
                sig: STANDARD.encode(signature),
                keyid: String::new(),
            }],
        },
    };
    // A document of strings alone can always be written.
    let mut bytes = serde_json::to_vec(&container).unwrap_or_default();
    bytes.push(b'\n');
    Ok(bytes)
}

/// Returns the payload of a container that `key` has signed.
///
/// # Errors
/// It is no such container, or another key has signed it, or nobody.
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
    if let Some(Hint { hint }) = container.verification_material.public_key
        && !hint.is_empty()
        && hint != key.hint()
    {
        return Err(OpenError::Key {
            expected: key.hint(),
            actual: hint,
        });
    }
    let payload = decoded("payload", &envelope.payload)?;
    let signature = decoded("signature", &signature.sig)?;
    if !key.has_signed(&pre_authentication(&payload), &signature) {
        return Err(OpenError::Signature { hint: key.hint() });
    }
    Ok(payload)
}

fn decoded(field: &'static str, text: &str) -> Result<Vec<u8>, OpenError> {
    STANDARD
        .decode(text)
        .map_err(|_| OpenError::Base64 { field })
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Envelope,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    public_key: Option<Hint>,
    #[serde(default)]
    tlog_entries: Vec<serde_json::Value>,
    #[serde(rename = "timestampVerificationData")]
    timestamps: Option<Timestamps>,
}

#[derive(Deserialize, Serialize)]
struct Hint {
    #[serde(default)]
    hint: String,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Timestamps {
    #[serde(default)]
    rfc3161_timestamps: Vec<serde_json::Value>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize, Serialize)]
struct Signature {
    sig: String,
    #[serde(default)]
    keyid: String,
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
    fn the_encoding_is_that_of_the_specification() {
        // Its test vector, with this payload type: lengths in decimal, one blank between the parts.
        assert_eq!(
            pre_authentication(b"hello world"),
            b"DSSEv1 28 application/vnd.in-toto+json 11 hello world"
        );
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
