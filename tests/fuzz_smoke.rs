//! Does any small change to a valid input make a parser of outside bytes panic or contradict
//! itself? This is a moment of fuzzing with unguided changes; `scripts/fuzz` guides the same
//! targets by coverage, for any time.
//!
//! `KETTLE_FUZZ_SEED` and `KETTLE_FUZZ_RUNS` try other changes and more of them.
#![cfg(all(feature = "appliance", feature = "cli"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::{env, fs, thread};

use flate2::read::GzDecoder;
use tar::{Archive, Header};

#[path = "fuzz/targets/mod.rs"]
mod targets;

/// Runs of a target that works in memory.
const MEMORY_RUNS: u64 = 10_000;

/// Runs of a target that works on files.
const FILE_RUNS: u64 = 1_000;

/// A way to change an input.
#[derive(Clone, Copy)]
enum Change {
    Flip,
    Replace,
    Overwrite,
    Remove,
    Repeat,
    Borrow,
    Insert,
    Truncate,
}

use Change::{Borrow, Flip, Insert, Overwrite, Remove, Repeat, Replace, Truncate};

/// The changes to texts.
const TEXT_CHANGES: [Change; 8] = [
    Flip, Replace, Overwrite, Remove, Repeat, Borrow, Insert, Truncate,
];

/// The changes to archives: mostly in place, so that later offsets and blocks stay where they are.
const ARCHIVE_CHANGES: [Change; 14] = [
    Flip, Flip, Flip, Replace, Replace, Replace, Overwrite, Overwrite, Overwrite, Remove, Repeat,
    Borrow, Insert, Truncate,
];

/// The most changes to one input.
const MAX_CHANGES: u64 = 4;

/// The length of the longest piece that is removed, repeated or taken from another input.
const MAX_PIECE_BYTES: u64 = 40;

/// Pieces that mean something to one of the parsers.
const TOKENS: [&[u8]; 38] = [
    b"\r\n",
    b"\n",
    b"--",
    b"\r\n--b",
    b"\r\n--b--",
    b"\r\n\r\n",
    b"\"",
    b"\\",
    b"\\\"",
    b"\\u002b",
    b"\\/",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"=",
    b"==",
    b"null",
    b"\"source_data\":\"",
    b"\"nonce\":\"00\"",
    b"source_data",
    b"\\u0073ource_data",
    b"name=",
    b"filename=\"",
    b"; ",
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"../",
    b"/",
    b"PK\x05\x06",
    b"PK\x01\x02",
    b"7777777",
    b"\xef\xbb\xbf",
    b"QQ==",
    b"QUJD",
];

/// SplitMix64 (Steele, Lea, Flood 2014): small and good enough to choose changes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> usize {
        (self.next() % bound.max(1)) as usize
    }

    fn piece(&mut self, of: &[u8]) -> std::ops::Range<usize> {
        let start = self.below(of.len() as u64 + 1);
        let length = self.below(MAX_PIECE_BYTES);
        start..of.len().min(start + length)
    }

    fn change(&mut self, input: &mut Vec<u8>, other: &[u8], changes: &[Change]) {
        let at = self.below(input.len() as u64 + 1);
        let token = TOKENS[self.below(TOKENS.len() as u64)];
        match changes[self.below(changes.len() as u64)] {
            Flip if at < input.len() => input[at] ^= 1 << self.below(8),
            Replace if at < input.len() => input[at] = self.next() as u8,
            Flip | Replace => {}
            Overwrite => {
                let end = input.len().min(at + token.len());
                input[at..end].copy_from_slice(&token[..end - at]);
            }
            Remove => drop(input.drain(self.piece(input))),
            Repeat => {
                let repeated = input[self.piece(input)].to_vec();
                input.splice(at..at, repeated);
            }
            Borrow => drop(input.splice(at..at, other[self.piece(other)].iter().copied())),
            Insert => drop(input.splice(at..at, token.iter().copied())),
            Truncate => input.truncate(at),
        }
    }
}

/// Shows the input when a target panics.
struct Witness<'a>(&'a str, u64, &'a [u8]);

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "target {}, run {}, input \"{}\"",
                self.0,
                self.1,
                self.2.escape_ascii()
            );
        }
    }
}

