//! Does another reader of AMD's structures, the `sev` crate, read the same as ours? And why is it
//! not in the programs? Each case below that it reads differently from AMD's document is one that a
//! verifier, or PID 1, must not get wrong (src/DEPENDENCIES.md). When one of these cases fails
//! after an update of the crate, its reason is gone.
#![cfg(all(feature = "cli", feature = "appliance"))]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use kettle::attester::Certificates;
use kettle::snp::report::{GuestPolicy, REPORT_BYTES, Report, SIGNED_BYTES, SigningKey};
use kettle::snp::tcb::{Component, Product, TcbVersion};
use sev::firmware::guest::AttestationReport;
use sev::firmware::host::{CertTableEntry, TcbVersion as TheirTcb};
use sev::parser::ByteParser as _;

/// Offset of VERSION, of POLICY and of CHIP_ID (AMD 56860, ATTESTATION_REPORT).
const VERSION: usize = 0;
const POLICY: usize = 8;
const CHIP_ID: usize = 0x1a0;
const CHIP_ID_BYTES: usize = 64;

/// Returns the reports of real machines: their names and bytes.
fn reports() -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/snp/reports");
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        found.push((name, fs::read(entry.path().join("report.bin")).unwrap()));
    }
    found.sort();
    assert!(found.len() > 40, "only {} reports", found.len());
    found
}

/// Returns the product by the report's name.
fn product(name: &str) -> Product {
    let line = name.split('-').next().unwrap();
    Product::ALL
        .into_iter()
        .find(|product| product.name().eq_ignore_ascii_case(line))
        .unwrap()
}

/// Panics where the two read a component differently.
fn compare_tcb(what: &str, ours: TcbVersion, theirs: TheirTcb) {
    let theirs = [
        (Component::Fmc, theirs.fmc),
        (Component::Bootloader, Some(theirs.bootloader)),
        (Component::Tee, Some(theirs.tee)),
        (Component::Snp, Some(theirs.snp)),
        (Component::Microcode, Some(theirs.microcode)),
    ];
    for (component, version) in theirs {
        assert_eq!(ours.component(component), version, "{what}: {component}");
    }
}

/// Panics where the two read a field differently.
fn compare(what: &str, ours: &Report, theirs: &AttestationReport, product: Product) {
    assert_eq!(ours.version(), theirs.version, "{what}");
    assert_eq!(ours.guest_svn(), theirs.guest_svn, "{what}");
    assert_eq!(
        ours.policy().0 | GuestPolicy::RESERVED_ONE,
        u64::from(theirs.policy),
        "{what}"
    );
    assert_eq!(ours.policy().debug(), theirs.policy.debug_allowed());
    assert_eq!(
        ours.policy().migrate_ma(),
        theirs.policy.migrate_ma_allowed()
    );
    assert_eq!(ours.vmpl(), theirs.vmpl, "{what}");
    assert_eq!(ours.signature_algorithm(), theirs.sig_algo, "{what}");
    assert_eq!(
        ours.platform_info().0,
        u64::from(theirs.plat_info),
        "{what}"
    );
    assert_eq!(
        ours.author_key_enabled(),
        theirs.key_info.author_key_en(),
        "{what}"
    );
    assert_eq!(
        ours.mask_chip_key(),
        theirs.key_info.mask_chip_key(),
        "{what}"
    );
    let signing_key = match theirs.key_info.signing_key() {
        0 => SigningKey::Vcek,
        1 => SigningKey::Vlek,
        7 => SigningKey::None,
        other => SigningKey::Reserved(u8::try_from(other).unwrap()),
    };
    assert_eq!(ours.signing_key(), signing_key, "{what}");
    assert_eq!(ours.report_data(), theirs.report_data, "{what}");
    assert_eq!(ours.measurement().as_bytes(), &theirs.measurement, "{what}");
    assert_eq!(ours.host_data(), theirs.host_data, "{what}");
    assert_eq!(ours.id_key_digest(), theirs.id_key_digest, "{what}");
    assert_eq!(ours.author_key_digest(), theirs.author_key_digest, "{what}");
    assert_eq!(ours.chip_id(), theirs.chip_id, "{what}");
    let processor = ours
        .processor()
        .map(|read| (read.family, read.model, read.stepping));
    let theirs_of_processor = theirs.cpuid_fam_id.map(|family| {
        (
            family,
            theirs.cpuid_mod_id.unwrap(),
            theirs.cpuid_step.unwrap(),
        )
    });
    assert_eq!(processor, theirs_of_processor, "{what}");
    compare_tcb(what, ours.current_tcb(product), theirs.current_tcb);
    compare_tcb(what, ours.reported_tcb(product), theirs.reported_tcb);
    compare_tcb(what, ours.committed_tcb(product), theirs.committed_tcb);
    compare_tcb(what, ours.launch_tcb(product), theirs.launch_tcb);
}

/// Reads bytes with both; none where the crate refuses them.
fn read(bytes: &[u8]) -> (Report, Option<AttestationReport>) {
    (
        Report::try_from(bytes).unwrap(),
        AttestationReport::from_bytes(bytes).ok(),
    )
}

