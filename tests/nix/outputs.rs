//! Which artifacts are delivered, and what does the statement say about them?

use std::collections::BTreeMap;
use std::{fs, io};

use serde_json::{Value, json};

use crate::appliance::{Outcome, store_paths};
use crate::flake::{Flake, derivation};
use crate::harness::{StaticServer, git, git_repository};
use crate::tool::Tool;

fn parameters(statement: &Value) -> &Value {
    &statement["predicate"]["buildDefinition"]["internalParameters"]
}

#[test]
#[ignore = "needs nix"]
fn a_flake_without_inputs_is_built_and_reproduced() {
    let flake = Flake::script("echo building; echo made > $out");
    let [first, second] = [(); 2].map(|()| Outcome::of(&flake));
    assert!(first.log.contains("package> building"), "{}", first.log);
    let (first, second) = (first.bundle(), second.bundle());
    assert_eq!(
        first.artifacts(),
        BTreeMap::from([("package", &b"made\n"[..])])
    );
    assert_eq!(first.statement()["subject"], second.statement()["subject"]);
    let statement = first.statement();
    assert_eq!(
        statement["predicate"]["buildDefinition"]["buildType"],
        "https://kettle.build/nix/v1"
    );
    assert_eq!(parameters(&statement)["lockfile"]["name"], "flake.lock");
    assert_eq!(parameters(&statement)["network"], json!(["daemon"]));
    assert_eq!(parameters(&statement)["command"]["fetch"], json!([]));
    let tools = parameters(&statement)["toolchain"].as_array().unwrap();
    let tool = |name: &str| {
        tools
            .iter()
            .find(|tool| tool["name"] == name)
            .unwrap_or_else(|| panic!("{name}: {tools:?}"))
    };
    assert!(
        tool("nix")["version"]
            .as_str()
            .unwrap()
            .starts_with("nix (Nix) 2.")
    );
    assert!(tool("nix.conf")["digest"]["sha256"].is_string() && tool("sh")["version"].is_string());
}

/// Names, sizes, references and hashes are those of nix in another store.
#[test]
#[ignore = "needs nix"]
fn the_statement_accounts_for_the_store_as_nix_does() {
    let flake = Flake::derivation(
        "outputs = [ \"out\" \"dev\" ];",
        "echo made > $out; echo $out > $dev",
    )
    .file("more", "x");
    let outcome = Outcome::of(&flake);
    let tool = Tool::new();
    let outputs = tool.build(&flake, "default");
    let statement = outcome.bundle().statement();
    let recorded = parameters(&statement)["outputs"].as_array().unwrap();
    let recorded: BTreeMap<_, _> = recorded
        .iter()
        .map(|it| (it["name"].as_str().unwrap(), &it["path"]))
        .collect();
    assert_eq!(json!(recorded), outputs);
    let theirs = tool.path_info();
    let theirs = theirs.as_object().unwrap();
    let ours = store_paths(&statement);
    assert_eq!(
        ours.iter().map(|(path, _)| *path).collect::<Vec<_>>(),
        theirs.keys().collect::<Vec<_>>()
    );
    for (path, ours) in ours {
        let sri = theirs[path]["narHash"]
            .as_str()
            .unwrap()
            .strip_prefix("sha256-")
            .unwrap();
        let hash = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, sri).unwrap();
        assert_eq!(ours["digest"]["sha256"], hex::encode(hash), "{path}");
        let annotations = &ours["annotations"];
        assert_eq!(annotations["narSize"], theirs[path]["narSize"], "{path}");
        let built = outputs
            .as_object()
            .unwrap()
            .values()
            .any(|output| output == path);
        assert_eq!(
            annotations["realised"] == "built",
            built,
            "{path}: {annotations}"
        );
        let added = if path.ends_with("-source") {
            "source"
        } else {
            "evaluation"
        };
        assert_eq!(
            annotations["added"] == added,
            !built,
            "{path}: {annotations}"
        );
    }
}

#[test]
#[ignore = "needs nix"]
fn a_flake_knows_the_time_of_its_source() {
    let flake = Flake::derivation("time = toString self.lastModified;", "echo $time > $out");
    let bundle = Outcome::of(&flake).bundle();
    let epoch = parameters(&bundle.statement())["sourceDateEpoch"].clone();
    assert_eq!(
        bundle.artifacts()["package"],
        format!("{epoch}\n").as_bytes()
    );
}

