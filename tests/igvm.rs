//! Does an IGVM file launch the same as the files that it was made of? The `igvm` crate reads our
//! file, and its directives have the measurement of the launch. Does our reader refuse what it does
//! not understand?
//!
//! No host here accepts such files, so no test shows how a hypervisor reads one.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use igvm::{IgvmDirectiveHeader, IgvmFile, IgvmInitializationHeader};
use kettle::digest::Sha256Digest;
use kettle::snp::igvm::{IgvmError, IgvmLaunch, MAX_IGVM_BYTES, Shape, measure, write};
use kettle::snp::measurement::{
    BootHashes, CpuSignature, Firmware, Launch, LaunchMeasurement, Vmm,
};
use sha2::{Digest as _, Sha384};

const PAGE_BYTES: usize = 4096;
/// The offsets of the checksum and of the headers.
const CHECKSUM: usize = 20;
const HEADERS: usize = 24;

struct Guest {
    image: Vec<u8>,
    firmware: Firmware,
    boot: BootHashes,
}

impl Guest {
    fn new() -> Self {
        let image = fs::read(path("measurement/ovmf_AmdSev_suffix.bin")).unwrap();
        let hash = |name: &str| *Sha256Digest::of(&fs::read(path(name)).unwrap()).as_bytes();
        let initrd = Some(hash("measurement/initrd-a.bin"));
        let boot =
            BootHashes::new(hash("measurement/kernel-a.bin"), initrd, b"console=ttyS0").unwrap();
        Self {
            firmware: Firmware::parse(&image).unwrap(),
            image,
            boot,
        }
    }

    fn file(&self, shape: &Shape) -> Vec<u8> {
        write(&self.image, &self.firmware, Some(&self.boot), shape).unwrap()
    }

    fn measurement(&self, shape: &Shape) -> LaunchMeasurement {
        let launch = Launch::new(&self.firmware, Some(&self.boot), Vmm::Qemu).unwrap();
        launch
            .by_vcpus(shape.cpu, shape.features)
            .nth(usize::from(shape.vcpus) - 1)
            .unwrap()
    }
}

fn shape(cpu: &str, vcpus: u16) -> Shape {
    Shape {
        cpu: cpu.parse().unwrap(),
        features: 1,
        vcpus,
        policy: 0x30000,
    }
}

/// Returns the launch digest of the directives that the crate read, as the firmware calculates it
/// (AMD 56860, SNP_LAUNCH_UPDATE).
fn measured_by_the_crate(file: &IgvmFile) -> [u8; 48] {
    let mut digest = [0; 48];
    let mut add = |kind: u8, address: u64, content: [u8; 48]| {
        let info = [
            &digest[..],
            &content,
            &[0x70, 0, kind, 0, 0, 0, 0, 0],
            &address.to_le_bytes(),
        ]
        .concat();
        digest = Sha384::digest(info).into();
    };
    let of = |data: &[u8]| -> [u8; 48] {
        assert_eq!(data.len(), PAGE_BYTES);
        Sha384::digest(data).into()
    };
    let mut vmsas = Vec::new();
    for directive in file.directives() {
        match directive {
            IgvmDirectiveHeader::PageData {
                gpa,
                flags,
                data_type,
                data,
                ..
            } => {
                assert_eq!(u32::from(*flags), 0);
                match (data_type.0, data.is_empty()) {
                    (0, false) => add(1, *gpa, of(data)),
                    (0, true) => add(3, *gpa, [0; 48]),
                    (1, true) => add(5, *gpa, [0; 48]),
                    (2, true) => add(6, *gpa, [0; 48]),
                    other => panic!("{other:?}"),
                }
            }
            IgvmDirectiveHeader::SnpVpContext {
                gpa,
                vp_index,
                vmsa,
                ..
            } => {
                assert_eq!(
                    (*gpa, usize::from(*vp_index)),
                    (0xffff_ffff_f000, vmsas.len())
                );
                vmsas.push(of(zerocopy::IntoBytes::as_bytes(&**vmsa)));
            }
            other => panic!("{other:?}"),
        }
    }
    vmsas
        .into_iter()
        .for_each(|vmsa| add(2, 0xffff_ffff_f000, vmsa));
    digest
}

