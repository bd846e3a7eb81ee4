//! Does `src/DEPENDENCIES.md` list everything in kettle-init? Every crate that is compiled into it,
//! or runs while it is compiled, has its row with its purpose and how often its source has
//! `unsafe`; so has every file of ours with `unsafe`. And does the published bill of materials
//! agree with the locks?

#![allow(clippy::unwrap_used)] // A test of files: one that cannot be read fails it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

mod tokens;

use tokens::tokens;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Directories of a package that are not compiled into our programs.
const NOT_COMPILED: [&str; 4] = ["benches", "examples", "fuzz", "tests"];

/// A crate's name and version.
type Package = (String, String);

#[test]
fn every_crate_that_is_compiled_in_has_its_row() {
    let (linked, _) = crates();
    compare("## Compiled in", linked);
}

#[test]
fn every_crate_that_runs_while_it_is_compiled_has_its_row() {
    let (linked, all) = crates();
    compare("## Run while it is compiled", &all - &linked);
}

#[test]
fn every_file_of_ours_with_unsafe_code_has_its_row_and_its_reasons() {
    let source = root().join("src");
    let counted = rust_files(&source).into_iter().filter_map(|path| {
        let text = fs::read_to_string(&path).unwrap();
        let count = unsafe_in(&text);
        // There, functions of the firmware are unsafe as types; a lint holds each block to a reason.
        let is_stub = path.starts_with(source.join("stub"));
        assert!(
            is_stub || text.matches("// SAFETY:").count() >= count,
            "{}: a block without its reason",
            path.display()
        );
        (count > 0).then(|| {
            (
                path.strip_prefix(root()).unwrap().display().to_string(),
                count,
            )
        })
    });
    assert_eq!(
        rows("## Ours"),
        counted.collect::<BTreeMap<_, _>>(),
        "the table of our own unsafe code is wrong"
    );
}

#[test]
fn the_published_bill_is_of_the_locks_and_of_the_measured_files() {
    let published = |ending: &str| -> Value {
        let path = format!("measurements/{}.{ending}", env!("CARGO_PKG_VERSION"));
        serde_json::from_slice(&fs::read(root().join(path)).unwrap()).unwrap()
    };
    let (bill, measured) = (published("cdx.json"), published("json"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let listed = |kind: &str| -> BTreeSet<_> {
        let components = bill["components"].as_array().unwrap().iter();
        let of_kind = components.filter(|component| text(&component["purl"]).starts_with(kind));
        of_kind
            .map(|one| {
                (
                    text(&one["name"]),
                    text(&one["version"]),
                    text(&one["hashes"][0]["content"]),
                )
            })
            .collect()
    };
    assert_eq!(listed("pkg:cargo/"), locked_crates());
    assert_eq!(listed("pkg:deb/debian/"), locked_packages());
    let files = listed("");
    for (file, member) in [
        ("kernel", "kernel_sha256"),
        ("initrd", "initrd_sha256"),
        ("cmdline", "command_line_sha256"),
        ("firmware.fd", "firmware_sha256"),
        ("root.img", "root_image_sha256"),
    ] {
        assert!(
            files.contains(&(file.to_owned(), String::new(), text(&measured[member]))),
            "{file}"
        );
    }
}

/// Returns name, version and digest of the crates in kettle-init's compilation, from `Cargo.lock`.
fn locked_crates() -> BTreeSet<(String, String, String)> {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let member = |package: &str, name: &str| {
        let line = package
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name} = \"")));
        line.unwrap_or_default().trim_end_matches('"').to_owned()
    };
    let (_, all) = crates();
    let packages = lock
        .split("[[package]]")
        .map(|package| ["name", "version", "checksum"].map(|name| member(package, name)));
    let packages = packages.map(|[name, version, checksum]| ((name, version), checksum));
    packages
        .filter(|(package, _)| all.contains(package))
        .map(|((name, version), sum)| (name, version, sum))
        .collect()
}

/// Returns name, version and digest of the packages that are used for the image.
fn locked_packages() -> BTreeSet<(String, String, String)> {
    let lock = fs::read_to_string(root().join("image/packages.lock")).unwrap();
    let rows = lock
        .lines()
        .map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
    let of_image = rows.filter(|row| ["image", "kernel", "source"].contains(&row[0].as_str()));
    of_image
        .map(|row| (row[2].clone(), row[3].clone(), row[6].clone()))
        .collect()
}

