//! Reads the corpus: an attack is a file `<name>.rs` that goes into a template, or a directory that
//! is laid over one.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The expected outcome of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No attack: its artifacts are the reference for its template.
    Honest,
    /// The build succeeds; the attempts from inside failed, and the attack says so.
    Contained,
    /// The build fails.
    Fails,
    /// The build succeeds as if there were no attack.
    Ignored,
    /// The build succeeds. It may choose its artifact's bytes; the delivered bytes are those that
    /// provenance names, now and later.
    Consistent,
    /// The build succeeds with forged code, and provenance says where that came from.
    Recorded,
}

/// The goal of an attacker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aim {
    /// A report of the secure processor over bytes of its choice.
    Signer,
    /// A statement that is not true.
    Provenance,
    /// A command before or after the one that it belongs to.
    Phase,
    /// The machine and the service: memory, files, time.
    Host,
    /// The reader of the log or the events.
    Log,
    /// The delivered files.
    Result,
}

/// The project that the attack's file is put into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Template {
    /// One package; the attack is its build script.
    Plain,
    /// A workspace of two; the attack is the build script of the second, and can wait for the first
    /// to be finished.
    Late,
    /// A package with a procedural macro, which is the attack.
    Macro,
    /// A library, which is packed after it was built; the attack is its build script.
    Library,
}

/// What the machine needs so that an attack can be tried without harm to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A limit of memory around the service and all that it starts.
    Memory,
    /// A small file system below the service's directory.
    Disk,
}

impl Template {
    fn directory(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Late => "late",
            Self::Macro => "macro",
            Self::Library => "library",
        }
    }

    /// Returns the path of the attack's file in the template.
    fn place(self) -> &'static Path {
        Path::new(match self {
            Self::Plain | Self::Library => "build.rs",
            Self::Late => "late/build.rs",
            Self::Macro => "trick/src/lib.rs",
        })
    }

    /// Returns the artifacts of an honest build.
    fn artifacts(self) -> &'static [&'static str] {
        match self {
            Self::Plain | Self::Macro => &["attack"],
            Self::Late => &["attack", "late"],
            Self::Library => &["attack-0.1.0.crate", "libattack.rlib"],
        }
    }
}

/// One attack.
#[derive(Debug)]
pub struct Attack {
    pub name: String,
    pub aim: Aim,
    pub expect: Vec<Expect>,
    pub template: Template,
    /// Texts, each of which is in some line of output.
    pub shows: Vec<String>,
    /// A text in the code and the words of the failure.
    pub fails_with: Option<String>,
    /// The kernel's errors for the attempts, as `errno(3)` names them; no other may come.
    pub errors: Vec<String>,
    /// Names of the delivered artifacts.
    pub artifacts: Vec<String>,
    /// Limit of the build's time.
    pub seconds: Option<u32>,
    pub needs: Option<Need>,
    /// Whether it would disturb others that run at the same time.
    pub alone: bool,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Attack {
    pub fn is_honest(&self) -> bool {
        self.expect == [Expect::Honest]
    }

    pub fn expects(&self, expect: Expect) -> bool {
        self.expect.contains(&expect)
    }

    /// Returns the project's files, with the facts that it may know about the machine.
    pub fn files(&self, host: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = read_directory(
            &directory()
                .join("templates")
                .join(self.template.directory()),
        );
        let beside = |name| self.template.place().with_file_name(name);
        if self.template != Template::Macro {
            files.insert(
                beside("attack.rs"),
                fs::read(directory().join("templates/attack.rs")).unwrap(),
            );
            files.insert(beside("host.txt"), host.into());
        }
        files.extend(self.files.clone());
        files
    }

    /// Returns the project as an uncompressed tar.
    pub fn archive(&self, host: &str) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, bytes) in self.files(host) {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(if bytes.starts_with(b"#!") {
                0o755
            } else {
                0o644
            });
            archive
                .append_data(
                    &mut header,
                    Path::new("attack").join(path),
                    bytes.as_slice(),
                )
                .unwrap();
        }
        archive.into_inner().unwrap()
    }
}

/// Returns all attacks, sorted by name.
pub fn attacks() -> Vec<Attack> {
    const OURS: [&str; 2] = ["templates", "harness"];
    let names = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names
        .filter(|name| !OURS.contains(&name.as_str()))
        .collect();
    names.sort();
    names.iter().map(|name| read(name)).collect()
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks")
}

