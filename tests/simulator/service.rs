//! `kettle-host serve` beside a simulated secure processor.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kettle::provenance::{BUILDER_SIMULATED, Nonce, report_data};
use kettle::simulator::{Faults, HandedOver, MARKER};
use kettle::snp::report::Report;
use serde_json::Value;

use super::harness::{Bundle, NONCE, Request, Response, Server, package};
use super::processors::{Directory, MEASUREMENT};

/// The time of a bundle from an archive without times.
const EPOCH: u64 = 0;

fn hello() -> Request {
    Request::form(&package(&[("src/main.rs", "fn main() {}")]), "package.tar")
}

/// Returns the verdict on a bundle, with its document.
fn verify(bundle: &[u8], directory: &Directory, more: &[&str]) -> Value {
    let file = directory.path().join("bundle.tar.gz");
    fs::write(&file, bundle).unwrap();
    kettle(&["verify", file.to_str().unwrap()], directory, more)
}

fn kettle(what: &[&str], directory: &Directory, more: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_kettle"))
        .args(what)
        .args([
            "--json",
            "--nonce",
            NONCE,
            "--measurement",
            &MEASUREMENT.to_string(),
        ])
        .args(more)
        .current_dir(directory.path())
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn report(evidence: &Value) -> Report {
    assert_eq!(evidence["platform"], "snp");
    let text = evidence["evidence"]["attestation_report"].as_str().unwrap();
    Report::try_from(&STANDARD.decode(text).unwrap()[..]).unwrap()
}

#[test]
fn a_bundle_goes_from_the_service_to_an_accepting_verifier() {
    let directory = Directory::with(Faults::default());
    let server = Server::with_options(&directory.options());
    let answer = server.run(&hello());
    assert_eq!(
        answer.status,
        200,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    let bundle = Bundle::read(&answer.body, EPOCH);
    let evidence: Value = serde_json::from_slice(&bundle.files["evidence.json"]).unwrap();
    let data = report_data(
        &bundle.files["provenance.json"],
        &Nonce::parse(NONCE).unwrap(),
    );
    assert_eq!(report(&evidence).report_data(), data);
    assert_eq!(
        bundle.statement()["predicate"]["runDetails"]["builder"]["id"],
        BUILDER_SIMULATED
    );
    let root = directory.trust_root();
    let trusting = ["--trust-root", root.to_str().unwrap()];
    let result = verify(&answer.body, &directory, &trusting);
    assert_eq!(result["verdict"], "accepted", "{result:#}");
    assert_eq!(
        verify(&answer.body, &directory, &[])["verdict"],
        "rejected",
        "without its root"
    );
    documents_agree(&server, &answer, &evidence);
}

/// Asserts that the events, the job document and the file have the same evidence.
fn documents_agree(server: &Server, answer: &Response, evidence: &Value) {
    let id = answer.header("kettle-job-id");
    let events = server.events(id);
    let kinds: Vec<_> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds[kinds.len() - 3..],
        ["provenance", "attest", "complete"]
    );
    assert!(
        events[1]["msg"]
            .as_str()
            .unwrap()
            .contains(&MEASUREMENT.to_string()),
        "{}",
        events[1]
    );
    assert_eq!(events.last().unwrap()["result"]["evidence"], *evidence);
    assert_eq!(
        server.get(&format!("/build/{id}")).json()["result"]["evidence"],
        *evidence
    );
    let file = server.get(&format!("/build/{id}/evidence.json"));
    assert_eq!((file.status, file.json()), (200, evidence.clone()));
    assert_eq!(file.body.last(), Some(&b'\n'));
}

#[test]
fn a_session_is_verified_before_any_source_is_sent() {
    let directory = Directory::with(Faults {
        handed_over: HandedOver::All,
        reports: Some(9),
        busy: 0,
    });
    let server = Server::with_options(&directory.options());
    let path = format!("/attestation?nonce={NONCE}");
    let answer = server.get(&path);
    assert_eq!(
        (answer.status, &answer.json()["state"]),
        (200, &Value::from("idle"))
    );
    fs::write(directory.path().join("session.json"), &answer.body).unwrap();
    let openapi: Value = serde_json::from_str(kettle::api::OPENAPI).unwrap();
    let documented = openapi["components"]["schemas"]["Attestation"]["properties"]
        .as_object()
        .unwrap();
    let mut documented: Vec<_> = documented.keys().collect();
    documented.sort();
    let session = answer.json();
    assert!(
        session.as_object().unwrap().keys().eq(documented),
        "{session}"
    );
    let root = directory.trust_root();
    let session = ["verify", "--session", "session.json"];
    let result = kettle(
        &session,
        &directory,
        &["--trust-root", root.to_str().unwrap()],
    );
    assert_eq!(result["verdict"], "accepted", "{result:#}");
    let pin = result["claims"]["pinned_public_key"].as_str().unwrap();
    pinned(&server, pin, true);
    pinned(
        &server,
        &format!("sha256//{}", STANDARD.encode([0; 32])),
        false,
    );
    assert_eq!(server.run(&hello()).status, 200);
    assert_eq!(server.get(&path).json()["state"], "finished");
}

/// Returns whether curl accepts the server with this pin.
fn pinned(server: &Server, pin: &str, expected: bool) {
    let url = format!("https://127.0.0.1:{}/health", server.tls_port);
    let curl = Command::new("curl")
        .args(["-sk", "--pinnedpubkey", pin, &url])
        .output()
        .unwrap();
    assert_eq!(curl.stdout == b"ok", expected, "{curl:?}");
}

#[test]
fn without_evidence_there_is_no_bundle() {
    // The service itself requests one report before it serves.
    let directory = Directory::with(Faults {
        reports: Some(1),
        ..Faults::default()
    });
    let server = Server::with_options(&directory.options());
    let answer = server.run(&hello());
    assert_eq!(
        (answer.status, &answer.json()["error_type"]),
        (500, &Value::from("AttestationFailed"))
    );
    let id = answer.json()["build_id"].as_str().unwrap().to_owned();
    assert_eq!(
        server.events(&id).last().unwrap()["result"]["error_type"],
        "AttestationFailed"
    );
    for file in ["result", "evidence.json", "provenance.json"] {
        assert_eq!(
            server.get(&format!("/build/{id}/{file}")).status,
            404,
            "{file}"
        );
    }
    let session = server.get(&format!("/attestation?nonce={NONCE}"));
    assert_eq!(
        (session.status, &session.json()["error_type"]),
        (500, &Value::from("AttestationFailed"))
    );
    let bad = server.get("/attestation?nonce=0");
    assert_eq!(
        (bad.status, &bad.json()["error_type"]),
        (400, &Value::from("NonceInvalid"))
    );
}

#[test]
fn a_host_without_certificates_makes_an_empty_chain() {
    let directory = Directory::with(Faults {
        handed_over: HandedOver::Nothing,
        ..Faults::default()
    });
    let server = Server::with_options(&directory.options());
    let evidence = server.get(&format!("/attestation?nonce={NONCE}")).json();
    assert_eq!(evidence["evidence"]["cert_chain"], Value::Null);
}

#[test]
fn a_processor_that_does_not_work_stops_the_service_before_it_serves() {
    for (faults, cause) in [
        (
            Faults {
                reports: Some(0),
                ..Faults::default()
            },
            "refused",
        ),
        (
            Faults {
                busy: 1,
                ..Faults::default()
            },
            "busy",
        ),
        (
            Faults {
                handed_over: HandedOver::Broken,
                ..Faults::default()
            },
            "certificate table is broken",
        ),
    ] {
        let directory = Directory::with(faults);
        let work = tempfile::tempdir().unwrap();
        let ended = Command::new(env!("CARGO_BIN_EXE_kettle-host"))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--tls-listen",
                "127.0.0.1:0",
                "--work",
            ])
            .arg(work.path())
            .args(directory.options())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&ended.stderr);
        assert!(
            !ended.status.success() && errors.contains(cause),
            "{errors}"
        );
        assert!(ended.stdout.is_empty(), "{ended:?}");
    }
}

