//! Paths that are downloaded: recorded as that, with who vouches for them, or refused.

use std::fs;

use serde_json::{Value, json};

use crate::appliance::{Outcome, store_paths};
use crate::flake::{Flake, derivation};
use crate::harness::StaticServer;
use crate::tool::Tool;

/// A flake whose default package uses another.
fn flake() -> Flake {
    let part = derivation("part", "", "echo part > $out");
    let whole = derivation("whole", "inherit part;", "read -r line < $part; echo \"whole of $line\" > $out");
    Flake::of(&format!(
        "{{ outputs = {{ self }}: {{ packages.x86_64-linux = rec {{ part = {part}; default = {whole}; }}; }}; }}"
    ))
}

/// A cache that is served on loopback, with some of the flake's packages.
struct Cache {
    url: String,
    key: String,
    /// Attribute to store path.
    path: String,
    tool: Tool,
}

impl Cache {
    fn of(attribute: &str) -> Self {
        let tool = Tool::new();
        let path = tool.build(&flake(), attribute)["out"].as_str().unwrap().to_owned();
        let key = tool.cache("cache", "test-1", &[&path]);
        let url = format!("http://127.0.0.1:{}", StaticServer::start(tool.path("cache")).port);
        Self { url, key, path, tool }
    }

    fn build(&self) -> Outcome {
        Outcome::with_cache(&flake(), &self.url, &self.key)
    }

    /// Changes the description of every path in the cache.
    fn change(&self, change: impl Fn(&str) -> String) {
        let infos = fs::read_dir(self.tool.path("cache")).unwrap().map(|entry| entry.unwrap().path());
        for info in infos.filter(|path| path.extension().is_some_and(|ending| ending == "narinfo")) {
            fs::write(&info, change(&fs::read_to_string(&info).unwrap())).unwrap();
        }
    }
}

fn how(statement: &Value, path: &str) -> Value {
    let all = store_paths(statement);
    all.into_iter().find(|(name, _)| *name == path).unwrap_or_else(|| panic!("no {path}")).1["annotations"].clone()
}

#[test]
#[ignore = "needs nix"]
fn a_path_from_a_cache_is_recorded_with_cache_and_key() {
    let cache = Cache::of("part");
    let outcome = cache.build();
    let bundle = outcome.bundle();
    assert_eq!(bundle.artifacts()["whole"], b"whole of part\n");
    let statement = bundle.statement();
    let part = how(&statement, &cache.path);
    assert_eq!(
        (&part["realised"], &part["key"], &part["cache"]),
        (&json!("substituted"), &json!("test-1"), &json!(cache.url))
    );
    let output = &statement["predicate"]["buildDefinition"]["internalParameters"]["outputs"][0];
    assert_eq!(output["realised"], "built");
    assert_eq!(how(&statement, output["path"].as_str().unwrap())["realised"], "built");
    // The same paths, hashes, sizes and signatures as where they were built.
    let theirs = cache.tool.path_info();
    let hash = theirs[&cache.path]["narHash"].as_str().unwrap().strip_prefix("sha256-").unwrap().to_owned();
    let hash = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, hash).unwrap();
    let (_, dependency) = store_paths(&statement).into_iter().find(|(name, _)| *name == cache.path).unwrap();
    assert_eq!(dependency["digest"]["sha256"], hex::encode(hash));
    assert_eq!(part["narSize"], theirs[&cache.path]["narSize"]);
    assert!(!outcome.log.contains("nothing was built here"), "{}", outcome.log);
}

#[test]
#[ignore = "needs nix"]
fn a_flake_that_only_downloads_its_result_says_so() {
    let cache = Cache::of("default");
    let outcome = cache.build();
    let statement = outcome.bundle().statement();
    assert!(outcome.log.contains("nothing was built here"), "{}", outcome.log);
    let outputs = &statement["predicate"]["buildDefinition"]["internalParameters"]["outputs"];
    assert_eq!((&outputs[0]["realised"], &outputs[0]["path"]), (&json!("substituted"), &json!(cache.path)));
}

/// Another key's signature, none, a changed description, changed bytes: the path is built here, or the build fails; it is never
/// taken.
#[test]
#[ignore = "needs nix"]
fn a_path_without_a_trusted_signature_is_not_taken() {
    let unsigned =
        |info: &str| info.lines().filter(|line| !line.starts_with("Sig:")).map(|line| format!("{line}\n")).collect();
    let longer = |info: &str| info.replace("NarSize: ", "NarSize: 1");
    for (name, change) in [("no signature", &unsigned as &dyn Fn(&str) -> String), ("another size", &longer)] {
        let cache = Cache::of("part");
        cache.change(change);
        assert_built_or_refused(&cache.build(), &cache, name);
    }
    let cache = Cache::of("part");
    let other = Tool::new().key("test-1");
    assert_ne!(other, cache.key);
    assert_built_or_refused(&Outcome::with_cache(&flake(), &cache.url, &other), &cache, "another key of the same name");
    let cache = Cache::of("part");
    for entry in fs::read_dir(cache.tool.path("cache/nar")).unwrap() {
        let path = entry.unwrap().path();
        let changed = String::from_utf8_lossy(&fs::read(&path).unwrap()).replace("part\n", "trap\n");
        fs::write(path, changed).unwrap();
    }
    assert_built_or_refused(&cache.build(), &cache, "other bytes");
}

fn assert_built_or_refused(outcome: &Outcome, cache: &Cache, name: &str) {
    if outcome.result["status"] == "ok" {
        let bundle = outcome.bundle();
        assert_eq!(how(&bundle.statement(), &cache.path)["realised"], "built", "{name}");
        assert_eq!(bundle.artifacts()["whole"], b"whole of part\n", "{name}");
    } else {
        outcome.assert_failed("BuildFailed", "");
    }
}
