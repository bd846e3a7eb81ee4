//! Builds on an honest host's machine.

use std::collections::BTreeMap;
use std::fs;
use std::sync::LazyLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Port, Response, Source};
use crate::image::{Bus, Disk, Image};
use crate::machine::{Host, Machine};
use crate::support::{Bundle, project, sha256};

/// The time from serving to being ready, on a busy processor.
const READY_LIMIT: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(100);

/// What a client saw of one machine that built the hello project, over TLS alone.
struct Seen {
    image: Image,
    job: Value,
    log: String,
    bundle: Bundle,
    provenance: Vec<u8>,
    lockfile: Vec<u8>,
    artifact: Vec<u8>,
    evidence: Response,
    attestation: Response,
    second: Response,
    in_plaintext: Vec<(&'static str, Response)>,
    ready: [Response; 2],
    console: String,
    disk: String,
}

/// One boot for all tests that only look.
static SEEN: LazyLock<Seen> = LazyLock::new(|| {
    let image = Image::from_environment();
    let host = Host::with_disks(vec![Disk::copy_of(&image).writable()]);
    let machine = Machine::serving(&image, &host);
    let get = |path: &str| machine.get(Port::Tls, path);
    let archive = project("hello");
    let hello = Source::Archive {
        bytes: &archive,
        name: "hello.tar",
    };
    // If this one were accepted, there would be no build over TLS.
    let before = ("a source", machine.submit(Port::Plaintext, &hello));
    let ready_before = readiness(&machine);
    let outcome = machine.build(Port::Tls, &hello);
    outcome.assert_succeeded();
    let job = &outcome.job;
    let in_plaintext = |path: &str| machine.get(Port::Plaintext, path);
    Seen {
        ready: [ready_before, in_plaintext("/ready")],
        in_plaintext: vec![
            before,
            ("a second source", machine.submit(Port::Plaintext, &hello)),
            ("the job", in_plaintext(&format!("/build/{job}"))),
            (
                "its events",
                in_plaintext(&format!("/v1/build/{job}/events")),
            ),
            (
                "its result",
                in_plaintext(&format!("/api/build/{job}/result")),
            ),
            (
                "an artifact",
                in_plaintext(&format!("/builds/{job}/artifacts/hello")),
            ),
            ("an unknown path", in_plaintext("/")),
        ],
        job: get(&format!("/build/{job}")).json(),
        log: outcome
            .lines
            .iter()
            .map(|line| format!("{line}\n"))
            .collect(),
        bundle: Bundle::read(&machine.bundle(Port::Tls, job), 0),
        provenance: get(&format!("/build/{job}/provenance.json")).body,
        lockfile: get(&format!("/builds/{job}/build-config/Cargo.lock")).body,
        artifact: get(&format!("/builds/{job}/artifacts/hello")).body,
        evidence: get(&format!("/build/{job}/evidence.json")),
        attestation: get("/attestation?nonce=00"),
        second: machine.submit(Port::Tls, &hello),
        console: machine.console(),
        disk: sha256(&fs::read(&host.disks[0].path).unwrap()),
        image,
    }
});

/// Returns the response of `/ready` once the machine has looked at its toolchain, which it begins
/// when it boots.
fn readiness(machine: &Machine) -> Response {
    let start = Instant::now();
    loop {
        let answer = machine.get(Port::Plaintext, "/ready");
        if answer.status != 503 {
            return answer;
        }
        assert!(start.elapsed() < READY_LIMIT, "{}", answer.text());
        sleep(PAUSE);
    }
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn everything_that_a_client_sees_comes_over_tls() {
    SEEN.bundle.assert_described();
    assert_eq!(
        (&SEEN.job["state"], &SEEN.job["result"]["status"]),
        (&json!("succeeded"), &json!("success"))
    );
    assert!(SEEN.log.contains("Compiling hello"), "{}", SEEN.log);
    assert_eq!(SEEN.log.as_bytes(), SEEN.bundle.files["build.log"]);
    assert_eq!(SEEN.provenance, SEEN.bundle.files["provenance.json"]);
    assert_eq!(SEEN.lockfile, SEEN.bundle.files["build-config/Cargo.lock"]);
    assert!(SEEN.artifact == SEEN.bundle.files["artifacts/hello"]);
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_second_build_is_refused_on_both_ports() {
    let (_, in_plaintext) = SEEN
        .in_plaintext
        .iter()
        .find(|(name, _)| *name == "a second source")
        .unwrap();
    for (answer, status) in [(&SEEN.second, 409), (in_plaintext, 426)] {
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(
            !answer.text().contains(SEEN.job["job_id"].as_str().unwrap()),
            "{}",
            answer.text()
        );
    }
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn the_plaintext_port_of_the_image_takes_no_source_and_shows_no_job() {
    for (name, answer) in &SEEN.in_plaintext {
        assert_eq!(answer.status, 426, "{name}: {}", answer.text());
        let problem = answer.json();
        assert_eq!(
            (&problem["error_type"], &problem["build_id"]),
            (&json!("TlsRequired"), &Value::Null),
            "{name}"
        );
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("--pinnedpubkey"),
            "{name}: {problem}"
        );
    }
    let [before, after] = &SEEN.ready;
    assert_eq!(
        (before.text().as_str(), after.status),
        ("ready", 404),
        "{} {}",
        before.status,
        after.text()
    );
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn provenance_names_the_image_that_was_booted() {
    let image = &SEEN.image;
    let named = |name: &str| json!({ "name": name, "digest": { "sha256": sha256(&fs::read(image.file(name)).unwrap()) } });
    let recorded = json!({
        "version": image.word("kettle.version"),
        "rootHash": image.word("kettle.roothash"),
        "kernel": named("kernel"),
        "initrd": named("initrd"),
        "commandLine": named("cmdline"),
    });
    assert_eq!(
        definition(&SEEN.bundle)["internalParameters"]["image"],
        recorded
    );
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn libraries_that_a_program_needs_are_named_with_the_images_packages() {
    let libraries = definition(&SEEN.bundle)["internalParameters"]["libraries"].take();
    let libraries = libraries.as_array().unwrap();
    let package_of = |name: &str| {
        let found = libraries.iter().find(|library| library["name"] == name);
        found.unwrap()["package"].as_str().unwrap()
    };
    assert_eq!(package_of("libc.so.6"), "libc6");
    assert_eq!(package_of("libgcc_s.so.1"), "libgcc-s1");
    for library in libraries {
        assert!(library["version"].is_string(), "{library}");
    }
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn without_a_secure_processor_there_is_no_evidence_and_no_claim_of_it() {
    assert_eq!(SEEN.evidence.status, 404, "{}", SEEN.evidence.text());
    assert_eq!(SEEN.attestation.status, 503, "{}", SEEN.attestation.text());
    let builder = &SEEN.bundle.statement()["predicate"]["runDetails"]["builder"]["id"];
    assert_eq!(builder, "https://kettle.build/appliance/host/v1");
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn the_sandbox_of_the_image_has_no_degradation() {
    let sandbox = &definition(&SEEN.bundle)["internalParameters"]["sandbox"];
    assert_eq!(sandbox["degradations"], json!([]));
    assert_eq!(sandbox["controllers"], json!(["memory", "pids"]));
    assert_eq!(
        sandbox["fetchNetwork"],
        json!({ "reaches": "public-unicast", "allowed": [] })
    );
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn the_console_says_nothing_once_the_machine_serves() {
    let (boot, rest) = SEEN
        .console
        .split_once("listening on https://[::]:443")
        .unwrap();
    assert!(boot.contains("kettle: quiet console: "), "{boot}");
    assert_eq!(rest.trim(), "");
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_disk_that_could_be_written_is_not() {
    assert_eq!(
        SEEN.disk,
        sha256(&fs::read(SEEN.image.file("root.img")).unwrap())
    );
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_machine_that_differs_in_everything_makes_the_same_artifact() {
    let image = Image::from_environment();
    let other_root = Disk::copy_of(&image).with_flipped_bit(image.top_of_tree());
    let disks = vec![
        other_root,
        Disk::of(&image).on(Bus::VirtioScsi),
        Disk::of(&image).on(Bus::VirtioScsi),
    ];
    let host = Host {
        processors: 1,
        memory_mib: 1536,
        ..Host::with_disks(disks)
    };
    let machine = Machine::serving(&image, &host);
    let outcome = machine.build_hello(Port::Tls);
    outcome.assert_succeeded();
    let bundle = Bundle::read(&machine.bundle(Port::Tls, &outcome.job), 0);
    bundle.assert_described();
    assert!(
        bundle.artifacts() == SEEN.bundle.artifacts(),
        "the artifacts differ"
    );
    let recorded = |bundle: &Bundle| definition(bundle)["internalParameters"]["image"].clone();
    assert_eq!(
        recorded(&bundle),
        recorded(&SEEN.bundle),
        "the same image, whatever machine it is"
    );
}

/// Returns the artifacts of `tests/projects/hello`: names and contents.
pub fn artifacts_of_an_honest_host() -> BTreeMap<&'static str, &'static [u8]> {
    SEEN.bundle.artifacts()
}

pub fn definition(bundle: &Bundle) -> Value {
    bundle.statement()["predicate"]["buildDefinition"].take()
}
