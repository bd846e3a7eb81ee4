//! Machines that `kettle build --launch` starts by a program, verifies like any other one, and ends.
//! QEMU and libvirt boot the image, and so belong to other tests.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use kettle::snp::measurement::LaunchMeasurement;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::command::{
    ACCEPTED, Desk, NOTHING, REJECTED, Run, appliance, has_no_job, processor, tls,
};
use super::processors::MEASUREMENT;

/// How long a program may take to notice something, on a machine with much else to do.
const DEADLINE: Duration = Duration::from_secs(120);

/// A program that starts a machine, in the directory of a desk.
struct Engine<'a> {
    desk: &'a Desk,
    path: PathBuf,
}

impl<'a> Engine<'a> {
    /// Writes a program that runs `script`, waits for the end of its input, and leaves a file.
    fn waiting(desk: &'a Desk, script: &str) -> Self {
        Self::new(desk, &format!("{script}\ncat >/dev/null\necho done >ended"))
    }

    fn new(desk: &'a Desk, script: &str) -> Self {
        let path = desk.path("start");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self { desk, path }
    }

    fn command(&self) -> Command {
        self.measuring(MEASUREMENT)
    }

    fn measuring(&self, measurement: LaunchMeasurement) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kettle"));
        command
            .args(["build", "package", "--out", "out", "--launch"])
            .arg(format!("exec:{}", self.path.display()))
            .arg("--trust-root")
            .arg(processor().trust_root())
            .args(["--measurement", &measurement.to_string()])
            .current_dir(self.desk.path("."))
            .env_remove("KETTLE_APPLIANCE")
            .stdin(Stdio::null());
        command
    }

    fn has_ended(&self) -> bool {
        self.desk.path("ended").exists()
    }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < DEADLINE, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process has a handler for a signal (proc_pid_status(5), SigCgt).
fn handles(process: &Child, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = u64::from_str_radix(mask.unwrap().trim(), 16).unwrap();
    mask & (1 << (signal.as_raw() - 1)) != 0
}

#[test]
fn a_machine_of_a_program_is_verified_and_ended() {
    let (desk, server) = (Desk::new(), appliance());
    let engine = Engine::waiting(&desk, &format!("echo {}", tls(&server)));
    Run::of(&mut engine.command()).expect(ACCEPTED, "accepted");
    assert!(desk.artifact().exists());
    assert!(engine.has_ended());
}

#[test]
fn a_machine_of_a_program_is_not_trusted_because_it_was_started_here() {
    let (desk, server) = (Desk::new(), appliance());
    let engine = Engine::waiting(&desk, &format!("echo {}", tls(&server)));
    let other = LaunchMeasurement::from_bytes([1; 48]);
    Run::of(&mut engine.measuring(other)).expect(REJECTED, "measurement-unknown");
    assert!(has_no_job(&server) && desk.is_empty());
    assert!(engine.has_ended());
}

#[test]
fn a_program_that_starts_no_machine_is_said_to() {
    let desk = Desk::new();
    for (script, words) in [
        ("exit 7", "ended (exit status: 7)"),
        ("exec >&-; cat; exit 6", "ended (exit status: 6)"),
        ("echo", "has to print the address"),
        ("echo two words", "has to print the address"),
        ("echo http://127.0.0.1:1", "plaintext"),
        ("echo https://127.0.0.1:1; exit 5", "ended (exit status: 5)"),
    ] {
        let engine = Engine::new(&desk, script);
        let run = Run::of(engine.command().args(["--wait", "60"]));
        run.expect(NOTHING, words);
    }
    for script in ["", "echo https://127.0.0.1:1"] {
        let engine = Engine::waiting(&desk, script);
        let run = Run::of(engine.command().args(["--wait", "1"]));
        run.expect(NOTHING, "within 1 s (--wait)");
        assert!(engine.has_ended());
        fs::remove_file(desk.path("ended")).unwrap();
    }
    let mut missing = Engine::new(&desk, "").command();
    fs::remove_file(desk.path("start")).unwrap();
    Run::of(&mut missing).expect(NOTHING, "is it installed?");
    assert!(desk.is_empty());
}

#[test]
fn a_signal_to_the_client_ends_the_machine() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::KILL] {
        let desk = Desk::new();
        let engine = Engine::waiting(&desk, "echo https://127.0.0.1:1; touch started");
        let mut command = engine.command();
        command.stdout(Stdio::null()).stderr(Stdio::null());
        // A shell gives every command a group, and a terminal interrupts all of that.
        command.process_group(0);
        let mut client = command.spawn().unwrap();
        wait_until("started", || desk.path("started").exists());
        if signal != Signal::KILL {
            wait_until("a handler", || handles(&client, signal));
        }
        let client_id = Pid::from_child(&client);
        if signal == Signal::INT {
            kill_process_group(client_id, signal).unwrap();
        } else {
            kill_process(client_id, signal).unwrap();
        }
        let status = client.wait().unwrap();
        assert!(!status.success(), "{signal:?}");
        wait_until("ended", || engine.has_ended());
    }
}

#[test]
fn options_that_contradict_each_other_are_wrong_usage() {
    let desk = Desk::new();
    let engine = Engine::new(&desk, "exit 1");
    let with = |options: &[&str]| Run::of(engine.command().args(options));
    with(&["--to", "https://127.0.0.1:1"]).expect(NOTHING, "cannot be used with");
    with(&["--vcpus", "0"]).expect(NOTHING, "--vcpus");
    with(&["--vcpus", "256"]).expect(NOTHING, "--vcpus");
    with(&["--memory", "1"]).expect(NOTHING, "--memory");
    for engine in ["qemu", "libvirt:qemu:///system"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kettle"));
        command
            .args(["build", "package", "--launch", engine])
            .current_dir(desk.path("."))
            .env_remove("KETTLE_IMAGE");
        Run::of(&mut command).expect(NOTHING, "name its directory with --image");
        let run = Run::of(command.args(["--image", "package"]));
        run.expect(NOTHING, "as scripts/build-image makes it");
    }
}
