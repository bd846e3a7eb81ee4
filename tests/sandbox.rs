//! What can a sandboxed command do? Real processes try it: each test is one promise of
//! `kettle::sandbox`.
//!
//! They run as root and as an ordinary user. Programs come from `/usr/bin` and from `cc`.
#![cfg(feature = "host")]
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use kettle::sandbox::{
    Access, CommandSpec, Exit, Mount, Network, NetworkTrial, OutputSink, Run, RunError, Runner,
    Served, Stream,
};

/// Far more than any of these commands needs.
const PLENTY: Duration = Duration::from_secs(60);

fn runner() -> &'static Runner {
    static RUNNER: OnceLock<Runner> = OnceLock::new();
    let loopback = || ["127.0.0.0/8".parse().expect("it is a range")];
    RUNNER.get_or_init(|| Runner::allowing(&loopback()).expect("this machine can run sandboxes"))
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
        secret: None,
        network: Network::None,
        time_limit: PLENTY,
    }
}

fn shell(script: &str) -> CommandSpec {
    spec(&["/usr/bin/bash", "-c", script])
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// The variable in the environment of a process that [`alone`] started.
const ALONE: &str = "KETTLE_TEST_ALONE";

/// Returns whether this process runs only this test. If not, runs the test in a process that does,
/// and fails if it fails there.
///
/// It is for tests of properties of a whole process: its peak of memory, or the limits that it
/// passes on.
fn alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut itself = Command::new(std::env::current_exe().unwrap());
    let output = itself
        .args(["--exact", test, "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let passed = output.status.success() && stdout.contains("test result: ok. 1 passed");
    assert!(
        passed,
        "{}\nstdout: {stdout}\nstderr: {stderr}",
        output.status
    );
    false
}

/// More than enough for a sandbox to start, and soon reached.
const FEW_TASKS: u64 = 400;

/// Limits sandboxes of this process to few tasks, beside those that their user has already. Without
/// the pids controller the kernel counts the tasks of a user: a test that takes all it can get must
/// not take those of others. For [`alone`] tests, before their first sandbox.
fn allow_few_tasks() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let user = Runner::new().unwrap().description().uid;
    let limit = Some(tasks_of(user) + FEW_TASKS);
    setrlimit(
        Resource::Nproc,
        Rlimit {
            current: limit,
            maximum: limit,
        },
    )
    .unwrap();
    assert_eq!(Some(runner().description().limits.tasks), limit);
}

/// Returns how many tasks a user has on this machine, as far as they can be seen.
fn tasks_of(user: u32) -> u64 {
    let processes = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let of_user =
        processes.filter(|process| fs::metadata(process).is_ok_and(|found| found.uid() == user));
    of_user
        .map(|process| fs::read_dir(process.join("task")).map_or(0, |tasks| tasks.count() as u64))
        .sum()
}

fn try_run(spec: &CommandSpec, sink: &mut dyn OutputSink) -> Result<Exit, RunError> {
    block_on(runner().run(spec, sink))
}

fn run(spec: &CommandSpec) -> (Exit, String, String) {
    let mut kept = Kept::default();
    let exit = try_run(spec, &mut kept).unwrap();
    (
        exit,
        String::from_utf8(kept.stdout).unwrap(),
        String::from_utf8_lossy(&kept.stderr).into_owned(),
    )
}

/// Returns the standard output of a command that succeeds.
fn stdout_of(spec: &CommandSpec) -> String {
    let (exit, stdout, stderr) = run(spec);
    assert_eq!(exit, Exit::Status(0), "stdout: {stdout}\nstderr: {stderr}");
    stdout
}

/// A temporary directory that the user of the sandbox can enter, with one that it can write.
struct Directory {
    root: tempfile::TempDir,
}

impl Directory {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        runner()
            .make_writable_directory(&root.path().join("writable"))
            .unwrap();
        Self { root }
    }

    fn writable(&self) -> PathBuf {
        self.root.path().join("writable")
    }

    fn mount(&self) -> Mount {
        Mount {
            source: self.writable(),
            target: "/kettle/target".into(),
            access: Access::ReadWrite,
        }
    }

    /// Compiles C, for commands to run as `/program`.
    fn program(&self, source: &str) -> Mount {
        let (code, program) = (
            self.root.path().join("program.c"),
            self.root.path().join("program"),
        );
        fs::write(&code, source).unwrap();
        let compiled = Command::new("/usr/bin/cc")
            .arg("-o")
            .arg(&program)
            .arg(&code)
            .status()
            .unwrap();
        assert!(compiled.success());
        Mount {
            source: program,
            target: "/program".into(),
            access: Access::ReadOnly,
        }
    }
}

/// Returns a word, or a number of seconds for `sleep`, that no other run of these tests on this
/// machine uses.
fn unique(number: u32) -> String {
    format!("{number}.{}", std::process::id())
}

/// Returns whether any process of this machine has this word among its arguments.
fn process_exists(word: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut arguments = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    arguments.any(|arguments| {
        arguments
            .split(|&byte| byte == 0)
            .any(|argument| argument == word.as_bytes())
    })
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
    spec.environment =
        BTreeMap::from([("A".into(), "1 2\n3".into()), ("LC_ALL".into(), "C".into())]);
    assert_eq!(stdout_of(&spec), "A=1 2\n3\nLC_ALL=C\n");
}

#[test]
fn command_has_three_descriptors() {
    assert_eq!(
        stdout_of(&shell("echo /proc/self/fd/*")),
        "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3\n"
    );
}

#[test]
fn descriptors_that_we_were_given_without_close_on_exec_do_not_leak() {
    let leak = fs::File::open("/etc/hostname").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    assert!(!stdout_of(&shell("ls -l /proc/self/fd")).contains("hostname"));
}

