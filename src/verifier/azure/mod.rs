//! The platform `az-snp`: confidential machines of Azure, where Microsoft's paravisor runs at VMPL
//! 0 and provides the machine's TPM.
//!
//! * In: evidence whose attestation report was verified like that of any other machine.
//! * Out: the outcomes of `runtime-data`, `paravisor`, `quote` and `boot-measurement`, and the
//!   bytes that the quote is about.
//! * Never: data of a TPM whose key the report does not vouch for, or of a paravisor that Microsoft
//!   did not sign.
//!
//! | check | file |
//! |---|---|
//! | (the form of the evidence) | `envelope`, `hcl`, `foreign` |
//! | runtime-data | `claims` |
//! | paravisor | `paravisor` |
//! | quote | `quote`, `registers` |
//! | boot-measurement | `boot` |
//!
//! # How the report vouches for the image
//!
//! AMD's processor measures the paravisor, not our image, so three links replace the one launch
//! measurement. The report data is the SHA-256 of the runtime claims, and the claims name the key
//! of the TPM (`claims`). The report also has the digest of the key that signed the launch: it has
//! to be one of Microsoft's for such machines (`paravisor`), because any other guest could name its
//! own key as a TPM's. The TPM's key signs the quote over all 24 registers and the caller's data
//! (`quote`, `signed_quote`), and registers 4 and 9 have to be those of one published boot
//! (`boot`).
//!
//! `verify` checks them in that order. `runtime-data` and `paravisor` are both
//! checked; the quote is verified only if both hold, and the caller's data is returned only in the
//! receipt `VerifiedQuote`. `README.md` beside this file says whom one trusts by that.

mod boot;
mod claims;
pub(super) mod envelope;
#[cfg(test)]
mod flips;
pub(super) mod foreign;
mod hcl;
mod paravisor;
mod quote;
mod registers;
mod rejection;
mod signed_quote;

use serde_json::{Map, Value, json};

use crate::digest::Sha256Digest;
use crate::snp::report::Report;

pub use claims::{AttestationKey, ClaimsError, RuntimeClaims};
pub use hcl::{HclError, HclReport, MAX_HCL_BYTES};
pub use paravisor::{PARAVISOR_KEYS, ParavisorKey};
pub use quote::{ExtraDataError, MAX_EXTRA_DATA_BYTES, Quote, QuoteError, appraise_extra_data};
pub use registers::Registers;
pub(super) use registers::{BOOT_REGISTERS, REGISTERS};
pub use rejection::AzureRejection;
pub use signed_quote::SignedQuote;
pub(super) use signed_quote::VerifiedQuote;

use super::endorsements::TrustRoots;
use super::expectations::{Expectations, Waivable};
use super::outcome::waivable;
use super::reference::{Anchor, ReferenceValues};
use super::result::{AttestationResult, Check, Outcome, owned};
use super::signature::VerifiedReport;
use super::statement::ImageClaim;

/// The known version of such evidence.
const VERSION: u64 = 1;

/// The party that is trusted for such evidence, beside the authority of the secure processor.
const AUTHOR: &str = "Microsoft as the author of the paravisor, not as the operator of the machine";

/// Returns the parties that are trusted for such evidence, as text for people.
pub fn trusted(roots: &TrustRoots) -> String {
    let authority = if roots.is_amd() {
        "AMD"
    } else {
        "a test hierarchy"
    };
    format!("{authority}, and {AUTHOR}")
}

/// The evidence of this platform beside the attestation report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmEvidence {
    /// The HCL report that the paravisor keeps in the TPM.
    pub hcl: HclReport,
    /// The quote that the TPM signed.
    pub quote: SignedQuote,
}

/// Makes the four checks of this platform, and returns the quote if it was verified.
///
/// `runtime-data` and `paravisor` are both checked; the quote needs both, and `boot-measurement`
/// needs the quote.
pub(super) fn verify(
    result: &mut AttestationResult,
    report: VerifiedReport<'_>,
    evidence: &TpmEvidence,
    expectations: &Expectations,
    image: Option<&ImageClaim>,
) -> Option<VerifiedQuote> {
    let claims = passed(
        result,
        Check::RuntimeData,
        bound_claims(&report, &evidence.hcl),
    );
    let paravisor = passed(result, Check::Paravisor, paravisor::appraise(&report));
    let (Some(claims), Some(_)) = (claims, paravisor) else {
        return None;
    };
    let quote = evidence.quote.verify(&claims.attestation_key);
    let quote = passed(result, Check::Quote, quote)?;
    let found = boot::appraise(&expectations.references, &quote, image);
    let outcome = waivable(Waivable::BootMeasurement, found, expectations);
    result.set(Check::BootMeasurement, outcome);
    Some(quote)
}