/// Asserts that the rows below a heading are these packages, each with the right number.
fn compare(heading: &str, packages: BTreeSet<Package>) {
    let directories = directories();
    let mut counted = BTreeMap::new();
    for (name, version) in packages {
        let directory = &directories[&(name.clone(), version)];
        let count: usize = rust_files(directory)
            .iter()
            .map(|path| unsafe_in(&String::from_utf8_lossy(&fs::read(path).unwrap())))
            .sum();
        // Two versions of one crate get one row: the number counts both.
        *counted.entry(name).or_insert(0) += count;
    }
    let listed = rows(heading);
    let differences: Vec<_> = counted
        .iter()
        .filter(|(name, count)| listed.get(*name) != Some(count))
        .map(|(name, count)| {
            format!(
                "{name}: {count} times unsafe, listed: {:?}",
                listed.get(name)
            )
        })
        .chain(
            listed
                .keys()
                .filter(|name| !counted.contains_key(*name))
                .map(|name| format!("{name} is gone")),
        )
        .collect();
    assert!(
        differences.is_empty(),
        "src/DEPENDENCIES.md, {heading}:\n{}",
        differences.join("\n")
    );
}

/// Returns the first two columns of the table below a heading. Asserts that each row has a third
/// one with text.
fn rows(heading: &str) -> BTreeMap<String, usize> {
    let text = fs::read_to_string(root().join("src/DEPENDENCIES.md")).unwrap();
    let (_, rest) = text
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("no {heading}"));
    let section = rest.split("\n## ").next().unwrap();
    let mut found = BTreeMap::new();
    for row in section.lines().filter_map(|line| line.strip_prefix("| `")) {
        let (name, rest) = row.split_once("` | ").unwrap();
        let (count, reason) = rest.split_once(" | ").unwrap();
        assert!(reason.len() > 10, "{name} has no reason");
        assert!(
            found
                .insert(name.to_owned(), count.parse().unwrap())
                .is_none(),
            "{name} has two rows"
        );
    }
    found
}

/// Returns the packages that are linked into kettle-init, and all that take part in its
/// compilation, without our own.
fn crates() -> (BTreeSet<Package>, BTreeSet<Package>) {
    (tree("normal,no-proc-macro"), tree("normal,build"))
}

fn tree(edges: &str) -> BTreeSet<Package> {
    let features = [
        "--no-default-features",
        "--features",
        "appliance",
        "--target",
        TARGET,
    ];
    let format = ["--edges", edges, "--prefix", "none", "--format", "{p}"];
    let printed = cargo(&[&["tree"], &features[..], &format].concat());
    let packages = printed.lines().filter(|line| !line.is_empty()).map(|line| {
        let mut words = line.split(' ');
        (
            words.next().unwrap().to_owned(),
            words.next().unwrap().trim_start_matches('v').to_owned(),
        )
    });
    packages
        .filter(|(name, _)| name != env!("CARGO_PKG_NAME"))
        .collect()
}

/// Returns the directory of the source of every package.
fn directories() -> BTreeMap<Package, PathBuf> {
    let printed = cargo(&[
        "metadata",
        "--format-version",
        "1",
        "--filter-platform",
        TARGET,
    ]);
    let metadata: Value = serde_json::from_str(&printed).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let directory = |package: &Value| {
        Path::new(&text(&package["manifest_path"]))
            .parent()
            .unwrap()
            .to_owned()
    };
    packages
        .map(|package| {
            (
                (text(&package["name"]), text(&package["version"])),
                directory(package),
            )
        })
        .collect()
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--locked", "--offline"])
        .current_dir(root())
        .output();
    let output = output.unwrap();
    assert!(
        output.status.success(),
        "cargo {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn unsafe_in(text: &str) -> usize {
    tokens(text)
        .iter()
        .filter(|token| *token == "unsafe")
        .count()
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let (mut found, mut directories) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !NOT_COMPILED.iter().any(|name| path.ends_with(name)) {
                directories.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn only_the_word_in_code_counts() {
    assert_eq!(
        unsafe_in("unsafe { f(\"unsafe\") } // unsafe\n#![deny(unsafe_code)] unsafe fn g() {}"),
        2
    );
}
