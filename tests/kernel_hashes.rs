//! Does `kettle kernel-hashes` return the page that a launch measures, and only for a firmware that
//! reads it?

#![allow(clippy::unwrap_used)] // A test of files: one that cannot be read fails it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

const WITH_HASHES: &str = "ovmf_AmdSev_suffix.bin";
const WITHOUT_HASHES: &str = "ovmf_OvmfX64_suffix.bin";
/// The address in the metadata of that firmware: the page, and the offset of the table in it.
const ADDRESS: &str = "0x810000\n";
const OFFSET: usize = 0xc00;
const COMMAND_LINE: &str = "console=ttyS0 panic=-1";

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/measurement")
        .join(name)
}

fn kernel_hashes(firmware: &str, more: &[&str], out: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kettle"))
        .arg("kernel-hashes")
        .arg("--firmware")
        .arg(data(firmware))
        .args(more)
        .arg("--out")
        .arg(out)
        .output()
        .unwrap()
}

/// Returns an entry as QEMU writes it: the GUID in its mixed byte order, the length, the digest.
fn entry(guid: [u8; 16], bytes: &[u8]) -> Vec<u8> {
    [&guid[..], &[50, 0], &Sha256::digest(bytes)].concat()
}

#[test]
fn the_page_has_the_three_digests_where_the_firmware_looks() {
    let directory = TempDir::new().unwrap();
    let (out, kernel) = (directory.path().join("page"), data("kernel-a.bin"));
    let given = [
        "--kernel",
        kernel.to_str().unwrap(),
        "--command-line",
        COMMAND_LINE,
    ];
    let output = kernel_hashes(WITH_HASHES, &given, &out);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), ADDRESS);
    let page = fs::read(out).unwrap();
    let expected = [
        // 9438d606-4f22-4cc9-b479-a793d411fd21, and the length of all that follows and itself
        vec![
            0x06, 0xd6, 0x38, 0x94, 0x22, 0x4f, 0xc9, 0x4c, 0xb4, 0x79, 0xa7, 0x93, 0xd4, 0x11,
            0xfd, 0x21, 168, 0,
        ],
        // 97d02dd8-bd20-4c94-aa78-e7714d36ab2a
        entry(
            [
                0xd8, 0x2d, 0xd0, 0x97, 0x20, 0xbd, 0x94, 0x4c, 0xaa, 0x78, 0xe7, 0x71, 0x4d, 0x36,
                0xab, 0x2a,
            ],
            format!("{COMMAND_LINE}\0").as_bytes(),
        ),
        // 44baf731-3a2f-4bd7-9af1-41e29169781d
        entry(
            [
                0x31, 0xf7, 0xba, 0x44, 0x2f, 0x3a, 0xd7, 0x4b, 0x9a, 0xf1, 0x41, 0xe2, 0x91, 0x69,
                0x78, 0x1d,
            ],
            b"",
        ),
        // 4de79437-abd2-427f-b835-d5b172d2045b
        entry(
            [
                0x37, 0x94, 0xe7, 0x4d, 0xd2, 0xab, 0x7f, 0x42, 0xb8, 0x35, 0xd5, 0xb1, 0x72, 0xd2,
                0x04, 0x5b,
            ],
            &fs::read(kernel).unwrap(),
        ),
    ]
    .concat();
    assert_eq!(page.len(), 4096);
    assert_eq!(page[OFFSET..OFFSET + expected.len()], expected);
    assert!(
        page[..OFFSET]
            .iter()
            .chain(&page[OFFSET + expected.len()..])
            .all(|byte| *byte == 0)
    );
}

#[test]
fn without_a_kernel_or_a_firmware_that_looks_there_is_no_page() {
    let directory = TempDir::new().unwrap();
    let (out, kernel) = (directory.path().join("page"), data("kernel-a.bin"));
    let given = ["--kernel", kernel.to_str().unwrap()];
    for (firmware, given, says) in [
        (WITHOUT_HASHES, &given[..], "does not measure a kernel"),
        (WITH_HASHES, &[], "no kernel: give --kernel"),
    ] {
        let output = kernel_hashes(firmware, given, &out);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(says), "{text}");
        assert!(!out.exists());
    }
}
