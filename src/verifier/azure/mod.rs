//! The platform `az-snp`: confidential machines of Azure, where a paravisor of Microsoft's runs at
//! VMPL 0 and holds the machine's TPM.
//!
//! - Comes in: evidence whose attestation report was verified like that of any other machine.
//! - Goes out: the outcomes of `runtime-data`, `paravisor`, `quote` and `boot-measurement`, and
//!   the bytes that the quote is about.
//! - Never: a word of a TPM whose key the report does not vouch for, or of a paravisor that
//!   Microsoft did not sign.
//!
//! | check | file |
//! |---|---|
//! | (the form of the evidence) | `envelope`, `hcl`, `foreign` |
//! | runtime-data | `claims` |
//! | paravisor | `paravisor` |
//! | quote | `quote`, `registers` |
//! | boot-measurement | `boot` |

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
use super::outcome::{outcome, waivable};
use super::reference::Anchor;
use super::result::{AttestationResult, Check, Outcome};
use super::signature::VerifiedReport;
use super::statement::ImageClaim;

/// The version of the evidence that is known.
const VERSION: u64 = 1;

/// Whom one trusts who accepts such evidence, beside the authority of the secure processor.
const AUTHOR: &str = "Microsoft as the author of the paravisor, not as the operator of the machine";

/// Returns whom one trusts who accepts such evidence, in words.
pub fn trusted(roots: &TrustRoots) -> String {
    let authority = if roots.is_amd() {
        "AMD"
    } else {
        "a test hierarchy"
    };
    format!("{authority}, and {AUTHOR}")
}

/// What evidence of this platform has beside the attestation report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmEvidence {
    /// What the paravisor keeps in the TPM.
    pub hcl: HclReport,
    /// What the TPM signed.
    pub quote: SignedQuote,
}

/// Checks what is the platform's own, and returns the quote, if what it is about may be looked at.
///
/// `runtime-data` and `paravisor` are both looked at; the quote needs both, and what follows needs
/// the quote.
pub(super) fn verify(
    result: &mut AttestationResult,
    report: VerifiedReport<'_>,
    evidence: &TpmEvidence,
    expectations: &Expectations,
    image: Option<&ImageClaim>,
) -> Option<VerifiedQuote> {
    let claims = bound_claims(&report, &evidence.hcl);
    let paravisor = paravisor::appraise(&report);
    let is_believed = paravisor.is_ok();
    result.set(
        Check::Paravisor,
        outcome(paravisor.map(drop).map_err(Into::into)),
    );
    let claims = match claims {
        Ok(claims) => claims,
        Err(rejection) => {
            result.set(Check::RuntimeData, Outcome::Reject(rejection.into()));
            return None;
        }
    };
    result.set(Check::RuntimeData, Outcome::Pass);
    if !is_believed {
        return None;
    }
    match evidence.quote.verify(&claims.attestation_key) {
        Ok(quote) => {
            result.set(Check::Quote, Outcome::Pass);
            let found = boot::appraise(&expectations.references, &quote, image);
            result.set(
                Check::BootMeasurement,
                waivable(Waivable::BootMeasurement, found, expectations),
            );
            Some(quote)
        }
        Err(rejection) => {
            result.set(Check::Quote, Outcome::Reject(rejection.into()));
            None
        }
    }
}

/// Reads the runtime claims after their hash was found in the report data, which has nothing else.
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

/// Returns the digest by which another attested builder signs: SHA-256 of the JSON written again,
/// with sorted keys and without white space. None for what is no JSON.
pub fn rewritten_digest(provenance: &[u8]) -> Option<Sha256Digest> {
    let document: Value = serde_json::from_slice(provenance).ok()?;
    Some(Sha256Digest::of(document.to_string().as_bytes()))
}

/// Returns what accepted evidence says beyond the report itself.
pub(super) fn claims(
    report: VerifiedReport<'_>,
    evidence: &TpmEvidence,
    expectations: &Expectations,
) -> Map<String, Value> {
    let registers = Registers::of(&evidence.quote.registers);
    let boot = registers
        .as_ref()
        .and_then(|registers| boot::named(&expectations.references, registers));
    let claims = RuntimeClaims::read(evidence.hcl.claims()).ok();
    let secure_boot = claims.as_ref().and_then(|claims| claims.secure_boot);
    let tpm_persisted = claims.as_ref().and_then(|claims| claims.tpm_persisted);
    let key = paravisor::appraise(&report).ok();
    let register = |number| {
        registers
            .as_ref()
            .map(|registers| registers.value(number).to_string())
    };
    Map::from_iter([
        ("trusted".to_owned(), json!(trusted(&expectations.roots))),
        (
            "paravisor_measurement".to_owned(),
            json!(report.measurement().to_string()),
        ),
        (
            "paravisor_id_key".to_owned(),
            json!(hex::encode(report.id_key_digest())),
        ),
        ("paravisor_svn".to_owned(), json!(report.guest_svn())),
        (
            "paravisor_svn_floor".to_owned(),
            json!(key.map(|key| key.minimum_svn)),
        ),
        ("secure_boot".to_owned(), json!(secure_boot)),
        ("tpm_persisted".to_owned(), json!(tpm_persisted)),
        ("pcr_4".to_owned(), json!(register(4))),
        ("pcr_9".to_owned(), json!(register(9))),
        (
            "boot".to_owned(),
            json!(boot.as_ref().map(|(name, _)| name)),
        ),
        (
            "anchor".to_owned(),
            json!(boot.map(|(_, anchor)| Anchor::name(anchor))),
        ),
    ])
}

/// Returns what such evidence leaves open whoever made it, one sentence each.
pub(super) fn open() -> [String; 1] {
    let check = Check::Paravisor.name();
    [format!(
        "{check}: the key that signed the quote is the paravisor's; that it signs nothing but what the machine did is \
         Microsoft's word"
    )]
}
