//! Why a bundle is rejected: one variant for each reason.
//!
//! * In: both sides of the comparison that failed.
//! * Out: a stable code, the expected and the actual side, and a sentence.
//! * Never: a reason without a code.

use crate::bundle::read::ReadError;
use crate::causes::Chain;
use crate::digest::{GitOid, Sha256Digest};
use crate::provenance::{Nonce, PREDICATE_TYPE, SIGNER_ALGORITHM, STATEMENT_TYPE};
use crate::snp::measurement::LaunchMeasurement;
use crate::snp::report::{
    ECDSA_P384_SHA384, GuestPolicy, MAX_VERSION, MIN_VERSION, PlatformInfo, Processor,
    REPORT_BYTES, SigningKey,
};
use crate::snp::tcb::{Component, Product, TcbVersion};

use super::azure::AzureRejection;
use super::floor::Floor;
use super::json::JsonError;
use super::revocation::Revocation;
use super::sides::{NO_SIDES, Sides, found, sides, text};
use super::table::rejections;

/// The one accepted algorithm of a certificate's signature.
const CERTIFICATE_ALGORITHM: &str = "RSASSA-PSS, SHA-384, MGF1 with SHA-384, 48 bytes of salt";

/// The certificate or list that a rejection is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The VCEK or VLEK.
    Leaf,
    /// The ASK or ASVK.
    Intermediate,
    /// The ARK.
    Root,
    /// The revocation list.
    Crl,
}

impl Role {
    /// Returns the code for a certificate, or the one for the revocation list.
    const fn pick(self, certificate: &'static str, crl: &'static str) -> &'static str {
        match self {
            Self::Leaf | Self::Intermediate | Self::Root => certificate,
            Self::Crl => crl,
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Leaf => "the VCEK or VLEK",
            Self::Intermediate => "the ASK or ASVK",
            Self::Root => "the ARK",
            Self::Crl => "the revocation list",
        })
    }
}

