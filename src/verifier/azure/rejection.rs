//! Why evidence of the platform `az-snp` is rejected: one variant for each reason, with both sides
//! of the comparison.

use crate::digest::Sha256Digest;

use super::super::revocation::Revocation;
use super::super::sides::{NO_SIDES, Sides, found, sides};
use super::super::table::rejections;
use super::claims::ClaimsError;
use super::hcl::HclError;
use super::quote::QuoteError;

rejections! {
    /// A reason to reject evidence of this platform, beside those that all platforms share.
    #[derive(Debug, thiserror::Error)]
    pub enum AzureRejection {
        // bundle
        #[error("the evidence has a version that this verifier does not know")]
        EvidenceVersion { expected: u64, actual: u64 }
            = "evidence-version", sides(expected, actual);
        #[error("the HCL report cannot be read: {0}")]
        Hcl(error: #[source] HclError) = "hcl-malformed", hcl_sides(error);
        #[error(
            "the evidence has the form of another attested builder, whose machine is a stock one: no \
                published boot measurement can match it; `kettle inspect` reads it"
        )]
        OtherForm = "evidence-of-another-builder", NO_SIDES;

        // runtime-data
        #[error("the report is not about these runtime claims")]
        RuntimeData { expected: String, actual: String }
            = "runtime-data-binding", sides(expected, actual);
        #[error("{0}")]
        Claims(error: #[source] ClaimsError) = claims_code(error), claims_sides(error);

        // paravisor
        #[error("the report was requested at VMPL {actual}, where the paravisor does not run")]
        ParavisorLevel { actual: u32 } = "paravisor-vmpl", sides(0, actual);
        #[error(
            "the paravisor is not signed by a key that Microsoft has for confidential virtual \
             machines"
        )]
        ParavisorKey { expected: [&'static str; 2], actual: String }
            = "paravisor-id-key", sides(expected.join(" | "), actual);
        #[error(
            "the guest is signed by a key that Microsoft has for container instances: there the tenant \
                chooses the report data, and no paravisor speaks for a TPM"
        )]
        ContainerKey { expected: [&'static str; 2], actual: String }
            = "paravisor-container-key", sides(expected.join(" | "), actual);
        #[error("the paravisor has an author key, and Microsoft's has none")]
        ParavisorAuthorKey { actual: String }
            = "paravisor-author-key", sides("00".repeat(48), actual);
        #[error("the paravisor's version (GUEST_SVN) is below the floor for its key")]
        ParavisorVersion { minimum: u32, actual: u32 }
            = "paravisor-svn", sides(format!("at least {minimum}"), actual);

        // quote
        #[error("this is no quote of a TPM over all its registers: {0}")]
        Quote(error: #[source] QuoteError) = quote_code(error), NO_SIDES;
        #[error("the quote's signature does not have the length of its key")]
        QuoteSignatureLength { expected: usize, actual: usize }
            = "quote-signature-length", sides(expected, actual);
        #[error("the quote is not signed by the attestation key that the runtime claims name")]
        QuoteSignature = "quote-signature", NO_SIDES;
        #[error("the evidence does not have all the registers that the quote is over")]
        RegisterCount { expected: usize, actual: usize } = "pcr-count", sides(expected, actual);
        #[error("the registers in the evidence are not those that were signed")]
        RegisterDigest { expected: String, actual: String } = "pcr-digest", sides(expected, actual);

        // boot-measurement
        #[error(
            "there is no published boot measurement to compare with: no reference value has the \
             member `boot`"
        )]
        NoBootReference = "no-boot-reference", NO_SIDES;
        #[error("registers 4 and 9 are of no published boot; {tried}")]
        BootUnknown { tried: String, expected: String, actual: String }
            = "boot-measurement-unknown", sides(expected, actual);
        #[error(
            "the boot measurement is of image {}, which is revoked: {}", .by.version, .by.reason
        )]
        BootRevoked { by: Box<Revocation>, actual: String }
            = "boot-measurement-revoked", found(actual);
        #[error("register {register} was extended, and nothing of a published boot extends it")]
        RegisterNotZero { register: u8, actual: Sha256Digest }
            = "pcr-not-zero", sides(Sha256Digest::from_bytes([0; 32]), actual);

        // report-data
        #[error("the quote is about another number of bytes than this kind of evidence")]
        ExtraDataLength { expected: usize, actual: usize }
            = "extra-data-length", sides(expected, actual);
        #[error(
            "the quote is about this provenance.json written again by another program: that is how \
                another attested builder signs, whose machine is a stock one; no published boot \
                measurement can match it"
        )]
        OtherBuilder { expected: String, actual: String }
            = "signed-by-another-builder", sides(expected, actual);
        #[error("the quote is not about this TLS key and nonce, of which it has one digest")]
        SessionDigest { expected: Sha256Digest, actual: String }
            = "session-digest", sides(expected, actual);
    }
}

fn hcl_sides(error: &HclError) -> Sides {
    match error {
        HclError::Field {
            expected, actual, ..
        } => sides(expected, actual),
        HclError::Sizes {
            expected, actual, ..
        } => sides(expected, actual),
        _ => NO_SIDES,
    }
}

fn claims_code(error: &ClaimsError) -> &'static str {
    match error {
        ClaimsError::Json(_) => "runtime-claims-malformed",
        ClaimsError::Keys { .. } | ClaimsError::Key { .. } => "attestation-key",
    }
}

fn claims_sides(error: &ClaimsError) -> Sides {
    match error {
        ClaimsError::Key {
            expected, actual, ..
        } => sides(expected, actual),
        ClaimsError::Json(_) | ClaimsError::Keys { .. } => NO_SIDES,
    }
}

fn quote_code(error: &QuoteError) -> &'static str {
    match error {
        QuoteError::Magic { .. } => "quote-magic",
        QuoteError::Type { .. } => "quote-type",
        QuoteError::Truncated { .. }
        | QuoteError::Field { .. }
        | QuoteError::ExtraData { .. }
        | QuoteError::Trailing { .. } => "quote-malformed",
    }
}
