//! Is `provenance.sigstore.json` the statement, signed by the key that the statement names, and
//! nothing else?

use std::fs;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kettle::bundle::read::{MAX_ENVELOPE_BYTES, stream};
use kettle::bundle::{Entry, MAX_PROVENANCE_BYTES, write};
use kettle::digest::Sha256Digest;
use kettle::dsse::{self, PublicKey};
use kettle::verifier::{Check, Outcome, verify};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::command::Files;
use super::hierarchy::pem;
use super::rejections::Case;
use super::scene::Scene;

/// A key that signs statements.
struct Key(EcdsaKeyPair);

impl Key {
    fn new() -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_ASN1_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap())
    }

    fn public(&self) -> PublicKey {
        PublicKey::from_point(self.0.public_key().as_ref()).unwrap()
    }

    /// Signs the payload as an in-toto statement; returns DER.
    fn sign(&self, payload: &[u8]) -> Vec<u8> {
        self.sign_bare(&dsse::pre_authentication(payload))
    }

    /// Signs the bytes as they are; returns DER.
    fn sign_bare(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.0.sign(&SystemRandom::new(), message).unwrap();
        signature.as_ref().to_vec()
    }
}

fn name_signer(scene: &mut Scene, signer: Value) {
    scene.statement["predicate"]["buildDefinition"]["internalParameters"]["signer"] = signer;
}

/// Returns a statement's record of a key, which is given as DER.
fn record(spki: &[u8]) -> Value {
    json!({"algorithm": "ecdsa-p256-sha256", "publicKey": STANDARD.encode(spki)})
}

/// Returns a good bundle whose statement names a key; `make` returns the file from that key and the
/// statement's bytes.
fn made(make: impl Fn(&Key, &[u8]) -> Vec<u8> + 'static) -> Scene {
    let (mut scene, key) = (Scene::good(), Key::new());
    name_signer(&mut scene, record(&key.public().to_spki()));
    scene.envelope = Some(Box::new(move |payload| make(&key, payload)));
    scene
}

/// Returns a good bundle with a signed statement, whose bytes `edit` changed afterwards.
fn written(edit: impl Fn(Vec<u8>) -> Vec<u8> + 'static) -> Scene {
    made(move |key, payload| edit(dsse::container(payload, &key.public(), &key.sign(payload))))
}

/// Returns a good bundle with a signed statement, which `edit` changed afterwards.
fn changed(edit: impl Fn(&mut Value) + 'static) -> Scene {
    written(move |container| {
        let mut container = serde_json::from_slice(&container).unwrap();
        edit(&mut container);
        container.to_string().into_bytes()
    })
}

/// Returns a good bundle with a signed statement.
pub fn good() -> Scene {
    written(|container| container)
}

fn case(code: &'static str, scene: Scene) -> Case {
    Case(code, Check::Envelope, scene.verify())
}

/// Replaces the value at `pointer` of the container.
fn replaced(code: &'static str, pointer: &'static str, value: Value) -> Case {
    let edit =
        move |container: &mut Value| *container.pointer_mut(pointer).unwrap() = value.clone();
    case(code, changed(edit))
}

/// Adds a member to the object at `pointer` of the container, or replaces its value.
fn extended(code: &'static str, pointer: &'static str, member: &'static str) -> Case {
    let edit = move |container: &mut Value| {
        container.pointer_mut(pointer).unwrap()[member] = json!("");
    };
    case(code, changed(edit))
}

/// Removes the last member of a pointer from the container.
fn without(pointer: &'static str) -> Case {
    let edit = move |container: &mut Value| {
        let (object, member) = pointer.rsplit_once('/').unwrap();
        let object = container.pointer_mut(object).unwrap();
        object.as_object_mut().unwrap().remove(member).unwrap();
    };
    case("envelope-malformed", changed(edit))
}

fn text(edit: impl Fn(String) -> String + 'static) -> Case {
    let edit = move |container| edit(String::from_utf8(container).unwrap()).into_bytes();
    case("envelope-malformed", written(edit))
}

/// Replaces the statement's record of its key.
fn signer(code: &'static str, value: Value) -> Case {
    let mut scene = good();
    name_signer(&mut scene, value);
    case(code, scene)
}

