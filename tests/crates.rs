//! Are packages that cargo makes read correctly? Cargo itself packs them here, without a network:
//! an archive that is refused because other programs could read it differently must never be one of
//! these.

#![cfg(feature = "appliance")]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use kettle::digest::Sha256Digest;
use kettle::toolchain::cargo::crate_archive::unpack;

const MANIFEST: &str = "[package]\nname = \"a\"\nversion = \"1.0.0\"\nedition = \"2021\"\n\
                        description = \"a package\"\nlicense = \"MIT\"\n\
                        include = [\"**\"]\n[workspace]\n";

/// The top directory of the package: `NAME-VERSION`.
const TOP: &str = "a-1.0.0";

/// A file of the package: its path, its content, and whether it is executable.
type Source = (String, Vec<u8>, bool);

fn source(path: impl Into<String>, content: &[u8]) -> Source {
    (path.into(), content.to_vec(), false)
}

/// Packs a package with these files beside its manifest and its library.
fn packed(directory: &Path, sources: &[Source]) -> std::path::PathBuf {
    let own = [
        source("Cargo.toml", MANIFEST.as_bytes()),
        source("src/lib.rs", b"//! A package.\n"),
    ];
    for (path, content, executable) in own.iter().chain(sources) {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(
            &path,
            fs::Permissions::from_mode(if *executable { 0o755 } else { 0o644 }),
        )
        .unwrap();
    }
    let target = directory.with_file_name("target");
    let output = Command::new("cargo")
        .args(["package", "--offline", "--no-verify", "--allow-dirty"])
        .current_dir(directory)
        .env("CARGO_TARGET_DIR", &target)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    target.join("package").join(format!("{TOP}.crate"))
}

/// Returns every file below a directory: its content, and whether it is executable.
fn files(root: &Path, directory: &Path, found: &mut BTreeMap<String, (Vec<u8>, bool)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(root, &path, found);
            continue;
        }
        let name = path
            .strip_prefix(root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let executable = path.metadata().unwrap().permissions().mode() & 0o111 != 0;
        found.insert(name, (fs::read(&path).unwrap(), executable));
    }
}

fn check(what: &str, sources: &[Source]) {
    let directory = tempfile::tempdir().unwrap();
    let archive = packed(&directory.path().join("package"), sources);
    let into = directory.path().join("unpacked");
    fs::create_dir(&into).unwrap();
    let digest = unpack(File::open(&archive).unwrap(), TOP, &into, 0).unwrap_or_else(|refusal| {
        panic!("{what}: {refusal}");
    });
    assert_eq!(
        digest,
        Sha256Digest::of(&fs::read(&archive).unwrap()),
        "{what}"
    );
    let mut found = BTreeMap::new();
    files(&into.join(TOP), &into.join(TOP), &mut found);
    for (path, content, executable) in sources {
        assert_eq!(
            found.get(path),
            Some(&(content.clone(), *executable)),
            "{what}: {path}"
        );
    }
    // Another reader finds the same files, and no more.
    let unpacked = directory.path().join("by-another");
    tar::Archive::new(flate2::read::GzDecoder::new(File::open(&archive).unwrap()))
        .unpack(&unpacked)
        .unwrap();
    let mut by_another = BTreeMap::new();
    files(&unpacked.join(TOP), &unpacked.join(TOP), &mut by_another);
    assert!(
        found == by_another,
        "{what}: {:?} {:?}",
        found.keys(),
        by_another.keys()
    );
    assert!(
        found.len() > sources.len(),
        "{what}: the manifest and the library are missing"
    );
}

#[test]
fn packages_that_cargo_makes_are_read_as_they_are() {
    check("the smallest", &[]);
    let sizes = [0, 1, 511, 512, 513, 1024, 100_000];
    let sized: Vec<_> = sizes
        .map(|size| source(format!("of-{size}"), &vec![b'z'; size]))
        .into();
    check("sizes about the edges of blocks", &sized);
    check(
        "zeros",
        &[
            source("zeros", &[0; 4096]),
            source("tar", &[&b"x"[..], &[0; 2000]].concat()),
        ],
    );
    check(
        "programs",
        &[
            ("run".to_owned(), b"#!/bin/sh\n".to_vec(), true),
            source("text", b"x"),
        ],
    );
    let long: Vec<_> = (80..130)
        .map(|length| source(format!("{}/{}", "d".repeat(length), "n".repeat(60)), b"x"))
        .collect();
    check("long paths, wherever they are cut", &long);
    let other: Vec<_> = (0..30)
        .map(|length| {
            source(
                format!("{}{}", "d".repeat(70 + length), "é".repeat(20)),
                b"x",
            )
        })
        .collect();
    check("names in other letters, cut inside of one too", &other);
    check(
        "odd names",
        &["a b", "-x", "...", ".hidden", "a'b", "a%b", "~"].map(|name| source(name, b"x")),
    );
    let many: Vec<_> = (0..500)
        .map(|number| source(format!("many/{number}"), &[number as u8; 3]))
        .collect();
    check("many files", &many);
    check(
        "a package with a checksum file is not its own",
        &[source("deep/.cargo-checksum.json", b"{}")],
    );
}
