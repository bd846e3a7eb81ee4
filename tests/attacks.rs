//! The attack corpus against the real service: each project in `tests/attacks/` tries something
//! that its first lines name, from inside the build; the result is checked from inside, by the
//! attack's output, and from outside.
//!
//! `KETTLE_ATTACK=word,word` runs those whose name contains one of the words.
#![cfg(feature = "host")]
#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "attacks/harness/mod.rs"]
mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};

use harness::archives::{self, Received, Upload};
use harness::confinement::Confinement;
use harness::corpus::{Aim, Attack, CANARY, Canary, Expect, Template, attacks};
use harness::repositories::{self, Fetched, Hosted};
use harness::server::{NONCE, Server, upload};
use harness::site::Site;

/// The least number of attacks: fewer would mean that some were lost.
const LEAST_ATTACKS: usize = 200;
/// How many of the slowest attacks are named.
const SLOWEST: usize = 8;
/// How many attacks run at once: each is a compilation of a small package.
const AT_ONCE: usize = 2;

/// A word in every message that an attack wants to pass off as the service's own.
const FORGED: &str = "forged";

/// Paths below the bundle's top directory, and bytes.
type Bundle = BTreeMap<String, Vec<u8>>;
type References = BTreeMap<Template, Bundle>;

/// The outcome of an attack, as a client sees it.
struct Outcome {
    /// The last event's result.
    result: Value,
    /// Every line of output, including git's.
    lines: Vec<String>,
    /// The bundle; none if the build failed.
    bundle: Option<Bundle>,
}

/// One attack of the corpus, by the way it is sent to the service.
enum Case {
    /// A project, sent as an archive.
    Project(Attack),
    /// An archive that is refused at once.
    Upload(Upload),
    /// A repository that is fetched.
    Hosted(Hosted),
}

/// Not tried, and why this machine cannot try it.
type NotTried = (String, String);

#[test]
fn every_attack_is_stopped() {
    let (honest, projects): (Vec<_>, Vec<_>) = attacks().into_iter().partition(Attack::is_honest);
    let cases: Vec<_> = (projects.into_iter().map(Case::Project))
        .chain(archives::uploads().into_iter().map(Case::Upload))
        .chain(repositories::hosted().into_iter().map(Case::Hosted))
        .collect();
    let names: BTreeSet<_> = cases.iter().map(Case::name).collect();
    assert_eq!(names.len(), cases.len(), "two attacks have one name");
    assert!(names.len() >= LEAST_ATTACKS, "{} attacks", names.len());

    let references: References = honest
        .iter()
        .map(|project| (project.template, reference(project)))
        .collect();
    let words = std::env::var("KETTLE_ATTACK").unwrap_or_default();
    let named = |case: &&Case| words.split(',').any(|word| case.name().contains(word));
    let wanted: Vec<_> = cases.iter().filter(named).collect();
    let (alone, together): (Vec<&Case>, Vec<&Case>) =
        wanted.iter().partition(|case| case.is_alone());
    let mut found = Found::default();
    found.try_all(together, AT_ONCE, &references);
    found.try_all(alone, 1, &references);
    summarise(&wanted, &found);
    assert!(
        found.failures.is_empty(),
        "not stopped: {:?}",
        found.failures
    );
}

/// Prints a table: how many of the attacks on each target were tried, and which were not.
fn summarise(wanted: &[&Case], found: &Found) {
    println!("{:<12} {:>8} {:>8}", "aimed at", "attacks", "stopped");
    let mut rows: BTreeMap<Aim, (usize, usize)> = BTreeMap::new();
    for case in wanted {
        let unstopped = found
            .failures
            .iter()
            .chain(found.not_tried.iter().map(|(name, _)| name));
        let (all, stopped) = rows.entry(case.aim()).or_default();
        *all += 1;
        *stopped += usize::from(!unstopped.into_iter().any(|name| name == case.name()));
    }
    for (aim, (all, stopped)) in &rows {
        println!(
            "{:<12} {all:>8} {stopped:>8}",
            format!("{aim:?}").to_lowercase()
        );
    }
    let (all, stopped) = rows
        .values()
        .fold((0, 0), |sum, row| (sum.0 + row.0, sum.1 + row.1));
    println!("{:<12} {all:>8} {stopped:>8}", "in all");
    let mut times = found.times.clone();
    times.sort();
    for (time, name) in times.iter().rev().take(SLOWEST) {
        println!("{:>4.1} s: {name}", time.as_secs_f32());
    }
    for (name, why) in &found.not_tried {
        println!("not tried: {name}: {why}");
    }
}