fn read(name: &str) -> Attack {
    let path = directory().join(name);
    if path.is_file() {
        let code = fs::read(&path).unwrap();
        let mut attack = header(name.trim_end_matches(".rs"), &code);
        attack
            .files
            .insert(attack.template.place().to_owned(), code);
        return attack;
    }
    let files = read_directory(&path);
    let described = files
        .values()
        .find(|bytes| lines(bytes).any(|line| line.starts_with("Tries: ")));
    let attack = header(
        name,
        described.unwrap_or_else(|| panic!("{name}: no file says what it tries")),
    );
    Attack { files, ..attack }
}

/// Parses the comment at the beginning of an attack's file. Every required line has to be there.
fn header(name: &str, bytes: &[u8]) -> Attack {
    let values = |key: &'static str| {
        lines(bytes).filter_map(move |line| line.strip_prefix(key).map(str::to_owned))
    };
    let value = |key| values(key).next();
    let required = |key| value(key).unwrap_or_else(|| panic!("{name}: no line {key}"));
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    required("Tries: ");
    required("Stopped by: ");
    let expect: Vec<_> = required("Expect: ")
        .split('|')
        .map(|word| expectation(name, word))
        .collect();
    let template = template(name, value("Template: ").as_deref());
    let honest = expect == [Expect::Honest];
    let attack = Attack {
        name: name.to_owned(),
        aim: if honest {
            Aim::Result
        } else {
            aim(name, &required("Aims at: "))
        },
        expect,
        template,
        shows: values("Shows: ").collect(),
        fails_with: value("Fails with: "),
        errors: value("Errors: ").as_deref().map(words).unwrap_or_default(),
        artifacts: words(&value("Artifacts: ").unwrap_or_else(|| template.artifacts().join(" "))),
        seconds: value("Seconds: ").map(|seconds| seconds.parse().unwrap()),
        needs: value("Needs: ").map(|need| self::need(name, &need)),
        alone: value("Alone: ").is_some(),
        files: BTreeMap::new(),
    };
    assert_eq!(
        attack.expects(Expect::Fails),
        attack.fails_with.is_some(),
        "{name}: what it fails with"
    );
    let reasons =
        attack.shows.len() + attack.errors.len() + usize::from(attack.fails_with.is_some());
    let plain = attack.is_honest() || attack.expects(Expect::Recorded) || reasons > 0;
    assert!(plain, "{name}: nothing shows why it is stopped");
    attack
}

fn expectation(name: &str, word: &str) -> Expect {
    match word {
        "honest" => Expect::Honest,
        "contained" => Expect::Contained,
        "fails" => Expect::Fails,
        "ignored" => Expect::Ignored,
        "consistent" => Expect::Consistent,
        "recorded" => Expect::Recorded,
        other => panic!("{name}: expects {other:?}"),
    }
}

fn template(name: &str, word: Option<&str>) -> Template {
    match word {
        None => Template::Plain,
        Some("late") => Template::Late,
        Some("macro") => Template::Macro,
        Some("library") => Template::Library,
        Some(other) => panic!("{name}: no template {other:?}"),
    }
}

fn aim(name: &str, word: &str) -> Aim {
    match word {
        "signer" => Aim::Signer,
        "provenance" => Aim::Provenance,
        "phase" => Aim::Phase,
        "host" => Aim::Host,
        "log" => Aim::Log,
        "result" => Aim::Result,
        other => panic!("{name}: aims at {other:?}"),
    }
}

fn need(name: &str, word: &str) -> Need {
    match word {
        "memory limit" => Need::Memory,
        "small disk" => Need::Disk,
        other => panic!("{name}: needs {other:?}"),
    }
}

/// Returns the lines of the comment that a file begins with, without the comment signs.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &str> {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    text.lines().map_while(|line| {
        line.strip_prefix("//! ")
            .or_else(|| line.strip_prefix("# "))
    })
}

fn read_directory(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                files.insert(
                    path.strip_prefix(root).unwrap().to_owned(),
                    fs::read(&path).unwrap(),
                );
            }
        }
    }
    files
}

/// A directory and a file in it that everybody may write, and that no attack must change.
pub struct Canary {
    directory: tempfile::TempDir,
}

/// The content of the canary file.
pub const CANARY: &[u8] = b"alive";

impl Canary {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(directory.path().join("canary"), CANARY).unwrap();
        fs::set_permissions(
            directory.path().join("canary"),
            fs::Permissions::from_mode(0o666),
        )
        .unwrap();
        Self { directory }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("canary")
    }

    pub fn is_untouched(&self) -> bool {
        fs::read(self.path()).is_ok_and(|bytes| bytes == CANARY)
            && fs::read_dir(self.directory.path()).unwrap().count() == 1
    }
}
