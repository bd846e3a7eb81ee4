//! A machine that starts with the ROM, as a host would start it.
//!
//! The table of hashes is put into memory before the first instruction, as a launch with
//! `kernel-hashes=on` would have measured it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::payload::Probe;
use crate::rom::Rom;

/// Long enough for a machine with busy processors.
const LIMIT: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(50);

const TABLE_GUID: &str = "06d63894224fc94cb479a793d411fd21";
const KERNEL_GUID: &str = "3794e74dd2ab7f42b835d5b172d2045b";
const INITRD_GUID: &str = "31f7ba442f3ad74b9af141e29169781d";
const COMMAND_LINE_GUID: &str = "d82dd09720bd944caa78e7714d36ab2a";
const ENTRY_BYTES: u16 = 50;
const TABLE_BYTES: u16 = 18 + 3 * ENTRY_BYTES;

/// The measured files, as fw_cfg names them below `etc/boot`.
pub const BLOBS: [&str; 3] = ["kernel", "initrd", "cmdline"];
const INITRD: &[u8] = b"not an archive";
const COMMAND_LINE: &[u8] = b"one two\0";

/// Returns the directory of a built image, which contains `firmware.fd`.
pub fn image() -> PathBuf {
    let directory = std::env::var_os("KETTLE_IMAGE").map(PathBuf::from);
    directory.unwrap_or_else(|| {
        panic!("KETTLE_IMAGE is not set: it names the directory of a built image")
    })
}

pub fn rom() -> Rom {
    Rom::read(&image().join("firmware.fd"))
}

/// Returns the measured table of hashes.
pub fn hash_table(kernel: &[u8], initrd: &[u8], command_line: &[u8]) -> Vec<u8> {
    let mut table = [
        hex::decode(TABLE_GUID).unwrap(),
        TABLE_BYTES.to_le_bytes().to_vec(),
    ]
    .concat();
    for (guid, blob) in [
        (COMMAND_LINE_GUID, command_line),
        (INITRD_GUID, initrd),
        (KERNEL_GUID, kernel),
    ] {
        table.extend(hex::decode(guid).unwrap());
        table.extend(ENTRY_BYTES.to_le_bytes());
        table.extend(Sha256::digest(blob));
    }
    table
}

/// A machine that is on, with the payload as its measured kernel.
pub struct Launch {
    process: Child,
    directory: TempDir,
}

impl Launch {
    /// Starts the payload, with these additional arguments for QEMU.
    pub fn of(probe: Probe, words: &[&str]) -> Self {
        Self::offering(&BLOBS, probe, words)
    }

    /// Starts the payload on a host that offers only some of the measured files.
    pub fn offering(blobs: &[&str], probe: Probe, words: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        let file = |name: &str| directory.path().join(name);
        probe.assemble(&file("kernel"));
        fs::write(file("initrd"), INITRD).unwrap();
        fs::write(file("cmdline"), COMMAND_LINE).unwrap();
        fs::write(
            file("table"),
            hash_table(&fs::read(file("kernel")).unwrap(), INITRD, COMMAND_LINE),
        )
        .unwrap();
        let (address, _) = rom().hash_area();
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args([
                "-accel",
                "tcg,thread=multi",
                "-cpu",
                "max",
                "-machine",
                "q35",
                "-m",
                "256M",
            ])
            .args(["-nodefaults", "-no-reboot", "-display", "none", "-serial"])
            .arg(format!("file:{}", file("console").display()))
            .arg("-bios")
            .arg(image().join("firmware.fd"))
            .arg("-device")
            .arg(format!(
                "loader,file={},addr={address:#x},force-raw=on",
                file("table").display()
            ));
        for name in blobs {
            command.arg("-fw_cfg").arg(format!(
                "name=etc/boot/{name},file={}",
                file(name).display()
            ));
        }
        command.arg("-D").arg(file("trace")).args(words);
        let errors = File::create(file("qemu.log")).unwrap();
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .unwrap();
        Self { process, directory }
    }

    /// Waits until the console has one of these texts, and returns its whole text.
    pub fn wait_for(&mut self, texts: &[&str]) -> String {
        let start = Instant::now();
        loop {
            let console = self.console();
            if texts.iter().any(|text| console.contains(text)) {
                return console;
            }
            assert!(
                self.process.try_wait().unwrap().is_none(),
                "it is off: {console}{}",
                self.read("qemu.log")
            );
            assert!(
                start.elapsed() < LIMIT,
                "none of {texts:?}: {console}{}",
                self.read("qemu.log")
            );
            sleep(PAUSE);
        }
    }

    fn console(&self) -> String {
        self.read("console")
    }

    /// Returns the output of `-trace`, after the machine is off.
    pub fn into_trace(mut self) -> String {
        self.stop();
        self.read("trace")
    }

    fn read(&self, name: &str) -> String {
        read_lossy(&self.directory.path().join(name))
    }

    fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Launch {
    fn drop(&mut self) {
        self.stop();
    }
}

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
