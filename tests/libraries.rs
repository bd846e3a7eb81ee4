//! How does the image build check packages of several suites in one root?
//! `scripts/image/libraries.sh` looks for libraries that a program would not find, and
//! `scripts/image/symbols.sh` links a program to another version of a library. The root is built
//! here.

#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

const LIBRARIES: &str = "root/usr/lib/x86_64-linux-gnu";
const LIBRARY: &str = "root/usr/lib/x86_64-linux-gnu/libanswer.so.1";
const PROGRAM: &str = "root/usr/bin/program";

/// The version scripts of `libanswer.so.1`: two versions, the newer of which inherits from the
/// older, or the older alone.
const BOTH: &str =
    "ANSWER_1 { global: nothing; local: *; }; ANSWER_2 { global: answer; } ANSWER_1;";
const OLDER: &str = "ANSWER_1 { global: answer; local: *; };";
const OLDER_WITHOUT: &str = "ANSWER_1 { global: nothing; local: *; };";

/// A root with a program that needs `answer` of version `ANSWER_2`, a copy of the scripts, and a
/// list of symbols.
struct Root {
    directory: TempDir,
}

impl Root {
    fn new() -> Self {
        let root = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        for name in [LIBRARIES, "root/usr/bin", "image"] {
            fs::create_dir_all(root.path(name)).unwrap();
        }
        root.library(BOTH, 1);
        root.write(
            "program.c",
            "int answer(void); int main(void) { return answer(); }",
        );
        root.cc(&["-s", "-o", PROGRAM, "program.c", LIBRARY]);
        for name in ["libc.so.6", "ld-linux-x86-64.so.2"] {
            fs::copy(
                Path::new("/lib/x86_64-linux-gnu").join(name),
                root.path(LIBRARIES).join(name),
            )
            .unwrap();
        }
        // A root with fewer files counts as incomplete.
        for number in 0..100 {
            fs::copy(
                root.path(LIBRARY),
                root.path(LIBRARIES).join(format!("libmore{number}.so")),
            )
            .unwrap();
        }
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
        assert!(
            Command::new("cp")
                .arg("-r")
                .args([scripts, root.path("scripts")])
                .status()
                .unwrap()
                .success()
        );
        root
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn cc(&self, arguments: &[&str]) {
        let output = Command::new("cc")
            .args(arguments)
            .current_dir(self.directory.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }

    /// Replaces the library.
    fn library(&self, versions: &str, answer: i32) {
        self.write("versions", versions);
        self.write(
            "library.c",
            &format!("int answer(void) {{ return {answer}; }} void nothing(void) {{}}"),
        );
        let link = [
            "-shared",
            "-fPIC",
            "-Wl,-soname,libanswer.so.1",
            "-Wl,--version-script,versions",
        ];
        self.cc(&[&link[..], &["-o", LIBRARY, "library.c"]].concat());
    }

    /// Runs a function of the scripts on the root.
    fn call(&self, function: &str) -> Output {
        let script = "cd scripts; source ./lib.sh; for f in lib libraries symbols; do source ./image/$f.sh; done; \"$1\" ../root";
        Command::new("bash")
            .args(["-c", script, "-", function])
            .current_dir(self.directory.path())
            .output()
            .unwrap()
    }

    fn assert_complete(&self) {
        let output = self.call("check_libraries");
        assert!(output.status.success(), "{}", said(&output));
    }

    fn assert_incomplete(&self, says: &str) {
        let output = self.call("check_libraries");
        assert!(!output.status.success(), "nothing was missed");
        assert!(
            said(&output).lines().any(|line| line == says),
            "{}",
            said(&output)
        );
    }

    /// Returns the program's exit status with the library of the root.
    fn answer(&self) -> Option<i32> {
        let library = self.path("alone");
        fs::create_dir_all(&library).unwrap();
        fs::copy(self.path(LIBRARY), library.join("libanswer.so.1")).unwrap();
        Command::new(self.path(PROGRAM))
            .env("LD_LIBRARY_PATH", library)
            .output()
            .unwrap()
            .status
            .code()
    }
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn a_missing_library_is_named_with_who_needs_it() {
    let root = Root::new();
    root.assert_complete();
    fs::remove_file(root.path(LIBRARY)).unwrap();
    root.assert_incomplete("usr/bin/program needs libanswer.so.1");
}

#[test]
fn a_link_that_leads_nowhere_is_no_library() {
    let root = Root::new();
    fs::rename(root.path(LIBRARY), root.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink("libanswer.so.1.0", root.path(LIBRARY)).unwrap();
    root.assert_incomplete("usr/bin/program needs libanswer.so.1");
}

#[test]
fn a_version_that_the_library_lacks_is_named() {
    let root = Root::new();
    root.library(OLDER, 1);
    root.assert_incomplete("usr/bin/program needs ANSWER_2 of libanswer.so.1");
}

#[test]
fn a_directory_without_programs_is_no_complete_root() {
    let root = Root::new();
    fs::remove_dir_all(root.path("root/usr")).unwrap();
    fs::create_dir_all(root.path(LIBRARIES)).unwrap();
    root.assert_incomplete("only 0 programs and libraries: is this a root?");
}

#[test]
fn a_renamed_version_links_the_program_to_the_other_library() {
    let root = Root::new();
    root.library(OLDER, 42);
    assert_ne!(root.answer(), Some(42));
    root.write(
        "image/symbols",
        "usr/bin/program libanswer.so.1 ANSWER_2 ANSWER_1   a reason\n",
    );
    let output = root.call("rename_versions");
    assert!(output.status.success(), "{}", said(&output));
    root.assert_complete();
    assert_eq!(root.answer(), Some(42));
    let again = root.call("rename_versions");
    assert!(
        !again.status.success() && said(&again).contains("has ANSWER_2 0 times"),
        "{}",
        said(&again)
    );
}

#[test]
fn a_version_without_what_the_program_calls_is_refused() {
    let root = Root::new();
    root.library(OLDER_WITHOUT, 42);
    root.write(
        "image/symbols",
        "usr/bin/program libanswer.so.1 ANSWER_2 ANSWER_1\n",
    );
    let output = root.call("rename_versions");
    assert!(!output.status.success());
    assert!(
        said(&output).contains("asks libanswer.so.1 for what it lacks: answer"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_change_that_does_not_fit_is_refused() {
    for (line, says) in [
        (
            "usr/bin/program libanswer.so.1 ANSWER_2 ANSWER_10",
            "are not of the same length",
        ),
        (
            "usr/bin/program libanswer.so.1 ANSWER_3 ANSWER_1",
            "has ANSWER_3 0 times",
        ),
        (
            "usr/bin/program libc.so.6 ANSWER_2 ANSWER_1",
            "does not ask for ANSWER_2 of libc.so.6",
        ),
    ] {
        let root = Root::new();
        root.write("image/symbols", &format!("{line}\n"));
        let output = root.call("rename_versions");
        assert!(!output.status.success(), "{line}");
        assert!(said(&output).contains(says), "{}", said(&output));
    }
}
