//! The way of a report through the checks that are about it alone. Comes in: evidence and expectations. Goes out: outcomes
//! from `endorsements` to `launch-measurement` or `boot-measurement`. Never: an appraisal of a report that nobody is known to have signed:
//! appraisal takes [`VerifiedEvidence`], and only [`verify_evidence`] makes it.

use serde_json::{Map, Value, json};

use crate::snp::report::Report;
use crate::snp::tcb::Product;

use super::azure::{self, TpmEvidence, VerifiedQuote};
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
use super::signature::{self, VerifiedReport};
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
    if let Some(verified) = verify_evidence(&mut result, evidence, expectations) {
        verified.appraise(&mut result, expectations, None);
        result.set_claims(claims(&verified, expectations));
    }
    result
}

/// Evidence whose report an endorsed key signed: the receipt of the verification, which every appraisal takes.
///
/// Nobody else can make one:
///
/// ```compile_fail,E0451
/// use kettle::verifier::VerifiedEvidence;
///
/// let verified = VerifiedEvidence {
///     report: todo!(),
///     certificate: todo!(),
///     tpm: todo!(),
///     platform: todo!(),
/// };
/// ```
#[derive(Debug)]
pub struct VerifiedEvidence<'e> {
    report: VerifiedReport<'e>,
    certificate: Certificate,
    tpm: Option<&'e TpmEvidence>,
    platform: Platform,
}

/// What verified evidence is about; both are receipts.
#[derive(Debug)]
pub enum Subject<'e> {
    /// The report data of a report that the guest asked for.
    Report(VerifiedReport<'e>),
    /// The caller's data in a quote.
    Quote(Box<VerifiedQuote>),
}

/// Verifies endorsements, certificate binding and report signature.
///
/// Without a receipt there is a rejection, and nothing that may be looked at.
pub fn verify_evidence<'e>(
    result: &mut AttestationResult,
    evidence: &'e Evidence,
    expectations: &Expectations,
) -> Option<VerifiedEvidence<'e>> {
    let certificate = match certificate(evidence, expectations) {
        Ok(certificate) => certificate,
        Err(rejection) => {
            result.set(Check::Endorsements, Outcome::Reject(rejection));
            return None;
        }
    };
    let report = verify_report(result, &evidence.report, &certificate, expectations)?;
    Some(VerifiedEvidence {
        report,
        certificate,
        tpm: evidence.tpm.as_deref(),
        platform: evidence.platform(),
    })
}

impl<'e> VerifiedEvidence<'e> {
    /// Appraises firmware and image, and returns what the evidence is about, if that may be looked at.
    pub(super) fn appraise(
        &self,
        result: &mut AttestationResult,
        expectations: &Expectations,
        image: Option<&ImageClaim>,
    ) -> Option<Subject<'e>> {
        self.appraise_firmware(result, expectations);
        if let Some(tpm) = self.tpm {
            let quote = azure::verify(result, self.report, tpm, expectations, image)?;
            return Some(Subject::Quote(Box::new(quote)));
        }
        let measurement = expectations
            .references
            .appraise(self.report.measurement(), image);
        let outcome = waivable(Waivable::LaunchMeasurement, measurement, expectations);
        result.set(Check::LaunchMeasurement, outcome);
        Some(Subject::Report(self.report))
    }

    /// Guest policy and TCB versions. The keys of a paravisor are not a reference value's to say: they have a check of their own.
    fn appraise_firmware(&self, result: &mut AttestationResult, expectations: &Expectations) {
        let keys = match self.platform {
            Platform::Snp => expectations.references.keys(self.report.measurement()),
            Platform::AzSnp => None,
        };
        let policy = guest::appraise_policy(self.report, keys);
        let tcb = self.product().and_then(|product| {
            guest::appraise_tcb(self.report, product, &expectations.minimum_tcb)
        });
        for (waivable_check, found) in [(Waivable::GuestPolicy, policy), (Waivable::Tcb, tcb)] {
            result.set(
                waivable_check.check(),
                waivable(waivable_check, found, expectations),
            );
        }
    }

    fn product(&self) -> Result<Product, Rejection> {
        binding::product(&self.report, &self.certificate)
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
fn verify_report<'e>(
    result: &mut AttestationResult,
    report: &'e Report,
    certificate: &Certificate,
    expectations: &Expectations,
) -> Option<VerifiedReport<'e>> {
    let verified =
        expectations
            .roots
            .verify(certificate, expectations.crl.as_deref(), expectations.at);
    let endorsed = verified.as_ref().ok().copied();
    let binding = binding::verify(report, certificate, endorsed);
    let binding = waivable(Waivable::CertificateBinding, binding, expectations);
    let signature = signature::verify(report, certificate);
    let signed = signature.as_ref().ok().copied();
    let is_believed = endorsed.is_some() && !is_rejected(&binding);
    result.set(Check::Endorsements, outcome(verified.map(drop)));
    result.set(Check::CertificateBinding, binding);
    result.set(Check::ReportSignature, outcome(signature.map(drop)));
    signed.filter(|_| is_believed)
}

const fn is_rejected(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Reject(_))
}

/// What an accepted report says.
pub fn claims(verified: &VerifiedEvidence<'_>, expectations: &Expectations) -> Map<String, Value> {
    let report = verified.report;
    let product = verified.product().ok();
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
    let mut claims = match verified.tpm {
        Some(tpm) => {
            open.extend(azure::open());
            azure::claims(report, tpm, expectations)
        }
        None => launch_claims(report, expectations),
    };
    claims.extend([
        ("platform".to_owned(), json!(verified.platform.name())),
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

fn launch_claims(report: VerifiedReport<'_>, expectations: &Expectations) -> Map<String, Value> {
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
