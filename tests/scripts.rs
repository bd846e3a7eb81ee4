//! Do the tests that scripts name exist? And does `scripts/lib.sh`, which scripts share, wait for
//! the appliance that it started, and end only what it started? The appliance is a shell script
//! here, which prints late, or never, where it listens.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

/// Runs bash commands after those of `scripts/lib.sh`, in a new directory with the program
/// `appliance`.
///
/// Bash writes the program. A child that another test starts would have a file of this process open
/// for writing until its exec, and such a file cannot be run.
fn with_library(appliance: &str, commands: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/lib.sh");
    let program = "printf '#!/usr/bin/env bash\\n%s\\n' \"$2\" >appliance\nchmod 755 appliance";
    let script = format!("source \"$1\"\ntrap stop_server EXIT\n{program}\n{commands}\n");
    let mut bash = Command::new("bash");
    bash.args(["-c", &script, "bash"])
        .arg(library)
        .arg(appliance)
        .current_dir(directory.path());
    bash.output().unwrap()
}

/// Returns the standard output of commands that succeed.
fn stdout_of(output: &Output) -> String {
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{}\nstdout: {stdout}\nstderr: {stderr}",
        output.status
    );
    assert_eq!(stderr, "");
    stdout.into_owned()
}

/// An appliance that prints slowly where it listens, another port each time. The second line comes
/// late too.
const SLOW: &str = "echo >>starts\nsleep 0.2\nprintf 'listening on http://127.0'\nsleep 0.2\n\
    printf '.0.1:%s\\nlistening on ' \"$(wc -l <starts)\"\nsleep 0.2\necho https://127.0.0.1:9\nexec sleep 600";

#[test]
fn an_appliance_is_asked_where_it_listens_and_not_where_the_one_before_it_did() {
    let twice =
        "for _ in 1 2; do start_server ./appliance work; echo \"$SERVER_URL\"; stop_server; done";
    assert_eq!(
        stdout_of(&with_library(SLOW, twice)),
        "http://127.0.0.1:1\nhttp://127.0.0.1:2\n"
    );
}

#[test]
fn an_appliance_that_ends_is_not_waited_for_and_what_it_said_is_shown() {
    let dying = "echo 'this is why' >&2\nexit 1";
    let output = with_library(
        dying,
        "start_server ./appliance work || { echo \"no server:$SERVER_PID\"; exit 7; }",
    );
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "no server:\n");
    assert!(String::from_utf8_lossy(&output.stderr).ends_with("this is why\n"));
}

#[test]
fn only_a_process_of_the_script_is_ended() {
    // The process id of an ended appliance may belong to another process: here, to the script's own
    // parent.
    let commands = "start_server ./appliance work\nkill \"$SERVER_PID\"; wait \"$SERVER_PID\" || true\n\
        ! is_running \"$SERVER_PID\"\nSERVER_PID=$PPID\n! is_running \"$SERVER_PID\"\nstop_server\necho \"left:$SERVER_PID\"";
    assert_eq!(stdout_of(&with_library(SLOW, commands)), "left:\n");
}

/// With a filter that matches no test, cargo passes without running one.
#[test]
fn each_test_that_the_variant_is_shown_by_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = std::fs::read_to_string(root.join("scripts/test")).unwrap();
    let (_, list) = script
        .split_once("readonly DEBIAN_KERNEL_TESTS=(\n")
        .unwrap();
    let (list, _) = list.split_once("\n)").unwrap();
    for filter in list.lines().map(str::trim) {
        let (module, test) = filter.split_once("::").unwrap();
        let file = std::fs::read_to_string(root.join(format!("tests/boot/{module}.rs"))).unwrap();
        let found = file
            .split("#[test]")
            .skip(1)
            .any(|part| part.contains(&format!("fn {test}")));
        assert!(found, "{filter} names no test of tests/boot");
    }
    assert!(list.lines().count() > 3);
}