/// Returns each rejection, with its check.
pub fn cases() -> Vec<Case> {
    [forms(), members(), keys()].into_iter().flatten().collect()
}

fn forms() -> Vec<Case> {
    const SIGNATURES: &str = "/dsseEnvelope/signatures";
    let twice = |container: &mut Value| {
        let signatures = container.pointer_mut(SIGNATURES).unwrap();
        *signatures = json!([signatures[0], signatures[0]]);
    };
    vec![
        case("envelope-malformed", written(|_| Vec::new())),
        case("envelope-malformed", written(|_| b"\xff".to_vec())),
        text(|text| text + "x"),
        text(|text| format!("\u{feff}{text}")),
        text(|text| text.replacen('{', "{\"mediaType\":\"\",", 1)),
        text(|text| text.replacen("\"keyid\":\"\"", "\"keyid\":\"\",\"keyid\":\"\"", 1)),
        replaced("envelope-malformed", "/dsseEnvelope", Value::Null),
        replaced("envelope-malformed", SIGNATURES, json!({})),
        replaced("envelope-form", SIGNATURES, json!([])),
        case("envelope-form", changed(twice)),
        replaced(
            "envelope-form",
            "/mediaType",
            json!("application/vnd.dev.sigstore.bundle+json;version=0.2"),
        ),
        replaced(
            "envelope-form",
            "/dsseEnvelope/payloadType",
            json!("application/json"),
        ),
        replaced("envelope-form", "/dsseEnvelope/payload", json!("*")),
        replaced(
            "envelope-form",
            "/dsseEnvelope/signatures/0/sig",
            json!("*"),
        ),
        replaced(
            "envelope-form",
            "/dsseEnvelope/signatures/0/keyid",
            json!("key"),
        ),
        replaced(
            "envelope-form",
            "/verificationMaterial/tlogEntries",
            json!([{}]),
        ),
        replaced(
            "envelope-form",
            "/verificationMaterial/timestampVerificationData/rfc3161Timestamps",
            json!([{}]),
        ),
    ]
}

/// Returns cases of missing and additional members.
fn members() -> Vec<Case> {
    let missing = [
        "/mediaType",
        "/dsseEnvelope",
        "/dsseEnvelope/payload",
        "/dsseEnvelope/payloadType",
        "/dsseEnvelope/signatures",
        "/dsseEnvelope/signatures/0/sig",
        "/dsseEnvelope/signatures/0/keyid",
        "/verificationMaterial",
        "/verificationMaterial/publicKey",
        "/verificationMaterial/publicKey/hint",
        "/verificationMaterial/tlogEntries",
        "/verificationMaterial/timestampVerificationData",
        "/verificationMaterial/timestampVerificationData/rfc3161Timestamps",
    ];
    let more = [
        ("", "messageSignature"),
        ("/dsseEnvelope", "x"),
        ("/dsseEnvelope/signatures/0", "extension"),
        ("/verificationMaterial", "certificate"),
        ("/verificationMaterial/publicKey", "x"),
        ("/verificationMaterial/timestampVerificationData", "x"),
    ];
    let more = more.map(|(object, member)| extended("envelope-malformed", object, member));
    missing.into_iter().map(without).chain(more).collect()
}

