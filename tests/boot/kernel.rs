//! What the running kernel has and has not, as a program in the machine finds it: `image/kernel/config` is what was asked for, this is
//! what came of it. Outside the sandbox the program is the machine's first, with all rights; inside, it is a build script.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::client::{Door, Source};
use crate::image::Image;
use crate::machine::{Host, Machine};
use crate::support::package;

const PROBE: &str = include_str!("guest/probe.rs");
/// What is there, so that the probe cannot find everything absent because it asks in a wrong way.
const PRESENT: &[(&str, &str)] =
    &[("getpid", "success"), ("membarrier", "success"), ("/proc/self/status", "present"), ("/dev/null", "present")];
/// Of errno(3): the call is not there; the filter of the sandbox refuses it by name.
const NOT_THERE: &str = "error 38";
const REFUSED: &str = "error 1";
/// An interrupt that has no entry, and a page that is not mapped: SIGSEGV. A filter that refuses a call kills with SIGSYS.
const NO_ENTRY: &str = "signal 11";

type Facts<'a> = BTreeMap<&'a str, &'a str>;

/// The facts in some output, and what the log said, a line each.
fn facts<'a>(lines: impl Iterator<Item = &'a str>) -> (Facts<'a>, Vec<&'a str>) {
    let told = lines.filter_map(|line| line.split_once("FACT: ")?.1.split_once(": "));
    let (log, facts): (Vec<_>, Vec<_>) = told.partition(|(key, _)| *key == "log");
    (facts.into_iter().collect(), log.into_iter().map(|(_, line)| line).collect())
}

/// Splits off what has to be there, and asserts the rest absent; `call` is how an absent call may answer.
fn assert_absent(facts: &Facts, call: &[&str]) {
    for (name, value) in PRESENT {
        assert_eq!(facts.get(name), Some(value), "{name}: {facts:?}");
    }
    let asked = facts.iter().filter(|(name, _)| PRESENT.iter().all(|(present, _)| present != *name));
    let mut count = 0;
    for (name, value) in asked {
        match *name {
            "end" => continue,
            "int 0x80" | "vsyscall" => assert_eq!(*value, NO_ENTRY, "{name}"),
            file if file.starts_with('/') => assert_eq!(*value, "absent", "{name}"),
            _ => assert!(call.contains(value), "{name} answers {value}"),
        }
        count += 1;
    }
    assert!(count > 50, "too little was asked: {facts:?}");
}

/// What is appended to an initrd, so that the probe is the machine's first program.
fn probe_as_first_program(folder: &Path) -> std::path::PathBuf {
    fs::write(folder.join("probe.rs"), PROBE).unwrap();
    let options = ["--edition", "2024", "-C", "target-feature=+crt-static", "-o", "init", "probe.rs"];
    let compiled = Command::new("rustc").args(options).current_dir(folder).output().unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let pack = "echo init | cpio --quiet --create --format=newc >segment";
    let packed = Command::new("bash").args(["-o", "pipefail", "-c", pack]).current_dir(folder).status().unwrap();
    assert!(packed.success());
    folder.join("segment")
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn what_was_left_out_of_the_kernel_is_absent_even_for_the_first_program() {
    let (image, folder) = (Image::from_environment(), TempDir::new().unwrap());
    let segment = Some(probe_as_first_program(folder.path()));
    let console = Machine::start(&image, &Host { segment, ..Host::with_disks(vec![]) }).wait_for_its_end();
    let (facts, log) = facts(console.lines());
    assert!(facts.contains_key("end"), "{console}");
    assert_absent(&facts, &[NOT_THERE]);

    let said = |words: &str| assert!(log.iter().any(|line| line.contains(words)), "{words}: {log:?}");
    said("mem auto-init: stack:all(zero), heap alloc:on, heap free:on");
    said("Kernel is locked down from Kernel configuration");
    said("ACPI: Disabled from here on");
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn what_was_left_out_of_the_kernel_is_absent_in_a_build() {
    let image = Image::from_environment();
    let machine = Machine::serving(&image, &Host::honest(&image));
    let archive = package(&[("src/main.rs", "fn main() {}\n"), ("build.rs", PROBE)]);
    let outcome = machine.build(Door::Clear, &Source::Archive { bytes: &archive, name: "package.tar" });
    outcome.assert_succeeded();
    let (facts, _) = facts(outcome.lines.iter().map(String::as_str));
    assert_absent(&facts, &[NOT_THERE, REFUSED]);
}
