//! The programs that unpack archives, and the files that they unpack.
//!
//! Most of the archives are hostile, and some programs follow whatever they say: each runs in a
//! sandbox in which it can write the directory of the test only, deep enough below it that what
//! climbs out of an archive's own directory is found there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use kettle::bundle::read::{Bundle, HashedFile, stream};
use kettle::digest::Sha256Digest;

use super::encodings::{base_archive, for_other_programs};
use super::scene::Scene;
use super::signed::{Signed, TOP, all};

/// A umask of zero, so that a file gets exactly the mode that a program chooses.
const UMASK: &str = "umask 0; exec \"$@\"";

/// Set-user-id, set-group-id, sticky: no directory has them. The other bits of a directory are each
/// program's own choice.
const SPECIAL_BITS: u32 = 0o7000;

/// The path below its own directory where each archive is unpacked: deeper than any of them climbs.
const DEPTH: &str = "1/2/unpacked";

/// The least number of archives in the corpus.
const LEAST_ARCHIVES: usize = 500;

/// The least number of rejected archives that each program unpacks to other files than the bundle
/// that they were made from: with fewer, they would not be hostile.
const LEAST_MISREAD: usize = 20;

/// The least number of rejected archives of which two of these programs unpack different files,
/// each without an error.
const LEAST_DISAGREEMENTS: usize = 50;

/// An archive, and the empty directory that it is unpacked to.
struct Job {
    archive: PathBuf,
    /// The directory of this archive alone.
    around: PathBuf,
}

impl Job {
    fn directory(&self) -> PathBuf {
        self.around.join(DEPTH)
    }
}

/// The name of a program, the command for its version, and the command that unpacks pairs from its
/// standard input.
type Program = (&'static str, &'static str, fn() -> Vec<String>);

const PROGRAMS: [Program; 7] = [
    ("tar", "tar --version", || one_at_a_time("tar")),
    ("bsdtar", "bsdtar --version", || one_at_a_time("bsdtar")),
    ("busybox", "busybox", || one_at_a_time("busybox")),
    ("python3", "python3 --version", || {
        vec!["python3".to_owned(), source("unpack.py")]
    }),
    (
        "perl",
        "perl -MArchive::Tar -e 'print \"perl $^V, Archive::Tar \", Archive::Tar->VERSION'",
        || vec!["perl".to_owned(), source("unpack.pl")],
    ),
    ("7z", "7z | grep 7-Zip", || one_at_a_time("7z")),
    ("go", "go version", || vec![compiled()]),
];

/// Programs that do not know PAX headers: of a path over 100 bytes they unpack `pax-path`, in the
/// current directory. The one encoding cannot spare them: it has one way to write a path, and a
/// prefix, which they know, has no place for a path over 255 bytes, or for one whose last component
/// is longer than 100.
const WITHOUT_PAX: [&str; 1] = ["perl"];

/// The name that such a program gives every file with a long path.
const PAX_PATH: &str = "pax-path";

/// The length of the longest path that every program knows.
const MAX_NAME_BYTES: usize = 100;

