//! Where exactly does each rule end? For each sentence: what is still accepted, and what is
//! rejected.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kettle::bundle::read::{
    MAX_BUNDLE_BYTES, MAX_BUNDLE_ENTRIES, MAX_BUNDLE_PATH_BYTES, MAX_EVIDENCE_BYTES, MAX_PAX_BYTES,
    MAX_PROVENANCE_BYTES, ReadError, archive, stream,
};
use kettle::bundle::{Entry, write};
use kettle::name::project::ProjectName;
use kettle::provenance::{BUILDER_HOST, BUILDER_SEV_SNP, BUILDER_SIMULATED};
use kettle::verifier::{
    AttestationResult, Check, MinimumTcb, NOT_ESTABLISHED, Platform, ReferenceValues, Statement,
    TrustRoots, Waivable,
};
use serde_json::{Value, json};

use super::hierarchy::{keys, pem, tlv};
use super::scene::{ALIAS_CHECK_COMPLETE, MEASUREMENT, MICROCODE, SNP, Scene, digest, evidence};

/// Returns the code of the only check that rejects; nothing for an accepted bundle.
fn code(result: &AttestationResult) -> &'static str {
    let codes: Vec<_> = result
        .outcomes()
        .filter_map(|(_, outcome)| Some(outcome.rejection()?.code()))
        .collect();
    assert_eq!(codes.is_empty(), result.is_accepted(), "{result:?}");
    assert!(codes.len() < 2, "{codes:?}");
    codes.first().copied().unwrap_or_default()
}

fn changed(change: impl FnOnce(&mut Scene)) -> &'static str {
    let mut scene = Scene::good();
    change(&mut scene);
    code(&scene.verify())
}

fn reported(edit: impl Fn(&mut [u8; 1184]) + 'static) -> &'static str {
    changed(|scene| scene.edit_report = Box::new(edit))
}

fn stated(pointer: &str, value: Value) -> &'static str {
    changed(|scene| *scene.statement.pointer_mut(pointer).expect(pointer) = value)
}

fn policy_bit(bit: usize) -> &'static str {
    reported(move |report| report[8 + bit / 8] ^= 1 << (bit % 8))
}

#[test]
fn every_bit_of_the_guest_policy_has_its_rule() {
    for bit in 0..64 {
        let expected = match bit {
            17 => "policy-reserved-one",
            18 => "policy-migration-agent",
            19 => "policy-debug",
            26.. => "policy-reserved",
            _ => "",
        };
        assert_eq!(policy_bit(bit), expected, "bit {bit}");
    }
    for vmpl in [1_u32, 2, 3, 4, u32::MAX] {
        assert_eq!(
            reported(move |report| report[0x30..0x34].copy_from_slice(&vmpl.to_le_bytes())),
            "vmpl"
        );
    }
}

#[test]
fn versions_2_to_5_and_one_algorithm() {
    for version in [0_u32, 1, 2, 3, 4, 5, 6, 0x0100_0005] {
        let found = reported(move |report| {
            report[..4].copy_from_slice(&version.to_le_bytes());
            if version < 3 {
                report[0x188..0x18b].fill(0);
            }
        });
        assert_eq!(
            found,
            if (2..=5).contains(&version) {
                ""
            } else {
                "report-version"
            },
            "{version}"
        );
    }
    for algorithm in [0, 2, 0xff] {
        assert_eq!(
            reported(move |report| report[0x34] = algorithm),
            "report-algorithm"
        );
    }
}

#[test]
fn every_byte_that_must_be_zero_is_looked_at() {
    let reserved = [
        0x49..0x50,
        0x18b..0x1a0,
        0x1eb..0x1ec,
        0x1ef..0x1f0,
        0x208..0x2a0,
        0x330..0x4a0,
    ];
    for offset in reserved
        .into_iter()
        .flatten()
        .step_by(3)
        .chain([0x49, 0x4f, 0x1eb, 0x1ef, 0x29f, 0x49f])
    {
        let found = changed(|scene| {
            let edit = move |report: &mut [u8; 1184]| report[offset] = 0x80;
            if offset < 0x2a0 {
                scene.edit_report = Box::new(edit)
            } else {
                scene.edit_signed_report = Box::new(edit)
            }
        });
        assert_eq!(found, "report-reserved", "{offset:#x}");
    }
    for offset in (0x2d0..0x2e8).chain(0x318..0x330) {
        let found =
            changed(|scene| scene.edit_signed_report = Box::new(move |report| report[offset] = 1));
        assert_eq!(found, "signature-range", "{offset:#x}");
    }
}

