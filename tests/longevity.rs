//! What do the scripts do when a mirror has replaced packages of the lock? A copy of them runs,
//! with packages made here, against a mirror on the loopback (`tests/data/mirror`). Nothing is
//! built.

#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use kettle::digest::Sha256Digest;
use tempfile::TempDir;

/// Statuses of `scripts/build-image` and `scripts/refresh-lock`.
const NOT_THE_LOCKED: i32 = 1;
const SETUP_FAILED: i32 = 3;
const GONE: i32 = 4;

const PACKAGES: &str = "\
image app
tool hammer
kernel linux-image-cloud-amd64
source linux-source
next fresh
";

/// The packages in the mirror's pools: name, version and path of each package that its indexes
/// name.
const POOL: [(&str, &str, &str); 7] = [
    ("app", "1.2", "debian/pool/main/a/app/app_1.2_amd64.deb"),
    (
        "fresh",
        "3.1",
        "debian/pool/main/f/fresh/fresh_3.1_amd64.deb",
    ),
    (
        "hammer",
        "1.0",
        "debian/pool/main/h/hammer/hammer_1.0_amd64.deb",
    ),
    (
        "libc6",
        "2.41",
        "debian/pool/main/g/glibc/libc6_2.41_amd64.deb",
    ),
    (
        "linux-image-6.12.9",
        "6.12.9",
        "debian/pool/main/l/linux/linux-image-6.12.9_6.12.9_amd64.deb",
    ),
    (
        "linux-source-6.12",
        "6.12.9",
        "debian/pool/main/l/linux/linux-source-6.12_6.12.9_all.deb",
    ),
    (
        "shared",
        "1.0-1+deb13u3",
        "debian-security/pool/updates/main/s/shared/shared_1.0-1+deb13u3_amd64.deb",
    ),
];

/// The lock before the mirror replaced `app` and `shared`: role, suite, name, version, path in the
/// pool.
const LOCKED: [(&str, &str, &str, &str, &str); 7] = [
    (
        "image",
        "forky",
        "fresh",
        "3.1",
        "pool/main/f/fresh/fresh_3.1_amd64.deb",
    ),
    (
        "image",
        "trixie",
        "app",
        "1.1",
        "pool/main/a/app/app_1.1_amd64.deb",
    ),
    (
        "image",
        "trixie",
        "libc6",
        "2.41",
        "pool/main/g/glibc/libc6_2.41_amd64.deb",
    ),
    (
        "image",
        "trixie",
        "shared",
        "1.0-1+deb13u1",
        "pool/main/s/shared/shared_1.0-1+deb13u1_amd64.deb",
    ),
    (
        "kernel",
        "trixie",
        "linux-image-6.12.9",
        "6.12.9",
        "pool/main/l/linux/linux-image-6.12.9_6.12.9_amd64.deb",
    ),
    (
        "source",
        "trixie",
        "linux-source-6.12",
        "6.12.9",
        "pool/main/l/linux/linux-source-6.12_6.12.9_all.deb",
    ),
    (
        "tool",
        "trixie",
        "hammer",
        "1.0",
        "pool/main/h/hammer/hammer_1.0_amd64.deb",
    ),
];

/// Returns the content of a package's file, instead of an archive.
fn content(name: &str, version: &str) -> String {
    format!("{name} {version}\n")
}

/// A checkout with the scripts, and a mirror.
struct Case {
    directory: TempDir,
    mirror: String,
}

impl Case {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let case = Self {
            mirror: serve(directory.path().join("served")),
            directory,
        };
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        fs::create_dir(case.path("tree")).unwrap();
        for (from, to) in [
            ("scripts", "tree/scripts"),
            ("image", "tree/image"),
            ("tests/data/mirror", "served"),
        ] {
            copy_directory(&root.join(from), &case.path(to));
        }
        for name in ["tree/src", "tree/nix", "tree/measurements", "cache", "out"] {
            fs::create_dir(case.path(name)).unwrap();
        }
        for name in ["Cargo.toml", "Cargo.lock"] {
            fs::copy(root.join(name), case.path("tree").join(name)).unwrap();
        }
        for (name, version, path) in POOL {
            case.serve_package(path, name, version);
        }
        case.write("tree/image/packages", PACKAGES);
        case.write("tree/image/packages.lock", &lock("20250601T000000Z"));
        case.trust_the_mirror();
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn serve_package(&self, path: &str, name: &str, version: &str) {
        self.write(&format!("served/{path}"), &content(name, version));
    }

