//! Builds that try to end the machine. The build ends; the machine stays, small and idle.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::builds::definition;
use crate::client::{Outcome, Port, Source};
use crate::image::Image;
use crate::machine::{Host, Machine};
use crate::support::{Bundle, package};

/// How long the machine may take to be idle after a build, and over what time that is measured.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
const IDLE_SPAN: Duration = Duration::from_secs(2);
/// The share of one processor below which a machine is idle: an idle one uses a hundredth, one with
/// a busy process all that it gets.
const IDLE_SHARE: f64 = 0.1;
/// The unit in which file systems in memory count.
const PAGE_BYTES: u64 = 4096;

/// Runs a build script on its own machine, and asserts that the machine works afterwards as before.
fn run(script: &str) -> (Machine, Outcome) {
    let image = Image::from_environment();
    // The memory of a small machine is soon full.
    let machine = Machine::serving(
        &image,
        &Host {
            memory_mib: 1536,
            ..Host::honest(&image)
        },
    );
    let archive = package(&[
        ("src/main.rs", "fn main() {}\n"),
        ("build.rs", script),
        ("attack.rs", include_str!("../attacks/templates/attack.rs")),
        ("host.txt", ""),
    ]);
    let hostile = Source::Archive {
        bytes: &archive,
        name: "package.tar",
    };
    let outcome = machine.build(Port::Tls, &hostile);
    machine.assert_healthy(Port::Plaintext);
    let job = machine.get(Port::Tls, &format!("/build/{}", outcome.job));
    let state = if outcome.result["status"] == "ok" {
        "succeeded"
    } else {
        "failed"
    };
    assert_eq!(
        (job.status, &job.json()["state"]),
        (200, &state.into()),
        "{}",
        job.text()
    );
    assert_eq!(
        job.json()["result"]["error_type"],
        outcome.result["error_type"]
    );
    assert_eq!(machine.submit(Port::Tls, &hostile).status, 409);
    wait_until_idle(&machine);
    (machine, outcome)
}

fn wait_until_idle(machine: &Machine) {
    let start = Instant::now();
    loop {
        let before = machine.processor_seconds();
        sleep(IDLE_SPAN);
        let share = (machine.processor_seconds() - before) / IDLE_SPAN.as_secs_f64();
        if share < IDLE_SHARE {
            return;
        }
        assert!(
            start.elapsed() < IDLE_LIMIT,
            "something uses {share} of a processor, and goes on"
        );
    }
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_build_that_takes_all_memory_ends_and_the_machine_does_not() {
    let (_, outcome) = run(include_str!("hostile/memory.rs"));
    outcome.assert_failed("OutOfMemory");
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_build_that_fills_its_own_directory_ends_and_the_machine_does_not() {
    let (_, outcome) = run(include_str!("hostile/directory.rs"));
    outcome.assert_failed("BuildFailed");
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_build_that_takes_all_it_can_get_finds_the_limits_and_leaves_nothing_running() {
    let (machine, outcome) = run(include_str!("hostile/greedy.rs"));
    outcome.assert_succeeded();
    let bundle = Bundle::read(&machine.bundle(Port::Tls, &outcome.job), 0);
    let limits = &definition(&bundle)["internalParameters"]["sandbox"]["limits"];
    let (tasks, tmp) = (
        limits["tasks"].as_u64().unwrap(),
        limits["tmpBytes"].as_u64().unwrap(),
    );
    let number = |key: &str| outcome.fact(key).parse::<u64>().unwrap();

    // The build has some tasks itself. A process that nobody collected would count in the group of
    // the limit.
    assert!(
        (tasks - 100..tasks).contains(&number("tasks")),
        "{} of {tasks} tasks",
        number("tasks")
    );
    assert!(
        number("orphans") > tasks,
        "{} orphans of {tasks} tasks",
        number("orphans")
    );
    assert_eq!(
        number("tmp"),
        tmp.next_multiple_of(PAGE_BYTES),
        "bytes in /tmp"
    );
    assert_eq!(outcome.fact("daemons"), "2");
    assert_eq!(number("processors"), 2, "all that the machine has");

    // The build is in its control group from its first process on, so it sees no other group.
    assert_eq!(outcome.fact("group"), "0::/");
    assert_mounts(&outcome.facts("mount"));
}

/// Asserts that the root is verified and read-only, and that everything writable is memory.
fn assert_mounts(mounts: &[&str]) {
    assert!(mounts.len() > 5, "{mounts:?}");
    let mut verified = 0;
    for mount in mounts {
        // proc(5): … ID PARENT DEVICE ROOT PLACE OPTIONS … - KIND SOURCE OPTIONS OF THE FILE SYSTEM
        let (of_mount, of_kind) = mount.split_once(" - ").unwrap();
        let kind: Vec<_> = of_kind.split(' ').collect();
        let options: Vec<_> = of_mount.split(' ').nth(5).unwrap().split(',').collect();
        let place = of_mount.split(' ').nth(4).unwrap();
        match kind[0] {
            "tmpfs" | "proc" | "devtmpfs" | "devpts" => {}
            // All of its layers are in memory.
            "overlay" => assert_eq!(place, "/kettle/source", "{mount}"),
            "erofs" => {
                assert!(
                    options.contains(&"ro") && kind[2].split(',').any(|it| it == "ro"),
                    "{mount}"
                );
                assert_eq!(kind[1], "/dev/dm-0", "{mount}");
                verified += 1;
            }
            _ => panic!("a file system of another kind: {mount}"),
        }
    }
    assert!(verified > 0, "{mounts:?}");
}
