//! Evidence about a TLS key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kettle::provenance::{Nonce, report_data, session_report_data};
use kettle::verifier::{AttestationResult, Check, pin, public_key_of, verify_session};
use serde_json::{Value, json};

use super::conformance::{self, Subject};
use super::hierarchy::{pem, vcek_point};
use super::rejections::Case;
use super::scene::{NONCE, Scene, evidence};

/// Returns a TLS key; any public key will do.
fn key() -> Vec<u8> {
    vcek_point()
}

fn nonce() -> Nonce {
    Nonce::parse(NONCE).unwrap()
}

fn document(data: [u8; 64]) -> Value {
    let scene = Scene::good();
    let mut document = evidence(&scene.report(data), &scene.leaf_der());
    document["tls_public_key"] = json!(STANDARD.encode(key()));
    document["state"] = json!("idle");
    document
}

fn verify(document: &Value, nonce: &Nonce, key: Option<&[u8]>) -> AttestationResult {
    let (scene, bytes) = (Scene::good(), document.to_string());
    let mut expectations = scene.expectations();
    let result = verify_session(bytes.as_bytes(), nonce, key, &expectations);
    expectations.nonce = Some(nonce.clone());
    let subject = Subject::Session { document, key };
    conformance::record(&subject, &scene, &expectations, &result);
    result
}

/// Returns the result of a session that is accepted.
pub fn accepted() -> AttestationResult {
    let document = document(session_report_data(&key(), &nonce()));
    verify(&document, &nonce(), None)
}

#[test]
fn a_key_that_the_report_is_about_is_accepted_with_its_pin() {
    let document = document(session_report_data(&key(), &nonce()));
    for given in [None, Some(&key()[..])] {
        let result = verify(&document, &nonce(), given);
        assert!(result.is_accepted(), "{result:?}");
        assert_eq!(result.claims()["pinned_public_key"], json!(pin(&key())));
    }
    assert!(pin(&key()).starts_with("sha256//") && pin(&key()).ends_with('='));
}

#[test]
fn the_two_kinds_of_evidence_do_not_stand_for_each_other() {
    let about_a_build = document(report_data(&key(), &nonce()));
    assert!(!verify(&about_a_build, &nonce(), None).is_accepted());
    let mut scene = Scene::good();
    scene.edit_report =
        Box::new(|report| report[0x50 + 48..0x90].copy_from_slice(b"kettle-session/1"));
    assert!(!scene.verify().is_accepted());
}

#[test]
fn keys_are_read_from_certificates_and_public_keys() {
    let der = Scene::good().leaf_der();
    for bytes in [der.clone(), pem("CERTIFICATE", &der).into_bytes()] {
        assert_eq!(public_key_of(&bytes, true).unwrap(), key());
        assert!(public_key_of(&bytes, false).is_err());
    }
    for bytes in [key(), pem("PUBLIC KEY", &key()).into_bytes()] {
        assert_eq!(public_key_of(&bytes, false).unwrap(), key());
        assert!(public_key_of(&bytes, true).is_err());
    }
}

pub fn cases() -> Vec<Case> {
    let good = session_report_data(&key(), &nonce());
    let other = Scene::good().ask.public_key;
    let mut without_key = document(good);
    without_key
        .as_object_mut()
        .unwrap()
        .remove("tls_public_key");
    let another_nonce = Nonce::parse("00c0ffef").unwrap();
    vec![
        Case(
            "session-key",
            Check::ReportData,
            verify(&without_key, &nonce(), Some(&other)),
        ),
        Case(
            "session-document",
            Check::Bundle,
            verify(&document(good), &nonce(), Some(&other)),
        ),
        Case(
            "session-key-missing",
            Check::Bundle,
            verify(&without_key, &nonce(), None),
        ),
        Case(
            "report-data-tag",
            Check::ReportData,
            verify(&document(report_data(&key(), &nonce())), &nonce(), None),
        ),
        Case(
            "nonce-not-in-report",
            Check::Nonce,
            verify(&document(good), &another_nonce, None),
        ),
    ]
}