    /// Makes the copied scripts use the key of this mirror in place of Debian's.
    fn trust_the_mirror(&self) {
        let resolve = self.read("tree/scripts/image/resolve.sh");
        let debian = "KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg";
        assert_eq!(resolve.matches(debian).count(), 1);
        let ours = format!("KEYRING={}", self.path("served/keyring.gpg").display());
        self.write(
            "tree/scripts/image/resolve.sh",
            &resolve.replace(debian, &ours),
        );
    }

    fn run(&self, program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        Command::new(program)
            .args(arguments)
            .current_dir(self.path("tree"))
            .env("DEBIAN_MIRROR", format!("{}/debian", self.mirror))
            .env_remove("DEBIAN_SECURITY_MIRROR")
            .env_remove("DEBIAN_ARCHIVE")
            .env("no_proxy", "127.0.0.1")
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    }

    /// Runs `fetch_firmware_source` of `scripts/image/firmware.sh`.
    fn fetch_firmware(&self, variables: &[(&str, &str)]) -> Output {
        let script = "cd scripts; source ./lib.sh; \
                      for f in lib fetch resolve firmware; do source ./image/$f.sh; done; \
                      fetch_firmware_source \"$1\"";
        let cache = self.path("cache");
        self.run(
            "bash",
            &["-c", script, "-", cache.to_str().unwrap()],
            variables,
        )
    }

    /// Runs `choose_packages` of `scripts/image/longevity.sh`; prints the lock that it chose.
    fn choose(&self, available: &str, variables: &[(&str, &str)]) -> Output {
        let script = "cd scripts; source ./lib.sh; for f in lib fetch resolve longevity; do source ./image/$f.sh; done; \
                      choose_packages \"$1\" \"$2\" \"$3\"; echo \"$LOCK\"";
        let (cache, out) = (self.path("cache"), self.path("out"));
        let places = [cache.to_str().unwrap(), out.to_str().unwrap(), available];
        self.run(
            "bash",
            &[&["-c", script, "-"][..], &places].concat(),
            variables,
        )
    }
}

/// Returns the lock, with the times at which an archive has its suites.
fn lock(date: &str) -> String {
    let suites = [
        "trixie",
        "trixie-updates",
        "trixie-security",
        "trixie-backports",
        "forky",
    ];
    let dates: String = suites
        .iter()
        .map(|suite| format!("# archive-date {suite} {date}\n"))
        .collect();
    let line = |(role, suite, name, version, path): &(&str, &str, &str, &str, &str)| {
        let content = content(name, version);
        let digest = Sha256Digest::of(content.as_bytes());
        format!(
            "{role} {suite} {name} {version} {path} {} {digest}\n",
            content.len()
        )
    };
    dates + &LOCKED.iter().map(line).collect::<String>()
}

fn copy_directory(from: &Path, to: &Path) {
    let done = Command::new("cp")
        .arg("-r")
        .args([from, to])
        .status()
        .unwrap();
    assert!(done.success());
}

/// Serves a directory on the loopback until the test process ends; returns its address.
fn serve(directory: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let directory = directory.clone();
            thread::spawn(move || stream.map(|stream| answer(&stream, &directory)));
        }
    });
    address
}

/// Responds to one request, and closes the connection.
fn answer(mut stream: &TcpStream, directory: &Path) {
    let lines: Vec<_> = BufReader::new(stream)
        .lines()
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .collect();
    let target = lines
        .first()
        .and_then(|line| line.split(' ').nth(1))
        .unwrap_or("/")
        .trim_start_matches('/');
    let target = PathBuf::from(
        target
            .replace("%2b", "+")
            .replace("%7e", "~")
            .replace("%3a", ":"),
    );
    let plain = target
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let content = if plain {
        fs::read(directory.join(target)).ok()
    } else {
        None
    };
    let status = if content.is_some() {
        "200 OK"
    } else {
        "404 Not Found"
    };
    let body = content.unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // The client may have gone.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&body));
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn assert_status(output: &Output, status: i32) {
    assert_eq!(output.status.code(), Some(status), "{}", said(output));
}

fn assert_says(output: &Output, text: &str) {
    assert!(said(output).contains(text), "{}", said(output));
}

/// Returns "NAME VERSION" of each line of a lock.
fn versions(lock: &str) -> Vec<String> {
    let words = lock
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(' ').collect::<Vec<_>>());
    words
        .map(|words| format!("{} {}", words[2], words[3]))
        .collect()
}

