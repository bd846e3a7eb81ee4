//! Evidence of Azure's confidential machines: a good bundle under this run's hierarchy, and
//! everything that can be wrong with it.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use kettle::bundle::read::Bundle;
use kettle::digest::Sha256Digest;
use kettle::provenance::{
    BUILDER_AZ_SNP, BUILDER_HOST, BUILDER_SEV_SNP, BUILDER_SIMULATED, Nonce, report_data,
    session_report_data,
};
use kettle::verifier::azure::PARAVISOR_KEYS;
use kettle::verifier::{
    AttestationResult, Check, Expectations, Outcome, Platform, ReferenceValues, Statement,
    TrustRoots, Waivable, verify, verify_session,
};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rsa::pkcs8::EncodePrivateKey as _;
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};

use super::command::Files;
use super::conformance::{self, Subject};
use super::hierarchy::{keys, vcek_point};
use super::rejections::Case;
use super::scene::{NONCE, Scene};

const BUILDER: &str = "/predicate/runDetails/builder/id";
const PARAMETERS: &str = "/predicate/buildDefinition/internalParameters";
/// The kernel's digest in the published image.
const KERNEL: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const INITRD: &str = "2222222222222222222222222222222222222222222222222222222222222222";
const ROOT_HASH: &str = "3333333333333333333333333333333333333333333333333333333333333333";
const VERSION: &str = "9.9.9";

type Edit<T> = Box<dyn Fn(&mut T)>;

/// The signed parts, and changes to them on the way.
pub struct AzureScene {
    pub scene: Scene,
    pub edit_claims: Edit<Value>,
    /// Replaces the written claims.
    claims: Option<Vec<u8>>,
    edit_hcl: Edit<Vec<u8>>,
    /// Replaces the first 48 bytes of the report data.
    pub extra_data: Option<Vec<u8>>,
    pub registers: [[u8; 32]; 24],
    edit_message: Edit<Vec<u8>>,
    signer: &'static rsa::RsaPrivateKey,
    pub edit_document: Edit<Value>,
    pub references: Value,
}

/// Returns the attestation key of the good scene.
fn attestation_key() -> &'static rsa::RsaPrivateKey {
    &keys().other
}

fn register(byte: u8) -> String {
    hex::encode([byte; 32])
}

/// Returns a published file with two ways to boot.
fn published() -> Value {
    let chain = json!({
        "vcpu_type": "EPYC-v4",
        "vcpu_signature": "0x800f12",
        "launch_digest": "01".repeat(48),
        "bsp_vmsa": "02".repeat(48),
        "ap_vmsa": "03".repeat(48),
    });
    json!({
        "format": 2,
        "version": VERSION,
        "firmware_sha256": register(0xf1),
        "kernel_sha256": KERNEL,
        "initrd_sha256": INITRD,
        "command_line_sha256": register(0xc1),
        "root_image_sha256": register(0xf2),
        "root_hash": ROOT_HASH,
        "vmm": "qemu",
        "guest_policy": "0x30000",
        "guest_features": "0x1",
        "max_vcpus": 2,
        "chains": [chain],
        "disk_sha256": register(0xd1),
        "uki_sha256": register(0xd2),
        "boot": [
            {"name": "disk", "pcrs": {"4": register(0x44), "9": register(0x98)}},
            {"name": "azure", "pcrs": {"4": register(0x44), "9": register(0x99)}},
        ],
    })
}

/// Returns the appliance's claim about its image; the command line is the one of the boot, not the
/// published one.
fn image() -> Value {
    let file = |name: &str, sha256: &str| json!({"name": name, "digest": {"sha256": sha256}});
    json!({
        "version": VERSION,
        "rootHash": ROOT_HASH,
        "kernel": file("kernel", KERNEL),
        "initrd": file("initrd", INITRD),
        "commandLine": file("command line", &register(0xc2)),
    })
}

impl AzureScene {
    /// Returns a scene whose bundle is accepted.
    pub fn good() -> Self {
        let mut scene = Scene::good();
        scene.statement.pointer_mut(PARAMETERS).unwrap()["image"] = image();
        *scene.statement.pointer_mut(BUILDER).unwrap() = json!(BUILDER_AZ_SNP);
        scene.edit_report = Box::new(of_microsoft);
        let mut registers = [[0; 32]; 24];
        for (register, byte) in [
            (0, 0xe1),
            (4, 0x44),
            (5, 0xe5),
            (7, 0xe7),
            (9, 0x99),
            (10, 0xea),
            (17, 0xff),
        ] {
            registers[register] = [byte; 32];
        }
        Self {
            scene,
            edit_claims: Box::new(|_| {}),
            claims: None,
            edit_hcl: Box::new(|_| {}),
            extra_data: None,
            registers,
            edit_message: Box::new(|_| {}),
            signer: attestation_key(),
            edit_document: Box::new(|_| {}),
            references: published(),
        }
    }