impl Case {
    fn name(&self) -> &str {
        match self {
            Self::Project(attack) => &attack.name,
            Self::Upload(upload) => upload.name,
            Self::Hosted(hosted) => hosted.name,
        }
    }

    fn aim(&self) -> Aim {
        match self {
            Self::Project(attack) => attack.aim,
            Self::Upload(upload) => upload.aim,
            Self::Hosted(hosted) => hosted.aim,
        }
    }

    fn is_alone(&self) -> bool {
        match self {
            Self::Project(attack) => attack.alone || attack.needs.is_some(),
            Self::Upload(upload) => upload.needs.is_some(),
            Self::Hosted(hosted) => hosted.needs.is_some(),
        }
    }

    /// Panics when the attack is not stopped, or is stopped for another reason than it names.
    fn check(&self, references: &References) -> Result<(), NotTried> {
        match self {
            Self::Project(attack) => check(attack, references),
            Self::Upload(upload) => check_upload(upload, &references[&Template::Plain]),
            Self::Hosted(hosted) => check_hosted(hosted, &references[&Template::Plain]),
        }
    }
}

/// The outcome of all attacks that were tried.
#[derive(Default)]
struct Found {
    /// Names of the attacks that were not stopped; the causes are on standard error.
    failures: Vec<String>,
    not_tried: Vec<NotTried>,
    times: Vec<(Duration, String)>,
}

impl Found {
    fn try_all(&mut self, cases: Vec<&Case>, at_once: usize, references: &References) {
        let (queue, found) = (Mutex::new(cases), Mutex::new(std::mem::take(self)));
        std::thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(|| {
                    while let Some(case) = next(&queue) {
                        let begun = Instant::now();
                        match catch_unwind(AssertUnwindSafe(|| case.check(references))) {
                            Ok(Ok(())) => {}
                            Ok(Err(not_tried)) => found.lock().unwrap().not_tried.push(not_tried),
                            Err(_) => {
                                eprintln!("not stopped: {}", case.name());
                                found.lock().unwrap().failures.push(case.name().to_owned());
                            }
                        }
                        found
                            .lock()
                            .unwrap()
                            .times
                            .push((begun.elapsed(), case.name().to_owned()));
                    }
                });
            }
        });
        *self = found.into_inner().unwrap();
    }
}

/// Takes the next case. A function, so that the lock is not held while the attack runs.
fn next<'a>(queue: &Mutex<Vec<&'a Case>>) -> Option<&'a Case> {
    queue.lock().unwrap().pop()
}

/// Returns the artifacts that a template delivers without an attack.
fn reference(project: &Attack) -> Bundle {
    let outcome = run_project(project, Confinement::Open);
    let bundle = outcome
        .bundle
        .unwrap_or_else(|| panic!("{} failed: {}", project.name, outcome.result));
    assert_complete(&bundle, &project.artifacts);
    bundle
}

/// Runs a project on its own service.
fn run_project(attack: &Attack, confinement: Confinement) -> Outcome {
    let (directory, canary) = (tempfile::tempdir().unwrap(), Canary::new());
    let options = attack
        .seconds
        .map(|seconds| vec!["--build-seconds".to_owned(), seconds.to_string()]);
    let server = Server::start(directory.path(), &options.unwrap_or_default(), confinement);
    let archive = attack.archive(&server.facts(&canary.path()));
    run(&server, &canary, &upload(&archive, "attack.tar"))
}

/// Lets a service build, and checks what has to hold for every build.
fn run(server: &Server, canary: &Canary, submission: &Value) -> Outcome {
    follow(server, canary, server.submit(submission))
}

fn follow(server: &Server, canary: &Canary, job: String) -> Outcome {
    let events = server.events(&job);
    let (end, others) = events.split_last().expect("events");
    let succeeded = end["result"]["status"] == "ok";
    assert_story(end, others, succeeded);
    assert!(!server.has_children(), "a process of the build is alive");
    assert!(!server.was_visited(), "a socket of the machine was reached");
    assert!(
        !server.left_a_queue(),
        "memory, a queue or a semaphore is left on the machine"
    );
    assert!(canary.is_untouched(), "a file of the machine was changed");
    server.wait_until_cleared(&job);
    assert_eq!(
        server.get("/health"),
        (200, b"ok".to_vec()),
        "the service is well"
    );

    assert_nothing_forged(others);
    let lines_of_output = others.iter().filter(|event| event["type"] == "build");
    let mut texts = lines_of_output.map(|event| event["msg"].as_str().unwrap());
    assert_eq!(
        texts.find(|text| text.starts_with("[kettle]")),
        None,
        "it looks like a note of ours"
    );
    let has_lines = |event: &&Value| ["build", "note"].iter().any(|kind| event["type"] == *kind);
    let lines = others.iter().filter(has_lines);
    let lines: Vec<_> = lines
        .map(|event| event["msg"].as_str().unwrap().to_owned())
        .collect();
    assert_printable(lines.iter().map(String::as_str));
    let (status, body) = server.get(&format!("/build/{job}/result"));
    assert_eq!(status, if succeeded { 200 } else { 404 });
    assert_eq!(
        server.get(&format!("/build/{job}/result")).1,
        body,
        "nothing changes it any more"
    );
    let bundle = succeeded.then(|| unpack(&body));
    assert!(
        !bundle
            .iter()
            .flat_map(Bundle::values)
            .any(|bytes| bytes == CANARY),
        "a file of the machine is delivered"
    );
    Outcome {
        result: end["result"].clone(),
        lines,
        bundle,
    }
}