rejections! {
    /// A reason to reject. Moments are seconds since 1970.
    ///
    /// Each row has the sentence, which is the variant's documentation too; the variant; its stable
    /// code, which README.md of this room lists; and the two sides of the comparison.
    #[derive(Debug, thiserror::Error)]
    pub enum Rejection {
        // bundle
        #[error("the bundle cannot be read: {}", Chain(.0))]
        Bundle(error: ReadError) = bundle_code(error), bundle_sides(error);
        #[error(
            "the top directory of the bundle does not have the name of the statement's repository"
        )]
        Project { expected: String, actual: String } = "project-mismatch", sides(expected, actual);
        #[error("the bundle has no evidence: nobody signed it")]
        EvidenceMissing = "evidence-missing", NO_SIDES;
        #[error("evidence.json cannot be read: {0}")]
        EvidenceMalformed(error: JsonError) = "evidence-malformed", NO_SIDES;
        #[error("{field} in the evidence is not {encoding}")]
        EvidenceEncoding { field: &'static str, encoding: &'static str }
            = "evidence-encoding", NO_SIDES;
        #[error("the evidence is of a platform that this verifier does not know")]
        PlatformUnknown { actual: String } = "platform-unknown", sides("snp or az-snp", actual);
        #[error("the attestation report has another length")]
        ReportLength { actual: usize } = "report-length", sides(REPORT_BYTES, actual);

        // endorsements
        #[error(
            "the evidence carries no VCEK or VLEK; give it with --vcek, or get a VCEK with --fetch"
        )]
        CertificateMissing = "certificate-missing", NO_SIDES;
        #[error("{role} cannot be read: {reason}")]
        CertificateMalformed { role: Role, reason: String }
            = role.pick("certificate-malformed", "crl-malformed"), NO_SIDES;
        #[error("{role} was not issued by a trusted certificate")]
        IssuerUnknown { role: Role, trusted: Vec<String>, actual: String }
            = role.pick("issuer-unknown", "crl-issuer"), sides(trusted.join(" | "), actual);
        #[error("{role} is not signed with RSASSA-PSS and SHA-384")]
        CertificateAlgorithm { role: Role, actual: String }
            = role.pick("certificate-algorithm", "crl-algorithm"),
            sides(CERTIFICATE_ALGORITHM, actual);
        #[error("the signature on {role} is not its issuer's")]
        CertificateSignature { role: Role }
            = role.pick("certificate-signature", "crl-signature"), NO_SIDES;
        #[error("{role} is not valid yet")]
        CertificateNotYetValid { role: Role, not_before: u64, at: u64 }
            = "certificate-not-yet-valid", sides(not_before, at);
        #[error("{role} has expired")]
        CertificateExpired { role: Role, not_after: u64, at: u64 }
            = "certificate-expired", sides(not_after, at);
        #[error("{role} has a critical extension that is not known")]
        CriticalExtension { role: Role, oid: String }
            = role.pick("critical-extension", "crl-critical-extension"), found(oid);
        #[error(
            "{role} has the wrong basic constraints: what signs certificates must be a CA, what \
             signs reports must not"
        )]
        CertificateAuthority { role: Role, expected: bool }
            = "certificate-authority", sides(expected, !expected);
        #[error("{role} has a key of another kind")]
        CertificateKey { role: Role, expected: &'static str, actual: String }
            = "certificate-key", sides(expected, actual);
        #[error("the revocation list is not valid yet")]
        CrlNotYetValid { this_update: u64, at: u64 } = "crl-not-yet-valid", sides(this_update, at);
        #[error("the revocation list is out of date")]
        CrlOutOfDate { next_update: Option<u64>, at: u64 }
            = "crl-out-of-date", (text(next_update), Some(at.to_string()));
        #[error("the revocation list revokes {role}")]
        Revoked { role: Role, serial: String } = "certificate-revoked", found(serial);

        // certificate-binding
        #[error("the host masked the chip key: such a report is not signed")]
        ChipKeyMasked = "chip-key-masked", NO_SIDES;
        #[error("the certificate is not of the kind of key that the report says signed it")]
        SigningKeyMismatch { certificate: Option<SigningKey>, report: SigningKey }
            = "signing-key-mismatch", (Some(report.to_string()), text(certificate));
        #[error("the certificate does not have the subject of a {kind}")]
        CertificateSubject { kind: SigningKey, expected: &'static str, actual: String }
            = "certificate-subject", sides(expected, actual);
        #[error("the certificate is of a {kind}, and its issuer does not sign these")]
        CertificateIssuerRole { kind: SigningKey, expected: &'static str, actual: String }
            = "certificate-issuer-role", sides(expected, actual);
        #[error("the product is not one that this verifier knows")]
        ProductUnknown { actual: String }
            = "product-unknown", sides(Product::ALL.map(Product::name).join(" | "), actual);
        #[error("report, certificate and its issuer are not of the same product")]
        ProductMismatch { expected: Product, actual: Product }
            = "product-mismatch", sides(expected, actual);
        #[error("the certificate lacks an extension ({name})")]
        ExtensionMissing { name: &'static str } = "extension-missing", NO_SIDES;
        #[error("the certificate has an extension that cannot be read ({name})")]
        ExtensionEncoding { name: &'static str, value: String }
            = "extension-encoding", found(value);
        #[error("the report has no chip id: no VCEK can be bound to it")]
        ChipIdZero = "chip-id-zero", NO_SIDES;
        #[error("the report is of another chip than the certificate")]
        ChipIdMismatch { certificate: String, report: String }
            = "chip-id-mismatch", sides(certificate, report);
        #[error("the certificate is for another TCB version than the report's reported one")]
        TcbMismatch { certificate: TcbVersion, report: TcbVersion }
            = "tcb-mismatch", sides(certificate, report);

        // report-signature
        #[error("the report has a version that this verifier does not know")]
        ReportVersion { actual: u32 }
            = "report-version", sides(format!("{MIN_VERSION} to {MAX_VERSION}"), actual);
        #[error("the report has a signature algorithm that this verifier does not know")]
        ReportAlgorithm { actual: u32 } = "report-algorithm", sides(ECDSA_P384_SHA384, actual);
        #[error("the report has a byte set that must be zero (offset {offset:#x})")]
        ReportReserved { offset: usize }
            = "report-reserved", sides("0", format!("not 0 at {offset:#x}"));
        #[error("R or S of the report's signature is out of range or not padded with zeros")]
        SignatureRange = "signature-range", NO_SIDES;
        #[error("the report's signature is not by the certificate's key")]
        SignatureInvalid = "signature-invalid", NO_SIDES;

        // guest-policy
        #[error("the host may debug this guest: read and write its memory")]
        Debug { policy: GuestPolicy } = "policy-debug", found(policy);
        #[error("a migration agent may be associated with the guest")]
        MigrationAgent { policy: GuestPolicy } = "policy-migration-agent", found(policy);
        #[error("bit 17 of the guest policy is not set")]
        PolicyReservedOne { policy: GuestPolicy } = "policy-reserved-one", found(policy);
        #[error("the guest policy has bits set that have no meaning yet")]
        PolicyReserved { policy: GuestPolicy } = "policy-reserved", found(policy);
        #[error("the report was not requested at VMPL 0")]
        Vmpl { actual: u32 } = "vmpl", sides(0, actual);
        #[error("the ID key is not what the reference value says")]
        IdKey { expected: String, actual: String } = "id-key", sides(expected, actual);
        #[error("the author key is not what the reference value says")]
        AuthorKey { expected: String, actual: String } = "author-key", sides(expected, actual);

        // tcb
        #[error("the reported {component} version is above the committed one")]
        ReportedAboveCommitted { component: Component, committed: u8, reported: u8 }
            = "tcb-reported-above-committed", sides(format!("at most {committed}"), reported);
        #[error("the launch {component} version is above the current one")]
        LaunchAboveCurrent { component: Component, current: u8, launch: u8 }
            = "tcb-launch-above-current", sides(format!("at most {current}"), launch);
        #[error("the reported {component} version is below the minimum")]
        BelowMinimum { component: Component, minimum: u8, reported: Option<u8> }
            = "tcb-below-minimum", (Some(format!("at least {minimum}")), text(reported));
        #[error(
            "the reported {component} version is below the floor of {}{}; newer firmware answers \
             it, --min-tcb sets another minimum",
            .floor.advisory,
            highest_for(.unlisted)
        )]
        BelowFloor {
            component: Component,
            floor: Box<Floor>,
            unlisted: Option<Processor>,
            reported: Option<u8>,
        } = "tcb-below-floor", (Some(format!("at least {}", floor.minimum)), text(reported));
        #[error(
            "the firmware reports no complete check for memory with two addresses, which it makes \
             since snp={} ({})",
            .since.minimum, .since.advisory
        )]
        AliasCheck { since: Box<Floor>, platform_info: PlatformInfo }
            = "alias-check-incomplete",
            sides(format!("{:#x} set", PlatformInfo::ALIAS_CHECK_COMPLETE), platform_info);

        // launch-measurement
        #[error(
            "there is no reference value: this verifier has none of its release and none was given"
        )]
        NoReferenceValues = "no-reference-values", NO_SIDES;
        #[error("the launch measurement is no reference value; {tried}")]
        MeasurementUnknown {
            tried: String,
            expected: Vec<LaunchMeasurement>,
            actual: LaunchMeasurement,
        } = "measurement-unknown", sides(joined(expected), actual);
        #[error(
            "the launch measurement is of image {}, which is revoked: {}", .by.version, .by.reason
        )]
        MeasurementRevoked { by: Box<Revocation>, actual: LaunchMeasurement }
            = "measurement-revoked", found(actual);
        #[error(
            "the launch measurement was published for another {input} than the statement claims"
        )]
        ImageClaim { input: Box<str>, expected: Sha256Digest, actual: Option<Sha256Digest> }
            = "image-claim-mismatch", (Some(expected.to_string()), text(actual));

        // runtime-data, paravisor, quote, boot-measurement, and what else is of the platform az-snp
        #[error(transparent)]
        Azure(rejection: #[from] AzureRejection) = rejection.code(), rejection.sides();

        // report-data
        #[error("the report is about other bytes than this provenance.json")]
        ProvenanceDigest { expected: Sha256Digest, actual: Sha256Digest }
            = "provenance-digest", sides(expected, actual);
        #[error("the report has another nonce than provenance.json")]
        ReportDataNonce { provenance: Option<Nonce>, report: String }
            = "report-data-nonce", (provenance.as_ref().map(padded), Some(report.clone()));
        #[error(
            "the last bytes of the report data are not those of this kind of evidence"
        )]
        ReportDataTag { expected: String, actual: String }
            = "report-data-tag", sides(expected, actual);
        #[error("the report is about another TLS key")]
        SessionKey { expected: Sha256Digest, actual: Sha256Digest }
            = "session-key", sides(expected, actual);
        #[error("the evidence document names another TLS key than the one that was given")]
        SessionDocument { expected: Sha256Digest, actual: Sha256Digest }
            = "session-document", sides(expected, actual);
        #[error("neither the evidence document nor the reader names a TLS key")]
        SessionKeyMissing = "session-key-missing", NO_SIDES;

        // nonce
        #[error("the report is not about this nonce")]
        NonceNotInReport { expected: Nonce, actual: String }
            = "nonce-not-in-report", sides(padded(expected), actual);
        #[error("provenance.json is not about this nonce")]
        NonceNotInProvenance { expected: Nonce, actual: Option<Nonce> }
            = "nonce-not-in-provenance", (Some(expected.to_string()), text(actual));

        // statement
        #[error("provenance.json cannot be read: {0}")]
        StatementMalformed(error: JsonError) = "statement-malformed", NO_SIDES;
        #[error("this is no in-toto statement v1")]
        StatementType { actual: String } = "statement-type", sides(STATEMENT_TYPE, actual);
        #[error("the predicate is no SLSA provenance v1")]
        PredicateType { actual: String } = "predicate-type", sides(PREDICATE_TYPE, actual);
        #[error("the build type is not one that this verifier knows")]
        BuildType { expected: [&'static str; 2], actual: String }
            = "build-type-unknown", sides(expected.join(" | "), actual);
        #[error("the builder is not one whose evidence can be accepted here")]
        Builder { expected: Vec<&'static str>, actual: String }
            = "builder-unknown", sides(expected.join(" | "), actual);
        #[error("the statement has an external parameter that this verifier does not know")]
        ExternalParameter { actual: String } = "external-parameter-unknown", found(actual);
        #[error("the source is neither one repository nor one archive")]
        SourceParameter = "source-parameter", NO_SIDES;
        #[error(
            "the nonce in provenance.json is not 1 to 16 bytes of lower-case hex, or its source \
             is unknown"
        )]
        NonceSyntax { actual: String } = "nonce-syntax", found(actual);
        #[error("a digest is not lower-case hex of a known algorithm ({what})")]
        DigestSyntax { what: String } = "digest-syntax", NO_SIDES;
        #[error("the statement has no subject")]
        NoSubject = "subject-none", NO_SIDES;
        #[error(
            "a subject's name is no plain relative path of printable ASCII, or looks like an option"
        )]
        SubjectName { actual: String } = "subject-name", found(actual);
        #[error("a subject is repeated")]
        SubjectDuplicate { name: String } = "subject-duplicate", NO_SIDES;
        #[error(
            "two subjects are one file where upper and lower case are alike, or one is a \
             directory of the other"
        )]
        SubjectAlike { name: String } = "subject-alike", found(name);

        // expectations
        #[error("it was built from another repository")]
        Repository { expected: String, actual: Option<String> }
            = "repository-mismatch", (Some(expected.to_string()), text(actual));
        #[error("it was built from another ref")]
        Reference { expected: String, actual: Option<String> }
            = "ref-mismatch", (Some(expected.to_string()), text(actual));
        #[error("it was built from another commit")]
        Commit { expected: String, actual: Option<String> }
            = "commit-mismatch", (Some(expected.to_string()), text(actual));
        #[error("it was built from another archive than the one that was sent")]
        SourceArchive { expected: Sha256Digest, actual: Option<String> }
            = "source-archive-mismatch", (Some(expected.to_string()), text(actual));
        #[error("it was built from other files than those that were sent")]
        SourceTree { expected: GitOid, actual: Option<String> }
            = "source-tree-mismatch", (Some(expected.to_string()), text(actual));
        #[error("it was built with another value of the option {name}")]
        OptionMismatch { name: &'static str, expected: String, actual: Option<String> }
            = "option-mismatch", (Some(expected.to_string()), text(actual));
        #[error("it was built with the option {name}, which was not expected")]
        OptionUnexpected { name: &'static str, actual: String }
            = "option-unexpected", found(actual);
        #[error("{file} is no subject of the statement")]
        Artifact { file: String, sha256: Sha256Digest } = "artifact-not-a-subject", found(sha256);

        // envelope
        #[error("the bundle has a signed statement, and the statement names no key for it")]
        SignerMissing = "signer-missing", NO_SIDES;
        #[error("the statement names a key of another algorithm for its signature")]
        SignerAlgorithm { actual: String } = "signer-algorithm", sides(SIGNER_ALGORITHM, actual);
        #[error(
            "the statement key is not a point on P-256 in base64 of its DER SubjectPublicKeyInfo"
        )]
        SignerKey { actual: String } = "signer-key", found(actual);
        #[error("the signed statement is not JSON of the one form: {reason}")]
        EnvelopeMalformed { reason: String } = "envelope-malformed", NO_SIDES;
        #[error("{field} of the signed statement is not what the appliance writes")]
        EnvelopeForm { field: &'static str, expected: &'static str, actual: String }
            = "envelope-form", sides(expected, actual);
        #[error("the signed statement has other bytes than provenance.json")]
        EnvelopePayload { expected: Sha256Digest, actual: Sha256Digest }
            = "envelope-payload", sides(expected, actual);
        #[error("the signed statement names another key than the statement")]
        EnvelopeKey { expected: String, actual: String } = "envelope-key", sides(expected, actual);
        #[error("the signature of the signed statement is not by the statement key {key}")]
        EnvelopeSignature { key: String } = "envelope-signature", NO_SIDES;

        // subjects
        #[error("{name} is a subject and not in the bundle")]
        SubjectMissing { name: String } = "subject-missing", NO_SIDES;
        #[error("{name} has other bytes than its subject")]
        SubjectDigest { name: String, expected: Sha256Digest, actual: Sha256Digest }
            = "subject-digest", sides(expected, actual);
        #[error("{name} is executable in one of bundle and statement, and not in the other")]
        SubjectMode { name: String, expected: bool, actual: bool }
            = "subject-mode", sides(executable(*expected), executable(*actual));
        #[error("{name} is in the bundle and no subject")]
        ArtifactUnlisted { name: String } = "artifact-unlisted", NO_SIDES;
        #[error("{name} is recorded and not in the bundle")]
        RecordMissing { name: String } = "record-missing", NO_SIDES;
        #[error("{name} has other bytes than recorded")]
        RecordDigest { name: String, expected: Sha256Digest, actual: Sha256Digest }
            = "record-digest", sides(expected, actual);
        #[error("{name} is in the bundle and not recorded")]
        RecordUnlisted { name: String } = "record-unlisted", NO_SIDES;
        #[error("the statement records two digests of one file")]
        RecordContradiction { expected: Sha256Digest, actual: Sha256Digest }
            = "record-contradiction", sides(expected, actual);
    }
}

