//! Inputs: what the lockfile names has to come, and to be that.

use std::fs;

use serde_json::{Value, json};

use crate::appliance::{Outcome, store_paths};
use crate::compiler::{Compiling, assert_says_hello};
use crate::flake::{Flake, derivation};
use crate::harness::StaticServer;
use crate::tool::{self, Tool};

/// An archive that is served on loopback, and the hash of what is in it.
struct Tarball {
    url: String,
    hash: String,
    _tool: Tool,
}

impl Tarball {
    fn of(files: &[(&str, &str)]) -> Self {
        let tool = Tool::new();
        for (name, content) in files {
            fs::create_dir_all(tool.path("input")).unwrap();
            fs::write(tool.path("input").join(name), content).unwrap();
        }
        let hash = tool.nar_hash("input");
        let served = tool.path("served");
        fs::create_dir(&served).unwrap();
        let mut archive = tar::Builder::new(fs::File::create(served.join("input.tar")).unwrap());
        archive.append_dir_all("input", tool.path("input")).unwrap();
        archive.finish().unwrap();
        let server = StaticServer::start(served);
        Self { url: format!("http://127.0.0.1:{}/input.tar", server.port), hash, _tool: tool }
    }

    fn lock(&self, hash: &str) -> String {
        let locked = json!({ "type": "tarball", "url": self.url, "narHash": hash });
        lock("input", &json!({ "locked": locked, "original": { "type": "tarball", "url": self.url }, "flake": false }))
    }
}

fn lock(name: &str, node: &Value) -> String {
    json!({ "nodes": { "root": { "inputs": { name: name } }, name: node }, "root": "root", "version": 7 }).to_string()
}

/// A flake that copies a file of its input, which is no flake.
fn with_input(url: &str, lock: &str) -> Flake {
    let package = derivation("package", "inherit input;", "read -r line < $input/text; echo \"$line\" > $out");
    Flake::of(&format!(
        "{{ inputs.input = {{ url = \"{url}\"; flake = false; }}; \
         outputs = {{ self, input }}: {{ packages.x86_64-linux.default = {package}; }}; }}"
    ))
    .file("flake.lock", lock)
}

fn dependency(statement: &Value, name: &str) -> Value {
    let all = statement["predicate"]["buildDefinition"]["resolvedDependencies"].as_array().unwrap();
    all.iter().find(|it| it["name"] == name).unwrap_or_else(|| panic!("no {name}: {all:#?}")).clone()
}

#[test]
#[ignore = "needs nix"]
fn a_tarball_input_is_fetched_checked_and_recorded() {
    let tarball = Tarball::of(&[("text", "from the input\n")]);
    let flake = with_input(&tarball.url, &tarball.lock(&tarball.hash));
    let [first, second] = [(); 2].map(|()| Outcome::of(&flake).bundle());
    assert_eq!(first.artifacts()["package"], b"from the input\n");
    assert_eq!(first.statement()["subject"], second.statement()["subject"]);
    let statement = first.statement();
    let input = dependency(&statement, "input");
    assert_eq!(input["annotations"]["locked"]["narHash"], *tarball.hash);
    assert_eq!(input["annotations"]["locked"]["url"], *tarball.url);
    let in_store = store_paths(&statement).into_iter().find(|(_, it)| it["annotations"]["added"] == "input").unwrap();
    assert_eq!(in_store.1["digest"], input["digest"]);
    let internal = &statement["predicate"]["buildDefinition"]["internalParameters"];
    assert_eq!(internal["network"], json!(["fetch", "daemon"]));
    assert_eq!(internal["command"]["fetch"][1], "flake");
}

#[test]
#[ignore = "needs nix"]
fn an_input_with_another_hash_is_refused() {
    let tarball = Tarball::of(&[("text", "from the input\n")]);
    let other = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let outcome = Outcome::of(&with_input(&tarball.url, &tarball.lock(other)));
    outcome.assert_failed("LockfileMismatch", "mismatch in field 'narHash' of input");
}

#[test]
#[ignore = "needs nix"]
fn an_input_that_nobody_serves_is_not_fetched() {
    let tarball = Tarball::of(&[("text", "x\n")]);
    let url = tarball.url.replace("input.tar", "elsewhere.tar");
    let flake = with_input(&url, &tarball.lock(&tarball.hash).replace("input.tar", "elsewhere.tar"));
    Outcome::of(&flake).assert_failed("DependencyFetchFailed", "404");
}

/// A folder of the source is part of it: it is not fetched, and recorded as that folder.
#[test]
#[ignore = "needs nix"]
fn a_folder_of_the_source_is_an_input() {
    let node = json!({ "flake": false, "locked": { "path": "./sub", "type": "path" },
        "original": { "path": "./sub", "type": "path" }, "parent": [] });
    let flake = with_input("path:./sub", &lock("input", &node)).file("sub/text", "from a folder\n");
    let bundle = Outcome::of(&flake).bundle();
    assert_eq!(bundle.artifacts()["package"], b"from a folder\n");
    let input = dependency(&bundle.statement(), "input");
    // `git write-tree` of a folder with this one file.
    assert_eq!(input["digest"]["gitTree"].as_str().unwrap().len(), 40);
    assert_eq!(input["digest"].as_object().unwrap().len(), 1);
}

/// An input that is a flake brings its own outputs.
#[test]
#[ignore = "needs nix"]
fn an_input_can_be_a_flake() {
    let inner = format!(
        "{{ outputs = {{ self }}: {{ packages.x86_64-linux.default = {}; }}; }}",
        derivation("inner", "", "echo inner > $out")
    );
    let tarball = Tarball::of(&[("flake.nix", &inner)]);
    let lock = tarball.lock(&tarball.hash).replace("\"flake\":false,", "");
    let flake = Flake::of(&format!(
        "{{ inputs.input.url = \"{}\"; outputs = {{ self, input }}: {{ inherit (input) packages; }}; }}",
        tarball.url
    ))
    .file("flake.lock", lock);
    assert_eq!(Outcome::of(&flake).bundle().artifacts()["inner"], b"inner\n");
}

#[test]
#[ignore = "needs nix"]
fn a_c_program_is_compiled_by_a_compiler_that_is_an_input() {
    let compiling = Compiling::new(&tool::root(), "127.0.0.1");
    let [first, second] = [(); 2].map(|()| Outcome::of(&compiling.flake).bundle());
    assert_says_hello(first.artifacts()["hello"]);
    assert_eq!(first.statement()["subject"], second.statement()["subject"]);
}
