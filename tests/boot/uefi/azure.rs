//! A machine like a confidential one of Azure: a TPM in which a paravisor left its report, and
//! whose key the report names. The image is what ships, from firmware's first program on.
//!
//! What this cannot show: Microsoft's paravisor and its TPM, VMBus and its devices, and the
//! certificate service of that cloud.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::Duration;

use kettle::provenance::BUILDER_AZ_SNP;
use kettle::verifier::azure::PARAVISOR_KEYS;
use rsa::RsaPublicKey;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::traits::PublicKeyParts as _;
use serde_json::Value;
use tempfile::TempDir;

use super::tpm::Tpm;
use super::{Setup, Started};
use crate::attestation::simulator;
use crate::client::Port;
use crate::image::Bus;
use crate::machine::{Host, Machine, Network};
use crate::support::{Bundle, NONCE};

/// The NV index of the HCL report, and the handle of the TPM's key.
const INDEX: &str = "0x01400001";
const KEY: &str = "0x81000003";
/// The digest of a key with which Microsoft signs container instances begins like this; the rest is
/// made up.
const CONTAINER_KEY: &str = "0ad79ceb";

/// A simulated secure processor, and a TPM's state in which its report is.
struct Cloud {
    directory: TempDir,
}

impl Cloud {
    /// Makes both; `id_key` is what has signed the paravisor.
    fn new(id_key: &str) -> Self {
        Self::with(id_key, |_| {})
    }

    /// Makes both, with a report that names a changed modulus.
    fn with(id_key: &str, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let cloud = Self {
            directory: TempDir::new().unwrap(),
        };
        simulator(cloud.path(), &["keys", "--out", "keys"]);
        cloud.make_tpm(id_key, change);
        cloud
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Makes the state of a TPM: the key, then the report that names it.
    fn make_tpm(&self, id_key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        Tpm::make(&self.path().join("tpm"));
        let tools = Tools::start(self.path());
        let attributes =
            "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign";
        let algorithm = "rsa2048:rsassa-sha256:null";
        tools.run(&[
            "createprimary",
            "-Q",
            "-C",
            "e",
            "-G",
            algorithm,
            "-a",
            attributes,
            "-c",
            "key",
        ]);
        tools.run(&["evictcontrol", "-Q", "-C", "o", "-c", "key", KEY]);
        tools.run(&["flushcontext", "-t"]);
        tools.run(&["readpublic", "-Q", "-c", KEY, "-f", "der", "-o", "key.der"]);
        let key = fs::read(self.path().join("key.der")).unwrap();
        let key = RsaPublicKey::from_public_key_der(&key).unwrap();
        let mut modulus = key.n().to_bytes_be();
        change(&mut modulus);
        let (modulus, svn) = (
            hex::encode(modulus),
            PARAVISOR_KEYS[1].minimum_svn.to_string(),
        );
        simulator(
            self.path(),
            &[
                "hcl",
                "--keys",
                "keys",
                "--modulus",
                &modulus,
                "--id-key",
                id_key,
                "--svn",
                &svn,
                "--out",
                "hcl",
            ],
        );
        let attributes = "ownerread|ownerwrite|authread";
        tools.run(&[
            "nvdefine", "-Q", INDEX, "-C", "o", "-s", "2048", "-a", attributes,
        ]);
        tools.run(&["nvwrite", "-Q", INDEX, "-C", "o", "-i", "hcl"]);
        tools.run(&["shutdown", "-Q"]);
    }

    /// Starts the disk for this cloud, and returns the machine with its bundle.
    fn build(&self, started: &Started) -> (Machine, Tpm, Vec<u8>) {
        self.build_in(started, Network::User)
    }

    fn build_in(&self, started: &Started, network: Network) -> (Machine, Tpm, Vec<u8>) {
        let tpm = Tpm::of(&self.path().join("tpm"));
        let host = Host {
            network,
            ..started.host_with(&Setup::Plain, Bus::VirtioScsi, &tpm)
        };
        let machine = Machine::serving(&started.image, &host);
        let outcome = machine.build_hello(Port::Tls);
        outcome.assert_succeeded();
        let bundle = machine.bundle(Port::Tls, &outcome.job);
        (machine, tpm, bundle)
    }

    /// Asserts that a bundle of this machine is rejected with a code.
    fn assert_rejected(&self, started: &Started, code: &str) {
        let (_machine, _tpm, bundle) = self.build(started);
        fs::write(self.path().join("bundle.tar.gz"), bundle).unwrap();
        let verdict = self.verify(started, &["bundle.tar.gz"]);
        assert_eq!(rejection(&verdict)["code"], code, "{verdict:#}");
    }

    /// Writes a program that answers as the cloud's service of certificates does.
    fn metadata_service(&self) -> PathBuf {
        let certificate = fs::read(self.path().join("keys/vek.der")).unwrap();
        let pem = der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, &certificate);
        let document = serde_json::json!({"vcekCert": pem.unwrap(), "tcbm": "00"}).to_string();
        let response = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{document}",
            document.len()
        );
        fs::write(self.path().join("response"), response).unwrap();
        let program = self.path().join("service");
        // It reads the whole request: what is unread resets the connection at its end.
        let script = format!(
            "#!/bin/sh\nsed -u '/^\\r*$/q' >>{0}/requests\ncat {0}/response\n",
            self.path().display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        program
    }