/// Says why the floor is the one of another processor.
fn highest_for(unlisted: &Option<Processor>) -> String {
    match unlisted {
        None => String::new(),
        Some(processor) => {
            format!(", the highest of the product, because none is known for {processor}")
        }
    }
}

impl Rejection {
    /// Returns whether waiving the check covers this rejection. A revoked measurement is known to
    /// prove nothing, so no waiver covers it.
    pub const fn is_waivable(&self) -> bool {
        !matches!(
            self,
            Self::MeasurementRevoked { .. } | Self::Azure(AzureRejection::BootRevoked { .. })
        )
    }
}

fn executable(is_executable: bool) -> &'static str {
    if is_executable {
        "executable"
    } else {
        "not executable"
    }
}

/// Returns the nonce as its field of the report data has it.
fn padded(nonce: &Nonce) -> String {
    hex::encode(nonce.padded())
}

fn joined(measurements: &[LaunchMeasurement]) -> String {
    /// The number of measurements that are shown; a release has one for each vCPU type and count.
    const MAX_SHOWN: usize = 4;
    let mut text = measurements
        .iter()
        .take(MAX_SHOWN)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" | ");
    if measurements.len() > MAX_SHOWN {
        text.push_str(&format!(" | {} more", measurements.len() - MAX_SHOWN));
    }
    text
}

/// Returns the two sides of an error in a bundle, where something was compared.
fn bundle_sides(error: &ReadError) -> Sides {
    match error {
        ReadError::Limit { size, limit, .. } => sides(format!("at most {limit}"), size),
        ReadError::NotCanonical {
            expected, actual, ..
        } => sides(expected, actual),
        _ => NO_SIDES,
    }
}

fn bundle_code(error: &ReadError) -> &'static str {
    match error {
        ReadError::Open(_) => "bundle-not-readable",
        ReadError::Damaged(_) => "bundle-damaged",
        ReadError::Limit { .. } => "bundle-limit",
        ReadError::NotCanonical { .. } => "bundle-not-canonical",
        ReadError::Trailing => "bundle-trailing-bytes",
        ReadError::Kind { .. } => "bundle-entry-kind",
        ReadError::Mode { .. } => "bundle-file-mode",
        ReadError::Attribute { .. } => "bundle-attribute",
        ReadError::Path { .. } => "bundle-path",
        ReadError::Project { .. } => "bundle-project-name",
        ReadError::Unexpected { .. } => "bundle-unexpected-file",
        ReadError::Duplicate { .. } => "bundle-duplicate",
        ReadError::NoProvenance => "provenance-missing",
    }
}
