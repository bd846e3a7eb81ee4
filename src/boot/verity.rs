//! Finds the root disk, and has the kernel verify it.
//!
//! * In: the root hash of the measured command line, and disks that belong to the host.
//! * Out: a device of which the kernel verifies every block when it reads it.
//! * Never: a disk that is chosen by name or order, or a byte of it that is interpreted before it
//!   is verified; salt, sizes and offsets come from the command line, and no superblock is read.
//!
//! The tree is dm-verity's version 1: SHA-256 over salt and block, blocks of 4096 bytes. It begins
//! one block after the data, with its topmost block, whose hash is the root hash: one read
//! distinguishes our disk from others. That read only chooses; the kernel verifies this block
//! again, like all others.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::command_line::BLOCK_BYTES;
use super::device_mapper::{self, Target};
use super::error::file;
use super::settings::HardenedKernel;
use super::{BootError, Parameters};

const BLOCK_DEVICES: &str = "/sys/class/block";
const SECTORS_PER_BLOCK: u64 = BLOCK_BYTES / 512;
/// The number of blocks between the data and the tree, where other formats have a superblock.
const GAP_BLOCKS: u64 = 1;
/// How long to look for the disk: some drivers find their disks some time after they were loaded.
const DISK_LIMIT: Duration = Duration::from_secs(10);
const DISK_PAUSE: Duration = Duration::from_millis(10);
/// The name of the verified device.
const NAME: &str = "kettle-root";

/// The disk with the root hash: the receipt of [`find_disk`]. Nothing else on it is verified.
#[derive(Debug)]
pub(super) struct Disk(PathBuf);

/// A device of which the kernel verifies every block that is read: the receipt of [`set_up`].
#[derive(Debug)]
pub(super) struct VerifiedDevice(PathBuf);

impl VerifiedDevice {
    /// Returns the path of the device.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Phase: finds the first disk with the root hash among all disks.
pub(super) fn find_disk(_: &HardenedKernel, parameters: &Parameters) -> Result<Disk, BootError> {
    let deadline = Instant::now() + DISK_LIMIT;
    loop {
        let devices = block_devices().map_err(file(BLOCK_DEVICES))?;
        let is_ours = |path: &&PathBuf| carries_root_hash(path, parameters);
        if let Some(path) = devices.iter().find(is_ours) {
            return Ok(Disk(path.clone()));
        }
        if Instant::now() >= deadline {
            let expected = hex::encode(parameters.root_hash);
            return Err(BootError::NoRootDisk {
                looked_at: devices.len(),
                expected,
            });
        }
        thread::sleep(DISK_PAUSE);
    }
}

/// Phase: creates a device of which the kernel verifies every block.
pub(super) fn set_up(disk: Disk, parameters: &Parameters) -> Result<VerifiedDevice, BootError> {
    let target = target(&disk.0, parameters);
    device_mapper::create(NAME, &target).map(VerifiedDevice)
}

fn block_devices() -> std::io::Result<Vec<PathBuf>> {
    fs::read_dir(BLOCK_DEVICES)?
        .map(|entry| Ok(Path::new("/dev").join(entry?.file_name())))
        .collect()
}

/// Returns whether a disk has the root hash. One that cannot be read, or is too short, is not ours.
fn carries_root_hash(path: &Path, parameters: &Parameters) -> bool {
    let mut top = [0; BLOCK_BYTES as usize];
    let offset = (parameters.root_blocks + GAP_BLOCKS) * BLOCK_BYTES;
    let read = File::open(path).and_then(|disk| disk.read_exact_at(&mut top, offset));
    read.is_ok() && is_top(&top, parameters)
}

fn is_top(block: &[u8], parameters: &Parameters) -> bool {
    let digest = Sha256::new()
        .chain_update(parameters.root_salt)
        .chain_update(block)
        .finalize();
    *digest == parameters.root_hash
}

/// Returns the target, as the kernel's documentation (admin-guide/device-mapper/verity) describes
/// it.
///
/// `panic_on_corruption`: by default, a block that does not verify is an error for the process that
/// reads it, and the machine continues to serve without it; `restart_on_corruption` would restart
/// without a message. A panic prints one, and with `panic=-1`, which the command line must have, it
/// ends the machine.
///
/// `panic_on_error`: the same for a block that cannot be read. By refusing some blocks, a host
/// could remove files from the toolchain; a tool that looks for one at several paths would continue
/// with another one, or without, and nothing would record that.
fn target(disk: &Path, parameters: &Parameters) -> Target {
    let blocks = parameters.root_blocks;
    Target {
        sectors: blocks * SECTORS_PER_BLOCK,
        kind: "verity",
        parameters: format!(
            "1 {disk} {disk} {BLOCK_BYTES} {BLOCK_BYTES} {blocks} {tree} sha256 {hash} {salt} 2 panic_on_corruption panic_on_error",
            disk = disk.display(),
            tree = blocks + GAP_BLOCKS,
            hash = hex::encode(parameters.root_hash),
            salt = hex::encode(parameters.root_salt),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn parameters(block: &[u8]) -> Parameters {
        Parameters {
            root_hash: Sha256::new()
                .chain_update([7; 32])
                .chain_update(block)
                .finalize()
                .into(),
            root_salt: [7; 32],
            root_blocks: 2,
            kernel: [0; 32],
            initrd: [0; 32],
            version: None,
            acpi: false,
            command_line: String::new(),
        }
    }

    #[test]
    fn a_disk_is_known_by_the_block_above_its_tree_and_by_nothing_else() {
        let top = [5; 4096];
        let parameters = parameters(&top);
        let disk = |content: &[u8]| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(content).unwrap();
            file
        };
        let mut content = vec![0; 4 * 4096];
        content[3 * 4096..].copy_from_slice(&top);
        assert!(carries_root_hash(disk(&content).path(), &parameters));
        content[3 * 4096 + 9] ^= 1;
        assert!(
            !carries_root_hash(disk(&content).path(), &parameters),
            "another byte"
        );
        assert!(
            !carries_root_hash(disk(&content[..4 * 4096 - 1]).path(), &parameters),
            "too short"
        );
        assert!(!carries_root_hash(disk(&[]).path(), &parameters), "empty");
        assert!(!carries_root_hash(Path::new("/nonexistent"), &parameters));
    }

    #[test]
    fn a_block_that_is_altered_or_unreadable_is_the_end_of_the_machine() {
        let target = target(Path::new("/dev/vda"), &parameters(&[]));
        assert_eq!((target.sectors, target.kind), (16, "verity"));
        let words: Vec<_> = target.parameters.split(' ').collect();
        assert_eq!(
            words[..8],
            [
                "1", "/dev/vda", "/dev/vda", "4096", "4096", "2", "3", "sha256"
            ]
        );
        assert_eq!(
            words[9..],
            [
                &*"07".repeat(32),
                "2",
                "panic_on_corruption",
                "panic_on_error"
            ]
        );
    }
}
