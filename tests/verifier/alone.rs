//! What does the program need? Nothing of the machine, no socket, little memory, for any bundle.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{PipeReader, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::{Command, ExitStatus};

use kettle::bundle::read::{
    MAX_BUNDLE_ENTRIES, MAX_BUNDLE_PATHS_BYTES, MAX_EVIDENCE_BYTES, MAX_PROVENANCE_BYTES,
};
use kettle::bundle::{Entry, write};
use rustix::io::FdFlags;
use rustix::pipe::fcntl_setpipe_size;

use super::command::Files;
use super::scene::{NONCE, Scene};

/// The most memory of any verification, in KiB.
const MAX_PEAK_KIB: u64 = 16 << 10;

/// Returns a filter for the kernel (struct sock_filter, seccomp(2)) that ends a process that makes
/// a socket, connects, or makes a ring that could do so for it. Numbers of x86_64.
fn without_sockets() -> Vec<u8> {
    const SYSTEM_CALLS: [u32; 4] = [41, 42, 53, 425];
    const LOAD_NUMBER: (u16, u32) = (0x20, 0);
    const IS_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let (kill, allow) = (0x8000_0000_u32, 0x7fff_0000_u32);
    let instruction = |code: u16, jump_if: u8, value: u32| {
        [&code.to_ne_bytes()[..], &[jump_if, 0], &value.to_ne_bytes()].concat()
    };
    let mut program = instruction(LOAD_NUMBER.0, 0, LOAD_NUMBER.1);
    for (index, number) in SYSTEM_CALLS.into_iter().enumerate() {
        program.extend(instruction(
            IS_EQUAL,
            (SYSTEM_CALLS.len() - index) as u8,
            number,
        ));
    }
    program.extend(instruction(RETURN, 0, allow));
    program.extend(instruction(RETURN, 0, kill));
    program
}

/// Runs under that filter, with these of the machine's files.
fn run(binds: &[(&Path, &str)], command: &[&str]) -> ExitStatus {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("filter"), without_sockets()).unwrap();
    let filter = File::open(directory.path().join("filter")).unwrap();
    rustix::io::fcntl_setfd(&filter, FdFlags::empty()).unwrap();
    let mut bwrap = Command::new("bwrap");
    bwrap.args([
        "--unshare-all",
        "--die-with-parent",
        "--seccomp",
        &filter.as_raw_fd().to_string(),
    ]);
    for (from, to) in binds {
        bwrap.arg("--ro-bind").arg(from).arg(to);
    }
    bwrap
        .arg("--")
        .args(command)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap()
        .status
}

#[test]
fn it_runs_where_nothing_is_installed_and_opens_no_socket() {
    let files = Files::new(&Scene::good());
    let binds = [
        (Path::new(env!("CARGO_BIN_EXE_kettle")), "/kettle"),
        (files.path(), "/files"),
    ];
    let measurement = "5a".repeat(48);
    let verify = |bundle: &str, nonce: &str| {
        let fixed = [
            "/kettle",
            "verify",
            bundle,
            "--trust-root",
            "/files/root.pem",
            "--at",
            "2026-06-01T00:00:00Z",
        ];
        run(
            &binds,
            &[
                &fixed[..],
                &["--measurement", &measurement, "--nonce", nonce],
            ]
            .concat(),
        )
        .code()
    };
    assert_eq!(verify("/files/p.tar.gz", NONCE), Some(0));
    assert_eq!(verify("/files/p", NONCE), Some(0));
    assert_eq!(verify("/files/p", "00"), Some(1));
}

#[test]
fn a_socket_would_have_been_noticed() {
    const SIGSYS: i32 = 31;
    let everything = [(Path::new("/"), "/")];
    assert_eq!(run(&everything, &["sh", "-c", "true"]).code(), Some(0));
    let connecting = run(&everything, &["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9"]);
    assert_eq!(connecting.code(), Some(128 + SIGSYS));
}

/// Returns the peak of its memory in KiB, and its output. A full pipe stops it at its verdict.
fn peak(files: &Files, bundle: &str) -> (u64, String) {
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let size = fcntl_setpipe_size(&writer, 4096).unwrap();
    writer.write_all(&vec![b' '; size]).unwrap();
    let mut child = files.command(bundle).stdout(writer).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let peak = loop {
        let text = fs::read_to_string(&status).unwrap();
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        match field("State:").unwrap().split(' ').next() {
            Some("S") => {
                break field("VmHWM:")
                    .unwrap()
                    .trim_end_matches(" kB")
                    .parse()
                    .unwrap();
            }
            Some("Z") => panic!("{bundle}: it did not wait for its reader"),
            _ => std::thread::yield_now(),
        }
    };
    let printed = read(&mut reader);
    child.wait().unwrap();
    (peak, printed)
}

fn read(reader: &mut PipeReader) -> String {
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text.trim_start().to_owned()
}

/// Returns a gzip tar of these files, and after them one of this many zeros.
fn archive(path: &Path, files: &[(String, &[u8])], zeros: u64) {
    let mut entries: Vec<_> = files
        .iter()
        .map(|(path, bytes)| Entry::of_bytes(path, bytes))
        .collect();
    if zeros > 0 {
        let content = Box::new(std::io::repeat(0).take(zeros));
        entries.push(Entry {
            size: zeros,
            content,
            ..Entry::of_bytes("artifacts/zeros", b"")
        });
    }
    write(File::create(path).unwrap(), "project", entries, 0).unwrap();
}

