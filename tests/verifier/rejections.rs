//! One mutation for every rejection.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::{fs, io};

use kettle::bundle::read::{MAX_EVIDENCE_BYTES, ReadError, directory as directory_of, stream};
use kettle::bundle::{Entry, write};
use kettle::digest::Sha256Digest;
use kettle::name::project::ProjectName;
use kettle::snp::measurement::LaunchMeasurement;
use kettle::verifier::azure::{AzureRejection, ClaimsError, QuoteError};
use kettle::verifier::{
    AttestationResult, Check, ExpectedArtifact, Outcome, ReferenceValues, Rejection, Role,
    TrustRoots,
};
use rustix::fs::{XattrFlags, setxattr};
use serde_json::json;

use super::azure;
use super::bill;
use super::conformance::{self, Subject};
use super::hierarchy::{Crl, Digest, extension, keys, point, tlv};
use super::scene::{SNP, Scene, list_with_another_user};
use super::session;
use super::signed;

/// Lists the codes, and matches all rejections: a new one has to be added here, and then needs a
/// case.
macro_rules! codes {
    ($($pattern:pat => $code:literal,)*) => {
        pub const CODES: &[&str] = &[$($code),*];

        fn code_of(rejection: &Rejection) -> &'static str {
            match rejection { $($pattern => $code,)* }
        }
    };
}

