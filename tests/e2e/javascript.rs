//! A client as pages have it, in node: no event is cut, however long the statement of its build.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Server, StaticServer, git_repository};

/// The packages that the program is made of: their statement is longer than any piece of a stream.
const DEPENDENCIES: usize = 400;

/// Writes a package with empty ones below it.
fn write_project(root: &Path) {
    let name = |number: usize| format!("empty-{number}");
    let (mut manifest, mut lockfile) = (
        "[package]\nname = \"package\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\n"
            .to_owned(),
        "version = 4\n".to_owned(),
    );
    let mut names: Vec<_> = (0..DEPENDENCIES).map(name).collect();
    names.sort();
    for name in &names {
        let directory = root.join(name);
        fs::create_dir_all(directory.join("src")).unwrap();
        fs::write(directory.join("src/lib.rs"), "").unwrap();
        let own = format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\n");
        fs::write(directory.join("Cargo.toml"), own).unwrap();
        manifest.push_str(&format!("{name} = {{ path = \"{name}\" }}\n"));
        lockfile.push_str(&format!(
            "\n[[package]]\nname = \"{name}\"\nversion = \"0.1.0\"\n"
        ));
    }
    let all: String = names.iter().map(|name| format!(" \"{name}\",\n")).collect();
    lockfile.push_str(&format!(
        "\n[[package]]\nname = \"package\"\nversion = \"0.1.0\"\ndependencies = [\n{all}]\n"
    ));
    fs::create_dir(root.join("src")).unwrap();
    for (name, content) in [
        ("src/main.rs", "fn main() {}\n"),
        ("Cargo.toml", &manifest),
        ("Cargo.lock", &lockfile),
    ] {
        fs::write(root.join(name), content).unwrap();
    }
}

#[test]
#[ignore = "needs node"]
fn a_client_that_never_expects_a_line_to_be_cut_sees_every_event_whole() {
    let directory = tempfile::tempdir().unwrap();
    write_project(directory.path());
    git_repository(directory.path());
    let port = StaticServer::start(directory.path().to_owned()).port;
    let server = Server::start();
    let output = Command::new("node")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/stream.mjs"))
        .arg(format!("https://127.0.0.1:{}", server.tls_port))
        .arg(format!("http://127.0.0.1:{port}/.git"))
        // The machine's certificate is its own; verifiers pin its key.
        .env("NODE_TLS_REJECT_UNAUTHORIZED", "0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let said: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(said["status"], 200, "{said}");
    assert_eq!(said["type"], "text/event-stream");
    assert_eq!(said["broken"], 0, "{said}");
    let result = &said["result"];
    assert_eq!(result["status"], "success", "{said}");
    // The statement is too long for an event, and is at its own address.
    let url = result["provenance_url"].as_str().unwrap();
    let statement = server.get(url).json();
    let dependencies = &statement["predicate"]["buildDefinition"]["resolvedDependencies"];
    assert_eq!(dependencies.as_array().unwrap().len(), DEPENDENCIES + 1);
    assert_eq!(result["provenance"], Value::Null);
}
