//! Builds that cannot succeed: each has its code, for clients that wait and for clients that
//! follow.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{
    Events, Request, Response, Server, StaticServer, git_repository, package, tar_of,
};

/// How long killed processes may take to be gone, and others to end by themselves, on a busy
/// machine.
const PATIENCE: Duration = Duration::from_secs(60);
const MAIN: (&str, &str) = ("src/main.rs", "fn main() {}\n");

fn assert_fails(result: &Value, error_type: &str) {
    assert_eq!(
        (&result["status"], &result["error_type"]),
        (&"failed".into(), &error_type.into()),
        "{result}"
    );
    assert_ne!(result["error"].as_str().unwrap_or_default(), "");
}

/// Asserts that no process of a build is alive after a moment.
fn assert_ends(ended: impl Fn() -> bool, what: &str) {
    let patience = Instant::now() + PATIENCE;
    while !ended() {
        assert!(Instant::now() < patience, "{what}: a process is left");
        sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_compile_error_is_422_for_the_client_that_waits() {
    let archive = package(&[("src/main.rs", "fn main() { nothing }\n")]);
    let response = Server::start().run(&Request::form(&archive, "package.tar"));
    assert_eq!(
        (response.status, response.header("content-type")),
        (422, "application/problem+json")
    );
    assert_eq!(response.json()["error_type"], "BuildFailed");
}

#[test]
fn a_failure_that_is_followed_has_its_code() {
    let stale = "[package]\nname = \"package\"\nversion = \"0.2.0\"\nedition = \"2021\"\n";
    let endless = "fn main() { loop { std::thread::sleep(std::time::Duration::from_secs(1)) } }\n";
    let dependency = "[package]\nname = \"package\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nitoa = \"=1.0.11\"\n";
    // The checksum differs from the registry's.
    let forged = format!(
        "version = 4\n\n[[package]]\nname = \"itoa\"\nversion = \"1.0.11\"\n\
         source = \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"{}\"\n\n\
         [[package]]\nname = \"package\"\nversion = \"0.1.0\"\ndependencies = [\n \"itoa\",\n]\n",
        "0".repeat(64)
    );
    let flake = tempfile::tempdir().unwrap();
    for name in ["flake.lock", "flake.nix"] {
        std::fs::write(flake.path().join(name), "{}").unwrap();
    }
    let cases = [
        ("LockfileMismatch", package(&[MAIN, ("Cargo.toml", stale)])),
        (
            "LockfileMismatch",
            package(&[MAIN, ("Cargo.toml", dependency), ("Cargo.lock", &forged)]),
        ),
        ("UnsupportedToolchain", tar_of(flake.path())),
        ("BuildTimeout", package(&[MAIN, ("build.rs", endless)])),
    ];
    for (error_type, archive) in cases {
        let server = Server::with_options(&["--build-seconds", "2"]);
        assert_fails(
            &server.result(&Request::json(&archive, "package.tar")),
            error_type,
        );
        // A query of the toolchain's version may still run; it ends by itself, the build script
        // would not.
        assert_ends(|| server.descendants().is_empty(), error_type);
    }
}

#[test]
fn a_repository_that_cannot_be_reached_is_the_sources_failure() {
    let server = Server::start();
    let response = server.run(&Request::repository("http://127.0.0.1:1/nothing.git", None));
    assert_unresolved(&response, "127.0.0.1:1");
    assert_ne!(server.get("/ready").status, 404, "the slot is taken");
}

fn assert_unresolved(response: &Response, reason: &str) {
    let problem: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(
        (response.status, &problem["error_type"]),
        (422, &"SourceFetchFailed".into()),
        "{problem}"
    );
    assert!(
        problem["error"].as_str().unwrap().contains(reason),
        "{problem}"
    );
}

#[test]
fn a_mistyped_ref_costs_nothing_but_a_try() {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in [
        MAIN,
        (
            "Cargo.toml",
            "[package]\nname = \"package\"\nversion = \"0.1.0\"\nedition = \"2021\"\n",
        ),
        (
            "Cargo.lock",
            "version = 4\n[[package]]\nname = \"package\"\nversion = \"0.1.0\"\n",
        ),
    ] {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    git_repository(directory.path());
    let files = StaticServer::start(directory.path().join(".git"));
    let url = format!("http://127.0.0.1:{}/", files.port);
    let server = Server::start();
    for reference in ["vv1", "refs/heads/vv1", &"1".repeat(40)] {
        let response = server.run(&Request::repository(&url, Some(reference)));
        assert_unresolved(&response, &format!("couldn't find remote ref {reference}"));
    }
    let result = server.result(&Request::repository(&url, None));
    assert_eq!(result["status"], "ok", "{result}");
}

#[test]
fn a_repository_without_a_lockfile_is_unsupported() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("README"), "nothing to build\n").unwrap();
    git_repository(directory.path());
    let files = StaticServer::start(directory.path().join(".git"));
    let result = Server::start().result(&Request::repository(
        &format!("http://127.0.0.1:{}/", files.port),
        None,
    ));
    assert_fails(&result, "UnsupportedToolchain");
}

#[test]
fn an_archive_without_a_lockfile_does_not_take_the_slot() {
    let server = Server::start();
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(0);
    archive
        .append_data(&mut header, "package/README", &b""[..])
        .unwrap();
    let response = server.run(&Request::json(
        &archive.into_inner().unwrap(),
        "package.tar",
    ));
    assert_eq!(response.status, 422);
    assert_eq!(
        server
            .run(&Request::json(&package(&[MAIN]), "package.tar"))
            .status,
        202
    );
}

#[test]
fn a_service_that_is_told_to_end_during_a_build_leaves_nothing() {
    let endless = "fn main() { loop { std::thread::sleep(std::time::Duration::from_secs(1)) } }\n";
    let mut server = Server::start();
    let job = server
        .run(&Request::json(
            &package(&[MAIN, ("build.rs", endless)]),
            "package.tar",
        ))
        .job();
    let mut events = Events::open(server.port, &format!("/build/{job}/events"));
    events
        .find(|(_, event)| {
            event["msg"]
                .as_str()
                .is_some_and(|it| it.contains("Compiling"))
        })
        .expect("the build");
    let left = server.descendants();
    assert!(!left.is_empty(), "nothing runs");
    assert!(server.terminate().success());
    let ended = |id: &u32| !Path::new(&format!("/proc/{id}")).exists();
    assert_ends(|| left.iter().all(ended), "the service was told to end");
}
