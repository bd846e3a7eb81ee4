//! Accepted bundles with names, sizes, modes and times of many kinds.

use kettle::bundle::read::{Bundle, stream};
use kettle::bundle::{Entry, write};
use kettle::verifier::{AttestationResult, Expectations, verify};
use serde_json::json;

use super::archive::{Archive, BLOCK_BYTES, File, GZIP_HEADER, gzip, member};
use super::scene::{LOCKFILE, LOG, Scene, digest};

/// The top directory unless a test names another one.
pub const TOP: &str = "project";

/// A bundle that is accepted.
pub struct Signed {
    pub what: String,
    pub top: String,
    pub time: u64,
    pub files: Vec<File>,
    pub packed: Vec<u8>,
}

/// An artifact with its name.
pub type Artifact = (String, bool, Vec<u8>);

/// Returns a file of mode 0644 with a few bytes.
fn plain(name: impl Into<String>) -> Artifact {
    (name.into(), false, b"bytes".to_vec())
}

impl Signed {
    pub fn new(what: &str, artifacts: &[Artifact]) -> Self {
        Self::of(what, TOP, 0, artifacts)
    }

    fn of(what: &str, top: &str, time: u64, artifacts: &[Artifact]) -> Self {
        let mut scene = Scene::good();
        let subjects = artifacts.iter().map(|(name, executable, content)| match executable {
            true => json!({"name": name, "digest": digest(content), "annotations": {"executable": true}}),
            false => json!({"name": name, "digest": digest(content)}),
        });
        scene.statement["subject"] = subjects.collect();
        let definition = &mut scene.statement["predicate"]["buildDefinition"];
        definition["internalParameters"]["sourceDateEpoch"] = json!(time);
        definition["externalParameters"]["source"]["repository"] =
            json!(format!("https://example.org/{top}.git"));
        let documents = scene.bundle();
        let file = |name: &str, executable: bool, content: &[u8]| File {
            path: format!("{top}/{name}"),
            executable,
            content: content.to_vec(),
        };
        let artifacts = artifacts.iter().map(|(name, executable, content)| {
            file(&format!("artifacts/{name}"), *executable, content)
        });
        let others = [
            file("build-config/Cargo.lock", false, LOCKFILE),
            file("build.log", false, LOG),
            file("evidence.json", false, &documents.evidence.unwrap()),
            file("provenance.json", false, &documents.provenance),
        ];
        let mut files: Vec<_> = artifacts.chain(others).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let packed = Archive::of(&files, time).packed();
        Self {
            what: what.to_owned(),
            top: top.to_owned(),
            time,
            files,
            packed,
        }
    }

    pub fn archive(&self) -> Archive {
        Archive::of(&self.files, self.time)
    }

    /// Returns the bundle as the verifier reads it, if it accepts it.
    pub fn read(&self, expectations: &Expectations) -> Bundle {
        let result = verdict(&self.packed, expectations);
        assert!(result.is_accepted(), "{}: {result:?}", self.what);
        stream(&self.packed[..]).unwrap()
    }
}

pub fn verdict(packed: &[u8], expectations: &Expectations) -> AttestationResult {
    verify(stream(packed), expectations)
}

/// Returns names of artifacts that no bundle has: not all programs read them alike, or accept them
/// as names.
pub fn refused_names() -> Vec<Signed> {
    let names = [
        "-rf",
        "--to-command=sh",
        "-",
        "a/-b",
        "\u{e4}",
        "e\u{301}",
        "\u{65e5}\u{672c}",
        "a\u{202e}b",
    ];
    let long = ["\u{e4}".repeat(90), format!("{}/-C", "n".repeat(120))];
    let all = names.into_iter().map(str::to_owned).chain(long);
    all.map(|name| Signed::new(&format!("the name {name:?}"), &[plain(name)]))
        .collect()
}

/// Returns a path of exactly this many bytes with the top directory, in components of at most 200.
fn name_of_length(length: usize) -> String {
    let rest = length - TOP.len() - "/artifacts/".len();
    let name: String = (1..=rest)
        .map(|at| if at % 201 == 0 { '/' } else { 'n' })
        .collect();
    if name.ends_with('/') {
        format!("{}nn", &name[..name.len() - 2])
    } else {
        name
    }
}