    fn claims(&self) -> Vec<u8> {
        let modulus = URL_SAFE_NO_PAD.encode(attestation_key().n().to_bytes_be());
        let key = json!({"kid": "HCLAkPub", "key_ops": ["sign"], "kty": "RSA", "e": "AQAB", "n": modulus});
        let configuration =
            json!({"secure-boot": true, "tpm-enabled": true, "tpm-persisted": false});
        let mut claims =
            json!({"keys": [key], "vm-configuration": configuration, "user-data": "00"});
        (self.edit_claims)(&mut claims);
        self.claims
            .clone()
            .unwrap_or_else(|| claims.to_string().into_bytes())
    }

    fn hcl(&self) -> Vec<u8> {
        let claims = self.claims();
        let mut data = [0; 64];
        data[..32].copy_from_slice(Sha256Digest::of(&claims).as_bytes());
        let data_size = 20 + claims.len() as u32;
        let head = [0x414c_4348, 2, 0x4c0 + data_size, 2, 0, 0, 0, 0];
        let between = [data_size, 1, 2, 1, claims.len() as u32];
        let words = |words: &[u32]| {
            words
                .iter()
                .flat_map(|word| word.to_le_bytes())
                .collect::<Vec<_>>()
        };
        let mut hcl = [
            words(&head),
            self.scene.report(data).to_vec(),
            words(&between),
            claims,
        ]
        .concat();
        hcl.resize(2600, 0);
        (self.edit_hcl)(&mut hcl);
        hcl
    }

    fn message(&self, extra_data: &[u8]) -> Vec<u8> {
        let head: &[u8] = &[0xff, 0x54, 0x43, 0x47, 0x80, 0x18, 0, 34, 0, 11];
        let selection: &[u8] = &[0, 0, 0, 1, 0, 11, 3, 0xff, 0xff, 0xff, 0, 32];
        let digest = Sha256Digest::of(self.registers.as_flattened());
        let size = (extra_data.len() as u16).to_be_bytes();
        let parts: [&[u8]; 8] = [
            head,
            &[0x5a; 32],
            &size,
            extra_data,
            &[0; 16],
            &[1; 9],
            selection,
            digest.as_bytes(),
        ];
        let mut message = parts.concat();
        (self.edit_message)(&mut message);
        message
    }

    /// Returns evidence about some bytes.
    pub fn document(&self, extra_data: &[u8]) -> Value {
        let message = self.message(extra_data);
        let der = self.signer.to_pkcs8_der().unwrap();
        let pair = RsaKeyPair::from_pkcs8(der.as_bytes()).unwrap();
        let mut signature = vec![0; pair.public().modulus_len()];
        pair.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            &message,
            &mut signature,
        )
        .unwrap();
        let quote = json!({
            "signature": hex::encode(signature),
            "message": hex::encode(message),
            "pcrs": self.registers.map(hex::encode),
        });
        let mut document = json!({
            "platform": "az-snp",
            "evidence": {
                "version": 1,
                "tpm_quote": quote,
                "hcl_report": URL_SAFE_NO_PAD.encode(self.hcl()),
                "vcek": URL_SAFE.encode(self.scene.leaf_der()),
            },
        });
        (self.edit_document)(&mut document);
        document
    }

    pub fn bundle(&self) -> Bundle {
        let bundle = self.scene.bundle();
        let data = report_data(&bundle.provenance, &Nonce::parse(NONCE).unwrap());
        let document = self.document(self.extra_data.as_deref().unwrap_or(&data[..48]));
        Bundle {
            evidence: Some(document.to_string().into_bytes()),
            ..bundle
        }
    }

    pub fn expectations(&self) -> Expectations {
        let mut expectations = self.scene.expectations();
        expectations.references = ReferenceValues::default();
        if !self.references.is_null() {
            expectations
                .references
                .add_file(self.references.to_string().as_bytes())
                .unwrap();
        }
        expectations
    }

    pub fn verify(&self) -> AttestationResult {
        let (bundle, expectations) = (self.bundle(), self.expectations());
        let result = verify(Ok(bundle.clone()), &expectations);
        self.record(&Subject::Bundle(&bundle), &expectations, &result);
        result
    }

    fn record(
        &self,
        subject: &Subject<'_>,
        expectations: &Expectations,
        result: &AttestationResult,
    ) {
        if !self.references.is_null() {
            conformance::references(&self.references.to_string());
        }
        conformance::record(subject, &self.scene, expectations, result);
    }

    fn session(&self, extra_data: &[u8], nonce: &str) -> AttestationResult {
        let mut document = self.document(extra_data);
        document["tls_public_key"] = json!(STANDARD.encode(vcek_point()));
        let nonce = Nonce::parse(nonce).unwrap();
        let mut expectations = self.expectations();
        let result = verify_session(document.to_string().as_bytes(), &nonce, None, &expectations);
        expectations.nonce = Some(nonce);
        let (document, key) = (&document, None);
        self.record(&Subject::Session { document, key }, &expectations, &result);
        result
    }
}

