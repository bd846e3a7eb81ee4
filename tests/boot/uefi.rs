//! The image's disk, started by firmware with UEFI as a cloud does it, beside a TPM.
//!
//! The firmware is Debian's OVMF, and the TPM swtpm: a cloud has others. What they have in common
//! is what the specifications say that they measure, and that is compared.

#[cfg(feature = "simulator")]
mod azure;
mod tpm;
mod variables;

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::GzDecoder;
use serde_json::Value;
use tempfile::TempDir;

use crate::image::{Bus, Disk, Image};
use crate::machine::{Firmware, Host, Machine, Offer};
use tpm::{Registers, Tpm};
use variables::Variables;

/// The directory of OVMF.
const OVMF: &str = "/usr/share/OVMF";
/// The registers that stay zero: boot loaders, shims, addons and system extensions extend them.
const UNUSED: [u32; 6] = [8, 11, 12, 13, 14, 15];
/// Where the first partition begins, in bytes.
const ESP: u64 = 1 << 20;

/// A machine with a disk of the image.
struct Started {
    directory: TempDir,
    disk: PathBuf,
    boot: &'static str,
    image: Image,
}

/// How firmware is set up.
enum Setup {
    /// Empty variables.
    Plain,
    /// These variables.
    Variables(Variables),
    /// These variables, and Secure Boot.
    Secure(Variables),
}

impl Started {
    /// Makes the disk with the command line of `boot`.
    fn with(boot: &'static str) -> Self {
        let image = Image::from_environment();
        let directory = TempDir::new().unwrap();
        let disk = directory.path().join("disk.raw");
        cloud_image(&image, boot, "raw", &disk);
        Self {
            directory,
            disk,
            boot,
            image,
        }
    }

    /// Returns the host with this disk, and the new TPM that it has.
    fn host(&self, setup: &Setup, bus: Bus) -> (Host, Tpm) {
        let tpm = Tpm::start(&self.directory.path().join("tpm"));
        (self.host_with(setup, bus, &tpm), tpm)
    }

    /// Returns the host with this disk and a TPM.
    fn host_with(&self, setup: &Setup, bus: Bus, tpm: &Tpm) -> Host {
        let (code, secure) = match setup {
            Setup::Plain | Setup::Variables(_) => ("OVMF_CODE_4M.fd", false),
            Setup::Secure(_) => ("OVMF_CODE_4M.secboot.fd", true),
        };
        let store = self.directory.path().join("variables.fd");
        let empty = fs::read(Path::new(OVMF).join("OVMF_VARS_4M.fd")).unwrap();
        let bytes = match setup {
            Setup::Plain => empty,
            Setup::Variables(variables) | Setup::Secure(variables) => variables.store(empty),
        };
        fs::write(&store, bytes).unwrap();
        let mut devices = vec![
            "-drive".to_owned(),
            format!("if=pflash,format=raw,readonly=on,file={OVMF}/{code}"),
            "-drive".to_owned(),
            format!("if=pflash,format=raw,file={}", store.display()),
        ];
        if secure {
            devices.extend(
                [
                    "-machine",
                    "smm=on",
                    "-global",
                    "driver=cfi.pflash01,property=secure,value=on",
                ]
                .map(str::to_owned),
            );
        }
        devices.extend(tpm.arguments());
        let disk = Disk::at(self.disk.clone()).on(bus);
        Host {
            firmware: Firmware::Flash,
            offer: Offer::Nothing,
            devices,
            ..Host::with_disks(vec![disk])
        }
    }

    /// Starts the machine, waits until it serves, ends it, and returns what the TPM was told.
    fn registers(&self, setup: &Setup, bus: Bus, change: impl FnOnce(&mut Host)) -> Registers {
        let (mut host, tpm) = self.host(setup, bus);
        change(&mut host);
        drop(Machine::serving(&self.image, &host));
        tpm.end()
    }

    /// Returns PCR 4 and 9 as the image publishes them.
    fn published(&self) -> [String; 2] {
        let text = fs::read(self.image.file("measurements.json")).unwrap();
        let published: Value = serde_json::from_slice(&text).unwrap();
        let boots = published["boot"].as_array().unwrap();
        let boot = boots.iter().find(|it| it["name"] == self.boot).unwrap();
        ["4", "9"].map(|number| boot["pcrs"][number].as_str().unwrap().to_owned())
    }

    /// Asserts that registers are the published ones, and that nothing else was measured.
    fn assert_published(&self, registers: &Registers, what: &str) {
        assert_eq!(
            [4, 9].map(|number| registers.value(number)),
            self.published(),
            "{what}"
        );
        for number in UNUSED {
            assert_eq!(registers.extended(number), 0, "{what}: PCR {number}");
        }
    }

