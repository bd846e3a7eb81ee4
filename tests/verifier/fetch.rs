//! `kettle verify --fetch` and `kettle complete` with a test's key service, on reports of real
//! hardware. The service is reached through a proxy, and shows a certificate of an authority that
//! only these runs know.

use std::fs;
use std::io::{BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, OnceLock};

use kettle::snp::report::Report;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::hierarchy::{Crl, keys};
use super::scene::{Scene, evidence};

const GENOA: &str = "genoa-v3-vcek-42898c8b";
const GENOA_V2: &str = "genoa-v2-vcek-c7ff0a93";
const TURIN: &str = "turin-v5-vcek-85da705e";
const VLEK: &str = "milan-v3-vlek-decdab94";
const HOST: &str = "kdsintf.amd.com";

/// The service's action for a path.
type Service = Box<dyn Fn(&str) -> Reply + Send>;

/// The response of the service.
enum Reply {
    /// Status and body.
    Whole(u16, Vec<u8>),
    /// The length of the body, and fewer bytes.
    Short(usize),
    /// A body without an end.
    Endless,
    /// No response.
    Cut,
}

/// A directory with the evidence of a real report, a key service, and a cache.
struct Desk {
    directory: tempfile::TempDir,
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    service: Arc<Mutex<Service>>,
}

/// Returns an unknown authority, and the service's certificate from it.
fn authority() -> &'static (String, Arc<ServerConfig>) {
    static AUTHORITY: OnceLock<(String, Arc<ServerConfig>)> = OnceLock::new();
    AUTHORITY.get_or_init(|| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pair = KeyPair::generate().unwrap();
        let root = params.self_signed(&pair).unwrap();
        let issuer = Issuer::new(params, pair);
        let pair = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
        let certificate = params.signed_by(&pair, &issuer).unwrap();
        let private = PrivatePkcs8KeyDer::from(pair.serialize_der()).into();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        (
            super::hierarchy::pem("CERTIFICATE", root.der()),
            Arc::new(config),
        )
    })
}

/// Starts a proxy that connects every client to the service. Clients that go away early are part of
/// the tests.
fn start(asked: &Arc<Mutex<Vec<String>>>, service: &Arc<Mutex<Service>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, service) = (Arc::clone(asked), Arc::clone(service));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = serve(stream.unwrap(), &asked, &service);
        }
    });
    port
}

fn serve(
    mut stream: TcpStream,
    asked: &Mutex<Vec<String>>,
    service: &Mutex<Service>,
) -> std::io::Result<()> {
    let first = header_block(&mut BufReader::new(&stream))?;
    assert_eq!(first, format!("CONNECT {HOST}:443 HTTP/1.1"));
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let connection = ServerConnection::new(Arc::clone(&authority().1)).unwrap();
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    let first = header_block(&mut stream)?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    asked.lock().unwrap().push(format!("https://{HOST}{path}"));
    let reply = (*service.lock().unwrap())(&path);
    let stream = stream.get_mut();
    match reply {
        Reply::Whole(status, body) => {
            let location = if status == 302 {
                "Location: https://example.org/\r\n"
            } else {
                ""
            };
            write!(
                stream,
                "HTTP/1.1 {status} X\r\n{location}Content-Length: {}\r\n\r\n",
                body.len()
            )?;
            stream.write_all(&body)?;
        }
        Reply::Short(length) => write!(
            stream,
            "HTTP/1.1 200 X\r\nContent-Length: {length}\r\n\r\n0"
        )?,
        Reply::Endless => {
            write!(stream, "HTTP/1.1 200 X\r\nConnection: close\r\n\r\n")?;
            loop {
                stream.write_all(&[b'0'; 4096])?;
            }
        }
        Reply::Cut => return Ok(()),
    }
    stream.conn.send_close_notify();
    stream.flush()
}

/// Reads a header block to its end, and returns its first line.
fn header_block(stream: &mut impl std::io::BufRead) -> std::io::Result<String> {
    let mut first = String::new();
    stream.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 || line.trim_end().is_empty() {
            return Ok(first.trim_end().to_owned());
        }
    }
}

fn file(report: &str, name: &str) -> Vec<u8> {
    fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/data/snp/reports")
            .join(report)
            .join(name),
    )
    .unwrap()
}