/// Returns a report like that of Microsoft's paravisor.
fn of_microsoft(report: &mut [u8; 1184]) {
    report[4] = 11;
    report[8..16].copy_from_slice(&0x3_001f_u64.to_le_bytes());
    hex::decode_to_slice(PARAVISOR_KEYS[1].digest, &mut report[0xe0..0x110]).unwrap();
}

fn changed(change: impl FnOnce(&mut AzureScene)) -> AttestationResult {
    let mut scene = AzureScene::good();
    change(&mut scene);
    scene.verify()
}

fn case(code: &'static str, check: Check, change: impl FnOnce(&mut AzureScene)) -> Case {
    Case(code, check, changed(change))
}

/// Changes a byte of the report, before it is signed.
fn report(code: &'static str, check: Check, offset: usize, value: u8) -> Case {
    case(code, check, |scene| {
        scene.scene.edit_report = Box::new(move |report| {
            of_microsoft(report);
            report[offset] = value;
        });
    })
}

/// Changes a byte of the quote, before it is signed.
fn quoted(code: &'static str, offset: usize, value: u8) -> Case {
    case(code, Check::Quote, |scene| {
        scene.edit_message = Box::new(move |message| message[offset] = value)
    })
}

fn claimed(code: &'static str, pointer: &'static str, value: Value) -> Case {
    case(code, Check::RuntimeData, |scene| {
        scene.edit_claims =
            Box::new(move |claims| *claims.pointer_mut(pointer).unwrap() = value.clone());
    })
}

fn document(code: &'static str, check: Check, pointer: &'static str, value: Value) -> Case {
    case(code, check, |scene| {
        scene.edit_document =
            Box::new(move |document| *document.pointer_mut(pointer).unwrap() = value.clone());
    })
}

/// Returns the outcomes by the name of their check.
fn outcomes(result: &AttestationResult) -> BTreeMap<&'static str, &'static str> {
    result
        .outcomes()
        .map(|(check, outcome)| (check.name(), outcome.name()))
        .collect()
}

fn codes(result: &AttestationResult) -> Vec<&'static str> {
    result
        .outcomes()
        .filter_map(|(_, outcome)| Some(outcome.rejection()?.code()))
        .collect()
}

/// Returns a case for each rejection that only this platform has.
pub fn cases() -> Vec<Case> {
    let mut cases = cases_of_evidence();
    cases.extend(cases_of_boot());
    let good = Sha256Digest::of(&session_report_data(
        &vcek_point(),
        &Nonce::parse(NONCE).unwrap(),
    ));
    let session = |nonce| AzureScene::good().session(good.as_bytes(), nonce);
    cases.extend([
        case("extra-data-length", Check::ReportData, |scene| {
            scene.extra_data = Some(vec![7; 47])
        }),
        case("signed-by-another-builder", Check::ReportData, |scene| {
            let rewritten = serde_json::from_slice::<Value>(&scene.scene.provenance())
                .unwrap()
                .to_string();
            scene.extra_data = Some(Sha256Digest::of(rewritten.as_bytes()).as_bytes().to_vec());
        }),
        Case("session-digest", Check::ReportData, session("00c0ffef")),
        Case("session-digest", Check::Nonce, session("00c0ffef")),
    ]);
    cases
}

