//! The command line: help, wrong usage, and what is missing on the machine.

use std::process::{Command, Output};

fn kettle_host(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kettle-host"));
    command.args(words);
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn help_lists_every_limit() {
    let help = text(&kettle_host(&["--help"]).output().unwrap());
    let limits = kettle::api::limits::all();
    assert!(limits.len() > 20);
    for limit in limits {
        let line = help
            .lines()
            .find(|line| line.split_whitespace().next() == Some(limit.name));
        assert!(
            line.is_some_and(|line| line.contains(&limit.value.to_string())),
            "{} is not in the help",
            limit.name
        );
    }
}

#[test]
fn wrong_usage_has_status_2() {
    for words in [
        &[][..],
        &["build"],
        &["serve"],
        &["serve", "--listen", "127.0.0.1:0", "--work"],
    ] {
        let output = kettle_host(words).output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(2),
            "{words:?}: {}",
            text(&output)
        );
        assert!(text(&output).contains("--help"));
    }
}

#[test]
fn the_program_of_the_image_is_nothing_but_pid_1_and_says_where_to_go() {
    for words in [&[][..], &["serve", "--listen", "127.0.0.1:0"], &["--help"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_kettle-init"))
            .args(words)
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(2),
            "{words:?}: {}",
            text(&output)
        );
        assert!(
            text(&output).contains("PID 1") && text(&output).contains("kettle-host serve"),
            "{}",
            text(&output)
        );
        assert!(!text(&output).contains("listening"));
    }
}

#[test]
fn without_a_toolchain_it_does_not_start_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let work = directory.path().join("work");
    let words = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--tls-listen",
        "127.0.0.1:0",
        "--work",
        work.to_str().unwrap(),
    ];
    let output = kettle_host(&words)
        .env("PATH", directory.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("rustc"), "{}", text(&output));
    assert!(!text(&output).contains("listening"));
}
