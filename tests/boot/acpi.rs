//! Code in the host's ACPI tables, of which no part is measured. A kernel that runs it, runs it before PID 1 starts and with all
//! memory in its reach (published as BadAML). Here it does the least that is enough: it writes another root hash over the measured
//! one. The image's command line has the kernel run none of it.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::builds::definition;
use crate::client::{Door, Source};
use crate::disks::NO_ROOT_DISK;
use crate::image::{Disk, Image};
use crate::machine::{Host, Machine};
use crate::support::{Bundle, project};

/// What keeps the kernel from running it, and what it needs then.
const NO_CODE: &str = "initcall_blacklist=acpi_init,erst_init,bert_init";
const OWN_SEARCH: &str = "pci=lastbus=1";

/// A file of the root image that a build of cargo's can do without.
const NOT_NEEDED: &str = "/usr/bin/git";

/// Where the kernel keeps the command line that `/proc/cmdline` shows: allocated from the top of memory down, below the tables
/// of the firmware, and at a multiple of [`STEP_BYTES`].
const LOOK_FROM: u32 = TABLES - (256 << 10);
/// Where SeaBIOS puts its tables in a machine of 2 GiB.
const TABLES: u32 = 0x7ffe_0000;
const STEP_BYTES: u8 = 64;
/// How much of it is looked at.
const LINE_BYTES: u16 = 1024;

/// The language of ACPI tables, as far as it is needed: ACPI 6.5, chapter 20.
mod aml {
    pub const ZERO: u8 = 0x00;
    pub const LOCAL0: u8 = 0x60;
    pub const ARG0: u8 = 0x68;

    fn length(value: usize) -> Vec<u8> {
        if value < 64 { vec![value as u8] } else { vec![0x40 | value as u8 & 15, (value >> 4) as u8] }
    }

    /// An operator whose operands are preceded by their length, which counts itself.
    fn package(operator: &[u8], operands: &[&[u8]]) -> Vec<u8> {
        let operands = operands.concat();
        let own = if operands.len() + 1 < 64 { 1 } else { 2 };
        [operator, &length(operands.len() + own), &operands].concat()
    }

    pub fn word(value: u16) -> Vec<u8> {
        [&[0x0b][..], &value.to_le_bytes()].concat()
    }

    pub fn double_word(value: [u8; 4]) -> Vec<u8> {
        [&[0x0c][..], &value].concat()
    }

    pub fn scope(name: &[u8], terms: &[&[u8]]) -> Vec<u8> {
        package(&[0x10], &[&[name], terms].concat())
    }

    pub fn device(name: &[u8; 4], terms: &[&[u8]]) -> Vec<u8> {
        package(&[0x5b, 0x82], &[&[&name[..]], terms].concat())
    }

    /// One that can run only once at a time.
    pub fn method(name: &[u8; 4], arguments: u8, terms: &[&[u8]]) -> Vec<u8> {
        package(&[0x14], &[&[&name[..], &[arguments | 8]], terms].concat())
    }

    pub fn while_less(left: &[u8], right: &[u8], terms: &[&[u8]]) -> Vec<u8> {
        package(&[0xa2], &[&[&[0x95][..], left, right], terms].concat())
    }

    pub fn if_equal(left: &[u8], right: &[u8], terms: &[&[u8]]) -> Vec<u8> {
        package(&[0xa0], &[&[&[0x93][..], left, right], terms].concat())
    }

    pub fn store(value: &[u8], target: &[u8]) -> Vec<u8> {
        [&[0x70][..], value, target].concat()
    }

    pub fn add(target: u8, bytes: u8) -> Vec<u8> {
        vec![0x72, target, 0x0a, bytes, target]
    }

    /// Memory of the machine, wherever that is.
    pub fn memory(name: &[u8; 4], at: u8, bytes: u16) -> Vec<u8> {
        [&[0x5b, 0x80][..], name, &[0, at], &word(bytes)].concat()
    }

    /// Names for four bytes each, at these places in it.
    pub fn fields(memory: &[u8; 4], names: &[([u8; 4], usize)]) -> Vec<u8> {
        let mut end = 0;
        let fields = names.iter().flat_map(|(name, at)| {
            let gap = if *at > end { [vec![ZERO], length((at - end) * 8)].concat() } else { vec![] };
            end = at + 4;
            [gap, name.to_vec(), length(32)].concat()
        });
        let fields: Vec<_> = fields.collect();
        // Accessed by four bytes.
        package(&[0x5b, 0x81], &[memory, &[3], &fields])
    }
}

