//! Downloaded paths: recorded as downloaded, with the key that signed them, or refused.

use std::fs;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::appliance::{Outcome, store_paths};
use crate::flake::{Flake, derivation};
use crate::harness::{StaticServer, sha256};
use crate::inputs::{Response, answering, redirecting};
use crate::tool::Tool;

/// Returns a flake whose default package uses another.
fn flake() -> Flake {
    let part = derivation("part", "", "echo part > $out");
    let whole = derivation(
        "whole",
        "inherit part;",
        "read -r line < $part; echo \"whole of $line\" > $out",
    );
    Flake::of(&format!(
        "{{ outputs = {{ self }}: {{ packages.x86_64-linux = rec {{ part = {part}; default = {whole}; }}; }}; }}"
    ))
}

/// A cache that is served on loopback, with some of the flake's packages.
struct Cache {
    url: String,
    key: String,
    /// The store path of each attribute.
    path: String,
    tool: Tool,
}

impl Cache {
    fn of(attribute: &str) -> Self {
        let tool = Tool::new();
        let path = tool.build(&flake(), attribute)["out"]
            .as_str()
            .unwrap()
            .to_owned();
        let key = tool.cache("cache", "test-1", &[&path]);
        let url = format!(
            "http://127.0.0.1:{}",
            StaticServer::start(tool.path("cache")).port
        );
        Self {
            url,
            key,
            path,
            tool,
        }
    }

    fn build(&self) -> Outcome {
        Outcome::with_cache(&flake(), &self.url, &self.key)
    }

    /// Changes the description of every path in the cache.
    fn change(&self, change: impl Fn(&str) -> String) {
        let infos = fs::read_dir(self.tool.path("cache"))
            .unwrap()
            .map(|entry| entry.unwrap().path());
        for info in infos.filter(|path| path.extension().is_some_and(|ending| ending == "narinfo"))
        {
            fs::write(&info, change(&fs::read_to_string(&info).unwrap())).unwrap();
        }
    }
}

fn how(statement: &Value, path: &str) -> Value {
    let all = store_paths(statement);
    all.into_iter()
        .find(|(name, _)| *name == path)
        .unwrap_or_else(|| panic!("no {path}"))
        .1["annotations"]
        .clone()
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
    assert_eq!(
        how(&statement, output["path"].as_str().unwrap())["realised"],
        "built"
    );
    // The same paths, hashes, sizes and signatures as in the store that built them.
    let theirs = cache.tool.path_info();
    let hash = theirs[&cache.path]["narHash"]
        .as_str()
        .unwrap()
        .strip_prefix("sha256-")
        .unwrap()
        .to_owned();
    let hash = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, hash).unwrap();
    let (_, dependency) = store_paths(&statement)
        .into_iter()
        .find(|(name, _)| *name == cache.path)
        .unwrap();
    assert_eq!(dependency["digest"]["sha256"], hex::encode(hash));
    assert_eq!(part["narSize"], theirs[&cache.path]["narSize"]);
    assert!(
        !outcome.log.contains("nothing was built here"),
        "{}",
        outcome.log
    );
}

#[test]
#[ignore = "needs nix"]
fn an_archive_that_its_cache_redirects_is_recorded_with_its_last_url() {
    let cache = Cache::of("part");
    let statement = cache.build().bundle().statement();
    assert_eq!(how(&statement, &cache.path).get("fetchedFrom"), None);
    let first = redirecting(redirecting(cache.url.clone()));
    let outcome = Outcome::with_cache(&flake(), &first, &cache.key);
    let part = how(&outcome.bundle().statement(), &cache.path);
    assert_eq!(part["cache"], *first);
    let last = part["fetchedFrom"]
        .as_str()
        .unwrap_or_else(|| panic!("{part}: {}", outcome.log));
    assert!(last.starts_with(&format!("{}/nar/", cache.url)), "{last}");
}

/// A cache redirects nix to an address without a server, and then serves the archive itself: the
/// other URL is not recorded.
#[test]
#[ignore = "needs nix"]
fn an_attempt_at_a_download_that_failed_is_not_recorded() {
    let cache = Cache::of("part");
    let (root, asked) = (cache.tool.path("cache"), AtomicUsize::new(0));
    // Nobody listens there.
    let dead = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = answering(move |path| {
        let is_first = path.starts_with("/nar/") && asked.fetch_add(1, Ordering::SeqCst) == 0;
        if is_first {
            Response::Location(format!("http://{dead}{path}"))
        } else {
            Response::File(root.join(&path[1..]))
        }
    });
    let outcome = Outcome::with_cache(&flake(), &url, &cache.key);
    let part = how(&outcome.bundle().statement(), &cache.path);
    assert_eq!(
        (&part["cache"], part.get("fetchedFrom")),
        (&json!(url), None),
        "{}",
        outcome.log
    );
    assert!(outcome.log.contains("retrying"), "{}", outcome.log);
}