/// Returns evidence with a certificate, or without.
fn document(report: &[u8], certificate: Option<&[u8]>) -> Value {
    let mut document = evidence(report, certificate.unwrap_or_default());
    if certificate.is_none() {
        document["evidence"]["cert_chain"] = Value::Null;
    }
    document["tls_public_key"] = json!("AAAA");
    document
}

impl Desk {
    fn with(evidence: &Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (asked, service) = (
            Arc::default(),
            Arc::new(Mutex::new(Box::new(|_: &str| Reply::Cut) as Service)),
        );
        let port = start(&asked, &service);
        let desk = Self {
            directory,
            port,
            asked,
            service,
        };
        fs::write(desk.path("session.json"), evidence.to_string()).unwrap();
        fs::write(desk.path("authorities.pem"), &authority().0).unwrap();
        desk
    }

    /// Creates a desk with a report whose host passed no certificate.
    fn of(report: &str) -> Self {
        Self::with(&document(&file(report, "report.bin"), None))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Sets the service's action from now on.
    fn serves(&self, service: impl Fn(&str) -> Reply + Send + 'static) {
        *self.service.lock().unwrap() = Box::new(service);
    }

    fn answering(self, body: &[u8], status: u16) -> Self {
        let body = body.to_vec();
        self.serves(move |_| Reply::Whole(status, body.clone()));
        self
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn kept(&self) -> Vec<String> {
        let files = fs::read_dir(self.path("cache")).into_iter().flatten();
        files
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    fn kettle(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kettle"));
        command
            .current_dir(self.directory.path())
            .env("PATH", self.path("nothing"))
            .env("HTTPS_PROXY", format!("http://127.0.0.1:{}", self.port))
            .env_remove("https_proxy")
            .env_remove("NO_PROXY")
            .env_remove("no_proxy")
            .env("SSL_CERT_FILE", self.path("authorities.pem"))
            .env("XDG_CACHE_HOME", self.path("default"));
        command
    }

    fn run(&self, more: &[&str]) -> Output {
        self.kettle()
            .args([
                "verify",
                "--session",
                "session.json",
                "--nonce",
                "00",
                "--json",
                "--at",
                "2026-03-21T00:00:00Z",
            ])
            .args(more)
            .output()
            .unwrap()
    }

    /// Returns outcomes or codes of the three checks that depend on the certificate.
    fn fetch(&self, more: &[&str]) -> [String; 3] {
        let output = self.run(&[&["--fetch", "--cache", "cache"], more].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        [1, 2, 3].map(|check| {
            let check = &document["checks"][check];
            check
                .get("code")
                .unwrap_or(&check["outcome"])
                .as_str()
                .unwrap()
                .to_owned()
        })
    }

    /// Returns the error of a run that verified nothing.
    fn error(&self, more: &[&str]) -> String {
        let output = self.run(more);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (&document["verdict"], &document["checks"]),
            (&json!("error"), &json!([]))
        );
        document["error"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_fetched_certificate_is_verified_and_kept_and_not_fetched_again() {
    for report in [GENOA, TURIN] {
        let desk = Desk::of(report).answering(&file(report, "vek.der"), 200);
        assert_eq!(desk.fetch(&[]), ["pass", "pass", "pass"], "{report}");
        let chip = hex::encode(
            Report::try_from(&file(report, "report.bin")[..])
                .unwrap()
                .chip_id(),
        );
        let chip = if report == TURIN { &chip[..16] } else { &chip };
        let asked = desk.asked();
        let product = if report == TURIN { "Turin" } else { "Genoa" };
        assert!(
            asked[0].starts_with(&format!(
                "https://kdsintf.amd.com/vcek/v1/{product}/{chip}?"
            )),
            "{asked:?}"
        );
        assert_eq!(asked[0].contains("?fmcSPL="), report == TURIN, "{asked:?}");
        desk.serves(|_| Reply::Cut);
        assert_eq!(desk.fetch(&[]), ["pass", "pass", "pass"], "{report}");
        assert_eq!(
            (asked.len(), desk.asked().len(), desk.kept().len()),
            (1, 1, 1),
            "{report}"
        );
    }
}

#[test]
fn a_certificate_is_requested_for_each_product_where_the_report_names_none() {
    let desk = Desk::of(GENOA_V2);
    desk.serves(|path| match path.contains("/Genoa/") {
        true => Reply::Whole(200, file(GENOA_V2, "vek.der")),
        false => Reply::Whole(404, Vec::new()),
    });
    assert_eq!(desk.fetch(&[]), ["pass", "pass", "pass"]);
    let asked = desk.asked();
    assert!(
        asked[0].contains("/Milan/") && asked[1].contains("/Genoa/"),
        "{asked:?}"
    );
    desk.serves(|_| Reply::Cut);
    assert_eq!(desk.fetch(&[])[0], "pass");
}

#[test]
fn a_refusal_is_no_verdict_and_says_what_to_do() {
    let whole = |status: u16, body: &[u8]| -> Service {
        let body = body.to_vec();
        Box::new(move |_| Reply::Whole(status, body.clone()))
    };
    let long = vec![b'0'; kettle::kds::MAX_RESPONSE_BYTES + 1];
    let behind = [&file(GENOA, "vek.der")[..], &[0]].concat();
    let cases: Vec<(Service, &str)> = vec![
        (whole(429, b"Too many"), "status 429"),
        (whole(404, b""), "no such chip or TCB version (status 404"),
        (whole(302, b""), "status 302"),
        (whole(500, b""), "status 500"),
        (Box::new(|_| Reply::Cut), "was cut"),
        (Box::new(|_| Reply::Short(9)), "was cut"),
        (whole(200, b""), "no DER"),
        (whole(200, b"<html>Sign in</html>"), "no DER"),
        (whole(200, &behind), "no DER"),
        (whole(200, &long), "MAX_RESPONSE_BYTES"),
        (Box::new(|_| Reply::Endless), "MAX_RESPONSE_BYTES"),
    ];
    for (service, says) in cases {
        let desk = Desk::of(GENOA);
        *desk.service.lock().unwrap() = service;
        let error = desk.error(&["--fetch", "--cache", "cache"]);
        assert!(
            error.contains(says) && error.contains("https://kdsintf.amd.com/vcek/v1/Genoa/"),
            "{says}: {error}"
        );
        assert_eq!(
            (desk.kept().len(), desk.asked().len()),
            (0, 1),
            "{says}: no other try, no redirect"
        );
    }
}

#[test]
fn only_authorities_of_this_machine_are_believed() {
    let desk = Desk::of(GENOA).answering(&file(GENOA, "vek.der"), 200);
    let fetch = |authorities: &str| {
        let output = desk
            .kettle()
            .args([
                "verify",
                "--session",
                "session.json",
                "--nonce",
                "00",
                "--fetch",
                "--cache",
                "cache",
            ])
            .env("SSL_CERT_FILE", desk.path(authorities))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let other = rcgen::generate_simple_self_signed(vec![HOST.to_owned()]).unwrap();
    fs::write(
        desk.path("other.pem"),
        super::hierarchy::pem("CERTIFICATE", other.cert.der()),
    )
    .unwrap();
    assert!(fetch("other.pem").contains("TLS with https://kdsintf.amd.com failed"));
    fs::write(desk.path("empty.pem"), "").unwrap();
    for missing in ["empty.pem", "nothing.pem"] {
        let error = fetch(missing);
        assert!(
            error.contains("the authorities in") && error.contains(missing),
            "{error}"
        );
    }
    assert_eq!(desk.asked(), [""; 0], "nothing was asked inside TLS");
}

#[test]
fn another_certificate_is_rejected_and_not_kept() {
    let forged = Scene::good().leaf_der();
    for (answer, expected) in [
        (
            file("genoa-v3-vcek-4ae0e73a", "vek.der"),
            ["pass", "chip-id-mismatch", "signature-invalid"],
        ),
        (
            file("genoa-v5-vcek-8fd94192", "vek.der"),
            ["pass", "tcb-mismatch", "signature-invalid"],
        ),
        (
            file(TURIN, "vek.der"),
            ["pass", "product-mismatch", "signature-invalid"],
        ),
        (
            forged,
            ["issuer-unknown", "tcb-mismatch", "signature-invalid"],
        ),
        (
            kettle::snp::roots::AMD[1].ask.to_vec(),
            ["issuer-unknown", "signing-key-mismatch", "certificate-key"],
        ),
        (
            vec![0x30, 0],
            ["certificate-malformed", "not-reached", "not-reached"],
        ),
    ] {
        let desk = Desk::of(GENOA).answering(&answer, 200);
        assert_eq!(desk.fetch(&[]), expected);
        assert_eq!(desk.kept(), [""; 0]);
    }
}

#[test]
fn a_spoiled_cache_is_bypassed_and_repaired() {
    let desk = Desk::of(GENOA).answering(&file(GENOA, "vek.der"), 200);
    desk.fetch(&[]);
    let kept = desk.path("cache").join(&desk.kept()[0]);
    for spoiled in [
        &b""[..],
        b"nothing",
        &file(TURIN, "vek.der"),
        &vec![0; kettle::kds::MAX_RESPONSE_BYTES + 1],
    ] {
        fs::write(&kept, spoiled).unwrap();
        assert_eq!(desk.fetch(&[]), ["pass", "pass", "pass"]);
        assert_eq!(fs::read(&kept).unwrap(), file(GENOA, "vek.der"));
    }
    assert_eq!((desk.asked().len(), desk.kept().len()), (5, 1));
}

#[test]
fn no_request_is_sent_unless_a_certificate_is_missing_and_fetch_was_given() {
    let missing = "certificate-missing";
    let never = |desk: &Desk, more: &[&str], expected: &str| {
        let output = desk.run(more);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let found = &document["checks"][1];
        assert_eq!(
            found.get("code").unwrap_or(&found["outcome"]),
            expected,
            "{more:?}"
        );
        assert_eq!(desk.asked(), [""; 0], "{more:?}");
        assert!(!desk.path("default").exists(), "{more:?}");
    };
    never(&Desk::of(GENOA), &[], missing);
    let given = Desk::of(GENOA);
    fs::write(given.path("vcek"), file(GENOA, "vek.der")).unwrap();
    never(&given, &["--fetch", "--vcek", "vcek"], "pass");
    let handed_over = document(&file(GENOA, "report.bin"), Some(&file(GENOA, "vek.der")));
    never(&Desk::with(&handed_over), &["--fetch"], "pass");
    never(&Desk::of(VLEK), &["--fetch"], missing);
    let mut hidden = file(GENOA, "report.bin");
    hidden[0x1a0..0x1e0].fill(0);
    never(&Desk::with(&document(&hidden, None)), &["--fetch"], missing);
}

#[test]
fn values_of_a_report_reach_the_service_only_as_digits() {
    let mut hostile = file(GENOA, "report.bin");
    hostile[0x1a0..0x1e0]
        .copy_from_slice(&b"/../;`$(x)`&--output=x \n@127.0.0.1#?%00".repeat(2)[..64]);
    let desk = Desk::with(&document(&hostile, None)).answering(b"", 404);
    desk.error(&["--fetch"]);
    let (head, tail) = desk.asked()[0]
        .split_once('?')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let chip = head
        .strip_prefix("https://kdsintf.amd.com/vcek/v1/Genoa/")
        .unwrap();
    assert!(
        chip.len() == 128 && chip.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{chip}"
    );
    assert!(
        tail.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"=&".contains(&byte)),
        "{tail}"
    );
}

#[test]
fn a_revocation_list_is_fetched_only_on_request_and_used() {
    let by_nobody = Crl::default().signed(&keys().ark);
    let desk = Desk::of(GENOA);
    desk.serves(move |path| match path.ends_with("crl") {
        true => Reply::Whole(200, by_nobody.clone()),
        false => Reply::Whole(200, file(GENOA, "vek.der")),
    });
    assert_eq!(desk.fetch(&["--fetch-crl"])[0], "crl-issuer");
    assert_eq!(desk.asked()[1], "https://kdsintf.amd.com/vcek/v1/Genoa/crl");
    assert_eq!(desk.kept().len(), 1, "a list of another issuer is kept");
    assert_eq!(desk.fetch(&[])[0], "pass");
    assert_eq!(desk.asked().len(), 2);
}

#[test]
fn contradictions_are_wrong_usage() {
    let desk = Desk::of(GENOA);
    let scene = Scene::good();
    let root = super::hierarchy::pem("CERTIFICATE", &scene.ark.signed(&keys().ark))
        + &super::hierarchy::pem("CERTIFICATE", &scene.ask.signed(&keys().ark));
    fs::write(desk.path("root.pem"), root).unwrap();
    fs::write(desk.path("list"), b"").unwrap();
    fs::write(
        desk.path("policy.toml"),
        "fetch = true\ntrust-root = \"root.pem\"\n",
    )
    .unwrap();
    for (options, says) in [
        (&["--fetch", "--trust-root", "root.pem"][..], "--trust-root"),
        (&["--policy", "policy.toml"], "--trust-root"),
        (&["--cache", "cache"], "--cache"),
        (&["--fetch-crl"], "--fetch-crl"),
        (
            &["--fetch", "--fetch-crl", "--crl", "list"],
            "one list only",
        ),
    ] {
        let error = desk.error(options);
        assert!(error.contains(says), "{options:?}: {error}");
    }
    assert_eq!(desk.asked(), [""; 0]);
}

#[test]
fn a_policy_may_say_fetch_with_a_cache_beside_it() {
    let desk = Desk::of(GENOA).answering(&file(GENOA, "vek.der"), 200);
    fs::create_dir(desk.path("policies")).unwrap();
    fs::write(
        desk.path("policies/policy.toml"),
        "fetch = true\ncache = \"../cache\"\n",
    )
    .unwrap();
    let output = desk.run(&["--policy", "policies/policy.toml"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!((desk.asked().len(), desk.kept().len()), (1, 1));
}

#[test]
fn the_default_cache_is_below_the_users() {
    let desk = Desk::of(GENOA).answering(&file(GENOA, "vek.der"), 200);
    desk.run(&["--fetch"]);
    assert_eq!(
        fs::read_dir(desk.path("default/kettle")).unwrap().count(),
        1
    );
    fs::remove_dir_all(desk.path("default")).unwrap();
    fs::write(desk.path("default"), b"no directory").unwrap();
    assert!(
        desk.error(&["--fetch"])
            .contains("the cache cannot be used: ")
    );
}

/// Returns a bundle around the evidence of a real report, as `kettle-init` packs it.
fn bundle(desk: &Desk, evidence: &Value) -> PathBuf {
    let mut evidence = evidence.clone();
    evidence.as_object_mut().unwrap().remove("tls_public_key");
    let evidence = format!("{evidence}\n");
    let long = format!("artifacts/{}", "n".repeat(200));
    let mut program = kettle::bundle::Entry::of_bytes("artifacts/program", b"program");
    program.executable = true;
    let entries = vec![
        program,
        kettle::bundle::Entry::of_bytes(long, b"long"),
        kettle::bundle::Entry::of_bytes("provenance.json", b"{}"),
        kettle::bundle::Entry::of_bytes("evidence.json", evidence.as_bytes()),
    ];
    let path = desk.path("bundle.tar.gz");
    fs::write(
        &path,
        kettle::bundle::write(Vec::new(), "project", entries, 7).unwrap(),
    )
    .unwrap();
    path
}

fn complete(desk: &Desk, more: &[&str]) -> Output {
    desk.kettle()
        .args(["complete", "bundle.tar.gz"])
        .args(more)
        .output()
        .unwrap()
}

#[test]
fn a_bundle_gets_the_certificate_that_its_host_did_not_give_and_nothing_else() {
    for report in [GENOA, TURIN] {
        let desk = Desk::of(report).answering(&file(report, "vek.der"), 200);
        let path = bundle(&desk, &document(&file(report, "report.bin"), None));
        let before = kettle::bundle::read::open(&path).unwrap();
        let output = complete(&desk, &["--cache", "cache"]);
        assert!(output.status.success(), "{output:?}");
        let after = kettle::bundle::read::open(&path).unwrap();
        let evidence =
            kettle::verifier::Evidence::read(after.evidence.as_deref().unwrap()).unwrap();
        assert_eq!(
            evidence.certificate.as_deref(),
            Some(&file(report, "vek.der")[..])
        );
        assert_eq!(evidence.report.as_bytes()[..], file(report, "report.bin"));
        assert_eq!(
            kettle::bundle::read::Bundle {
                evidence: before.evidence.clone(),
                ..after
            },
            before
        );
        // The appliance would have packed the same bytes with that certificate.
        let packed = fs::read(&path).unwrap();
        bundle(
            &desk,
            &document(&file(report, "report.bin"), Some(&file(report, "vek.der"))),
        );
        let entries = |bytes: &[u8]| kettle::bundle::read::stream(bytes).unwrap();
        let theirs = entries(&fs::read(&path).unwrap());
        assert_eq!(entries(&packed).artifacts, theirs.artifacts);
        fs::write(&path, &packed).unwrap();
        let output = complete(&desk, &["--cache", "cache"]);
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("already"),
            "{output:?}"
        );
        assert_eq!((fs::read(&path).unwrap(), desk.asked().len()), (packed, 1));
        let left: Vec<_> = fs::read_dir(desk.path("."))
            .unwrap()
            .map(|it| it.unwrap().file_name())
            .collect();
        assert!(
            left.iter()
                .all(|name| !name.to_string_lossy().starts_with('.')),
            "{left:?}"
        );
    }
}

#[test]
fn a_bundle_gets_no_other_certificate() {
    for (answer, status, says) in [
        (
            file("genoa-v3-vcek-4ae0e73a", "vek.der"),
            200,
            "not that of the key that signed",
        ),
        (
            file(TURIN, "vek.der"),
            200,
            "not that of the key that signed",
        ),
        (
            Scene::good().leaf_der(),
            200,
            "not that of the key that signed",
        ),
        (Vec::new(), 404, "no such chip or TCB version"),
    ] {
        let desk = Desk::of(GENOA).answering(&answer, status);
        let path = bundle(&desk, &document(&file(GENOA, "report.bin"), None));
        let before = fs::read(&path).unwrap();
        let output = complete(&desk, &["--cache", "cache"]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(2) && errors.contains(says),
            "{output:?}"
        );
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[test]
fn a_certificate_that_somebody_has_goes_into_another_file() {
    let desk = Desk::of(GENOA);
    let path = bundle(&desk, &document(&file(GENOA, "report.bin"), None));
    let before = fs::read(&path).unwrap();
    fs::write(desk.path("vcek"), file(GENOA, "vek.der")).unwrap();
    let output = complete(&desk, &["--vcek", "vcek", "--out", "complete.tar.gz"]);
    assert!(
        output.status.success() && desk.asked().is_empty(),
        "{output:?}"
    );
    assert_eq!(fs::read(&path).unwrap(), before);
    let after = kettle::bundle::read::open(&desk.path("complete.tar.gz")).unwrap();
    let evidence = kettle::verifier::Evidence::read(after.evidence.as_deref().unwrap()).unwrap();
    assert_eq!(evidence.certificate, Some(file(GENOA, "vek.der")));
}

#[test]
fn a_complete_bundle_is_also_written_where_that_was_requested() {
    let desk = Desk::of(GENOA);
    let path = bundle(
        &desk,
        &document(&file(GENOA, "report.bin"), Some(&file(GENOA, "vek.der"))),
    );
    let output = complete(&desk, &["--out", "complete.tar.gz"]);
    assert!(
        output.status.success() && desk.asked().is_empty(),
        "{output:?}"
    );
    assert_eq!(
        fs::read(desk.path("complete.tar.gz")).unwrap(),
        fs::read(&path).unwrap()
    );
}

/// Of real evidence of Azure's, which comes with its certificate.
#[test]
fn a_bundle_of_a_paravisors_machine_gets_its_certificate_too() {
    let desk = Desk::of(GENOA);
    let bytes = fs::read("tests/data/snp/azure/live-milan-v3/evidence.json").unwrap();
    let whole: Value = serde_json::from_slice(&bytes).unwrap();
    let certificate = kettle::verifier::Evidence::read(&bytes)
        .unwrap()
        .certificate;
    fs::write(desk.path("vcek"), certificate.unwrap()).unwrap();
    let mut without = whole.clone();
    without["evidence"].as_object_mut().unwrap().remove("vcek");
    let path = bundle(&desk, &without);

    fs::write(desk.path("other"), file(GENOA, "vek.der")).unwrap();
    let output = complete(&desk, &["--vcek", "other"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(2) && errors.contains("not that of the key that signed"),
        "{output:?}"
    );
    let output = complete(&desk, &["--vcek", "vcek"]);
    assert!(output.status.success(), "{output:?}");
    let completed = kettle::bundle::read::open(&path).unwrap().evidence.unwrap();
    let read = |bytes: &[u8]| kettle::verifier::Evidence::read(bytes).unwrap();
    assert_eq!(
        format!("{:?}", read(&completed)),
        format!("{:?}", read(&bytes))
    );
    let completed: Value = serde_json::from_slice(&completed).unwrap();
    let quote = "/evidence/tpm_quote";
    assert_eq!(completed.pointer(quote), whole.pointer(quote));
}