    /// Returns where on the disk the UKI begins.
    fn uki_at(&self) -> u64 {
        let uki = fs::read(self.image.file(&format!("{}.efi", self.boot))).unwrap();
        let disk = fs::read(&self.disk).unwrap();
        let is_start = |at: &usize| disk[*at..].starts_with(&uki[..4096]);
        let start = (0..disk.len() - uki.len()).step_by(512).find(is_start);
        let start = start.expect("the disk has the UKI");
        assert!(
            disk[start..].starts_with(&uki),
            "the UKI is not in one piece"
        );
        start as u64
    }

    /// Changes one bit of the UKI on the disk: the last of the digit in `loglevel=4`, so that the
    /// system starts like before.
    fn change_the_command_line(&self) {
        let uki = fs::read(self.image.file(&format!("{}.efi", self.boot))).unwrap();
        let word = memchr::memmem::rfind(&uki, b"loglevel=4").expect("the command line's word");
        let at = self.uki_at() + word as u64 + b"loglevel=".len() as u64;
        let disk = File::options().write(true).open(&self.disk).unwrap();
        disk.write_all_at(b"5", at).unwrap();
    }

    /// Puts a file on the partition that the firmware reads.
    fn put(&self, content: &Path, path: &str) {
        let partition = format!("{}@@{ESP}", self.disk.display());
        let directories: Vec<_> = path.match_indices('/').map(|(at, _)| &path[..at]).collect();
        for directory in directories.iter().filter(|it| !it.is_empty()) {
            let mut command = Command::new("mmd");
            // It may be there.
            command.args(["-D", "s", "-i", &partition, &format!("::{directory}")]);
            command.output().unwrap();
        }
        let mut command = Command::new("mcopy");
        command.args(["-o", "-i", &partition]).arg(content);
        let output = command.arg(format!("::{path}")).output().unwrap();
        assert!(output.status.success(), "{path}: {output:?}");
    }
}

/// Runs scripts/cloud-image.
fn cloud_image(image: &Image, boot: &str, format: &str, out: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/cloud-image");
    let mut command = Command::new(script);
    command.args(["--boot", boot, "--format", format]);
    command.arg("--image").arg(image.file(""));
    let output = command.arg("--out").arg(out).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Returns the bytes of a disk in a format that QEMU knows.
fn raw_of(disk: &Path, format: &str) -> Vec<u8> {
    let raw = disk.with_extension("converted");
    let mut command = Command::new("qemu-img");
    command.args(["convert", "-f", format, "-O", "raw"]);
    let output = command.arg(disk).arg(&raw).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    fs::read(raw).unwrap()
}

#[test]
#[ignore = "needs qemu-img and a built image"]
fn every_format_has_the_same_disk_and_is_made_again_alike() {
    let (image, directory) = (Image::from_environment(), TempDir::new().unwrap());
    let make = |format: &str, name: &str| {
        let path = directory.path().join(name);
        cloud_image(&image, "azure", format, &path);
        path
    };
    let raw = fs::read(make("raw", "disk.raw")).unwrap();
    assert_eq!(raw.len() % (1 << 20), 0);
    assert!(raw_of(&make("qcow2", "disk.qcow2"), "qcow2") == raw);

    let vhd = make("vhd", "disk.vhd");
    assert!(raw_of(&vhd, "vpc") == raw);
    let bytes = fs::read(&vhd).unwrap();
    assert!(bytes[..raw.len()] == raw && bytes.len() == raw.len() + 512);
    assert!(fs::read(make("vhd", "again.vhd")).unwrap() == bytes);

    let google = make("gcp", "disk.tar.gz");
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(&google).unwrap()));
    let mut entries = archive.entries().unwrap();
    let mut entry = entries.next().unwrap().unwrap();
    assert_eq!(entry.path().unwrap(), Path::new("disk.raw"));
    assert_eq!(entry.size() % (1 << 30), 0);
    // The partitions are those of the other formats; the tables name the end of a larger disk.
    let mut larger = Vec::new();
    entry.read_to_end(&mut larger).unwrap();
    let partitions = ESP as usize..raw.len() - (1 << 20);
    assert!(larger[partitions.clone()] == raw[partitions]);
    drop(entry);
    assert!(entries.next().is_none());
}