/// The path of everything that is made of the source, also where an expression uses its commit, is
/// that of nix which fetches the repository itself.
#[test]
#[ignore = "needs nix"]
fn the_flake_of_a_repository_knows_its_commit_and_has_the_paths_that_nix_gives_it() {
    let attributes =
        "rev = self.rev; short = self.shortRev; time = self.lastModified; source = self;";
    let flake = Flake::derivation(attributes, "echo $rev $short $time > $out");
    let tool = Tool::new();
    let repository = tool.path("repository");
    fs::create_dir(&repository).unwrap();
    flake.write(&repository);
    git_repository(&repository);
    let commit = git(&repository, &["rev-parse", "HEAD"]);
    let time = git(&repository, &["log", "-1", "--format=%ct"]);
    let url = format!(
        "http://127.0.0.1:{}/.git",
        StaticServer::start(repository.clone()).port
    );

    let bundle = Outcome::of_repository(&url).bundle_of(time.parse().unwrap());
    let said = format!("{commit} {} {time}\n", &commit[..7]);
    assert_eq!(bundle.artifacts()["package"], said.as_bytes());
    let statement = bundle.statement();
    let inspected = format!("git+{url}?rev={commit}#default^*");
    let plain = tool.run(&["nix", "build", "--no-link", "--print-out-paths", &inspected]);
    assert_eq!(parameters(&statement)["outputs"][0]["path"], plain);
}

/// What an evaluation imports from is built as everything is, and the statement names it.
#[test]
#[ignore = "needs nix"]
fn a_flake_that_imports_from_derivations_is_built_and_the_statement_says_so() {
    let first = derivation("first", "", "echo '\"one\"' > $out");
    let second = derivation(
        "second",
        "word = first;",
        "echo \"\\\"$word-two\\\"\" > $out",
    );
    let package = derivation("package", "word = second;", "echo $word > $out");
    let flake = Flake::of(&format!(
        "{{ outputs = {{ self }}: let first = import {first}; second = import {second}; in \
         {{ packages.x86_64-linux.default = {package}; }}; }}"
    ));
    let outcome = Outcome::of(&flake);
    let bundle = outcome.bundle();
    assert_eq!(bundle.artifacts()["package"], b"one-two\n");
    let statement = bundle.statement();
    let imported = parameters(&statement)["importFromDerivation"]
        .as_array()
        .unwrap();
    let names: Vec<_> = imported
        .iter()
        .map(|recipe| recipe.as_str().unwrap())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    for name in ["-first.drv", "-second.drv"] {
        assert!(
            names.iter().any(|recipe| recipe.ends_with(name)),
            "{names:?}"
        );
    }
    // All three were built here, and are accounted for as that.
    let dependencies = statement["predicate"]["buildDefinition"]["resolvedDependencies"].as_array();
    let built = dependencies
        .unwrap()
        .iter()
        .filter(|it| it["annotations"]["realised"] == "built");
    assert_eq!(built.count(), 3);
    assert!(!outcome.log.contains("Cannot build"), "{}", outcome.log);
    let plain = Outcome::of(&Flake::script("echo > $out"))
        .bundle()
        .statement();
    assert_eq!(parameters(&plain)["importFromDerivation"], Value::Null);
}

#[test]
#[ignore = "needs nix"]
fn the_size_of_the_store_and_its_limit_are_in_the_log() {
    let big = "#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n\
        int main(void) { FILE *f = fopen(getenv(\"out\"), \"w\"); return ftruncate(fileno(f), 5 << 20); }";
    let outcome = Outcome::of(&Flake::built_by(big));
    outcome.bundle();
    let line = outcome
        .log
        .lines()
        .find_map(|line| line.strip_prefix("the nix store has 3 paths, which take "));
    let line = line.unwrap_or_else(|| panic!("{}", outcome.log));
    let sizes: Vec<u64> = line
        .split(" MiB")
        .filter_map(|part| part.rsplit(' ').next()?.parse().ok())
        .collect();
    assert!(matches!(sizes[..], [5..=9, limit] if limit > 9), "{line}");
}

#[test]
#[ignore = "needs nix"]
fn every_output_is_delivered_under_its_name() {
    let flake = Flake::derivation(
        "outputs = [ \"out\" \"dev\" ];",
        "echo 1 > $out; echo 2 > $dev",
    );
    let bundle = Outcome::of(&flake).bundle();
    let names: Vec<_> = bundle.artifacts().into_iter().collect();
    assert_eq!(
        names,
        [
            ("dev/package-dev", &b"2\n"[..]),
            ("out/package", &b"1\n"[..])
        ]
    );
}

