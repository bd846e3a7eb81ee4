//! The root disk. Comes in: the root hash of the measured command line, and disks that belong to the host. Goes out: a
//! device on which the kernel verifies every block when it reads it. Never: a disk chosen by name or order, or anything on
//! it interpreted before it is verified; salt, sizes and places come from the command line, no superblock is read.
//!
//! The tree is dm-verity's version 1: SHA-256 over salt and block, blocks of 4096 bytes. It begins one block after the data,
//! with its topmost block, whose hash is the root hash: one read tells our disk from others. That read only chooses; what it
//! chose is verified again by the kernel, with all else.

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
/// Between the data and the tree; where others keep a superblock.
const GAP_BLOCKS: u64 = 1;
/// Some drivers find their disks after they were loaded.
const DISK_LIMIT: Duration = Duration::from_secs(10);
const DISK_PAUSE: Duration = Duration::from_millis(10);
/// Name of the device.
const NAME: &str = "kettle-root";

/// The disk that carries the root hash: the receipt of [`find_disk`]. Nothing else on it is verified.
#[derive(Debug)]
pub(super) struct Disk(PathBuf);

/// A device of which the kernel verifies every block that is read: the receipt of [`set_up`].
#[derive(Debug)]
pub(super) struct VerifiedDevice(PathBuf);

impl VerifiedDevice {
    /// Returns where the device is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Phase: the first disk that carries the root hash, of all there are.
pub(super) fn find_disk(_: &HardenedKernel, parameters: &Parameters) -> Result<Disk, BootError> {
    let deadline = Instant::now() + DISK_LIMIT;
    loop {
        let devices = block_devices().map_err(file(BLOCK_DEVICES))?;
        if let Some(path) = devices
            .iter()
            .find(|path| carries_root_hash(path, parameters))
        {
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

/// Phase: a device that is verified.
pub(super) fn set_up(disk: Disk, parameters: &Parameters) -> Result<VerifiedDevice, BootError> {
    let target = target(&disk.0, parameters);
    device_mapper::create(NAME, &target).map(VerifiedDevice)
}

fn block_devices() -> std::io::Result<Vec<PathBuf>> {
    fs::read_dir(BLOCK_DEVICES)?
        .map(|entry| Ok(Path::new("/dev").join(entry?.file_name())))
        .collect()
}

/// A disk that cannot be read, or is too short, is not ours.
fn carries_root_hash(path: &Path, parameters: &Parameters) -> bool {
    let mut top = [0; BLOCK_BYTES as usize];
    let place = (parameters.root_blocks + GAP_BLOCKS) * BLOCK_BYTES;
    File::open(path)
        .and_then(|disk| disk.read_exact_at(&mut top, place))
        .is_ok()
        && is_top(&top, parameters)
}

fn is_top(block: &[u8], parameters: &Parameters) -> bool {
    let digest = Sha256::new()
        .chain_update(parameters.root_salt)
        .chain_update(block)
        .finalize();
    *digest == parameters.root_hash
}

/// The kernel's documentation: admin-guide/device-mapper/verity.
///
/// `panic_on_corruption`: by default a block that does not verify is an error for whoever reads it, and the machine goes on
/// serving without it; `restart_on_corruption` would do the same again and say nothing. A panic says so, and with `panic=-1`,
/// which the command line must have, it is the end.
///
/// `panic_on_error`: the same for a block that cannot be read. A host that refuses some blocks takes files away from the
/// toolchain; a tool that looks for one in several places goes on with another, or without, and nothing would record that.
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