fn cases_of_evidence() -> Vec<Case> {
    const ROOM: Check = Check::Paravisor;
    vec![
        document(
            "evidence-version",
            Check::Bundle,
            "/evidence/version",
            json!(2),
        ),
        case("hcl-malformed", Check::Bundle, |scene| {
            scene.edit_hcl = Box::new(|hcl| hcl[0x4d0] ^= 1)
        }),
        Case(
            "evidence-of-another-builder",
            Check::Bundle,
            foreign_bundle(),
        ),
        report("runtime-data-binding", Check::RuntimeData, 0x50, 0),
        report("runtime-data-binding", Check::RuntimeData, 0x8f, 1),
        case("runtime-claims-malformed", Check::RuntimeData, |scene| {
            scene.claims = Some(b"{}".to_vec())
        }),
        case("runtime-claims-malformed", Check::RuntimeData, |scene| {
            let text = String::from_utf8(scene.claims()).unwrap();
            scene.claims = Some(text.replacen('{', "{\"keys\":[],", 1).into_bytes());
        }),
        claimed("attestation-key", "/keys/0/kid", json!("HCLEkPub")),
        claimed("attestation-key", "/keys/0/e", json!("Aw")),
        claimed("attestation-key", "/keys/0/kty", json!("EC")),
        claimed(
            "attestation-key",
            "/keys/0/n",
            json!(URL_SAFE_NO_PAD.encode([0xff; 255])),
        ),
        // Even with the guest's policy waived: another level is not the paravisor's.
        case("paravisor-vmpl", ROOM, |scene| {
            scene.scene.edit_report = Box::new(|report| {
                of_microsoft(report);
                report[0x30] = 1;
            });
            scene.scene.edit_expectations =
                Box::new(|expectations| expectations.waived = [Waivable::GuestPolicy].into());
        }),
        report("paravisor-id-key", ROOM, 0xe0, 0),
        case("paravisor-container-key", ROOM, |scene| {
            scene.scene.edit_report = Box::new(|report| {
                of_microsoft(report);
                report[0xe0..0xe4].copy_from_slice(&[0x0a, 0xd7, 0x9c, 0xeb]);
            });
        }),
        report("paravisor-author-key", ROOM, 0x110, 1),
        report("paravisor-author-key", ROOM, 0x48, 1),
        report("paravisor-svn", ROOM, 4, 9),
        quoted("quote-magic", 0, 0),
        quoted("quote-type", 5, 0x17),
        case("quote-malformed", Check::Quote, |scene| {
            scene.extra_data = Some(vec![0; 51])
        }),
        case("quote-malformed", Check::Quote, |scene| {
            scene.edit_message = Box::new(|message| message.push(0))
        }),
        document(
            "quote-signature-length",
            Check::Quote,
            "/evidence/tpm_quote/signature",
            json!("00"),
        ),
        case("quote-signature", Check::Quote, |scene| {
            scene.signer = &keys().ask
        }),
        document(
            "pcr-count",
            Check::Quote,
            "/evidence/tpm_quote/pcrs",
            json!([]),
        ),
        document(
            "pcr-digest",
            Check::Quote,
            "/evidence/tpm_quote/pcrs/23",
            json!(register(1)),
        ),
    ]
}

fn cases_of_boot() -> Vec<Case> {
    const CHECK: Check = Check::BootMeasurement;
    let extended = |number: usize| {
        case("pcr-not-zero", CHECK, move |scene| {
            scene.registers[number] = [1; 32]
        })
    };
    let mut cases: Vec<_> = [8, 11, 12, 13, 14, 15].map(extended).into();
    cases.extend([
        case("no-boot-reference", CHECK, |scene| {
            scene.references = Value::Null
        }),
        case("no-boot-reference", CHECK, |scene| {
            scene.references["boot"] = json!([])
        }),
        case("boot-measurement-unknown", CHECK, |scene| {
            scene.registers[4] = [1; 32]
        }),
        case("boot-measurement-unknown", CHECK, |scene| {
            scene.registers[9] = [1; 32]
        }),
        case("boot-measurement-revoked", CHECK, |scene| {
            scene.references["withdrawn"] = json!("bad")
        }),
        case("image-claim-mismatch", CHECK, |scene| {
            scene.references["kernel_sha256"] = json!(register(1))
        }),
        case("image-claim-mismatch", CHECK, |scene| {
            scene.references["initrd_sha256"] = json!(register(1))
        }),
        case("image-claim-mismatch", CHECK, |scene| {
            scene.references["root_hash"] = json!(register(1))
        }),
        case("image-claim-mismatch", CHECK, |scene| {
            scene
                .scene
                .statement
                .pointer_mut(PARAMETERS)
                .unwrap()
                .as_object_mut()
                .unwrap()
                .remove("image");
        }),
    ]);
    cases
}

/// Returns a bundle whose evidence has the form of an earlier server.
fn foreign_bundle() -> AttestationResult {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/snp/azure/coco-v0-milan-v3/evidence.json"
    );
    let scene = AzureScene::good();
    let bundle = Bundle {
        evidence: Some(fs::read(path).unwrap()),
        ..scene.bundle()
    };
    verify(Ok(bundle), &scene.expectations())
}

