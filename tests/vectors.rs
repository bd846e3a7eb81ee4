//! Do reports of real hardware, and hostile ones, get their verdicts? Runs the vectors of this
//! repository, and a larger set where there is one beside it.
//!
//! Evidence of Azure's machines (`azure-*`) has no statement: what is verified is everything but
//! that, and that its quote is about the nonce that the set names. Its firmware is old, and the
//! measurement of its boot is not published. Two of the four real ones have the form of another
//! program.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::{env, fs};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kettle::bundle::read::Bundle;
use kettle::snp::report::Report;
use kettle::verifier::azure::{HclReport, Quote, SignedQuote, TpmEvidence, appraise_extra_data};
use kettle::verifier::{
    AttestationResult, Check, Evidence, Expectations, MinimumTcb, Outcome, ReferenceValues,
    TrustRoots, Waivable, verify, verify_evidence_alone,
};
use serde_json::Value;

/// The moment of interest where a vector names none: 2026-09-01T00:00:00Z.
const DEFAULT_MOMENT: u64 = 1_788_220_800;

/// Reports that are good under a policy that accepts every VMPL. This verifier accepts only reports
/// that were requested at VMPL 0.
const AT_ANOTHER_VMPL: [&str; 4] = [
    "report-milan-v5-vcek-19a94fdb",
    "report-milan-v2-vcek-6be90869",
    "report-milan-v2-vcek-b1ed960a",
    "report-milan-v3-vlek-decdab94",
];

/// Reports that are good, and at the compiled-in floor. All other good ones have older firmware:
/// the set was collected while it was current, most of it from clouds, and is verified with any
/// firmware accepted, as `--min-tcb none` does.
const AT_THE_FLOOR: [&str; 3] = [
    "report-genoa-v5-vcek-7ea4daeb",
    "report-genoa-v5-vcek-8fd94192",
    "report-turin-v5-vcek-85da705e",
];

/// Entries in which the offered chain is hostile. A bundle's chain is ignored, so it is made the
/// trusted one.
const HOSTILE_CHAIN: [&str; 3] = [
    "hostile-cert-open-genoa-with-milan-chain",
    "hostile-cert-open-vlek-with-ask",
    "hostile-cert-open-chain-order-reversed",
];

/// The set's name for a reason, and our codes for it.
const REASONS: [(&str, &[&str]); 29] = [
    (
        "signature-invalid",
        &[
            "signature-range",
            "signature-invalid",
            "report-reserved",
            "report-version",
            "report-algorithm",
            "certificate-signature",
            "signature-range",
        ],
    ),
    ("signature-range", &["signature-range"]),
    ("reserved-not-zero", &["report-reserved", "signature-range"]),
    ("bad-length", &["report-length"]),
    (
        "chain-invalid",
        &[
            "certificate-signature",
            "issuer-unknown",
            "certificate-authority",
        ],
    ),
    ("cert-parse", &["certificate-malformed"]),
    ("cert-type", &["issuer-unknown"]),
    ("tcb-mismatch", &["tcb-mismatch"]),
    ("debug-policy", &["policy-debug"]),
    ("migration-agent-policy", &["policy-migration-agent"]),
    ("policy-reserved", &["policy-reserved"]),
    ("unsupported-report-version", &["report-version"]),
    ("unsupported-signature-algorithm", &["report-algorithm"]),
    ("vmpl-policy", &["vmpl"]),
    ("vmpl-not-guest", &["vmpl"]),
    ("mask-chip-key", &["chip-key-masked"]),
    ("signing-key", &["signing-key-mismatch"]),
    ("chip-id-mismatch", &["chip-id-mismatch"]),
    ("product-mismatch", &["product-mismatch"]),
    ("extension-missing", &["extension-missing"]),
    ("extension-encoding", &["extension-encoding"]),
    ("certificate-expired", &["certificate-expired"]),
    ("certificate-not-yet-valid", &["certificate-not-yet-valid"]),
    ("unknown-critical-extension", &["critical-extension"]),
    ("chain-signature-algorithm", &["certificate-algorithm"]),
    ("key-type", &["certificate-key"]),
    ("chain-not-ca", &["certificate-authority"]),
    (
        "untrusted-root",
        &[
            "certificate-algorithm",
            "certificate-signature",
            "issuer-unknown",
        ],
    ),
    ("ecdsa-malleability", &["signature-invalid", "vmpl"]),
];