#[test]
fn a_build_that_is_checked_ends_with_the_list_and_the_remedy() {
    let case = Case::new();
    let (cache, out) = (case.path("cache"), case.path("out"));
    let arguments = [
        "--check",
        "--cache",
        cache.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
    ];
    let output = case.run("scripts/build-image", &arguments, &[]);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(GONE), "{said}");
    assert!(
        said.contains("  app 1.1\n  shared 1.0-1+deb13u1\n"),
        "{said}"
    );
    for part in ["DEBIAN_ARCHIVE", "20250601T000000Z", "scripts/refresh-lock"] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
    assert!(!case.path("cache/available.lock").exists());
    assert_eq!(
        case.read("tree/image/packages.lock"),
        lock("20250601T000000Z")
    );
}

#[test]
fn an_archive_by_date_has_what_the_mirror_lost() {
    let case = Case::new();
    for (name, version, path) in LOCKED.map(|(_, _, name, version, path)| (name, version, path)) {
        case.serve_package(
            &format!("archive/debian/20250601T000000Z/{path}"),
            name,
            version,
        );
    }
    let whole = format!("{}/archive/@ARCHIVE@/@SNAPSHOTID@/", case.mirror);
    let base = format!("{}/archive", case.mirror);
    for archive in [whole, base] {
        let output = case.choose("", &[("DEBIAN_ARCHIVE", &archive)]);
        assert!(output.status.success(), "{}", said(&output));
        assert_says(&output, "image/packages.lock\n");
        assert_eq!(case.read("out/replaced"), "");
        fs::remove_dir_all(case.path("cache")).unwrap();
    }
}

#[test]
fn available_packages_are_used_where_that_was_requested_and_named() {
    let case = Case::new();
    let output = case.choose("1", &[]);
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    let line = "NOT THE PUBLISHED IMAGE: the mirror lost 2 of its packages (app 1.1, shared 1.0-1+deb13u1), so this one is built from what there is\n";
    assert!(said.contains(line), "{said}");
    assert_eq!(case.read("out/replaced"), "app 1.1\nshared 1.0-1+deb13u1\n");
    let taken = case.read("cache/available.lock");
    let all = [
        "fresh 3.1",
        "app 1.2",
        "libc6 2.41",
        "shared 1.0-1+deb13u3",
        "linux-image-6.12.9 6.12.9",
        "linux-source-6.12 6.12.9",
        "hammer 1.0",
    ];
    assert_eq!(versions(&taken), all);
    assert!(taken.contains("image trixie-security shared "), "{taken}");
    // The committed lock is unchanged, and a resolved one is used again without the mirror's
    // indexes.
    assert_eq!(
        case.read("tree/image/packages.lock"),
        lock("20250601T000000Z")
    );
    fs::remove_dir_all(case.path("served/debian/dists")).unwrap();
    assert!(case.choose("1", &[]).status.success());
    assert_eq!(case.read("cache/available.lock"), taken);
}

#[test]
fn a_mirror_that_has_everything_changes_nothing() {
    let case = Case::new();
    for (_, _, name, version, path) in LOCKED {
        case.serve_package(&format!("debian/{path}"), name, version);
    }
    for available in ["", "1"] {
        let output = case.choose(available, &[]);
        assert!(output.status.success(), "{}", said(&output));
        assert!(
            !said(&output).contains("NOT THE PUBLISHED IMAGE"),
            "{}",
            said(&output)
        );
        assert_eq!(case.read("out/replaced"), "");
    }
}

#[test]
fn another_file_under_the_same_name_is_not_a_lost_package() {
    let case = Case::new();
    case.serve_package(
        "debian/pool/main/a/app/app_1.1_amd64.deb",
        "something",
        "else",
    );
    let output = case.choose("1", &[]);
    assert_status(&output, NOT_THE_LOCKED);
    assert_says(
        &output,
        "app_1.1_amd64.deb is not the file of packages.lock",
    );
}

