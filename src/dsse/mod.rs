//! Writes and opens signed statements in the container that Sigstore's tools read: a Sigstore
//! bundle with one DSSE envelope and one signature.
//!
//! * In: a payload, the public key, and the signature over the payload's encoding.
//! * Out: the container. With the feature `verifier` also the payload of a container, after its
//!   signature was verified.
//! * Never: a private key; a payload of which the given key has not signed every byte and the type.
//!
//! DSSE v1 (secure-systems-lab/dsse, `protocol.md` and `envelope.md`), Sigstore bundle v0.3
//! (sigstore/protobuf-specs, `sigstore_bundle.proto`). The key is on P-256 and its `keyid` empty,
//! because cosign takes nothing else. There is no certificate, no transparency log and no
//! timestamp: a verifier that trusts the key needs none of them.

#[cfg(feature = "verifier")]
mod open;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::digest::Sha256Digest;

#[cfg(feature = "verifier")]
pub use open::{MAX_CONTAINER_BYTES, NotSigned, OpenError, open, seal};

/// The media type of the container.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// The type of the payload: an in-toto statement.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// The bytes with which the SPKI of every key on P-256 begins, up to its point (RFC 5480, sections
/// 2 and 2.2).
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The number of bytes of a point that is not compressed (SEC 1, section 2.3.3).
const POINT_BYTES: usize = 65;

/// A public key on P-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; POINT_BYTES]);

impl PublicKey {
    /// Reads a point that is not compressed: 0x04, X and Y. Returns `None` for anything else.
    pub fn from_point(point: &[u8]) -> Option<Self> {
        let point: [u8; POINT_BYTES] = point.try_into().ok()?;
        (point[0] == 4).then_some(Self(point))
    }

    /// Reads a DER SubjectPublicKeyInfo. Returns `None` unless it has a point on P-256 that is not
    /// compressed.
    #[cfg(feature = "verifier")]
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        Self::from_point(der.strip_prefix(&SPKI_PREFIX)?)
    }

    /// Returns the DER SubjectPublicKeyInfo, 91 bytes.
    pub fn to_spki(&self) -> Vec<u8> {
        [&SPKI_PREFIX[..], &self.0].concat()
    }

    /// Returns the name of the key in a container: SHA-256 of its SPKI, hex.
    pub fn hint(&self) -> String {
        Sha256Digest::of(&self.to_spki()).to_string()
    }
}

/// Returns the bytes that are signed for a payload: the pre-authentication encoding
/// (`protocol.md`).
pub fn pre_authentication(payload: &[u8]) -> Vec<u8> {
    let prefix = format!("DSSEv1 {} {IN_TOTO} {} ", IN_TOTO.len(), payload.len());
    [prefix.as_bytes(), payload].concat()
}

/// Returns the container of an in-toto statement, as JSON with a final newline. `signature` is DER,
/// over [`pre_authentication`] of the payload; it is not verified.
pub fn container(payload: &[u8], key: &PublicKey, signature: &[u8]) -> Vec<u8> {
    let container = json!({
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {
            "publicKey": {"hint": key.hint()},
            "tlogEntries": [],
            "timestampVerificationData": {"rfc3161Timestamps": []},
        },
        "dsseEnvelope": {
            "payload": STANDARD.encode(payload),
            "payloadType": IN_TOTO,
            "signatures": [{"sig": STANDARD.encode(signature), "keyid": ""}],
        },
    });
    format!("{container}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_that_of_the_specification() {
        // Its test vector, with this payload type: lengths in decimal, one blank between the parts.
        assert_eq!(
            pre_authentication(b"hello world"),
            b"DSSEv1 28 application/vnd.in-toto+json 11 hello world"
        );
    }

    #[test]
    fn the_container_has_the_members_that_tools_read_and_no_others() {
        let point = [&[4][..], &[7; 64]].concat();
        let key = PublicKey::from_point(&point).unwrap();
        let container = container(b"{}\n", &key, b"signature");
        assert_eq!(container.last(), Some(&b'\n'));
        let read: serde_json::Value = serde_json::from_slice(&container).unwrap();
        let expected = json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "publicKey": {"hint": key.hint()},
                "tlogEntries": [],
                "timestampVerificationData": {"rfc3161Timestamps": []},
            },
            "dsseEnvelope": {
                "payload": "e30K",
                "payloadType": "application/vnd.in-toto+json",
                "signatures": [{"sig": "c2lnbmF0dXJl", "keyid": ""}],
            },
        });
        assert_eq!(read, expected);
    }
}