/// A directory with a manifest.
struct Set {
    directory: PathBuf,
    entries: Vec<Value>,
}

impl Set {
    fn read(directory: PathBuf) -> Self {
        let manifest: Value =
            serde_json::from_slice(&fs::read(directory.join("MANIFEST.json")).unwrap()).unwrap();
        Self {
            directory,
            entries: manifest["entries"].as_array().unwrap().clone(),
        }
    }

    fn file(&self, name: &Value) -> Vec<u8> {
        let name = name.as_str().unwrap();
        if let Some((product, role)) = name
            .strip_prefix("certs/")
            .and_then(|name| name.split_once('/'))
        {
            let ours = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join(format!("src/snp/roots/{product}-{role}"));
            return fs::read(ours).unwrap();
        }
        fs::read(self.directory.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.entries
            .iter()
            .filter(move |entry| entry["kind"] == kind)
    }

    /// Returns the chain of an entry as a trust root: its ARK, then the certificate that the ARK
    /// vouches for.
    fn offered_chain(&self, entry: &Value) -> TrustRoots {
        let files: Vec<_> = entry["chain_files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| self.file(name))
            .collect();
        let pem = [&files[files.len() - 1], &files[files.len() - 2]].map(|der| {
            let lines: Vec<_> = STANDARD
                .encode(der)
                .into_bytes()
                .chunks(64)
                .map(<[u8]>::to_vec)
                .collect();
            format!(
                "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
                String::from_utf8(lines.join(&b'\n')).unwrap()
            )
        });
        TrustRoots::test_only(pem.concat().as_bytes()).unwrap()
    }
}

fn sets() -> Vec<Set> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let beside =
        env::var_os("KETTLE_VECTORS").map_or_else(|| root.join("../shared/vectors"), PathBuf::from);
    let mut sets = vec![Set::read(root.join("tests/data/snp"))];
    if beside.join("MANIFEST.json").exists() {
        println!("also {}", beside.display());
        sets.push(Set::read(beside));
    }
    sets
}

fn seconds(entry: &Value) -> u64 {
    let Some(text) = entry["verify_at"].as_str() else {
        return DEFAULT_MOMENT;
    };
    let moment: der::DateTime = text.parse().unwrap();
    moment.unix_duration().as_secs()
}

/// Appraises a report with its own measurement as the reference value, accepting any firmware: only
/// AMD's part is left to check.
fn appraise(
    report: &[u8],
    certificate: Option<Vec<u8>>,
    roots: TrustRoots,
    at: u64,
    waived: &[Waivable],
) -> Verdict {
    appraise_firmware(report, certificate, roots, at, waived, MinimumTcb::none())
}

fn appraise_firmware(
    report: &[u8],
    certificate: Option<Vec<u8>>,
    roots: TrustRoots,
    at: u64,
    waived: &[Waivable],
    minimum: MinimumTcb,
) -> Verdict {
    let Ok(report) = Report::try_from(report) else {
        return Verdict::Refused("report-length");
    };
    let mut references = ReferenceValues::default();
    references.add(report.measurement());
    let mut expectations = Expectations::new(roots, at, references);
    expectations.waived.extend(waived);
    expectations.minimum_tcb = minimum;
    Verdict::Result(Box::new(verify_evidence_alone(
        &Evidence::new(report, certificate),
        &expectations,
    )))
}

enum Verdict {
    Refused(&'static str),
    Result(Box<AttestationResult>),
}

impl Verdict {
    fn is_accepted(&self) -> bool {
        matches!(self, Self::Result(result) if result.is_accepted())
    }