/// The suffix of a target's name in the name of its corpus.
const ARCHIVE_SUFFIX: &str = ".tar.gz";

/// One file of a corpus.
struct Seed {
    name: String,
    header: Header,
    content: Vec<u8>,
}

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")
}

/// Reads the corpus of a target, in the order of its archive.
fn corpus(target: &str) -> Vec<Seed> {
    let path = corpora().join(format!("{target}{ARCHIVE_SUFFIX}"));
    let file = fs::File::open(&path).unwrap_or_else(|error| {
        panic!("{target} has no corpus at {}: {error}", path.display());
    });
    let mut archive = Archive::new(GzDecoder::new(file));
    let mut seeds = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        seeds.push(Seed {
            name: entry.path().unwrap().to_str().unwrap().to_owned(),
            header: entry.header().clone(),
            content,
        });
    }
    assert!(!seeds.is_empty(), "the corpus of {target} is empty");
    seeds
}

fn setting(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap())
}

fn smoke(name: &str, runs: u64, changes: &[Change]) {
    let target = targets::named(name);
    let seed = setting("KETTLE_FUZZ_SEED").unwrap_or(2);
    let runs = setting("KETTLE_FUZZ_RUNS").unwrap_or(runs);
    println!("target {name}, seed {seed}, {runs} runs");
    let corpus = corpus(name);
    let corpus: Vec<_> = corpus.into_iter().map(|seed| seed.content).collect();
    corpus.iter().for_each(|input| target(input));
    let mut random = Random(seed);
    for run in 0..runs {
        let mut input = corpus[random.below(corpus.len() as u64)].clone();
        let other = &corpus[random.below(corpus.len() as u64)];
        for _ in 0..=random.below(MAX_CHANGES) {
            random.change(&mut input, other, changes);
        }
        let _witness = Witness(name, run, &input);
        target(&input);
    }
}

#[test]
fn json_submissions() {
    smoke("json", MEMORY_RUNS, &TEXT_CHANGES);
}

#[test]
fn forms() {
    smoke("form", MEMORY_RUNS, &TEXT_CHANGES);
}

#[test]
fn header_blocks() {
    smoke("header_block", MEMORY_RUNS, &TEXT_CHANGES);
}

#[test]
fn requests_and_their_paths() {
    smoke("request", MEMORY_RUNS, &TEXT_CHANGES);
}

#[test]
fn repositories_and_refs() {
    smoke("repository", MEMORY_RUNS, &TEXT_CHANGES);
}

#[test]
fn commits() {
    smoke("commit", MEMORY_RUNS, &TEXT_CHANGES);
}

#[test]
fn settings_of_submodules() {
    smoke("modules", MEMORY_RUNS, &TEXT_CHANGES);
}

#[test]
fn zip_archives() {
    smoke("zip", FILE_RUNS, &ARCHIVE_CHANGES);
}

#[test]
fn tar_archives() {
    smoke("tar", FILE_RUNS, &ARCHIVE_CHANGES);
}

#[test]
fn crate_archives() {
    smoke("crate_archive", FILE_RUNS, &ARCHIVE_CHANGES);
}

#[test]
fn lockfiles() {
    smoke("lockfile", MEMORY_RUNS, &TEXT_CHANGES);
}

#[test]
fn cargo_configurations() {
    smoke("config", MEMORY_RUNS, &TEXT_CHANGES);
}

#[test]
fn output_of_cargo() {
    smoke("metadata", MEMORY_RUNS, &TEXT_CHANGES);
}

#[test]
fn messages_of_cargo() {
    smoke("messages", MEMORY_RUNS, &TEXT_CHANGES);
}

#[test]
fn flake_lockfiles() {
    smoke("flake_lock", MEMORY_RUNS, &TEXT_CHANGES);
}

#[test]
fn messages_of_nix() {
    smoke("nix_messages", MEMORY_RUNS, &TEXT_CHANGES);
}

#[test]
fn output_of_nix() {
    smoke("store", MEMORY_RUNS, &TEXT_CHANGES);
}

#[test]
fn libraries_of_artifacts() {
    smoke("libraries", MEMORY_RUNS, &ARCHIVE_CHANGES);
}

#[test]
fn lines_of_output() {
    smoke("lines", MEMORY_RUNS, &TEXT_CHANGES);
}

