//! Appraises `provenance.sigstore.json`: the statement in the container that Sigstore's tools read.
//!
//! * In: its bytes, the bytes of `provenance.json`, and the statement that was read from them.
//! * Out: nothing, or the first difference between the container and the statement.
//! * Never: another payload, key, signature or form than the appliance writes: tools that read only
//!   this file would accept something that was not verified here.

use std::fmt::Display;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::bundle::read::MAX_ENVELOPE_BYTES;
use crate::digest::Sha256Digest;
use crate::dsse::{IN_TOTO, MEDIA_TYPE, PublicKey};

use super::json::{self, Text};
use super::rejection::Rejection;
use super::signer::Signer;
use super::statement::Statement;

/// Most characters that a rejection quotes of this file, which may be longer than any other
/// document.
const MAX_QUOTED_CHARACTERS: usize = 200;

/// Appraises the form of a signed statement, and that its payload, key and signature are those of
/// the statement.
///
/// # Errors
/// The first difference.
pub fn appraise(
    envelope: &[u8],
    provenance: &[u8],
    statement: &Statement<'_>,
) -> Result<(), Rejection> {
    let key = key_of(statement)?;
    let container: Container = json::read_long(envelope, MAX_ENVELOPE_BYTES).map_err(|error| {
        let reason = quoted(&error);
        Rejection::EnvelopeMalformed { reason }
    })?;
    let signature = container.appraise_form()?;
    container.appraise_payload(provenance)?;
    container.appraise_key(&key)?;
    if key.has_signed(provenance, &signature) {
        Ok(())
    } else {
        Err(Rejection::EnvelopeSignature { key: key.hint() })
    }
}

/// Returns the statement key that `provenance`, the bytes of a statement, names. Trust it only if
/// the bundle is accepted.
///
/// # Errors
/// The statement cannot be read, names no key, or names one of another kind.
pub fn statement_key(provenance: &[u8]) -> Result<PublicKey, Rejection> {
    key_of(&Statement::read(provenance)?)
}

fn key_of(statement: &Statement<'_>) -> Result<PublicKey, Rejection> {
    statement
        .signer()
        .ok_or(Rejection::SignerMissing)
        .and_then(Signer::key)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Container<'a> {
    #[serde(borrow)]
    media_type: Text<'a>,
    #[serde(borrow)]
    verification_material: Material<'a>,
    #[serde(borrow)]
    dsse_envelope: Envelope<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Material<'a> {
    #[serde(borrow)]
    public_key: Hint<'a>,
    tlog_entries: Vec<IgnoredAny>,
    #[serde(rename = "timestampVerificationData")]
    timestamps: Timestamps,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hint<'a> {
    #[serde(borrow)]
    hint: Text<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Timestamps {
    #[serde(rename = "rfc3161Timestamps")]
    rfc3161: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(borrow)]
    payload: Text<'a>,
    #[serde(borrow)]
    payload_type: Text<'a>,
    #[serde(borrow)]
    signatures: Vec<Signature<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature<'a> {
    #[serde(borrow)]
    sig: Text<'a>,
    #[serde(borrow)]
    keyid: Text<'a>,
}

impl Container<'_> {
    /// Compares the members that are the same in each container, and returns the one signature.
    fn appraise_form(&self) -> Result<Vec<u8>, Rejection> {
        let material = &self.verification_material;
        let (entries, times) = (
            material.tlog_entries.len(),
            material.timestamps.rfc3161.len(),
        );
        let envelope = &self.dsse_envelope;
        same("mediaType", MEDIA_TYPE, &self.media_type)?;
        same("tlogEntries", "none", &counted(entries))?;
        same("rfc3161Timestamps", "none", &counted(times))?;
        same("payloadType", IN_TOTO, &envelope.payload_type)?;
        let [signature] = &envelope.signatures[..] else {
            return Err(form("signatures", "1", &envelope.signatures.len()));
        };
        same("keyid", "", &signature.keyid)?;
        let decoded = STANDARD.decode(&*signature.sig);
        decoded.map_err(|_| form("sig", "base64", &signature.sig))
    }

    fn appraise_payload(&self, provenance: &[u8]) -> Result<(), Rejection> {
        let text = &self.dsse_envelope.payload;
        let Ok(payload) = STANDARD.decode(&**text) else {
            return Err(form("payload", "base64", text));
        };
        if payload == provenance {
            return Ok(());
        }
        Err(Rejection::EnvelopePayload {
            expected: Sha256Digest::of(provenance),
            actual: Sha256Digest::of(&payload),
        })
    }

    fn appraise_key(&self, key: &PublicKey) -> Result<(), Rejection> {
        let (expected, actual) = (key.hint(), &self.verification_material.public_key.hint);
        if expected == **actual {
            return Ok(());
        }
        Err(Rejection::EnvelopeKey {
            expected,
            actual: quoted(actual),
        })
    }
}

fn same(field: &'static str, expected: &'static str, actual: &str) -> Result<(), Rejection> {
    if expected == actual {
        Ok(())
    } else {
        Err(form(field, expected, &actual))
    }
}

fn form(field: &'static str, expected: &'static str, actual: &impl Display) -> Rejection {
    Rejection::EnvelopeForm {
        field,
        expected,
        actual: quoted(actual),
    }
}

fn counted(count: usize) -> String {
    match count {
        0 => "none".to_owned(),
        count => count.to_string(),
    }
}

/// Returns the beginning of a text.
fn quoted(text: &impl Display) -> String {
    let text = text.to_string();
    match text.char_indices().nth(MAX_QUOTED_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