    fn codes(&self) -> Vec<&'static str> {
        match self {
            Self::Refused(code) => vec![code],
            Self::Result(result) => result
                .outcomes()
                .filter_map(|(_, outcome)| outcome.rejection())
                .map(|found| found.code())
                .collect(),
        }
    }
}

/// Returns how a verdict is wrong, if it is.
fn complaint(id: &str, expected: &Value, verdict: &Verdict) -> Option<String> {
    let codes = verdict.codes();
    let reason = expected["reason_code"].as_str();
    let fits = match expected["verdict"].as_str().unwrap() {
        "accept" => verdict.is_accepted(),
        "either" if verdict.is_accepted() => true,
        _ => {
            let ours = reason.map(|reason| {
                REASONS
                    .iter()
                    .find(|(name, _)| *name == reason)
                    .expect(reason)
                    .1
            });
            !verdict.is_accepted()
                && ours.is_none_or(|ours| codes.iter().any(|code| ours.contains(code)))
        }
    };
    (!fits).then(|| {
        format!(
            "{id}: expected {} {reason:?}, found {codes:?}",
            expected["verdict"]
        )
    })
}

#[test]
fn reports_get_their_verdicts_under_amds_roots() {
    for set in sets() {
        let mut complaints = Vec::new();
        let entries = [
            "snp-report",
            "snp-report-without-vek",
            "snp-report-testroot",
        ];
        let entries: Vec<_> = entries
            .into_iter()
            .flat_map(|kind| set.of_kind(kind))
            .collect();
        assert!(entries.len() > 200, "only {} reports", entries.len());
        for entry in entries {
            let id = entry["id"].as_str().unwrap();
            let certificate = entry["vek_file"]
                .as_str()
                .map(|_| set.file(&entry["vek_file"]));
            let is_hostile_chain = HOSTILE_CHAIN.contains(&id);
            let roots = if is_hostile_chain {
                set.offered_chain(entry)
            } else {
                TrustRoots::amd().unwrap()
            };
            let verdict = appraise(
                &set.file(&entry["file"]),
                certificate,
                roots,
                seconds(entry),
                &[],
            );
            if AT_ANOTHER_VMPL.contains(&id) {
                assert_eq!(
                    (entry["expected"]["verdict"].as_str(), &verdict.codes()[..]),
                    (Some("accept"), &["vmpl"][..]),
                    "{id}"
                );
            } else {
                complaints.extend(complaint(id, &entry["expected"], &verdict));
            }
        }
        assert!(
            complaints.is_empty(),
            "{}:\n{}",
            set.directory.display(),
            complaints.join("\n")
        );
    }
}

#[test]
fn reports_for_another_vmpl_are_otherwise_in_order() {
    for set in sets() {
        for id in AT_ANOTHER_VMPL {
            let entry = set.entries.iter().find(|entry| entry["id"] == id).unwrap();
            let (report, certificate) = (set.file(&entry["file"]), set.file(&entry["vek_file"]));
            let waived = [Waivable::GuestPolicy];
            let verdict = appraise(
                &report,
                Some(certificate),
                TrustRoots::amd().unwrap(),
                seconds(entry),
                &waived,
            );
            assert!(verdict.is_accepted(), "{id}: {:?}", verdict.codes());
        }
    }
}

#[test]
fn old_firmware_is_refused_by_default_and_nothing_else_of_it() {
    for set in sets() {
        let mut old = 0;
        let good = set
            .of_kind("snp-report")
            .filter(|entry| entry["expected"]["verdict"] == "accept");
        for entry in good {
            let id = entry["id"].as_str().unwrap();
            let (report, certificate) = (set.file(&entry["file"]), set.file(&entry["vek_file"]));
            let waived = if AT_ANOTHER_VMPL.contains(&id) {
                &[Waivable::GuestPolicy][..]
            } else {
                &[]
            };
            let roots = TrustRoots::amd().unwrap();
            let minimum = MinimumTcb::default();
            let verdict = appraise_firmware(
                &report,
                Some(certificate),
                roots,
                seconds(entry),
                waived,
                minimum,
            );
            let others = verdict
                .codes()
                .into_iter()
                .filter(|code| *code != "vmpl")
                .collect::<Vec<_>>();
            if AT_THE_FLOOR.contains(&id) {
                assert!(verdict.is_accepted(), "{id}: {:?}", verdict.codes());
            } else {
                assert!(!verdict.is_accepted(), "{id} is at the floor");
                assert_eq!(others, ["tcb-below-floor"], "{id}");
                old += 1;
            }
        }
        assert!(old > 30, "only {old} are old");
    }
}

#[test]
fn reissued_certificates_verify_too() {
    for set in sets() {
        let mut count = 0;
        for entry in set.of_kind("snp-report") {
            for alternate in entry["vek_alternates"].as_array().into_iter().flatten() {
                let (report, certificate) =
                    (set.file(&entry["file"]), set.file(&alternate["file"]));
                // Some were issued after the moment of the report.
                let verdict = appraise(
                    &report,
                    Some(certificate),
                    TrustRoots::amd().unwrap(),
                    DEFAULT_MOMENT,
                    &[Waivable::GuestPolicy],
                );
                assert!(
                    verdict.is_accepted(),
                    "{}: {:?}",
                    entry["id"],
                    verdict.codes()
                );
                count += 1;
            }
        }
        assert!(count > 0);
    }
}

#[test]
fn reports_get_their_verdicts_under_the_test_root() {
    for set in sets() {
        let mut complaints = Vec::new();
        for entry in set.of_kind("snp-report-testroot") {
            let certificate = Some(set.file(&entry["vek_file"]));
            let verdict = appraise(
                &set.file(&entry["file"]),
                certificate,
                set.offered_chain(entry),
                seconds(entry),
                &[],
            );
            complaints.extend(complaint(
                entry["id"].as_str().unwrap(),
                &entry["expected_with_testroot"],
                &verdict,
            ));
        }
        assert!(
            complaints.is_empty(),
            "{}:\n{}",
            set.directory.display(),
            complaints.join("\n")
        );
    }
}

/// The set's name for a reason in evidence of Azure's machines, our codes for it, and the check
/// that has to report it. An earlier check may also reject: such evidence breaks more than one
/// rule.
const AZURE_REASONS: [(&str, &[&str], Check); 9] = [
    ("nonce-mismatch", &["extra-data"], Check::ReportData),
    (
        "quote-signature",
        &["quote-signature", "quote-signature-length"],
        Check::Quote,
    ),
    ("quote-magic", &["quote-magic"], Check::Quote),
    ("quote-type", &["quote-type"], Check::Quote),
    ("quote-parse", &["quote-malformed"], Check::Quote),
    ("pcr-digest", &["pcr-digest", "pcr-count"], Check::Quote),
    (
        "runtime-data-binding",
        &["runtime-data-binding"],
        Check::RuntimeData,
    ),
    (
        "report-signature",
        &["signature-invalid", "chip-id-mismatch"],
        Check::ReportSignature,
    ),
    ("hcl-parse", &["hcl-malformed"], Check::Bundle),
];

/// Reads evidence in our form or, for two of the real ones, in another program's; or returns the
/// code of its refusal.
fn read_azure(bytes: &[u8]) -> Result<Evidence, &'static str> {
    Evidence::read(bytes).or_else(|refusal| match refusal.code() {
        "evidence-of-another-builder" => {
            Evidence::read_foreign(bytes).map_err(|refusal| refusal.code())
        }
        code => Err(code),
    })
}