codes! {
    Rejection::Bundle(ReadError::Open(_)) => "bundle-not-readable",
    Rejection::Bundle(ReadError::Damaged(_)) => "bundle-damaged",
    Rejection::Bundle(ReadError::Limit { .. }) => "bundle-limit",
    Rejection::Bundle(ReadError::Trailing) => "bundle-trailing-bytes",
    Rejection::Bundle(ReadError::NotCanonical { .. }) => "bundle-not-canonical",
    Rejection::Bundle(ReadError::Kind { .. }) => "bundle-entry-kind",
    Rejection::Bundle(ReadError::Mode { .. }) => "bundle-file-mode",
    Rejection::Bundle(ReadError::Path { .. }) => "bundle-path",
    Rejection::Bundle(ReadError::Attribute { .. }) => "bundle-attribute",
    Rejection::Bundle(ReadError::Project { .. }) => "bundle-project-name",
    Rejection::Bundle(ReadError::Unexpected { .. }) => "bundle-unexpected-file",
    Rejection::Bundle(ReadError::Duplicate { .. }) => "bundle-duplicate",
    Rejection::Bundle(ReadError::NoProvenance) => "provenance-missing",
    Rejection::Project { .. } => "project-mismatch",
    Rejection::EvidenceMissing => "evidence-missing",
    Rejection::EvidenceMalformed(_) => "evidence-malformed",
    Rejection::EvidenceEncoding { .. } => "evidence-encoding",
    Rejection::PlatformUnknown { .. } => "platform-unknown",
    Rejection::ReportLength { .. } => "report-length",
    Rejection::CertificateMissing => "certificate-missing",
    Rejection::CertificateMalformed { role: Role::Crl, .. } => "crl-malformed",
    Rejection::CertificateMalformed { .. } => "certificate-malformed",
    Rejection::IssuerUnknown { role: Role::Crl, .. } => "crl-issuer",
    Rejection::IssuerUnknown { .. } => "issuer-unknown",
    Rejection::CertificateAlgorithm { role: Role::Crl, .. } => "crl-algorithm",
    Rejection::CertificateAlgorithm { .. } => "certificate-algorithm",
    Rejection::CertificateSignature { role: Role::Crl } => "crl-signature",
    Rejection::CertificateSignature { .. } => "certificate-signature",
    Rejection::CertificateNotYetValid { .. } => "certificate-not-yet-valid",
    Rejection::CertificateExpired { .. } => "certificate-expired",
    Rejection::CriticalExtension { role: Role::Crl, .. } => "crl-critical-extension",
    Rejection::CriticalExtension { .. } => "critical-extension",
    Rejection::CertificateAuthority { .. } => "certificate-authority",
    Rejection::CertificateKey { .. } => "certificate-key",
    Rejection::CrlNotYetValid { .. } => "crl-not-yet-valid",
    Rejection::CrlOutOfDate { .. } => "crl-out-of-date",
    Rejection::Revoked { .. } => "certificate-revoked",
    Rejection::ChipKeyMasked => "chip-key-masked",
    Rejection::SigningKeyMismatch { .. } => "signing-key-mismatch",
    Rejection::CertificateSubject { .. } => "certificate-subject",
    Rejection::CertificateIssuerRole { .. } => "certificate-issuer-role",
    Rejection::ProductUnknown { .. } => "product-unknown",
    Rejection::ProductMismatch { .. } => "product-mismatch",
    Rejection::ExtensionMissing { .. } => "extension-missing",
    Rejection::ExtensionEncoding { .. } => "extension-encoding",
    Rejection::ChipIdZero => "chip-id-zero",
    Rejection::ChipIdMismatch { .. } => "chip-id-mismatch",
    Rejection::TcbMismatch { .. } => "tcb-mismatch",
    Rejection::ReportVersion { .. } => "report-version",
    Rejection::ReportAlgorithm { .. } => "report-algorithm",
    Rejection::ReportReserved { .. } => "report-reserved",
    Rejection::SignatureRange => "signature-range",
    Rejection::SignatureInvalid => "signature-invalid",
    Rejection::Debug { .. } => "policy-debug",
    Rejection::MigrationAgent { .. } => "policy-migration-agent",
    Rejection::PolicyReservedOne { .. } => "policy-reserved-one",
    Rejection::PolicyReserved { .. } => "policy-reserved",
    Rejection::Vmpl { .. } => "vmpl",
    Rejection::IdKey { .. } => "id-key",
    Rejection::AuthorKey { .. } => "author-key",
    Rejection::ReportedAboveCommitted { .. } => "tcb-reported-above-committed",
    Rejection::LaunchAboveCurrent { .. } => "tcb-launch-above-current",
    Rejection::BelowMinimum { .. } => "tcb-below-minimum",
    Rejection::BelowFloor { .. } => "tcb-below-floor",
    Rejection::AliasCheck { .. } => "alias-check-incomplete",
    Rejection::NoReferenceValues => "no-reference-values",
    Rejection::MeasurementUnknown { .. } => "measurement-unknown",
    Rejection::MeasurementRevoked { .. } => "measurement-revoked",
    Rejection::ImageClaim { .. } => "image-claim-mismatch",
    Rejection::Azure(AzureRejection::EvidenceVersion { .. }) => "evidence-version",
    Rejection::Azure(AzureRejection::Hcl(_)) => "hcl-malformed",
    Rejection::Azure(AzureRejection::OtherForm) => "evidence-of-another-builder",
    Rejection::Azure(AzureRejection::RuntimeData { .. }) => "runtime-data-binding",
    Rejection::Azure(AzureRejection::Claims(ClaimsError::Json(_))) => "runtime-claims-malformed",
    Rejection::Azure(AzureRejection::Claims(_)) => "attestation-key",
    Rejection::Azure(AzureRejection::ParavisorLevel { .. }) => "paravisor-vmpl",
    Rejection::Azure(AzureRejection::ParavisorKey { .. }) => "paravisor-id-key",
    Rejection::Azure(AzureRejection::ContainerKey { .. }) => "paravisor-container-key",
    Rejection::Azure(AzureRejection::ParavisorAuthorKey { .. }) => "paravisor-author-key",
    Rejection::Azure(AzureRejection::ParavisorVersion { .. }) => "paravisor-svn",
    Rejection::Azure(AzureRejection::Quote(QuoteError::Magic { .. })) => "quote-magic",
    Rejection::Azure(AzureRejection::Quote(QuoteError::Type { .. })) => "quote-type",
    Rejection::Azure(AzureRejection::Quote(_)) => "quote-malformed",
    Rejection::Azure(AzureRejection::QuoteSignatureLength { .. }) => "quote-signature-length",
    Rejection::Azure(AzureRejection::QuoteSignature) => "quote-signature",
    Rejection::Azure(AzureRejection::RegisterCount { .. }) => "pcr-count",
    Rejection::Azure(AzureRejection::RegisterDigest { .. }) => "pcr-digest",
    Rejection::Azure(AzureRejection::NoBootReference) => "no-boot-reference",
    Rejection::Azure(AzureRejection::BootUnknown { .. }) => "boot-measurement-unknown",
    Rejection::Azure(AzureRejection::BootRevoked { .. }) => "boot-measurement-revoked",
    Rejection::Azure(AzureRejection::RegisterNotZero { .. }) => "pcr-not-zero",
    Rejection::Azure(AzureRejection::ExtraDataLength { .. }) => "extra-data-length",
    Rejection::Azure(AzureRejection::OtherBuilder { .. }) => "signed-by-another-builder",
    Rejection::Azure(AzureRejection::SessionDigest { .. }) => "session-digest",
    Rejection::ProvenanceDigest { .. } => "provenance-digest",
    Rejection::ReportDataNonce { .. } => "report-data-nonce",
    Rejection::ReportDataTag { .. } => "report-data-tag",
    Rejection::SessionKey { .. } => "session-key",
    Rejection::SessionDocument { .. } => "session-document",
    Rejection::SessionKeyMissing => "session-key-missing",
    Rejection::NonceNotInReport { .. } => "nonce-not-in-report",
    Rejection::NonceNotInProvenance { .. } => "nonce-not-in-provenance",
    Rejection::StatementMalformed(_) => "statement-malformed",
    Rejection::StatementType { .. } => "statement-type",
    Rejection::PredicateType { .. } => "predicate-type",
    Rejection::BuildType { .. } => "build-type-unknown",
    Rejection::Builder { .. } => "builder-unknown",
    Rejection::ExternalParameter { .. } => "external-parameter-unknown",
    Rejection::SourceParameter => "source-parameter",
    Rejection::NonceSyntax { .. } => "nonce-syntax",
    Rejection::DigestSyntax { .. } => "digest-syntax",
    Rejection::NoSubject => "subject-none",
    Rejection::SubjectName { .. } => "subject-name",
    Rejection::SubjectDuplicate { .. } => "subject-duplicate",
    Rejection::SubjectAlike { .. } => "subject-alike",
    Rejection::Repository { .. } => "repository-mismatch",
    Rejection::Reference { .. } => "ref-mismatch",
    Rejection::Commit { .. } => "commit-mismatch",
    Rejection::SourceArchive { .. } => "source-archive-mismatch",
    Rejection::SourceTree { .. } => "source-tree-mismatch",
    Rejection::OptionMismatch { .. } => "option-mismatch",
    Rejection::OptionUnexpected { .. } => "option-unexpected",
    Rejection::Artifact { .. } => "artifact-not-a-subject",
    Rejection::SignerMissing => "signer-missing",
    Rejection::SignerAlgorithm { .. } => "signer-algorithm",
    Rejection::SignerKey { .. } => "signer-key",
    Rejection::EnvelopeMalformed { .. } => "envelope-malformed",
    Rejection::EnvelopeForm { .. } => "envelope-form",
    Rejection::EnvelopePayload { .. } => "envelope-payload",
    Rejection::EnvelopeKey { .. } => "envelope-key",
    Rejection::EnvelopeSignature { .. } => "envelope-signature",
    Rejection::SubjectMissing { .. } => "subject-missing",
    Rejection::SubjectDigest { .. } => "subject-digest",
    Rejection::SubjectMode { .. } => "subject-mode",
    Rejection::ArtifactUnlisted { .. } => "artifact-unlisted",
    Rejection::RecordMissing { .. } => "record-missing",
    Rejection::RecordDigest { .. } => "record-digest",
    Rejection::RecordUnlisted { .. } => "record-unlisted",
    Rejection::RecordContradiction { .. } => "record-contradiction",
}

