//! The gate on packages with known faults, `scripts/advisories`: what it lets pass, and what it
//! names.

#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A day on which every exception of the list still holds.
const TODAY: &str = "2026-12-01";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A lock and a list that a test may change.
struct Gate {
    directory: TempDir,
}

impl Gate {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::copy(
            root().join("image/packages.lock"),
            directory.path().join("lock"),
        )
        .unwrap();
        fs::copy(
            root().join("image/advisories"),
            directory.path().join("list"),
        )
        .unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Changes the lines that begin with `start`; there has to be at least one.
    fn change(&self, name: &str, start: &str, change: impl Fn(&str) -> String) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(
            text.lines().any(|line| line.starts_with(start)),
            "{name} has no line that begins with {start:?}"
        );
        let lines = text.lines().map(|line| {
            if line.starts_with(start) {
                change(line)
            } else {
                line.to_owned()
            }
        });
        fs::write(self.path(name), lines.collect::<Vec<_>>().join("\n") + "\n").unwrap();
    }

    fn add(&self, line: &str) {
        let text = fs::read_to_string(self.path("list")).unwrap();
        fs::write(self.path("list"), format!("{text}{line}\n")).unwrap();
    }

    /// Returns whether the gate passes on this day, and what it prints.
    fn on(&self, today: &str) -> (bool, String) {
        let program = root().join("scripts/advisories");
        let (lock, list) = (self.path("lock"), self.path("list"));
        let files = [Path::new("--lock"), &lock, Path::new("--list"), &list];
        let output = Command::new(program)
            .args(files)
            .args(["--today", today])
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap(),
        )
    }

    /// Asserts that the gate fails, and that a line of its output contains these words.
    fn assert_names(&self, parts: &[&str]) {
        let (passes, said) = self.on(TODAY);
        assert!(!passes, "the gate let it pass: {said}");
        assert!(
            said.lines()
                .any(|line| parts.iter().all(|part| line.contains(part))),
            "{parts:?} is not in: {said}"
        );
    }
}

/// Returns the rest of a locked package's line with another version.
fn with_version(line: &str, version: &str) -> String {
    let mut words: Vec<_> = line.split(' ').collect();
    words[3] = version;
    words.join(" ")
}

#[test]
fn the_lock_passes() {
    let (passes, said) = Gate::new().on(TODAY);
    assert!(passes, "{said}");
    assert_eq!(said, "");
}

#[test]
fn an_older_package_is_named_with_its_advisory() {
    let gate = Gate::new();
    gate.change("lock", "image trixie libcurl3t64-gnutls ", |line| {
        with_version(line, "8.14.1-2+deb13u6")
    });
    gate.assert_names(&[
        "CVE-2026-92392",
        "libcurl3t64-gnutls 8.14.1-2+deb13u6 is older than 8.14.1-2+deb13u7",
    ]);
}

#[test]
fn an_older_source_of_the_firmware_is_named_with_its_advisory() {
    let gate = Gate::new();
    gate.change("list", "edk2 release=2024.11 ", |line| {
        line.replace("2024.11", "2099.01")
    });
    gate.assert_names(&["CVE-2024-38796", "edk2 2026.05 is older than 2099.01"]);
}

#[test]
fn a_package_of_another_suite_needs_a_fixed_version_for_it() {
    let gate = Gate::new();
    gate.change("lock", "image forky nix-bin ", |line| {
        line.replace(" forky ", " trixie-backports ")
    });
    gate.assert_names(&["CVE-2026-44028", "nix-bin is of trixie-backports"]);
}

#[test]
fn updates_and_security_updates_are_compared_as_stable() {
    let gate = Gate::new();
    gate.change("lock", "image trixie libcurl3t64-gnutls ", |line| {
        line.replace(" trixie ", " trixie-security ")
    });
    assert_eq!(gate.on(TODAY), (true, String::new()));
}

#[test]
fn an_exception_holds_until_its_day_and_not_after_it() {
    let gate = Gate::new();
    gate.change("list", "except CVE-2026-50813 ", |_| {
        "except CVE-2026-50813 until 2026-12-01 not used".to_owned()
    });
    assert_eq!(gate.on("2026-12-01"), (true, String::new()));
    let (passes, said) = gate.on("2026-12-02");
    assert!(!passes);
    assert!(said.starts_with("CVE-2026-50813: libsqlite3-0 "), "{said}");
    assert!(said.contains("its exception ended on 2026-12-01"), "{said}");
}

#[test]
fn a_fault_without_a_fix_needs_an_exception_with_a_date_and_a_reason() {
    let gate = Gate::new();
    for exception in [
        "# none",
        "except CVE-2026-50813 until 2027-05-31",
        "except CVE-2026-50813 because of nothing",
    ] {
        gate.change("list", "except CVE-2026-50813 ", |_| exception.to_owned());
        gate.assert_names(&["CVE-2026-50813", "has no version that fixes it"]);
        gate.change("list", exception, |_| {
            "except CVE-2026-50813 until 2027-05-31 not used".to_owned()
        });
    }
}

#[test]
fn an_exception_that_excuses_nothing_is_named() {
    let gate = Gate::new();
    gate.add("except CVE-2026-92392 until 2027-05-31 it was needed once");
    gate.assert_names(&["CVE-2026-92392", "not needed any more"]);
}

#[test]
fn a_line_for_a_source_that_is_not_locked_is_named() {
    let gate = Gate::new();
    gate.add("busybox trixie=1:1.37.0-6 CVE-2022-48174");
    gate.assert_names(&["no package of busybox is in the lock"]);
}