/// Appraises everything but the statement; returns the rejections with their checks, in order.
fn appraise_azure(evidence: &Evidence, nonce: &[u8], at: u64) -> Vec<(Check, &'static str)> {
    let mut expectations =
        Expectations::new(TrustRoots::amd().unwrap(), at, ReferenceValues::default());
    expectations.minimum_tcb = MinimumTcb::none();
    expectations.waived.insert(Waivable::BootMeasurement);
    let result = verify_evidence_alone(evidence, &expectations);
    let rejected = result
        .outcomes()
        .filter(|(_, outcome)| matches!(outcome, Outcome::Reject(_)));
    let mut found: Vec<_> = rejected
        .map(|(check, outcome)| (check, outcome.rejection().unwrap().code()))
        .collect();
    assert_eq!(found.is_empty(), result.is_accepted(), "{result:?}");
    if found.is_empty() {
        let quote = Quote::read(&evidence.tpm.as_ref().unwrap().quote.message).unwrap();
        if appraise_extra_data(quote.extra_data(), nonce).is_err() {
            found.push((Check::ReportData, "extra-data"));
        }
    }
    found
}

#[test]
fn evidence_of_azures_machines_gets_its_verdicts() {
    for set in sets() {
        let (mut accepted, mut rejected) = (0, 0);
        for entry in set.of_kind("azure-snp-vtpm-evidence") {
            let id = entry["id"].as_str().unwrap();
            let nonce = hex::decode(entry["expected"]["nonce_hex"].as_str().unwrap()).unwrap();
            let found = match read_azure(&set.file(&entry["file"])) {
                Ok(evidence) => appraise_azure(&evidence, &nonce, seconds(entry)),
                Err(code) => vec![(Check::Bundle, code)],
            };
            if entry["expected"]["verdict"] == "accept" {
                assert!(found.is_empty(), "{id}: {found:?}");
                accepted += 1;
            } else {
                let reason = entry["expected"]["reason_code"].as_str().unwrap();
                let (_, codes, check) = AZURE_REASONS
                    .iter()
                    .find(|(name, ..)| *name == reason)
                    .expect(reason);
                let Some((first, code)) = found.first() else {
                    panic!("{id} is accepted")
                };
                let fits = if first == check {
                    codes.contains(code)
                } else {
                    first < check
                };
                assert!(
                    fits,
                    "{id}: expected {reason} in {}, found {found:?}",
                    check.name()
                );
                rejected += 1;
            }
        }
        assert!(
            accepted >= 4 && rejected >= 23,
            "{accepted} accepted, {rejected} rejected"
        );
    }
}