#[test]
fn standard_input_is_empty() {
    assert_eq!(stdout_of(&spec(&["/usr/bin/cat"])), "");
}

#[test]
fn both_outputs_arrive_by_name() {
    let (_, stdout, stderr) = run(&shell("echo out; echo err >&2"));
    assert_eq!((stdout.as_str(), stderr.as_str()), ("out\n", "err\n"));
}

#[test]
fn working_directory_is_the_plan() {
    let mut spec = spec(&["/usr/bin/pwd"]);
    spec.directory = "/usr/bin".into();
    assert_eq!(stdout_of(&spec), "/usr/bin\n");
}

#[test]
fn no_network_reaches_no_listener_of_the_machine() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{}",
        listener.local_addr().unwrap().port()
    );
    assert_eq!(run(&shell(&script)).0, Exit::Status(1));
    let mut with_network = shell(&script);
    with_network.network = Network::Fetch;
    assert_eq!(
        run(&with_network).0,
        Exit::Status(0),
        "the same command reaches it with a network that has it"
    );
}

#[test]
fn no_network_has_only_a_loopback_that_is_down() {
    assert_eq!(
        stdout_of(&shell("tail -n +3 /proc/net/dev | cut -d: -f1")).trim(),
        "lo"
    );
    assert_eq!(
        stdout_of(&shell("cat /proc/net/route | wc -l")),
        "1\n",
        "the heading"
    );
}

#[test]
fn resolver_configuration_is_there_only_with_a_network() {
    assert_eq!(
        run(&spec(&["/usr/bin/cat", "/etc/resolv.conf"])).0,
        Exit::Status(1)
    );
    let mut with_network = spec(&["/usr/bin/getent", "ahosts", "localhost"]);
    with_network.network = Network::Fetch;
    assert!(stdout_of(&with_network).contains("127.0.0.1"));
}

#[test]
fn no_other_process_is_visible() {
    let processes = stdout_of(&shell("cd /proc; for p in [0-9]*; do echo $p; done"));
    assert_eq!(processes, "1\n2\n", "the reaper and the shell");
}

#[test]
fn root_holds_the_system_and_nothing_of_the_machine() {
    let found = stdout_of(&spec(&["/usr/bin/ls", "/"]));
    let allowed = [
        "bin", "dev", "etc", "kettle", "lib", "lib32", "lib64", "libx32", "proc", "sbin", "tmp",
        "usr",
    ];
    for name in found.lines() {
        assert!(allowed.contains(&name), "/{name} is visible");
    }
    let devices = stdout_of(&spec(&["/usr/bin/ls", "/dev"]));
    let allowed = [
        "fd", "full", "null", "random", "stderr", "stdin", "stdout", "tty", "urandom", "zero",
    ];
    assert_eq!(devices.lines().collect::<Vec<_>>(), allowed);
}

#[test]
fn etc_holds_only_what_is_listed() {
    let found = stdout_of(&shell("cd /etc; ls; cat passwd"));
    for secret in ["shadow", "ssh", "hostname", "machine-id", "root:"] {
        assert!(!found.contains(secret), "{secret} in {found}");
    }
    assert_eq!(run(&shell("ls /etc/ssl/private")).0, Exit::Status(2));
}

#[test]
fn system_is_read_only() {
    for path in [
        "/x",
        "/usr/x",
        "/usr/bin/x",
        "/etc/x",
        "/dev/x",
        "/kettle/x",
        "/proc/1/x",
        "/proc/sys/kernel/hostname",
    ] {
        let (exit, _, stderr) = run(&shell(&format!("echo > {path}")));
        assert_eq!(exit, Exit::Status(1), "{path}: {stderr}");
    }
    assert_eq!(
        stdout_of(&shell("echo works > /tmp/x; cat /tmp/x")),
        "works\n"
    );
}

#[test]
fn devices_hold_nothing_and_work() {
    assert_eq!(
        stdout_of(&shell(
            "echo gone > /dev/null; head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c"
        )),
        "4\n4\n"
    );
}

#[test]
fn reaper_and_kernel_files_are_masked() {
    assert_eq!(stdout_of(&shell("ls -A /proc/1 | wc -l")), "0\n");
    for path in [
        "/proc/1/mem",
        "/proc/1/environ",
        "/proc/keys",
        "/proc/kallsyms",
        "/proc/kcore",
        "/proc/modules",
    ] {
        assert_eq!(
            run(&spec(&["/usr/bin/cat", path])).0,
            Exit::Status(1),
            "{path}"
        );
    }
}

/// The files of `/proc` that a command sees beside processes. Links lead to the command's own
/// files.
const KERNEL_FILES: [&str; 11] = [
    "cpuinfo",
    "filesystems",
    "loadavg",
    "meminfo",
    "mounts",
    "net",
    "self",
    "stat",
    "thread-self",
    "uptime",
    "version",
];
/// The files of `/proc/sys` that a command sees.
const KERNEL_SETTINGS: [&str; 6] = [
    "kernel/hostname",
    "kernel/osrelease",
    "kernel/pid_max",
    "kernel/random/uuid",
    "vm/max_map_count",
    "vm/overcommit_memory",
];

/// Prints everything of `/proc`, beside processes, that can be read, listed with something in it,
/// or followed.
const READ_ALL_OF_PROC: &str = r#"
import os
def look(path):
    name = os.path.relpath(path, "/proc")
    if os.path.islink(path):
        print(name)
    elif os.path.isdir(path):
        for entry in os.listdir(path):
            look(path + "/" + entry)
    else:
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
            print(name)
        except OSError:
            pass
for entry in sorted(os.listdir("/proc")):
    if not entry.isdigit() or entry == "1":
        look("/proc/" + entry)
"#;