/// A case: the expected code, the check that reports it, and the result.
pub struct Case(pub &'static str, pub Check, pub AttestationResult);

fn scene(code: &'static str, check: Check, change: impl FnOnce(&mut Scene)) -> Case {
    let mut scene = Scene::good();
    change(&mut scene);
    Case(code, check, scene.verify())
}

/// Changes a byte of the report, before it is signed.
fn report(code: &'static str, check: Check, offset: usize, value: u8) -> Case {
    scene(code, check, |scene| {
        scene.edit_report = Box::new(move |report| report[offset] = value)
    })
}

/// Changes a value in the statement.
fn stated(code: &'static str, pointer: &str, value: serde_json::Value) -> Case {
    scene(code, Check::Statement, |scene| {
        *scene.statement.pointer_mut(pointer).expect(pointer) = value
    })
}

fn expecting(
    code: &'static str,
    check: Check,
    edit: impl Fn(&mut kettle::verifier::Expectations) + 'static,
) -> Case {
    scene(code, check, |scene| {
        scene.edit_expectations = Box::new(edit)
    })
}

fn bundled(
    code: &'static str,
    check: Check,
    edit: impl Fn(&mut kettle::bundle::read::Bundle) + 'static,
) -> Case {
    scene(code, check, |scene| scene.edit_bundle = Box::new(edit))
}

fn revoking(code: &'static str, crl: Crl) -> Case {
    let signed = crl.signed(&keys().ark);
    expecting(code, Check::Endorsements, move |expectations| {
        expectations.crl = Some(signed.clone())
    })
}

/// Returns every case.
pub fn all() -> Vec<Case> {
    let groups = [
        of_bundles(),
        of_certificates(),
        of_revocation(),
        of_binding(),
        of_reports(),
        of_measurements(),
        of_statements(),
        of_files(),
        session::cases(),
        signed::cases(),
        bill::cases(),
        azure::cases(),
    ];
    groups.into_iter().flatten().collect()
}

#[test]
fn every_rejection_has_its_case() {
    let mut seen = BTreeSet::new();
    for Case(code, check, result) in all() {
        let found = result
            .outcome(check)
            .rejection()
            .unwrap_or_else(|| panic!("{code}: {:?}", result.outcome(check)));
        assert_eq!((found.code(), code_of(found)), (code, code), "{found}");
        assert!(
            matches!(result.outcome(check), Outcome::Reject(_)) && !result.is_accepted(),
            "{code}"
        );
        assert!(result.claims().is_empty(), "{code}");
        seen.insert(code);
    }
    let all: BTreeSet<_> = CODES.iter().copied().collect();
    assert_eq!((seen, CODES.len()), (all.clone(), all.len()));
}

fn of_bundles() -> Vec<Case> {
    let packed = |entries: Vec<Entry<'_>>| write(Vec::new(), "p", entries, 0).unwrap();
    let named = |names: &[&str]| {
        packed(
            names
                .iter()
                .map(|name| Entry::of_bytes(*name, b"{}"))
                .collect(),
        )
    };
    let good = named(&["provenance.json"]);
    let large = vec![b' '; MAX_EVIDENCE_BYTES as usize + 1];
    let called = |top| {
        write(
            Vec::new(),
            top,
            vec![Entry::of_bytes("artifacts/x", b"")],
            0,
        )
        .unwrap()
    };
    let elsewhere = called("..");
    let mut named_by_gzip = good.clone();
    named_by_gzip[3] |= 8;
    let unpacked = |change: &dyn Fn(&Path)| {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("provenance.json"), "{}").unwrap();
        change(directory.path());
        directory_of(directory.path())
    };
    let link =
        unpacked(&|directory| symlink("provenance.json", directory.join("evidence.json")).unwrap());
    let set_user_id = unpacked(&|directory| {
        fs::set_permissions(
            directory.join("provenance.json"),
            fs::Permissions::from_mode(0o4644),
        )
        .unwrap();
    });
    let shared = unpacked(&|directory| {
        let file = directory.join("provenance.json");
        setxattr(
            file,
            "system.posix_acl_access",
            &list_with_another_user(),
            XattrFlags::empty(),
        )
        .unwrap();
    });
    let dated = |time: u64, statement: fn(&mut serde_json::Value)| {
        scene("bundle-not-canonical", Check::Bundle, |scene| {
            statement(
                &mut scene.statement["predicate"]["buildDefinition"]["internalParameters"]["sourceDateEpoch"],
            );
            scene.edit_bundle = Box::new(move |bundle| bundle.time = Some(time));
        })
    };
    let read = |code, bytes: &[u8]| {
        let scene = Scene::good();
        let result = scene.verify_read(stream(bytes));
        let subject = Subject::Archive(bytes);
        conformance::record(&subject, &scene, &scene.expectations(), &result);
        Case(code, Check::Bundle, result)
    };
    let gone = Err(ReadError::Open(io::ErrorKind::NotFound.into()));
    vec![
        Case(
            "bundle-not-readable",
            Check::Bundle,
            Scene::good().verify_read(gone),
        ),
        read("bundle-damaged", &good[..good.len() - 1]),
        read("bundle-trailing-bytes", &[&good[..], &[0]].concat()),
        read(
            "bundle-limit",
            &packed(vec![Entry::of_bytes("evidence.json", &large)]),
        ),
        read("bundle-not-canonical", &named_by_gzip),
        dated(1, |_| {}),
        dated(0, |time| *time = json!(1)),
        dated(0, |time| *time = json!(null)),
        Case(
            "bundle-entry-kind",
            Check::Bundle,
            Scene::good().verify_read(link),
        ),
        Case(
            "bundle-file-mode",
            Check::Bundle,
            Scene::good().verify_read(set_user_id),
        ),
        Case(
            "bundle-attribute",
            Check::Bundle,
            Scene::good().verify_read(shared),
        ),
        read("bundle-path", &elsewhere),
        read("bundle-project-name", &called(".hidden")),
        bundled("project-mismatch", Check::Bundle, |bundle| {
            bundle.project = ProjectName::parse("another")
        }),
        read(
            "bundle-unexpected-file",
            &named(&["provenance.json", "README"]),
        ),
        read(
            "bundle-duplicate",
            &named(&["provenance.json", "artifacts/x", "artifacts/x/y"]),
        ),
        read("provenance-missing", &named(&["build.log"])),
        bundled("evidence-missing", Check::Bundle, |bundle| {
            bundle.evidence = None
        }),
        bundled("evidence-malformed", Check::Bundle, |bundle| {
            bundle.evidence = Some(b"{}".to_vec())
        }),
        evidence("evidence-encoding", |text| {
            text.replace("\"attestation_report\":\"", "\"attestation_report\":\"!")
        }),
        evidence("platform-unknown", |text| {
            text.replace("\"snp\"", "\"az-tdx\"")
        }),
        evidence("report-length", |text| {
            text.replace("\"attestation_report\":\"", "\"attestation_report\":\"AAAA")
        }),
        Case(
            "certificate-missing",
            Check::Endorsements,
            evidence("", |text| {
                let (head, tail) = text.split_once("\"vcek\":\"").unwrap();
                format!("{head}\"vcek\":null{}", tail.split_once('"').unwrap().1)
            })
            .2,
        ),
    ]
}