/// The events report each part of a build once and in order, whatever its output imitates, and then
/// the end. Tools print in every part.
fn assert_story(end: &Value, others: &[Value], succeeded: bool) {
    assert_eq!(end["type"], "complete");
    let types = others.iter().map(|event| event["type"].as_str().unwrap());
    let mut types: Vec<_> = types
        .filter(|kind| !["build", "note"].contains(kind))
        .collect();
    types.dedup();
    let whole = ["queued", "vm", "init", "detect", "provenance"];
    assert!(whole.starts_with(&types), "{types:?}");
    assert!(!succeeded || types == whole, "{types:?}");
}

/// The service says of this source what it says of every source; a forged word is in lines of
/// output only, and where a note quotes it.
fn assert_nothing_forged(others: &[Value]) {
    let said = |kind: &'static str| others.iter().filter(move |event| event["type"] == kind);
    let text = |event: &Value| event["msg"].as_str().unwrap().to_owned();
    let texts: Vec<_> = said("init").map(text).collect();
    let of_sources = [
        "source: archive with sha256 ",
        "source: commit ",
        "fetching http://127.0.0.1:",
    ];
    for text in &texts {
        assert!(
            of_sources.iter().any(|start| text.starts_with(start)),
            "{text}"
        );
        assert!(!text.contains(FORGED), "{text}");
    }
    let identities = texts
        .iter()
        .filter(|text| text.starts_with("source: "))
        .count();
    assert!(identities <= 1, "{texts:?}");
    for note in said("note").map(text) {
        assert!(!note.trim_start().starts_with(FORGED), "{note}");
    }
}

fn check(attack: &Attack, references: &References) -> Result<(), NotTried> {
    let confinement = match attack.needs {
        None if attack.alone => Confinement::of_tasks(),
        needs => Confinement::of(needs).map_err(|why| (attack.name.clone(), why))?,
    };
    let outcome = run_project(attack, confinement);
    let what = format!(
        "{}: {}\n{}",
        attack.name,
        outcome.result,
        outcome.lines.join("\n")
    );
    let says = |word: &str| {
        outcome
            .lines
            .iter()
            .any(|line| line.contains(&format!("ATTACK: {word}")))
    };
    assert!(!says("SUCCEEDED"), "{what}");
    assert_reasons(attack, &outcome, &what);
    let Some(bundle) = &outcome.bundle else {
        assert!(
            attack.expects(Expect::Fails),
            "it should not have failed: {what}"
        );
        assert_failed(
            &outcome.result,
            attack.fails_with.as_deref().unwrap_or_default(),
        );
        return Ok(());
    };
    assert_complete(bundle, &attack.artifacts);
    if attack.expects(Expect::Recorded) {
        assert_recorded(bundle);
    } else if !attack.expects(Expect::Consistent) {
        let contained = attack.expects(Expect::Contained);
        assert!(
            contained || attack.expects(Expect::Ignored),
            "it should have failed: {what}"
        );
        assert!(!contained || says("contained"), "it says nothing: {what}");
        assert_same_artifacts(bundle, &references[&attack.template], &attack.artifacts);
    }
    Ok(())
}

/// The log has every reason that the attack names, and the kernel returned no other error.
fn assert_reasons(attack: &Attack, outcome: &Outcome, what: &str) {
    for reason in &attack.shows {
        assert!(
            outcome.lines.iter().any(|line| line.contains(reason)),
            "{reason:?} is not shown: {what}"
        );
    }
    for line in outcome
        .lines
        .iter()
        .filter(|line| line.contains("ATTACK: contained: "))
    {
        let Some((_, rest)) = line.split_once("(os error ") else {
            continue;
        };
        let number = rest.split(')').next().unwrap();
        let known = attack.errors.iter().any(|name| errno(name) == number);
        assert!(
            known,
            "another error than {:?}: {line}\n{what}",
            attack.errors
        );
    }
}