/// Returns the bundle that the rejected archives are made from.
pub fn base() -> Signed {
    Signed::new(
        "the base",
        &[
            (
                "a-program".to_owned(),
                true,
                b"#!/bin/sh\necho program\n".to_vec(),
            ),
            (
                format!("long/{}", "n".repeat(150)),
                true,
                b"#!/bin/sh\necho long\n".to_vec(),
            ),
            ("note".to_owned(), false, b"a note\n".to_vec()),
        ],
    )
}

pub fn all() -> Vec<Signed> {
    let groups = [
        vec![base()],
        of_lengths(),
        of_characters(),
        of_contents(),
        of_shapes(),
        of_compressions(),
    ];
    groups.into_iter().flatten().collect()
}

fn of_lengths() -> Vec<Signed> {
    let lengths = [
        99, 100, 101, 102, 154, 155, 156, 157, 255, 256, 257, 500, 511, 512, 513, 995, 996, 997,
        1024,
    ];
    let bundle = |length: usize| {
        let name = name_of_length(length);
        assert_eq!(TOP.len() + "/artifacts/".len() + name.len(), length);
        let program = (name, true, format!("of {length} bytes").into_bytes());
        Signed::new(
            &format!("a path of {length} bytes"),
            &[program, plain("short")],
        )
    };
    lengths.map(bundle).into()
}

fn of_characters() -> Vec<Signed> {
    let punctuation: Vec<_> = "!\"#$%&'()*+,-.:;<=>?@[]^_`{|}~"
        .chars()
        .map(|sign| plain(format!("a{sign}b")))
        .collect();
    let leading: Vec<_> = "!\"#$%&'()*+,:;<=>?@[]^_`{|}~"
        .chars()
        .map(|sign| plain(format!("{sign}a")))
        .collect();
    vec![
        Signed::new("punctuation inside of names", &punctuation),
        Signed::new("punctuation before names", &leading),
        Signed::new(
            "dots",
            &["...", ".a", "a.", "..a", "a..", "a...b", ".hidden/..x"].map(plain),
        ),
        Signed::new("blanks", &[" ", " a", "a ", "a b", "a/ /b"].map(plain)),
        Signed::new(
            "options of other programs",
            &["@file", "+x", "a-", "a=-C"].map(plain),
        ),
        Signed::new(
            "names of ours",
            &["pax-header", "pax-path", "provenance.json", "build.log"].map(plain),
        ),
        Signed::new(
            "upper and lower case",
            &["A", "Program", "README", "Z/z"].map(plain),
        ),
        Signed::new(
            "patterns",
            &["*", "?", "[a]", "{a,b}", "**/x", "a*"].map(plain),
        ),
        Signed::new(
            "what other systems use",
            &[
                "c:x", "CON", "NUL.txt", "a.", "a~1", "x:stream", "%41", "&amp;",
            ]
            .map(plain),
        ),
        Signed::new("numbers", &["0", "00", "0000644", "17777777777"].map(plain)),
        Signed::new(
            "words of PAX",
            &["path=x", "11 path=x", "GNU.sparse.name=x", "size=1"].map(plain),
        ),
        Signed::new(
            "words of PAX in long paths",
            &[
                plain(format!("path={}", "n".repeat(120))),
                plain(format!("21 path=project/x {}", "n".repeat(120))),
            ],
        ),
        Signed::new(
            "names of GNU tar",
            &[
                "@LongLink",
                "GNUSparseFile.0/x",
                "PaxHeaders.1/x",
                "PaxHeaders/y",
            ]
            .map(plain),
        ),
        Signed::new(
            "names of macOS",
            &["._a", ".DS_Store", "__MACOSX/._a"].map(plain),
        ),
        Signed::of(
            "a top directory with all that it may have",
            "aZ09._-x",
            0,
            &[plain("a")],
        ),
        Signed::of("a top directory of one character", "p", 0, &[plain("a")]),
        Signed::of(
            "a top directory of 64 bytes",
            &"t".repeat(64),
            0,
            &[plain("a"), plain("n".repeat(30))],
        ),
    ]
}