#[test]
#[ignore = "needs QEMU, OVMF, swtpm and a built image"]
fn the_disk_starts_and_the_tpm_is_told_the_published_registers() {
    let started = Started::with("disk");
    let registers = started.registers(&Setup::Plain, Bus::VirtioBlk, |_| {});
    started.assert_published(&registers, "virtio-blk");
}

#[test]
#[ignore = "needs QEMU, OVMF, swtpm and a built image"]
fn the_disk_starts_behind_other_buses_too() {
    let started = Started::with("disk");
    for (bus, name) in [(Bus::VirtioScsi, "virtio-scsi"), (Bus::Nvme, "NVMe")] {
        let registers = started.registers(&Setup::Plain, bus, |_| {});
        started.assert_published(&registers, name);
    }
}

#[test]
#[ignore = "needs QEMU, OVMF, swtpm and a built image"]
fn the_disk_for_azure_has_published_registers_of_its_own() {
    let started = Started::with("azure");
    let registers = started.registers(&Setup::Plain, Bus::VirtioScsi, |_| {});
    started.assert_published(&registers, "azure");
    assert_ne!(started.published(), Started::with("disk").published());
}

#[test]
#[ignore = "needs QEMU, OVMF, swtpm and a built image"]
fn no_other_input_of_a_host_changes_what_starts() {
    let started = Started::with("disk");
    let directory = started.directory.path();
    // A small UKI with another command line: what a careless stub would take words from.
    let addon = directory.join("addon.efi");
    let small = kettle::uki::write(b"stub", b"MZ", b"initrd", b"init=/evil").unwrap();
    fs::write(&addon, small).unwrap();
    for path in [
        "/EFI/BOOT/BOOTX64.EFI.extra.d/evil.addon.efi",
        "/EFI/Linux/evil.efi",
        "/EFI/systemd/systemd-bootx64.efi",
        "/loader/addons/evil.addon.efi",
        "/loader/credentials/evil.cred",
        "/initrd.img",
    ] {
        started.put(&addon, path);
    }
    let text = directory.join("text");
    fs::write(&text, "init=/evil kettle.roothash=0\r\n").unwrap();
    for path in ["/startup.nsh", "/loader/loader.conf", "/cmdline.txt"] {
        started.put(&text, path);
    }
    let mut variables = Variables::default();
    variables.boot_option("\\EFI\\BOOT\\BOOTX64.EFI", "init=/evil rdinit=/evil");
    let second = directory.join("second.raw");
    File::create(&second).unwrap().set_len(64 << 20).unwrap();
    // A cloud makes the disk larger than the image that was given to it.
    let disk = File::options().write(true).open(&started.disk).unwrap();
    disk.set_len(disk.metadata().unwrap().len() + (512 << 20))
        .unwrap();
    let registers = started.registers(&Setup::Variables(variables), Bus::VirtioBlk, |host| {
        for value in [
            "io.systemd.stub.kernel-cmdline-extra=init=/evil",
            "io.systemd.boot.kernel-cmdline-extra=init=/evil",
            "io.systemd.credential:evil=1",
        ] {
            host.devices
                .extend(["-smbios".to_owned(), format!("type=11,value={value}")]);
        }
        host.disks.push(Disk::at(second.clone()));
    });
    started.assert_published(&registers, "hostile inputs");
}

#[test]
#[ignore = "needs QEMU, OVMF, swtpm and a built image"]
fn one_changed_bit_of_the_disk_gives_other_registers() {
    let started = Started::with("disk");
    started.change_the_command_line();
    let registers = started.registers(&Setup::Plain, Bus::VirtioBlk, |_| {});
    for (number, published) in [4, 9].into_iter().zip(started.published()) {
        assert_ne!(registers.value(number), published, "PCR {number}");
    }
}

#[test]
#[ignore = "needs QEMU, OVMF, swtpm and a built image"]
fn secure_boot_starts_the_disk_and_not_a_changed_one() {
    let started = Started::with("disk");
    let list = started.directory.path().join("db.esl");
    cloud_image(&started.image, "disk", "secure-boot-db", &list);
    let secure = || {
        let mut variables = Variables::default();
        variables.secure_boot(&fs::read(&list).unwrap());
        Setup::Secure(variables)
    };
    let registers = started.registers(&secure(), Bus::VirtioBlk, |_| {});
    started.assert_published(&registers, "Secure Boot");

    started.change_the_command_line();
    let (host, tpm) = started.host(&secure(), Bus::VirtioBlk);
    let mut machine = Machine::start(&started.image, &host);
    machine.wait_for("Access Denied");
    assert!(!machine.console().contains("listening"));
    drop(machine);
    assert_eq!(tpm.end().extended(9), 0, "a kernel has started");
}
