//! Disks of a dishonest host. A machine that reads a byte that was not measured ends, and serves
//! nothing of it.

use crate::client::Port;
use crate::image::{Disk, Image};
use crate::machine::{Host, Machine};

/// The offset of a byte of the root file system's superblock, which every mount reads.
pub const READ_AT_MOUNT: u64 = 1030;
/// A file that only a linker reads: no digest of the toolchain covers it, and no program of the
/// service needs it.
pub const READ_BY_BUILDS_ONLY: &str = "/usr/lib/x86_64-linux-gnu/libc_nonshared.a";
/// The kernel's message when a block is not the measured one.
pub const CORRUPTED: &str = "Kernel panic - not syncing: dm-verity device corrupted";
/// PID 1's message when no disk is the measured one.
pub const NO_ROOT_DISK: &str = "block devices carries the root hash";

/// Asserts that the machine ends by itself, says why, and has never served.
fn assert_never_serves(image: &Image, disks: Vec<Disk>, reason: &str) {
    let console = Machine::start(image, &Host::with_disks(disks)).wait_for_its_end();
    assert!(console.contains(reason), "{reason}: {console}");
    assert!(!console.contains("listening"), "{console}");
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_flipped_bit_that_the_mount_reads_ends_the_machine() {
    let image = Image::from_environment();
    assert_never_serves(
        &image,
        vec![Disk::copy_of(&image).with_flipped_bit(READ_AT_MOUNT)],
        CORRUPTED,
    );
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_wrong_root_hash_ends_the_machine() {
    let image = Image::from_environment().with_other_root_hash();
    assert_never_serves(
        &image,
        vec![Disk::of(&image)],
        &format!("none of the 1 {NO_ROOT_DISK}"),
    );
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_missing_disk_ends_the_machine() {
    assert_never_serves(
        &Image::from_environment(),
        vec![],
        &format!("none of the 0 {NO_ROOT_DISK}"),
    );
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_disk_without_the_tree_ends_the_machine() {
    let image = Image::from_environment();
    let disk = Disk::copy_of(&image).cut(image.data_bytes());
    assert_never_serves(&image, vec![disk], &format!("none of the 1 {NO_ROOT_DISK}"));
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_disk_whose_tree_is_cut_off_below_its_top_ends_the_machine() {
    let image = Image::from_environment();
    let disk = Disk::copy_of(&image).cut(image.top_of_tree() + 8 * 4096);
    assert_never_serves(&image, vec![disk], "halting: dm-verity: device mapper: ");
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_command_line_without_our_words_ends_the_machine() {
    let image = Image::from_environment().without_our_words();
    assert_never_serves(
        &image,
        vec![Disk::of(&image)],
        "halting: command line: kettle.",
    );
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_bit_that_the_host_flips_while_the_machine_runs_ends_it_when_a_build_reads_it() {
    let image = Image::from_environment();
    let host = Host::with_disks(vec![Disk::copy_of(&image)]);
    let machine = Machine::serving(&image, &host);
    host.disks[0].flip(image.place_of(READ_BY_BUILDS_ONLY));
    let outcome = machine.build_hello(Port::Tls);
    assert!(
        outcome.lines.iter().any(|line| line.contains("Compiling")),
        "the build began: {:?}",
        outcome.lines
    );
    assert!(outcome.result.is_null(), "{}", outcome.result);
    let answer = machine.get(Port::Tls, &format!("/build/{}/result", outcome.job));
    assert_eq!(answer.status, 0, "{}", answer.text());
    let console = machine.wait_for_its_end();
    assert!(console.contains(CORRUPTED), "{console}");
}
