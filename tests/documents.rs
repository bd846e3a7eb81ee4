//! Does everything that the documents name exist? Commands, paths, links, tests, names.

#![allow(clippy::unwrap_used)] // A test of files: one that cannot be read fails it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

const DOCUMENTS: [&str; 21] = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "image/README.md",
    "image/ci/README.md",
    "image/cloud/README.md",
    "image/firmware/README.md",
    "image/kernel/README.md",
    "image/pool/README.md",
    "image/web/README.md",
    "nix/README.md",
    "scripts/dist/README.md",
    "src/DEPENDENCIES.md",
    "src/toolchain/README.md",
    "src/verifier/README.md",
    "src/verifier/azure/README.md",
    "tests/README.md",
    "tests/conformance/README.md",
    "tests/faults/README.md",
    "tests/fuzz/README.md",
];

#[test]
fn every_link_leads_somewhere() {
    for document in DOCUMENTS {
        let text = read(document);
        let directory = root().join(document).parent().unwrap().to_owned();
        let links: Vec<_> = between(&text, "](", ")")
            .into_iter()
            .filter(|link| !link.contains("://"))
            .collect();
        for link in &links {
            assert!(
                directory.join(link).exists(),
                "{document}: nothing at {link}"
            );
        }
    }
}

#[test]
fn every_path_in_the_layout_exists() {
    let text = read("README.md");
    let layout = section(&text, "## Layout");
    let paths: Vec<_> = between(layout, "`", "`")
        .into_iter()
        .filter(|path| path.contains('/'))
        .collect();
    assert!(paths.len() > 5, "the layout lists {paths:?}");
    for path in paths {
        assert!(root().join(path).exists(), "nothing at {path}");
    }
}

#[test]
fn every_script_runs_and_continuous_integration_runs_the_documented_one() {
    for script in [
        "scripts/setup",
        "scripts/run",
        "scripts/test",
        "scripts/bench",
        "scripts/bench-image",
        "scripts/bench-nix",
        "scripts/bench-verify",
        "scripts/fuzz",
        "scripts/soak",
        "scripts/stress",
        "scripts/faults",
        "scripts/hardware",
        "scripts/release",
        ".ci/run",
    ] {
        let mode = fs::metadata(root().join(script))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o111, 0o111, "{script} is not executable");
        assert!(
            script.starts_with('.') || read("README.md").contains(script),
            "README does not know {script}"
        );
    }
    assert!(read(".ci/run").contains("exec scripts/test\n"));
}

#[test]
fn every_attack_names_tests_that_exist_or_says_why_there_is_none() {
    let text = read("SECURITY.md");
    let attacks = section(&text, "## Attacks");
    let listed: BTreeSet<_> = attacks
        .lines()
        .filter_map(|line| line.strip_prefix("- **")?.split_once(". "))
        .map(|(attack, _)| attack)
        .collect();
    assert!(listed.len() > 150, "only {} attacks", listed.len());
    let mut shown_by_something = BTreeSet::new();
    for row in attacks
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .filter(|row| !row.starts_with("attack | "))
    {
        let [attack, place, shown] = row.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("not three columns: {row}")
        };
        shown_by_something.insert(attack);
        if shown.starts_with("not shown") && shown.contains(": ") {
            continue;
        }
        let tests = tests_below(place.trim_matches('`'));
        let named = between(shown, "`", "`");
        let missing: Vec<_> = named
            .iter()
            .filter(|name| !tests.contains(**name))
            .collect();
        assert!(
            !named.is_empty() && missing.is_empty(),
            "{row}: there is no test {missing:?} in {place}"
        );
    }
    assert_eq!(listed, shown_by_something);
}

#[test]
fn every_degradation_is_one_that_the_sandbox_can_name() {
    let text = read("SECURITY.md");
    let table = section(&text, "## Degradations on a host");
    let code: String = rust_files("src/sandbox")
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let names: Vec<_> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    assert!(!names.is_empty(), "no degradation is listed");
    for name in names {
        assert!(
            code.contains(&format!("\"{name}\"")),
            "the sandbox never says {name}"
        );
    }
}

#[test]
fn every_identifier_in_the_statements_is_documented() {
    let documented: String = DOCUMENTS.iter().map(|document| read(document)).collect();
    for path in rust_files("src") {
        let text = fs::read_to_string(&path).unwrap();
        for identifier in between(&text, "\"https://kettle.build/", "\"") {
            assert!(
                documented.contains(identifier),
                "{}: {identifier} is not documented",
                path.display()
            );
        }
    }
}

#[test]
fn every_rejection_is_documented() {
    let documented = ["README.md", "azure/README.md"];
    let documented: String = documented
        .map(|file| read(&format!("src/verifier/{file}")))
        .concat();
    let tables = ["rejection.rs", "azure/rejection.rs"];
    let tables: String = tables
        .map(|file| read(&format!("src/verifier/{file}")))
        .concat();
    // A row has `= code`, or two codes to pick from; a row that leaves the code to a function has
    // `=> code` there.
    let codes: Vec<_> = ["= \"", "=> \"", "pick(\"", "\", \""]
        .into_iter()
        .flat_map(|opening| between(&tables, opening, "\""))
        .filter(|code| !code.contains(' '))
        .collect();
    assert!(codes.len() > 120, "only {codes:?}");
    for code in codes {
        assert!(
            documented.contains(&format!("`{code}`")),
            "{code} is not documented"
        );
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the text from a heading to the next one of its level.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, rest) = text
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("no {heading}"));
    rest.split("\n## ").next().unwrap()
}

/// Returns everything between an opening and the next closing mark, on one line.
fn between<'a>(text: &'a str, open: &str, close: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    for mut line in text.lines() {
        while let Some((inner, rest)) = line
            .split_once(open)
            .and_then(|(_, rest)| rest.split_once(close))
        {
            found.push(inner);
            line = rest;
        }
    }
    found
}

/// Returns the names of the tests in a file, or in a directory with the file beside it that
/// declares it as a module.
fn tests_below(place: &str) -> BTreeSet<String> {
    let mut files = Vec::new();
    if root().join(place).is_dir() {
        files = rust_files(place);
    }
    let file = root()
        .join(place.trim_end_matches(".rs"))
        .with_extension("rs");
    files.extend(file.exists().then_some(file));
    files
        .iter()
        .flat_map(|path| tests_of(&fs::read_to_string(path).unwrap()))
        .collect()
}

/// Returns the names of the functions directly after a test attribute.
fn tests_of(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line == "#[test]" || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test) {
            found.extend(rest.split('(').next().map(str::to_owned));
            is_test = false;
        }
    }
    found
}

fn rust_files(directory: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![root().join(directory)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                directories.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn reading_documents_finds_what_is_there_and_only_that() {
    assert_eq!(between("a `b` c `d`\n`e\n`", "`", "`"), ["b", "d"]);
    assert_eq!(section("\n## A\nx\n## B\ny", "## A"), "x");
    assert_eq!(
        tests_of("#[test]\n#[ignore]\nfn a() {}\nfn b() {}\n#[tokio::test]\nasync fn c() {"),
        ["a", "c"]
    );
}