#[test]
fn real_evidence_of_azure_is_no_bundle_of_ours_and_is_of_no_published_boot() {
    for set in sets() {
        for entry in set.of_kind("azure-snp-vtpm-evidence") {
            let bytes = set.file(&entry["file"]);
            let provenance = b"{}\n".to_vec();
            let bundle = Bundle {
                provenance,
                evidence: Some(bytes.clone()),
                ..Bundle::default()
            };
            let expectations = Expectations::new(
                TrustRoots::amd().unwrap(),
                seconds(entry),
                ReferenceValues::published().unwrap(),
            );
            let result = verify(Ok(bundle), &expectations);
            assert!(!result.is_accepted(), "{}", entry["id"]);
            if let Ok(evidence) = read_azure(&bytes) {
                let found = verify_evidence_alone(&evidence, &expectations);
                assert!(
                    !matches!(found.outcome(Check::BootMeasurement), Outcome::Pass),
                    "{}",
                    entry["id"]
                );
            }
        }
    }
}

#[test]
fn reports_inside_of_azures_evidence_verify_like_any_other() {
    for set in sets() {
        let mut inside = 0;
        for entry in set
            .of_kind("azure-snp-vtpm-evidence")
            .filter(|entry| entry["expected"]["verdict"] == "accept")
        {
            let (report, certificate) = (
                set.file(&entry["parts"]["snp_report"]),
                set.file(&entry["parts"]["vek"]),
            );
            let verdict = appraise(
                &report,
                Some(certificate),
                TrustRoots::amd().unwrap(),
                seconds(entry),
                &[],
            );
            assert!(
                verdict.is_accepted(),
                "{}: {:?}",
                entry["id"],
                verdict.codes()
            );
            let hcl = HclReport::read(&set.file(&entry["parts"]["hcl_report"])).unwrap();
            assert_eq!(hcl.report().as_bytes()[..], report, "{}", entry["id"]);
            assert_eq!(
                hcl.claims(),
                set.file(&entry["parts"]["runtime_data"]),
                "{}",
                entry["id"]
            );
            inside += 1;
        }
        assert!(inside >= 4);
    }
}

#[test]
fn genuine_parts_of_two_machines_are_no_evidence_together() {
    for set in sets() {
        for entry in set.of_kind("azure-snp-vtpm-parts") {
            let parts = &entry["parts"];
            let hcl = HclReport::read(&set.file(&parts["hcl_report"])).unwrap();
            let (message, signature) = (
                set.file(&parts["quote_message"]),
                set.file(&parts["quote_signature"]),
            );
            let quote = SignedQuote {
                message,
                signature,
                registers: Vec::new(),
            };
            let evidence =
                Evidence::of_tpm(TpmEvidence { hcl, quote }, Some(set.file(&parts["vek"])));
            let found = appraise_azure(&evidence, b"challenge", seconds(entry));
            let (check, code) = found[0];
            assert_eq!(check, Check::Quote, "{}: {found:?}", entry["id"]);
            assert!(
                ["quote-signature", "quote-malformed"].contains(&code),
                "{}: {found:?}",
                entry["id"]
            );
        }
    }
}

#[test]
fn a_certificate_in_the_form_that_hosts_pass_verifies_its_report() {
    for set in sets() {
        let entry = set
            .of_kind("snp-extended-report-cert-table")
            .next()
            .unwrap();
        let table = set.file(&entry["file"]);
        let vcek = entry["entries"]
            .as_array()
            .unwrap()
            .iter()
            .find(|part| part["type"] == "VCEK")
            .unwrap();
        let offset = vcek["offset"].as_u64().unwrap() as usize;
        let certificate =
            table[offset..offset + vcek["length"].as_u64().unwrap() as usize].to_vec();
        let roots = TrustRoots::amd().unwrap();
        let verdict = appraise(
            &set.file(&entry["report_file"]),
            Some(certificate),
            roots,
            seconds(entry),
            &[],
        );
        assert!(verdict.is_accepted(), "{:?}", verdict.codes());
    }
}

