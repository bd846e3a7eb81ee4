//! `kettle verify --fetch` with a `curl` of ours first in `PATH`, on reports of real hardware.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kettle::snp::report::Report;
use serde_json::{Value, json};

use super::hierarchy::{Crl, keys};
use super::scene::{Scene, evidence};

const GENOA: &str = "genoa-v3-vcek-42898c8b";
const GENOA_V2: &str = "genoa-v2-vcek-c7ff0a93";
const TURIN: &str = "turin-v5-vcek-85da705e";
const VLEK: &str = "milan-v3-vlek-decdab94";

/// A folder with the evidence of a real report, a `curl`, and a cache.
struct Desk(tempfile::TempDir);

fn file(report: &str, name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/snp/reports").join(report).join(name)).unwrap()
}

/// Evidence with a certificate, or without.
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
        let desk = Self(tempfile::tempdir().unwrap());
        fs::create_dir(desk.path("bin")).unwrap();
        fs::write(desk.path("session.json"), evidence.to_string()).unwrap();
        desk.curl("exit 99");
        desk
    }

    /// Of a report whose host handed over nothing.
    fn of(report: &str) -> Self {
        Self::with(&document(&file(report, "report.bin"), None))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes down what it is asked, then does this; `$answer` is a file and `$url` the address.
    fn curl(&self, script: &str) {
        let text = format!(
            "#!/bin/sh\nfor url; do :; done\nprintf '%s\\n' \"$*\" >>'{}'\nanswer='{}'\n{script}\n",
            self.path("asked").display(),
            self.path("answer").display()
        );
        // Written by another process: a child that another test is starting would have a file of ours open for writing until it
        // has become its program, and such a file cannot be run.
        let mut writer = Command::new("sh");
        writer.args(["-c", "printf %s \"$1\" >\"$2\" && chmod 755 \"$2\"", "sh", &text]).arg(self.path("bin/curl"));
        assert!(writer.status().unwrap().success());
    }

    fn answering(self, body: &[u8], status: u16) -> Self {
        fs::write(self.path("answer"), body).unwrap();
        self.curl(&format!("cat \"$answer\"; printf {status}"));
        self
    }

    fn asked(&self) -> Vec<String> {
        let asked = fs::read_to_string(self.path("asked")).unwrap_or_default();
        asked.lines().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect()
    }

    fn kept(&self) -> Vec<String> {
        let files = fs::read_dir(self.path("cache")).into_iter().flatten();
        files.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn run(&self, more: &[&str]) -> Output {
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        Command::new(env!("CARGO_BIN_EXE_kettle"))
            .args(["verify", "--session", "session.json", "--nonce", "00", "--json", "--at", "2026-03-21T00:00:00Z"])
            .args(more)
            .current_dir(self.0.path())
            .env("PATH", path)
            .env("XDG_CACHE_HOME", self.path("default"))
            .output()
            .unwrap()
    }

    /// Outcomes or codes of the three checks that the certificate decides.
    fn fetch(&self, more: &[&str]) -> [String; 3] {
        let output = self.run(&[&["--fetch", "--cache", "cache"], more].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        [1, 2, 3].map(|check| {
            let check = &document["checks"][check];
            check.get("code").unwrap_or(&check["outcome"]).as_str().unwrap().to_owned()
        })
    }

    /// The error of a run that verified nothing.
    fn error(&self, more: &[&str]) -> String {
        let output = self.run(more);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&document["verdict"], &document["checks"]), (&json!("error"), &json!([])));
        document["error"].as_str().unwrap().to_owned()
    }
}

#[test]
fn what_is_fetched_is_verified_and_kept_and_not_fetched_again() {
    for report in [GENOA, TURIN] {
        let desk = Desk::of(report).answering(&file(report, "vek.der"), 200);
        assert_eq!(desk.fetch(&[]), ["pass", "pass", "pass"], "{report}");
        let chip = hex::encode(Report::try_from(&file(report, "report.bin")[..]).unwrap().chip_id());
        let chip = if report == TURIN { &chip[..16] } else { &chip };
        let asked = desk.asked();
        let product = if report == TURIN { "Turin" } else { "Genoa" };
        assert!(asked[0].starts_with(&format!("https://kdsintf.amd.com/vcek/v1/{product}/{chip}?")), "{asked:?}");
        assert_eq!(asked[0].contains("?fmcSPL="), report == TURIN, "{asked:?}");
        desk.curl("exit 6");
        assert_eq!(desk.fetch(&[]), ["pass", "pass", "pass"], "{report}");
        assert_eq!((asked.len(), desk.asked().len(), desk.kept().len()), (1, 1, 1), "{report}");
    }
}