#[test]
fn a_binary_with_the_simulator_says_so() {
    // scripts/test looks for the same words in the shipped binary, where they must not be.
    for binary in [
        env!("CARGO_BIN_EXE_kettle-host"),
        env!("CARGO_BIN_EXE_kettle-simulator"),
    ] {
        let bytes = fs::read(Path::new(binary)).unwrap();
        assert!(
            bytes
                .windows(MARKER.len())
                .any(|window| window == MARKER.as_bytes()),
            "{binary}"
        );
    }
    let help = Command::new(env!("CARGO_BIN_EXE_kettle-host"))
        .args(["serve", "--help"])
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&help.stdout).contains(" --simulator <DIR>\n"),
        "{help:?}"
    );
    let script =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/test")).unwrap();
    assert!(
        script.contains(MARKER),
        "scripts/test does not look for the marker"
    );
}

#[test]
fn the_command_makes_processors_and_signs_reports() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = |arguments: &[&str]| {
        let made = Command::new(env!("CARGO_BIN_EXE_kettle-simulator"))
            .args(arguments)
            .current_dir(directory.path())
            .output();
        let made = made.unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
    };
    simulator(&[
        "keys",
        "--out",
        "keys",
        "--product",
        "turin",
        "--key",
        "vlek",
        "--report-version",
        "5",
    ]);
    let measurement = MEASUREMENT.to_string();
    let data = "07".repeat(64);
    simulator(&[
        "report",
        "--keys",
        "keys",
        "--report-data",
        &data,
        "--measurement",
        &measurement,
        "--out",
        "report",
    ]);
    let report = Report::try_from(&fs::read(directory.path().join("report")).unwrap()[..]).unwrap();
    assert_eq!(
        (report.version(), report.report_data(), report.measurement()),
        (5, [7; 64], MEASUREMENT)
    );
}

#[test]
fn the_command_packs_a_directory_as_the_appliance_packs_a_bundle() {
    let directory = tempfile::tempdir().unwrap();
    let (unpacked, packed) = (
        directory.path().join("p"),
        directory.path().join("p.tar.gz"),
    );
    fs::create_dir_all(unpacked.join("artifacts/deep")).unwrap();
    let program = unpacked.join("artifacts/deep").join("n".repeat(150));
    for (path, content) in [
        (&unpacked.join("provenance.json"), "{}\n"),
        (&program, "a program"),
    ] {
        fs::write(path, content).unwrap();
    }
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let made = Command::new(env!("CARGO_BIN_EXE_kettle-simulator"))
        .args([
            "bundle", "--folder", "p", "--time", "7", "--out", "p.tar.gz",
        ])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let read = kettle::bundle::read::open(&packed).unwrap();
    assert_eq!(
        (
            read.time,
            read.artifacts.len(),
            read.artifacts[0].executable
        ),
        (Some(7), 1, true)
    );
    let directory = kettle::bundle::read::open(&unpacked).unwrap();
    assert_eq!(
        kettle::bundle::read::Bundle {
            time: None,
            project: None,
            ..read
        },
        directory
    );
}