/// What the kernel runs for each device when it starts: writes over the root hash of the command line.
fn table(command_line: &str, root_hash: &str) -> Vec<u8> {
    let place = command_line.find("kettle.roothash=").unwrap() + "kettle.roothash=".len();
    let four = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).unwrap();
    let name = |number: usize| four(format!("H{number:03}").as_bytes());
    let pieces: BTreeMap<_, _> = root_hash.as_bytes().chunks(4).map(four).enumerate().collect();
    let names = pieces.keys().map(|number| (name(*number), place + 4 * number));
    let names: Vec<_> = [(*b"TEXT", 0)].into_iter().chain(names).collect();
    let stores: Vec<_> =
        pieces.iter().map(|(number, piece)| aml::store(&aml::double_word(*piece), &name(*number))).collect();
    let begins = aml::double_word(four(&command_line.as_bytes()[..4]));
    let look = aml::method(
        b"LOOK",
        1,
        &[
            &aml::memory(b"MEMO", aml::ARG0, LINE_BYTES),
            &aml::fields(b"MEMO", &names),
            &aml::if_equal(b"TEXT", &begins, &[&stores.concat()]),
        ],
    );
    let [from, to] = [LOOK_FROM, TABLES].map(|place| aml::double_word(place.to_le_bytes()));
    let next = [&b"LOOK"[..], &[aml::LOCAL0], &aml::add(aml::LOCAL0, STEP_BYTES)].concat();
    let all = aml::while_less(&[aml::LOCAL0], &to, &[&next]);
    let start = aml::method(b"_INI", 0, &[&aml::store(&from, &[aml::LOCAL0]), &all]);
    aml::scope(b"\\_SB_", &[&aml::device(b"HOST", &[&look, &start])])
}

impl Image {
    /// The same with a kernel that runs what is in the tables, as it does by itself.
    fn that_runs_the_hosts_code(mut self) -> Self {
        for word in [NO_CODE, OWN_SEARCH] {
            let (before, after) = self.command_line.split_once(word).unwrap_or_else(|| panic!("no {word}"));
            self.command_line = format!("{before}{}", after.trim_start());
        }
        self
    }
}

fn root_hash_that_a_build_saw(machine: &Machine) -> Value {
    let outcome = machine.build(Door::Clear, &Source::Archive { bytes: &project("hello"), name: "hello.tar" });
    outcome.assert_succeeded();
    let bundle = Bundle::read(&machine.bundle(Door::Clear, &outcome.job), 0);
    definition(&bundle)["internalParameters"]["image"]["rootHash"].take()
}

/// With the disk that fits what the code writes, a kernel that runs it builds; ours finds that it is another disk. With the
/// right one it builds, whatever the tables say.
#[test]
#[ignore = "needs QEMU and a built image"]
fn acpi_code_of_the_host_is_not_run() {
    let image = Image::from_environment();
    let measured = image.word("kettle.roothash").to_owned();
    let (disk, other) = Disk::copy_of(&image).with_other_bit_and_its_tree(&image, NOT_NEEDED);
    assert_ne!(other, measured);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("table");
    fs::write(&path, table(&image.command_line, &other)).unwrap();
    let devices = vec!["-acpitable".to_owned(), format!("sig=SSDT,rev=2,data={}", path.display())];
    let host = Host { devices: devices.clone(), ..Host::with_disks(vec![disk]) };

    let console = Machine::start(&image, &host).wait_for_its_end();
    assert!(console.contains(NO_ROOT_DISK) && !console.contains("listening"), "{console}");
    let honest = Host { devices, ..Host::honest(&image) };
    assert_eq!(root_hash_that_a_build_saw(&Machine::serving(&image, &honest)), measured.as_str());

    let image = image.that_runs_the_hosts_code();
    fs::write(&path, table(&image.command_line, &other)).unwrap();
    assert_eq!(root_hash_that_a_build_saw(&Machine::serving(&image, &host)), other.as_str(), "the code does nothing");
}