    /// Runs `kettle verify` under this processor's root, with its certificate.
    fn verify(&self, started: &Started, what: &[&str]) -> Value {
        let vcek = ["--vcek", "keys/vek.der"];
        self.command(started, &[what, &vcek].concat(), NONCE)
    }

    fn command(&self, started: &Started, what: &[&str], nonce: &str) -> Value {
        let output = Command::new(env!("CARGO_BIN_EXE_kettle"))
            .arg("verify")
            .args(what)
            .args([
                "--json",
                "--nonce",
                nonce,
                "--trust-root",
                "keys/trust-root.pem",
            ])
            .arg("--measurements")
            .arg(
                started
                    .image
                    .file("measurements.json")
                    .canonicalize()
                    .unwrap(),
            )
            .current_dir(self.path())
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }
}

/// The programs that set a TPM up, and the TPM that they talk to.
struct Tools<'a> {
    directory: &'a Path,
    process: Child,
    port: u16,
}

impl<'a> Tools<'a> {
    fn start(directory: &'a Path) -> Self {
        // They want the port after that of the TPM too.
        let port = (0..100)
            .find_map(|_| {
                let first = TcpListener::bind("127.0.0.1:0").unwrap();
                let port = first.local_addr().unwrap().port();
                let next = port.checked_add(1)?;
                TcpListener::bind(("127.0.0.1", next)).ok().map(|_| port)
            })
            .expect("two free ports");
        let server = |port: u16| format!("type=tcp,port={port},bindaddr=127.0.0.1");
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .arg("--tpmstate")
            .arg(format!("dir={}", directory.join("tpm").display()))
            .args(["--server", &server(port), "--ctrl", &server(port + 1)])
            .spawn()
            .unwrap();
        let tools = Self {
            directory,
            process,
            port,
        };
        let answers = || tools.command(&["getrandom", "-Q", "1"]).status.success();
        assert!(
            (0..100).any(|_| {
                sleep(Duration::from_millis(100));
                answers()
            }),
            "swtpm does not start"
        );
        tools
    }

    fn command(&self, words: &[&str]) -> std::process::Output {
        Command::new(format!("tpm2_{}", words[0]))
            .args(&words[1..])
            .env(
                "TPM2TOOLS_TCTI",
                format!("swtpm:host=127.0.0.1,port={}", self.port),
            )
            .current_dir(self.directory)
            .output()
            .unwrap()
    }