#[test]
fn the_crate_reads_what_we_write_and_its_pages_are_those_of_the_launch() {
    let guest = Guest::new();
    for (cpu, vcpus) in [
        ("EPYC-v4", 1),
        ("EPYC-v4", 2),
        ("EPYC-Milan", 4),
        ("EPYC-Turin", 64),
        ("EPYC-Genoa", 255),
    ] {
        let shape = shape(cpu, vcpus);
        let bytes = guest.file(&shape);
        let file = IgvmFile::new_from_binary(&bytes, None).unwrap();
        let expected = guest.measurement(&shape);
        assert_eq!(
            measured_by_the_crate(&file),
            *expected.as_bytes(),
            "{cpu} {vcpus}"
        );
        let launch = IgvmLaunch {
            measurement: expected,
            vcpus,
            policy: Some(0x30000),
        };
        assert_eq!(measure(&bytes), Ok(launch), "{cpu} {vcpus}");
        let policy = IgvmInitializationHeader::GuestPolicy {
            policy: 0x30000,
            compatibility_mask: 1,
        };
        assert_eq!(file.initializations(), [policy]);
    }
}

#[test]
fn another_kernel_policy_or_firmware_makes_another_file() {
    let guest = Guest::new();
    let good = shape("EPYC-v4", 2);
    let expected = measure(&guest.file(&good)).unwrap();
    let other = Shape {
        policy: 0x20000,
        ..good
    };
    assert_eq!(
        measure(&guest.file(&other)).unwrap(),
        IgvmLaunch {
            policy: Some(0x20000),
            ..expected
        }
    );
    let boot = BootHashes::new([7; 32], None, b"").unwrap();
    let file = write(&guest.image, &guest.firmware, Some(&boot), &good).unwrap();
    assert_ne!(measure(&file).unwrap().measurement, expected.measurement);
    let signature = Shape {
        cpu: CpuSignature::from_raw(1),
        ..good
    };
    assert_ne!(
        measure(&guest.file(&signature)).unwrap().measurement,
        expected.measurement
    );
}

/// Returns the file with its checksum corrected.
fn sealed(mut file: Vec<u8>) -> Vec<u8> {
    let length = u32::from_le_bytes(file[12..16].try_into().unwrap()) as usize;
    let Some(end) = (HEADERS + length <= file.len()).then_some(HEADERS + length) else {
        return file;
    };
    file[CHECKSUM..][..4].fill(0);
    let mut checksum = flate2::Crc::new();
    checksum.update(&file[..end]);
    file[CHECKSUM..][..4].copy_from_slice(&checksum.sum().to_le_bytes());
    file
}

#[test]
fn every_bit_of_the_headers_is_checked() {
    let file = Guest::new().file(&shape("EPYC-v4", 2));
    let good = measure(&file).unwrap();
    assert_eq!(sealed(file.clone()), file);
    let end = HEADERS + u32::from_le_bytes(file[12..16].try_into().unwrap()) as usize;
    for bit in 0..end * 8 {
        let mut flipped = file.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(measure(&flipped).is_err(), "bit {bit}");
        // With the right checksum it is refused, or is another launch.
        if !(CHECKSUM..HEADERS).contains(&(bit / 8)) {
            assert_ne!(measure(&sealed(flipped)), Ok(good), "bit {bit}");
        }
    }
    for byte in (end..file.len()).step_by(997) {
        let mut changed = file.clone();
        changed[byte] ^= 0x10;
        assert_ne!(
            measure(&changed).unwrap().measurement,
            good.measurement,
            "byte {byte} is in no page"
        );
    }
}

