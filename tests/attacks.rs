//! The attack corpus against the real service: each project in `tests/attacks/` tries something that its first lines
//! name, from inside the build; what came of it is checked from inside, by what the attack prints, and from outside.
//!
//! `KETTLE_ATTACK=word` runs those whose name contains the word.
#![cfg(feature = "appliance")]
#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "attacks/harness/corpus.rs"]
mod corpus;
#[path = "attacks/harness/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use serde_json::Value;
use sha2::{Digest, Sha256};

use corpus::{Attack, Canary, Expect, Template, attacks};
use server::Server;

/// Fewer would mean that some were lost.
const LEAST_ATTACKS: usize = 50;
/// Each is a compilation of a small package.
const AT_ONCE: usize = 2;

/// Paths below the bundle's top folder, and bytes.
type Bundle = BTreeMap<String, Vec<u8>>;
type References = BTreeMap<Template, Bundle>;

/// What came of an attack, as a client sees it.
struct Outcome {
    /// The last event's result.
    result: Value,
    /// Every line of build output.
    lines: Vec<String>,
    /// None if the build failed.
    bundle: Option<Bundle>,
}

#[test]
fn every_attack_is_stopped() {
    let (honest, attacks): (Vec<_>, Vec<_>) = attacks().into_iter().partition(|it| it.expect == [Expect::Honest]);
    assert!(attacks.len() >= LEAST_ATTACKS, "{} attacks", attacks.len());
    let references: References = honest.iter().map(|project| (project.template, reference(project))).collect();
    let word = std::env::var("KETTLE_ATTACK").unwrap_or_default();
    let wanted = attacks.iter().filter(|attack| attack.name.contains(&word));
    let (alone, together): (Vec<_>, Vec<_>) = wanted.partition(|attack| attack.alone);
    let mut failures = failures_of(together, AT_ONCE, &references);
    failures.extend(failures_of(alone, 1, &references));
    assert!(failures.is_empty(), "not stopped: {failures:?}");
}

/// Names of those that were not stopped; why is on standard error.
fn failures_of<'a>(attacks: Vec<&'a Attack>, at_once: usize, references: &References) -> Vec<&'a str> {
    let (queue, failures) = (Mutex::new(attacks), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(attack) = next(&queue) {
                    if catch_unwind(AssertUnwindSafe(|| check(attack, references))).is_err() {
                        failures.lock().unwrap().push(attack.name.as_str());
                    }
                }
            });
        }
    });
    failures.into_inner().unwrap()
}

/// In a function, so that the lock is not held while the attack runs.
fn next<'a>(queue: &Mutex<Vec<&'a Attack>>) -> Option<&'a Attack> {
    queue.lock().unwrap().pop()
}

/// What a template delivers when nobody attacks.
fn reference(project: &Attack) -> Bundle {
    let bundle = run(project).bundle.unwrap_or_else(|| panic!("{} failed", project.name));
    assert_complete(&bundle, project.template);
    bundle
}

/// Runs a project on a service of its own.
fn run(attack: &Attack) -> Outcome {
    let (folder, canary) = (tempfile::tempdir().unwrap(), Canary::new());
    let server = Server::start(folder.path());
    let job = server.submit(&attack.archive(&server.facts(&canary.path())));
    let events = server.events(&job);

    let (end, others) = events.split_last().expect("events");
    assert_eq!(end["type"], "complete");
    assert!(others.iter().all(|event| event["type"] != "complete"), "the end comes once");
    assert!(!server.has_children(), "a process of the build is alive");
    assert!(canary.is_untouched(), "a file of the machine was changed");
    server.wait_until_cleared(folder.path(), &job);
    assert_eq!(server.get("/health"), (200, b"ok".to_vec()), "the service is well");

    let lines = others.iter().filter(|event| event["type"] == "build");
    let lines: Vec<_> = lines.map(|event| event["msg"].as_str().unwrap().to_owned()).collect();
    assert_printable(lines.iter().map(String::as_str));
    let succeeded = end["result"]["status"] == "ok";
    let (status, body) = server.get(&format!("/build/{job}/result"));
    assert_eq!(status, if succeeded { 200 } else { 404 });
    assert_eq!(server.get(&format!("/build/{job}/result")).1, body, "nothing changes it any more");
    Outcome { result: end["result"].clone(), lines, bundle: succeeded.then(|| unpack(&body)) }
}