#[test]
fn tcb_versions_are_compared_by_component() {
    // Another component that is larger does not make up for it.
    for (offset, value, other) in [(0, 4, 7), (6, SNP, 7), (7, MICROCODE, 0)] {
        let lowered = move |field: usize| {
            move |report: &mut [u8; 1184]| {
                report[field + offset] = value - 1;
                report[field + other] = 255;
            }
        };
        assert_eq!(
            reported(lowered(0x1e0)),
            "tcb-reported-above-committed",
            "{offset}"
        );
        assert_eq!(
            reported(lowered(0x38)),
            "tcb-launch-above-current",
            "{offset}"
        );
    }
    for (minimum, expected) in [
        ("bootloader=4,tee=0,snp=27,microcode=86", ""),
        ("snp=28", "tcb-below-minimum"),
        ("microcode=87", "tcb-below-minimum"),
        ("bootloader=5", "tcb-below-minimum"),
        ("tee=1", "tcb-below-minimum"),
        ("fmc=0", "tcb-below-minimum"),
    ] {
        let found = changed(|scene| {
            scene.edit_expectations =
                Box::new(move |expected| expected.minimum_tcb = minimum.parse().unwrap());
        });
        assert_eq!(found, expected, "{minimum}");
    }
}

/// Returns a Genoa with these reported versions, and the minimum that the reader gave.
fn versions(processor: [u8; 2], snp: u8, microcode: u8, minimum: &str) -> AttestationResult {
    let minimum = if minimum.is_empty() {
        MinimumTcb::default()
    } else {
        minimum.parse().unwrap()
    };
    let mut scene = Scene::good();
    scene.set_extension("1.3.6.1.4.1.3704.1.3.3", Some(vec![2, 1, snp]));
    // A number from 128 on has a byte more in DER.
    let der = if microcode < 128 {
        vec![2, 1, microcode]
    } else {
        vec![2, 2, 0, microcode]
    };
    scene.set_extension("1.3.6.1.4.1.3704.1.3.8", Some(der));
    scene.edit_report = Box::new(move |report| {
        report[0x189..0x18b].copy_from_slice(&processor);
        for offset in [0x38, 0x180, 0x1e0, 0x1f0] {
            report[offset + 6..offset + 8].copy_from_slice(&[snp, microcode]);
        }
    });
    scene.edit_expectations = Box::new(move |expected| expected.minimum_tcb = minimum);
    scene.verify()
}

#[test]
fn old_firmware_is_refused_unless_the_reader_takes_it() {
    const GENOA: [u8; 2] = [0x11, 1];
    const GENOA_X: [u8; 2] = [0x11, 2];
    const BERGAMO: [u8; 2] = [0xa0, 2];
    const UNHEARD_OF: [u8; 2] = [0x1f, 7];
    for (processor, snp, microcode, minimum, expected) in [
        (GENOA, SNP, MICROCODE, "", ""),
        (GENOA, SNP, 0xff, "", ""),
        (GENOA, SNP - 1, MICROCODE, "", "tcb-below-floor"),
        (GENOA, SNP - 1, 0xff, "", "tcb-below-floor"),
        (GENOA, SNP, MICROCODE - 1, "", "tcb-below-floor"),
        (GENOA, 0xff >> 1, MICROCODE - 1, "", "tcb-below-floor"),
        // Each stepping counts its microcode for itself.
        (GENOA_X, SNP, 81, "", ""),
        (GENOA_X, SNP, 80, "", "tcb-below-floor"),
        (BERGAMO, SNP, 27, "", ""),
        (BERGAMO, SNP, 26, "", "tcb-below-floor"),
        // The needs of this one are unknown, so it needs the most of its product.
        (UNHEARD_OF, SNP, MICROCODE, "", ""),
        (UNHEARD_OF, SNP, MICROCODE - 1, "", "tcb-below-floor"),
        (UNHEARD_OF, SNP, 81, "", "tcb-below-floor"),
        (UNHEARD_OF, SNP, 0, "", "tcb-below-floor"),
        (UNHEARD_OF, SNP, 0, "microcode=0", ""),
        (UNHEARD_OF, SNP - 1, 0xff, "", "tcb-below-floor"),
        // A given version replaces the floor of its component, and of no other.
        (GENOA, SNP - 1, MICROCODE, "snp=26", ""),
        (GENOA, SNP - 2, MICROCODE, "snp=26", "tcb-below-minimum"),
        (GENOA, SNP - 1, MICROCODE - 1, "snp=26", "tcb-below-floor"),
        (GENOA, SNP, MICROCODE, "snp=28", "tcb-below-minimum"),
        (GENOA, 1, 0, "snp=0,microcode=0", ""),
        (GENOA, 0, 0, "none", ""),
    ] {
        let found = versions(processor, snp, microcode, minimum);
        assert_eq!(
            code(&found),
            expected,
            "{processor:x?} snp={snp},microcode={microcode}, {minimum:?} given"
        );
    }
}

