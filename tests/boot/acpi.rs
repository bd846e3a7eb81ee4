//! A weakness that is known, shown so that nobody takes it for less: the guest's kernel runs the code in the host's ACPI tables
//! before PID 1 starts, that code reads and writes any memory, and no part of the launch measurement covers it. Here it does the
//! least that is enough: the verifier accepts what another root has built.

use std::collections::BTreeMap;
use std::fs;

use tempfile::TempDir;

use crate::attestation::{Platform, TRUSTING};
use crate::builds::definition;
use crate::client::{Door, Source};
use crate::image::Disk;
use crate::support::{Bundle, project};

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

/// Fails on the day when it is none any more: then the row of the threat model has to change.
#[test]
#[ignore = "needs QEMU and a built image"]
fn known_weakness_acpi_code_of_the_host_has_a_root_accepted_that_was_not_measured() {
    let mut platform = Platform::new(&[]);
    let (disk, root_hash) = Disk::copy_of(&platform.image).with_other_bit_and_its_tree(&platform.image, NOT_NEEDED);
    assert_ne!(root_hash, platform.image.word("kettle.roothash"));
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("table");
    fs::write(&path, table(&platform.image.command_line, &root_hash)).unwrap();
    platform.host.devices = vec!["-acpitable".to_owned(), format!("sig=SSDT,rev=2,data={}", path.display())];
    platform.host.disks = vec![disk];
    let machine = platform.boot();
    let outcome = machine.build(Door::Tls, &Source::Archive { bytes: &project("hello"), name: "hello.tar" });
    outcome.assert_succeeded();
    let bytes = machine.bundle(Door::Tls, &outcome.job);
    // What the statement says of its image comes from the command line that was written over.
    let image = definition(&Bundle::read(&bytes, 0))["internalParameters"]["image"].take();
    assert_eq!(image["rootHash"], root_hash.as_str());
    platform.keep("bundle.tar.gz", &bytes);
    let result = platform.verify(&["bundle.tar.gz"], &TRUSTING);
    assert_eq!(result["verdict"], "accepted", "{result:#}");
}
