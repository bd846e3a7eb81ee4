//! Disks that are right when the machine starts and different later. A block that a build cannot
//! read as it was measured ends the machine: a file that a tool does not find is also a change of
//! the toolchain.

use crate::client::{Port, Source};
use crate::disks::{CORRUPTED, READ_BY_BUILDS_ONLY};
use crate::image::{Disk, Image};
use crate::machine::{Host, Machine};
use crate::served_disk::{ReadReply, ServedDisk};
use crate::support::project;

/// The kernel's message when it cannot read a block.
const UNREADABLE: &str = "Kernel panic - not syncing: dm-verity device has I/O error";

/// The build ends only with the machine, possibly before the client hears that the build was
/// accepted.
fn assert_a_build_ends_the_machine(machine: Machine, reason: &str) {
    let answer = machine.submit(
        Port::Tls,
        &Source::Archive {
            bytes: &project("hello"),
            name: "hello.tar",
        },
    );
    if answer.status != 0 {
        assert_eq!(answer.status, 202, "{}", answer.text());
        let job = answer.json()["job_id"].as_str().unwrap().to_owned();
        let events = machine.follow(Port::Tls, &job);
        assert!(
            !events.iter().any(|event| event["type"] == "complete"),
            "{events:?}"
        );
        let answer = machine.get(Port::Tls, &format!("/build/{job}/result"));
        assert_eq!(answer.status, 0, "{}", answer.text());
    }
    let console = machine.wait_for_its_end();
    assert!(console.contains(reason), "{console}");
}

fn reads(at: u64, length: u64, place: u64) -> bool {
    (at..at + length).contains(&place)
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_block_that_cannot_be_read_when_a_build_needs_it_ends_the_machine() {
    let image = Image::from_environment();
    let (disk, machine) = ServedDisk::of_a_serving_machine(&image);
    let place = image.place_of(READ_BY_BUILDS_ONLY);
    disk.decide(Box::new(move |at, length| {
        if reads(at, length, place) {
            ReadReply::Error
        } else {
            ReadReply::Honest
        }
    }));
    assert_a_build_ends_the_machine(machine, UNREADABLE);
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_disk_that_is_gone_when_a_build_begins_ends_the_machine() {
    let image = Image::from_environment();
    let (disk, machine) = ServedDisk::of_a_serving_machine(&image);
    disk.decide(Box::new(|_, _| ReadReply::Gone));
    assert_a_build_ends_the_machine(machine, UNREADABLE);
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_disk_that_shrinks_while_the_machine_runs_ends_it_when_a_build_reads_it() {
    let image = Image::from_environment();
    let disk = Disk::copy_of(&image);
    let place = image.place_of(READ_BY_BUILDS_ONLY);
    let host = Host::with_disks(vec![disk]);
    let machine = Machine::serving(&image, &host);
    host.disks[0].cut_at(place);
    assert_a_build_ends_the_machine(machine, CORRUPTED);
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_disk_that_shows_pid_1_the_right_top_and_the_kernel_another_ends_the_machine() {
    let image = Image::from_environment();
    let top = image.top_of_tree();
    let mut shown = false;
    let disk = ServedDisk::start(
        &image,
        Box::new(move |at, length| match (reads(at, length, top), shown) {
            (false, _) => ReadReply::Honest,
            (true, false) => {
                shown = true;
                ReadReply::Honest
            }
            (true, true) => ReadReply::Flipped(top),
        }),
    );
    let console =
        Machine::start(&image, &Host::with_disks(vec![Disk::served(&disk)])).wait_for_its_end();
    assert!(
        console.contains("kettle: root disk: "),
        "PID 1 chose it: {console}"
    );
    assert!(console.contains(CORRUPTED), "{console}");
    assert!(!console.contains("listening"), "{console}");
}
