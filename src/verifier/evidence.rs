//! The way of a report through the checks that are about it alone. Comes in: evidence and expectations. Goes out: outcomes
//! from `endorsements` to `launch-measurement` or `boot-measurement`. Never: an appraisal of a report that nobody is known to have signed.

use serde_json::{Map, Value, json};

use crate::snp::report::Report;

use super::azure;
use super::binding;
use super::certificate::Certificate;
use super::envelope::Evidence;
use super::expectations::{Expectations, Waivable};
use super::floor::TcbFloor;
use super::guest;
use super::outcome::{outcome, waivable};
use super::reference::Anchor;
use super::rejection::{Rejection, Role};
use super::result::{AttestationResult, Check, Outcome, Platform};
use super::signature;
use super::statement::ImageClaim;

/// The claim that lists what an accepted result leaves open beside the checks that were not made: the check, then a sentence.
pub const NOT_ESTABLISHED: &str = "not_established";

/// Verifies evidence that is about nothing in particular: what it signs (`report-data`) and everything beyond is not checked.
pub fn verify_evidence_alone(
    evidence: &Evidence,
    expectations: &Expectations,
) -> AttestationResult {
    let mut result = AttestationResult::new(evidence.platform());
    for check in [
        Check::Bundle,
        Check::ReportData,
        Check::Nonce,
        Check::Statement,
        Check::Expectations,
        Check::Subjects,
    ] {
        result.set(check, Outcome::NotChecked);
    }
    verify_evidence(&mut result, evidence, expectations, None);
    result.set_claims(claims(evidence, expectations));
    result
}

/// What verified evidence is about.
#[derive(Debug)]
pub enum Subject {
    /// Of a report that the guest asked for: its report data.
    ReportData([u8; 64]),
    /// Of a quote: the caller's data in it.
    ExtraData(Vec<u8>),
}

/// Checks the evidence; gives what it is about, if that may be looked at.
pub fn verify_evidence(
    result: &mut AttestationResult,
    evidence: &Evidence,
    expectations: &Expectations,
    image: Option<&ImageClaim>,
) -> Option<Subject> {
    let certificate = match certificate(evidence, expectations) {
        Ok(certificate) => certificate,
        Err(rejection) => {
            result.set(Check::Endorsements, Outcome::Reject(rejection));
            return None;
        }
    };
    if !verify(result, evidence, &certificate, expectations) {
        return None;
    }
    let report = &evidence.report;
    appraise_firmware(
        result,
        report,
        &certificate,
        expectations,
        evidence.platform(),
    );
    match &evidence.tpm {
        Some(tpm) => {
            azure::verify(result, report, tpm, expectations, image).map(Subject::ExtraData)
        }
        None => {
            let measurement = expectations
                .references
                .appraise(report.measurement(), image);
            let outcome = waivable(Waivable::LaunchMeasurement, measurement, expectations);
            result.set(Check::LaunchMeasurement, outcome);
            Some(Subject::ReportData(report.report_data()))
        }
    }
}

fn certificate(evidence: &Evidence, expectations: &Expectations) -> Result<Certificate, Rejection> {
    let bytes = expectations
        .certificate
        .as_deref()
        .or(evidence.certificate.as_deref());
    Certificate::read(bytes.ok_or(Rejection::CertificateMissing)?, Role::Leaf)
}

/// Endorsements, binding, signature. All three are looked at; what follows needs all three.
fn verify(
    result: &mut AttestationResult,
    evidence: &Evidence,
    certificate: &Certificate,
    expectations: &Expectations,
) -> bool {
    let verified =
        expectations
            .roots
            .verify(certificate, expectations.crl.as_deref(), expectations.at);
    let endorsed = verified.as_ref().ok().copied();
    let binding = binding::verify(&evidence.report, certificate, endorsed);
    let binding = waivable(Waivable::CertificateBinding, binding, expectations);
    let signature = outcome(signature::verify(&evidence.report, certificate));
    let is_signed = endorsed.is_some() && !is_rejected(&binding) && !is_rejected(&signature);
    result.set(Check::Endorsements, outcome(verified.map(drop)));
    result.set(Check::CertificateBinding, binding);
    result.set(Check::ReportSignature, signature);
    is_signed
}

/// Guest policy and TCB versions. The keys of a paravisor are not a reference value's to say: they have a check of their own.
fn appraise_firmware(
    result: &mut AttestationResult,
    report: &Report,
    certificate: &Certificate,
    expectations: &Expectations,
    platform: Platform,
) {
    let keys = match platform {
        Platform::Snp => expectations.references.keys(report.measurement()),
        Platform::AzSnp => None,
    };
    let policy = guest::appraise_policy(report, keys);
    let tcb = binding::product(report, certificate)
        .and_then(|product| guest::appraise_tcb(report, product, &expectations.minimum_tcb));
    for (waivable_check, found) in [(Waivable::GuestPolicy, policy), (Waivable::Tcb, tcb)] {
        result.set(
            waivable_check.check(),
            waivable(waivable_check, found, expectations),
        );
    }
}

const fn is_rejected(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Reject(_))
}

/// What an accepted report says.
pub fn claims(evidence: &Evidence, expectations: &Expectations) -> Map<String, Value> {
    let report = &evidence.report;
    let product = certificate(evidence, expectations)
        .ok()
        .and_then(|certificate| binding::product(report, &certificate).ok());
    let root = if expectations.roots.is_amd() {
        "AMD"
    } else {
        "a test hierarchy (--trust-root), not AMD"
    };
    let tcb = product.map(|product| report.reported_tcb(product).to_string());
    // Of a check that was waived nothing is established.
    let checked = product.filter(|_| !expectations.waived.contains(&Waivable::Tcb));
    let established =
        checked.map(|product| guest::established(report, product, &expectations.minimum_tcb));
    let open = established.iter().flat_map(|established| &established.open);
    let mut open: Vec<_> = open
        .map(|sentence| format!("{}: {sentence}", Check::Tcb.name()))
        .collect();
    let mut claims = match &evidence.tpm {
        Some(tpm) => {
            open.extend(azure::open());
            azure::claims(report, tpm, expectations)
        }
        None => launch_claims(report, expectations),
    };
    claims.extend([
        ("platform".to_owned(), json!(evidence.platform().name())),
        ("root".to_owned(), json!(root)),
        (
            "product".to_owned(),
            json!(product.map(|product| product.name())),
        ),
        ("chip_id".to_owned(), json!(hex::encode(report.chip_id()))),
        ("reported_tcb".to_owned(), json!(tcb)),
        (
            "minimum_tcb".to_owned(),
            json!(established.as_ref().map(|established| &established.minimum)),
        ),
        (
            "tcb_floor_dated".to_owned(),
            json!(TcbFloor::compiled_in().dated()),
        ),
        (NOT_ESTABLISHED.to_owned(), json!(open)),
        (
            "platform_info".to_owned(),
            json!(report.platform_info().to_string()),
        ),
        ("report_version".to_owned(), json!(report.version())),
    ]);
    claims
}

fn launch_claims(report: &Report, expectations: &Expectations) -> Map<String, Value> {
    let (references, measurement) = (&expectations.references, report.measurement());
    Map::from_iter([
        ("measurement".to_owned(), json!(measurement.to_string())),
        (
            "anchor".to_owned(),
            json!(references.anchor(measurement).map(Anchor::name)),
        ),
        ("image".to_owned(), json!(references.shape(measurement))),
    ])
}