#[test]
fn of_the_kernels_files_a_command_sees_what_is_listed_and_nothing_else() {
    let found = stdout_of(&spec(&["/usr/bin/python3", "-c", READ_ALL_OF_PROC]));
    let settings = KERNEL_SETTINGS.map(|setting| format!("sys/{setting}"));
    let mut expected: Vec<_> = KERNEL_FILES
        .iter()
        .map(|&file| file.to_owned())
        .chain(settings)
        .collect();
    // Of what is listed, a kernel may lack something.
    expected.retain(|name| Path::new("/proc").join(name).exists());
    let mut found: Vec<_> = found.lines().collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    // The test can only see the files that this kernel has.
    assert!(fs::read_dir("/proc").unwrap().count() > KERNEL_FILES.len());
}

#[test]
fn programs_of_builds_find_what_they_ask_the_kernel_for() {
    let script = "nproc; getconf _NPROCESSORS_CONF; getconf PAGESIZE; uname -r; cat /proc/sys/kernel/osrelease; \
        free; ps -e; cat /proc/self/cgroup /proc/self/maps /proc/thread-self/status; cat /proc/net/dev /proc/mounts";
    let (exit, stdout, stderr) = run(&shell(&format!("set -e -o pipefail; {script}")));
    assert_eq!((exit, stderr.as_str()), (Exit::Status(0), ""), "{stdout}");
    assert!(
        stdout.contains("MemTotal") || stdout.contains("Mem:"),
        "{stdout}"
    );
}

#[test]
fn command_is_an_ordinary_user_without_capabilities() {
    assert_eq!(
        stdout_of(&spec(&["/usr/bin/id"])).trim(),
        "uid=1000(build) gid=1000(build) groups=1000(build)"
    );
    let status = stdout_of(&spec(&["/usr/bin/cat", "/proc/self/status"]));
    for line in [
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "Seccomp_filters:\t2",
    ] {
        assert!(status.contains(line), "{line} is not in {status}");
    }
    assert_eq!(stdout_of(&spec(&["/usr/bin/uname", "-n"])), "kettle\n");
}

#[test]
fn mounts_grant_what_the_plan_says_and_keep_the_owner() {
    let directory = Directory::new();
    let mut spec = shell(
        "echo made > /kettle/target/file; cat /kettle/target/file; echo no > /kettle/source/file",
    );
    spec.mounts = vec![
        directory.mount(),
        Mount {
            source: directory.root.path().into(),
            target: "/kettle/source".into(),
            access: Access::ReadOnly,
        },
    ];
    let (exit, stdout, stderr) = run(&spec);
    assert_eq!(
        (exit, stdout.as_str()),
        (Exit::Status(1), "made\n"),
        "{stderr}"
    );
    let made = fs::metadata(directory.writable().join("file")).unwrap();
    assert_eq!(made.uid(), runner().description().uid);
}

#[test]
fn writable_directories_are_new_and_private() {
    let directory = Directory::new();
    let made = fs::metadata(directory.writable()).unwrap();
    assert_eq!(
        (made.mode() & 0o7777, made.uid()),
        (0o700, runner().description().uid)
    );
    assert!(
        runner()
            .make_writable_directory(&directory.writable())
            .is_err(),
        "it exists"
    );
}

#[test]
fn plan_that_cannot_be_mounted_is_an_error_and_not_an_exit() {
    let mut spec = spec(&["/usr/bin/true"]);
    spec.mounts = vec![Mount {
        source: "/nonexistent".into(),
        target: "/x".into(),
        access: Access::ReadOnly,
    }];
    match try_run(&spec, &mut Kept::default()) {
        Err(RunError::Setup { message }) => assert!(message.contains("/nonexistent"), "{message}"),
        other => panic!("{other:?}"),
    }
}

/// How often, and by how many threads at once, an act is repeated that fails only when processes
/// are scheduled in a certain order.
const OFTEN: usize = 100;
const AT_ONCE: usize = 4;

#[test]
fn sandboxes_that_end_at_once_say_how() {
    let succeeds = spec(&["/usr/bin/true"]);
    let mut cannot_be_mounted = succeeds.clone();
    cannot_be_mounted.mounts = vec![Mount {
        source: "/nonexistent".into(),
        target: "/x".into(),
        access: Access::ReadOnly,
    }];
    let try_both = || match (
        try_run(&succeeds, &mut Kept::default()),
        try_run(&cannot_be_mounted, &mut Kept::default()),
    ) {
        (Ok(Exit::Status(0)), Err(RunError::Setup { message }))
            if message.contains("/nonexistent") => {}
        other => panic!("{other:?}"),
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| (0..OFTEN / AT_ONCE).for_each(|_| try_both()));
        }
    });
}

#[test]
fn plan_with_a_program_that_is_looked_for_is_refused() {
    for program in ["true", "/usr/bin/a=b"] {
        let refused = try_run(&spec(&[program]), &mut Kept::default());
        assert!(
            matches!(refused, Err(RunError::Program { .. })),
            "{refused:?}"
        );
    }
    assert!(matches!(
        try_run(&spec(&[]), &mut Kept::default()),
        Err(RunError::Program { .. })
    ));
}

/// A typical daemon: two forks, its own session, no descriptor. It would write and multiply for
/// ever.
const DAEMON: &str = r#"
    #include <fcntl.h>
    #include <unistd.h>
    int main(void) {
        if (fork() != 0) {
            while (access("/kettle/target/alive", F_OK) != 0) usleep(1000);
            return 0;
        }
        setsid();
        if (fork() != 0) return 0;
        for (int fd = 0; fd < 64; fd++) close(fd);
        for (;;) {
            int fd = open("/kettle/target/alive", O_WRONLY | O_CREAT | O_APPEND, 0600);
            write(fd, "x", 1);
            close(fd);
            fork();
            usleep(1000);
        }
    }
