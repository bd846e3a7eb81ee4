//! Writes `tests/conformance`: bundles and sessions with their verdicts, for other verifiers.
//!
//! The cases are those of the tests here. While the ignored test below runs, each verification of a
//! scene is recorded: its bundle is packed, its expectations are written as options, and what is
//! read back must get the same verdict. Cases that cannot be expressed as a file and options (an
//! unpacked directory, the tree that `kettle build` sent) are left out.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use kettle::bundle::read::{Bundle, HashedFile, stream};
use kettle::bundle::{Entry, write};
use kettle::digest::Sha256Digest;
use kettle::snp::tcb::Component;
use kettle::verifier::verdict;
use kettle::verifier::{AttestationResult, Expectations, verify};
use serde_json::{Map, Value, json};

use super::azure::AzureScene;
use super::hierarchy::{Digest, Template, keys, pem};
use super::rejections;
use super::scene::{ARTIFACT, LOCKFILE, LOG, MEASUREMENT, OBSERVER, Scene};
use super::session;
use super::signed;

/// The moment of interest of the scenes, as the option has it.
const AT: &str = "2026-06-01T00:00:00Z";
/// Most cases with the same first rejection.
const MOST_ALIKE: usize = 3;
/// The contents of files in scenes, which know only digests of them.
const CONTENTS: [&[u8]; 7] = [ARTIFACT, LOCKFILE, LOG, b"other", b"{}", b"{} ", b"x"];