fn evidence(code: &'static str, edit: impl Fn(String) -> String + 'static) -> Case {
    bundled(code, Check::Bundle, move |bundle| {
        let text = String::from_utf8(bundle.evidence.take().unwrap()).unwrap();
        bundle.evidence = Some(edit(text).into_bytes());
    })
}

fn of_certificates() -> Vec<Case> {
    const CHECK: Check = Check::Endorsements;
    let twice = || extension("2.5.29.15", true, &[3, 2, 0, 1]);
    vec![
        expecting("certificate-malformed", CHECK, |expectations| {
            expectations.certificate = Some(b"nothing".to_vec())
        }),
        scene("certificate-malformed", CHECK, |scene| {
            scene.leaf.extensions = vec![twice(), twice()]
        }),
        expecting("issuer-unknown", CHECK, |expectations| {
            expectations.roots = TrustRoots::amd().unwrap()
        }),
        scene("issuer-unknown", CHECK, |scene| {
            scene.leaf.issuer = "ARK-Test"
        }),
        scene("issuer-unknown", CHECK, |scene| {
            scene.ask.issuer = "SEV-Test"
        }),
        scene("certificate-algorithm", CHECK, |scene| {
            scene.leaf.digest = Digest::Sha256
        }),
        scene("certificate-algorithm", CHECK, |scene| {
            scene.ask.digest = Digest::Sha256
        }),
        scene("certificate-signature", CHECK, |scene| {
            scene.leaf_signer = &keys().other
        }),
        scene("certificate-not-yet-valid", CHECK, |scene| {
            scene.leaf.years = (2027, 2031)
        }),
        scene("certificate-expired", CHECK, |scene| {
            scene.ask.years = (2020, 2026)
        }),
        scene("certificate-expired", CHECK, |scene| {
            scene.ark.years = (2020, 2026)
        }),
        scene("critical-extension", CHECK, |scene| {
            scene.leaf.extensions = vec![extension("1.2.3.4", true, &[5, 0])]
        }),
        scene("certificate-authority", CHECK, |scene| {
            scene.ask.extensions = Vec::new()
        }),
        scene("certificate-authority", CHECK, |scene| {
            scene.leaf.extensions = std::mem::take(&mut Scene::good().ask.extensions)
        }),
        scene("certificate-key", CHECK, |scene| {
            scene.leaf.public_key = point("1.2.840.10045.3.1.7", &[4; 65])
        }),
    ]
}