    fn run(&self, words: &[&str]) {
        let output = self.command(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
    }
}

impl Drop for Tools<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns the first check that rejects.
fn rejection(verdict: &Value) -> &Value {
    assert_eq!(verdict["verdict"], "rejected", "{verdict:#}");
    let checks = verdict["checks"].as_array().unwrap();
    let rejects = |check: &&Value| check["outcome"] == "reject";
    checks.iter().find(rejects).unwrap()
}

#[test]
#[ignore = "needs QEMU, OVMF, swtpm, tpm2-tools and a built image"]
fn a_build_is_attested_by_the_paravisors_tpm_and_accepted() {
    let (started, cloud) = (Started::with("azure"), Cloud::new(PARAVISOR_KEYS[1].digest));
    let (machine, _tpm, bundle) = cloud.build(&started);
    let session = machine.get(Port::Tls, &format!("/attestation?nonce={NONCE}"));
    assert_eq!(session.status, 200, "{}", session.text());
    for (name, bytes) in [("bundle.tar.gz", &bundle), ("session.json", &session.body)] {
        fs::write(cloud.path().join(name), bytes).unwrap();
    }
    for what in [&["bundle.tar.gz"][..], &["--session", "session.json"]] {
        let verdict = cloud.verify(&started, what);
        assert_eq!(verdict["verdict"], "accepted", "{verdict:#}");
        assert_eq!(
            verdict["claims"]["boot"]
                .as_str()
                .unwrap()
                .rsplit(' ')
                .next(),
            Some("azure")
        );
    }
    let vcek = ["bundle.tar.gz", "--vcek", "keys/vek.der"];
    let other = cloud.command(&started, &vcek, &"5".repeat(32));
    assert_eq!(
        rejection(&other)["code"],
        "nonce-not-in-report",
        "{other:#}"
    );
    let statement = Bundle::read(&bundle, 0).statement();
    assert_eq!(
        statement["predicate"]["runDetails"]["builder"]["id"],
        BUILDER_AZ_SNP
    );
    let image = &statement["predicate"]["buildDefinition"]["internalParameters"]["image"];
    assert_eq!(image["variant"], "azure");
}

#[test]
#[ignore = "needs QEMU, OVMF, swtpm, tpm2-tools and a built image"]
fn the_certificate_of_the_clouds_service_is_in_the_bundle() {
    let (started, cloud) = (Started::with("azure"), Cloud::new(PARAVISOR_KEYS[1].digest));
    let network = Network::Metadata(cloud.metadata_service());
    let (_machine, _tpm, bundle) = cloud.build_in(&started, network);
    fs::write(cloud.path().join("bundle.tar.gz"), bundle).unwrap();
    let verdict = cloud.command(&started, &["bundle.tar.gz"], NONCE);
    assert_eq!(verdict["verdict"], "accepted", "{verdict:#}");
    let requests = fs::read_to_string(cloud.path().join("requests")).unwrap();
    assert!(requests.starts_with("GET /metadata/THIM/amd/certification HTTP/1.0"));
}

#[test]
#[ignore = "needs QEMU, OVMF, swtpm, tpm2-tools and a built image"]
fn a_machine_that_is_not_the_clouds_is_rejected_for_its_reason() {
    let own_key = "ab".repeat(48);
    let container = format!("{CONTAINER_KEY}{}", "00".repeat(44));
    let microsoft = PARAVISOR_KEYS[1].digest;
    let other_key = |modulus: &mut Vec<u8>| modulus[100] ^= 1;
    for (cloud, code) in [
        (Cloud::new(&own_key), "paravisor-id-key"),
        (Cloud::new(&container), "paravisor-container-key"),
        (Cloud::with(microsoft, other_key), "quote-signature"),
    ] {
        cloud.assert_rejected(&Started::with("azure"), code);
    }
    let (started, cloud) = (Started::with("azure"), Cloud::new(microsoft));
    started.change_the_command_line();
    cloud.assert_rejected(&started, "boot-measurement-unknown");
}
