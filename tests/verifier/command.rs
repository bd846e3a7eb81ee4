//! Runs of `kettle verify`, as people run it.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kettle::bundle::{Entry, write};
use kettle::verifier::ReferenceValues;
use serde_json::Value;

use super::hierarchy::{keys, pem};
use super::rejections::revoked;
use super::scene::{ARTIFACT, LOCKFILE, LOG, NONCE, Scene};
use super::signed;

const ENVELOPE: &str = "provenance.sigstore.json";

/// A directory with the bundle, packed and unpacked, and the trust root.
pub struct Files(tempfile::TempDir);

impl Files {
    pub fn new(scene: &Scene) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bundle = scene.bundle();
        let evidence = bundle.evidence.unwrap();
        let mut files: Vec<(&str, &[u8])> = vec![
            ("provenance.json", &bundle.provenance),
            ("evidence.json", &evidence),
            ("artifacts/program", ARTIFACT),
            ("build-config/Cargo.lock", LOCKFILE),
            ("build.log", LOG),
        ];
        files.extend(bundle.envelope.iter().map(|it| (ENVELOPE, &it[..])));
        let entries = files
            .iter()
            .map(|(path, bytes)| Entry::of_bytes(*path, bytes))
            .collect();
        fs::write(
            directory.path().join("p.tar.gz"),
            write(Vec::new(), "project", entries, 0).unwrap(),
        )
        .unwrap();
        for (path, bytes) in files {
            let path = directory.path().join("p").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let root = pem("CERTIFICATE", &scene.ark.signed(&keys().ark))
            + &pem("CERTIFICATE", &scene.ask.signed(&keys().ark));
        fs::write(directory.path().join("root.pem"), root).unwrap();
        Self(directory)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_kettle"))
            .arg("verify")
            .args(arguments)
            .current_dir(self.path())
            .output()
            .unwrap()
    }

    /// Prepares a run with everything that a good bundle needs, and JSON.
    pub fn command(&self, bundle: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kettle"));
        command
            .args([
                "verify",
                bundle,
                "--json",
                "--trust-root",
                "root.pem",
                "--measurement",
                &"5a".repeat(48),
            ])
            .args(["--at", "2026-06-01T00:00:00Z"])
            .current_dir(self.path());
        command
    }

    /// Returns the text output about the unpacked bundle.
    fn text(&self, given: &[&str]) -> String {
        let fixed = [
            "p",
            "--trust-root",
            "root.pem",
            "--at",
            "2026-06-01T00:00:00Z",
        ];
        String::from_utf8(self.run(&[&fixed[..], given].concat()).stdout).unwrap()
    }