"#;

#[test]
fn daemons_are_dead_when_run_returns() {
    if !alone("daemons_are_dead_when_run_returns") {
        return;
    }
    allow_few_tasks();
    let directory = Directory::new();
    let word = unique(7100);
    let mut spec = spec(&["/program", &word]);
    spec.mounts = vec![directory.mount(), directory.program(DAEMON)];
    assert_eq!(run(&spec).0, Exit::Status(0));
    assert!(
        fs::metadata(directory.writable().join("alive"))
            .unwrap()
            .len()
            > 0,
        "the daemon lived"
    );
    assert!(!process_exists(&word));
}

#[test]
fn process_that_holds_the_pipe_does_not_hold_us() {
    let (started, word) = (Instant::now(), unique(7101));
    assert_eq!(
        stdout_of(&shell(&format!("sleep {word} & echo done"))),
        "done\n"
    );
    assert!(started.elapsed() < PLENTY / 2);
    assert!(!process_exists(&word));
}

/// Runs a command that ends only by its time limit, with longer and longer limits until it has
/// printed something, and returns that. On a busy machine a limit can be over before the command
/// has begun.
fn printed_before_the_limit(script: &str) -> Vec<u8> {
    let mut spec = shell(script);
    for limit in [500, 5_000, 50_000].map(Duration::from_millis) {
        spec.time_limit = limit;
        let mut beginning = Beginning::default();
        assert_eq!(
            try_run(&spec, &mut beginning).unwrap(),
            Exit::TimedOut { limit }
        );
        if !beginning.0.is_empty() {
            return beginning.0;
        }
    }
    panic!("it prints nothing: {script}");
}

/// Keeps the first bytes of the output, a line or two.
#[derive(Default)]
struct Beginning(Vec<u8>);

impl OutputSink for Beginning {
    fn chunk(&mut self, _: Stream, bytes: &[u8]) -> io::Result<()> {
        let room = 100_usize.saturating_sub(self.0.len());
        self.0.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Ok(())
    }
}

#[test]
fn time_limit_kills_everything() {
    let word = unique(7102);
    let script = format!("setsid sleep {word} & echo begun; sleep {word}");
    assert_eq!(printed_before_the_limit(&script), b"begun\n");
    assert!(!process_exists(&word));
}

#[test]
fn flood_of_output_does_not_postpone_the_time_limit() {
    assert!(printed_before_the_limit("yes").starts_with(b"y\ny\n"));
}

#[test]
fn stopped_processes_are_killed_too() {
    let word = unique(7103);
    let script = format!("sleep {word} & kill -STOP $!; echo stopped; kill -STOP $$; sleep {word}");
    assert_eq!(printed_before_the_limit(&script), b"stopped\n");
    assert!(!process_exists(&word));
}

/// Refuses the first chunk.
struct Refusing;

impl OutputSink for Refusing {
    fn chunk(&mut self, _: Stream, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }
}

#[test]
fn error_of_the_sink_ends_everything_and_is_returned() {
    let word = unique(7104);
    match try_run(
        &shell(&format!("sleep {word} & echo x; sleep {word}")),
        &mut Refusing,
    ) {
        Err(RunError::Sink { source }) => assert_eq!(source.kind(), io::ErrorKind::StorageFull),
        other => panic!("{other:?}"),
    }
    assert!(!process_exists(&word));
}

#[test]
fn dropping_the_run_kills_everything() {
    /// Ends the wait once the command runs.
    struct Begun(std::rc::Rc<tokio::sync::Notify>);
    impl OutputSink for Begun {
        fn chunk(&mut self, _: Stream, _: &[u8]) -> io::Result<()> {
            self.0.notify_one();
            Ok(())
        }
    }
    let word = unique(7105);
    block_on(async {
        let begun = std::rc::Rc::new(tokio::sync::Notify::new());
        let spec = shell(&format!("setsid sleep {word} & echo; sleep {word}"));
        let mut sink = Begun(begun.clone());
        let mut run = runner().run(&spec, &mut sink);
        let mut notified = Box::pin(begun.notified());
        std::future::poll_fn(|context| {
            assert!(run.as_mut().poll(context).is_pending());
            notified.as_mut().poll(context)
        })
        .await;
        drop(run);
    });
    assert!(!process_exists(&word));
}

/// Keeps only the count of bytes.
#[derive(Default)]
struct Counting {
    bytes: u64,
    largest: usize,
}

impl OutputSink for Counting {
    fn chunk(&mut self, _: Stream, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.largest = self.largest.max(bytes.len());
        Ok(())
    }
}

#[test]
fn long_output_without_a_line_end_flows_through_a_small_buffer() {
    if !alone("long_output_without_a_line_end_flows_through_a_small_buffer") {
        return;
    }
    let mut counting = Counting::default();
    let exit = try_run(
        &spec(&["/usr/bin/head", "-c", "400000000", "/dev/zero"]),
        &mut counting,
    )
    .unwrap();
    assert_eq!((exit, counting.bytes), (Exit::Status(0), 400_000_000));
    assert!(counting.largest <= 64 * 1024);
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 64 * 1024, "{kib} KiB at the peak");
}

/// Forks without end, then prints how many forks worked and why it ended there.
const FORK_BOMB: &str = r#"
    #include <errno.h>
    #include <stdio.h>
    #include <unistd.h>
    int main(void) {
        for (int count = 0;; count++) {
            pid_t child = fork();
            if (child == 0) for (;;) pause();
            if (child < 0) { printf("%d %d\n", count, errno); return 0; }
        }
    }
"#;