/// The description of a path names another server for the archive, in an unsigned part.
#[test]
#[ignore = "needs nix"]
fn an_archive_of_another_server_is_recorded_with_its_url() {
    let cache = Cache::of("part");
    let elsewhere = format!(
        "http://127.0.0.1:{}",
        StaticServer::start(cache.tool.path("cache")).port
    );
    cache.change(|info| info.replace("URL: ", &format!("URL: {elsewhere}/")));
    let outcome = cache.build();
    let part = how(&outcome.bundle().statement(), &cache.path);
    assert_eq!(part["cache"], *cache.url);
    let url = part["fetchedFrom"]
        .as_str()
        .unwrap_or_else(|| panic!("{part}: {}", outcome.log));
    assert!(url.starts_with(&format!("{elsewhere}/nar/")), "{url}");
}

/// The log has the output of the evaluation, and the list of planned builds once.
#[test]
#[ignore = "needs nix"]
fn the_log_has_what_evaluation_says_and_each_list_once() {
    let cache = Cache::of("part");
    let part = derivation("part", "", "echo part > $out");
    let whole = derivation(
        "whole",
        "inherit part;",
        "read -r line < $part; echo \"whole of $line\" > $out",
    );
    let traced = Flake::of(&format!(
        "{{ outputs = {{ self }}: {{ packages.x86_64-linux = rec {{ part = {part}; \
         default = builtins.trace \"a trace\" ({whole}); }}; }}; }}"
    ));
    let outcome = Outcome::with_cache(&traced, &cache.url, &cache.key);
    outcome.bundle();
    for line in [
        "trace: a trace",
        "this path will be fetched (",
        "copying path '",
    ] {
        assert_eq!(
            outcome.log.matches(line).count(),
            1,
            "{line}: {}",
            outcome.log
        );
    }
    assert_eq!(
        outcome.log.matches(" will be built:").count(),
        1,
        "{}",
        outcome.log
    );
    assert_eq!(
        outcome
            .log
            .lines()
            .filter(|line| line.starts_with("  /nix/store/"))
            .count(),
        2,
        "{}",
        outcome.log
    );
}

#[test]
#[ignore = "needs nix"]
fn a_flake_that_only_downloads_its_result_says_so() {
    let cache = Cache::of("default");
    let outcome = cache.build();
    let statement = outcome.bundle().statement();
    assert!(
        outcome.log.contains("nothing was built here"),
        "{}",
        outcome.log
    );
    let outputs = &statement["predicate"]["buildDefinition"]["internalParameters"]["outputs"];
    assert_eq!(
        (&outputs[0]["realised"], &outputs[0]["path"]),
        (&json!("substituted"), &json!(cache.path))
    );
}

/// The ledger agrees, path by path, with nix itself, which builds the same from the same cache.
#[test]
#[ignore = "needs nix"]
fn the_ledger_of_a_flake_with_downloaded_paths_is_that_of_nix() {
    let cache = Cache::of("part");
    let statement = cache.build().bundle().statement();
    let tool = Tool::new();
    tool.build_with_cache(&flake(), &cache.url, &cache.key);
    let theirs = tool.path_info();
    let ours: Vec<_> = store_paths(&statement)
        .into_iter()
        .map(|(path, ours)| {
            let annotations = &ours["annotations"];
            let realised = annotations["realised"].as_str();
            (
                path.to_owned(),
                ours["digest"]["sha256"].clone(),
                annotations["narSize"].clone(),
                realised.map(str::to_owned),
                annotations["key"].clone(),
                annotations["deriver"].clone(),
            )
        })
        .collect();
    // The recipe of the part was evaluated and not run: it is one of those that are counted.
    let is_counted = |path: &str| path.ends_with("-part.drv");
    let (counted, theirs): (Vec<_>, Vec<_>) = theirs
        .as_object()
        .unwrap()
        .iter()
        .partition(|(path, _)| is_counted(path));
    let lines: String = counted
        .iter()
        .map(|(path, info)| format!("{}  {path}\n", hex_of(&info["narHash"])))
        .collect();
    let all = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
        .as_array()
        .unwrap();
    let evaluated = all.last().unwrap();
    assert_eq!(
        evaluated["annotations"],
        json!({ "added": "evaluation", "count": 1 }),
        "{evaluated}"
    );
    assert_eq!(evaluated["digest"]["sha256"], sha256(lines.as_bytes()));
    let theirs: Vec<_> = theirs
        .into_iter()
        .map(|(path, info)| {
            let key = info["signatures"][0]
                .as_str()
                .map(|signature| signature.split(':').next().unwrap());
            let ultimate = info["ultimate"] == true;
            let realised = if ultimate {
                Some("built")
            } else {
                key.map(|_| "substituted")
            };
            let deriver = if ultimate {
                info["deriver"].clone()
            } else {
                Value::Null
            };
            (
                path.clone(),
                json!(hex_of(&info["narHash"])),
                info["narSize"].clone(),
                realised.map(str::to_owned),
                json!(key),
                deriver,
            )
        })
        .collect();
    assert_eq!(ours, theirs);
    let count = |word: &str| {
        ours.iter()
            .filter(|(_, _, _, realised, ..)| realised.as_deref() == Some(word))
            .count()
    };
    assert_eq!(
        (ours.len(), count("built"), count("substituted")),
        (4, 1, 1)
    );
}

