//! `--vsa-out` and `kettle verify-summary`: does a summary state the verdict, and is it believed
//! for nothing else?

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kettle::dsse::{self, PublicKey};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::command::Files;
use super::hierarchy::pem;
use super::scene::{ARTIFACT, Scene};

const RESOURCE: &str = "pkg:cargo/program@1.0.0";

/// Writes `NAME.pem` and `NAME.pub.pem` with a new key.
fn make_key(directory: &Path, name: &str) -> PublicKey {
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
    let public = PublicKey::from_point(pair.public_key().as_ref()).unwrap();
    let write = |ending: &str, label: &str, der: &[u8]| {
        fs::write(directory.join(format!("{name}{ending}")), pem(label, der)).unwrap();
    };
    write(".pem", "PRIVATE KEY", pkcs8.as_ref());
    write(".pub.pem", "PUBLIC KEY", &public.to_spki());
    public
}

fn kettle(files: &Files, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kettle"))
        .args(arguments)
        .current_dir(files.path())
        .output()
        .unwrap()
}

fn summarise(files: &Files, measurement: &str, more: &[&str]) -> Output {
    let fixed = [
        "verify",
        "p",
        "--trust-root",
        "root.pem",
        "--at",
        "2026-06-01T00:00:00Z",
        "--measurement",
        measurement,
        "--vsa-out",
        "summary.json",
        "--resource-uri",
        RESOURCE,
    ];
    kettle(files, &[&fixed[..], more].concat())
}

fn check(files: &Files, more: &[&str]) -> Output {
    let fixed = [
        "verify-summary",
        "summary.json",
        "--resource-uri",
        RESOURCE,
        "--artifact",
        "p/artifacts/program",
    ];
    kettle(files, &[&fixed[..], more].concat())
}

fn predicate(files: &Files, key: &PublicKey) -> Value {
    let container = fs::read(files.path().join("summary.json")).unwrap();
    let payload = dsse::open(&container, key).unwrap();
    let statement: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(
        statement["subject"],
        json!([{"name": "program", "digest": {"sha256": kettle::digest::Sha256Digest::of(ARTIFACT).to_string()}}])
    );
    statement["predicate"].clone()
}

