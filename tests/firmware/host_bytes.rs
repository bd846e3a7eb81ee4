//! The C code that reads host-controlled bytes, compiled natively under sanitizers and given random
//! ones.
//!
//! `host_bytes/main.c` says what it compares. Each mutation below breaks the code in one place, and
//! has to be noticed.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const SOURCES: [&str; 3] = ["Boot/HashPage.c", "Boot/Sha256.c", "FwCfg/MemoryMap.c"];
const HEADERS: [&str; 3] = ["Boot/HashPage.h", "Boot/Sha256.h", "FwCfg/MemoryMap.h"];

const ROUNDS: &str = "150000";
/// The number of rounds for a mutation, which the same seed always finds.
const MUTATION_ROUNDS: &str = "30000";
const MUTATION_SEED: &str = "1";

/// Lengths for SHA-256: all around the first blocks, and some larger ones.
const SMALL_LENGTHS: usize = 260;
const LARGE_LENGTHS: [usize; 3] = [4095, 65_536, 1_000_003];

/// A file, the text that is replaced in it, and the new text.
const MUTATIONS: [(&str, &str, &str); 15] = [
    ("Boot/Sha256.c", "^ (X >> 3)", "^ (X >> 4)"),
    (
        "Boot/Sha256.c",
        "RestSize < BLOCK_SIZE - LENGTH_SIZE",
        "RestSize <= BLOCK_SIZE - LENGTH_SIZE",
    ),
    (
        "Boot/Sha256.c",
        "(UINT64)Size * 8",
        "(UINT32)(UINT8)Size * 8",
    ),
    ("Boot/HashPage.c", "Size < sizeof Copy", "FALSE"),
    ("Boot/HashPage.c", "Copy.Length != sizeof Copy", "FALSE"),
    ("Boot/HashPage.c", " || Found[Kind]", ""),
    ("Boot/HashPage.c", "Entry->Length != sizeof *Entry", "FALSE"),
    (
        "Boot/HashPage.c",
        "Hashes->Hash[Kind], SHA256_SIZE) == 0",
        "Hashes->Hash[Kind], 1) == 0",
    ),
    ("Boot/HashPage.c", "Data[Index] > '~'", "Data[Index] > 0x7f"),
    (
        "FwCfg/MemoryMap.c",
        "IsLow (Range) && Map->LowLength == 0",
        "IsLow (Range)",
    ),
    (
        "FwCfg/MemoryMap.c",
        "IsHigh (Range) && Map->HighLength == 0",
        "IsHigh (Range)",
    ),
    (
        "FwCfg/MemoryMap.c",
        "MIN (SwapBytes32 (Count), MAX_FILES)",
        "SwapBytes32 (Count)",
    ),
    (
        "FwCfg/MemoryMap.c",
        "mFileName, sizeof mFileName)",
        "mFileName, sizeof mFileName - 1)",
    ),
    (
        "FwCfg/MemoryMap.c",
        "Size / sizeof Range > MAX_RANGES",
        "FALSE",
    ),
    (
        "FwCfg/MemoryMap.c",
        "Range->Length <= MAX_LOW_LENGTH &&",
        "",
    ),
];

#[test]
fn are_accepted_only_where_another_reader_would() {
    let program = Program::compile(None);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = (u64::from(now.subsec_nanos()) << 32 | now.as_secs() & 0xFFFF_FFFF)
        .max(1)
        .to_string();
    println!("host_bytes random {seed} {ROUNDS}");
    let output = program.random(&seed, ROUNDS);
    assert!(output.status.success(), "seed {seed}: {}", said(&output));
}

#[test]
fn have_the_digest_that_another_implementation_computes() {
    let program = Program::compile(None);
    assert_eq!(program.digests(), expected_digests());
}

#[test]
fn are_read_wrongly_by_broken_code_and_that_is_noticed() {
    for mutation in MUTATIONS {
        let program = Program::compile(Some(mutation));
        let random = program.random(MUTATION_SEED, MUTATION_ROUNDS);
        let noticed = !random.status.success() || program.digests() != expected_digests();
        assert!(noticed, "not noticed: {mutation:?}");
    }
}

/// The harness, compiled with the firmware's own files.
struct Program {
    directory: TempDir,
}

impl Program {
    fn compile(mutation: Option<(&str, &str, &str)>) -> Self {
        let directory = TempDir::new().unwrap();
        for name in SOURCES.iter().chain(&HEADERS) {
            copy(name, directory.path(), mutation);
        }
        let harness = Path::new(ROOT).join("tests/firmware/host_bytes");
        let output = Command::new("cc")
            .args([
                "-std=gnu11",
                "-O1",
                "-g",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-fshort-wchar",
            ])
            // Mutations leave code unused.
            .args(["-Wno-unused", "-Wno-type-limits", "-fno-strict-aliasing"])
            .args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all"])
            .arg("-I")
            .arg(harness.join("include"))
            .arg("-I")
            .arg(directory.path())
            .arg(harness.join("main.c"))
            .args(SOURCES.map(|name| flat(directory.path(), name)))
            .arg("-o")
            .arg(directory.path().join("host_bytes"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{mutation:?}: {}", said(&output));
        Self { directory }
    }

    fn command(&self) -> Command {
        Command::new(self.directory.path().join("host_bytes"))
    }

    fn random(&self, seed: &str, rounds: &str) -> Output {
        self.command()
            .args(["random", seed, rounds])
            .output()
            .unwrap()
    }

    fn digests(&self) -> String {
        let mut child = self
            .command()
            .arg("sha256")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        // A broken program may end before it has read everything.
        let _ = pieces().iter().try_for_each(|piece| {
            let length = u32::try_from(piece.len()).unwrap();
            input
                .write_all(&length.to_le_bytes())
                .and_then(|()| input.write_all(piece))
        });
        drop(input);
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    }
}

/// Returns the name that a file of the firmware is copied to.
fn flat(directory: &Path, name: &str) -> PathBuf {
    directory.join(Path::new(name).file_name().unwrap())
}

fn copy(name: &str, directory: &Path, mutation: Option<(&str, &str, &str)>) {
    let mut text =
        fs::read_to_string(Path::new(ROOT).join("image/firmware/KettlePkg").join(name)).unwrap();
    if let Some((_, from, to)) = mutation.filter(|(file, ..)| *file == name) {
        assert_eq!(
            text.matches(from).count(),
            1,
            "{name} has not exactly one {from}"
        );
        text = text.replace(from, to);
    }
    fs::write(flat(directory, name), text).unwrap();
}

fn pieces() -> Vec<Vec<u8>> {
    let lengths = (0..SMALL_LENGTHS).chain(LARGE_LENGTHS);
    lengths
        .map(|length| (0..length).map(|at| (at * 7 + length) as u8).collect())
        .collect()
}

fn expected_digests() -> String {
    pieces()
        .iter()
        .map(|piece| hex::encode(Sha256::digest(piece)) + "\n")
        .collect()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}