fn of_revocation() -> Vec<Case> {
    const CHECK: Check = Check::Endorsements;
    let by_another = Crl::default().signed(&keys().other);
    vec![
        expecting("crl-malformed", CHECK, |expectations| {
            expectations.crl = Some(b"nothing".to_vec())
        }),
        revoking(
            "crl-issuer",
            Crl {
                issuer: "SEV-Test",
                ..Crl::default()
            },
        ),
        revoking(
            "crl-algorithm",
            Crl {
                digest: Digest::Sha256,
                ..Crl::default()
            },
        ),
        expecting("crl-signature", CHECK, move |expectations| {
            expectations.crl = Some(by_another.clone())
        }),
        revoking(
            "crl-critical-extension",
            Crl {
                extensions: extension("1.2.3.4", true, &[5, 0]),
                ..Crl::default()
            },
        ),
        revoking(
            "crl-not-yet-valid",
            Crl {
                years: (2027, Some(2028)),
                ..Crl::default()
            },
        ),
        revoking(
            "crl-out-of-date",
            Crl {
                years: (2025, Some(2026)),
                ..Crl::default()
            },
        ),
        revoking(
            "crl-out-of-date",
            Crl {
                years: (2025, None),
                ..Crl::default()
            },
        ),
        revoking(
            "certificate-revoked",
            Crl {
                revoked: vec![77, 2],
                ..Crl::default()
            },
        ),
    ]
}

fn of_binding() -> Vec<Case> {
    const CHECK: Check = Check::CertificateBinding;
    let set = |code, id: &'static str, value: Option<Vec<u8>>| {
        scene(code, CHECK, move |scene| {
            scene.set_extension(&format!("1.3.6.1.4.1.3704.1.{id}"), value)
        })
    };
    vec![
        report("chip-key-masked", CHECK, 0x48, 2),
        report("signing-key-mismatch", CHECK, 0x48, 4),
        report("signing-key-mismatch", CHECK, 0x48, 7 << 2),
        set("signing-key-mismatch", "5", Some(tlv(0x16, b"cloud"))),
        scene("certificate-subject", CHECK, |scene| {
            scene.leaf.subject = "SEV-VLEK"
        }),
        scene("certificate-issuer-role", CHECK, |scene| {
            (scene.ask.subject, scene.leaf.issuer) = ("SEV-VLEK-Test", "SEV-VLEK-Test");
        }),
        report("product-unknown", CHECK, 0x188, 0x17),
        set("product-unknown", "2", Some(tlv(0x16, b"Naples"))),
        set("product-mismatch", "2", Some(tlv(0x16, b"Milan-B0"))),
        set("extension-missing", "3.8", None),
        set("extension-encoding", "3.3", Some(vec![2, 1, 0x98])),
        set("extension-encoding", "2", Some(b"Genoa".to_vec())),
        scene("chip-id-zero", CHECK, |scene| {
            scene.edit_report = Box::new(|report| report[0x1a0..0x1e0].fill(0))
        }),
        report("chip-id-mismatch", CHECK, 0x1df, 0),
        set("chip-id-mismatch", "4", Some(vec![0xc1; 8])),
        set("tcb-mismatch", "3.8", Some(vec![2, 2, 0, 0xff])),
        report("tcb-mismatch", CHECK, 0x183, 1),
    ]
}