/// Returns as many paths as are allowed.
fn paths() -> Vec<(String, &'static [u8])> {
    let count = MAX_BUNDLE_ENTRIES - 8;
    let length = MAX_BUNDLE_PATHS_BYTES / count - "artifacts/".len() - 1;
    (0..count)
        .map(|number| (format!("artifacts/{number:0length$}"), &b""[..]))
        .collect()
}

/// Returns objects in objects, each with many keys that are long in memory and short in the
/// document.
fn keys(per_object: usize) -> String {
    let digits: Vec<_> = (b'a'..=b'z')
        .chain(b'A'..=b'Z')
        .chain(b'0'..=b'9')
        .map(char::from)
        .collect();
    let key = |number: usize| -> String {
        let place = |power: u32| digits[number / digits.len().pow(power) % digits.len()];
        [place(2), place(1), place(0)].iter().collect()
    };
    let mut text = String::from("{\"z\":");
    let mut depth = 1;
    while text.len() + per_object * 10 < MAX_PROVENANCE_BYTES as usize - 2048 && depth < 120 {
        text.push('{');
        for number in 0..per_object - 1 {
            write!(text, "\"\\n{}\":0,", key(number)).unwrap();
        }
        text.push_str("\"z\":");
        depth += 1;
    }
    text + "0" + &"}".repeat(depth)
}

/// Returns the good statement with its lists as long as they can be.
fn lists(scene: &Scene) -> String {
    let mut statement = scene.statement.clone();
    let empty = serde_json::json!({"name": "", "digest": {}});
    let rest = MAX_PROVENANCE_BYTES as usize - statement.to_string().len() - 64;
    let each = empty.to_string().len() + 1;
    let subjects = (rest / each).min(2 * MAX_BUNDLE_ENTRIES) / 2;
    statement["subject"] = vec![empty.clone(); subjects].into();
    statement["predicate"]["runDetails"]["byproducts"] = vec![empty; subjects].into();
    let more = rest.saturating_sub(2 * subjects * each) / 3;
    statement["predicate"]["buildDefinition"]["resolvedDependencies"]
        .as_array_mut()
        .unwrap()
        .extend(vec![serde_json::json!({}); more]);
    statement.to_string()
}

#[test]
fn memory_is_small_whatever_a_bundle_is() {
    const LARGE: u64 = 256 << 20;
    let scene = Scene::good();
    let files = Files::new(&scene);
    let good = scene.bundle();
    let evidence = good.evidence.unwrap();
    let document = |name: &str, bytes: &'static [u8]| (name.to_owned(), bytes);
    let leak = |text: Vec<u8>| -> &'static [u8] { Box::leak(text.into_boxed_slice()) };
    let evidence = document("evidence.json", leak(evidence));
    let provenance = document("provenance.json", leak(good.provenance));
    let mut wide = vec![b' '; MAX_EVIDENCE_BYTES as usize];
    wide[..evidence.1.len()].copy_from_slice(evidence.1);
    let lists = document("provenance.json", leak(lists(&scene).into_bytes()));
    // One-byte characters that messages show as six bytes.
    let long = |pointer: &str, length: usize| {
        let mut statement = scene.statement.clone();
        *statement.pointer_mut(pointer).unwrap() = "\u{7f}".repeat(length).into();
        document("provenance.json", leak(statement.to_string().into_bytes()))
    };
    let chosen = |items: usize| {
        let mut statement = scene.statement.clone();
        let external = statement
            .pointer_mut("/predicate/buildDefinition/externalParameters")
            .unwrap();
        external["options"] =
            serde_json::json!({"bins": vec!["a"; items], "features": vec!["a"; items]});
        document("provenance.json", leak(statement.to_string().into_bytes()))
    };
    let nested = keys(1 << 14).into_bytes();
    let shallow = keys(1 << 10).into_bytes();
    let nested = document("provenance.json", leak(nested));
    let shallow = document("provenance.json", leak(shallow));
    let rest = MAX_PROVENANCE_BYTES as usize - 4096;
    let with = |provenance: &(String, &'static [u8])| vec![evidence.clone(), provenance.clone()];
    let and_paths = |provenance| [with(provenance), paths()].concat();
    let cases = [
        ("plain", with(&provenance), 0),
        ("large", with(&provenance), LARGE),
        (
            "wide",
            vec![document("evidence.json", leak(wide)), provenance.clone()],
            0,
        ),
        ("paths", and_paths(&provenance), 0),
        ("lists", and_paths(&lists), 0),
        ("options", and_paths(&chosen(rest / 9)), 0),
        ("options at their limit", and_paths(&chosen(8 << 10)), 0),
        ("keys", and_paths(&nested), 0),
        ("less keys", and_paths(&shallow), 0),
        ("another type", and_paths(&long("/subject", rest)), 0),
        (
            "another digest",
            and_paths(&long("/subject/0/digest/sha256", rest)),
            0,
        ),
        (
            "another type at its limit",
            and_paths(&long("/subject", 128 << 10)),
            0,
        ),
        (
            "another digest at its limit",
            and_paths(&long("/subject/0/digest/sha256", 128 << 10)),
            0,
        ),
    ];
    for (name, entries, zeros) in cases {
        archive(&files.path().join(name), &entries, zeros);
        let (peak, printed) = peak(&files, name);
        println!("{name}: {peak} KiB: {printed}");
        assert!(
            printed.contains("\"verdict\":\"rejected\""),
            "{name}: {printed}"
        );
        assert!(
            !printed.contains("\"bundle\",\"code\""),
            "{name}: {printed}"
        );
        assert!(peak < MAX_PEAK_KIB, "{name}: {peak} KiB");
    }
}