#[test]
fn a_good_bundle_is_accepted_and_says_whom_one_trusts() {
    let result = AzureScene::good().verify();
    assert!(result.is_accepted(), "{result:?}");
    assert_eq!(result.platform(), Platform::AzSnp);
    let claims = result.claims();
    for (name, expected) in [
        ("platform", json!("az-snp")),
        ("anchor", json!("file")),
        ("boot", json!("9.9.9, azure")),
        ("paravisor_svn", json!(11)),
        ("paravisor_svn_floor", json!(10)),
        ("paravisor_measurement", json!("5a".repeat(48))),
        ("secure_boot", json!(true)),
        ("tpm_persisted", json!(false)),
        ("product", json!("Genoa")),
    ] {
        assert_eq!(claims[name], expected, "{name}");
    }
    assert!(
        claims["trusted"]
            .as_str()
            .unwrap()
            .starts_with("a test hierarchy, and Microsoft as the author of the paravisor")
    );
    assert!(
        !claims.contains_key("measurement"),
        "that is the paravisor's, and no reference value"
    );
    let open = claims["not_established"].to_string();
    assert!(open.contains("is Microsoft's word"), "{open}");
}

#[test]
fn the_checks_of_this_platform_stand_in_their_order() {
    let result = AzureScene::good().verify();
    let names: Vec<_> = result.outcomes().map(|(check, _)| check.name()).collect();
    let expected = [
        "bundle",
        "endorsements",
        "certificate-binding",
        "report-signature",
        "guest-policy",
        "tcb",
        "runtime-data",
        "paravisor",
        "quote",
        "boot-measurement",
        "report-data",
        "nonce",
        "statement",
        "expectations",
        "envelope",
        "subjects",
    ];
    assert_eq!(names, expected);
    // Also where nothing but the platform could be read.
    let broken =
        changed(|scene| scene.edit_document = Box::new(|document| document["evidence"] = json!(1)));
    assert_eq!(
        broken
            .outcomes()
            .map(|(check, _)| check.name())
            .collect::<Vec<_>>(),
        expected
    );
}

#[test]
fn checks_that_build_on_a_rejection_are_not_reached() {
    const AFTER: [&str; 4] = ["quote", "boot-measurement", "report-data", "nonce"];
    let rejecting = |offset: usize, value: u8| {
        changed(|scene| {
            scene.scene.edit_report = Box::new(move |report| {
                of_microsoft(report);
                report[offset] = value;
            });
        })
    };
    for (result, rejected, unreached) in [
        (rejecting(0x8f, 1), "runtime-data", &AFTER[..]),
        (rejecting(0xe0, 1), "paravisor", &AFTER),
        (
            changed(|scene| scene.signer = &keys().ask),
            "quote",
            &AFTER[1..],
        ),
        (
            changed(|scene| scene.registers[4] = [1; 32]),
            "boot-measurement",
            &[],
        ),
    ] {
        for (name, outcome) in outcomes(&result) {
            let expected = match name {
                _ if name == rejected => "reject",
                _ if unreached.contains(&name) => "not-reached",
                "expectations" | "envelope" => "not-checked",
                _ => "pass",
            };
            assert_eq!(outcome, expected, "{name} after {rejected}");
        }
    }
    let unsigned =
        changed(|scene| scene.scene.edit_signed_report = Box::new(|report| report[0x90] ^= 1));
    let unreached = outcomes(&unsigned)
        .into_iter()
        .filter(|(_, outcome)| *outcome == "not-reached")
        .count();
    assert_eq!(
        (outcomes(&unsigned)["report-signature"], unreached),
        ("reject", 8),
        "{unsigned:?}"
    );
}

#[test]
fn debug_vmpl_and_old_firmware_are_refused_here_too() {
    for (offset, value, expected) in [
        (0x0a, 0x0b, &["policy-debug"][..]),
        (0x30, 2, &["vmpl", "paravisor-vmpl"]),
        (0x40, 0, &["alias-check-incomplete"]),
    ] {
        let Case(_, _, result) = report("", Check::GuestPolicy, offset, value);
        assert_eq!(codes(&result), expected);
    }
    let old = changed(|scene| {
        scene.scene.edit_expectations =
            Box::new(|expectations| expectations.minimum_tcb = "snp=200".parse().unwrap());
    });
    assert_eq!(codes(&old), ["tcb-below-minimum"]);
}

#[test]
fn only_the_boot_measurement_can_be_waived() {
    let waiving = |change: fn(&mut AzureScene)| {
        changed(|scene| {
            change(scene);
            scene.scene.edit_expectations = Box::new(|expectations| {
                let all = [
                    "certificate-binding",
                    "guest-policy",
                    "tcb",
                    "launch-measurement",
                    "boot-measurement",
                ];
                expectations.waived = all.map(|name| name.parse::<Waivable>().unwrap()).into();
            });
        })
    };
    let unknown = waiving(|scene| scene.registers[9] = [1; 32]);
    assert!(unknown.is_accepted(), "{unknown:?}");
    assert!(matches!(
        unknown.outcome(Check::BootMeasurement),
        Outcome::Waived(Some(_))
    ));
    assert!(!waiving(|scene| scene.references["withdrawn"] = json!("bad")).is_accepted());
    assert!(!waiving(|scene| scene.signer = &keys().ask).is_accepted());
    for offset in [0x8f, 0xe0, 0x110] {
        let result = changed(|scene| {
            scene.scene.edit_report = Box::new(move |report| {
                of_microsoft(report);
                report[offset] ^= 0x10;
            });
            scene.scene.edit_expectations = Box::new(|expectations| {
                let all = [
                    "certificate-binding",
                    "guest-policy",
                    "tcb",
                    "launch-measurement",
                    "boot-measurement",
                ];
                expectations.waived = all.map(|name| name.parse::<Waivable>().unwrap()).into();
            });
        });
        assert!(!result.is_accepted(), "{offset:#x}");
    }
}