#[test]
fn fork_bomb_ends_at_the_limit_of_tasks() {
    if !alone("fork_bomb_ends_at_the_limit_of_tasks") {
        return;
    }
    allow_few_tasks();
    let directory = Directory::new();
    let word = unique(7106);
    let mut spec = spec(&["/program", &word]);
    spec.mounts = vec![directory.program(FORK_BOMB)];
    let output = stdout_of(&spec);
    let (count, errno) = output.trim().split_once(' ').unwrap();
    assert!(count.parse::<u64>().unwrap() < runner().description().limits.tasks);
    assert_eq!(errno, "11", "EAGAIN");
    assert!(!process_exists(&word));
}

/// Forks until that is refused, says so, and stays until the file `/kettle/target/end` exists.
const TASK_HOLDER: &str = r#"
    #include <errno.h>
    #include <stdio.h>
    #include <sys/wait.h>
    #include <unistd.h>
    int main(void) {
        int count = 0, child;
        while ((child = fork()) > 0) count++;
        if (child == 0) for (;;) pause();
        FILE *full = fopen("/kettle/target/full", "w");
        fprintf(full, "%d %d", count, errno);
        fclose(full);
        while (access("/kettle/target/end", F_OK) != 0) usleep(1000);
        return 0;
    }
"#;

#[test]
fn tasks_of_one_job_are_not_taken_from_another() {
    if !alone("tasks_of_one_job_are_not_taken_from_another") {
        return;
    }
    allow_few_tasks();
    let other = Runner::new().unwrap();
    if !rustix::process::geteuid().is_root() {
        // Without root there is one user for everything: the statement says so.
        let names: Vec<_> = other
            .description()
            .degradations
            .iter()
            .map(|it| it.name)
            .collect();
        assert!(names.contains(&"shared-user"), "{names:?}");
        return;
    }
    assert_ne!(other.description().uid, runner().description().uid);
    let directory = Directory::new();
    let mut holder = spec(&["/program", &unique(7108)]);
    holder.mounts = vec![directory.mount(), directory.program(TASK_HOLDER)];
    // More processes at once than a job could start whose user has hardly a task left.
    let many = shell("for i in {1..100}; do sleep 60 & done; kill $(jobs -p); wait; echo all");
    std::thread::scope(|scope| {
        let held = scope.spawn(|| try_run(&holder, &mut Kept::default()));
        let full = directory.writable().join("full");
        while fs::read_to_string(&full).unwrap_or_default().is_empty() {
            assert!(!held.is_finished(), "{:?}", held.join());
            std::thread::yield_now();
        }
        let (count, errno) = (fs::read_to_string(&full).unwrap(), "11");
        assert!(count.ends_with(&format!(" {errno}")), "EAGAIN: {count}");
        let mut kept = Kept::default();
        let exit = block_on(other.run(&many, &mut kept)).unwrap();
        fs::write(directory.writable().join("end"), "").unwrap();
        let (stdout, stderr) = (
            String::from_utf8_lossy(&kept.stdout),
            String::from_utf8_lossy(&kept.stderr),
        );
        assert_eq!((exit, stderr.as_ref()), (Exit::Status(0), ""), "{stdout}");
        assert!(stdout.ends_with("all\n"), "{stdout}");
        assert_eq!(held.join().unwrap().unwrap(), Exit::Status(0));
    });
}

#[test]
fn limits_of_processes_are_in_force() {
    let limits = &runner().description().limits;
    let blocks = limits.file_bytes / 1024;
    assert_eq!(
        stdout_of(&shell("ulimit -Hc; ulimit -Hn; ulimit -Hf")),
        format!("0\n{}\n{blocks}\n", limits.open_files)
    );
    let too_large = limits.file_bytes + 1;
    let (exit, _, stderr) = run(&shell(&format!(
        "trap '' XFSZ; truncate -s {too_large} /tmp/large"
    )));
    assert_eq!(exit, Exit::Status(1), "{stderr}");
}

#[test]
fn the_kernel_ends_a_command_before_it_ends_us() {
    let command = stdout_of(&shell("cat /proc/self/oom_score_adj"));
    let root = rustix::process::geteuid().is_root();
    // Without root the service may not be allowed to set it.
    assert!(command.trim() == "1000" || !root, "{command}");
    let own: i32 = std::fs::read_to_string("/proc/self/oom_score_adj")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert!(own < 1000, "{own}");
    // A value that was set with this capability cannot be lowered without it.
    const CAP_SYS_RESOURCE: u64 = 1 << 24;
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let capabilities = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:\t"))
        .unwrap();
    if u64::from_str_radix(capabilities, 16).unwrap() & CAP_SYS_RESOURCE != 0 {
        assert!(!run(&shell("echo 0 >/proc/self/oom_score_adj")).0.success());
    }
}

#[test]
fn temporary_directories_have_a_size() {
    let limits = &runner().description().limits;
    let sizes = stdout_of(&shell(
        "df -B1 --output=size /tmp /kettle/home | tail -n +2 | tr -d ' '",
    ));
    let page = 4096;
    assert_eq!(
        sizes,
        format!(
            "{}\n{}\n",
            limits.tmp_bytes.next_multiple_of(page),
            limits.home_bytes
        )
    );
    let fill = format!(
        "head -c {} /dev/zero > /kettle/home/x",
        limits.home_bytes + 1
    );
    let (exit, _, stderr) = run(&shell(&fill));
    assert_eq!(exit, Exit::Status(1));
    assert!(stderr.contains("No space left"), "{stderr}");
}

