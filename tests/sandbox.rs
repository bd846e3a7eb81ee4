//! What a sandboxed command can do, asked with real processes: each test is one promise of `kettle::sandbox`.
//!
//! They run as root and as an ordinary user. Programs come from `/usr/bin` and from `cc`.
#![cfg(feature = "appliance")]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use kettle::sandbox::{Access, CommandSpec, Exit, Mount, Network, OutputSink, Run, RunError, Runner, Stream};

/// Far more than any of these commands needs.
const PLENTY: Duration = Duration::from_secs(60);

fn runner() -> &'static Runner {
    static RUNNER: OnceLock<Runner> = OnceLock::new();
    RUNNER.get_or_init(|| Runner::new().expect("this machine can run sandboxes"))
}

/// Keeps everything.
#[derive(Default)]
struct Kept {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl OutputSink for Kept {
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        match stream {
            Stream::Stdout => self.stdout.extend_from_slice(bytes),
            Stream::Stderr => self.stderr.extend_from_slice(bytes),
        }
        Ok(())
    }
}

fn spec(argv: &[&str]) -> CommandSpec {
    CommandSpec {
        argv: argv.iter().map(|&word| word.to_owned()).collect(),
        environment: BTreeMap::from([("PATH".into(), "/usr/bin".into())]),
        directory: "/".into(),
        mounts: Vec::new(),
        network: Network::None,
        time_limit: PLENTY,
    }
}

fn shell(script: &str) -> CommandSpec {
    spec(&["/usr/bin/bash", "-c", script])
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn try_run(spec: &CommandSpec, sink: &mut dyn OutputSink) -> Result<Exit, RunError> {
    block_on(runner().run(spec, sink))
}

fn run(spec: &CommandSpec) -> (Exit, String, String) {
    let mut kept = Kept::default();
    let exit = try_run(spec, &mut kept).unwrap();
    (exit, String::from_utf8(kept.stdout).unwrap(), String::from_utf8_lossy(&kept.stderr).into_owned())
}

/// Of a command that succeeds.
fn stdout_of(spec: &CommandSpec) -> String {
    let (exit, stdout, stderr) = run(spec);
    assert_eq!(exit, Exit::Status(0), "stdout: {stdout}\nstderr: {stderr}");
    stdout
}

/// A temporary folder that the user of the sandbox can walk into, with one that it can write.
struct Folder {
    root: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        runner().make_writable_folder(&root.path().join("writable")).unwrap();
        Self { root }
    }

    fn writable(&self) -> PathBuf {
        self.root.path().join("writable")
    }

    fn mount(&self) -> Mount {
        Mount { source: self.writable(), target: "/kettle/target".into(), access: Access::ReadWrite }
    }

    /// Compiles C, for commands to run as `/program`.
    fn program(&self, source: &str) -> Mount {
        let (code, program) = (self.root.path().join("program.c"), self.root.path().join("program"));
        fs::write(&code, source).unwrap();
        let compiled = std::process::Command::new("/usr/bin/cc").arg("-o").arg(&program).arg(&code).status().unwrap();
        assert!(compiled.success());
        Mount { source: program, target: "/program".into(), access: Access::ReadOnly }
    }
}

/// Whether any process of this machine has this word among its arguments.
fn process_exists(word: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut arguments = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    arguments.any(|arguments| arguments.split(|&byte| byte == 0).any(|argument| argument == word.as_bytes()))
}

#[test]
fn exit_status_and_signals_are_told_apart() {
    assert_eq!(run(&shell("exit 7")).0, Exit::Status(7));
    assert_eq!(run(&shell("kill -SEGV $$")).0, Exit::Signal(11));
    assert_eq!(run(&spec(&["/nonexistent"])).0, Exit::Status(127));
}

#[test]
fn environment_is_exactly_the_plan() {
    let mut spec = spec(&["/usr/bin/env"]);
    spec.environment = BTreeMap::from([("A".into(), "1 2\n3".into()), ("LC_ALL".into(), "C".into())]);
    assert_eq!(stdout_of(&spec), "A=1 2\n3\nLC_ALL=C\n");
}

#[test]
fn command_has_three_descriptors() {
    assert_eq!(
        stdout_of(&shell("echo /proc/self/fd/*")),
        "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3\n"
    );
}