#[test]
fn every_published_boot_is_one_and_no_mixture_of_two() {
    for (four, nine, expected) in [
        (0x44, 0x98, Some("9.9.9, disk")),
        (0x44, 0x99, Some("9.9.9, azure")),
        (0x45, 0x99, Some("9.9.9, other")),
        (0x45, 0x98, None),
    ] {
        let result = changed(|scene| {
            let other = json!({"name": "other", "pcrs": {"4": register(0x45), "9": register(0x99), "0": register(0xe1)}});
            scene.references["boot"].as_array_mut().unwrap().push(other);
            (scene.registers[4], scene.registers[9]) = ([four; 32], [nine; 32]);
        });
        assert_eq!(
            result.claims().get("boot").and_then(Value::as_str),
            expected,
            "{result:?}"
        );
    }
}

#[test]
fn a_launch_measurement_says_nothing_about_a_machine_with_a_paravisor() {
    // The reader's launch measurement is the paravisor's own: it identifies no boot.
    let mut scene = AzureScene::good();
    scene.references = Value::Null;
    let mut expectations = scene.expectations();
    expectations
        .references
        .add("5a".repeat(48).parse().unwrap());
    let result = verify(Ok(scene.bundle()), &expectations);
    assert_eq!(codes(&result), ["no-boot-reference"]);
}

#[test]
fn a_bundle_of_one_platform_is_not_accepted_by_the_checks_of_the_other() {
    let azure = AzureScene::good();
    let mut ordinary = Scene::good();
    // An ordinary machine that claims to be one of Azure's, and the other way round.
    *ordinary.statement.pointer_mut(BUILDER).unwrap() = json!(BUILDER_AZ_SNP);
    assert_eq!(codes(&ordinary.verify()), ["builder-unknown"]);
    let claiming = changed(|scene| {
        *scene.scene.statement.pointer_mut(BUILDER).unwrap() = json!(BUILDER_SEV_SNP)
    });
    assert_eq!(codes(&claiming), ["builder-unknown"]);
    // The report of a paravisor as if an ordinary guest had requested it, with the paravisor's
    // measurement believed.
    let hcl = URL_SAFE_NO_PAD
        .decode(
            azure.document(&[0; 48])["evidence"]["hcl_report"]
                .as_str()
                .unwrap(),
        )
        .unwrap();
    let mut bundle = azure.bundle();
    let evidence = super::scene::evidence(&hcl[0x20..0x4c0], &azure.scene.leaf_der());
    bundle.evidence = Some(evidence.to_string().into_bytes());
    let mut expectations = azure.expectations();
    expectations
        .references
        .add("5a".repeat(48).parse().unwrap());
    let result = verify(Ok(bundle), &expectations);
    assert!(
        codes(&result).starts_with(&["provenance-digest"]),
        "{:?}",
        codes(&result)
    );
    // Each envelope with the other platform's name.
    for (mut document, name) in [(azure.document(&[0; 48]), "snp"), (evidence, "az-snp")] {
        document["platform"] = json!(name);
        let bundle = Bundle {
            evidence: Some(document.to_string().into_bytes()),
            ..azure.bundle()
        };
        assert_eq!(
            codes(&verify(Ok(bundle), &azure.expectations())),
            ["evidence-malformed"],
            "{name}"
        );
    }
}

#[test]
fn builders_belong_to_a_platform() {
    for (builder, platforms, under_amd) in [
        (BUILDER_SEV_SNP, &[Platform::Snp][..], true),
        (BUILDER_AZ_SNP, &[Platform::AzSnp], true),
        (BUILDER_SIMULATED, &Platform::ALL, false),
        (BUILDER_HOST, &[], false),
    ] {
        let mut scene = Scene::good();
        *scene.statement.pointer_mut(BUILDER).unwrap() = json!(builder);
        let text = scene.statement.to_string();
        let statement = Statement::read(text.as_bytes()).unwrap();
        for platform in Platform::ALL {
            let is_of = platforms.contains(&platform);
            assert_eq!(
                statement.appraise(platform, false).is_ok(),
                is_of,
                "{builder} {platform:?}"
            );
            assert_eq!(
                statement.appraise(platform, true).is_ok(),
                is_of && under_amd,
                "{builder} {platform:?}"
            );
        }
    }
}