/// Sets the outcome of a check, and returns what it found if it passed.
fn passed<T>(
    result: &mut AttestationResult,
    check: Check,
    found: Result<T, AzureRejection>,
) -> Option<T> {
    match found {
        Ok(found) => {
            result.set(check, Outcome::Pass);
            Some(found)
        }
        Err(rejection) => {
            result.set(check, Outcome::Reject(rejection.into()));
            None
        }
    }
}

/// Compares the hash of the runtime claims with the report data, which has nothing else, and reads
/// the claims.
fn bound_claims(report: &Report, hcl: &HclReport) -> Result<RuntimeClaims, AzureRejection> {
    let mut expected = [0; 64];
    expected[..32].copy_from_slice(Sha256Digest::of(hcl.claims()).as_bytes());
    let actual = report.report_data();
    if actual != expected {
        let (expected, actual) = (hex::encode(expected), hex::encode(actual));
        return Err(AzureRejection::RuntimeData { expected, actual });
    }
    RuntimeClaims::read(hcl.claims()).map_err(AzureRejection::Claims)
}

/// Returns the digest that another attested builder signs: SHA-256 of the JSON serialised again,
/// with sorted keys and without white space. None for bytes that are no JSON.
pub fn rewritten_digest(provenance: &[u8]) -> Option<Sha256Digest> {
    let document: Value = serde_json::from_slice(provenance).ok()?;
    Some(Sha256Digest::of(document.to_string().as_bytes()))
}

/// Returns the claims of this platform's accepted evidence.
pub(super) fn claims(
    report: VerifiedReport<'_>,
    evidence: &TpmEvidence,
    expectations: &Expectations,
) -> Map<String, Value> {
    let runtime = RuntimeClaims::read(evidence.hcl.claims()).ok();
    let secure_boot = runtime.as_ref().and_then(|claims| claims.secure_boot);
    let tpm_persisted = runtime.as_ref().and_then(|claims| claims.tpm_persisted);
    let mut claims = Map::from_iter(owned([
        ("trusted", json!(trusted(&expectations.roots))),
        ("secure_boot", json!(secure_boot)),
        ("tpm_persisted", json!(tpm_persisted)),
    ]));
    claims.extend(paravisor_claims(&report));
    claims.extend(boot_claims(evidence, &expectations.references));
    claims
}

fn paravisor_claims(report: &Report) -> [(String, Value); 4] {
    let minimum_svn = paravisor::appraise(report).ok().map(|key| key.minimum_svn);
    owned([
        (
            "paravisor_measurement",
            json!(report.measurement().to_string()),
        ),
        (
            "paravisor_id_key",
            json!(hex::encode(report.id_key_digest())),
        ),
        ("paravisor_svn", json!(report.guest_svn())),
        ("paravisor_svn_floor", json!(minimum_svn)),
    ])
}

fn boot_claims(evidence: &TpmEvidence, references: &ReferenceValues) -> [(String, Value); 4] {
    let registers = Registers::of(&evidence.quote.registers);
    let register = |number| {
        let all = registers.as_ref()?;
        Some(all.value(number).to_string())
    };
    let boot = registers
        .as_ref()
        .and_then(|registers| boot::named(references, registers));
    let (name, anchor) = boot.unzip();
    owned([
        ("pcr_4", json!(register(4))),
        ("pcr_9", json!(register(9))),
        ("boot", json!(name)),
        ("anchor", json!(anchor.map(Anchor::name))),
    ])
}

/// Returns what all evidence of this platform leaves open, one sentence each.
pub(super) fn open() -> [String; 1] {
    let check = Check::Paravisor.name();
    [format!(
        "{check}: the key that signed the quote is the paravisor's; that it signs nothing but what the \
         machine did is Microsoft's word"
    )]
}