#[test]
fn a_file_that_is_cut_continued_or_of_another_kind_is_refused() {
    let file = Guest::new().file(&shape("EPYC-v4", 2));
    for size in (0..file.len()).step_by(61) {
        assert!(measure(&file[..size]).is_err(), "{size} bytes");
    }
    let longer = [&file[..], &[0]].concat();
    assert!(matches!(
        measure(&longer),
        Err(IgvmError::StatedSize { .. })
    ));
    let limit = MAX_IGVM_BYTES;
    assert_eq!(
        measure(&vec![0; limit + 1]),
        Err(IgvmError::Size {
            size: limit + 1,
            limit
        })
    );
    assert!(matches!(measure(&[0; 64]), Err(IgvmError::Magic { .. })));
    let edited = |offset: usize, value: &[u8]| {
        let mut file = file.clone();
        file[offset..offset + value.len()].copy_from_slice(value);
        measure(&sealed(file)).unwrap_err()
    };
    assert!(matches!(
        edited(4, &[2]),
        IgvmError::Version { actual: 2, .. }
    ));
    // Platform, then policy, then pages: 24, 24 and 32 bytes each.
    assert!(matches!(
        edited(HEADERS + 8 + 5, &[3]),
        IgvmError::Field {
            field: "the platform",
            ..
        }
    ));
    assert!(matches!(
        edited(HEADERS + 24, &0x102_u32.to_le_bytes()),
        IgvmError::Header { kind: 0x102, .. }
    ));
    let page = HEADERS + 48;
    let second = file[page + 32..][..32].to_vec();
    assert!(matches!(edited(page, &second), IgvmError::Repeated { .. }));
    for (offset, value) in [(8, 1), (16, 3), (24, 1), (24, 4), (28, 3), (30, 1)] {
        assert!(
            matches!(edited(page + offset, &[value]), IgvmError::Field { .. }),
            "{offset}"
        );
    }
    for offset in [HEADERS as u32, file.len() as u32 - 1, u32::MAX] {
        let bounds = IgvmError::Bounds {
            part: "the data of a page",
        };
        assert_eq!(edited(page + 20, &offset.to_le_bytes()), bounds);
    }
    let unknown = (0x8000_0302_u32).to_le_bytes();
    assert!(
        matches!(
            edited(page, &unknown),
            IgvmError::Header {
                kind: 0x8000_0302,
                ..
            }
        ),
        "optional ones too"
    );
}

#[test]
fn vcpus_occur_once_and_in_order() {
    let file = Guest::new().file(&shape("EPYC-v4", 2));
    let end = HEADERS + u32::from_le_bytes(file[12..16].try_into().unwrap()) as usize;
    let with_index = |header: usize, index: u16| {
        let mut file = file.clone();
        file[end - header * 32 + 8 + 16..][..2].copy_from_slice(&index.to_le_bytes());
        measure(&sealed(file))
    };
    assert_eq!(
        with_index(1, 0),
        Err(IgvmError::Vcpu {
            expected: 1,
            actual: 0
        })
    );
    assert_eq!(
        with_index(1, 2),
        Err(IgvmError::Vcpu {
            expected: 1,
            actual: 2
        })
    );
    assert_eq!(
        with_index(2, 1),
        Err(IgvmError::Vcpu {
            expected: 0,
            actual: 1
        })
    );
    // The list ends before the first vCPU: the former headers are data that nothing refers to.
    let mut none = file.clone();
    none[12..16].copy_from_slice(&((end - HEADERS - 64) as u32).to_le_bytes());
    assert_eq!(measure(&sealed(none)), Err(IgvmError::NoVcpu));
}

#[test]
fn the_commands_agree() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kettle.igvm");
    let data = |name: &str| {
        path(&format!("measurement/{name}"))
            .to_str()
            .unwrap()
            .to_owned()
    };
    let line = directory.path().join("cmdline");
    fs::write(&line, "console=ttyS0").unwrap();
    let common = [
        "--firmware".to_owned(),
        data("ovmf_AmdSev_suffix.bin"),
        "--kernel".to_owned(),
        data("kernel-a.bin"),
        "--initrd".to_owned(),
        data("initrd-a.bin"),
        "--command-line-file".to_owned(),
        line.to_str().unwrap().to_owned(),
        "--vcpu-type=EPYC-Genoa".to_owned(),
        "--vcpus=3".to_owned(),
    ];
    let out = ["--out".to_owned(), file.to_str().unwrap().to_owned()];
    let written = printed(&kettle("igvm", &[&common[..], &out].concat()));
    assert_eq!(written, printed(&kettle("measure", &common)));
    let read = ["--igvm".to_owned(), out[1].clone()];
    assert_eq!(written, printed(&kettle("measure", &read)));
    for (command, arguments, message) in [
        (
            "measure",
            vec!["--igvm".to_owned(), common[1].clone()],
            "not with IGVM",
        ),
        (
            "measure",
            [&read[..], &common].concat(),
            "cannot be used with",
        ),
        ("igvm", common.to_vec(), "--out"),
        ("igvm", [&common[4..], &out].concat(), "--firmware"),
    ] {
        let output = kettle(command, &arguments);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(complaint.contains(message), "{complaint}");
    }
}

fn kettle(command: &str, arguments: &[String]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kettle"))
        .arg(command)
        .args(arguments)
        .output()
        .unwrap()
}

fn printed(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(file)
}