#[test]
fn a_quote_is_compared_in_full_length() {
    let provenance = AzureScene::good().scene.provenance();
    let data = report_data(&provenance, &Nonce::parse(NONCE).unwrap());
    for (extra_data, expected) in [
        (data[..47].to_vec(), vec!["extra-data-length"]),
        (data[..49].to_vec(), vec!["extra-data-length"]),
        (data[..50].to_vec(), vec!["extra-data-length"]),
        (data[..32].to_vec(), vec!["extra-data-length"]),
        (data.to_vec(), vec!["quote-malformed"]),
        (Vec::new(), vec!["extra-data-length"]),
        (data[..48].to_vec(), vec![]),
    ] {
        let length = extra_data.len();
        let result = changed(|scene| scene.extra_data = Some(extra_data));
        assert_eq!(
            (codes(&result), result.is_accepted()),
            (expected.clone(), expected.is_empty()),
            "{length}"
        );
    }
    for offset in 0..48 {
        let mut extra_data = data[..48].to_vec();
        extra_data[offset] ^= 0x10;
        let expected = match offset {
            0..32 => vec!["provenance-digest"],
            _ => vec!["report-data-nonce", "nonce-not-in-report"],
        };
        assert_eq!(
            codes(&changed(|scene| scene.extra_data = Some(extra_data))),
            expected,
            "byte {offset}"
        );
    }
}

#[test]
fn a_session_is_about_one_key_and_one_nonce_and_never_a_build() {
    let nonce = Nonce::parse(NONCE).unwrap();
    let data = session_report_data(&vcek_point(), &nonce);
    let digest = Sha256Digest::of(&data);
    let accepted = AzureScene::good().session(digest.as_bytes(), NONCE);
    assert!(accepted.is_accepted(), "{accepted:?}");
    assert!(
        accepted.claims()["pinned_public_key"]
            .as_str()
            .unwrap()
            .starts_with("sha256//")
    );
    for (extra_data, expected) in [
        (
            Sha256Digest::of(&session_report_data(b"another key", &nonce))
                .as_bytes()
                .to_vec(),
            "session-digest",
        ),
        (
            Sha256Digest::of(&report_data(&vcek_point(), &nonce))
                .as_bytes()
                .to_vec(),
            "session-digest",
        ),
        (data[..48].to_vec(), "extra-data-length"),
        (digest.as_bytes()[..31].to_vec(), "extra-data-length"),
    ] {
        let result = AzureScene::good().session(&extra_data, NONCE);
        assert_eq!(codes(&result), [expected, expected]);
    }
    let as_a_build = changed(|scene| scene.extra_data = Some(digest.as_bytes().to_vec()));
    assert_eq!(codes(&as_a_build), ["extra-data-length"]);
}

#[test]
fn evidence_that_another_machine_made_does_not_fit_together() {
    // Another machine's claims, and so its key, under this machine's report.
    let other = changed(|scene| {
        let modulus = URL_SAFE_NO_PAD.encode(keys().ask.n().to_bytes_be());
        let theirs =
            json!({"keys": [{"kid": "HCLAkPub", "kty": "RSA", "e": "AQAB", "n": modulus}]})
                .to_string();
        scene.signer = &keys().ask;
        scene.edit_hcl = Box::new(move |hcl| {
            hcl[0x4d4..].fill(0);
            hcl[0x4d4..0x4d4 + theirs.len()].copy_from_slice(theirs.as_bytes());
            let sizes = [(0x08, 0x4d4), (0x4c0, 20), (0x4d0, 0)];
            for (offset, more) in sizes {
                hcl[offset..offset + 4]
                    .copy_from_slice(&(theirs.len() as u32 + more).to_le_bytes());
            }
        });
    });
    assert_eq!(codes(&other), ["runtime-data-binding"]);
    // Anybody's own guest on AMD's silicon, with everything that a paravisor would claim.
    let own_guest = changed(|scene| scene.scene.edit_report = Box::new(|report| report[4] = 11));
    assert_eq!(codes(&own_guest), ["paravisor-id-key"]);
}

#[test]
fn the_simulated_machine_is_believed_under_its_own_root_only() {
    let result = changed(|scene| {
        scene.scene.edit_expectations =
            Box::new(|expectations| expectations.roots = TrustRoots::amd().unwrap());
    });
    assert_eq!(codes(&result), ["issuer-unknown"]);
}