#[test]
fn an_accepted_bundle_gives_a_summary_that_is_believed_with_its_key() {
    let files = Files::new(&Scene::good());
    let key = make_key(files.path(), "org");
    make_key(files.path(), "other");
    let output = summarise(&files, &"5a".repeat(48), &["--vsa-key", "org.pem"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let predicate = predicate(&files, &key);
    assert_eq!(predicate["verificationResult"], "PASSED");
    assert_eq!(predicate["verifiedLevels"], json!(["SLSA_BUILD_LEVEL_3"]));
    assert_eq!(predicate["resourceUri"], RESOURCE);
    assert_eq!(
        predicate["policy"]["annotations"]["options"]["trust-root"],
        "root.pem"
    );
    let inputs = predicate["inputAttestations"].as_array().unwrap();
    assert_eq!(
        inputs.iter().map(|input| &input["uri"]).collect::<Vec<_>>(),
        ["provenance.json", "evidence.json"]
    );

    let output = check(&files, &["--public-key", "org.pub.pem"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for (what, arguments) in [
        ("another key", &["--public-key", "other.pub.pem"][..]),
        (
            "another file",
            &["--public-key", "org.pub.pem", "--artifact", "root.pem"],
        ),
        (
            "another verifier",
            &[
                "--public-key",
                "org.pub.pem",
                "--verifier-id",
                "https://v.example",
            ],
        ),
    ] {
        let output = check(&files, arguments);
        assert_eq!(output.status.code(), Some(1), "{what}: {output:?}");
    }
    let of_something_else = [
        "verify-summary",
        "summary.json",
        "--public-key",
        "org.pub.pem",
        "--resource-uri",
        "pkg:cargo/other@1.0.0",
        "--artifact",
        "p/artifacts/program",
    ];
    let output = kettle(&files, &of_something_else);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn a_rejected_bundle_gives_a_summary_that_says_so_and_is_not_believed() {
    let files = Files::new(&Scene::good());
    let key = make_key(files.path(), "org");
    let output = summarise(&files, &"00".repeat(48), &["--vsa-key", "org.pem"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let predicate = predicate(&files, &key);
    assert_eq!(predicate["verificationResult"], "FAILED");
    assert_eq!(predicate["verifiedLevels"], json!(["FAILED"]));
    let output = check(
        &files,
        &[
            "--public-key",
            "org.pub.pem",
            "--level",
            "SLSA_BUILD_LEVEL_0",
        ],
    );
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn a_waived_check_leaves_no_more_than_provenance() {
    let files = Files::new(&Scene::good());
    let key = make_key(files.path(), "org");
    let waived = ["--vsa-key", "org.pem", "--waive", "launch-measurement"];
    let output = summarise(&files, &"5a".repeat(48), &waived);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let predicate = predicate(&files, &key);
    assert_eq!(predicate["verifiedLevels"], json!(["SLSA_BUILD_LEVEL_1"]));
    assert_eq!(
        predicate["policy"]["annotations"]["options"]["waive"],
        json!(["launch-measurement"])
    );
    let output = check(&files, &["--public-key", "org.pub.pem"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let lower = [
        "--public-key",
        "org.pub.pem",
        "--level",
        "SLSA_BUILD_LEVEL_1",
    ];
    assert_eq!(check(&files, &lower).status.code(), Some(0));
}

#[test]
fn the_policy_is_named_by_its_digest() {
    let files = Files::new(&Scene::good());
    let key = make_key(files.path(), "org");
    let policy = format!("measurement = \"{}\"\n", "5a".repeat(48));
    fs::write(files.path().join("policy.toml"), &policy).unwrap();
    let given = ["--vsa-key", "org.pem", "--policy", "policy.toml"];
    let output = summarise(&files, &"5a".repeat(48), &given);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let digest = kettle::digest::Sha256Digest::of(policy.as_bytes()).to_string();
    let named = &predicate(&files, &key)["policy"];
    assert_eq!(named["uri"], "policy.toml");
    assert_eq!(named["digest"], json!({"sha256": digest}));
}

#[test]
fn a_program_signs_for_a_key_that_cannot_be_read() {
    let files = Files::new(&Scene::good());
    let key = make_key(files.path(), "org");
    let program = |content: &str| {
        let path = files.path().join("sign");
        fs::write(&path, format!("#!/bin/sh\n{content}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let by_program = ["--vsa-signer", "./sign", "--vsa-public-key", "org.pub.pem"];
    program("exec openssl dgst -sha256 -sign org.pem");
    let output = summarise(&files, &"5a".repeat(48), &by_program);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(predicate(&files, &key)["verificationResult"], "PASSED");
    fs::remove_file(files.path().join("summary.json")).unwrap();
    for wrong in ["exit 1", "cat >/dev/null; echo no signature", "true"] {
        program(wrong);
        let output = summarise(&files, &"5a".repeat(48), &by_program);
        assert_eq!(output.status.code(), Some(2), "{wrong}: {output:?}");
        assert!(!files.path().join("summary.json").exists(), "{wrong}");
    }
}

#[test]
fn a_summary_that_cannot_be_signed_is_wrong_usage_before_anything_is_verified() {
    let files = Files::new(&Scene::good());
    make_key(files.path(), "org");
    fs::write(files.path().join("text.pem"), "no key").unwrap();
    let measurement = "5a".repeat(48);
    for more in [
        &[][..],
        &["--vsa-key", "missing.pem"],
        &["--vsa-key", "text.pem"],
        &["--vsa-key", "org.pub.pem"],
        &["--vsa-signer", "./sign"],
    ] {
        let output = summarise(&files, &measurement, more);
        assert_eq!(output.status.code(), Some(2), "{more:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{more:?}: {output:?}");
        assert!(!files.path().join("summary.json").exists(), "{more:?}");
    }
}

#[test]
fn every_flipped_bit_of_a_summary_is_refused() {
    let files = Files::new(&Scene::good());
    make_key(files.path(), "org");
    let output = summarise(&files, &"5a".repeat(48), &["--vsa-key", "org.pem"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let path = files.path().join("summary.json");
    let container: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let payload = container["dsseEnvelope"]["payload"].as_str().unwrap();
    let payload = STANDARD.decode(payload).unwrap();
    // Only each tenth byte: each takes a process.
    for index in (0..payload.len()).step_by(payload.len() / 10) {
        let mut flipped = payload.clone();
        flipped[index] ^= 1;
        let mut changed = container.clone();
        changed["dsseEnvelope"]["payload"] = STANDARD.encode(flipped).into();
        fs::write(&path, changed.to_string()).unwrap();
        let output = check(&files, &["--public-key", "org.pub.pem"]);
        assert_eq!(output.status.code(), Some(1), "byte {index}: {output:?}");
    }
}