/// Returns a published file with the measurement of the scene and further members.
fn published(members: &serde_json::Value) -> ReferenceValues {
    let entry = json!({"measurement": "5a".repeat(48), "vcpu_type": "EPYC", "vcpus": 1});
    let mut file = json!({"version": "1", "measurements": [entry]});
    file.as_object_mut()
        .unwrap()
        .extend(members.as_object().unwrap().clone());
    let mut references = ReferenceValues::default();
    references.add_file(file.to_string().as_bytes()).unwrap();
    conformance::references(&file.to_string());
    references
}

/// Returns a scene whose statement claims an image with `claimed` as its root hash; the measurement
/// was published with `aa…`.
fn claiming(claimed: Option<&'static str>) -> Case {
    scene("image-claim-mismatch", Check::LaunchMeasurement, |scene| {
        let parameters = scene
            .statement
            .pointer_mut("/predicate/buildDefinition/internalParameters")
            .unwrap();
        if let Some(claimed) = claimed {
            parameters["image"] = json!({"version": "1", "rootHash": claimed.repeat(32)});
        }
        scene.edit_expectations = Box::new(|expectations| {
            expectations.references = published(&json!({"root_hash": "aa".repeat(32)}));
        });
    })
}

fn of_measurements() -> Vec<Case> {
    const CHECK: Check = Check::LaunchMeasurement;
    vec![
        expecting("no-reference-values", CHECK, |expectations| {
            expectations.references = ReferenceValues::default()
        }),
        report("measurement-unknown", CHECK, 0x90, 0),
        claiming(Some("bb")),
        claiming(None),
        expecting("measurement-revoked", CHECK, |expectations| {
            expectations.references = published(&json!({"withdrawn": "bad"}));
        }),
        // A measurement that was given alone, without a file: the verifier knows the list itself.
        scene("measurement-revoked", CHECK, |scene| {
            scene.edit_report =
                Box::new(|report| report[0x90..0xc0].copy_from_slice(revoked().as_bytes()));
            scene.edit_expectations =
                Box::new(|expectations| expectations.references.add(revoked()));
        }),
    ]
}