thread_local! {
    static RECORDER: RefCell<Option<Recorder>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Recorder {
    /// The file of reference values of the expectations that are being made.
    references: Option<String>,
    cases: Vec<Recorded>,
}

/// What a case verifies.
pub enum Subject<'a> {
    Bundle(&'a Bundle),
    Archive(&'a [u8]),
    Session {
        document: &'a Value,
        key: Option<&'a [u8]>,
    },
}

/// A case that can be written.
struct Recorded {
    /// The bytes of the archive or of the session's document.
    subject: Vec<u8>,
    is_session: bool,
    options: Map<String, Value>,
    /// The files that options name: option, ending, content.
    files: Vec<(&'static str, &'static str, Vec<u8>)>,
    result: Value,
}

/// Notes the file of reference values that the next verification trusts.
pub fn references(file: &str) {
    with(|recorder| recorder.references = Some(file.to_owned()));
}

/// Records a verification, while the package is written.
pub fn record(
    subject: &Subject<'_>,
    scene: &Scene,
    expectations: &Expectations,
    result: &AttestationResult,
) {
    with(|recorder| {
        let references = recorder.references.take();
        let case = recorded(subject, scene, expectations, references, result);
        recorder.cases.extend(case);
    });
}

fn with(change: impl FnOnce(&mut Recorder)) {
    RECORDER.with_borrow_mut(|recorder| {
        if let Some(recorder) = recorder {
            change(recorder);
        }
    });
}

fn recorded(
    subject: &Subject<'_>,
    scene: &Scene,
    expectations: &Expectations,
    references: Option<String>,
    result: &AttestationResult,
) -> Option<Recorded> {
    if expectations.source_archive.is_some() || expectations.source_tree.is_some() {
        return None;
    }
    let mut files = Vec::new();
    let mut options = options(expectations);
    match references {
        Some(file) => files.push(("measurements", "json", file.into_bytes())),
        None => {
            options.insert("measurement".to_owned(), json!([hex::encode(MEASUREMENT)]));
        }
    }
    if !expectations.roots.is_amd() {
        let root = root(&scene.ark) + &root(&scene.ask);
        files.push(("trust-root", "pem", root.into_bytes()));
    }
    for (name, content) in [
        ("vcek", &expectations.certificate),
        ("crl", &expectations.crl),
    ] {
        files.extend(content.clone().map(|content| (name, "der", content)));
    }
    let (subject, is_session) = match subject {
        Subject::Bundle(bundle) => (packed(bundle)?, false),
        Subject::Archive(bytes) => (bytes.to_vec(), false),
        Subject::Session { document, key } => {
            files.extend(key.map(|key| ("spki", "der", key.to_vec())));
            (document.to_string().into_bytes(), true)
        }
    };
    let value = verdict::value(result);
    if !is_session {
        let again = verify(stream(&subject[..]), expectations);
        // The bundle of a scene is not always one that could have been packed.
        if verdict::value(&again) != value {
            return None;
        }
    }
    Some(Recorded {
        subject,
        is_session,
        options,
        files,
        result: value,
    })
}

/// Returns a certificate of the hierarchy, PEM. Its signature has a random salt, so the same
/// certificate is signed once, and cases share it.
fn root(template: &Template) -> String {
    thread_local! {
        static SIGNED: RefCell<BTreeMap<String, String>> = const { RefCell::new(BTreeMap::new()) };
    }
    let digest = matches!(template.digest, Digest::Sha384);
    let Template {
        issuer,
        subject,
        years,
        extensions,
        ..
    } = template;
    let key = format!("{issuer} {subject} {years:?} {extensions:?} {digest}");
    SIGNED.with_borrow_mut(|signed| {
        let certificate = || pem("CERTIFICATE", &template.signed(&keys().ark));
        signed.entry(key).or_insert_with(certificate).clone()
    })
}

/// Returns the options that have no file.
fn options(expectations: &Expectations) -> Map<String, Value> {
    let mut options = Map::new();
    let mut set = |name: &str, value: Value| options.insert(name.to_owned(), value);
    set("at", json!(AT));
    if let Some(nonce) = &expectations.nonce {
        set("nonce", json!(nonce.to_string()));
    }
    if let Some(repository) = &expectations.repository {
        set("repository", json!(repository));
    }
    if let Some(reference) = &expectations.reference {
        set("ref", json!(reference));
    }
    if let Some(commit) = &expectations.commit {
        set("commit", json!(commit.to_string()));
    }
    let minimum = &expectations.minimum_tcb;
    let components = Component::ALL.into_iter().filter_map(|component| {
        let version = minimum.of(component)?;
        Some(format!("{}={version}", component.name()))
    });
    let components: Vec<_> = components.collect();
    if minimum.takes_any() {
        set("min-tcb", json!("none"));
    } else if !components.is_empty() {
        set("min-tcb", json!(components.join(",")));
    }
    let chosen = expectations.options.iter();
    let chosen: Vec<_> = chosen
        .map(|option| format!("{}={}", option.name, option.value))
        .collect();
    if !chosen.is_empty() {
        set("option", json!(chosen));
    }
    if expectations.no_other_options {
        set("no-options", json!(true));
    }
    let waived = expectations.waived.iter();
    let waived: Vec<_> = waived.map(|waived| waived.check().name()).collect();
    if !waived.is_empty() {
        set("waive", json!(waived));
    }
    options
}

/// Packs a scene's bundle; none if the content of a file is not known.
fn packed(bundle: &Bundle) -> Option<Vec<u8>> {
    let contents = CONTENTS.map(|content| (Sha256Digest::of(content), content));
    let of = |file: &HashedFile| {
        let found = contents.iter().find(|(digest, _)| *digest == file.sha256)?;
        Some(found.1)
    };
    let mut entries = vec![Entry::of_bytes("provenance.json", &bundle.provenance)];
    for (path, bytes) in [
        ("evidence.json", &bundle.evidence),
        ("provenance.sigstore.json", &bundle.envelope),
    ] {
        entries.extend(bytes.as_ref().map(|bytes| Entry::of_bytes(path, bytes)));
    }
    let groups = [
        ("artifacts/", bundle.artifacts.iter().collect::<Vec<_>>()),
        ("build-config/", bundle.build_config.iter().collect()),
        ("", bundle.log.iter().chain(&bundle.sbom).collect()),
    ];
    for (directory, files) in groups {
        for file in files {
            let mut entry = Entry::of_bytes(format!("{directory}{}", file.name), of(file)?);
            entry.executable = file.executable;
            entries.push(entry);
        }
    }
    let project = bundle.project.as_ref();
    let project = project.map_or("project", |project| project.as_str());
    write(
        Vec::new(),
        project,
        entries,
        bundle.time.unwrap_or_default(),
    )
    .ok()
}

/// The directory that is written, with the content of each file that several cases share.
struct Package {
    directory: PathBuf,
    shared: BTreeMap<Vec<u8>, String>,
}

impl Package {
    /// Writes a file, unless another one has its content; returns its path in the package.
    fn file(&mut self, directory: &str, name: &str, content: &[u8]) -> String {
        if let Some(path) = self.shared.get(content) {
            return path.clone();
        }
        let path = format!("{directory}/{name}");
        fs::create_dir_all(self.directory.join(directory)).unwrap();
        fs::write(self.directory.join(&path), content).unwrap();
        self.shared.insert(content.to_vec(), path.clone());
        path
    }

    fn case(&mut self, name: &str, case: &Recorded) -> Value {
        let (directory, ending) = match case.is_session {
            true => ("sessions", "json"),
            false => ("bundles", "tar.gz"),
        };
        let subject = self.file(directory, &format!("{name}.{ending}"), &case.subject);
        let mut options = case.options.clone();
        for (option, ending, content) in &case.files {
            let file = self.file("files", &format!("{name}.{option}.{ending}"), content);
            let value = match *option {
                "measurements" => json!([file]),
                _ => json!(file),
            };
            options.insert((*option).to_owned(), value);
        }
        let kind = if case.is_session { "session" } else { "bundle" };
        json!({"name": name, kind: subject, "options": options, "expected": expected(&case.result)})
    }
}

impl Package {
    /// Returns whether `kettle verify` gets the verdict of the recorded case. It does not where
    /// expectations cannot be given as options.
    fn agrees(&self, case: &Value, result: &Value) -> bool {
        let output = Command::new(env!("CARGO_BIN_EXE_kettle"))
            .arg("verify")
            .args(arguments(case))
            .current_dir(&self.directory)
            .output()
            .unwrap();
        serde_json::from_slice::<Value>(&output.stdout).is_ok_and(|found| found == *result)
    }

    /// Removes every file that no case names.
    fn clean(&self, cases: &[Value]) {
        let text = json!(cases).to_string();
        for path in self.shared.values() {
            if !text.contains(&format!("\"{path}\"")) {
                fs::remove_file(self.directory.join(path)).unwrap();
            }
        }
    }
}

/// Returns the arguments of `kettle verify` in the directory of the package.
fn arguments(case: &Value) -> Vec<String> {
    let mut arguments = vec!["--json".to_owned()];
    match case["session"].as_str() {
        Some(path) => arguments.extend(["--session".to_owned(), path.to_owned()]),
        None => arguments.push(case["bundle"].as_str().unwrap().to_owned()),
    }
    for (name, value) in case["options"].as_object().unwrap() {
        let values = value
            .as_array()
            .map_or(vec![value], |list| list.iter().collect());
        for value in values {
            arguments.push(format!("--{name}"));
            arguments.extend(value.as_str().map(str::to_owned));
        }
    }
    arguments
}

/// Returns the part of a document that every verifier must agree about: no text for people.
fn expected(document: &Value) -> Value {
    let checks = document["checks"].as_array().unwrap().iter();
    let checks: Map<_, _> = checks
        .map(|check| {
            let outcome = check["outcome"].as_str().unwrap();
            let code = check["code"].as_str();
            let text = code.map_or(outcome.to_owned(), |code| format!("{outcome} {code}"));
            (check["check"].as_str().unwrap().to_owned(), json!(text))
        })
        .collect();
    let verdict = &document["verdict"];
    let status = i32::from(verdict != "accepted");
    json!({"status": status, "verdict": verdict, "checks": checks})
}

/// Returns a name for a case: its first rejection, or what is special about an accepted one.
fn title(document: &Value) -> String {
    let mut checks = document["checks"].as_array().unwrap().iter();
    let rejected = checks.find(|check| check["outcome"] == "reject");
    rejected.map_or("accepted".to_owned(), |check| {
        check["code"].as_str().unwrap().to_owned()
    })
}

#[test]
#[ignore = "writes the package anew, under other keys: KETTLE_CONFORMANCE=DIR"]
fn the_package_is_written() {
    let directory = PathBuf::from(env::var_os("KETTLE_CONFORMANCE").unwrap());
    RECORDER.set(Some(Recorder::default()));
    OBSERVER.set(Some(|scene, bundle, expectations, result| {
        record(&Subject::Bundle(bundle), scene, expectations, result);
    }));
    Scene::good().verify();
    signed::good().verify();
    let mut cloud = Scene::good();
    cloud.of_a_cloud();
    cloud.verify();
    AzureScene::good().verify();
    session::accepted();
    rejections::all();
    let recorder = RECORDER.take().unwrap();
    let mut package = Package {
        directory,
        shared: BTreeMap::new(),
    };
    let mut alike: BTreeMap<String, usize> = BTreeMap::new();
    let mut cases = Vec::new();
    for case in &recorder.cases {
        let title = title(&case.result);
        let count = alike.entry(title.clone()).or_default();
        if *count >= MOST_ALIKE && title != "accepted" {
            continue;
        }
        let written = package.case(&format!("{title}-{}", *count + 1), case);
        if package.agrees(&written, &case.result) {
            *count += 1;
            cases.push(written);
        }
    }
    package.clean(&cases);
    let titles: BTreeSet<_> = alike.keys().collect();
    println!("{} cases, {} codes", cases.len(), titles.len());
    let text = serde_json::to_string_pretty(&json!({"cases": cases})).unwrap();
    fs::write(package.directory.join("cases.json"), text + "\n").unwrap();
}

#[test]
fn the_schema_of_the_verdict_has_every_check_outcome_and_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/verdict.schema.json");
    let schema: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let listed = |pointer: &str| -> Vec<String> {
        let values = schema.pointer(pointer).unwrap().as_array().unwrap().iter();
        values.map(|it| it.as_str().unwrap().to_owned()).collect()
    };
    let checks = kettle::verifier::Check::ALL.map(|check| check.name().to_owned());
    assert_eq!(listed("/$defs/check/properties/check/enum"), checks);
    let mut codes: Vec<_> = rejections::CODES
        .iter()
        .map(|code| (*code).to_owned())
        .collect();
    codes.sort();
    assert_eq!(listed("/$defs/code/enum"), codes);
}

/// The codes without a case in the package, because `kettle verify` has no option and no input that
/// leads to them.
const WITHOUT_CASE: [&str; 4] = [
    // Status 2 of the program, because it cannot open the input.
    "bundle-not-readable",
    // The values of its release are compiled in, and an empty file of them is wrong usage.
    "no-reference-values",
    // `kettle build` alone knows what it sent.
    "source-archive-mismatch",
    "source-tree-mismatch",
];

#[test]
fn the_package_has_a_case_for_every_code() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let mut found = BTreeSet::new();
    for file in ["cases.json", "written.json", "vectors.json"] {
        let package: Value =
            serde_json::from_slice(&fs::read(directory.join(file)).unwrap()).unwrap();
        for case in package["cases"].as_array().unwrap() {
            let outcomes = case["expected"]["checks"].as_object().unwrap().values();
            let codes = outcomes.filter_map(|outcome| outcome.as_str()?.strip_prefix("reject "));
            found.extend(codes.map(str::to_owned));
        }
    }
    for code in rejections::CODES {
        let has_case = !WITHOUT_CASE.contains(code);
        assert_eq!(found.contains(*code), has_case, "{code}");
    }
}
