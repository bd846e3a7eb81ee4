//! The runtime claims: what Azure's paravisor states about itself and the machine. The attestation
//! report has their hash.
//!
//! * In: JSON whose bytes were compared with the report.
//! * Out: the one key that signs quotes, and the machine's configuration.
//! * Never: a second attestation key, or one of another kind.

use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, Engine as _};
use serde::Deserialize;

use super::super::json::{self, JsonError, Text};

/// Base64url, which is read with and without padding (RFC 4648, section 5).
pub const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The name of the attestation key.
const ATTESTATION_KEY: &str = "HCLAkPub";
/// The bytes of an RSA-2048 key's modulus.
pub const MODULUS_BYTES: usize = 256;
/// The one exponent that is accepted: 65537, big-endian.
const EXPONENT: [u8; 3] = [1, 0, 1];

/// Why the claims name no key that can verify a quote.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum ClaimsError {
    #[error("the runtime claims cannot be read: {0}")]
    Json(#[from] JsonError),
    #[error("the runtime claims have {actual} keys named {ATTESTATION_KEY}, and there is one")]
    Keys { actual: usize },
    #[error("the attestation key has the {field} {actual:?}, and it is {expected}")]
    Key {
        field: &'static str,
        expected: &'static str,
        actual: String,
    },
}

/// The key by which the paravisor's TPM signs quotes: RSA-2048 with the exponent 65537.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationKey {
    modulus: [u8; MODULUS_BYTES],
}

impl AttestationKey {
    /// Returns the modulus, big-endian; its first bit is set.
    pub fn modulus(&self) -> &[u8; MODULUS_BYTES] {
        &self.modulus
    }

    /// Returns the exponent, big-endian.
    pub fn exponent(&self) -> &'static [u8; 3] {
        &EXPONENT
    }
}

/// The part of the claims that the verifier uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeClaims {
    /// The key that signs quotes.
    pub attestation_key: AttestationKey,
    /// Whether the machine's firmware checks the signatures of the programs that it starts; none
    /// where the claims do not say it.
    pub secure_boot: Option<bool>,
    /// Whether the TPM's state outlives the machine; none where the claims do not say it.
    pub tpm_persisted: Option<bool>,
}

/// The claims as JSON. Microsoft may add members that are not named here: the report has the hash
/// of all of them.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ClaimsDocument<'a> {
    #[serde(borrow)]
    keys: Vec<Key<'a>>,
    #[serde(default)]
    vm_configuration: Configuration,
}

#[derive(Deserialize)]
struct Key<'a> {
    #[serde(borrow)]
    kid: Text<'a>,
    #[serde(borrow)]
    kty: Text<'a>,
    #[serde(borrow)]
    key_ops: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    n: Option<Text<'a>>,
    #[serde(borrow)]
    e: Option<Text<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Configuration {
    secure_boot: Option<bool>,
    tpm_persisted: Option<bool>,
}

impl RuntimeClaims {
    /// Reads the claims.
    ///
    /// # Errors
    /// They are no strict JSON, or do not have exactly one attestation key of the right kind.
    pub fn read(bytes: &[u8]) -> Result<Self, ClaimsError> {
        let document: ClaimsDocument<'_> = json::read(bytes)?;
        let named: Vec<_> = document
            .keys
            .iter()
            .filter(|key| *key.kid == *ATTESTATION_KEY)
            .collect();
        let [key] = named[..] else {
            return Err(ClaimsError::Keys {
                actual: named.len(),
            });
        };
        let Configuration {
            secure_boot,
            tpm_persisted,
        } = document.vm_configuration;
        Ok(Self {
            attestation_key: key.read()?,
            secure_boot,
            tpm_persisted,
        })
    }
}