fn source(name: &str) -> String {
    format!("{}/tests/readers/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn one_at_a_time(program: &str) -> Vec<String> {
    vec!["bash".to_owned(), source("unpack.sh"), program.to_owned()]
}

/// Lets a program unpack all archives; returns those that it did not refuse.
fn unpack(work: &Path, jobs: &[Job], command: &[String]) -> Vec<bool> {
    let mut child = Command::new("bwrap")
        .args([
            "--unshare-all",
            "--uid",
            "0",
            "--gid",
            "0",
            "--die-with-parent",
            "--new-session",
        ])
        .args([
            "--ro-bind",
            "/",
            "/",
            "--dev",
            "/dev",
            "--proc",
            "/proc",
            "--bind",
        ])
        .args([work, work])
        .arg("--chdir")
        .arg(work)
        .args(["--", "sh", "-c", UMASK, "sh"])
        .args(command)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(work.join("complaints")).unwrap())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let pairs: Vec<_> = jobs
        .iter()
        .map(|job| format!("{}\0{}\0", job.archive.display(), job.directory().display()))
        .collect();
    let writer = std::thread::spawn(move || {
        pairs
            .iter()
            .try_for_each(|pair| stdin.write_all(pair.as_bytes()))
    });
    let output = child.wait_with_output().unwrap();
    let complaints = fs::read(work.join("complaints")).unwrap();
    let complaints =
        String::from_utf8_lossy(&complaints[complaints.len().saturating_sub(2000)..]).into_owned();
    writer
        .join()
        .unwrap()
        .unwrap_or_else(|error| panic!("{command:?}: {error}: {complaints}"));
    assert!(output.status.success(), "{command:?}: {complaints}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let unpacked: Vec<_> = lines.lines().map(|line| line == "0").collect();
    assert_eq!(
        unpacked.len(),
        jobs.len(),
        "{command:?} did not unpack all of them: {complaints}"
    );
    unpacked
}

/// Compiles the reader in Go, without network and without anything outside the standard library.
fn compiled() -> String {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readers");
    fs::create_dir_all(&directory).unwrap();
    let program = directory.join("unpack");
    let output = Command::new("go")
        .args(["build", "-o"])
        .args([&program, &PathBuf::from(source("unpack.go"))])
        .current_dir(&directory)
        .envs([
            ("GOPROXY", "off"),
            ("GOTOOLCHAIN", "local"),
            ("CGO_ENABLED", "0"),
            ("GOFLAGS", ""),
        ])
        .envs([
            ("GOCACHE", directory.join("cache")),
            ("GOPATH", directory.join("path")),
        ])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    program.to_str().unwrap().to_owned()
}

/// The unpacked entries by path: of a file its mode and the digest of its bytes, of anything else
/// what it is.
type Found = BTreeMap<String, String>;

fn file(mode: u32, sha256: Sha256Digest) -> String {
    format!("file {mode:04o} {sha256}")
}

/// Returns the files that the verifier read from a bundle, with their whole paths.
fn read(top: &str, bundle: &Bundle) -> Found {
    let mut found = Found::new();
    let mut add = |directory: &str, read: &HashedFile| {
        let mode = if read.executable { 0o755 } else { 0o644 };
        found.insert(
            format!("{top}/{directory}{}", read.name),
            file(mode, read.sha256),
        );
    };
    bundle
        .artifacts
        .iter()
        .for_each(|file| add("artifacts/", file));
    bundle
        .build_config
        .iter()
        .for_each(|file| add("build-config/", file));
    bundle.log.iter().for_each(|file| add("", file));
    let documents = [
        ("provenance.json", Some(&bundle.provenance)),
        ("evidence.json", bundle.evidence.as_ref()),
    ];
    for (name, bytes) in documents {
        found.extend(bytes.map(|bytes| {
            (
                format!("{top}/{name}"),
                file(0o644, Sha256Digest::of(bytes)),
            )
        }));
    }
    found
}

/// Returns everything that was unpacked from an archive, wherever it is. Parent directories of
/// files exist because of them.
fn unpacked(job: &Job) -> Found {
    let mut found = Found::new();
    let mut directories = vec![job.around.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let (name, description) = (called(job, &path), describe(&path));
            if path.is_dir() && !path.is_symlink() {
                directories.push(path);
            }
            found.extend(description.map(|description| (name, description)));
        }
    }
    found.remove("");
    found
}

/// Returns the path below the directory of an archive, or how it leads out of it.
fn called(job: &Job, path: &Path) -> String {
    let directory = job.directory();
    let name = path
        .strip_prefix(&directory)
        .map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|_| match directory.starts_with(path) {
        true => String::new(),
        false => format!(
            "outside: {}",
            path.strip_prefix(&job.around).unwrap().display()
        ),
    })
}

/// Describes an entry; nothing for an ordinary directory with something in it.
fn describe(path: &Path) -> Option<String> {
    let metadata = path.symlink_metadata().unwrap();
    let (kind, mode) = (metadata.file_type(), metadata.permissions().mode() & 0o7777);
    if kind.is_symlink() {
        return Some(format!(
            "link to {}",
            fs::read_link(path).unwrap().display()
        ));
    }
    if kind.is_dir() {
        let is_empty = fs::read_dir(path).unwrap().next().is_none();
        return (is_empty || mode & SPECIAL_BITS != 0).then(|| format!("directory {mode:04o}"));
    }
    if !kind.is_file() {
        let what = if kind.is_fifo() { "FIFO" } else { "device" };
        return Some(format!("{what} {mode:04o}"));
    }
    let Ok(bytes) = fs::read(path) else {
        return Some(format!("file {mode:04o} that cannot be read"));
    };
    let second = if metadata.nlink() > 1 {
        ", with a second name"
    } else {
        ""
    };
    Some(file(mode, Sha256Digest::of(&bytes)) + second)
}

/// Returns what a program without PAX headers unpacks: the last of all long paths has the one name.
fn without_pax(files: &Found) -> Found {
    let mut found = Found::new();
    for (path, file) in files {
        let name = if path.len() > MAX_NAME_BYTES {
            PAX_PATH
        } else {
            path
        };
        found.insert(name.to_owned(), file.clone());
    }
    found
}

/// Returns the requested programs, by names with blanks between them.
fn chosen() -> Vec<Program> {
    let wanted = env::var("KETTLE_READERS").ok();
    let known = PROGRAMS.map(|(name, ..)| name);
    let names: Vec<&str> = wanted
        .as_ref()
        .map_or(known.to_vec(), |wanted| wanted.split(' ').collect());
    assert!(
        names.iter().all(|name| known.contains(name)),
        "KETTLE_READERS is {wanted:?}, of {known:?}"
    );
    PROGRAMS
        .into_iter()
        .filter(|(name, ..)| names.contains(name))
        .collect()
}