/// Converts a hash of nix to the form of provenance.
fn hex_of(hash: &Value) -> String {
    let base64 = hash.as_str().unwrap().strip_prefix("sha256-").unwrap();
    hex::encode(base64::Engine::decode(&base64::engine::general_purpose::STANDARD, base64).unwrap())
}

/// A cache's claim about where a path came from is unsigned.
#[test]
#[ignore = "needs nix"]
fn unsigned_claims_of_a_cache_are_not_recorded() {
    let cache = Cache::of("part");
    let line = |line: &str| match line.strip_prefix("Deriver: ") {
        Some(_) => format!("Deriver: {}-trusted.drv\n", "a".repeat(32)),
        None => format!("{line}\n"),
    };
    cache.change(|info| info.lines().map(line).collect());
    let part = how(&cache.build().bundle().statement(), &cache.path);
    assert_eq!(
        (&part["realised"], &part["deriver"]),
        (&json!("substituted"), &Value::Null)
    );
}

/// Nix accepts it unsigned, because its name is computed from its content.
#[test]
#[ignore = "needs nix"]
fn a_fixed_output_from_a_cache_needs_a_signature_too() {
    let hash = sha256(b"fixed\n");
    let fixed =
        format!("outputHashMode = \"flat\"; outputHashAlgo = \"sha256\"; outputHash = \"{hash}\";");
    let flake = Flake::derivation(&fixed, "echo fixed > $out");
    let tool = Tool::new();
    let path = tool.build(&flake, "default")["out"]
        .as_str()
        .unwrap()
        .to_owned();
    let key = tool.cache("cache", "test-1", &[&path]);
    let url = format!(
        "http://127.0.0.1:{}",
        StaticServer::start(tool.path("cache")).port
    );
    let signed = Outcome::with_cache(&flake, &url, &key);
    assert_eq!(
        how(&signed.bundle().statement(), &path)["realised"],
        "substituted"
    );
    let other = Tool::new().key("test-1");
    Outcome::with_cache(&flake, &url, &other).assert_failed(
        "BuildFailed",
        "neither built here nor signed by a trusted key",
    );
}

/// With another key's signature, none, or a changed description, the path is built here. With
/// changed bytes, the build fails.
#[test]
#[ignore = "needs nix"]
fn a_path_without_a_trusted_signature_is_not_taken() {
    let unsigned = |info: &str| {
        info.lines()
            .filter(|line| !line.starts_with("Sig:"))
            .map(|line| format!("{line}\n"))
            .collect()
    };
    let longer = |info: &str| info.replace("NarSize: ", "NarSize: 1");
    for (name, change) in [
        ("no signature", &unsigned as &dyn Fn(&str) -> String),
        ("another size", &longer),
    ] {
        let cache = Cache::of("part");
        cache.change(change);
        assert_built(&cache.build(), &cache, name);
    }
    let cache = Cache::of("part");
    let other = Tool::new().key("test-1");
    assert_ne!(other, cache.key);
    assert_built(
        &Outcome::with_cache(&flake(), &cache.url, &other),
        &cache,
        "another key of the same name",
    );
    let cache = Cache::of("part");
    for entry in fs::read_dir(cache.tool.path("cache/nar")).unwrap() {
        let path = entry.unwrap().path();
        let changed =
            String::from_utf8_lossy(&fs::read(&path).unwrap()).replace("part\n", "trap\n");
        fs::write(path, changed).unwrap();
    }
    cache
        .build()
        .assert_failed("BuildFailed", "hash mismatch importing path");
}

fn assert_built(outcome: &Outcome, cache: &Cache, name: &str) {
    let bundle = outcome.bundle();
    assert_eq!(
        how(&bundle.statement(), &cache.path)["realised"],
        "built",
        "{name}"
    );
    assert_eq!(bundle.artifacts()["whole"], b"whole of part\n", "{name}");
}