/// Returns cases of the key that the statement names, the payload, and the signature.
fn keys() -> Vec<Case> {
    const HINT: &str = "/verificationMaterial/publicKey/hint";
    let other = Key::new().public();
    let compressed = [&other.to_spki()[..26], &[2; 65]].concat();
    let payload = |container: &mut Value| {
        container["dsseEnvelope"]["payload"] = json!(STANDARD.encode("{}"));
    };
    let mut of_another_algorithm = record(&other.to_spki());
    of_another_algorithm["algorithm"] = json!("ecdsa-p384-sha384");
    let mut not_base64 = record(&[]);
    not_base64["publicKey"] = json!("*");
    vec![
        signer("signer-missing", Value::Null),
        signer("signer-algorithm", of_another_algorithm),
        signer("signer-key", not_base64),
        signer("signer-key", record(&compressed)),
        signer("signer-key", record(&other.to_spki()[1..])),
        case("envelope-payload", changed(payload)),
        // The right key has signed another statement.
        case(
            "envelope-payload",
            made(|key, _| dsse::container(b"{}", &key.public(), &key.sign(b"{}"))),
        ),
        // Another key has signed, and the container says so.
        signer("envelope-key", record(&other.to_spki())),
        replaced("envelope-key", HINT, json!(other.hint())),
        replaced("envelope-key", HINT, json!("")),
        // Another key has signed, and the container does not say so.
        case(
            "envelope-signature",
            made(|key, payload| dsse::container(payload, &key.public(), &Key::new().sign(payload))),
        ),
        // The right key has signed the payload without its type.
        case(
            "envelope-signature",
            made(|key, payload| dsse::container(payload, &key.public(), &key.sign_bare(payload))),
        ),
        replaced(
            "envelope-signature",
            "/dsseEnvelope/signatures/0/sig",
            json!(""),
        ),
    ]
}

#[test]
fn a_signed_statement_is_accepted_and_a_bundle_without_one_too() {
    let result = good().verify();
    assert!(result.is_accepted(), "{result:?}");
    assert!(matches!(result.outcome(Check::Envelope), Outcome::Pass));
    let mut without = good();
    without.envelope = None;
    for scene in [Scene::good(), without] {
        let result = scene.verify();
        assert!(result.is_accepted(), "{result:?}");
        assert!(matches!(
            result.outcome(Check::Envelope),
            Outcome::NotChecked
        ));
    }
}

#[test]
fn white_space_and_the_order_of_members_do_not_matter() {
    let pretty = |container: Vec<u8>| {
        let value: Value = serde_json::from_slice(&container).unwrap();
        let mut members: Vec<_> = value.as_object().unwrap().iter().collect();
        members.reverse();
        let members: Vec<_> = members
            .iter()
            .map(|(name, value)| format!(" {name:?} :\n{value:#}"))
            .collect();
        format!("{{{}}}", members.join(",\t")).into_bytes()
    };
    let result = written(pretty).verify();
    assert!(result.is_accepted(), "{result:?}");
}

/// Only white space can change: the one at the end, into another one.
#[test]
fn no_flipped_bit_of_a_signed_statement_is_accepted() {
    let scene = good();
    let (bundle, expectations) = (scene.bundle(), scene.expectations());
    let envelope = bundle.envelope.clone().unwrap();
    for bit in 0..envelope.len() * 8 {
        let mut changed = bundle.clone();
        let bytes = changed.envelope.as_mut().unwrap();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if bytes[bit / 8].is_ascii_whitespace() && bit / 8 == envelope.len() - 1 {
            continue;
        }
        let result = verify(Ok(changed), &expectations);
        assert!(!result.is_accepted(), "bit {bit}");
    }
}

#[test]
fn a_signed_statement_of_another_bundle_is_refused() {
    let (bundle, other) = (good().bundle(), good());
    let mut mixed = other.bundle();
    mixed.envelope = bundle.envelope;
    let result = verify(Ok(mixed), &other.expectations());
    assert_eq!(
        result.outcome(Check::Envelope).rejection().unwrap().code(),
        "envelope-payload"
    );
}

#[test]
fn what_is_signed_for_the_largest_statement_is_within_the_limit() {
    let key = Key::new();
    let payload = vec![b' '; MAX_PROVENANCE_BYTES as usize];
    // DER of two numbers of 33 bytes is the longest signature.
    let container = dsse::container(&payload, &key.public(), &[0; 72]);
    assert!(container.len() as u64 <= MAX_ENVELOPE_BYTES);
    let long = vec![b' '; MAX_ENVELOPE_BYTES as usize + 1];
    let entries = [
        ("provenance.json", &b"{}"[..]),
        ("provenance.sigstore.json", &long),
    ];
    let entries = entries.map(|(path, bytes)| Entry::of_bytes(path, bytes));
    let packed = write(Vec::new(), "p", entries.into(), 0).unwrap();
    let refusal = stream(&packed[..]).unwrap_err().to_string();
    assert!(refusal.contains("MAX_ENVELOPE_BYTES"), "{refusal}");
}