/// A directory with the bundle, the reference file and the trust root.
fn files(scene: &AzureScene) -> Files {
    let files = Files::new(&scene.scene);
    fs::write(
        files.path().join("p/evidence.json"),
        scene.bundle().evidence.unwrap(),
    )
    .unwrap();
    fs::write(
        files.path().join("published.json"),
        scene.references.to_string(),
    )
    .unwrap();
    files
}

fn kettle(files: &Files, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_kettle"))
        .args(arguments)
        .current_dir(files.path())
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

const VERIFY: [&str; 8] = [
    "verify",
    "p",
    "--trust-root",
    "root.pem",
    "--measurements",
    "published.json",
    "--at",
    "2026-06-01T00:00:00Z",
];

#[test]
fn the_command_says_whom_one_trusts_in_text_and_json() {
    let files = files(&AzureScene::good());
    let (status, text) = kettle(&files, &VERIFY);
    assert_eq!(status, Some(0), "{text}");
    for line in [
        "trusting a test hierarchy (--trust-root) instead of AMD\n",
        "trusting a test hierarchy, and Microsoft as the author of the paravisor, not as the operator of the machine\n",
        "boot-measurement     pass\n",
        "  paravisor_svn: 11\n",
        "  secure_boot: true\n",
        "  tpm_persisted: false\n",
        "  boot: 9.9.9, azure\n",
        "ACCEPTED\n",
        "is Microsoft's word\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let (status, document) = kettle(
        &files,
        &[&VERIFY[..], &["--json", "--nonce", "00"]].concat(),
    );
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(
        (status, &document["verdict"]),
        (Some(1), &json!("rejected"))
    );
    let rejected: Vec<_> = document["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["outcome"] == "reject")
        .collect();
    assert_eq!(
        rejected
            .iter()
            .map(|check| &check["check"])
            .collect::<Vec<_>>(),
        ["nonce"]
    );
    assert_eq!(rejected[0]["code"], "nonce-not-in-report");
    // Without a reference file: the measurements of this release have no boot yet, or another one.
    let (status, text) = kettle(
        &files,
        &VERIFY[..4]
            .iter()
            .chain(&VERIFY[6..])
            .copied()
            .collect::<Vec<_>>(),
    );
    assert!(status == Some(1) && text.contains("REJECTED\n"), "{text}");
}

#[test]
fn inspect_shows_such_evidence_and_that_of_other_builders_and_accepts_nothing() {
    let mut scene = AzureScene::good();
    let rewritten = serde_json::from_slice::<Value>(&scene.scene.provenance())
        .unwrap()
        .to_string();
    let own = files(&scene);
    scene.extra_data = Some(Sha256Digest::of(rewritten.as_bytes()).as_bytes().to_vec());
    let theirs = files(&scene);
    let real = |name: &str| format!("{}/tests/data/snp/azure/{name}", env!("CARGO_MANIFEST_DIR"));
    for (path, expected) in [
        ("p".to_owned(), "pcr 9:"),
        ("p/evidence.json".to_owned(), "quote is about:"),
        (
            real("live-milan-v3/evidence.json"),
            "paravisor svn:      10\n",
        ),
        (
            real("coco-v0-milan-v3/evidence.json"),
            "secure boot:       true\n",
        ),
        (real("genoa-v3/evidence.json"), "tpm persisted:     true\n"),
        (
            real("genoa-v3/hcl_report.bin"),
            "hcl version:       2, request 1\n",
        ),
    ] {
        let (status, text) = kettle(&own, &["inspect", &path]);
        assert_eq!(status, Some(0), "{path}");
        let words: Vec<_> = expected.split_whitespace().collect();
        assert!(
            text.split_whitespace()
                .collect::<Vec<_>>()
                .windows(words.len())
                .any(|part| part == words),
            "{text}"
        );
        assert!(
            text.ends_with("nothing of this was verified\n")
                && !text.to_lowercase().contains("accepted"),
            "{text}"
        );
        let (status, document) = kettle(&own, &["inspect", "--json", &path]);
        let document: Value = serde_json::from_str(&document).unwrap();
        assert_eq!(
            (status, &document["verified"]),
            (Some(0), &json!(false)),
            "{path}"
        );
        assert!(
            document["tpm"]["paravisor_svn"].is_string()
                && document["report"]["id_key"].is_string(),
            "{path}"
        );
    }
    let (_, text) = kettle(&theirs, &["inspect", "p"]);
    assert!(
        text.contains("another attested builder on a stock machine"),
        "{text}"
    );
    let (status, text) = kettle(&theirs, &VERIFY);
    assert_eq!(status, Some(1));
    assert!(
        text.contains("no published boot measurement can match it"),
        "{text}"
    );
    let (_, text) = kettle(&own, &["inspect", "p"]);
    assert!(!text.contains("another attested builder"), "{text}");
}
