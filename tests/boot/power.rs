//! A host that gives too little memory, or cuts the power in a build.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::client::{Port, Source};
use crate::image::{Disk, Image};
use crate::machine::{Firmware, Host, Machine};
use crate::support::{Bundle, package, project, sha256};

/// Memory with which the image starts, and with which it does not, in MiB, where firmware allows
/// it: ours accepts no machine with less than 256. The limit between the two may change with a
/// kernel.
const ENOUGH_TO_SERVE_MIB: u32 = 96;
const TOO_LITTLE_MIB: u32 = 44;
/// The time from a submission to a running build script.
const BUILD_BEGINS_LIMIT: Duration = Duration::from_secs(120);
/// How long a build without memory is watched.
const STARVED_SPAN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

fn with_memory(image: &Image, memory_mib: u32) -> Host {
    Host {
        firmware: Firmware::SeaBios,
        memory_mib,
        ..Host::honest(image)
    }
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn with_too_little_memory_to_start_the_machine_ends() {
    let image = Image::from_environment();
    let console = Machine::start(&image, &with_memory(&image, TOO_LITTLE_MIB)).wait_for_its_end();
    assert!(console.contains("Kernel panic"), "{console}");
    assert!(!console.contains("listening"), "{console}");
}

/// No build ends with that little memory: it ends at its time limit. Everything else works.
#[test]
#[ignore = "needs QEMU and a built image"]
fn with_hardly_any_memory_the_machine_serves_during_a_build_too() {
    let image = Image::from_environment();
    let machine = Machine::serving(&image, &with_memory(&image, ENOUGH_TO_SERVE_MIB));
    let job = machine.start_build(
        Port::Tls,
        &Source::Archive {
            bytes: &project("hello"),
            name: "hello.tar",
        },
    );
    let start = Instant::now();
    while start.elapsed() < STARVED_SPAN {
        machine.assert_healthy(Port::Tls);
        sleep(PAUSE);
    }
    machine.assert_no_result(&job);
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_machine_whose_power_was_cut_in_a_build_leaves_nothing_for_the_next() {
    let image = Image::from_environment();
    let host = Host::with_disks(vec![Disk::copy_of(&image).writable()]);
    let machine = Machine::serving(&image, &host);
    let archive = endless_build();
    let job = machine.start_build(
        Port::Tls,
        &Source::Archive {
            bytes: &archive,
            name: "package.tar",
        },
    );
    wait_for_a_running_build(&machine, &job);
    // The machine is killed: nothing in it is notified.
    drop(machine);
    assert_eq!(
        sha256(&fs::read(&host.disks[0].path).unwrap()),
        sha256(&fs::read(image.file("root.img")).unwrap())
    );

    let next = Machine::serving(&image, &host);
    for path in [
        format!("/build/{job}"),
        format!("/build/{job}/events"),
        format!("/build/{job}/result"),
    ] {
        assert_eq!(next.get(Port::Tls, &path).status, 404, "{path}");
    }
    let outcome = next.build_hello(Port::Tls);
    outcome.assert_succeeded();
    Bundle::read(&next.bundle(Port::Tls, &outcome.job), 0).assert_described();
}

/// Returns a package whose build says that it runs, and does not end.
pub fn endless_build() -> Vec<u8> {
    let endless = "fn main() {\n    println!(\"cargo::warning=it runs\");\n    loop {}\n}\n";
    package(&[("src/main.rs", "fn main() {}\n"), ("build.rs", endless)])
}

/// Waits for the first line of output of a build, which shows that it runs.
pub fn wait_for_a_running_build(machine: &Machine, job: &str) {
    let start = Instant::now();
    loop {
        let document = machine.get(Port::Tls, &format!("/build/{job}")).json();
        assert_eq!(document["state"], "running", "{document}");
        if document["phase"] == "build" {
            return;
        }
        assert!(start.elapsed() < BUILD_BEGINS_LIMIT, "{document}");
        sleep(PAUSE);
    }
}