/// Returns the name of an error that attacks get; numbers of x86-64.
fn errno(name: &str) -> &'static str {
    match name {
        "EPERM" => "1",
        "ENOENT" => "2",
        "ESRCH" => "3",
        "ENXIO" => "6",
        "EBADF" => "9",
        "EAGAIN" => "11",
        "ENOMEM" => "12",
        "EACCES" => "13",
        "EBUSY" => "16",
        "EXDEV" => "18",
        "ENODEV" => "19",
        "ENOTDIR" => "20",
        "EINVAL" => "22",
        "EMFILE" => "24",
        "ENOTTY" => "25",
        "EFBIG" => "27",
        "ENOSPC" => "28",
        "EROFS" => "30",
        "ENOSYS" => "38",
        "EOPNOTSUPP" => "95",
        "EAFNOSUPPORT" => "97",
        "EADDRNOTAVAIL" => "99",
        "ENETUNREACH" => "101",
        "ECONNREFUSED" => "111",
        other => panic!("what is {other}?"),
    }
}

fn assert_failed(result: &Value, reason: &str) {
    assert_eq!(result["status"], "failed");
    assert_ne!(result["error_type"], "Internal", "{result}");
    let words = format!(
        "{}: {}",
        result["error_type"].as_str().unwrap(),
        result["error"].as_str().unwrap()
    );
    assert!(
        words.contains(reason),
        "it failed for another reason than {reason:?}: {words}"
    );
    assert_printable([words.as_str()].into_iter());
}

/// An archive is refused for its reason, and neither takes the slot nor leaves anything.
fn check_upload(attack: &Upload, reference: &Bundle) -> Result<(), NotTried> {
    let confinement = Confinement::of(attack.needs).map_err(|why| (attack.name.to_owned(), why))?;
    let (directory, canary) = (tempfile::tempdir().unwrap(), Canary::new());
    let server = Server::start(directory.path(), &[], confinement);
    let submission = upload(&(attack.make)(&canary.path()), "attack.tar");
    match attack.received {
        Received::Refused(reason) => {
            let code = if reason.contains("Cargo.lock") {
                "lockfile-missing"
            } else {
                "archive-refused"
            };
            assert_refused(&server.post(&submission), code, reason);
            assert!(canary.is_untouched(), "a file of the machine was changed");
            assert_eq!(server.uploads(), [""; 0], "something is left");
            let (status, problem) =
                server.post(&upload(&archives::without_lockfile(), "attack.tar"));
            assert_eq!(status, 422, "the slot is free: {problem}");
        }
        Received::Fails(reason) => {
            assert_failed(&run(&server, &canary, &submission).result, reason)
        }
        Received::Harmless => assert_harmless(&run(&server, &canary, &submission), reference),
    }
    Ok(())
}

/// A repository is refused for its reason, or results in the artifacts of an honest one.
fn check_hosted(attack: &Hosted, reference: &Bundle) -> Result<(), NotTried> {
    let confinement = Confinement::of(attack.needs).map_err(|why| (attack.name.to_owned(), why))?;
    let (directory, canary) = (tempfile::tempdir().unwrap(), Canary::new());
    let site = Site::new(canary.path());
    let server = Server::start(directory.path(), &[], confinement);
    let mut submission = (attack.prepare)(&site);
    submission["nonce"] = NONCE.into();
    match attack.fetched {
        Fetched::Refused(code, reason) => assert_refused(&server.post(&submission), code, reason),
        Fetched::Fails(reason) => {
            let (status, response) = server.post(&submission);
            if status == 422 {
                assert_unresolved(&response, reason);
                return Ok(());
            }
            assert_eq!(status, 202, "{response}");
            let job = response["job_id"].as_str().unwrap().to_owned();
            let outcome = follow(&server, &canary, job);
            let words = [outcome.result.to_string(), outcome.lines.join("\n")].concat();
            assert_eq!(outcome.result["status"], "failed", "{words}");
            assert_ne!(outcome.result["error_type"], "Internal", "{words}");
            assert!(
                words.contains(reason),
                "it failed for another reason than {reason:?}: {words}"
            );
        }
        Fetched::Harmless => {
            let outcome = run(&server, &canary, &submission);
            let shown = outcome.lines.iter().any(|line| line.contains(attack.shows));
            assert!(
                shown,
                "{:?} is not shown: {:?}",
                attack.shows, outcome.lines
            );
            assert_harmless(&outcome, reference);
        }
    }
    assert!(
        !site.elsewhere_was_asked(),
        "a server was asked that no URL names"
    );
    assert!(canary.is_untouched(), "a file of the machine was changed");
    Ok(())
}

