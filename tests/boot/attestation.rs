//! The whole way, from the kernel's driver interface to an accepting verifier: the shipped PID 1
//! sends its real requests to a `/dev/sev-guest` that a program beside it offers. The image, its
//! command line and PID 1 are those that were built; the initrd has one more segment, whose `/init`
//! creates the device and then becomes the image's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kettle::provenance::{BUILDER_SEV_SNP, Nonce, report_data};
use kettle::snp::report::Report;
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Port, Source};
use crate::image::Image;
use crate::machine::{Host, Machine};
use crate::support::{Bundle, NONCE, sha256, tar_of};

/// The vCPU type of the machines here, as the published file names it.
const VCPU_TYPE: &str = "EPYC-v4";
/// The time of the bundle: `tests/projects/hello` has no commit and no times.
const EPOCH: u64 = 0;

/// A simulated secure processor, and the files that a test machine needs from it.
pub struct Platform {
    pub image: Image,
    pub host: Host,
    directory: TempDir,
}

impl Platform {
    /// Creates a processor with options of `kettle-simulator keys`.
    pub fn new(options: &[&str]) -> Self {
        let (image, directory) = (
            Image::from_environment().with_test_kernel(),
            TempDir::new().unwrap(),
        );
        let mut host = Host::honest(&image);
        let measurement = measurement(&image, host.processors);
        simulator(
            directory.path(),
            &[
                &["keys", "--out", "keys", "--measurement", &measurement],
                options,
            ]
            .concat(),
        );
        let init = image.file("kettle-init");
        let segment = [
            "segment",
            "--keys",
            "keys",
            "--out",
            "segment",
            "--init",
            init.to_str().unwrap(),
        ];
        simulator(directory.path(), &segment);
        host.segment = Some(directory.path().join("segment"));
        Self {
            image,
            host,
            directory,
        }
    }

    pub fn boot(&self) -> Machine {
        Machine::serving(&self.image, &self.host)
    }

    /// Runs `kettle verify` with the reference values that were published for the image.
    pub fn verify(&self, what: &[&str], more: &[&str]) -> Value {
        let measurements = self.image.file("measurements.json");
        let output = Command::new(env!("CARGO_BIN_EXE_kettle"))
            .arg("verify")
            .args(what)
            .args([
                "--json",
                "--nonce",
                NONCE,
                "--measurements",
                measurements.to_str().unwrap(),
            ])
            .args(more)
            .current_dir(self.directory.path())
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// A file of the processor, or of what was kept.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn keep(&self, name: &str, bytes: &[u8]) {
        fs::write(self.directory.path().join(name), bytes).unwrap();
    }
}

pub const TRUSTING: [&str; 2] = ["--trust-root", "keys/trust-root.pem"];

