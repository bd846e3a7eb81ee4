//! Does the built image boot, build, and halt when it should? Under QEMU's software emulation, from the files of the folder
//! in `KETTLE_IMAGE`: `kernel`, `initrd`, `cmdline`, `root.img`. `scripts/test` runs these when there are both, and says so
//! when not; by hand: `KETTLE_IMAGE=… cargo test --test boot -- --ignored --test-threads 1`.

#![allow(clippy::unwrap_used)] // A test of a machine: what cannot be read fails it.

mod machine;

use machine::{Image, Machine};

/// Of the image: a byte of the root file system's superblock.
const READ_AT_MOUNT: u64 = 1030;

#[test]
#[ignore = "needs QEMU and a built image"]
fn boots_builds_once_and_shows_nothing_of_it_on_the_console() {
    let machine = Machine::start(&Image::from_environment(), true);
    machine.wait_until_it_serves();
    assert_eq!(machine.post_hello(true).0, 200, "over TLS");
    assert_eq!(machine.post_hello(false).0, 409, "the second build");
    let console = machine.console();
    assert!(console.contains("listening on https://"), "{console}");
    assert!(!console.contains("Compiling"), "{console}");
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_flipped_byte_on_the_root_disk_ends_the_machine() {
    let image = Image::from_environment().with_flipped_byte(READ_AT_MOUNT);
    let console = Machine::start(&image, true).wait_for_its_end();
    assert!(console.contains("Kernel panic - not syncing: dm-verity device corrupted"), "{console}");
    assert!(!console.contains("listening"), "{console}");
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_wrong_root_hash_ends_the_machine() {
    let image = Image::from_environment().with_other_root_hash();
    let console = Machine::start(&image, true).wait_for_its_end();
    assert!(console.contains("carries the root hash") && !console.contains("listening"), "{console}");
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_missing_disk_ends_the_machine() {
    let console = Machine::start(&Image::from_environment(), false).wait_for_its_end();
    assert!(console.contains("none of the 0 block devices carries the root hash"), "{console}");
    assert!(!console.contains("listening"), "{console}");
}