fn of_contents() -> Vec<Signed> {
    let sizes = [
        0, 1, 511, 512, 513, 1023, 1024, 1025, 10_239, 10_240, 10_241, 65_536, 300_000,
    ];
    let sized = sizes.map(|size| {
        (
            format!("{size:06}"),
            size % 2 == 0,
            (0..size).map(|at| at as u8 ^ 0x5a).collect(),
        )
    });
    let zeros =
        [512, 1024, 2048, 10_240].map(|size| (format!("zeros-{size:06}"), false, vec![0; size]));
    // A reader that loses count of the blocks finds other files in here.
    let inner = Archive::of(
        &[File {
            path: "project/artifacts/a".to_owned(),
            executable: true,
            content: b"evil".to_vec(),
        }],
        0,
    );
    let (stream, packed) = (inner.tar(), inner.packed());
    let cut = stream[..stream.len() - 1024].to_vec();
    let archives = [
        ("a", stream.clone()),
        ("b", cut.clone()),
        ("c", packed),
        ("d", [vec![0; 1024], stream].concat()),
    ];
    let archives = archives.map(|(name, content)| (name.to_owned(), false, content));
    let name = format!("deep/{}", "n".repeat(150));
    vec![
        Signed::new("sizes about the edges of blocks", &sized),
        Signed::new("contents like end blocks", &zeros),
        Signed::new("contents like archives", &archives),
        Signed::new("an archive below a long path", &[(name, true, cut)]),
        Signed::new(
            "an empty program",
            &[("empty".to_owned(), true, Vec::new())],
        ),
    ]
}

fn of_shapes() -> Vec<Signed> {
    let many: Vec<_> = (0..300)
        .map(|number| {
            (
                format!("{number:03}"),
                number % 3 == 0,
                vec![number as u8; number],
            )
        })
        .collect();
    let long: Vec<_> = (0..40)
        .map(|number| plain(format!("{}/{number}", "n".repeat(120))))
        .collect();
    let deep = plain(vec!["d"; 300].join("/"));
    let siblings = ["a-b", "a.b", "a/b", "a0", "ab"].map(plain);
    let times = [
        1,
        7,
        1_700_000_000,
        0o177_7777_7777,
        0o200_0000_0000,
        0o777_7777_7777,
    ];
    let times = times.map(|time| {
        let long = plain("n".repeat(120));
        Signed::of(&format!("the time {time}"), TOP, time, &[plain("a"), long])
    });
    let shapes = vec![
        Signed::new("one program", &[("a".to_owned(), true, b"a".to_vec())]),
        Signed::new("many files", &many),
        Signed::new("many long paths", &long),
        Signed::new("many directories in each other", &[deep]),
        Signed::new("what sorts before and after a slash", &siblings),
    ];
    shapes.into_iter().chain(times).collect()
}

/// Bundles with other compressed blocks, which are not fixed.
fn of_compressions() -> Vec<Signed> {
    let base = base();
    let tar = base.archive().tar();
    let levels = [0, 1, 6, 9].map(|level| Signed {
        what: format!("compression of level {level}"),
        packed: member(&GZIP_HEADER, &tar, level),
        ..base_again(&base)
    });
    levels.into()
}

fn base_again(base: &Signed) -> Signed {
    Signed {
        what: base.what.clone(),
        top: base.top.clone(),
        time: base.time,
        files: base.files.clone(),
        packed: base.packed.clone(),
    }
}

#[test]
fn bundles_of_all_kinds_of_files_are_accepted() {
    let expectations = Scene::good().expectations();
    let signed = all();
    assert!(signed.len() >= 50, "{}", signed.len());
    for bundle in &signed {
        let read = bundle.read(&expectations);
        assert_eq!(read.time, Some(bundle.time), "{}", bundle.what);
    }
}

#[test]
fn the_writer_makes_the_encoding_that_was_made_here() {
    for bundle in all() {
        let entry = |file: &'_ File| Entry {
            path: file.path[bundle.top.len() + 1..].to_owned(),
            executable: file.executable,
            size: file.content.len() as u64,
            recorded: None,
            content: Box::new(std::io::Cursor::new(file.content.clone())),
        };
        let entries = bundle.files.iter().rev().map(entry).collect();
        let written = write(Vec::new(), &bundle.top, entries, bundle.time).unwrap();
        assert_eq!(written[..GZIP_HEADER.len()], GZIP_HEADER);
        let mut tar = Vec::new();
        std::io::copy(&mut flate2::read::GzDecoder::new(&written[..]), &mut tar).unwrap();
        assert!(tar == bundle.archive().tar(), "{}", bundle.what);
        assert_eq!(tar.len() % BLOCK_BYTES, 0);
        assert_eq!(
            stream(&written[..]).unwrap(),
            stream(&gzip(&tar)[..]).unwrap()
        );
    }
}