/// Returns a measurement of a revoked image.
pub fn revoked() -> LaunchMeasurement {
    let file: serde_json::Value =
        serde_json::from_str(include_str!("../../measurements/0.1.0.json")).unwrap();
    file["measurements"][3]["measurement"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}

fn of_reports() -> Vec<Case> {
    use Check::{GuestPolicy, ReportData, ReportSignature, Tcb};
    let after = |code, edit: fn(&mut [u8; 1184])| {
        scene(code, ReportSignature, |scene| {
            scene.edit_signed_report = Box::new(edit)
        })
    };
    let keys = |code, offset: usize| {
        scene(code, GuestPolicy, |scene| {
            scene.edit_report = Box::new(move |report| report[offset] = 1);
            scene.edit_expectations =
                Box::new(|expectations| expectations.references = published(&json!({})));
        })
    };
    vec![
        report("report-version", ReportSignature, 0, 6),
        report("report-version", ReportSignature, 0, 1),
        report("report-algorithm", ReportSignature, 0x34, 0),
        report("report-reserved", ReportSignature, 0x4c, 1),
        after("report-reserved", |report| report[0x49f] = 1),
        after("signature-range", |report| report[0x2a0 + 48] = 1),
        after("signature-range", |report| {
            report[0x2e8..0x2e8 + 48].fill(0xff)
        }),
        after("signature-range", |report| report[0x2a0..0x2d0].fill(0)),
        after("signature-invalid", |report| report[0x90] ^= 1),
        report("policy-debug", GuestPolicy, 0x0a, 0b1011),
        report("policy-migration-agent", GuestPolicy, 0x0a, 0b111),
        report("policy-reserved-one", GuestPolicy, 0x0a, 0b1),
        report("policy-reserved", GuestPolicy, 0x0b, 0b100),
        report("vmpl", GuestPolicy, 0x30, 1),
        keys("id-key", 0xe0),
        keys("author-key", 0x110),
        report("tcb-reported-above-committed", Tcb, 0x1e0, 3),
        report("tcb-launch-above-current", Tcb, 0x1f0 + 6, SNP + 1),
        expecting("tcb-below-minimum", Tcb, |expectations| {
            expectations.minimum_tcb = "snp=28".parse().unwrap()
        }),
        expecting("tcb-below-minimum", Tcb, |expectations| {
            expectations.minimum_tcb = "fmc=0".parse().unwrap()
        }),
        scene("tcb-below-floor", Tcb, |scene| {
            scene.set_extension("1.3.6.1.4.1.3704.1.3.3", Some(vec![2, 1, SNP - 1]));
            scene.edit_report = Box::new(|report| report[0x180 + 6] = SNP - 1);
        }),
        report("alias-check-incomplete", Tcb, 0x40, 0),
        bundled("provenance-digest", ReportData, |bundle| {
            bundle.provenance.push(b'\n')
        }),
        report("report-data-nonce", ReportData, 0x50 + 32, 1),
        report("report-data-tag", ReportData, 0x50 + 63, 1),
        expecting("nonce-not-in-report", Check::Nonce, |expectations| {
            expectations.nonce = Some(kettle::provenance::Nonce::parse("00").unwrap())
        }),
        // With the padding both are the same in the report.
        expecting("nonce-not-in-provenance", Check::Nonce, |expectations| {
            expectations.nonce = Some(kettle::provenance::Nonce::parse("00c0ffee00").unwrap())
        }),
    ]
}

fn of_statements() -> Vec<Case> {
    const EXTERNAL: &str = "/predicate/buildDefinition/externalParameters";
    let external = |code, name: &str, value| stated(code, &format!("{EXTERNAL}/{name}"), value);
    let bytes = |edit: fn(String) -> String| {
        scene("statement-malformed", Check::Statement, |scene| {
            scene.provenance = Some(edit(scene.statement.to_string()).into_bytes())
        })
    };
    let subject = |names: &[&str]| {
        let entries: Vec<_> = names
            .iter()
            .map(|name| json!({"name": name, "digest": super::scene::digest(b"x")}))
            .collect();
        json!(entries)
    };
    vec![
        bytes(|text| text + "x"),
        bytes(|text| format!("\u{feff}{text}")),
        bytes(|text| text.replacen("{\"_type\"", "{\"_type\":\"\",\"_type\"", 1)),
        bytes(|text| text.replacen("\"nonceSource\"", "\"source\":{},\"nonceSource\"", 1)),
        stated(
            "statement-malformed",
            "/predicate/buildDefinition/resolvedDependencies",
            json!([]),
        ),
        external(
            "statement-malformed",
            "source",
            json!({"repository": "https://h/r", "branch": "x"}),
        ),
        stated(
            "statement-type",
            "/_type",
            json!("https://in-toto.io/Statement/v0.1"),
        ),
        stated(
            "predicate-type",
            "/predicateType",
            json!("https://slsa.dev/provenance/v0.2"),
        ),
        stated(
            "build-type-unknown",
            "/predicate/buildDefinition/buildType",
            json!("https://kettle.build/make/v1"),
        ),
        stated(
            "builder-unknown",
            "/predicate/runDetails/builder/id",
            json!("https://kettle.build/appliance/host/v1"),
        ),
        scene("external-parameter-unknown", Check::Statement, |scene| {
            scene.statement.pointer_mut(EXTERNAL).unwrap()["flags"] = json!([]);
        }),
        scene("external-parameter-unknown", Check::Statement, |scene| {
            scene.statement.pointer_mut(EXTERNAL).unwrap()["options"] =
                json!({"path": "p", "profile": "dev"});
        }),
        scene("statement-malformed", Check::Statement, |scene| {
            scene.statement.pointer_mut(EXTERNAL).unwrap()["options"] = json!({"bins": ["a,b"]});
        }),
        external("source-parameter", "source", json!({})),
        external(
            "source-parameter",
            "source",
            json!({"repository": "u", "archive": {"sha256": "00"}}),
        ),
        external(
            "source-parameter",
            "source",
            json!({"ref": "v1", "archive": {"sha256": "ab".repeat(32)}}),
        ),
        external(
            "digest-syntax",
            "source",
            json!({"archive": {"sha256": "AB".repeat(32)}}),
        ),
        external("nonce-syntax", "nonce", json!("00C0FFEE")),
        external("nonce-syntax", "nonce", json!("")),
        external("nonce-syntax", "nonceSource", json!("host")),
        stated("digest-syntax", "/subject/0/digest", json!({})),
        stated(
            "digest-syntax",
            "/subject/0/digest/sha256",
            json!("AB".repeat(32)),
        ),
        stated(
            "digest-syntax",
            "/predicate/buildDefinition/resolvedDependencies/1/digest",
            json!({"md5": "ab"}),
        ),
        stated("subject-none", "/subject", json!([])),
        stated("subject-name", "/subject", subject(&["../x"])),
        stated("subject-name", "/subject", subject(&["a\\b"])),
        stated("subject-duplicate", "/subject", subject(&["a", "b", "a"])),
        stated("subject-alike", "/subject", subject(&["tool", "b", "Tool"])),
        stated(
            "subject-alike",
            "/subject",
            subject(&["lib/A.so", "LIB/a.so"]),
        ),
        stated("subject-alike", "/subject", subject(&["a", "A/b"])),
        stated("subject-name", "/subject", subject(&["-rf"])),
        stated("subject-name", "/subject", subject(&["t\u{43e}ol"])),
    ]
}

/// Returns a scene in which the client chose `options`.
fn optioned(
    code: &'static str,
    options: serde_json::Value,
    edit: impl Fn(&mut kettle::verifier::Expectations) + 'static,
) -> Case {
    scene(code, Check::Expectations, |scene| {
        scene
            .statement
            .pointer_mut("/predicate/buildDefinition/externalParameters")
            .unwrap()["options"] = options;
        scene.edit_expectations = Box::new(edit);
    })
}

fn of_files() -> Vec<Case> {
    use Check::{Expectations, Subjects};
    let sha256 = Sha256Digest::of(b"other");
    let other = move |name: &str| kettle::bundle::read::HashedFile {
        name: name.to_owned(),
        sha256,
        size: 5,
        executable: false,
    };
    let from_an_archive = |code, edit: fn(&mut kettle::verifier::Expectations)| {
        scene(code, Expectations, |scene| {
            let source = scene
                .statement
                .pointer_mut("/predicate/buildDefinition/externalParameters/source")
                .unwrap();
            *source = json!({"archive": {"sha256": "ab".repeat(32)}});
            let first = scene
                .statement
                .pointer_mut("/predicate/buildDefinition/resolvedDependencies/0/digest")
                .unwrap();
            *first = json!({"sha256": "ab".repeat(32)});
            scene.edit_expectations = Box::new(edit);
        })
    };
    vec![
        expecting("repository-mismatch", Expectations, |expectations| {
            expectations.repository = Some("https://example.org/other".to_owned())
        }),
        expecting("ref-mismatch", Expectations, |expectations| {
            expectations.reference = Some("v2".to_owned())
        }),
        expecting("commit-mismatch", Expectations, |expectations| {
            expectations.commit = Some("ba".repeat(20).parse().unwrap())
        }),
        expecting("source-tree-mismatch", Expectations, |expectations| {
            expectations.source_tree = Some("ba".repeat(20).parse().unwrap())
        }),
        expecting("source-archive-mismatch", Expectations, |expectations| {
            expectations.source_archive = Some("ba".repeat(32).parse().unwrap())
        }),
        from_an_archive("repository-mismatch", |expectations| {
            expectations.repository = Some("https://example.org/project".to_owned())
        }),
        from_an_archive("ref-mismatch", |expectations| {
            expectations.reference = Some("v1".to_owned())
        }),
        from_an_archive("commit-mismatch", |expectations| {
            expectations.commit = Some("ab".repeat(20).parse().unwrap())
        }),
        expecting(
            "artifact-not-a-subject",
            Expectations,
            move |expectations| {
                expectations.artifacts = vec![ExpectedArtifact {
                    file: "mine".to_owned(),
                    sha256,
                }];
            },
        ),
        optioned(
            "option-mismatch",
            json!({"features": ["a"]}),
            |expectations| {
                expectations.options = vec!["features=b".parse().unwrap()];
            },
        ),
        optioned("option-mismatch", json!({}), |expectations| {
            expectations.options = vec!["noDefaultFeatures=false".parse().unwrap()];
        }),
        optioned(
            "option-unexpected",
            json!({"features": ["a"], "path": "p"}),
            |expectations| {
                expectations.options = vec!["features=a".parse().unwrap()];
                expectations.no_other_options = true;
            },
        ),
        bundled("subject-missing", Subjects, |bundle| {
            bundle.artifacts.clear()
        }),
        bundled("subject-digest", Subjects, move |bundle| {
            bundle.artifacts[0].sha256 = sha256
        }),
        bundled("subject-mode", Subjects, |bundle| {
            bundle.artifacts[0].executable = true
        }),
        scene("subject-mode", Subjects, |scene| {
            scene.statement["subject"][0]["annotations"] = json!({"executable": true});
        }),
        bundled("artifact-unlisted", Subjects, move |bundle| {
            bundle.artifacts.push(other("zzz"))
        }),
        bundled("record-missing", Subjects, |bundle| bundle.log = None),
        bundled("record-missing", Subjects, |bundle| {
            bundle.build_config.clear()
        }),
        bundled("record-digest", Subjects, move |bundle| {
            bundle.log = Some(other("build.log"))
        }),
        bundled("record-digest", Subjects, move |bundle| {
            bundle.build_config[0].sha256 = sha256
        }),
        bundled("record-unlisted", Subjects, move |bundle| {
            bundle.build_config.push(other("flake.lock"))
        }),
        scene("record-unlisted", Subjects, |scene| {
            *scene
                .statement
                .pointer_mut("/predicate/runDetails/byproducts")
                .unwrap() = json!([]);
        }),
        scene("record-contradiction", Subjects, |scene| {
            *scene
                .statement
                .pointer_mut("/predicate/runDetails/byproducts/1/digest/sha256")
                .unwrap() = json!("ab".repeat(32));
        }),
    ]
}