#[test]
fn parts_of_another_platforms_evidence_are_no_evidence() {
    for set in sets() {
        for entry in set.of_kind("azure-snp-vtpm-parts") {
            for part in entry["parts"].as_object().unwrap().values() {
                assert!(
                    Evidence::read(&set.file(part)).is_err(),
                    "{}: {part}",
                    entry["id"]
                );
            }
        }
    }
}

#[test]
fn every_kind_of_entry_is_run() {
    const HERE: [&str; 7] = [
        "snp-report",
        "snp-report-without-vek",
        "snp-report-testroot",
        "azure-snp-vtpm-evidence",
        "azure-snp-vtpm-parts",
        "snp-extended-report-cert-table",
        "amd-ca-cert",
    ];
    const IN_MEASUREMENT: &str = "launch-measurement";
    for set in sets() {
        for entry in &set.entries {
            let kind = entry["kind"].as_str().unwrap();
            assert!(
                HERE.contains(&kind) || kind == IN_MEASUREMENT,
                "{}: no test runs {kind}",
                entry["id"]
            );
        }
    }
}

#[test]
fn every_exception_is_an_entry_of_the_set() {
    for set in sets() {
        for id in AT_ANOTHER_VMPL
            .iter()
            .chain(&HOSTILE_CHAIN)
            .chain(&AT_THE_FLOOR)
        {
            assert!(
                set.entries.iter().any(|entry| entry["id"] == *id),
                "{id} is not in {}",
                set.directory.display()
            );
        }
    }
}

#[test]
fn amds_certificates_are_those_of_the_sev_crate() {
    use sev::certs::snp::builtin::{genoa, milan, turin};
    let theirs = [
        (milan::ark().unwrap(), milan::ask().unwrap()),
        (genoa::ark().unwrap(), genoa::ask().unwrap()),
        (turin::ark().unwrap(), turin::ask().unwrap()),
    ];
    for (ours, (ark, ask)) in kettle::snp::roots::AMD.into_iter().zip(theirs) {
        assert_eq!(
            (ours.ark, ours.ask),
            (&ark.to_der().unwrap()[..], &ask.to_der().unwrap()[..]),
            "{}",
            ours.product
        );
    }
}

#[test]
fn an_independent_verifier_accepts_what_we_accept() {
    use sev::certs::snp::{Certificate, Verifiable};
    use sev::firmware::guest::AttestationReport;
    use sev::parser::ByteParser as _;
    for set in sets() {
        let mut compared = 0;
        for entry in set
            .of_kind("snp-report")
            .chain(set.of_kind("snp-report-testroot"))
        {
            let Some(name) = entry["vek_file"].as_str() else {
                continue;
            };
            let (report, certificate) = (set.file(&entry["file"]), set.file(&Value::from(name)));
            let (Ok(theirs), Ok(key)) = (
                AttestationReport::from_bytes(&report),
                Certificate::from_der(&certificate),
            ) else {
                continue;
            };
            let theirs = (&key, &theirs).verify().is_ok();
            let roots = if entry["kind"] == "snp-report" {
                TrustRoots::amd().unwrap()
            } else {
                set.offered_chain(entry)
            };
            let ours = appraise(
                &report,
                Some(certificate),
                roots,
                seconds(entry),
                &[Waivable::GuestPolicy],
            )
            .is_accepted();
            assert!(
                theirs || !ours,
                "{}: we accept what they do not",
                entry["id"]
            );
            if entry["expected"]["verdict"] == "accept" {
                assert!(theirs && ours, "{}: they {theirs}, we {ours}", entry["id"]);
            }
            compared += 1;
        }
        assert!(compared > 150, "only {compared} compared");
    }
}

#[test]
fn amds_certificates_are_those_of_the_set() {
    for set in sets() {
        for entry in set.of_kind("amd-ca-cert") {
            let theirs = fs::read(set.directory.join(entry["file"].as_str().unwrap())).unwrap();
            assert_eq!(set.file(&entry["file"]), theirs, "{}", entry["id"]);
        }
    }
}
