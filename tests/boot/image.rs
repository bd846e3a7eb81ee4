//! The image that is booted, and the disks that a host makes of it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::served_disk::ServedDisk;

/// The block size of the root file system and of its hash tree.
const BLOCK_BYTES: u64 = 4096;

/// The files that are measured, and the root disk.
pub struct Image {
    directory: PathBuf,
    kernel: PathBuf,
    pub command_line: String,
}

impl Image {
    pub fn from_environment() -> Self {
        let directory = std::env::var_os("KETTLE_IMAGE").map(PathBuf::from);
        let directory = directory.unwrap_or_else(|| {
            panic!("KETTLE_IMAGE is not set: it names the directory of a built image")
        });
        let command_line = fs::read_to_string(directory.join("cmdline")).unwrap();
        Self {
            kernel: directory.join("kernel"),
            directory,
            command_line,
        }
    }

    /// Returns the image with the kernel that differs by one line: it has character devices of
    /// programs, for a simulated secure processor. The command line still names the shipped one.
    #[cfg_attr(not(feature = "simulator"), allow(dead_code))] // Its callers need a secure processor.
    pub fn with_test_kernel(self) -> Self {
        let kernel = self.file("kernel-test");
        self.with_kernel(kernel)
    }

    /// Returns the image with another kernel.
    pub fn with_kernel(self, kernel: PathBuf) -> Self {
        Self { kernel, ..self }
    }

    pub fn kernel(&self) -> &Path {
        &self.kernel
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Returns the value of a word of the command line.
    pub fn word(&self, name: &str) -> &str {
        let mut words = self
            .command_line
            .split(' ')
            .filter_map(|word| word.split_once('='));
        words
            .find_map(|(key, value)| (key == name).then_some(value))
            .unwrap_or_else(|| panic!("no {name}"))
    }

    /// Returns where the root file system ends and, a block later, its hash tree begins.
    pub fn data_bytes(&self) -> u64 {
        self.word("kettle.rootdata").parse().unwrap()
    }

    /// Returns the offset of the block whose hash is the root hash.
    pub fn top_of_tree(&self) -> u64 {
        self.data_bytes() + BLOCK_BYTES
    }

    /// Returns the image, measured with another root hash.
    pub fn with_other_root_hash(mut self) -> Self {
        let (before, rest) = self.command_line.split_once("kettle.roothash=").unwrap();
        let other = if rest.starts_with('0') { '1' } else { '0' };
        self.command_line = format!("{before}kettle.roothash={other}{}", &rest[1..]);
        self
    }

    /// Returns the image, launched with only the kernel's part of the command line.
    pub fn without_our_words(mut self) -> Self {
        let words: Vec<_> = self
            .command_line
            .split(' ')
            .filter(|word| !word.starts_with("kettle."))
            .collect();
        self.command_line = words.join(" ");
        self
    }

    /// Returns where on the disk a file of the root image begins, as erofs-utils reads it.
    pub fn place_of(&self, path: &str) -> u64 {
        let output = Command::new("dump.erofs")
            .arg(format!("--path={path}"))
            .arg("-e")
            .arg(self.file("root.img"))
            .output();
        let output = output.unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let extent = text
            .lines()
            .find(|line| line.trim_start().starts_with("0:"));
        let place = extent.and_then(|line| {
            line.rsplit(':')
                .next()?
                .split("..")
                .next()?
                .trim()
                .parse()
                .ok()
        });
        place.unwrap_or_else(|| {
            panic!(
                "{path} has no extent: {text}{}",
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }
}

/// The bus that a disk is attached to.
#[derive(Clone, Copy)]
pub enum Bus {
    VirtioBlk,
    VirtioScsi,
    Nvme,
}

/// A disk of the host.
pub struct Disk {
    /// The path that QEMU opens.
    pub path: PathBuf,
    pub bus: Bus,
    pub writable: bool,
    /// Keeps a copy of the root disk while it is used.
    copy: Option<TempDir>,
}

impl Disk {
    /// Returns the root disk as it was built; nobody can write it.
    pub fn of(image: &Image) -> Self {
        Self {
            path: image.file("root.img"),
            bus: Bus::VirtioBlk,
            writable: false,
            copy: None,
        }
    }

    /// Returns a copy of the root disk, for the host to change.
    pub fn copy_of(image: &Image) -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("root.img");
        fs::copy(image.file("root.img"), &path).unwrap();
        Self {
            path,
            bus: Bus::VirtioBlk,
            writable: false,
            copy: Some(directory),
        }
    }

    /// Returns a disk of a file that nobody changes meanwhile.
    pub const fn at(path: PathBuf) -> Self {
        Self {
            path,
            bus: Bus::VirtioBlk,
            writable: false,
            copy: None,
        }
    }

    /// Returns a disk that a test's server provides.
    pub fn served(disk: &ServedDisk) -> Self {
        Self {
            path: disk.path(),
            bus: Bus::VirtioBlk,
            writable: false,
            copy: None,
        }
    }

    pub fn on(self, bus: Bus) -> Self {
        Self { bus, ..self }
    }

    /// Makes the disk writable for the machine.
    pub fn writable(self) -> Self {
        Self {
            writable: true,
            ..self
        }
    }

    /// Changes one bit.
    pub fn flip(&self, at: u64) {
        let (disk, mut byte) = (self.file(), [0]);
        disk.read_exact_at(&mut byte, at).unwrap();
        disk.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }

    /// Returns the disk with one bit changed.
    pub fn with_flipped_bit(self, at: u64) -> Self {
        self.flip(at);
        self
    }

    /// Cuts the disk to its first bytes.
    pub fn cut(self, bytes: u64) -> Self {
        self.cut_at(bytes);
        self
    }

    /// Cuts a disk that is in use.
    pub fn cut_at(&self, bytes: u64) {
        self.file().set_len(bytes).unwrap();
    }

    fn file(&self) -> File {
        assert!(self.copy.is_some(), "this is the image itself");
        File::options()
            .read(true)
            .write(true)
            .open(&self.path)
            .unwrap()
    }
}