#[test]
fn description_names_what_is_missing() {
    let description = runner().description();
    let names: Vec<_> = description
        .degradations
        .iter()
        .map(|degradation| degradation.name)
        .collect();
    for (controller, name) in [
        ("memory", "memory-not-limited"),
        ("pids", "tasks-limited-by-rlimit"),
    ] {
        let missing = names.contains(&name) || names.contains(&"no-cgroup");
        assert_eq!(
            missing,
            !description.controllers.contains(&controller),
            "{names:?}"
        );
    }
    for name in ["shared-user", "fetch-network-shared"] {
        assert_eq!(
            names.contains(&name),
            !rustix::process::geteuid().is_root(),
            "{name}"
        );
    }
    assert_eq!(
        description.fetch_network.reaches == "machine",
        names.contains(&"fetch-network-shared")
    );
    let limited = description.controllers.contains(&"memory");
    assert_eq!(
        description.limits.memory_bytes.is_some(),
        limited,
        "no limit is named that nothing holds"
    );
    let json = serde_json::to_value(description).unwrap();
    assert_eq!(json["runner"]["name"], "bubblewrap");
    assert_eq!(json["seccomp"].as_str().unwrap().len(), 64);
}

#[test]
fn degradations_that_a_host_records_are_refused_by_the_image() {
    let host = Runner::new().unwrap();
    let names: Vec<_> = host
        .description()
        .degradations
        .iter()
        .map(|degradation| degradation.name)
        .collect();
    match Runner::of_image(NetworkTrial::start(&[])) {
        Ok(image) => {
            assert!(names.is_empty(), "{names:?}");
            assert!(image.description().degradations.is_empty());
        }
        Err(refusal) => assert!(!names.is_empty(), "{refusal}"),
    }
}

#[test]
fn compilers_threads_and_git_work() {
    let script = "cd /tmp && printf '#include <pthread.h>\\nvoid *f(void *p) { return p; }\\n\
        int main(void) { pthread_t t; return pthread_create(&t, 0, f, 0) || pthread_join(t, 0); }' > a.c && \
        cc -pthread -o a a.c && ./a && git init -q r && cd r && echo x > x && git add x && \
        git -c user.name=a -c user.email=a@b commit -qm x && git rev-parse HEAD^{tree}";
    let mut spec = shell(script);
    spec.environment = BTreeMap::from([
        ("HOME".into(), "/kettle/home".into()),
        ("PATH".into(), "/usr/local/bin:/usr/bin".into()),
    ]);
    assert_eq!(
        stdout_of(&spec).trim(),
        "ab69b4abf3bb84d4e268bd42d84e4a9a5e242bd3"
    );
}

#[test]
fn private_mounts_open_a_hidden_toolchain_to_cargo() {
    let cargo = PathBuf::from(std::env::var_os("CARGO").unwrap());
    let toolchain = cargo.ancestors().nth(2).unwrap();
    let hidden = tempfile::tempdir().unwrap();
    // The directory of this thread only: every test has one.
    let entered = kettle::sandbox::enter_private_mounts(hidden.path(), &[toolchain]).unwrap();
    let package = entered.work.join("package");
    fs::create_dir_all(package.join("src")).unwrap();
    fs::write(
        package.join("Cargo.toml"),
        "[package]\nname = \"a\"\nedition = \"2024\"\n",
    )
    .unwrap();
    fs::write(
        package.join("src/main.rs"),
        "fn main() { println!(\"built\"); }\n",
    )
    .unwrap();
    let target = entered.work.join("target");
    runner().make_writable_directory(&target).unwrap();

    let mut spec =
        shell("cargo build --offline --target-dir /kettle/target && /kettle/target/debug/a");
    spec.environment = BTreeMap::from([
        ("HOME".into(), "/kettle/home".into()),
        ("CARGO_HOME".into(), "/kettle/home/cargo".into()),
        ("PATH".into(), "/toolchain/bin:/usr/bin".into()),
    ]);
    spec.directory = "/kettle/source".into();
    let mount = |source: &Path, target: &str, access| Mount {
        source: source.into(),
        target: target.into(),
        access,
    };
    spec.mounts = vec![
        mount(&entered.directories[0], "/toolchain", Access::ReadOnly),
        mount(&package, "/kettle/source", Access::ReadOnly),
        mount(&target, "/kettle/target", Access::ReadWrite),
    ];
    assert_eq!(
        run(&spec).0,
        Exit::Status(101),
        "no lockfile can be made in a source that is read-only"
    );
    let lockfile = "# This file is automatically @generated by Cargo.\n# It is not intended for manual editing.\n\
        version = 4\n\n[[package]]\nname = \"a\"\nversion = \"0.0.0\"\n";
    fs::write(package.join("Cargo.lock"), lockfile).unwrap();
    assert_eq!(stdout_of(&spec), "built\n");
}

/// Listens, writes down its users and rights, then waits for ever.
const SERVICE: &str = r#"
import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
listener = socket.socket(socket.AF_UNIX)
listener.bind("/service/socket")
if os.fork() == 0:
    os.setgid(30000), os.setuid(30001)
    open("/service/of-another-user", "w")
    os._exit(0)
os.wait()
facts = open("/service/facts", "w")
print(os.getuid(), open("/proc/self/uid_map").read().split(), file=facts)
print("mounts" if libc.unshare(0x20000) == 0 and libc.mount(b"t", b"/tmp", b"tmpfs", 0, b"") == 0 else "no mounts", file=facts)
print("users" if libc.unshare(0x10000000) == 0 else "no users", file=facts)
print("devices" if libc.mknod(b"/tmp/mem", 0o20666, 0x101) == 0 else "no devices", file=facts)
print("traces" if libc.ptrace(16, 1, 0, 0) == 0 else "no traces", file=facts)
facts.close()
if os.fork() == 0:
    os.setsid()
listener.listen()
while True:
    listener.accept()
"#;

