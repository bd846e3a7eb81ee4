//! Programs in the host's ACPI tables, no part of which is measured. A kernel that runs them does
//! so before PID 1 starts, and they reach all memory and all ports (published as BadAML). Here a
//! program writes a line to a port that QEMU copies to a file: that file shows whether it ran,
//! whatever the kernel says. The image's own firmware builds the tables, so a host has none to put
//! a program in; these machines start without that firmware, so that the kernel gets the host's
//! tables.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::disks::NO_ROOT_DISK;
use crate::image::{Disk, Image};
use crate::machine::{Firmware, Host, Machine};

/// The line that the program writes to the port. Firmware writes other lines there.
const MARK: &[u8] = b"AML-RAN\n";
/// The port of QEMU's debug console, where firmware for QEMU writes.
const PORT: u16 = 0x402;
/// With this, the image's kernel runs such programs.
const ON: &str = "kettle.acpi=on";
/// With these, a distribution's kernel runs none, and can do without them.
const OFF_BY_WORDS: [&str; 2] = [
    "initcall_blacklist=acpi_init,erst_init,bert_init",
    "pci=lastbus=1",
];

/// The language of ACPI tables, as far as these tests need it: ACPI 6.5, chapter 20.
mod aml {
    const BYTE: u8 = 0x0a;
    const WORD: u8 = 0x0b;
    const STORE: u8 = 0x70;
    /// A region of ports, and fields that are accessed by the byte.
    const SYSTEM_IO: u8 = 1;
    const BYTE_ACCESS: u8 = 1;

    /// An operator whose operands are preceded by their length, which counts itself.
    fn package(operator: &[u8], operands: &[u8]) -> Vec<u8> {
        let short = operands.len() + 1;
        let length = if short < 64 {
            vec![short as u8]
        } else {
            let long = short + 1;
            vec![0x40 | (long & 15) as u8, (long >> 4) as u8]
        };
        [operator, &length, operands].concat()
    }

    pub fn scope(name: &[u8], terms: &[u8]) -> Vec<u8> {
        package(&[0x10], &[name, terms].concat())
    }

    pub fn device(name: &[u8; 4], terms: &[u8]) -> Vec<u8> {
        package(&[0x5b, 0x82], &[&name[..], terms].concat())
    }

    /// Encodes a method without arguments.
    pub fn method(name: &[u8; 4], terms: &[u8]) -> Vec<u8> {
        package(&[0x14], &[&name[..], &[0], terms].concat())
    }

    /// Encodes one port, and a name for it.
    pub fn port(region: &[u8; 4], name: &[u8; 4], port: u16) -> Vec<u8> {
        let place = [&[SYSTEM_IO, WORD][..], &port.to_le_bytes(), &[BYTE, 1]].concat();
        let opened = [&[0x5b, 0x80][..], region, &place].concat();
        let field = package(
            &[0x5b, 0x81],
            &[&region[..], &[BYTE_ACCESS], name, &[8]].concat(),
        );
        [opened, field].concat()
    }

    pub fn store(value: u8, name: &[u8; 4]) -> Vec<u8> {
        [&[STORE, BYTE, value][..], name].concat()
    }
}

/// Builds a table with a device whose initialisation, which a kernel runs when it looks for
/// devices, writes the mark.
fn table() -> Vec<u8> {
    let stores: Vec<_> = MARK
        .iter()
        .flat_map(|byte| aml::store(*byte, b"OUTB"))
        .collect();
    let device = [
        aml::port(b"PRT0", b"OUTB", PORT),
        aml::method(b"_INI", &stores),
    ]
    .concat();
    aml::scope(b"\\_SB_", &aml::device(b"HOST", &device))
}

/// A host with such a table, and the file that says whether its program ran.
struct HostWithProgram {
    directory: TempDir,
}

impl HostWithProgram {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("table"), table()).unwrap();
        Self { directory }
    }

    fn debug_console(&self) -> PathBuf {
        self.directory.path().join("debug")
    }

    fn host(&self, disks: Vec<Disk>) -> Host {
        let path = |path: &Path| path.display().to_string();
        let devices = [
            "-acpitable".to_owned(),
            format!(
                "sig=SSDT,rev=2,data={}",
                path(&self.directory.path().join("table"))
            ),
            "-debugcon".to_owned(),
            format!("file:{}", path(&self.debug_console())),
            "-global".to_owned(),
            format!("isa-debugcon.iobase={PORT:#x}"),
        ];
        Host {
            firmware: Firmware::SeaBios,
            devices: devices.to_vec(),
            ..Host::with_disks(disks)
        }
    }

    /// Returns whether the program ran in a machine that got as far as PID 1, which finds no disk.
    fn ran(&self, image: &Image) -> bool {
        let console = Machine::start(image, &self.host(vec![])).wait_for_its_end();
        assert!(
            console.contains(NO_ROOT_DISK) && !console.contains("listening"),
            "{console}"
        );
        self.has_mark()
    }

    fn has_mark(&self) -> bool {
        let said = fs::read(self.debug_console()).unwrap();
        said.windows(MARK.len()).any(|window| window == MARK)
    }
}

impl Image {
    /// Returns the image with a kernel that runs the programs of ACPI tables.
    fn that_runs_the_hosts_programs(mut self) -> Self {
        let words = self
            .command_line
            .split(' ')
            .filter(|word| !OFF_BY_WORDS.contains(word));
        let left = words.collect::<Vec<_>>().join(" ");
        self.command_line = if left == self.command_line {
            with_word(&left, ON)
        } else {
            left
        };
        self
    }
}

/// Returns the image, measured with one more word on the command line.
fn with_word(command_line: &str, word: &str) -> String {
    const END: &str = " kettle.end";
    format!("{} {word}{END}", command_line.strip_suffix(END).unwrap())
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_program_of_the_hosts_acpi_tables_does_not_run() {
    let host = HostWithProgram::new();
    assert!(!host.ran(&Image::from_environment()));
    // The same table, in the same machine, with the word that enables it.
    assert!(
        host.ran(&Image::from_environment().that_runs_the_hosts_programs()),
        "the program does nothing"
    );
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_machine_serves_with_programs_in_its_tables_whether_it_runs_them_or_not() {
    let image = Image::from_environment();
    let host = HostWithProgram::new();
    let machine = Machine::serving(&image, &host.host(vec![Disk::of(&image)]));
    assert!(!host.has_mark(), "{}", machine.console());
    drop(machine);

    let image = image.that_runs_the_hosts_programs();
    let _machine = Machine::serving(&image, &host.host(vec![Disk::of(&image)]));
    assert!(host.has_mark());
}