#[test]
fn a_mirror_without_the_source_of_the_firmware_ends_the_build_with_the_remedy() {
    let case = Case::new();
    let source = b"source\n";
    let locked = format!(
        "archive edk2.tar.xz {} {}\npool pool/main/e/edk2/edk2.tar.xz\n",
        source.len(),
        Sha256Digest::of(source)
    );
    case.write("tree/image/firmware/source.lock", &locked);

    let lost = case.fetch_firmware(&[]);
    assert_eq!(lost.status.code(), Some(GONE), "{}", said(&lost));
    for part in ["edk2.tar.xz", "release archive", "DEBIAN_ARCHIVE"] {
        assert!(
            said(&lost).contains(part),
            "{part} is not in: {}",
            said(&lost)
        );
    }

    let archive = format!("{}/archive", case.mirror);
    let by_date = [("DEBIAN_ARCHIVE", archive.as_str())];
    let path = "served/archive/debian/20250601T000000Z/pool/main/e/edk2/edk2.tar.xz";
    case.write(path, "another\n");
    let other = case.fetch_firmware(&by_date);
    assert_eq!(
        other.status.code(),
        Some(NOT_THE_LOCKED),
        "{}",
        said(&other)
    );
    assert!(!case.path("cache/edk2.tar.xz").exists());

    case.write(path, "source\n");
    let fetched = case.fetch_firmware(&by_date);
    assert!(fetched.status.success(), "{}", said(&fetched));
    assert_eq!(case.read("cache/edk2.tar.xz"), "source\n");
}

#[test]
fn refreshing_says_what_changed_and_reporting_writes_nothing() {
    let case = Case::new();
    let report = case.run("scripts/refresh-lock", &["--report"], &[]);
    assert!(report.status.success(), "{}", said(&report));
    let rows = String::from_utf8_lossy(&report.stdout).into_owned();
    let rows: Vec<_> = rows
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        rows,
        [
            "PACKAGE SUITE LOCKED NEWEST",
            "app trixie 1.1 1.2",
            "shared trixie 1.0-1+deb13u1 1.0-1+deb13u3"
        ]
    );
    assert_eq!(
        case.read("tree/image/packages.lock"),
        lock("20250601T000000Z")
    );

    let refresh = case.run("scripts/refresh-lock", &[], &[]);
    assert!(refresh.status.success(), "{}", said(&refresh));
    let changes = String::from_utf8_lossy(&refresh.stdout).into_owned();
    assert_eq!(
        changes,
        "changed image app 1.1 -> 1.2\nchanged image shared 1.0-1+deb13u1 -> 1.0-1+deb13u3\n"
    );
    let written = case.read("tree/image/packages.lock");
    assert!(
        written.contains("# archive-date forky 20260101T060000Z\n"),
        "{written}"
    );
}

#[test]
fn an_index_that_is_older_than_the_lock_is_refused() {
    let case = Case::new();
    let newer = lock("20260601T000000Z");
    case.write("tree/image/packages.lock", &newer);
    let output = case.run("scripts/refresh-lock", &[], &[]);
    assert_status(&output, SETUP_FAILED);
    assert_says(&output, "index of trixie is older (20260101T060000Z)");
    assert_eq!(case.read("tree/image/packages.lock"), newer);
}

#[test]
fn an_index_that_its_key_did_not_sign_is_refused() {
    let case = Case::new();
    let packages = "served/debian/dists/trixie/main/binary-amd64/Packages";
    case.write(
        packages,
        &case
            .read(packages)
            .replace("app_1.2_amd64", "app_6.6_amd64"),
    );
    let output = case.run("scripts/refresh-lock", &[], &[]);
    assert_status(&output, SETUP_FAILED);
    assert_eq!(
        case.read("tree/image/packages.lock"),
        lock("20250601T000000Z")
    );
}

/// Everything is linked to libc: one package that needs a newer one would bring it for all.
#[test]
fn the_libc_of_the_next_release_never_comes_in() {
    for packages in [
        PACKAGES.replace("next fresh\n", "next fresh\nnext libc6\n"),
        PACKAGES.replace("next fresh\n", ""),
    ] {
        let case = Case::new();
        case.write("tree/image/packages", &packages);
        let output = case.run("scripts/refresh-lock", &[], &[]);
        assert_status(&output, SETUP_FAILED);
        assert_says(&output, "image/packages could not be resolved");
        assert_eq!(case.choose("1", &[]).status.code(), Some(SETUP_FAILED));
        assert!(!case.path("cache/available.lock").exists());
        assert_eq!(
            case.read("tree/image/packages.lock"),
            lock("20250601T000000Z")
        );
    }
}