#[test]
fn curl_is_told_its_limits_and_reads_no_configuration() {
    let desk = Desk::of(GENOA).answering(&file(GENOA, "vek.der"), 200);
    desk.fetch(&[]);
    let line = fs::read_to_string(desk.path("asked")).unwrap();
    assert!(line.starts_with("--disable --silent"), "{line}");
    for option in ["--proto =https ", "--max-time ", "--connect-timeout ", "--max-filesize "] {
        assert!(line.contains(option), "{option} is missing: {line}");
    }
    assert!(!line.contains("--location") && !line.contains("--insecure"), "{line}");
}

#[test]
fn a_report_without_a_product_is_asked_for_as_each() {
    let desk = Desk::of(GENOA_V2);
    fs::write(desk.path("answer"), file(GENOA_V2, "vek.der")).unwrap();
    desk.curl("case $url in */Genoa/*) cat \"$answer\"; printf 200;; *) printf 404;; esac");
    assert_eq!(desk.fetch(&[]), ["pass", "pass", "pass"]);
    let asked = desk.asked();
    assert!(asked[0].contains("/Milan/") && asked[1].contains("/Genoa/"), "{asked:?}");
    desk.curl("exit 6");
    assert_eq!(desk.fetch(&[])[0], "pass");
}

#[test]
fn a_refusal_is_no_verdict_and_says_what_to_do() {
    let long = vec![b'0'; kettle::kds::MAX_ANSWER_BYTES + 1];
    let good = file(GENOA, "vek.der");
    let behind = [&good[..], &[0]].concat();
    for (body, script, says) in [
        (&b"Too many"[..], "cat \"$answer\"; printf 429", "status 429"),
        (b"", "printf 404", "no such chip or TCB version (status 404"),
        (b"", "printf 302", "status 302"),
        (b"", "printf 500", "status 500"),
        (
            b"",
            "echo 'curl: (6) Could not resolve host: kdsintf.amd.com' >&2; printf 000; exit 6",
            "(6) Could not resolve",
        ),
        (b"", "echo 'curl: (60) SSL certificate problem' >&2; printf 000; exit 60", "(60) SSL certificate problem"),
        (&good, "cat \"$answer\"; printf 200; exit 18", "exit status: 18"),
        (b"", "kill -9 $$", "signal: 9"),
        (b"", ":", "gave no answer"),
        (b"<html>Sign in</html>", "cat \"$answer\"; printf 200", "no DER"),
        (&behind, "cat \"$answer\"; printf 200", "no DER"),
        (&long, "cat \"$answer\"; printf 200", "MAX_ANSWER_BYTES"),
        (&long, "while :; do cat \"$answer\"; done", "MAX_ANSWER_BYTES"),
        (b"", "printf 000; exit 63", "MAX_ANSWER_BYTES"),
    ] {
        let desk = Desk::of(GENOA);
        fs::write(desk.path("answer"), body).unwrap();
        desk.curl(script);
        let error = desk.error(&["--fetch", "--cache", "cache"]);
        assert!(error.contains(says) && error.contains("https://kdsintf.amd.com/vcek/v1/Genoa/"), "{script}: {error}");
        assert_eq!(desk.kept(), [""; 0], "{script}");
    }
}