#[test]
fn the_verdict_says_which_firmware_it_took() {
    let said_of = |processor, snp, microcode, minimum: &str| {
        let result = versions(processor, snp, microcode, minimum);
        assert!(result.is_accepted(), "{result:?}");
        let claims = result.claims();
        let open: Vec<_> = claims[NOT_ESTABLISHED]
            .as_array()
            .unwrap()
            .iter()
            .map(Value::to_string)
            .collect();
        (
            claims["minimum_tcb"].as_str().unwrap().to_owned(),
            open.join("\n"),
        )
    };
    let said = |snp, microcode, minimum: &str| said_of([0x11, 1], snp, microcode, minimum);
    let (minimum, open) = said_of([0x1f, 7], SNP, MICROCODE, "");
    assert!(minimum.contains(", microcode=86 (AMD-SB-"), "{minimum}");
    assert!(
        open.contains("model 0x1f stepping 7 needs is not known: 86 was asked for"),
        "{open}"
    );
    let refused = versions([0x1f, 7], SNP, 81, "");
    assert!(
        format!("{refused:?}").contains("unlisted: Some(Processor { family: 25, model: 31"),
        "{refused:?}"
    );
    let (minimum, open) = said(SNP, MICROCODE, "");
    assert!(!open.contains("needs is not known"), "{open}");
    assert!(
        minimum.starts_with("snp=27 (AMD-SB-") && minimum.contains(", microcode=86 (AMD-SB-"),
        "{minimum}"
    );
    assert!(
        open.contains("no floor is known for bootloader, tee of Genoa") && !open.contains("old"),
        "{open}"
    );
    assert!(
        open.contains("AMD-SB-3034"),
        "an advisory that no version tells of: {open}"
    );
    let (minimum, open) = said(SNP, MICROCODE, "snp=20,tee=0");
    assert!(
        minimum.starts_with("tee=0 (given), snp=20 (given), microcode=86 (AMD-SB-"),
        "{minimum}"
    );
    assert!(
        open.contains("snp may be as old as 20 (--min-tcb), the floor is 27 (AMD-SB-"),
        "{open}"
    );
    assert!(
        open.contains("no floor is known for bootloader of Genoa"),
        "{open}"
    );
    let (minimum, open) = said(21, 1, "none");
    assert_eq!(minimum, "none");
    assert!(
        open.contains("--min-tcb none") && open.contains("firmware before snp=22 does not look"),
        "{open}"
    );
    let waived = changed_expectations(|expected| expected.waived.extend([Waivable::Tcb]));
    assert_eq!(
        (
            &waived.claims()["minimum_tcb"],
            &waived.claims()[NOT_ESTABLISHED]
        ),
        (&Value::Null, &json!([]))
    );
}

fn changed_expectations(edit: fn(&mut kettle::verifier::Expectations)) -> AttestationResult {
    let mut scene = Scene::good();
    scene.edit_expectations = Box::new(edit);
    scene.verify()
}

#[test]
fn firmware_that_looks_for_aliases_has_to_have_found_none() {
    const SINCE: u8 = 22;
    // The firmware that runs, the one it reports, the bit, and whether that is in order.
    for (current, reported, info, expected) in [
        (SNP, SNP, ALIAS_CHECK_COMPLETE, ""),
        (SNP, SNP, 0xff, ""),
        (SNP, SNP, 0, "alias-check-incomplete"),
        (SNP, SNP, !ALIAS_CHECK_COMPLETE, "alias-check-incomplete"),
        (SINCE, SINCE, 0, "alias-check-incomplete"),
        // Reported as older than it is: the running firmware decides.
        (SINCE, SINCE - 1, 0, "alias-check-incomplete"),
        (SINCE - 1, SINCE - 1, 0, ""),
    ] {
        let mut scene = Scene::good();
        scene.set_extension("1.3.6.1.4.1.3704.1.3.3", Some(vec![2, 1, reported]));
        scene.edit_report = Box::new(move |report| {
            report[0x40] = info;
            report[0x180 + 6] = reported;
            for offset in [0x38, 0x1e0, 0x1f0] {
                report[offset + 6] = current;
            }
        });
        // Old firmware is accepted here: this check is separate.
        scene.edit_expectations = Box::new(|expected| expected.minimum_tcb = MinimumTcb::none());
        assert_eq!(
            code(&scene.verify()),
            expected,
            "runs {current}, reports {reported}, {info:#x}"
        );
        scene.edit_expectations = Box::new(|expected| {
            expected.minimum_tcb = MinimumTcb::none();
            expected.waived.extend([Waivable::Tcb]);
        });
        assert!(scene.verify().is_accepted(), "waived");
    }
}

#[test]
fn a_certificate_has_one_role_and_its_issuer_the_role_that_goes_with_it() {
    let roles = |is_of_a_cloud: bool, ask: &'static str, leaf: &'static str| {
        changed(|scene| {
            if is_of_a_cloud {
                scene.of_a_cloud();
            }
            (scene.ask.subject, scene.leaf.issuer, scene.leaf.subject) = (ask, ask, leaf);
        })
    };
    for (is_of_a_cloud, ask, leaf, expected) in [
        (false, "SEV-Test", "SEV-VCEK", ""),
        (true, "SEV-VLEK-Test", "SEV-VLEK", ""),
        (
            false,
            "SEV-VLEK-Test",
            "SEV-VCEK",
            "certificate-issuer-role",
        ),
        (true, "SEV-Test", "SEV-VLEK", "certificate-issuer-role"),
        (false, "SEV-Test", "SEV-VLEK", "certificate-subject"),
        (true, "SEV-VLEK-Test", "SEV-VCEK", "certificate-subject"),
        (false, "SEV-VLEK-Test", "SEV-VLEK", "certificate-subject"),
        (true, "SEV-Test", "SEV-VCEK", "certificate-subject"),
        (false, "SEV-Test", "SEV-VCEK2", "certificate-subject"),
        (false, "SEV-Test", "sev-vcek", "certificate-subject"),
        (false, "SEV-Test", "", "certificate-subject"),
        // An intermediate certificate that does not name its kind.
        (false, "Test", "SEV-VCEK", "certificate-issuer-role"),
        (true, "VLEK-Test", "SEV-VLEK", "certificate-issuer-role"),
        (false, "SEV-VCEK", "SEV-VCEK", "certificate-issuer-role"),
    ] {
        assert_eq!(
            roles(is_of_a_cloud, ask, leaf),
            expected,
            "{ask} signs {leaf}, a cloud's: {is_of_a_cloud}"
        );
    }
}