fn check(attack: &Attack, references: &References) {
    let outcome = run(attack);
    let what = format!("{}: {}\n{}", attack.name, outcome.result, outcome.lines.join("\n"));
    let says = |word: &str| outcome.lines.iter().any(|line| line.contains(&format!("ATTACK: {word}")));
    assert!(!says("SUCCEEDED"), "{what}");
    match &outcome.bundle {
        Some(bundle) => {
            assert_complete(bundle, attack.template);
            if attack.expect.contains(&Expect::Consistent) {
                return;
            }
            if attack.expect.contains(&Expect::Recorded) {
                return assert_recorded(bundle);
            }
            let contained = attack.expect.contains(&Expect::Contained);
            assert!(contained || attack.expect.contains(&Expect::Ignored), "it should have failed: {what}");
            assert!(!contained || says("contained"), "it says nothing: {what}");
            assert_same_artifacts(bundle, &references[&attack.template], attack.template);
        }
        None => {
            assert!(attack.expect.contains(&Expect::Fails), "it should not have failed: {what}");
            assert_eq!(outcome.result["status"], "failed", "{what}");
            assert_ne!(outcome.result["error_type"], "Internal", "{what}");
        }
    }
}

/// The bundle has the files that an honest build of the template has, and provenance names their bytes.
fn assert_complete(bundle: &Bundle, template: Template) {
    let artifacts = template.artifacts().iter().map(|name| format!("artifacts/{name}"));
    let others = ["build-config/Cargo.lock", "build.log", "provenance.json"].map(String::from);
    let names: Vec<_> = artifacts.chain(others).collect();
    assert!(bundle.keys().eq(names.iter()), "{:?}", bundle.keys());

    let statement: Value = serde_json::from_slice(&bundle["provenance.json"]).unwrap();
    let subjects = statement["subject"].as_array().unwrap();
    assert_eq!(subjects.len(), template.artifacts().len());
    for (subject, name) in subjects.iter().zip(template.artifacts()) {
        assert_eq!(subject["name"], *name);
        let digest = hex::encode(Sha256::digest(&bundle[&format!("artifacts/{name}")]));
        assert_eq!(subject["digest"]["sha256"], digest, "{name}");
    }
    assert_printable(std::str::from_utf8(&bundle["build.log"]).unwrap().lines());
}

/// No package of a registry is named, and the folder that the code came from is.
fn assert_recorded(bundle: &Bundle) {
    let statement: Value = serde_json::from_slice(&bundle["provenance.json"]).unwrap();
    let dependencies = statement["predicate"]["buildDefinition"]["resolvedDependencies"].as_array().unwrap();
    let registry = |it: &Value| it["uri"].as_str().is_some_and(|uri| uri.starts_with("pkg:cargo/"));
    assert!(!dependencies.iter().any(registry), "{dependencies:?}");
    let folder = |it: &Value| it.to_string().contains("forged") && it["digest"]["gitTree"].is_string();
    assert!(dependencies.iter().any(folder), "{dependencies:?}");
}

fn assert_same_artifacts(bundle: &Bundle, reference: &Bundle, template: Template) {
    for name in template.artifacts() {
        let path = format!("artifacts/{name}");
        assert!(bundle[&path] == reference[&path], "{path} is not what an honest build makes");
    }
}

fn assert_printable<'a>(mut lines: impl Iterator<Item = &'a str>) {
    let hostile = |c: char| c.is_control() && c != '\t';
    assert_eq!(lines.find(|line| line.contains(hostile)), None, "a control character is in the log");
}

/// Without the top folder. Only files are expected.
fn unpack(archive: &[u8]) -> Bundle {
    let mut bundle = Bundle::new();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive));
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.header().entry_type().is_dir() {
            continue;
        }
        assert!(entry.header().entry_type().is_file());
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let (top, path) = path.split_once('/').unwrap();
        assert_eq!(top, "attack");
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        assert!(bundle.insert(path.to_owned(), bytes).is_none(), "{path} is there twice");
    }
    bundle
}
