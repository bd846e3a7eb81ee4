//! Compares everything that the firmware takes from the host before it starts the kernel, from
//! QEMU's trace, with the committed list.
//!
//! An entry of `image/firmware/host-inputs` is `read DEVICE ADDRESS` for a register that is read,
//! `item NUMBER` for an item of fw_cfg with a fixed number, and `file NAME` for a file of fw_cfg.

use std::collections::BTreeSet;
use std::fs;

use crate::launch::{BLOBS, Launch};
use crate::payload::Probe;

const LIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/image/firmware/host-inputs");

const EVENTS: [&str; 4] = [
    "memory_region_ops_read",
    "memory_region_ops_write",
    "fw_cfg_select",
    "fw_cfg_add_file",
];

/// The end of the firmware's only line, that it starts the kernel or why not; the firmware has
/// nothing more to do then.
const END_OF_LINE: &str = "\r\n";
const SERIAL_PORT: &str = "0x3f8";

/// Files of fw_cfg have the items from this one on, sorted by name.
const FIRST_FILE: usize = 0x20;

/// Devices that a machine may have, none of which the firmware must read.
const MORE_DEVICES: [&str; 14] = [
    "-smp",
    "3",
    "-m",
    "6G",
    "-device",
    "qemu-xhci",
    "-device",
    "VGA",
    "-device",
    "ich9-ahci",
    "-device",
    "virtio-rng-pci",
    "-global",
    "fw_cfg.dma_enabled=off",
];

#[test]
#[ignore = "needs QEMU and a built image"]
fn are_the_listed_ones() {
    let text = fs::read_to_string(LIST).unwrap();
    let entries = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let listed: BTreeSet<_> = entries.map(str::to_owned).collect();
    let mut taken = inputs(&BLOBS, &[]);
    taken.extend(inputs(&BLOBS, &MORE_DEVICES));
    // A missing file is looked up among the items with fixed numbers.
    for offered in 0..BLOBS.len() {
        taken.extend(inputs(&BLOBS[..offered], &[]));
    }
    let new: Vec<_> = taken.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&taken).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "not in {LIST}: {new:#?}\nthere, and not taken: {gone:#?}"
    );
}

fn inputs(blobs: &[&str], words: &[&str]) -> BTreeSet<String> {
    let mut all = words.to_vec();
    for event in EVENTS {
        all.extend(["-trace", event]);
    }
    let mut launch = Launch::offering(blobs, Probe::Nothing, &all);
    launch.wait_for(&[END_OF_LINE]);
    let trace = launch.into_trace();
    assert!(
        trace.contains("memory_region_ops_write"),
        "QEMU does not write this kind of trace"
    );
    inputs_of(&trace)
}

/// Returns the inputs of a trace, up to the end of the firmware's line.
fn inputs_of(trace: &str) -> BTreeSet<String> {
    let mut inputs = BTreeSet::new();
    let mut files: Vec<&str> = vec![];
    let mut written = String::new();
    for line in trace.lines() {
        match line.split_once(' ') {
            Some(("fw_cfg_add_file", rest)) => add_file(&mut files, rest),
            Some(("fw_cfg_select", rest)) => drop(inputs.insert(selected(&files, rest))),
            Some(("memory_region_ops_read", rest)) => drop(inputs.insert(register_read(rest))),
            Some(("memory_region_ops_write", rest)) => {
                written.extend(serial_byte(rest));
                if written.ends_with(END_OF_LINE) {
                    return inputs;
                }
            }
            _ => {}
        }
    }
    panic!("the trace ends before the firmware does")
}

/// Returns the word after a word.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let mut words = line.split(' ');
    words.find(|word| *word == name);
    words
        .next()
        .unwrap_or_else(|| panic!("no {name} in {line}"))
}

/// Returns the text between quotes.
fn quoted(line: &str) -> &str {
    line.split('\'')
        .nth(1)
        .unwrap_or_else(|| panic!("no name in {line}"))
}

fn register_read(line: &str) -> String {
    format!("read {} {}", quoted(line), field(line, "addr"))
}

fn serial_byte(line: &str) -> Option<char> {
    let value = field(line, "value").trim_start_matches("0x");
    (field(line, "addr") == SERIAL_PORT).then(|| char::from(u8::from_str_radix(value, 16).unwrap()))
}

/// Adds a file in the order of names; the files after it get other item numbers.
fn add_file<'a>(files: &mut Vec<&'a str>, line: &'a str) {
    let index = line.split_once('#').unwrap().1.split_once(':').unwrap().0;
    let name = line.split_once(": ").unwrap().1.split(' ').next().unwrap();
    files.insert(index.parse().unwrap(), name);
}

fn selected(files: &[&str], line: &str) -> String {
    let key = field(line, "key");
    let item = usize::from_str_radix(key.trim_start_matches("0x"), 16).unwrap();
    match item.checked_sub(FIRST_FILE) {
        None => format!("item {key}"),
        Some(index) => format!("file {}", files.get(index).unwrap_or(&"that is not there")),
    }
}
