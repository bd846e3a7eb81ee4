//! The programs that unpack, and what they unpacked.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use kettle::bundle::read::{Bundle, HashedFile};
use kettle::digest::Sha256Digest;

use super::scene::Scene;
use super::signed::{Signed, all};

/// Chosen so that a program shows the mode that it gives a file, and nothing is taken away from it.
const UMASK: &str = "umask 0; exec \"$@\"";

/// Set-user-id, set-group-id, sticky: no folder has them. The other bits of a folder are each
/// program's own choice.
const SPECIAL_BITS: u32 = 0o7000;

/// Unpacks each archive to a folder of its own.
type Unpack = fn(&[Job]);

/// An archive, and the empty folder that it is unpacked to.
struct Job {
    archive: PathBuf,
    folder: PathBuf,
}

/// Name, how to learn its version, and how it unpacks.
const PROGRAMS: [(&str, &str, Unpack); 7] = [
    ("tar", "tar --version", |jobs| each(jobs, "tar -xzf \"$1\" -C \"$2\"")),
    ("bsdtar", "bsdtar --version", |jobs| each(jobs, "bsdtar -xzf \"$1\" -C \"$2\"")),
    ("busybox", "busybox", |jobs| each(jobs, "busybox tar -xzf \"$1\" -C \"$2\"")),
    ("python3", "python3 --version", |jobs| together(jobs, &["python3", &source("unpack.py")])),
    ("perl", "perl -MArchive::Tar -e 'print \"perl $^V, Archive::Tar \", Archive::Tar->VERSION'", |jobs| {
        together(jobs, &["perl", &source("unpack.pl")]);
    }),
    ("7z", "7z | grep 7-Zip", |jobs| {
        each(jobs, "set -o pipefail; 7z x -so \"$1\" | 7z x -si -ttar -o\"$2\" >/dev/null");
    }),
    ("go", "go version", |jobs| together(jobs, &[&compiled()])),
];

/// Programs that do not know PAX headers: of a path over 100 bytes they unpack `pax-path`, in the
/// current directory.
const WITHOUT_PAX: [&str; 1] = ["perl"];

/// What such a program calls every file with a long path.
const PAX_PATH: &str = "pax-path";

/// The longest path that every program knows.
const MAX_NAME_BYTES: usize = 100;