#[test]
fn frames_and_dhcp_messages() {
    smoke("dhcp", MEMORY_RUNS, &ARCHIVE_CHANGES);
}

#[test]
fn command_lines() {
    smoke("command_line", MEMORY_RUNS, &TEXT_CHANGES);
}

#[test]
fn attestation_reports() {
    smoke("report", FILE_RUNS, &ARCHIVE_CHANGES);
}

#[test]
fn certificate_tables() {
    smoke("table", MEMORY_RUNS, &ARCHIVE_CHANGES);
}

#[test]
fn certificates() {
    smoke("certificate", FILE_RUNS, &ARCHIVE_CHANGES);
}

#[test]
fn responses_of_the_key_service() {
    smoke("kds", MEMORY_RUNS, &ARCHIVE_CHANGES);
}

#[test]
fn firmware_images() {
    smoke("firmware", FILE_RUNS, &ARCHIVE_CHANGES);
}

#[test]
fn igvm_files() {
    smoke("igvm", FILE_RUNS, &ARCHIVE_CHANGES);
}

#[test]
fn reference_values() {
    smoke("reference", MEMORY_RUNS, &TEXT_CHANGES);
}

#[test]
fn evidence_documents() {
    smoke("evidence", MEMORY_RUNS, &TEXT_CHANGES);
}

#[test]
fn hcl_reports() {
    smoke("hcl", MEMORY_RUNS, &ARCHIVE_CHANGES);
}

#[test]
fn claims_of_a_paravisor() {
    smoke("runtime_claims", MEMORY_RUNS, &TEXT_CHANGES);
}

#[test]
fn quotes_of_a_tpm() {
    smoke("quote", MEMORY_RUNS, &ARCHIVE_CHANGES);
}

#[test]
fn statements() {
    smoke("statement", MEMORY_RUNS, &TEXT_CHANGES);
}

#[test]
fn bundles() {
    smoke("bundle", MEMORY_RUNS, &ARCHIVE_CHANGES);
}

#[test]
fn every_target_has_its_moment_here_and_its_row_in_the_table() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let (tests, table) = (
        directory.join("fuzz_smoke.rs"),
        directory.join("fuzz/README.md"),
    );
    let (tests, table) = (
        fs::read_to_string(tests).unwrap(),
        fs::read_to_string(table).unwrap(),
    );
    for (name, _) in targets::TARGETS {
        assert!(
            tests.contains(&format!("    smoke(\"{name}\", ")),
            "{name} has no test"
        );
        assert_eq!(
            table.matches(&format!("\n| `{name}` |")).count(),
            1,
            "{name} has no row"
        );
    }
}

#[test]
fn every_corpus_has_a_target_and_every_target_a_corpus() {
    let files = fs::read_dir(corpora()).unwrap();
    let files: BTreeSet<_> = files
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let targets: BTreeSet<_> = targets::TARGETS
        .iter()
        .map(|(name, _)| format!("{name}{ARCHIVE_SUFFIX}"))
        .collect();
    assert_eq!(files, targets);
}

/// Otherwise the same inputs could be packed into other bytes, and a change of a corpus would say
/// nothing.
#[test]
fn a_corpus_is_packed_as_scripts_fuzz_packs_it() {
    for (target, _) in targets::TARGETS {
        let seeds = corpus(target);
        let names: Vec<_> = seeds.iter().map(|seed| &seed.name).collect();
        assert!(
            names.is_sorted_by(|one, next| one < next),
            "{target}: {names:?}"
        );
        for Seed { name, header, .. } in &seeds {
            let place = format!("{name} of {target}");
            assert!(!name.contains('/'), "{place} is in a directory");
            assert!(header.entry_type().is_file(), "{place} is not a file");
            assert_eq!(header.mode().unwrap(), 0o644, "{place}");
            assert_eq!(header.mtime().unwrap(), 0, "{place}");
            assert_eq!(
                (header.uid().unwrap(), header.gid().unwrap()),
                (0, 0),
                "{place}"
            );
            assert_eq!(header.username_bytes(), Some(&b""[..]), "{place}");
            assert_eq!(header.groupname_bytes(), Some(&b""[..]), "{place}");
        }
    }
}