#[test]
fn a_chip_without_an_id_binds_no_vcek_and_a_vlek_has_none() {
    assert_eq!(
        reported(|report| report[0x1a0..0x1e0].fill(0)),
        "chip-id-zero"
    );
    let zeros = |scene: &mut Scene| {
        scene.set_extension("1.3.6.1.4.1.3704.1.4", Some(vec![0; 64]));
        scene.edit_report = Box::new(|report| report[0x1a0..0x1e0].fill(0));
    };
    assert_eq!(changed(zeros), "chip-id-zero", "a certificate for no chip");
    assert_eq!(changed(Scene::of_a_cloud), "");
    let with_a_chip = |scene: &mut Scene| {
        scene.of_a_cloud();
        scene.set_extension("1.3.6.1.4.1.3704.1.4", Some(vec![0; 64]));
    };
    assert_eq!(
        changed(with_a_chip),
        "signing-key-mismatch",
        "a VLEK for a chip"
    );
}

#[test]
fn id_and_author_key_are_those_of_the_reference_value() {
    let value = |keys: &str| {
        let text = format!(
            r#"{{"version":"1"{keys},"measurements":[{{"measurement":"{}","vcpu_type":"EPYC","vcpus":1}}]}}"#,
            hex::encode(MEASUREMENT)
        );
        let mut references = ReferenceValues::default();
        references.add_file(text.as_bytes()).unwrap();
        references
    };
    let id = format!(r#","id_key_digest":"{}""#, "03".repeat(48));
    let both = format!(r#"{id},"author_key_digest":"{}""#, "04".repeat(48));
    for (published, id, author, is_enabled, expected) in [
        ("", 0, 0, 0, ""),
        ("", 3, 0, 0, "id-key"),
        ("", 0, 4, 0, "author-key"),
        ("", 0, 0, 1, "author-key"),
        (&*id, 3, 0, 0, ""),
        (&*id, 0, 0, 0, "id-key"),
        (&*both, 3, 4, 1, ""),
        (&*both, 3, 4, 0, "author-key"),
        (&*both, 3, 5, 1, "author-key"),
    ] {
        let references = value(published);
        let found = changed(|scene| {
            scene.edit_expectations =
                Box::new(move |expected| expected.references = references.clone());
            scene.edit_report = Box::new(move |report| {
                report[0xe0..0x110].fill(id);
                report[0x110..0x140].fill(author);
                report[0x48] = is_enabled;
            });
        });
        assert_eq!(found, expected, "{published} {id} {author} {is_enabled}");
    }
}

#[test]
fn every_byte_of_the_report_data_has_its_rule() {
    for offset in 0..64 {
        let expected = match offset {
            0..32 => vec!["provenance-digest"],
            32..48 => vec!["report-data-nonce", "nonce-not-in-report"],
            _ => vec!["report-data-tag"],
        };
        let mut scene = Scene::good();
        scene.edit_report = Box::new(move |report| report[0x50 + offset] ^= 0x10);
        let result = scene.verify();
        let codes: Vec<_> = result
            .outcomes()
            .filter_map(|(_, outcome)| Some(outcome.rejection()?.code()))
            .collect();
        assert_eq!(codes, expected, "byte {offset}");
    }
}

#[test]
fn a_chip_id_is_compared_to_its_last_byte() {
    for offset in [0x1a0, 0x1a8, 0x1df] {
        assert_eq!(
            reported(move |report| report[offset] ^= 1),
            "chip-id-mismatch",
            "{offset:#x}"
        );
    }
    const CHIP: &str = "1.3.6.1.4.1.3704.1.4";
    const CLOUD: &str = "1.3.6.1.4.1.3704.1.5";
    for (chip, cloud, key, expected) in [
        (Some(vec![0xc1; 64]), None, 0, ""),
        (Some(vec![0xc1; 63]), None, 0, "chip-id-mismatch"),
        (Some(Vec::new()), None, 0, "chip-id-mismatch"),
        (
            Some(vec![0xc1; 64]),
            Some(tlv(0x16, b"c")),
            0,
            "signing-key-mismatch",
        ),
        (
            Some(vec![0xc1; 64]),
            Some(tlv(0x16, b"c")),
            1,
            "signing-key-mismatch",
        ),
        (Some(vec![0xc1; 64]), None, 1, "signing-key-mismatch"),
        (None, Some(tlv(0x16, b"c")), 0, "signing-key-mismatch"),
        (None, Some(tlv(0x16, b"c")), 1, "certificate-subject"),
        (None, None, 0, "signing-key-mismatch"),
        (Some(vec![0xc1; 64]), None, 7, "signing-key-mismatch"),
    ] {
        let what = format!("{chip:?} {cloud:?} {key}");
        let found = changed(|scene| {
            scene.set_extension(CHIP, chip);
            scene.set_extension(CLOUD, cloud);
            scene.edit_report = Box::new(move |report| report[0x48] = key << 2);
        });
        assert_eq!(found, expected, "{what}");
    }
}

#[test]
fn a_trust_root_is_an_ark_and_then_its_ask() {
    let scene = Scene::good();
    let [ark, ask] = [scene.ark.signed(&keys().ark), scene.ask.signed(&keys().ark)];
    let (ark, ask) = (pem("CERTIFICATE", &ark), pem("CERTIFICATE", &ask));
    for (text, expected) in [
        (format!("{ark}{ask}"), Some("")),
        (format!("# the ARK\n{ark}\n\n# the ASK\n{ask}\n"), Some("")),
        (format!("{ask}{ark}"), Some("issuer-unknown")),
        (format!("{ask}{ask}"), Some("issuer-unknown")),
        (ark.clone(), None),
        (format!("{ark}{ask}{ask}"), None),
        (
            format!("{ark}{}", ask.replace("CERTIFICATE", "PUBLIC KEY")),
            None,
        ),
    ] {
        let found = TrustRoots::test_only(text.as_bytes()).ok().map(|roots| {
            changed(|scene| {
                scene.edit_expectations = Box::new(move |expected| expected.roots = roots.clone())
            })
        });
        assert_eq!(found, expected);
    }
}

#[test]
fn builders_depend_on_the_roots_and_a_host_is_never_one() {
    for (builder, under_amd, under_test) in [
        (BUILDER_SEV_SNP, true, true),
        (BUILDER_SIMULATED, false, true),
        (BUILDER_HOST, false, false),
        ("https://kettle.build/appliance/sev-snp/v2", false, false),
    ] {
        let mut scene = Scene::good();
        scene.statement["predicate"]["runDetails"]["builder"]["id"] = json!(builder);
        let text = scene.statement.to_string();
        let statement = Statement::read(text.as_bytes()).unwrap();
        assert_eq!(
            statement.appraise(Platform::Snp, true).is_ok(),
            under_amd,
            "{builder}"
        );
        assert_eq!(
            statement.appraise(Platform::Snp, false).is_ok(),
            under_test,
            "{builder}"
        );
    }
}

#[test]
fn digests_are_of_known_algorithms_in_lower_case() {
    let with = |name: &str, value: String| {
        let mut digest = digest(super::scene::ARTIFACT);
        digest[name] = json!(value);
        stated("/subject/0/digest", digest)
    };
    for (name, digits) in [
        ("sha256", 64),
        ("sha384", 96),
        ("sha512", 128),
        ("gitCommit", 40),
        ("gitTree", 40),
    ] {
        if name != "sha256" {
            assert_eq!(with(name, "a".repeat(digits)), "", "{name}");
        }
        for bad in [
            "A".repeat(digits),
            "a".repeat(digits - 1),
            "a".repeat(digits + 1),
            "g".repeat(digits),
            String::new(),
            format!("{} ", "a".repeat(digits - 1)),
            "\u{ff41}".repeat(digits / 3),
        ] {
            let mut scene = Scene::good();
            scene.statement["subject"][0]["digest"][name] = json!(bad);
            let found = scene.verify();
            assert_eq!(
                found.outcome(Check::Statement).rejection().unwrap().code(),
                "digest-syntax",
                "{name} {bad}"
            );
        }
    }
    for pointer in ["toolchain", "outputs"] {
        for (value, expected) in [
            ("a".repeat(64), ""),
            ("A".repeat(64), "digest-syntax"),
            (String::new(), "digest-syntax"),
        ] {
            let found = changed(|scene| {
                let internal =
                    &mut scene.statement["predicate"]["buildDefinition"]["internalParameters"];
                let good = json!({"name": "a", "digest": digest(b""), "realised": "built"});
                internal[pointer] =
                    json!([good, {"name": "b", "digest": {"sha256": value}, "realised": "built"}]);
            });
            assert_eq!(found, expected, "{pointer} {value}");
        }
    }
    for unknown in ["md5", "SHA256", "sha-256", "narHash", ""] {
        assert_eq!(with(unknown, "a".repeat(64)), "digest-syntax", "{unknown}");
    }
}

#[test]
fn json_is_read_as_one_document_that_everybody_reads_alike() {
    let text = Scene::good().statement.to_string();
    let twice = |key: &str| text.replacen(key, &format!("{key}:0,{key}"), 1);
    for (document, expected) in [
        (format!(" \n{text}\n\t"), ""),
        (text.replace("v1.", "\\u0076\\u0031."), ""),
        (format!("\u{feff}{text}"), "statement-malformed"),
        (format!("{text}{text}"), "statement-malformed"),
        (format!("{text},"), "statement-malformed"),
        (format!("{text}\0"), "statement-malformed"),
        (twice("\"subject\""), "statement-malformed"),
        (twice("\"nonce\""), "statement-malformed"),
        (twice("\"sha256\""), "statement-malformed"),
        (
            text.replacen("\"nonce\"", "\"n\\u006fnce\":0,\"nonce\"", 1),
            "statement-malformed",
        ),
        (
            text.replacen("\"nonceSource\"", "\"ref\":\"x\",\"nonceSource\"", 1),
            "external-parameter-unknown",
        ),
    ] {
        let mut scene = Scene::good();
        scene.provenance = Some(document.clone().into_bytes());
        let result = scene.verify();
        let found = result
            .outcome(Check::Statement)
            .rejection()
            .map_or("", |rejection| rejection.code());
        assert_eq!(
            (found, result.is_accepted()),
            (expected, expected.is_empty()),
            "{document}"
        );
    }
    let scene = Scene::good();
    let text = String::from_utf8(scene.bundle().evidence.unwrap()).unwrap();
    for (document, expected) in [
        (format!("\n{text} "), ""),
        (format!("\u{feff}{text}"), "evidence-malformed"),
        (format!("{text}{text}"), "evidence-malformed"),
        (
            text.replacen("\"platform\"", "\"platform\":\"az-snp\",\"platform\"", 1),
            "evidence-malformed",
        ),
        (
            text.replacen("\"vcek\"", "\"vcek\":null,\"vcek\"", 1),
            "evidence-malformed",
        ),
        (
            text.replacen("\"platform\"", "\"platforms\":0,\"platform\"", 1),
            "evidence-malformed",
        ),
    ] {
        let edited = document.clone();
        let found = changed(|scene| {
            scene.edit_bundle =
                Box::new(move |bundle| bundle.evidence = Some(edited.clone().into_bytes()));
        });
        assert_eq!(found, expected, "{document}");
    }
}

#[test]
fn evidence_is_standard_base64_with_its_padding() {
    let scene = Scene::good();
    // A report whose base64 has every character of the alphabet.
    let (report, leaf) = ([0xfb; 1184], scene.leaf_der());
    let good = STANDARD.encode(report);
    assert!(good.ends_with('=') && good.contains('+') && good.contains('/'));
    for (text, expected) in [
        (format!("{good}\n"), "evidence-encoding"),
        (format!(" {good}"), "evidence-encoding"),
        (good.trim_end_matches('=').to_owned(), "evidence-encoding"),
        (
            good.replace('+', "-").replace('/', "_"),
            "evidence-encoding",
        ),
        (hex::encode(report), "report-length"),
        (String::new(), "report-length"),
    ] {
        let mut document = evidence(&report, &leaf);
        document["evidence"]["attestation_report"] = json!(text);
        let found = changed(|scene| {
            scene.edit_bundle =
                Box::new(move |bundle| bundle.evidence = Some(document.to_string().into_bytes()));
        });
        assert_eq!(found, expected, "{text}");
    }
}

/// Renames subjects and files alike.
fn named(name: &str) -> &'static str {
    let name = name.to_owned();
    changed(|scene| {
        scene.statement["subject"][0]["name"] = json!(name);
        scene.edit_bundle = Box::new(move |bundle| bundle.artifacts[0].name.clone_from(&name));
    })
}

#[test]
fn subject_names_are_plain_relative_paths() {
    for name in ["a", "a/b", "a b", "...", ".a", "a.", "a-", "a:b", "~"] {
        assert_eq!(named(name), "", "{name}");
    }
    for name in [
        "", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a\\b", "a\nb", "a\0",
        "\u{7f}", "\u{85}", "/",
    ] {
        assert_eq!(named(name), "subject-name", "{name:?}");
    }
    for name in [
        "-a",
        "a/-b",
        "--",
        "ä",
        "t\u{43e}ol",
        "a\u{301}",
        "\u{fb01}le",
        "a\u{202e}",
        "\u{200b}",
        "\u{1f980}",
    ] {
        assert_eq!(named(name), "subject-name", "{name:?}");
    }
}

#[test]
fn a_commit_and_a_ref_are_of_a_repository() {
    let archive = json!({"archive": {"sha256": "ab".repeat(32)}});
    let asked = |source: Value, edit: fn(&mut kettle::verifier::Expectations)| {
        changed(|scene| {
            scene.statement["predicate"]["buildDefinition"]["externalParameters"]["source"] =
                source;
            scene.edit_expectations = Box::new(edit);
        })
    };
    let commit = |expected: &mut kettle::verifier::Expectations| {
        expected.commit = "ab".repeat(20).parse().ok()
    };
    assert_eq!(
        asked(archive.clone(), commit),
        "commit-mismatch",
        "an archive that says it has a commit"
    );
    for (reference, expected) in [
        (json!("v1"), ""),
        (json!("V1"), "ref-mismatch"),
        (json!("refs/tags/v1"), "ref-mismatch"),
    ] {
        let source = json!({"repository": "https://example.org/project", "ref": reference});
        assert_eq!(
            asked(source, |expected| expected.reference =
                Some("v1".to_owned())),
            expected
        );
    }
    let none = json!({"repository": "https://example.org/project"});
    assert_eq!(
        asked(none, |expected| expected.reference = Some("v1".to_owned())),
        "ref-mismatch"
    );
}

#[test]
fn every_record_of_a_file_says_the_same() {
    for name in ["build.log", "Cargo.lock"] {
        let found = changed(|scene| {
            let byproducts = scene.statement["predicate"]["runDetails"]["byproducts"]
                .as_array_mut()
                .unwrap();
            byproducts.push(json!({"name": name, "digest": digest(b"another")}));
        });
        assert_eq!(found, "record-contradiction", "{name}");
    }
}

#[test]
fn modes_of_bundle_and_statement_agree() {
    for (annotations, executable, expected) in [
        (json!({"executable": true}), true, ""),
        (json!({"executable": true}), false, "subject-mode"),
        (json!({"executable": false}), false, ""),
        (json!({"executable": false}), true, "subject-mode"),
        (json!({"of": "another tool"}), false, ""),
        (json!({}), true, "subject-mode"),
    ] {
        let found = changed(|scene| {
            scene.statement["subject"][0]["annotations"] = annotations.clone();
            scene.edit_bundle = Box::new(move |bundle| bundle.artifacts[0].executable = executable);
        });
        assert_eq!(found, expected, "{annotations} {executable}");
    }
}

#[test]
fn the_time_of_an_archive_is_that_of_the_statement() {
    for (time, stated, expected) in [
        (Some(7), json!(7), ""),
        (Some(7), json!(8), "bundle-not-canonical"),
        (Some(0), json!(null), "bundle-not-canonical"),
        (None, json!(8), ""),
        (None, json!(null), ""),
    ] {
        let found = changed(|scene| {
            let internal =
                &mut scene.statement["predicate"]["buildDefinition"]["internalParameters"];
            internal["sourceDateEpoch"] = stated.clone();
            scene.edit_bundle = Box::new(move |bundle| bundle.time = time);
        });
        assert_eq!(found, expected, "{time:?} {stated}");
    }
}

#[test]
fn the_top_directory_of_an_archive_is_called_like_the_repository_of_the_statement() {
    let repository = |url: &str| json!({"repository": url});
    let archive = json!({"archive": {"name": "a.zip", "sha256": "ab".repeat(32)}});
    for (source, project, expected) in [
        (
            repository("https://example.org/project.git"),
            Some("project"),
            "",
        ),
        (
            repository("https://example.org/project/"),
            Some("project"),
            "",
        ),
        (
            repository("https://example.org/of/a%20b.git"),
            Some("a-20b"),
            "",
        ),
        (
            repository("https://example.org/project.git"),
            Some("projec"),
            "project-mismatch",
        ),
        (
            repository("https://example.org/project.git"),
            Some("Project"),
            "project-mismatch",
        ),
        (
            repository("https://example.org/project.git"),
            Some("project.git"),
            "project-mismatch",
        ),
        (
            repository("https://example.org/other.git"),
            Some("project"),
            "project-mismatch",
        ),
        // A directory has no name of its own, and no statement names the directory in an archive.
        (repository("https://example.org/other.git"), None, ""),
        (archive, Some("anything"), ""),
    ] {
        let found = changed(|scene| {
            scene.statement["predicate"]["buildDefinition"]["externalParameters"]["source"] =
                source.clone();
            scene.edit_bundle =
                Box::new(move |bundle| bundle.project = project.and_then(ProjectName::parse));
        });
        assert_eq!(found, expected, "{project:?} {source}");
    }
}

#[test]
fn the_top_directory_of_an_archive_has_a_name_that_projects_have() {
    let called = |top: &str| {
        stream(
            &write(
                Vec::new(),
                top,
                vec![Entry::of_bytes("provenance.json", b"{}")],
                0,
            )
            .unwrap()[..],
        )
    };
    for top in ["p", "aZ09._-", "0", "_", &"p".repeat(64)] {
        assert_eq!(
            called(top).unwrap().project,
            ProjectName::parse(top),
            "{top}"
        );
    }
    for top in [
        ".p",
        "...",
        " ",
        "p ",
        "p q",
        "p+q",
        "p:q",
        "@p",
        "~",
        "%70",
        "*",
        "{p}",
        "$p",
        "p'",
        &"p".repeat(65),
    ] {
        let refusal = called(top).unwrap_err();
        assert!(
            matches!(&refusal, ReadError::Project { name } if name == top),
            "{top}: {refusal}"
        );
    }
    // These are not valid file names either.
    for top in ["", ".", "..", "-p", "--", "p\\q", "\u{e9}", "p\n"] {
        let refusal = called(top).unwrap_err();
        assert!(
            matches!(refusal, ReadError::Path { .. }),
            "{top}: {refusal}"
        );
    }
}

#[test]
fn attributes_that_nobody_could_list_are_said_to_be_unknown() {
    let said = |is_unlisted: bool| {
        let mut scene = Scene::good();
        scene.edit_bundle = Box::new(move |bundle| bundle.has_unlisted_attributes = is_unlisted);
        let result = scene.verify();
        assert!(result.is_accepted());
        result.claims()[NOT_ESTABLISHED]
            .to_string()
            .contains("does not list extended attributes")
    };
    assert_eq!((said(false), said(true)), (false, true));
}

#[test]
fn records_of_files_in_a_statement_have_a_type() {
    let internal = "/predicate/buildDefinition/internalParameters";
    for (pointer, name, value) in [
        ("/subject/0", "annotations", json!({"executable": "true"})),
        ("/subject/0", "annotations", json!({"executable": 1})),
        ("/subject/0", "annotations", json!({"executable": null})),
        ("/subject/0", "annotations", json!(true)),
        (internal, "sourceDateEpoch", json!("0")),
        (internal, "sourceDateEpoch", json!(0.0)),
        (internal, "sourceDateEpoch", json!(-1)),
    ] {
        let mut scene = Scene::good();
        scene.statement.pointer_mut(pointer).unwrap()[name] = value.clone();
        let result = scene.verify();
        let found = result
            .outcome(Check::Statement)
            .rejection()
            .map(|rejection| rejection.code());
        assert_eq!(found, Some("statement-malformed"), "{name}: {value}");
    }
}

/// Returns a bundle of a statement and this file.
fn beside(path: &str, content: &[u8]) -> Vec<u8> {
    let entries = [("provenance.json", &b"{}"[..]), (path, content)];
    write(
        Vec::new(),
        "p",
        entries
            .map(|(path, content)| Entry::of_bytes(path, content))
            .into(),
        0,
    )
    .unwrap()
}

/// Returns the first header of an archive, and nothing else.
fn pax_header_of(size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_path("pax-header").unwrap();
    header.set_entry_type(tar::EntryType::XHeader);
    header.set_size(size);
    header.set_cksum();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    io::Write::write_all(&mut gzip, header.as_bytes()).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn every_limit_is_named_by_its_refusal() {
    let long = format!("artifacts/{}", "n".repeat(MAX_BUNDLE_PATH_BYTES));
    let evidence = vec![b' '; MAX_EVIDENCE_BYTES as usize + 1];
    let statement = vec![b' '; MAX_PROVENANCE_BYTES as usize + 1];
    let many: Vec<_> = (0..=MAX_BUNDLE_ENTRIES)
        .map(|number| format!("artifacts/{number}"))
        .collect();
    let many = many.iter().map(|path| Entry::of_bytes(path, b"")).collect();
    let sparse = tempfile::tempfile().unwrap();
    sparse.set_len(MAX_BUNDLE_BYTES + 1).unwrap();
    let read = |packed: Vec<u8>| stream(&packed[..]);
    for (found, limit) in [
        (read(beside(&long, b"")), "MAX_BUNDLE_PATH_BYTES"),
        (read(pax_header_of(MAX_PAX_BYTES + 1)), "MAX_PAX_BYTES"),
        (
            read(beside("evidence.json", &evidence)),
            "MAX_EVIDENCE_BYTES",
        ),
        (
            read(write(Vec::new(), "p", many, 0).unwrap()),
            "MAX_BUNDLE_ENTRIES",
        ),
        (
            read(
                write(
                    Vec::new(),
                    "p",
                    vec![Entry::of_bytes("provenance.json", &statement)],
                    0,
                )
                .unwrap(),
            ),
            "MAX_PROVENANCE_BYTES",
        ),
        (archive(sparse), "MAX_BUNDLE_BYTES"),
    ] {
        let refusal = found.unwrap_err();
        assert!(
            matches!(refusal, ReadError::Limit { .. }) && refusal.to_string().contains(limit),
            "{refusal}"
        );
    }
}

/// What is recorded of linkers and downloads is a claim, and rejects nothing.
#[test]
fn a_linker_that_may_have_been_displaced_and_copies_of_downloads_are_claims() {
    let claims = |change: &dyn Fn(&mut Value)| {
        let mut scene = Scene::good();
        change(&mut scene.statement["predicate"]["buildDefinition"]["internalParameters"]);
        let result = scene.verify();
        assert!(
            result.is_accepted(),
            "{:?}",
            result.outcomes().collect::<Vec<_>>()
        );
        let claim = |name: &str| result.claims()[name].clone();
        (claim("displacing_link_arguments"), claim("built_here"))
    };
    assert_eq!(claims(&|_| {}), (Value::Null, Value::Null));
    let given = |arguments: Value| json!([{"package": "app@0.1.0", "arguments": arguments}]);
    let harmless =
        claims(&|internal| internal["linkArguments"] = given(json!(["-lm", "-Wl,-rpath,/x"])));
    assert_eq!(harmless.0, Value::Null);
    let displacing = claims(&|internal| {
        internal["linkArguments"] = given(json!(["-B/x", "-fuse-ld=y", "-lm"]));
        internal["linkArguments"][0]["environment"] = json!({"COMPILER_PATH": "/z"});
    });
    let expected = json!([
        "app@0.1.0: -B/x",
        "app@0.1.0: -fuse-ld=y",
        "app@0.1.0: COMPILER_PATH=/z"
    ]);
    assert_eq!(displacing.0, expected);
    let output =
        |from: Value| json!({"name": "out", "digest": {}, "realised": "built", "copiedFrom": from});
    for (outputs, built_here) in [
        (json!([output(json!([]))]), true),
        (json!([output(json!(["/nix/store/x"]))]), false),
        (
            json!([output(json!(["/nix/store/x"])), output(json!([]))]),
            true,
        ),
    ] {
        assert_eq!(
            claims(&|internal| internal["outputs"] = outputs.clone()).1,
            built_here,
            "{outputs}"
        );
    }
}