impl Key<'_> {
    fn read(&self) -> Result<AttestationKey, ClaimsError> {
        let wrong = |field, expected, actual: &str| ClaimsError::Key {
            field,
            expected,
            actual: actual.to_owned(),
        };
        if *self.kty != *"RSA" {
            return Err(wrong("type", "RSA", &self.kty));
        }
        if let Some(operations) = &self.key_ops {
            let names: Vec<_> = operations.iter().map(|name| &**name).collect();
            if names != ["sign"] {
                return Err(wrong("use", "sign", &names.join(",")));
            }
        }
        let exponent = self.e.as_deref().unwrap_or_default();
        if BASE64URL.decode(exponent).ok().as_deref() != Some(&EXPONENT) {
            return Err(wrong("exponent", "AQAB (65537)", exponent));
        }
        let text = self.n.as_deref().unwrap_or_default();
        let Some(modulus) = modulus(text) else {
            return Err(wrong("modulus", "2048 bits in base64url", text));
        };
        Ok(AttestationKey { modulus })
    }
}

/// Decodes a modulus of exactly 2048 bits.
fn modulus(text: &str) -> Option<[u8; MODULUS_BYTES]> {
    let bytes = BASE64URL.decode(text).ok()?;
    let modulus: [u8; MODULUS_BYTES] = bytes.try_into().ok()?;
    (modulus[0] & 0x80 != 0).then_some(modulus)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &str =
        include_str!("../../../tests/data/snp/azure/live-milan-v3/runtime_data.json");
    const NEWER: &str = include_str!("../../../tests/data/snp/azure/genoa-v3/runtime_data.json");

    fn refusal(from: &str, to: &str) -> String {
        assert!(REAL.contains(from), "{from}");
        match RuntimeClaims::read(REAL.replacen(from, to, 1).as_bytes()) {
            Err(refusal) => refusal.to_string(),
            Ok(claims) => panic!("{from} as {to}: {claims:?}"),
        }
    }

    #[test]
    fn real_claims_have_one_attestation_key() {
        let claims = RuntimeClaims::read(REAL.as_bytes()).unwrap();
        assert_eq!(
            (claims.secure_boot, claims.tpm_persisted),
            (Some(true), None)
        );
        assert_eq!(
            claims.attestation_key.modulus()[..4],
            [0xa7, 0x80, 0xca, 0x97]
        );
        let newer = RuntimeClaims::read(NEWER.as_bytes()).unwrap();
        assert_eq!(
            (newer.secure_boot, newer.tpm_persisted),
            (Some(true), Some(true))
        );
    }

    #[test]
    fn another_number_or_kind_of_key_is_refused() {
        for (from, to, expected) in [
            ("HCLAkPub", "HCLAkPuc", "have 0 keys"),
            ("HCLEkPub", "HCLAkPub", "have 2 keys"),
            ("\"RSA\"", "\"EC\"", "the type \"EC\""),
            ("[\"sign\"]", "[\"encrypt\"]", "the use \"encrypt\""),
            (
                "[\"sign\"]",
                "[\"sign\",\"encrypt\"]",
                "the use \"sign,encrypt\"",
            ),
            ("[\"sign\"]", "[]", "the use \"\""),
            ("\"AQAB\"", "\"Aw\"", "the exponent \"Aw\""),
            ("\"AQAB\"", "\"AAEAAQ\"", "the exponent"),
            ("\"e\":\"AQAB\",", "", "the exponent \"\""),
            ("\"n\":\"p4D", "\"n\":\"J4D", "the modulus"),
            ("\"n\":\"p4D", "\"n\":\"AAAAp4D", "the modulus"),
            ("\"n\":\"p4DK", "\"n\":\"", "the modulus"),
            ("\"n\":\"p4", "\"n\":\"+4", "the modulus"),
        ] {
            let found = refusal(from, to);
            assert!(found.contains(expected), "{from} as {to}: {found}");
        }
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for (from, to) in [
            ("\"user-data\"", "\"keys\":[],\"user-data\""),
            ("\"kty\":\"RSA\"", "\"kty\":\"RSA\",\"kty\":\"RSA\""),
            (
                "\"secure-boot\":true",
                "\"secure-boot\":true,\"secure-boot\":false",
            ),
            ("\"secure-boot\":true", "\"secure-boot\":\"true\""),
            ("{\"keys\"", "\u{feff}{\"keys\""),
            ("0000\"}", "0000\"}{}"),
        ] {
            let found = refusal(from, to);
            assert!(
                found.starts_with("the runtime claims cannot be read"),
                "{to}: {found}"
            );
        }
    }
}
