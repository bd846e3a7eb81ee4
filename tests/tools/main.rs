//! Do builds find and use the tools and libraries of the image? Each case is a package that uses
//! one of them, built by the real service in the image's root on this machine. Needs root;
//! `KETTLE_ROOT` is the root that `scripts/build-image` unpacks.
#![cfg(all(feature = "cli", feature = "host"))]
#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "../e2e/harness/mod.rs"]
#[allow(dead_code, unused_imports)] // These tests need a part of it.
mod harness;

mod cases;
mod projects;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use cases::{ANSWER, CASES, Case, LIBRARIES};
use harness::{Bundle, Request, Server, package, tar_of};

/// Cases of which each compiles the crate that uses the tool, from the registry.
const CRATES: [(&str, &[&str]); 5] = [
    ("bindgen", &["libz.so.1"]),
    ("cmake", &[]),
    ("prost", &[]),
    ("pyo3", &["libpython3.13.so.1.0"]),
    (
        "sys",
        &[
            "libcrypto.so.3",
            "libsqlite3.so.0",
            "libssl.so.3",
            "libz.so.1",
        ],
    ),
];

/// Libraries that programs of every kind need.
const COMMON: [&str; 6] = [
    "ld-linux-x86-64.so.2",
    "libc.so.6",
    "libdl.so.2",
    "libgcc_s.so.1",
    "libm.so.6",
    "libpthread.so.0",
];

fn root() -> PathBuf {
    let root = std::env::var_os("KETTLE_ROOT").expect("KETTLE_ROOT names the root of the image");
    PathBuf::from(root).canonicalize().unwrap()
}

/// Builds an archive in the image's root, and returns the result, the bundle if there is one, and
/// the log. A submission that is refused has its problem document as result.
fn build_with_log(archive: &[u8]) -> (Value, Option<Bundle>, String) {
    let server = Server::in_root(&root());
    let response = server.run(&Request::json(archive, "package.tar"));
    if response.status != 202 {
        return (response.json(), None, String::new());
    }
    let job = response.job();
    let mut events = server.events(&job);
    let result = events.pop().unwrap()["result"].take();
    let lines = events.iter().filter_map(|event| event["msg"].as_str());
    let log = lines.collect::<Vec<_>>().join("\n");
    let answer = server.get(&format!("/build/{job}/result"));
    let bundle = (answer.status == 200).then(|| {
        let bundle = Bundle::read(&answer.body, 0);
        bundle.assert_described();
        bundle
    });
    (result, bundle, log)
}

/// Builds an archive; the log is shown where that fails.
fn build(archive: &[u8]) -> (Value, Option<Bundle>) {
    let (result, bundle, log) = build_with_log(archive);
    if bundle.is_none() {
        eprintln!("{log}");
    }
    (result, bundle)
}

fn built(archive: &[u8]) -> Bundle {
    let (result, bundle) = build(archive);
    bundle.unwrap_or_else(|| panic!("{result:#}"))
}

fn internal(bundle: &Bundle) -> Value {
    bundle.statement()["predicate"]["buildDefinition"]["internalParameters"].take()
}

/// Returns the libraries of a statement beside those that are common, and asserts that every one
/// has the package and version of the image's list.
fn libraries(bundle: &Bundle) -> Vec<String> {
    let list = fs::read_to_string(root().join("usr/share/kettle/libraries")).unwrap();
    let mut names = Vec::new();
    for library in internal(bundle)["libraries"].as_array().unwrap() {
        let word = |member: &str| library[member].as_str().unwrap();
        let line = format!("{} {} {}", word("name"), word("package"), word("version"));
        assert!(list.lines().any(|it| it == line), "{line}");
        if !COMMON.contains(&word("name")) {
            names.push(word("name").to_owned());
        }
    }
    names
}

fn case(name: &str) -> &'static Case {
    CASES.iter().find(|case| case.name == name).unwrap()
}

/// Builds one case of the table; the program has the answer that the tool gave.
fn assert_works(name: &str) {
    let bundle = built(&case(name).package());
    let program = bundle.artifacts()["package"];
    let has_it = memchr::memmem::find(program, ANSWER.as_bytes()).is_some();
    assert!(has_it, "the program has no answer of {name}");
}

/// Builds a package of `tests/tools/crates`.
fn assert_crate_works(name: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/crates");
    let bundle = built(&tar_of(&directory.join(name)));
    let (_, expected) = CRATES.iter().find(|(it, _)| *it == name).unwrap();
    assert_eq!(libraries(&bundle), **expected);
}

macro_rules! each {
    ($function:ident: $($name:ident),+) => {$(
        #[test]
        #[ignore = "needs root, and the root of a built image"]
        fn $name() {
            $function(stringify!($name));
        }
    )+};
}

mod tool {
    use super::assert_works;

    each!(assert_works: bash, bison, cmake, file, flex, m4, nasm, patch, protoc, python, rustdoc, rustfmt, unzip, wasm);
}

mod published {
    use super::assert_crate_works;

    each!(assert_crate_works: bindgen, cmake, prost, pyo3, sys);
}

#[test]
#[ignore = "needs root, and the root of a built image"]
fn libraries_are_found_linked_and_recorded_with_their_packages() {
    let bundle = built(&case("libraries").package());
    assert_eq!(libraries(&bundle), LIBRARIES);
    let sbom: Value = serde_json::from_slice(&bundle.files["sbom.cdx.json"]).unwrap();
    let components = sbom["components"].as_array().unwrap();
    let ssl = components
        .iter()
        .find(|component| component["name"] == "libssl.so.3")
        .unwrap();
    let purl = ssl["purl"].as_str().unwrap();
    assert!(purl.starts_with("pkg:deb/debian/libssl3t64@3."), "{purl}");
}

#[test]
#[ignore = "needs root, and the root of a built image"]
fn a_project_for_wasm_is_built_and_one_for_musl_is_refused_with_what_there_is() {
    let configuration = |target: &str| format!("[build]\ntarget = \"{target}\"\n");
    let main = ("src/main.rs", "fn main() {}\n");
    let wasm = configuration("wasm32-unknown-unknown");
    let bundle = built(&package(&[main, (".cargo/config.toml", &wasm)]));
    assert!(bundle.artifacts()["package.wasm"].starts_with(b"\0asm"));
    assert_eq!(internal(&bundle)["libraries"], Value::Null);

    let musl = configuration("x86_64-unknown-linux-musl");
    let (result, bundle) = build(&package(&[main, (".cargo/config.toml", &musl)]));
    assert!(bundle.is_none());
    assert_eq!(result["status"], json!("failed"));
    let error = result["error"].as_str().unwrap();
    let there = "there are: wasm32-unknown-unknown, x86_64-unknown-linux-gnu";
    assert!(error.ends_with(there), "{error}");
}