/// A server whose first response is an attack gets no job: it is refused for the reason, without
/// what the server says.
fn assert_unresolved(problem: &Value, reason: &str) {
    let detail = problem["detail"].as_str().unwrap();
    assert_eq!(problem["error_type"], "SourceFetchFailed", "{problem}");
    let is_of_the_server = reason.contains("forged");
    assert!(is_of_the_server || detail.contains(reason), "{detail}");
    assert!(!detail.contains("forged"), "{detail}");
}

fn assert_refused((status, problem): &(u16, Value), code: &str, reason: &str) {
    let detail = problem["detail"].as_str().unwrap();
    assert!([400, 422].contains(status), "{status}: {problem}");
    assert_eq!(problem["type"], format!("/problems/{code}"), "{problem}");
    assert!(
        detail.contains(reason),
        "it is refused for another reason than {reason:?}: {detail}"
    );
    assert_printable([detail].into_iter());
}

fn assert_harmless(outcome: &Outcome, reference: &Bundle) {
    let bundle = outcome
        .bundle
        .as_ref()
        .unwrap_or_else(|| panic!("{}: {:?}", outcome.result, outcome.lines));
    let artifacts = ["attack".to_owned()];
    assert_complete(bundle, &artifacts);
    assert_same_artifacts(bundle, reference, &artifacts);
}

/// The bundle has exactly these artifacts and the other files of every bundle, and provenance names
/// their bytes.
fn assert_complete(bundle: &Bundle, names: &[String]) {
    let artifacts = names.iter().map(|name| format!("artifacts/{name}"));
    let others = [
        "build-config/Cargo.lock",
        "build.log",
        "provenance.json",
        "provenance.sigstore.json",
        "sbom.cdx.json",
    ]
    .map(String::from);
    let files: Vec<_> = artifacts.chain(others).collect();
    assert!(bundle.keys().eq(files.iter()), "{:?}", bundle.keys());

    let statement: Value = serde_json::from_slice(&bundle["provenance.json"]).unwrap();
    let subjects = statement["subject"].as_array().unwrap();
    assert_eq!(subjects.len(), names.len());
    for (subject, name) in subjects.iter().zip(names) {
        assert_eq!(subject["name"], *name);
        let digest = hex::encode(Sha256::digest(&bundle[&format!("artifacts/{name}")]));
        assert_eq!(subject["digest"]["sha256"], digest, "{name}");
    }
    assert_printable(std::str::from_utf8(&bundle["build.log"]).unwrap().lines());
}

/// No package of a registry is named, and the directory that the code came from is.
fn assert_recorded(bundle: &Bundle) {
    let statement: Value = serde_json::from_slice(&bundle["provenance.json"]).unwrap();
    let dependencies = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
        .as_array()
        .unwrap();
    let registry = |it: &Value| {
        it["uri"]
            .as_str()
            .is_some_and(|uri| uri.starts_with("pkg:cargo/"))
    };
    assert!(!dependencies.iter().any(registry), "{dependencies:?}");
    let directory =
        |it: &Value| it.to_string().contains("forged") && it["digest"]["gitTree"].is_string();
    assert!(dependencies.iter().any(directory), "{dependencies:?}");
}

/// Compares all artifacts but a library's package, which contains its build script: the attack.
fn assert_same_artifacts(bundle: &Bundle, reference: &Bundle, names: &[String]) {
    for name in names.iter().filter(|name| !name.ends_with(".crate")) {
        let path = format!("artifacts/{name}");
        assert!(
            bundle[&path] == reference[&path],
            "{path} is not what an honest build makes"
        );
    }
}

fn assert_printable<'a>(mut lines: impl Iterator<Item = &'a str>) {
    let hostile = |c: char| c.is_control() && c != '\t';
    assert_eq!(
        lines.find(|line| line.contains(hostile)),
        None,
        "a control character is in the log"
    );
}

/// Unpacks a bundle without the top directory. Only files are expected.
fn unpack(archive: &[u8]) -> Bundle {
    let mut bundle = Bundle::new();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive));
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.header().entry_type().is_dir() {
            continue;
        }
        assert!(entry.header().entry_type().is_file());
        assert!([0o644, 0o755].contains(&entry.header().mode().unwrap()));
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let (top, path) = path.split_once('/').unwrap();
        assert_eq!(top, "attack");
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        assert!(
            bundle.insert(path.to_owned(), bytes).is_none(),
            "{path} is there twice"
        );
    }
    bundle
}
