//! Everything that a host can give to the firmware: files of fw_cfg, the page of hashes, ROMs,
//! tables, commands, devices, shapes of the machine. For each row of the tables here, the measured
//! program runs, or nothing runs and the firmware says why.
//!
//! A row takes some seconds. Without `KETTLE_ALL` in the environment, one row of each kind is run.

mod knobs;
mod machines;
mod measured;
mod payload;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::image::Image;
use crate::machine::{self, Host, Machine, Offer, Page};

pub use table::{Row, check};

/// The time from power to the first line of PID 1, or to the firmware's refusal, on a busy
/// processor.
const LIMIT: Duration = Duration::from_secs(120);
/// How long a machine that has halted is watched.
const SETTLED: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(50);
/// The beginning of PID 1's first line.
const MEASURED_PROGRAM: &str = "kettle: kernel file systems: ";
/// The firmware's last line before the kernel runs.
const STARTS: &str = "firmware: starts the measured kernel";
/// The prefix of the firmware's lines.
const FIRMWARE: &str = "firmware: ";

/// Files for QEMU, which exist as long as this value.
pub struct Files(TempDir);

impl Files {
    pub fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// Writes a new file with these bytes, and returns its path.
    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Writes a new file of this many zeros, and returns its path.
    pub fn zeros(&self, name: &str, bytes: u64) -> PathBuf {
        let path = self.file(name, b"");
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(bytes)
            .unwrap();
        path
    }
}

/// Returns the `-fw_cfg` option with a file.
pub fn item(name: &str, path: &Path) -> Vec<String> {
    vec![
        "-fw_cfg".to_owned(),
        format!("name={name},file={}", path.display()),
    ]
}

/// Splits a line without quotes into QEMU's arguments.
pub fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Returns the page of hashes that a launch of the image measures.
pub fn page_of(image: &Image) -> Vec<u8> {
    let firmware =
        kettle::snp::measurement::Firmware::parse(&fs::read(image.file("firmware.fd")).unwrap())
            .unwrap();
    let hashes = machine::hashes(image, &image.file("initrd"));
    kettle::snp::measurement::KernelHashesPage::new(&firmware, &hashes)
        .unwrap()
        .bytes
        .to_vec()
}

/// Returns the three files that a launch measures as items of fw_cfg. The command line ends with a
/// NUL there, as it is measured.
pub fn items(files: &Files, [kernel, initrd, command_line]: [Option<&Path>; 3]) -> Vec<String> {
    let command_line = command_line.map(|path| {
        let text = fs::read(path).unwrap();
        let name = path.file_name().unwrap().display();
        files.file(&format!("{name}-with-its-end"), &[&text[..], &[0]].concat())
    });
    let given = [
        ("kernel", kernel),
        ("initrd", initrd),
        ("cmdline", command_line.as_deref()),
    ];
    given
        .iter()
        .filter_map(|(name, path)| Some(item(&format!("etc/boot/{name}"), (*path)?)))
        .flatten()
        .collect()
}

/// The control: the payload works where it is the measured kernel.
#[test]
#[ignore = "needs QEMU and a built image"]
fn a_program_of_the_host_runs_where_it_is_what_was_measured() {
    let (image, files) = (Image::from_environment(), Files::new());
    let image = image.with_kernel(files.file("program.efi", &payload::application()));
    let (initrd, command_line) = (image.file("initrd"), image.file("cmdline"));
    let devices = items(
        &files,
        [Some(image.kernel()), Some(&initrd), Some(&command_line)],
    );
    let machine = Machine::start(
        &image,
        &Host {
            offer: Offer::Nothing,
            devices,
            ..Host::honest(&image)
        },
    );
    let start = Instant::now();
    while !machine.console().contains(payload::LINE) {
        assert!(
            start.elapsed() < LIMIT,
            "the payload does not work: {}",
            machine.console()
        );
        sleep(PAUSE);
    }
}
