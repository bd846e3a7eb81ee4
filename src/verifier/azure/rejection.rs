//! Why evidence of the platform `az-snp` is refused: one variant for each reason, with both sides
//! of the comparison.

use crate::digest::Sha256Digest;

use super::super::revocation::Revocation;
use super::super::sides::{Sides, sides};
use super::claims::ClaimsError;
use super::hcl::HclError;
use super::quote::QuoteError;

/// A reason to reject evidence of this platform, beside those that all platforms share.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each variant's sentence is its documentation; README.md of this room lists the codes.
pub enum AzureRejection {
    // bundle
    #[error("the evidence has a version that this verifier does not know")]
    EvidenceVersion { expected: u64, actual: u64 },
    #[error("the HCL report cannot be read: {0}")]
    Hcl(#[source] HclError),
    #[error(
        "the evidence has the form of another attested builder, whose machine is a stock one: no published boot \
         measurement can match it; `kettle inspect` reads it"
    )]
    OtherForm,

    // runtime-data
    #[error("the report is not about these runtime claims")]
    RuntimeData { expected: String, actual: String },
    #[error("{0}")]
    Claims(#[source] ClaimsError),

    // paravisor
    #[error("the report was asked for at VMPL {actual}, where the paravisor is not")]
    ParavisorLevel { actual: u32 },
    #[error(
        "the paravisor is not signed by a key that Microsoft has for confidential virtual machines"
    )]
    ParavisorKey {
        expected: [&'static str; 2],
        actual: String,
    },
    #[error(
        "the guest is signed by a key that Microsoft has for container instances: there the tenant chooses the report \
         data, and no paravisor speaks for a TPM"
    )]
    ContainerKey {
        expected: [&'static str; 2],
        actual: String,
    },
    #[error("the paravisor has an author key, and Microsoft's has none")]
    ParavisorAuthorKey { actual: String },
    #[error("the paravisor's version (GUEST_SVN) is below the floor for its key")]
    ParavisorVersion { minimum: u32, actual: u32 },

    // quote
    #[error("this is no quote of a TPM over all its registers: {0}")]
    Quote(#[source] QuoteError),
    #[error("the quote's signature does not have the length of its key")]
    QuoteSignatureLength { expected: usize, actual: usize },
    #[error("the quote is not signed by the attestation key that the runtime claims name")]
    QuoteSignature,
    #[error("the evidence does not have all the registers that the quote is over")]
    RegisterCount { expected: usize, actual: usize },
    #[error("the registers in the evidence are not those that were signed")]
    RegisterDigest { expected: String, actual: String },

    // boot-measurement
    #[error(
        "there is no published boot measurement to compare with: no reference value has the member `boot`"
    )]
    NoBootReference,
    #[error("registers 4 and 9 are of no published boot; {tried}")]
    BootUnknown {
        tried: String,
        expected: String,
        actual: String,
    },
    #[error("the boot measurement is of image {}, which is revoked: {}", .by.version, .by.reason)]
    BootRevoked { by: Box<Revocation>, actual: String },
    #[error("register {register} was extended, and nothing of a published boot extends it")]
    RegisterNotZero { register: u8, actual: Sha256Digest },

    // report-data
    #[error("the quote is about another number of bytes than this kind of evidence")]
    ExtraDataLength { expected: usize, actual: usize },
    #[error(
        "the quote is about this provenance.json written again by another program: that is how another attested \
         builder signs, whose machine is a stock one; no published boot measurement can match it"
    )]
    OtherBuilder { expected: String, actual: String },
    #[error("the quote is not about this TLS key and nonce, of which it has one digest")]
    SessionDigest {
        expected: Sha256Digest,
        actual: String,
    },
}

impl AzureRejection {
    /// Returns its stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::EvidenceVersion { .. } => "evidence-version",
            Self::Hcl(_) => "hcl-malformed",
            Self::OtherForm => "evidence-of-another-builder",
            Self::RuntimeData { .. } => "runtime-data-binding",
            Self::Claims(ClaimsError::Json(_)) => "runtime-claims-malformed",
            Self::Claims(_) => "attestation-key",
            Self::ParavisorLevel { .. } => "paravisor-vmpl",
            Self::ParavisorKey { .. } => "paravisor-id-key",
            Self::ContainerKey { .. } => "paravisor-container-key",
            Self::ParavisorAuthorKey { .. } => "paravisor-author-key",
            Self::ParavisorVersion { .. } => "paravisor-svn",
            Self::Quote(QuoteError::Magic { .. }) => "quote-magic",
            Self::Quote(QuoteError::Type { .. }) => "quote-type",
            Self::Quote(_) => "quote-malformed",
            Self::QuoteSignatureLength { .. } => "quote-signature-length",
            Self::QuoteSignature => "quote-signature",
            Self::RegisterCount { .. } => "pcr-count",
            Self::RegisterDigest { .. } => "pcr-digest",
            Self::NoBootReference => "no-boot-reference",
            Self::BootUnknown { .. } => "boot-measurement-unknown",
            Self::BootRevoked { .. } => "boot-measurement-revoked",
            Self::RegisterNotZero { .. } => "pcr-not-zero",
            Self::ExtraDataLength { .. } => "extra-data-length",
            Self::OtherBuilder { .. } => "signed-by-another-builder",
            Self::SessionDigest { .. } => "session-digest",
        }
    }

    /// Returns what was expected, and what was there.
    pub fn sides(&self) -> Sides {
        match self {
            Self::EvidenceVersion { expected, actual } => sides(expected, actual),
            Self::Hcl(HclError::Field {
                expected, actual, ..
            }) => sides(expected, actual),
            Self::Hcl(HclError::Sizes {
                expected, actual, ..
            })
            | Self::QuoteSignatureLength { expected, actual }
            | Self::RegisterCount { expected, actual }
            | Self::ExtraDataLength { expected, actual } => sides(expected, actual),
            Self::Claims(ClaimsError::Key {
                expected, actual, ..
            }) => sides(expected, actual),
            Self::ParavisorKey { expected, actual } | Self::ContainerKey { expected, actual } => {
                sides(expected.join(" | "), actual)
            }
            Self::ParavisorAuthorKey { actual } => sides("00".repeat(48), actual),
            Self::ParavisorLevel { actual } => sides(0, actual),
            Self::ParavisorVersion { minimum, actual } => {
                sides(format!("at least {minimum}"), actual)
            }
            Self::RuntimeData { expected, actual }
            | Self::RegisterDigest { expected, actual }
            | Self::BootUnknown {
                expected, actual, ..
            }
            | Self::OtherBuilder { expected, actual } => sides(expected, actual),
            Self::BootRevoked { actual, .. } => (None, Some(actual.clone())),
            Self::RegisterNotZero { actual, .. } => {
                sides(Sha256Digest::from_bytes([0; 32]), actual)
            }
            Self::SessionDigest { expected, actual } => sides(expected, actual),
            Self::Hcl(_)
            | Self::OtherForm
            | Self::Claims(_)
            | Self::Quote(_)
            | Self::QuoteSignature
            | Self::NoBootReference => (None, None),
        }
    }
}
