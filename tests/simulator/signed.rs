//! The statement key of the real service, under a simulated secure processor.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kettle::dsse::PublicKey;
use kettle::simulator::Faults;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::Value;

use super::harness::{Bundle, NONCE, Request, Server, package};
use super::processors::{Directory, MEASUREMENT};

const ENVELOPE: &str = "provenance.sigstore.json";

/// The bundle of one service, with the key that its verified statement names.
struct Signed {
    bundle: Bundle,
    key: String,
}

/// The artifacts of the package that is built.
const ARTIFACTS: [&str; 3] = ["a-third_one", "package", "second"];

/// Runs a job, writes its bundle to the file `name`, and verifies it.
fn built(directory: &Directory, name: &str) -> Signed {
    let server = Server::with_options(&directory.options());
    let source = package(&[
        ("src/main.rs", "fn main() {}"),
        ("src/bin/second.rs", "fn main() { print!(\"2\") }"),
        ("src/bin/a-third_one.rs", "fn main() { print!(\"3\") }"),
    ]);
    let answer = server.run(&Request::form(&source, "package.tar"));
    assert_eq!(answer.status, 200);
    let bundle = Bundle::read(&answer.body, 0);
    bundle.assert_described();
    let id = answer.header("kettle-job-id");
    let served = server.get(&format!("/build/{id}/{ENVELOPE}"));
    assert!((served.status, &served.body) == (200, &bundle.files[ENVELOPE]));
    fs::write(directory.path().join(name), &answer.body).unwrap();
    let document = verify(directory, name, &["--public-key-out", "key.pem"]);
    assert_eq!(document["verdict"], "accepted", "{document:#}");
    assert_eq!(outcome(&document, "envelope")["outcome"], "pass");
    let key = fs::read_to_string(directory.path().join("key.pem")).unwrap();
    fs::remove_file(directory.path().join("key.pem")).unwrap();
    assert_ne!(tls_key(&server), key, "the TLS key signs no statement");
    Signed { bundle, key }
}

/// Returns the key of the port with TLS that the service reports, PEM.
fn tls_key(server: &Server) -> String {
    let session = server.get(&format!("/attestation?nonce={NONCE}")).json();
    let der = STANDARD.decode(session["tls_public_key"].as_str().unwrap());
    pem("PUBLIC KEY", &der.unwrap())
}

fn pem(label: &str, der: &[u8]) -> String {
    der::pem::encode_string(label, der::pem::LineEnding::LF, der).unwrap()
}

fn verify(directory: &Directory, bundle: &str, more: &[&str]) -> Value {
    let measurement = MEASUREMENT.to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_kettle"))
        .args(["verify", bundle, "--json", "--nonce", NONCE])
        .args(["--trust-root", "trust-root.pem"])
        .args(["--measurement", &measurement])
        .args(more)
        .current_dir(directory.path())
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn outcome<'a>(document: &'a Value, check: &str) -> &'a Value {
    let mut checks = document["checks"].as_array().unwrap().iter();
    checks.find(|it| it["check"] == check).unwrap()
}

#[test]
fn a_signed_statement_is_that_of_its_bundle_and_its_key_is_of_one_job() {
    let directory = Directory::with(Faults::default());
    let (first, second) = (
        built(&directory, "first.tar.gz"),
        built(&directory, "second.tar.gz"),
    );
    assert_ne!(first.key, second.key, "two jobs, one key");
    let signer =
        &first.bundle.statement()["predicate"]["buildDefinition"]["internalParameters"]["signer"];
    assert_eq!(signer["algorithm"], "ecdsa-p256-sha256");
    let base64: String = first
        .key
        .lines()
        .filter(|line| !line.contains("-----"))
        .collect();
    assert_eq!(signer["publicKey"], base64);

    // The first bundle as a directory, with the file of the second.
    for (path, bytes) in &first.bundle.files {
        let bytes = if path == ENVELOPE {
            &second.bundle.files[path]
        } else {
            bytes
        };
        let path = directory.path().join("mixed").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let document = verify(&directory, "mixed", &["--public-key-out", "key.pem"]);
    assert_eq!(document["verdict"], "rejected");
    assert_eq!(outcome(&document, "envelope")["code"], "envelope-payload");
    assert!(!directory.path().join("key.pem").exists());
    fs::remove_file(directory.path().join("mixed").join(ENVELOPE)).unwrap();
    let document = verify(&directory, "mixed", &[]);
    assert_eq!(outcome(&document, "envelope")["outcome"], "not-checked");
}

/// Returns a new key of an organisation and its public half, PEM.
fn summary_key() -> (String, String) {
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
    let public = PublicKey::from_point(pair.public_key().as_ref()).unwrap();
    (
        pem("PRIVATE KEY", pkcs8.as_ref()),
        pem("PUBLIC KEY", &public.to_spki()),
    )
}

/// Leaves what `tests/sigstore_readers.sh` gives to other tools in the directory `KETTLE_SIGNED`.
#[test]
#[ignore = "scripts/test runs it, with a directory"]
fn files_for_other_tools() {
    let target = PathBuf::from(std::env::var_os("KETTLE_SIGNED").expect("KETTLE_SIGNED"));
    let directory = Directory::with(Faults::default());
    let (first, second) = (
        built(&directory, "first.tar.gz"),
        built(&directory, "second.tar.gz"),
    );
    let (private, public) = summary_key();
    fs::write(directory.path().join("summary.key"), private).unwrap();
    let summary = [
        "--vsa-out",
        "summary.json",
        "--vsa-key",
        "summary.key",
        "--resource-uri",
        "https://example.org/package",
    ];
    assert_eq!(
        verify(&directory, "first.tar.gz", &summary)["verdict"],
        "accepted"
    );
    let summary = fs::read(directory.path().join("summary.json")).unwrap();
    for (name, bytes) in [
        (ENVELOPE, &first.bundle.files[ENVELOPE]),
        ("key.pem", &first.key.into_bytes()),
        ("other.pem", &second.key.into_bytes()),
        ("summary.json", &summary),
        ("summary.pem", &public.into_bytes()),
    ] {
        fs::write(target.join(name), bytes).unwrap();
    }
    let artifacts = first.bundle.artifacts();
    let names: Vec<_> = artifacts.keys().copied().collect();
    assert_eq!(names, ARTIFACTS);
    fs::create_dir(target.join("artifacts")).unwrap();
    for (name, bytes) in artifacts {
        fs::write(target.join("artifacts").join(name), bytes).unwrap();
    }
}
