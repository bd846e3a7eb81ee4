//! The script of `image/ci`, as its templates run it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kettle::digest::Sha256Digest;
use serde_json::Value;

use super::command::{
    ACCEPTED, Desk, FAILED, NO_FREE_MACHINE, NOTHING, REJECTED, Run, appliance, has_no_job,
    processor, tls,
};
use super::processors::MEASUREMENT;

const KETTLE: &str = env!("CARGO_BIN_EXE_kettle");

/// A run of the script in its own directory, with the package beside it.
struct Job {
    desk: Desk,
    command: Command,
}

impl Job {
    fn new(to: &str, options: &[&str]) -> Self {
        let desk = Desk::new();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("image/ci/attest.sh");
        let trust_root = format!("--trust-root={}", processor().trust_root().display());
        let measurement = format!("--measurement={MEASUREMENT}");
        let options = [&[&trust_root[..], &measurement], options].concat();
        let digest = Sha256Digest::of(&fs::read(KETTLE).unwrap());
        let mut command = Command::new("sh");
        command
            .arg(script)
            .current_dir(desk.path("."))
            .env_remove("GITHUB_ACTIONS")
            .env_remove("GITHUB_OUTPUT")
            .env_remove("RUNNER_TEMP")
            .env("KETTLE_APPLIANCE", to)
            .env("KETTLE", KETTLE)
            .env("KETTLE_SHA256", digest.to_string())
            .env("KETTLE_SOURCE", "package")
            .env("KETTLE_WAIT", "0")
            .env("KETTLE_OPTIONS", options.join("\n"));
        for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            command.env_remove(variable);
        }
        Self { desk, command }
    }

    fn run(&mut self) -> Run {
        Run::of(&mut self.command)
    }

    fn out(&self, name: &str) -> PathBuf {
        self.desk.path("kettle-attestation").join(name)
    }

    fn verdict(&self) -> Value {
        let document: Value =
            serde_json::from_slice(&fs::read(self.out("verdict.json")).unwrap()).unwrap();
        document["verdict"].clone()
    }
}

#[test]
fn an_accepted_build_leaves_bundle_and_verdict_and_the_next_job_finds_no_machine() {
    let server = appliance();
    let mut job = Job::new(&tls(&server), &[]);
    let output = job.desk.path("output");
    job.command
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_OUTPUT", &output);
    let run = job.run();
    run.expect(ACCEPTED, "\"verdict\":\"accepted\"");
    assert_eq!(job.verdict(), "accepted");
    assert!(job.out("build/package.tar.gz").is_file());
    assert!(job.out("build/package/artifacts/package").is_file());
    // Lines in between are no commands to the runner, whatever is printed.
    let (first, rest) = run.out.split_once('\n').unwrap();
    let word = first.strip_prefix("::stop-commands::").unwrap();
    assert_eq!(word.len(), 32);
    let events = rest.strip_suffix(&format!("::{word}::\n")).unwrap();
    assert_eq!(
        fs::read_to_string(job.out("events.jsonl")).unwrap(),
        events,
        "what is kept is what is printed"
    );
    let told = fs::read_to_string(output).unwrap();
    assert!(told.contains("exit-status=0\n"), "{told}");
    // Existing files are not taken for those of this run.
    job.run().expect(NOTHING, "kettle-attestation exists");

    let mut late = Job::new(&tls(&server), &[]);
    late.run().expect(NO_FREE_MACHINE, "no free machine");
    assert_eq!(late.verdict(), "error");
    assert!(!late.out("build").exists());
}

#[test]
fn a_rejected_bundle_fails_the_job_and_is_kept_as_such() {
    let server = appliance();
    let commit = "--commit=0123456789012345678901234567890123456789";
    let mut job = Job::new(&tls(&server), &[commit]);
    job.run().expect(REJECTED, "commit-mismatch");
    assert_eq!(job.verdict(), "rejected");
    assert!(job.out("build/rejected.tar.gz").is_file());
    assert!(!job.out("build/package").exists());
}

#[test]
fn a_build_that_fails_fails_the_job() {
    let server = appliance();
    let mut job = Job::new(&tls(&server), &[]);
    fs::write(job.desk.source().join("src/main.rs"), "fn main() { no }\n").unwrap();
    job.run().expect(FAILED, "BuildFailed");
    assert_eq!(job.verdict(), "failed");
}

#[test]
fn a_wrong_environment_sends_nothing() {
    let server = appliance();
    // A program other than the pinned one is not run.
    let mut job = Job::new(&tls(&server), &[]);
    let other = job.desk.path("other");
    fs::write(&other, "#!/bin/sh\ntouch was-run\n").unwrap();
    job.command.env("KETTLE", &other);
    job.run().expect(NOTHING, "KETTLE_SHA256 is");
    assert!(!job.desk.path("was-run").exists());
    // Without evidence nothing is attested.
    let mut job = Job::new(&tls(&server), &["--insecure-no-evidence"]);
    job.run().expect(NOTHING, "is no attested build");
    // A program that prints nothing and succeeds is not believed.
    let mut job = Job::new(&tls(&server), &[]);
    let silent = job.desk.path("silent");
    fs::write(&silent, "#!/bin/sh\n").unwrap();
    let digest = Sha256Digest::of(&fs::read(&silent).unwrap());
    job.command
        .env("KETTLE", &silent)
        .env("KETTLE_SHA256", digest.to_string());
    assert_eq!(job.run().status, REJECTED);
    for missing in ["KETTLE", "KETTLE_SHA256", "KETTLE_APPLIANCE"] {
        let mut job = Job::new(&tls(&server), &[]);
        job.command.env_remove(missing);
        job.run().expect(NOTHING, &format!("{missing} is not set"));
        assert!(!job.out("").exists());
    }
    assert!(has_no_job(&server));
}