/// Runs a service while its facts are read; returns its directory, and the result.
fn serve(program: &str) -> (tempfile::TempDir, Result<Served, RunError>, String) {
    let outer = tempfile::tempdir().unwrap();
    fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let directory = outer.path().join("service");
    if let Err(error) = runner().make_service_directory(&directory) {
        let source = RunError::Start { source: error };
        return (outer, Err(source), String::new());
    }
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    let mut spec = spec(&["/usr/bin/python3", "-c", program]);
    spec.mounts = vec![Mount {
        source: directory.clone(),
        target: "/service".into(),
        access: Access::ReadWrite,
    }];
    let mut facts = String::new();
    let work = Box::pin(async { facts = fs::read_to_string(directory.join("facts")).unwrap() });
    let served = block_on(runner().serve(&spec, &directory.join("socket"), work));
    (outer, served, facts)
}

#[test]
fn a_service_is_root_of_users_who_are_nobody_here_and_dies_when_its_work_is_done() {
    let service = format!("{SERVICE}# {}\n", unique(7107));
    let (directory, served, facts) = serve(&service);
    if !rustix::process::geteuid().is_root() {
        assert!(
            served.is_err(),
            "only root can give a namespace users: {served:?}"
        );
        return;
    }
    let expected = Served {
        end: None,
        message: String::new(),
        out_of_memory: false,
        was_refused_an_address: false,
    };
    assert_eq!(served.unwrap(), expected);
    // The user of commands is the first one after those of the namespace.
    let root = runner().description().uid - 65_536;
    let expected = format!("0 ['0', '{root}', '65536']\nmounts\nno users\nno devices\nno traces\n");
    assert_eq!(facts, expected);
    let of_another = fs::metadata(directory.path().join("service/of-another-user")).unwrap();
    assert_eq!(
        (of_another.uid(), of_another.gid()),
        (root + 30_001, root + 30_000)
    );
    let commands = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .flat_map(|entry| fs::read(entry.path().join("cmdline")));
    let of_service = |command: &Vec<u8>| String::from_utf8_lossy(command).contains(&service);
    assert_eq!(commands.filter(of_service).count(), 0, "a process is left");
}

#[test]
fn a_service_that_ends_before_its_work_says_how() {
    for _ in 0..SERVICES {
        let (_directory, served, facts) = serve("import sys; sys.exit('this is why')");
        if !rustix::process::geteuid().is_root() {
            assert!(served.is_err());
            return;
        }
        let served = served.unwrap();
        assert_eq!(
            (served.end, served.message.as_str(), facts.as_str()),
            (Some(Exit::Status(1)), "this is why", "")
        );
    }
}

/// How many services end right after they print something: whether it is read before or after their
/// end is chance.
const SERVICES: usize = 10;

/// Tries each call and prints its name and errno. A refused call is refused for all arguments.
const SYSCALLS: &str = r#"
    #define _GNU_SOURCE
    #include <errno.h>
    #include <sched.h>
    #include <stdio.h>
    #include <sys/ioctl.h>
    #include <sys/personality.h>
    #include <sys/socket.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    #define TRY(name, ...) do { errno = 0; long r = __VA_ARGS__; printf("%s %d\n", name, r < 0 ? errno : 0); fflush(stdout); } while (0)
    #define CALL(name) TRY(#name, syscall(SYS_##name, 0, 0, 0, 0, 0, 0))
    int main(void) {
        CALL(ptrace); CALL(process_vm_readv); CALL(process_vm_writev); CALL(kcmp); CALL(move_pages);
        CALL(unshare); CALL(setns); CALL(mount); CALL(umount2); CALL(pivot_root); CALL(chroot);
        CALL(open_tree); CALL(move_mount); CALL(fsopen); CALL(fsconfig); CALL(fsmount); CALL(fspick);
        CALL(bpf); CALL(perf_event_open); CALL(userfaultfd); CALL(io_uring_setup); CALL(io_uring_enter);
        CALL(io_uring_register); CALL(modify_ldt); CALL(add_key); CALL(request_key); CALL(keyctl);
        CALL(name_to_handle_at); CALL(open_by_handle_at); CALL(fanotify_init); CALL(fanotify_mark);
        CALL(kexec_load); CALL(kexec_file_load); CALL(init_module); CALL(finit_module); CALL(delete_module);
        CALL(reboot); CALL(swapon); CALL(swapoff); CALL(quotactl); CALL(acct); CALL(syslog); CALL(iopl); CALL(ioperm);
        CALL(vhangup); CALL(sethostname); CALL(setdomainname); CALL(settimeofday); CALL(clock_settime); CALL(adjtimex);
        TRY("mount_setattr", syscall(442, 0, 0, 0, 0, 0));
        TRY("pidfd_getfd", syscall(438, 0, 0, 0));
        TRY("clone-user", syscall(SYS_clone, CLONE_NEWUSER, 0, 0, 0, 0));
        TRY("clone-net", syscall(SYS_clone, CLONE_NEWNET | CLONE_NEWUSER, 0, 0, 0, 0));
        TRY("personality", personality(ADDR_COMPAT_LAYOUT));
        TRY("netlink", socket(AF_NETLINK, SOCK_RAW, 0));
        TRY("packet", socket(17, SOCK_RAW, 0));
        TRY("alg", socket(38, SOCK_SEQPACKET, 0));
        TRY("vsock", socket(40, SOCK_STREAM, 0));
        TRY("key", socket(15, SOCK_RAW, 2));
        TRY("tiocsti", syscall(SYS_ioctl, 0, TIOCSTI, "x"));
        TRY("tiocsti-high", syscall(SYS_ioctl, 0, 0x100000000UL | TIOCSTI, "x"));
        TRY("tioclinux", ioctl(0, TIOCLINUX, "x"));
        printf("--\n");
        TRY("clone3", syscall(435, 0, 0));
        TRY("unknown", syscall(4000, 0, 0));
        TRY("x32", syscall(0x40000000 | SYS_getpid));
        TRY("vmsplice", syscall(SYS_vmsplice, 0, 0, 0, 0));
        printf("--\n");
        TRY("unix", socket(AF_UNIX, SOCK_STREAM, 0));
        TRY("inet", socket(AF_INET, SOCK_STREAM, 0));
        TRY("inet6", socket(AF_INET6, SOCK_DGRAM, 0));
        TRY("personality", personality(PER_LINUX));
        TRY("getpid", syscall(SYS_getpid));
        printf("--\n");
        fflush(stdout);
        long r;
        __asm__ volatile("int $0x80" : "=a"(r) : "a"(20) : "memory");
        printf("a 32-bit call answered %ld\n", r);
        return 0;
    }