fn source(name: &str) -> String {
    format!("{}/tests/readers/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Runs a line of shell with the archive and the folder.
fn each(jobs: &[Job], line: &str) {
    for job in jobs {
        let output = Command::new("bash")
            .args(["-c", &format!("umask 0; {line}"), "bash"])
            .args([&job.archive, &job.folder])
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        assert!(output.status.success(), "{line} of {}: {output:?}", job.archive.display());
    }
}

/// Runs one process, which reads archives and folders from its standard input, separated by zeros.
fn together(jobs: &[Job], command: &[&str]) {
    let mut child = Command::new("sh")
        .args(["-c", UMASK, "sh"])
        .args(command)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for job in jobs {
        write!(stdin, "{}\0{}\0", job.archive.display(), job.folder.display()).unwrap();
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The reader in Go, compiled without network and without anything outside of the standard library.
fn compiled() -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readers");
    fs::create_dir_all(&folder).unwrap();
    let program = folder.join("unpack");
    let output = Command::new("go")
        .args(["build", "-o"])
        .args([&program, &PathBuf::from(source("unpack.go"))])
        .current_dir(&folder)
        .envs([("GOPROXY", "off"), ("GOTOOLCHAIN", "local"), ("CGO_ENABLED", "0"), ("GOFLAGS", "")])
        .envs([("GOCACHE", folder.join("cache")), ("GOPATH", folder.join("path"))])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program.to_str().unwrap().to_owned()
}

/// A file that is there: its mode, and the digest of its bytes.
type Found = BTreeMap<String, (u32, Sha256Digest)>;

/// What the verifier read of a bundle: every file with its whole path.
fn read(top: &str, bundle: &Bundle) -> Found {
    let mut found = Found::new();
    let mut add = |folder: &str, file: &HashedFile| {
        let mode = if file.executable { 0o755 } else { 0o644 };
        found.insert(format!("{top}/{folder}{}", file.name), (mode, file.sha256));
    };
    bundle.artifacts.iter().for_each(|file| add("artifacts/", file));
    bundle.build_config.iter().for_each(|file| add("build-config/", file));
    bundle.log.iter().for_each(|file| add("", file));
    let documents = [("provenance.json", Some(&bundle.provenance)), ("evidence.json", bundle.evidence.as_ref())];
    for (name, bytes) in documents {
        found.extend(bytes.map(|bytes| (format!("{top}/{name}"), (0o644, Sha256Digest::of(bytes)))));
    }
    found
}

/// Everything below a folder. Folders are there because files are in them.
fn unpacked(root: &Path) -> Found {
    let mut found = Found::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()).collect();
        assert!(!entries.is_empty(), "{} is empty", folder.display());
        for entry in entries {
            let (path, metadata) = (entry.path(), entry.metadata().unwrap());
            let mode = metadata.permissions().mode() & 0o7777;
            if metadata.is_dir() {
                assert_eq!(mode & SPECIAL_BITS, 0, "{}", path.display());
                folders.push(path);
                continue;
            }
            assert!(metadata.is_file(), "{} is no regular file", path.display());
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.insert(name, (mode, Sha256Digest::of(&fs::read(&path).unwrap())));
        }
    }
    found
}

/// What a program without PAX headers unpacks: the last of all long paths has the one name.
fn without_pax(files: &Found) -> Found {
    let mut found = Found::new();
    for (path, file) in files {
        let name = if path.len() > MAX_NAME_BYTES { PAX_PATH } else { path };
        found.insert(name.to_owned(), *file);
    }
    found
}

/// The programs that were asked for.
fn chosen() -> Vec<(&'static str, &'static str, Unpack)> {
    let wanted = env::var("KETTLE_READER").ok();
    let chosen: Vec<_> =
        PROGRAMS.into_iter().filter(|(name, ..)| wanted.as_ref().is_none_or(|wanted| wanted == name)).collect();
    assert!(!chosen.is_empty(), "KETTLE_READER is {wanted:?}, and none of {:?}", PROGRAMS.map(|(name, ..)| name));
    chosen
}

fn print_version(name: &str, line: &str) {
    let output = Command::new("bash").args(["-c", line]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.lines().find(|line| !line.trim().is_empty());
    println!("{name}: {}", version.unwrap_or_else(|| panic!("{name} is not installed: {output:?}")).trim());
}

#[test]
#[ignore = "needs other programs: scripts/test runs it with each that can be installed"]
fn whatever_is_accepted_is_unpacked_alike() {
    let expectations = Scene::good().expectations();
    let bundles: Vec<(Signed, Found)> = all()
        .into_iter()
        .map(|bundle| {
            let files = read(&bundle.top, &bundle.read(&expectations));
            (bundle, files)
        })
        .collect();
    let mut complaints = Vec::new();
    for (name, version, unpack) in chosen() {
        print_version(name, version);
        let work = tempfile::tempdir().unwrap();
        let jobs: Vec<_> = (0..bundles.len())
            .map(|number| Job {
                archive: work.path().join(format!("{number}.tar.gz")),
                folder: work.path().join(format!("unpacked-{number}")),
            })
            .collect();
        for (job, (bundle, _)) in jobs.iter().zip(&bundles) {
            fs::write(&job.archive, &bundle.packed).unwrap();
            fs::create_dir(&job.folder).unwrap();
        }
        unpack(&jobs);
        let mut by_an_exception = 0;
        for (job, (bundle, expected)) in jobs.iter().zip(&bundles) {
            let found = unpacked(&job.folder);
            if found == *expected {
                continue;
            }
            if WITHOUT_PAX.contains(&name) && found == without_pax(expected) {
                by_an_exception += 1;
                continue;
            }
            complaints.push(complaint(name, bundle, expected, &found));
        }
        println!("{name}: {} bundles, {by_an_exception} of them with long paths that it does not know", jobs.len());
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

fn complaint(name: &str, bundle: &Signed, expected: &Found, found: &Found) -> String {
    let missing: Vec<_> = expected.iter().filter(|(path, file)| found.get(*path) != Some(file)).collect();
    let more: Vec<_> = found.iter().filter(|(path, file)| expected.get(*path) != Some(file)).collect();
    format!("{name}, {}:\n  read: {missing:?}\n  unpacked: {more:?}", bundle.what)
}