fn print_version(name: &str, line: &str) {
    let output = Command::new("bash").args(["-c", line]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.lines().find(|line| !line.trim().is_empty());
    println!(
        "{name}: {}",
        version
            .unwrap_or_else(|| panic!("{name} is not installed: {output:?}"))
            .trim()
    );
}

/// All archives: the accepted ones, with the files that the verifier read from them, and then those
/// that are rejected.
struct Corpus {
    accepted: Vec<(Signed, Found)>,
    rejected: Vec<super::encodings::Sample>,
    /// The files of the bundle that the rejected ones were made from.
    base: Found,
}

impl Corpus {
    fn new() -> Self {
        let expectations = Scene::good().expectations();
        let accepted = all().into_iter().map(|bundle| {
            let files = read(&bundle.top, &bundle.read(&expectations));
            (bundle, files)
        });
        let base = read(TOP, &stream(&base_archive().packed()[..]).unwrap());
        let corpus = Self {
            accepted: accepted.collect(),
            rejected: for_other_programs(),
            base,
        };
        let count = corpus.accepted.len() + corpus.rejected.len();
        assert!(count >= LEAST_ARCHIVES, "{count} archives are no corpus");
        // Another test asserts that each of these is rejected, and why.
        for sample in &corpus.rejected {
            let verdict = super::signed::verdict(&sample.packed, &expectations);
            assert!(!verdict.is_accepted(), "{}", sample.what);
        }
        corpus
    }

    fn jobs(&self, work: &Path) -> Vec<Job> {
        let accepted = self.accepted.iter().map(|(bundle, _)| &bundle.packed);
        let packed = accepted.chain(self.rejected.iter().map(|sample| &sample.packed));
        let job = |(number, packed): (usize, &Vec<u8>)| {
            let (archive, around) = (
                work.join(format!("{number}.tar.gz")),
                work.join(number.to_string()),
            );
            fs::write(&archive, packed).unwrap();
            let job = Job { archive, around };
            fs::create_dir_all(job.directory()).unwrap();
            job
        };
        packed.enumerate().map(job).collect()
    }
}

#[test]
#[ignore = "needs other programs: scripts/test runs it with those that can be installed"]
fn accepted_archives_are_unpacked_alike() {
    let corpus = Corpus::new();
    let mut complaints = Vec::new();
    // The files that were unpacked without an error, for each rejected archive.
    let mut readings: Vec<BTreeSet<Found>> = vec![BTreeSet::new(); corpus.rejected.len()];
    let chosen = chosen();
    for (name, version, command) in &chosen {
        print_version(name, version);
        let started = std::time::Instant::now();
        let work = tempfile::tempdir().unwrap();
        let jobs = corpus.jobs(work.path());
        let is_unpacked = unpack(work.path(), &jobs, &command());
        let (accepted, rejected) = jobs.split_at(corpus.accepted.len());
        let mut by_an_exception = 0;
        for ((job, (bundle, expected)), is_unpacked) in
            accepted.iter().zip(&corpus.accepted).zip(&is_unpacked)
        {
            let found = unpacked(job);
            if WITHOUT_PAX.contains(name) && found != *expected && found == without_pax(expected) {
                by_an_exception += 1;
            } else if found != *expected || !is_unpacked {
                complaints.push(complaint(name, bundle, expected, &found));
            }
        }
        println!(
            "{name}: {} accepted, {by_an_exception} with long paths that it does not know",
            accepted.len()
        );
        let (mut refused, mut misread) = (0, 0);
        let is_unpacked = &is_unpacked[accepted.len()..];
        for ((job, is_unpacked), readings) in rejected.iter().zip(is_unpacked).zip(&mut readings) {
            if !is_unpacked {
                refused += 1;
                continue;
            }
            let found = unpacked(job);
            misread += usize::from(found != corpus.base && found != without_pax(&corpus.base));
            // The name that such a program gives to files with long paths is no disagreement about
            // the archive.
            if !WITHOUT_PAX.contains(name) {
                readings.insert(found);
            }
        }
        let seconds = started.elapsed().as_secs();
        println!(
            "{name}: {} rejected, {refused} refuses it too, {misread} misread, {seconds} s",
            rejected.len()
        );
        assert!(
            misread >= LEAST_MISREAD,
            "{name} misreads {misread} archives: they are not hostile"
        );
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    let disagreements = readings
        .iter()
        .filter(|readings| readings.len() > 1)
        .count();
    println!("{disagreements} of the rejected are unpacked by two programs to different files");
    let are_all = chosen.len() == PROGRAMS.len();
    assert!(
        !are_all || disagreements >= LEAST_DISAGREEMENTS,
        "{disagreements}: they are not hostile"
    );
}

fn complaint(name: &str, bundle: &Signed, expected: &Found, found: &Found) -> String {
    let missing: Vec<_> = expected
        .iter()
        .filter(|(path, file)| found.get(*path) != Some(file))
        .collect();
    let more: Vec<_> = found
        .iter()
        .filter(|(path, file)| expected.get(*path) != Some(file))
        .collect();
    format!(
        "{name}, {}:\n  read: {missing:?}\n  unpacked: {more:?}",
        bundle.what
    )
}