#[test]
#[ignore = "needs nix"]
fn a_tree_is_delivered_file_by_file_and_a_large_one_as_programs_and_an_archive() {
    let bundle = Outcome::of(&Flake::built_by(&tree(3))).bundle();
    let artifacts = bundle.artifacts();
    assert_eq!(
        artifacts.keys().collect::<Vec<_>>(),
        [&"bin/program", &"share/0", &"share/1", &"share/2"]
    );
    assert_eq!(artifacts["bin/program"], b"#!/bin/sh\n");
    let bundle = Outcome::of(&Flake::built_by(&tree(70))).bundle();
    let artifacts = bundle.artifacts();
    assert_eq!(
        artifacts.keys().collect::<Vec<_>>(),
        [&"bin/program", &"package.tar"]
    );
    let mut archive = tar::Archive::new(artifacts["package.tar"]);
    let is_file =
        |entry: io::Result<tar::Entry<'_, _>>| entry.unwrap().header().entry_type().is_file();
    assert_eq!(
        archive
            .entries()
            .unwrap()
            .filter_map(|entry| is_file(entry).then_some(()))
            .count(),
        71
    );
}

/// Returns a builder that writes a program and this many other files.
fn tree(others: u32) -> String {
    format!(
        r##"#include <stdio.h>
        #include <stdlib.h>
        #include <sys/stat.h>
        #include <unistd.h>
        int main(void) {{
            FILE *f;
            char name[16];
            chdir("/") || mkdir(getenv("out"), 0777) || chdir(getenv("out")) || mkdir("bin", 0777) || mkdir("share", 0777);
            f = fopen("bin/program", "w"); fputs("#!/bin/sh\n", f); fclose(f); chmod("bin/program", 0755);
            for (int i = 0; i < {others}; i++) {{ sprintf(name, "share/%d", i); f = fopen(name, "w"); fputs("x", f); fclose(f); }}
            return 0;
        }}"##
    )
}

/// The flake that people try first.
#[test]
#[ignore = "needs nix"]
fn the_project_of_this_repository_is_built() {
    let file = |name: &str| {
        std::fs::read(format!(
            "{}/tests/projects/flake/{name}",
            env!("CARGO_MANIFEST_DIR")
        ))
        .unwrap()
    };
    let flake = ["flake.nix", "flake.lock", "name"]
        .iter()
        .fold(Flake::script(""), |it, name| it.file(name, file(name)));
    let outcome = Outcome::of(&flake);
    assert_eq!(outcome.bundle().artifacts()["greeting"], b"hello, world\n");
}

#[test]
#[ignore = "needs nix"]
fn a_tree_with_both_lockfiles_is_a_flake() {
    let flake = Flake::script("echo made > $out")
        .file("Cargo.lock", "version = 4\n")
        .file("Cargo.toml", "[package]\nname = \"x\"\n");
    let outcome = Outcome::of(&flake);
    assert_eq!(
        outcome.bundle().statement()["predicate"]["buildDefinition"]["buildType"],
        "https://kettle.build/nix/v1"
    );
}

/// Returns a project of cargo beside a flake with these outputs.
fn with_cargo(outputs: &str) -> Flake {
    Flake::of(&format!("{{ outputs = {{ self }}: {{ {outputs} }}; }}"))
        .file(
            "Cargo.lock",
            "version = 4\n[[package]]\nname = \"x\"\nversion = \"0.1.0\"\n",
        )
        .file(
            "Cargo.toml",
            "[package]\nname = \"x\"\nversion = \"0.1.0\"\n",
        )
        .file("src/main.rs", "fn main() {}\n")
}

#[test]
#[ignore = "needs nix"]
fn a_flake_without_a_default_package_gives_way_to_cargo() {
    let shell = "devShells.x86_64-linux.default = throw \"not evaluated\";";
    let outcome = Outcome::of(&with_cargo(shell));
    let bundle = outcome.bundle();
    let definition = &bundle.statement()["predicate"]["buildDefinition"];
    assert_eq!(definition["buildType"], "https://kettle.build/cargo/v1");
    assert!(bundle.artifacts().contains_key("x"));
}

#[test]
#[ignore = "needs nix"]
fn a_flake_that_cannot_be_evaluated_does_not_give_way() {
    let missing_output = "throw \"flake 'path:/kettle/source' does not provide attribute 'x'\"";
    for value in ["throw \"broken\"", "missing", missing_output] {
        let outputs = format!("packages.x86_64-linux.default = {value};");
        let outcome = Outcome::of(&with_cargo(&outputs));
        outcome.assert_failed("BuildFailed", "the flake cannot be evaluated");
    }
}