/// Runs the simulator in a directory.
pub fn simulator(directory: &Path, arguments: &[&str]) {
    let program = env!("CARGO_BIN_EXE_kettle-simulator");
    let done = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// Returns the measurement of the image in this shape of machine: the shipped kernel's, which the
/// simulated secure processor reports. The kernel that runs has one more line in its configuration.
fn measurement(image: &Image, processors: u32) -> String {
    let shape = ["--vcpu-type", VCPU_TYPE, "--vcpus", &processors.to_string()];
    let done = Command::new(env!("CARGO_BIN_EXE_kettle"))
        .args(["measure", "--published"])
        .arg(image.file("measurements.json"))
        .args(shape)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    String::from_utf8(done.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

/// Asserts that the measured initrd has the same program: the segment changes what starts it, not
/// the program.
fn assert_shipped(image: &Image) {
    let unpack = "zstd --quiet --decompress --stdout \"$1\" | cpio --quiet --extract --to-stdout init | sha256sum";
    let done = Command::new("bash")
        .args(["-o", "pipefail", "-c", unpack, "-"])
        .arg(image.file("initrd"))
        .output()
        .unwrap();
    let in_initrd = String::from_utf8_lossy(&done.stdout)
        .split(' ')
        .next()
        .unwrap_or_default()
        .to_owned();
    assert_eq!(
        in_initrd,
        sha256(&fs::read(image.file("kettle-init")).unwrap()),
        "{done:?}"
    );
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_build_is_attested_by_the_shipped_program_and_accepted_by_the_verifier() {
    // The processor is busy at first, and is asked again.
    let platform = Platform::new(&["--busy", "2"]);
    assert_shipped(&platform.image);
    let machine = platform.boot();
    session(&platform, &machine);
    let outcome = machine.build_hello(Port::Tls);
    outcome.assert_succeeded();
    let bytes = machine.bundle(Port::Tls, &outcome.job);
    platform.keep("bundle.tar.gz", &bytes);
    let result = platform.verify(&["bundle.tar.gz"], &TRUSTING);
    assert_eq!(result["verdict"], "accepted", "{result:#}");
    assert_eq!(
        platform.verify(&["bundle.tar.gz"], &[])["verdict"],
        "rejected",
        "under AMD's roots"
    );
    assert_bound(&Bundle::read(&bytes, EPOCH));
    assert!(
        !machine.console().contains("simulat"),
        "{}",
        machine.console()
    );
}

/// Requests evidence, verifies it, and pins the key, before anything is sent.
fn session(platform: &Platform, machine: &Machine) {
    let answer = machine.get(Port::Tls, &format!("/attestation?nonce={NONCE}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    platform.keep("session.json", &answer.body);
    let result = platform.verify(&["--session", "session.json"], &TRUSTING);
    assert_eq!(result["verdict"], "accepted", "{result:#}");
    let pin = result["claims"]["pinned_public_key"].as_str().unwrap();
    let url = format!("https://127.0.0.1:{}/health", machine.port(Port::Tls));
    let other = format!("sha256//{}=", "A".repeat(43));
    let curl = Command::new("curl")
        .args(["-sk", "--pinnedpubkey", &other, &url])
        .output()
        .unwrap();
    assert!(
        !curl.status.success() && curl.stdout.is_empty(),
        "another key is not taken: {curl:?}"
    );
    machine.pin.set(pin.to_owned()).unwrap();
    machine.assert_healthy(Port::Tls);
}

fn assert_bound(bundle: &Bundle) {
    let evidence: Value = serde_json::from_slice(&bundle.files["evidence.json"]).unwrap();
    let report = STANDARD
        .decode(evidence["evidence"]["attestation_report"].as_str().unwrap())
        .unwrap();
    let data = report_data(
        &bundle.files["provenance.json"],
        &Nonce::parse(NONCE).unwrap(),
    );
    assert_eq!(Report::try_from(&report[..]).unwrap().report_data(), data);
    let statement = bundle.statement();
    assert_eq!(
        statement["predicate"]["runDetails"]["builder"]["id"],
        BUILDER_SEV_SNP
    );
    assert!(statement["predicate"]["buildDefinition"]["internalParameters"]["image"].is_object());
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_build_cannot_reach_the_secure_processor() {
    let platform = Platform::new(&[]);
    for attack in ["find_signer", "ask_signer"] {
        let machine = platform.boot();
        let outcome = machine.build(
            Port::Tls,
            &Source::Archive {
                bytes: &hostile(attack),
                name: "attack.tar",
            },
        );
        outcome.assert_succeeded();
        assert!(
            outcome.result["evidence"].is_object(),
            "there was nothing to reach"
        );
        let said = |word: &str| {
            outcome
                .lines
                .iter()
                .any(|line| line.contains(&format!("ATTACK: {word}")))
        };
        assert!(
            said("contained") && !said("SUCCEEDED"),
            "{}",
            outcome.lines.join("\n")
        );
    }
}

/// Returns an attack of the corpus, in its template.
fn hostile(name: &str) -> Vec<u8> {
    let attacks = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks");
    let directory = TempDir::new().unwrap();
    let project = directory.path().join("attack");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(attacks.join("templates/plain"))
        .arg(&project)
        .status()
        .unwrap();
    assert!(copied.success());
    fs::copy(attacks.join(format!("{name}.rs")), project.join("build.rs")).unwrap();
    fs::copy(
        attacks.join("templates/attack.rs"),
        project.join("attack.rs"),
    )
    .unwrap();
    fs::write(project.join("host.txt"), "").unwrap();
    tar_of(&project)
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_secure_processor_that_does_not_work_ends_the_machine() {
    for (options, cause) in [
        (
            ["--reports", "0"],
            "the secure processor refused the request with error 0x16",
        ),
        (["--certificates", "broken"], "certificate table is broken"),
    ] {
        let platform = Platform::new(&options);
        let console = Machine::start(&platform.image, &platform.host).wait_for_its_end();
        assert!(
            console.contains("halting: ") && console.contains(cause),
            "{options:?}: {console}"
        );
        assert!(!console.contains("listening"), "{console}");
    }
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_build_without_evidence_fails() {
    let machine = Platform::new(&["--reports", "1", "--certificates", "nothing"]).boot();
    let outcome = machine.build_hello(Port::Tls);
    outcome.assert_failed("AttestationFailed");
    machine.assert_no_result(&outcome.job);
}