#[test]
fn without_curl_it_says_so() {
    let desk = Desk::of(GENOA);
    let output = Command::new(env!("CARGO_BIN_EXE_kettle"))
        .args(["verify", "--session", "session.json", "--nonce", "00", "--fetch", "--cache", "cache"])
        .current_dir(desk.0.path())
        .env("PATH", desk.path("nothing"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && errors.contains("needs the program curl"), "{output:?}");
}

#[test]
fn another_certificate_is_rejected_and_not_kept() {
    let forged = Scene::good().leaf_der();
    for (answer, expected) in [
        (file("genoa-v3-vcek-4ae0e73a", "vek.der"), ["pass", "chip-id-mismatch", "signature-invalid"]),
        (file("genoa-v5-vcek-8fd94192", "vek.der"), ["pass", "tcb-mismatch", "signature-invalid"]),
        (file(TURIN, "vek.der"), ["pass", "product-mismatch", "signature-invalid"]),
        (forged, ["issuer-unknown", "tcb-mismatch", "signature-invalid"]),
        (kettle::snp::roots::AMD[1].ask.to_vec(), ["issuer-unknown", "signing-key-mismatch", "certificate-key"]),
        (vec![0x30, 0], ["certificate-malformed", "not-reached", "not-reached"]),
    ] {
        let desk = Desk::of(GENOA).answering(&answer, 200);
        assert_eq!(desk.fetch(&[]), expected);
        assert_eq!(desk.kept(), [""; 0]);
    }
}

#[test]
fn a_spoiled_cache_is_asked_past_and_mended() {
    let desk = Desk::of(GENOA).answering(&file(GENOA, "vek.der"), 200);
    desk.fetch(&[]);
    let kept = desk.path("cache").join(&desk.kept()[0]);
    for spoiled in [&b""[..], b"nothing", &file(TURIN, "vek.der"), &vec![0; kettle::kds::MAX_ANSWER_BYTES + 1]] {
        fs::write(&kept, spoiled).unwrap();
        assert_eq!(desk.fetch(&[]), ["pass", "pass", "pass"]);
        assert_eq!(fs::read(&kept).unwrap(), file(GENOA, "vek.der"));
    }
    assert_eq!((desk.asked().len(), desk.kept().len()), (5, 1));
}

#[test]
fn nobody_is_asked_unless_something_is_missing_and_fetch_was_said() {
    let missing = "certificate-missing";
    let never = |desk: &Desk, more: &[&str], expected: &str| {
        let output = desk.run(more);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let found = &document["checks"][1];
        assert_eq!(found.get("code").unwrap_or(&found["outcome"]), expected, "{more:?}");
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
fn what_a_report_says_is_only_ever_digits_to_curl() {
    let mut hostile = file(GENOA, "report.bin");
    hostile[0x1a0..0x1e0].copy_from_slice(&b"/../;`$(x)`&--output=x \n@127.0.0.1#?%00".repeat(2)[..64]);
    let desk = Desk::with(&document(&hostile, None)).answering(b"", 404);
    desk.error(&["--fetch"]);
    let (head, tail) = desk.asked()[0].split_once('?').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let chip = head.strip_prefix("https://kdsintf.amd.com/vcek/v1/Genoa/").unwrap();
    assert!(chip.len() == 128 && chip.bytes().all(|byte| byte.is_ascii_hexdigit()), "{chip}");
    assert!(tail.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=&".contains(&byte)), "{tail}");
}

#[test]
fn a_list_is_fetched_only_when_asked_for_and_judged() {
    let by_nobody = Crl::default().signed(&keys().ark);
    let desk = Desk::of(GENOA);
    fs::write(desk.path("answer"), file(GENOA, "vek.der")).unwrap();
    fs::write(desk.path("list"), by_nobody).unwrap();
    desk.curl("case $url in *crl) cat \"${answer%answer}list\";; *) cat \"$answer\";; esac; printf 200");
    assert_eq!(desk.fetch(&["--fetch-crl"])[0], "crl-issuer");
    assert_eq!(desk.asked()[1], "https://kdsintf.amd.com/vcek/v1/Genoa/crl");
    assert_eq!(desk.kept().len(), 1, "the list is nobody's");
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
    fs::write(desk.path("policy.toml"), "fetch = true\ntrust-root = \"root.pem\"\n").unwrap();
    for (options, says) in [
        (&["--fetch", "--trust-root", "root.pem"][..], "--trust-root"),
        (&["--policy", "policy.toml"], "--trust-root"),
        (&["--cache", "cache"], "--cache"),
        (&["--fetch-crl"], "--fetch-crl"),
        (&["--fetch", "--fetch-crl", "--crl", "list"], "two lists"),
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
    fs::write(desk.path("policies/policy.toml"), "fetch = true\ncache = \"../cache\"\n").unwrap();
    let output = desk.run(&["--policy", "policies/policy.toml"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!((desk.asked().len(), desk.kept().len()), (1, 1));
}

#[test]
fn the_default_cache_is_below_the_users() {
    let desk = Desk::of(GENOA).answering(&file(GENOA, "vek.der"), 200);
    desk.run(&["--fetch"]);
    assert_eq!(fs::read_dir(desk.path("default/kettle")).unwrap().count(), 1);
    fs::remove_dir_all(desk.path("default")).unwrap();
    fs::write(desk.path("default"), b"no folder").unwrap();
    assert!(desk.error(&["--fetch"]).contains("the cache: "));
}
