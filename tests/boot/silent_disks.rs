//! A disk that does not reply. Nobody can force the host to; but the machine serves nothing of what
//! it could not read, the service itself needs no disk, and a late reply is verified like any
//! other.

use std::sync::mpsc::{Receiver, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::builds::artifacts_of_an_honest_host;
use crate::client::{Port, Source};
use crate::disks::{CORRUPTED, READ_AT_MOUNT, READ_BY_BUILDS_ONLY};
use crate::image::{Disk, Image};
use crate::machine::{Host, Machine};
use crate::served_disk::{ReadReply, ServedDisk};
use crate::support::{Bundle, project};

/// The time from power, or a submission, to a read.
const READ_LIMIT: Duration = Duration::from_secs(120);
/// How long a machine without its disk is watched.
const SILENT_SPAN: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

impl ServedDisk {
    /// Makes the disk silent from the first read of this byte on; the receiver learns when that
    /// came.
    pub fn fall_silent_at(&self, place: u64) -> Receiver<()> {
        let (asked, seen) = channel();
        let mut silent = false;
        self.decide(Box::new(move |at, length| {
            silent |= (at..at + length).contains(&place);
            if silent {
                // The test may have stopped waiting for it.
                let _ = asked.send(());
                ReadReply::Silence
            } else {
                ReadReply::Honest
            }
        }));
        seen
    }

    /// Makes the disk honest again except for one bit.
    fn flip_from_now_on(&self, place: u64) {
        self.decide(Box::new(move |at, length| {
            if (at..at + length).contains(&place) {
                ReadReply::Flipped(place)
            } else {
                ReadReply::Honest
            }
        }));
    }
}

/// Returns a machine that waits for this byte of its disk, and serves nothing.
fn waiting_at_boot(image: &Image, place: u64) -> (ServedDisk, Machine) {
    let disk = ServedDisk::start(image, Box::new(|_, _| ReadReply::Honest));
    let asked = disk.fall_silent_at(place);
    let mut machine = Machine::start(image, &Host::with_disks(vec![Disk::served(&disk)]));
    asked
        .recv_timeout(READ_LIMIT)
        .unwrap_or_else(|_| panic!("it was not read: {}", machine.console()));
    let start = Instant::now();
    while start.elapsed() < SILENT_SPAN {
        assert!(machine.is_on(), "{}", machine.console());
        assert_eq!(
            machine.get(Port::Plaintext, "/health").status,
            0,
            "{}",
            machine.console()
        );
        sleep(PAUSE);
    }
    (disk, machine)
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_disk_that_is_silent_when_it_is_mounted_serves_nothing_and_what_it_says_at_last_is_verified() {
    let image = Image::from_environment();
    let (disk, machine) = waiting_at_boot(&image, READ_AT_MOUNT);
    disk.flip_from_now_on(READ_AT_MOUNT);
    let console = machine.wait_for_its_end();
    assert!(console.contains(CORRUPTED), "{console}");
    assert!(!console.contains("listening"), "{console}");
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_disk_that_is_silent_when_it_is_looked_for_serves_nothing_until_it_has_answered() {
    let image = Image::from_environment();
    let (disk, machine) = waiting_at_boot(&image, image.top_of_tree());
    disk.decide(Box::new(|_, _| ReadReply::Honest));
    let start = Instant::now();
    while machine.get(Port::Plaintext, "/health").body != b"ok" {
        assert!(start.elapsed() < READ_LIMIT, "{}", machine.console());
        sleep(PAUSE);
    }
}

/// The whole disk is silent: no program can be started any more. The kernel does not read again
/// what is in memory already.
#[test]
#[ignore = "needs QEMU and a built image"]
fn a_disk_that_is_silent_in_a_build_holds_up_nothing_but_the_build() {
    let image = Image::from_environment();
    let (disk, machine) = ServedDisk::of_a_serving_machine(&image);
    let (asked, seen) = channel();
    disk.decide(Box::new(move |_, _| {
        let _ = asked.send(());
        ReadReply::Silence
    }));
    let archive = project("hello");
    let hello = Source::Archive {
        bytes: &archive,
        name: "hello.tar",
    };
    let job = machine.start_build(Port::Tls, &hello);
    seen.recv_timeout(READ_LIMIT).unwrap();
    let start = Instant::now();
    while start.elapsed() < SILENT_SPAN {
        machine.assert_healthy(Port::Tls);
        assert_eq!(
            machine.get(Port::Tls, &format!("/build/{job}")).json()["state"],
            "running"
        );
        machine.assert_no_result(&job);
        assert_eq!(machine.submit(Port::Tls, &hello).status, 409);
        sleep(PAUSE);
    }
    disk.flip_from_now_on(image.place_of(READ_BY_BUILDS_ONLY));
    let events = machine.follow(Port::Tls, &job);
    assert!(
        !events.iter().any(|event| event["type"] == "complete"),
        "{events:?}"
    );
    let console = machine.wait_for_its_end();
    assert!(console.contains(CORRUPTED), "{console}");
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_disk_that_is_silent_for_a_while_in_a_build_changes_nothing_of_its_artifact() {
    let image = Image::from_environment();
    let (disk, machine) = ServedDisk::of_a_serving_machine(&image);
    let asked = disk.fall_silent_at(image.place_of(READ_BY_BUILDS_ONLY));
    let job = machine.start_build(
        Port::Tls,
        &Source::Archive {
            bytes: &project("hello"),
            name: "hello.tar",
        },
    );
    asked.recv_timeout(READ_LIMIT).unwrap();
    sleep(SILENT_SPAN);
    machine.assert_no_result(&job);
    disk.decide(Box::new(|_, _| ReadReply::Honest));
    let events = machine.follow(Port::Tls, &job);
    assert_eq!(
        events.last().unwrap()["result"]["status"],
        "ok",
        "{events:?}"
    );
    let bundle = Bundle::read(&machine.bundle(Port::Tls, &job), 0);
    assert!(
        bundle.artifacts() == artifacts_of_an_honest_host(),
        "the artifacts differ"
    );
}