"#;

#[test]
fn system_calls_beyond_a_build_are_refused() {
    let directory = Directory::new();
    let mut spec = spec(&["/program"]);
    spec.mounts = vec![directory.program(SYSCALLS)];
    let (exit, stdout, stderr) = run(&spec);
    assert_eq!(
        exit,
        Exit::Signal(31),
        "a 32-bit call is SIGSYS: {stdout}{stderr}"
    );
    let groups: Vec<_> = stdout.split("--\n").collect();
    assert_eq!(groups.len(), 4, "{stdout}");
    for (group, errno) in groups.iter().zip(["1", "38", "0"]) {
        for line in group.lines() {
            assert_eq!(line.split_once(' ').unwrap().1, errno, "{line}");
        }
    }
    assert_eq!(groups[0].lines().count(), 63);
    assert_eq!(groups[3], "");
}

#[test]
fn abstract_sockets_of_the_machine_are_out_of_reach_with_a_network_too() {
    let directory = Directory::new();
    let program = directory
        .program("#include <sys/socket.h>\nint main(void) { return socket(AF_UNIX, SOCK_STREAM, 0) < 0 ? 42 : 0; }");
    let mut spec = spec(&["/program"]);
    spec.mounts = vec![program];
    assert_eq!(run(&spec).0, Exit::Status(0));
    spec.network = Network::Fetch;
    assert_eq!(run(&spec).0, Exit::Status(42));
}

/// Opens a socket of every family, type and protocol, with 32-bit and 64-bit numbers, and prints
/// those that open, and those that are refused in another way than by the filter. An argument
/// selects the call.
const SOCKETS: &str = r#"
    #include <errno.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <sys/socket.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    static const long PROTOCOLS[] = {0, 1, 2, 3, 4, 6, 8, 15, 16, 17, 33, 41, 58, 115, 132, 136, 143, 255, 256, 262, 263, 768, -1};
    static const long FLAGS[] = {0, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_CLOEXEC | SOCK_NONBLOCK};
    static const long HIGH[] = {0, 0x100000000, 0x7fffffff00000000};
    int main(int count, char **words) {
        int is_pair = count > 1, tried = 0;
        for (long family = -1; family <= 64; family++)
            for (long type = 0; type < 16; type++)
                for (unsigned p = 0; p < sizeof PROTOCOLS / sizeof *PROTOCOLS; p++)
                    for (unsigned f = 0; f < 4; f++)
                        for (unsigned h = 0; h < 3; h++) {
                            int pair[2] = {-1, -1};
                            long a = family + HIGH[h], b = (type | FLAGS[f]) + HIGH[h], c = PROTOCOLS[p] + HIGH[h];
                            long r = is_pair ? syscall(SYS_socketpair, a, b, c, pair) : syscall(SYS_socket, a, b, c);
                            tried++;
                            if (r < 0 && errno != EPERM)
                                printf("%ld %ld %ld: errno %d\n", family, type, PROTOCOLS[p], errno);
                            if (r >= 0 && f == 0 && h == 0) printf("%ld %ld %ld\n", family, type, PROTOCOLS[p]);
                            if (r >= 0 && (f != 0 || h != 0)) fprintf(stderr, "%ld %ld %ld\n", family, type, PROTOCOLS[p]);
                            if (r >= 0) { close(is_pair ? pair[0] : r); if (is_pair) close(pair[1]); }
                        }
        printf("%d\n", tried);
        return 0;
    }
"#;

const UNIX_TRIPLES: &str = "1 1 0\n1 2 0\n1 5 0\n";
const INTERNET_TRIPLES: &str = "2 1 0\n2 1 6\n2 2 0\n2 2 17\n10 1 0\n10 1 6\n10 2 0\n10 2 17\n";
/// The number of attempts: families, types, protocols, flags, and upper halves of numbers.
const SOCKETS_TRIED: usize = 66 * 16 * 23 * 4 * 3;

#[test]
fn sockets_open_by_family_type_and_protocol_and_every_other_is_refused() {
    let directory = Directory::new();
    let program = directory.program(SOCKETS);
    let check = |arguments: &[&str], network, triples: &str| {
        let mut spec = spec(&[&["/program"], arguments].concat());
        spec.mounts = vec![program.clone()];
        spec.network = network;
        let (exit, stdout, stderr) = run(&spec);
        assert_eq!(
            (exit, stdout),
            (Exit::Status(0), format!("{triples}{SOCKETS_TRIED}\n"))
        );
        // With flags, and with upper halves that the kernel drops, the same ones open: eleven other
        // times each.
        let distinct: BTreeSet<_> = stderr.lines().collect();
        assert_eq!(distinct, triples.lines().collect());
        assert_eq!(stderr.lines().count(), 11 * triples.lines().count());
    };
    check(
        &[],
        Network::None,
        &format!("{UNIX_TRIPLES}{INTERNET_TRIPLES}"),
    );
    check(&[], Network::Fetch, INTERNET_TRIPLES);
    check(&["pair"], Network::None, UNIX_TRIPLES);
    check(&["pair"], Network::Fetch, UNIX_TRIPLES);
}
