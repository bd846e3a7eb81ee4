//! The checks that every report goes through, whatever it is about.
//!
//! * In: evidence and expectations.
//! * Out: the outcomes from `endorsements` to `launch-measurement` or `boot-measurement`.
//! * Never: an appraisal of a report before its signature is verified: appraisal takes
//!   [`VerifiedEvidence`], and only [`verify_evidence`] returns it.

use serde_json::{Map, Value, json};

use crate::snp::report::Report;
use crate::snp::tcb::Product;

use super::azure::{self, TpmEvidence, VerifiedQuote};
use super::binding;
use super::certificate::Certificate;
use super::envelope::Evidence;
use super::expectations::{Expectations, Waivable};
use super::floor::TcbFloor;
use super::guest::{self, Established};
use super::outcome::{outcome, waivable};
use super::reference::Anchor;
use super::rejection::{Rejection, Role};
use super::result::{AttestationResult, Check, Outcome, Platform, owned};
use super::signature::{self, VerifiedReport};
use super::statement::ImageClaim;

/// The claim that lists what an accepted result leaves open, beside the checks that were not made:
/// the check, then a sentence.
pub const NOT_ESTABLISHED: &str = "not_established";

/// Verifies evidence alone: the data that it signs (`report-data`), and everything beyond, is not
/// checked.
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
        Check::Envelope,
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

/// Evidence whose report an endorsed key signed: the receipt of `verify_evidence`, which every
/// appraisal takes.
///
/// No other code can construct one:
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

/// The part of verified evidence that says what it is about; both variants are receipts.
#[derive(Debug)]
pub enum Subject<'e> {
    /// The report, whose report data the guest chose.
    Report(VerifiedReport<'e>),
    /// The quote, with the data that its caller chose.
    Quote(Box<VerifiedQuote>),
}

/// Verifies endorsements, certificate binding and report signature, and returns the receipt if all
/// three hold, or the binding is waived.
///
/// Without a receipt the result has a rejection, and nothing of the evidence may be appraised.
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
    /// Appraises firmware and image, and returns what the evidence is about. Returns none after a
    /// rejection that leaves nothing to appraise.
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

    /// Appraises guest policy and TCB versions. No reference value names the keys of a paravisor:
    /// the check `paravisor` compares them.
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

    /// Returns what is established of the firmware: nothing if its check is waived, or the product
    /// is not known.
    fn established(&self, expectations: &Expectations) -> Option<Established> {
        if expectations.waived.contains(&Waivable::Tcb) {
            return None;
        }
        let product = self.product().ok()?;
        Some(guest::established(
            self.report,
            product,
            &expectations.minimum_tcb,
        ))
    }
}

fn certificate(evidence: &Evidence, expectations: &Expectations) -> Result<Certificate, Rejection> {
    let bytes = expectations
        .certificate
        .as_deref()
        .or(evidence.certificate.as_deref());
    Certificate::read(bytes.ok_or(Rejection::CertificateMissing)?, Role::Leaf)
}

/// Verifies endorsements, binding and signature. All three are checked whatever the others find;
/// the receipt needs all three, the binding unless it is waived.
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

/// Returns the claims of accepted evidence, without what it is about.
pub fn claims(verified: &VerifiedEvidence<'_>, expectations: &Expectations) -> Map<String, Value> {
    let established = verified.established(expectations);
    let mut open = Vec::new();
    for sentence in established.iter().flat_map(|established| &established.open) {
        open.push(format!("{}: {sentence}", Check::Tcb.name()));
    }
    let mut claims = match verified.tpm {
        Some(tpm) => {
            open.extend(azure::open());
            azure::claims(verified.report, tpm, expectations)
        }
        None => launch_claims(verified.report, expectations),
    };
    claims.extend(report_claims(verified, expectations));
    let minimum = established.map(|established| established.minimum);
    claims.extend(owned([
        ("minimum_tcb", json!(minimum)),
        (NOT_ESTABLISHED, json!(open)),
    ]));
    claims
}

/// Returns the claims about the report that every platform has.
fn report_claims(
    verified: &VerifiedEvidence<'_>,
    expectations: &Expectations,
) -> [(String, Value); 8] {
    let report = verified.report;
    let product = verified.product().ok();
    let reported_tcb = product.map(|product| report.reported_tcb(product).to_string());
    let root = if expectations.roots.is_amd() {
        "AMD"
    } else {
        "a test hierarchy (--trust-root), not AMD"
    };
    owned([
        ("platform", json!(verified.platform.name())),
        ("root", json!(root)),
        ("product", json!(product.map(Product::name))),
        ("chip_id", json!(hex::encode(report.chip_id()))),
        ("reported_tcb", json!(reported_tcb)),
        ("tcb_floor_dated", json!(TcbFloor::compiled_in().dated())),
        ("platform_info", json!(report.platform_info().to_string())),
        ("report_version", json!(report.version())),
    ])
}

/// Returns the claims about the launch measurement of the platform `snp`.
fn launch_claims(report: VerifiedReport<'_>, expectations: &Expectations) -> Map<String, Value> {
    let (references, measurement) = (&expectations.references, report.measurement());
    let anchor = references.anchor(measurement).map(Anchor::name);
    Map::from_iter(owned([
        ("measurement", json!(measurement.to_string())),
        ("anchor", json!(anchor)),
        ("image", json!(references.shape(measurement))),
    ]))
}