#[test]
fn every_report_of_a_real_machine_is_read_alike() {
    for (name, bytes) in reports() {
        let (ours, theirs) = read(&bytes);
        // Another test shows why they cannot read some.
        if bytes[CHIP_ID..][..CHIP_ID_BYTES] == [0; CHIP_ID_BYTES] {
            continue;
        }
        compare(&name, &ours, &theirs.unwrap(), product(&name));
    }
}

/// Bits of the version and the processor select the layout, and are other cases.
#[test]
fn every_flipped_bit_of_the_signed_part_is_read_alike_or_refused_by_them() {
    const SELECTS_THE_LAYOUT: [std::ops::Range<usize>; 2] = [VERSION..4, 0x188..0x18b];
    let reports = reports();
    for version in ["milan-v2", "milan-v3", "genoa-v5", "turin-v5"] {
        let (name, bytes) = reports
            .iter()
            .find(|(name, bytes)| {
                name.starts_with(version) && bytes[CHIP_ID..][..CHIP_ID_BYTES] != [0; CHIP_ID_BYTES]
            })
            .unwrap();
        let mut refused = 0;
        for bit in 0..SIGNED_BYTES * 8 {
            if SELECTS_THE_LAYOUT
                .iter()
                .any(|range| range.contains(&(bit / 8)))
            {
                continue;
            }
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let (ours, theirs) = read(&flipped);
            match theirs {
                Some(theirs) => {
                    compare(&format!("{name}, bit {bit}"), &ours, &theirs, product(name));
                }
                None => {
                    assert!(
                        ours.reserved_not_zero().is_some()
                            || !ours.reported_tcb(product(name)).is_canonical()
                            || !ours.current_tcb(product(name)).is_canonical()
                            || !ours.committed_tcb(product(name)).is_canonical()
                            || !ours.launch_tcb(product(name)).is_canonical(),
                        "{name}: they refuse bit {bit}, and nothing of ours would"
                    );
                    refused += 1;
                }
            }
        }
        assert!(refused > 0, "{name}");
    }
}

/// A verdict must say that this bit is missing: the firmware never makes such a policy.
#[test]
fn they_put_a_bit_into_the_policy_that_the_report_does_not_have() {
    let (_, mut bytes) = reports().remove(0);
    let policy = u64::from_le_bytes(bytes[POLICY..][..8].try_into().unwrap());
    let without = policy & !GuestPolicy::RESERVED_ONE;
    bytes[POLICY..][..8].copy_from_slice(&without.to_le_bytes());
    let (ours, theirs) = read(&bytes);
    assert_eq!(ours.policy().0, without);
    assert_eq!(u64::from(theirs.unwrap().policy), policy);
}

/// A verdict must say which version is unknown.
#[test]
fn they_read_a_version_that_nobody_has_specified_as_the_last_one() {
    let (name, mut bytes) = reports()
        .into_iter()
        .find(|(name, _)| name.starts_with("genoa-v5"))
        .unwrap();
    bytes[VERSION] = 6;
    let (ours, theirs) = read(&bytes);
    assert_eq!(ours.version(), 6, "{name}");
    assert_eq!(theirs.unwrap().version, 6, "{name}");
}

/// The layout of version 2 comes from the certificate, not from a guess by a field that the host
/// can have masked.
#[test]
fn they_cannot_read_version_2_of_a_machine_that_hides_its_identifier() {
    let (name, mut bytes) = reports()
        .into_iter()
        .find(|(name, _)| name.starts_with("milan-v2"))
        .unwrap();
    bytes[CHIP_ID..][..CHIP_ID_BYTES].fill(0);
    let (ours, theirs) = read(&bytes);
    assert_eq!(ours.chip_id(), [0; CHIP_ID_BYTES], "{name}");
    assert!(theirs.is_none(), "{name}");
    assert_eq!(ours.as_bytes().len(), REPORT_BYTES);
}

/// The certificate table is written by the host (GHCB, SNP Extended Guest Request): what it says of
/// offsets is followed wherever it leads. Here it leads past the end of the table, into bytes that
/// this test owns too.
#[test]
fn they_read_certificates_from_outside_the_table() {
    /// An entry: GUID, offset, length; a last one of zeros ends the list.
    const ENTRY_BYTES: usize = 24;
    const VCEK: [u8; 16] = [
        0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac,
        0xcd,
    ];
    const TABLE_BYTES: usize = 4096;
    let secret = *b"of this process, and not of the table";
    let mut memory = vec![0; TABLE_BYTES + secret.len()];
    memory[TABLE_BYTES..].copy_from_slice(&secret);
    let mut entry = VCEK.to_vec();
    entry.extend(u32::try_from(TABLE_BYTES).unwrap().to_le_bytes());
    entry.extend(u32::try_from(secret.len()).unwrap().to_le_bytes());
    assert_eq!(entry.len(), ENTRY_BYTES);
    memory[..ENTRY_BYTES].copy_from_slice(&entry);

    let ours = Certificates::read(&memory[..TABLE_BYTES]);
    assert!(ours.is_err(), "{ours:?}");
    let theirs = CertTableEntry::vec_bytes_to_cert_table(&mut memory[..TABLE_BYTES]).unwrap();
    assert_eq!(theirs[0].data(), secret);
}