    /// Runs it with everything that a good bundle needs.
    fn verify(&self, bundle: &str, more: &[&str]) -> Output {
        let measurement = "5a".repeat(48);
        let fixed = [
            bundle,
            "--trust-root",
            "root.pem",
            "--measurement",
            &measurement,
            "--at",
            "2026-06-01T02:00:00+02:00",
        ];
        self.run(&[&fixed[..], more].concat())
    }
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn archive_and_directory_are_accepted_and_what_is_not_established_is_said() {
    let files = Files::new(&Scene::good());
    for bundle in ["p.tar.gz", "p"] {
        let output = files.verify(bundle, &[]);
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(
            text.contains("ACCEPTED\n") && text.contains("nonce: not checked\n"),
            "{text}"
        );
        assert!(text.starts_with("trusting a test hierarchy"), "{text}");
    }
}

#[test]
fn json_is_one_document_with_all_checks_in_order() {
    let files = Files::new(&signed::good());
    let accepted = files.verify(
        "p",
        &[
            "--json",
            "--nonce",
            &NONCE.to_uppercase(),
            "--artifact",
            "p/artifacts/program",
        ],
    );
    let document = json(&accepted);
    assert_eq!(
        (accepted.status.code(), &document["verdict"]),
        (Some(0), &"accepted".into())
    );
    let names: Vec<_> = document["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| check["check"].as_str().unwrap())
        .collect();
    let expected = [
        "bundle",
        "endorsements",
        "certificate-binding",
        "report-signature",
        "guest-policy",
        "tcb",
        "launch-measurement",
        "report-data",
        "nonce",
        "statement",
        "expectations",
        "envelope",
        "subjects",
    ];
    assert_eq!(names, expected);
    assert!(
        document["checks"]
            .as_array()
            .unwrap()
            .iter()
            .all(|check| check["outcome"] == "pass")
    );
    let rejected = files.verify("p", &["--json", "--nonce", "00"]);
    assert_eq!(rejected.status.code(), Some(1));
    let nonce = &json(&rejected)["checks"][8];
    assert_eq!(
        (&nonce["code"], &nonce["expected"]),
        (&"nonce-not-in-report".into(), &"00".repeat(16).into())
    );
}

#[test]
fn amds_roots_and_the_published_measurements_are_the_default() {
    let files = Files::new(&Scene::good());
    let output = files.run(&["p", "--json", "--at", "2026-06-01T00:00:00Z"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(json(&output)["checks"][1]["code"], "issuer-unknown");
}

#[test]
fn a_damaged_bundle_is_rejected() {
    let files = Files::new(&Scene::good());
    fs::write(files.path().join("bad"), b"no bundle").unwrap();
    let output = files.verify("bad", &["--json"]);
    assert_eq!(
        (output.status.code(), &json(&output)["verdict"]),
        (Some(1), &"rejected".into())
    );
}

#[test]
fn wrong_usage_is_no_verdict() {
    let files = Files::new(&Scene::good());
    fs::write(files.path().join("unknown.toml"), "measurment = []").unwrap();
    for wrong in [
        &["--unknown"][..],
        &["--nonce", "0"],
        &["--measurement", "00"],
        &["--measurements", "root.pem"],
        &["--commit", "abc"],
        &["--min-tcb", "snp"],
        &["--min-tcb", "none,snp=1"],
        &["--option", "features"],
        &["--option", "profile=dev"],
        &["--waive", "report-signature"],
        &["--at", "yesterday"],
        &["--vcek", "missing"],
        &["--crl", "missing"],
        &["--artifact", "missing"],
        &["--policy", "missing"],
        &["--policy", "unknown.toml"],
        &["--trust-root", "p/build.log"],
    ] {
        let output = files.run(&[&["p", "--json"], wrong].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {output:?}");
        let document = json(&output);
        assert_eq!(
            (&document["verdict"], &document["checks"]),
            (&"error".into(), &serde_json::json!([])),
            "{wrong:?}"
        );
        assert!(!document["error"].as_str().unwrap().is_empty());
    }
    assert_eq!(files.verify("missing", &[]).status.code(), Some(2));
    assert_eq!(files.run(&[]).status.code(), Some(2));
}

#[test]
fn a_fault_of_a_bundle_is_a_rejection() {
    let files = Files::new(&Scene::good());
    let evidence = fs::read_to_string(files.path().join("p/evidence.json")).unwrap();
    let report = |edit: &dyn Fn(&mut Vec<u8>)| {
        let (head, rest) = evidence.split_once("\"attestation_report\":\"").unwrap();
        let (text, tail) = rest.split_once('"').unwrap();
        let mut bytes = STANDARD.decode(text).unwrap();
        edit(&mut bytes);
        format!(
            "{head}\"attestation_report\":\"{}\"{tail}",
            STANDARD.encode(bytes)
        )
    };
    for (changed, code) in [
        ("no JSON".to_owned(), "evidence-malformed"),
        (evidence.replace("\"snp\"", "\"tdx\""), "platform-unknown"),
        (report(&|bytes| bytes[0] = 9), "report-version"),
        (report(&|bytes| bytes.truncate(1183)), "report-length"),
    ] {
        fs::write(files.path().join("p/evidence.json"), changed).unwrap();
        let output = files.verify("p", &["--json"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(
            json(&output).to_string().contains(code),
            "{code}: {output:?}"
        );
    }
    fs::remove_file(files.path().join("p/evidence.json")).unwrap();
    assert_eq!(files.verify("p", &[]).status.code(), Some(1));
    fs::create_dir(files.path().join("empty")).unwrap();
    assert_eq!(files.verify("empty", &[]).status.code(), Some(1));
}

#[test]
fn a_session_has_no_source_to_expect_anything_of() {
    let files = Files::new(&Scene::good());
    for (option, value) in [
        ("--repository", "u"),
        ("--ref", "v1"),
        ("--commit", &*"ab".repeat(20)),
        ("--artifact", "root.pem"),
        ("--option", "path=p"),
    ] {
        let output = files.run(&[
            "--session",
            "p/evidence.json",
            "--nonce",
            NONCE,
            "--json",
            option,
            value,
        ]);
        assert_eq!(output.status.code(), Some(2), "{option}");
        assert!(
            json(&output)["error"]
                .as_str()
                .unwrap()
                .contains("cannot be used with"),
            "{option}: {output:?}"
        );
    }
}

#[test]
fn a_terminal_shows_nothing_that_a_bundle_could_hide_behind() {
    let mut scene = Scene::good();
    scene.statement["predicate"]["buildDefinition"]["externalParameters"]["source"]["ref"] =
        "v1\u{1b}[2J\u{202e}\u{200b}\r".into();
    let output = Files::new(&scene).verify("p", &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("  ref: v1\\u{1b}[2J\\u{202e}\\u{200b}\\u{d}\n"),
        "{text}"
    );
}

#[test]
fn neither_json_nor_a_complaint_moves_a_terminal() {
    const NAME: &str = "v1\u{1b}[2J\u{9b}31m\u{202e}\u{7f}\u{43e}\u{fe0f}";
    let mut scene = Scene::good();
    scene.statement["predicate"]["buildDefinition"]["externalParameters"]["source"]["ref"] =
        NAME.into();
    let files = Files::new(&scene);
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..NAME.len()].copy_from_slice(NAME.as_bytes());
    header
        .as_old_mut()
        .cksum
        .copy_from_slice(b"9\x1b[2J\xc2\x9b\0");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(header.as_bytes()).unwrap();
    fs::write(files.path().join("damaged"), gzip.finish().unwrap()).unwrap();
    let inspect = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kettle"));
        command
            .arg("inspect")
            .args(arguments)
            .current_dir(files.path())
            .output()
            .unwrap()
    };
    let outputs = [
        files.verify("p", &["--json"]),
        files.verify("damaged", &["--json"]),
        files.verify("damaged", &[]),
        files.run(&["p", "--json", "--at", NAME]),
        files.run(&["p", "--at", NAME]),
        inspect(&["p", "--json"]),
        inspect(&["p"]),
        inspect(&["damaged"]),
    ];
    for output in &outputs {
        let text = String::from_utf8([&output.stdout[..], &output.stderr].concat()).unwrap();
        let is_printable_ascii = |line: &str| line.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        assert!(text.lines().all(is_printable_ascii), "{text:?}");
        assert!(text.contains("2J") && text.ends_with('\n'), "{text:?}");
    }
    assert_eq!(json(&outputs[0])["claims"]["ref"], NAME);
    assert_eq!(
        outputs.map(|output| output.status.code().unwrap()),
        [0, 1, 1, 2, 2, 0, 0, 1]
    );
}

#[test]
fn a_moment_before_all_certificates_is_a_rejection() {
    let files = Files::new(&Scene::good());
    let output = files.run(&[
        "p",
        "--json",
        "--trust-root",
        "root.pem",
        "--at",
        "1969-12-31T23:59:59Z",
    ]);
    assert_eq!(
        (output.status.code(), &json(&output)["checks"][1]["code"]),
        (Some(1), &"certificate-not-yet-valid".into())
    );
}

#[test]
fn a_policy_says_all_of_it_with_paths_of_its_own() {
    let files = Files::new(&Scene::good());
    fs::create_dir(files.path().join("policies")).unwrap();
    let policy = format!(
        "nonce = \"{NONCE}\"\nmeasurement = [\"{}\"]\ntrust-root = \"../root.pem\"\nartifact = \"../p/artifacts/program\"\n\
         min-tcb = \"snp=24\"\nref = \"v1\"\nrepository = \"https://example.org/project\"\ncommit = \"{}\"\n",
        "5a".repeat(48),
        "ab".repeat(20),
    );
    fs::write(files.path().join("policies/policy.toml"), policy).unwrap();
    let with = [
        "p",
        "--json",
        "--at",
        "2026-06-01T00:00:00Z",
        "--policy",
        "policies/policy.toml",
    ];
    let output = files.run(&with);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let overridden = files.run(&[&with[..], &["--ref", "v2"]].concat());
    assert_eq!(json(&overridden)["checks"][10]["code"], "ref-mismatch");
    let moments = [
        "2026-06-01T00:00:00Z",
        "\"2026-06-01T02:00:00+02:00\"",
        "2051-06-01T00:00:00Z",
        "2026-06-01",
        "\"now\"",
    ];
    for (moment, status) in moments.into_iter().zip([0, 0, 1, 2, 2]) {
        let policy = fs::read_to_string(files.path().join("policies/policy.toml")).unwrap();
        fs::write(
            files.path().join("policies/dated.toml"),
            format!("{policy}at = {moment}\n"),
        )
        .unwrap();
        let output = files.run(&["p", "--policy", "policies/dated.toml"]);
        assert_eq!(output.status.code(), Some(status), "{moment}: {output:?}");
    }
    let added = files.run(&[&with[..], &["--artifact", "root.pem"]].concat());
    assert_eq!(json(&added)["checks"][10]["code"], "artifact-not-a-subject");
}

/// Returns a file of reference values whose only measurement is that of the scene, with further
/// members.
fn reference_file(members: &Value) -> Value {
    let digest = "ab".repeat(32);
    let mut file = serde_json::json!({
        "version": "9.9.9",
        "firmware_sha256": digest,
        "root_hash": "aa".repeat(32),
        "measurements": [{"measurement": "5a".repeat(48), "vcpu_type": "EPYC-v4", "vcpus": 1}],
    });
    file.as_object_mut()
        .unwrap()
        .extend(members.as_object().unwrap().clone());
    file
}

#[test]
fn the_result_names_who_said_that_the_measurement_is_to_be_believed() {
    let mut scene = Scene::good();
    let parameters = scene
        .statement
        .pointer_mut("/predicate/buildDefinition/internalParameters")
        .unwrap();
    parameters["image"] = serde_json::json!({"rootHash": "aa".repeat(32)});
    let files = Files::new(&scene);
    let value = "5a".repeat(48);
    let write = |name: &str, text: String| fs::write(files.path().join(name), text).unwrap();
    write(
        "values.json",
        reference_file(&serde_json::json!({})).to_string(),
    );
    write(
        "other.json",
        reference_file(&serde_json::json!({"root_hash": "bb".repeat(32)})).to_string(),
    );
    write("alone.toml", format!("measurement = \"{value}\""));
    write("file.toml", "measurements = \"values.json\"".to_owned());
    let run = |given: &[&str]| {
        let fixed = [
            "p",
            "--json",
            "--trust-root",
            "root.pem",
            "--at",
            "2026-06-01T00:00:00Z",
        ];
        json(&files.run(&[&fixed[..], given].concat()))
    };
    for (given, anchor) in [
        (["--measurement", &*value], "option"),
        (["--measurements", "values.json"], "file"),
        (["--policy", "alone.toml"], "policy"),
        (["--policy", "file.toml"], "policy"),
    ] {
        let document = run(&given);
        assert_eq!(
            (&document["verdict"], &document["claims"]["anchor"]),
            (&"accepted".into(), &anchor.into())
        );
        let text = files.text(&given);
        assert!(text.contains(&format!("\n  anchor: {anchor}\n")), "{text}");
    }
    let other = run(&["--measurements", "other.json"]);
    assert_eq!(
        other["checks"][6]["code"], "image-claim-mismatch",
        "{other:#}"
    );
    assert_eq!(other["checks"][6]["expected"], "bb".repeat(32));
    assert_eq!(other["checks"][6]["actual"], "aa".repeat(32));
}

/// Returns a scene with the measurement of the newest release, whose statement claims that image
/// with `kernel` as its kernel.
fn of_a_release(kernel: Option<&str>) -> Scene {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("measurements/0.2.0.json");
    let file: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let published = ReferenceValues::published().unwrap();
    let shape = published
        .shapes()
        .find(|shape| shape.version == "0.2.0" && shape.variant.is_none())
        .unwrap();
    let measurement = *shape.measurement.as_bytes();
    let mut scene = Scene::good();
    let named =
        |digest: &Value| serde_json::json!({"name": "a file", "digest": {"sha256": digest}});
    let kernel = kernel.map_or_else(|| file["kernel_sha256"].clone(), Value::from);
    let parameters = scene
        .statement
        .pointer_mut("/predicate/buildDefinition/internalParameters")
        .unwrap();
    parameters["image"] = serde_json::json!({
        "rootHash": file["root_hash"],
        "kernel": named(&kernel),
        "initrd": named(&file["initrd_sha256"]),
        "commandLine": named(&file["command_line_sha256"]),
    });
    scene.edit_report = Box::new(move |report| report[0x90..0xc0].copy_from_slice(&measurement));
    scene
}

#[test]
fn a_published_image_is_believed_where_the_statement_claims_it() {
    let run = |files: &Files| serde_json::from_str::<Value>(&files.text(&["--json"])).unwrap();
    let files = Files::new(&of_a_release(None));
    let document = run(&files);
    assert_eq!(
        (&document["verdict"], &document["claims"]["anchor"]),
        (&"accepted".into(), &"published".into())
    );
    let text = files.text(&[]);
    assert!(
        text.contains("ACCEPTED\n") && text.contains("\n  anchor: published\n"),
        "{text}"
    );
    let other = "ab".repeat(32);
    let files = Files::new(&of_a_release(Some(&other)));
    let document = run(&files);
    let check = &document["checks"][6];
    assert_eq!(
        (&check["code"], &check["actual"]),
        (&"image-claim-mismatch".into(), &other.into())
    );
    assert!(
        check["detail"]
            .as_str()
            .unwrap()
            .contains("kernel of image 0.2.0"),
        "{check}"
    );
}

#[test]
fn old_firmware_is_taken_only_where_the_reader_says_so_and_the_output_too() {
    let mut scene = Scene::good();
    scene.set_extension("1.3.6.1.4.1.3704.1.3.3", Some(vec![2, 1, 9]));
    scene.edit_report = Box::new(|report| {
        for offset in [0x38, 0x180, 0x1e0, 0x1f0] {
            report[offset + 6] = 9;
        }
    });
    let files = Files::new(&scene);
    let refused = files.verify("p", &["--json"]);
    let check = &json(&refused)["checks"][5];
    assert_eq!(
        (refused.status.code(), &check["code"]),
        (Some(1), &"tcb-below-floor".into()),
        "{check}"
    );
    assert_eq!(
        (&check["expected"], &check["actual"]),
        (&"at least 27".into(), &"9".into())
    );
    assert!(
        check["detail"]
            .as_str()
            .unwrap()
            .contains("the floor of AMD-SB-"),
        "{check}"
    );
    let write = |name: &str, text: &str| fs::write(files.path().join(name), text).unwrap();
    write("any.toml", "min-tcb = \"none\"");
    write("some.toml", "min-tcb = \"snp=9\"");
    for (given, minimum, said) in [
        (
            &["--min-tcb", "none"][..],
            "none",
            "\ntcb: no version of the firmware was asked for (--min-tcb none)",
        ),
        (
            &["--policy", "any.toml"],
            "none",
            "\ntcb: no version of the firmware was asked for (--min-tcb none)",
        ),
        (
            &["--policy", "some.toml", "--min-tcb", "none"],
            "none",
            "\ntcb: no version of the firmware",
        ),
        (
            &["--min-tcb", "snp=9"],
            "snp=9 (given), microcode=",
            "\ntcb: snp may be as old as 9 (--min-tcb)",
        ),
        (
            &["--policy", "some.toml"],
            "snp=9 (given), microcode=",
            "\ntcb: snp may be as old as 9 (--min-tcb)",
        ),
    ] {
        let document = json(&files.verify("p", &[given, &["--json"]].concat()));
        let claims = &document["claims"];
        assert_eq!(document["verdict"], "accepted", "{given:?}: {document:#}");
        assert!(
            claims["minimum_tcb"].as_str().unwrap().starts_with(minimum),
            "{given:?}: {claims:#}"
        );
        let open = claims["not_established"].as_array().unwrap();
        assert!(
            open.iter()
                .any(|open| said.contains(&open.as_str().unwrap()[..30])),
            "{given:?}: {open:?}"
        );
        let text = String::from_utf8(files.verify("p", given).stdout).unwrap();
        assert!(text.contains(said), "{given:?}: {text}");
    }
    let raised = files.verify(
        "p",
        &["--policy", "any.toml", "--min-tcb", "snp=10", "--json"],
    );
    assert_eq!(json(&raised)["checks"][5]["code"], "tcb-below-minimum");
}

#[test]
fn options_are_expected_by_flag_and_policy_and_shown_inert() {
    let mut scene = Scene::good();
    scene.statement["predicate"]["buildDefinition"]["externalParameters"]["options"] =
        serde_json::json!({"features": ["a", "b"], "path": "p\u{1b}[2J"});
    let files = Files::new(&scene);
    let text = String::from_utf8(files.verify("p", &[]).stdout).unwrap();
    assert!(
        text.contains("\n  options: features=a,b\n") && text.contains("\n  options: path=p"),
        "{text}"
    );
    assert!(
        text.contains("\nexpectations: nobody asked for the option features=a,b\n"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text:?}");
    let write = |name: &str, text: &str| fs::write(files.path().join(name), text).unwrap();
    write(
        "all.toml",
        "option = [\"features=a,b\", \"path=p\\u001b[2J\"]\nno-options = true",
    );
    write("one.toml", "option = \"features=a,b\"");
    write("other.toml", "option = \"features=a\"");
    for (given, code) in [
        (&["--policy", "all.toml"][..], None),
        (&["--policy", "one.toml"], None),
        (&["--option", "features=a,b"], None),
        (
            &["--policy", "one.toml", "--option", "path=q"],
            Some("option-mismatch"),
        ),
        (&["--policy", "other.toml"], Some("option-mismatch")),
        (
            &["--policy", "one.toml", "--no-options"],
            Some("option-unexpected"),
        ),
        (&["--no-options"], Some("option-unexpected")),
    ] {
        let document = json(&files.verify("p", &[given, &["--json"]].concat()));
        assert_eq!(
            document["checks"][10].get("code").and_then(Value::as_str),
            code,
            "{given:?}: {document:#}"
        );
        assert_eq!(
            document["verdict"] == "accepted",
            code.is_none(),
            "{given:?}"
        );
    }
}

#[test]
fn a_revoked_measurement_is_refused_however_it_is_given_and_waived() {
    let mut scene = Scene::good();
    scene.edit_report = Box::new(|report| report[0x90..0xc0].copy_from_slice(revoked().as_bytes()));
    let files = Files::new(&scene);
    let published = Path::new(env!("CARGO_MANIFEST_DIR")).join("measurements/0.1.0.json");
    let value = revoked().to_string();
    fs::write(
        files.path().join("alone.toml"),
        format!("measurement = \"{value}\""),
    )
    .unwrap();
    fs::write(
        files.path().join("file.toml"),
        format!("measurements = {published:?}"),
    )
    .unwrap();
    // As it was first published: without `withdrawn`.
    let mut old: Value = serde_json::from_slice(&fs::read(&published).unwrap()).unwrap();
    old.as_object_mut().unwrap().remove("withdrawn").unwrap();
    fs::write(files.path().join("old.json"), old.to_string()).unwrap();
    for given in [
        &[][..],
        &["--measurement", &value],
        &["--measurements", published.to_str().unwrap()],
        &["--measurements", "old.json"],
        &["--policy", "alone.toml"],
        &["--policy", "file.toml"],
        &["--waive", "launch-measurement"],
        &["--measurement", &value, "--waive", "launch-measurement"],
    ] {
        let fixed = [
            "p",
            "--json",
            "--trust-root",
            "root.pem",
            "--at",
            "2026-06-01T00:00:00Z",
        ];
        let output = files.run(&[&fixed[..], given].concat());
        let check = &json(&output)["checks"][6];
        let found = (output.status.code(), &check["outcome"], &check["code"]);
        assert_eq!(
            found,
            (Some(1), &"reject".into(), &"measurement-revoked".into()),
            "{given:?}"
        );
        assert!(
            check["detail"]
                .as_str()
                .unwrap()
                .contains("image 0.1.0, which is revoked: its firmware"),
            "{check}"
        );
    }
}

#[test]
fn a_refusal_that_was_saved_as_a_bundle_is_recognised() {
    let files = Files::new(&Scene::good());
    let problem = |kind: &str| {
        serde_json::json!({
            "type": kind,
            "title": "Unprocessable Content",
            "status": 422,
            "detail": "the repository has no ref \u{1b}[31mv9",
        })
    };
    let refusal = problem("/problems/source-fetch-failed").to_string();
    fs::write(files.path().join("x.tar.gz"), refusal).unwrap();
    fs::write(
        files.path().join("other.tar.gz"),
        problem("about:blank").to_string(),
    )
    .unwrap();
    let kettle = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kettle"));
        command.args(arguments).current_dir(files.path());
        command.output().unwrap()
    };
    let said = "x.tar.gz is no bundle but a refusal of the appliance, status 422, \
                source-fetch-failed: the repository has no ref \\u{1b}[31mv9";
    for command in [
        &["verify", "x.tar.gz"][..],
        &["verify", "x.tar.gz", "--json"],
        &["inspect", "x.tar.gz"],
    ] {
        let output = kettle(command);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        assert!(text.contains(said), "{command:?}: {text}");
    }
    let other = kettle(&["verify", "other.tar.gz"]);
    assert_eq!((other.status.code(), other.stderr.len()), (Some(1), 0));
}

#[test]
fn a_file_of_a_newer_appliance_says_so() {
    let files = Files::new(&Scene::good());
    fs::write(
        files.path().join("new.json"),
        reference_file(&serde_json::json!({"format": 3})).to_string(),
    )
    .unwrap();
    let output = files.run(&["p", "--json", "--measurements", "new.json"]);
    let error = json(&output)["error"].as_str().unwrap().to_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        error.contains("made by appliance 9.9.9, newer than this verifier"),
        "{error}"
    );
}