/// A rejection of a file with one long text quotes only its beginning.
#[test]
fn a_rejection_quotes_no_more_than_the_beginning() {
    let long = "\u{7f}".repeat(1 << 20);
    let member = long.clone();
    for scene in [
        changed(move |container| container["mediaType"] = json!(long)),
        changed(move |container| container[&member] = json!("")),
    ] {
        let result = scene.verify();
        let rejection = result.outcome(Check::Envelope).rejection().unwrap();
        let (_, actual) = rejection.sides();
        let said = rejection.to_string().len() + actual.unwrap_or_default().len();
        assert!(said < 1024, "{said} bytes");
    }
}

/// Runs `kettle verify` with `--public-key-out`, and returns the exit status with the file's text.
fn key_out(scene: &Scene, bundle: &str, more: &[&str]) -> (Option<i32>, Option<String>) {
    let files = Files::new(scene);
    let mut command = files.command(bundle);
    let output = command.args(["--public-key-out", "key.pem"]).args(more);
    let output = output.output().unwrap();
    let text = fs::read_to_string(files.path().join("key.pem")).ok();
    (output.status.code(), text)
}

#[test]
fn the_key_is_written_for_an_accepted_bundle_alone() {
    let scene = good();
    let provenance = scene.provenance();
    let key = kettle::verifier::statement_key(&provenance).unwrap();
    let expected = pem("PUBLIC KEY", &key.to_spki());
    for bundle in ["p", "p.tar.gz"] {
        assert_eq!(
            key_out(&scene, bundle, &[]),
            (Some(0), Some(expected.clone()))
        );
        let other_nonce = ["--nonce", "00"];
        assert_eq!(key_out(&scene, bundle, &other_nonce), (Some(1), None));
    }
    let mut unsigned = good();
    unsigned.envelope = None;
    let (status, text) = key_out(&unsigned, "p", &[]);
    assert!(
        status == Some(0) && text.is_some(),
        "the statement names it"
    );
    for rejected in [written(|_| b"{}".to_vec()), made(|_, _| Vec::new())] {
        assert_eq!(key_out(&rejected, "p", &[]), (Some(1), None));
    }
}

#[test]
fn an_accepted_bundle_without_a_key_is_no_success_where_one_was_wanted() {
    assert_eq!(key_out(&Scene::good(), "p", &[]), (Some(2), None));
    let mut of_another_kind = Scene::good();
    name_signer(&mut of_another_kind, record(b"no key"));
    assert_eq!(key_out(&of_another_kind, "p", &[]), (Some(2), None));
    let files = Files::new(&good());
    let mut to_directory = files.command("p");
    to_directory.args(["--public-key-out", "."]);
    assert_eq!(to_directory.output().unwrap().status.code(), Some(2));
}

/// The bytes are those of the file in the bundle, and openssl verifies the encoding of the
/// statement.
#[test]
fn openssl_verifies_the_signature_with_the_key_that_was_written() {
    let files = Files::new(&good());
    let mut command = files.command("p");
    command.args(["--public-key-out", "key.pem"]);
    assert!(command.output().unwrap().status.success());
    let read = |name: &str| fs::read(files.path().join(name)).unwrap();
    let container: Value = serde_json::from_slice(&read("p/provenance.sigstore.json")).unwrap();
    let decoded = |value: &Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
    let envelope = &container["dsseEnvelope"];
    let payload = decoded(&envelope["payload"]);
    assert_eq!(
        Sha256Digest::of(&payload),
        Sha256Digest::of(&read("p/provenance.json"))
    );
    let signature = decoded(&envelope["signatures"][0]["sig"]);
    let write = |name: &str, bytes: &[u8]| fs::write(files.path().join(name), bytes).unwrap();
    write("signature", &signature);
    for (payload, expected) in [(&payload[..], true), (b"{}", false)] {
        write("message", &dsse::pre_authentication(payload));
        let openssl = Command::new("openssl")
            .args(["dgst", "-sha256", "-verify", "key.pem", "-signature"])
            .args(["signature", "message"])
            .current_dir(files.path())
            .output()
            .unwrap();
        assert_eq!(openssl.status.success(), expected, "{openssl:?}");
    }
}
