//! Why a verifier says no: one variant for each reason, with both sides of the comparison. Goes out: a stable code, what was
//! expected, what was there, and a sentence. Never: a reason without a code.

use crate::bundle::read::ReadError;
use crate::causes::Chain;
use crate::digest::{GitOid, Sha256Digest};
use crate::provenance::Nonce;
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
use super::sides::{Sides, sides};

/// Which certificate a rejection speaks of.
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

/// A reason to reject. Moments are seconds since 1970.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each variant's sentence is its documentation; README.md of this room lists the codes.
pub enum Rejection {
    // bundle
    #[error("the bundle cannot be read: {}", Chain(.0))]
    Bundle(ReadError),
    #[error("the top directory of the bundle is not called like the repository of the statement")]
    Project { expected: String, actual: String },
    #[error("the bundle has no evidence: nobody signed it")]
    EvidenceMissing,
    #[error("evidence.json cannot be read: {0}")]
    EvidenceMalformed(JsonError),
    #[error("{field} in the evidence is not {encoding}")]
    EvidenceEncoding {
        field: &'static str,
        encoding: &'static str,
    },
    #[error("the evidence is of a platform that this verifier does not know")]
    PlatformUnknown { actual: String },
    #[error("the attestation report has another length")]
    ReportLength { actual: usize },

    // endorsements
    #[error(
        "the evidence carries no VCEK or VLEK; give it with --vcek, or get a VCEK with --fetch"
    )]
    CertificateMissing,
    #[error("{role} cannot be read: {reason}")]
    CertificateMalformed { role: Role, reason: String },
    #[error("{role} was issued by nobody that is trusted")]
    IssuerUnknown {
        role: Role,
        trusted: Vec<String>,
        actual: String,
    },
    #[error("{role} is not signed with RSASSA-PSS and SHA-384")]
    CertificateAlgorithm { role: Role, actual: String },
    #[error("the signature on {role} is not its issuer's")]
    CertificateSignature { role: Role },
    #[error("{role} is not valid yet")]
    CertificateNotYetValid {
        role: Role,
        not_before: u64,
        at: u64,
    },
    #[error("{role} has expired")]
    CertificateExpired { role: Role, not_after: u64, at: u64 },
    #[error("{role} has a critical extension that is not known")]
    CriticalExtension { role: Role, oid: String },
    #[error(
        "{role} has the wrong basic constraints: what signs certificates must be a CA, what signs reports must not"
    )]
    CertificateAuthority { role: Role, expected: bool },
    #[error("{role} has a key of another kind")]
    CertificateKey {
        role: Role,
        expected: &'static str,
        actual: String,
    },
    #[error("the revocation list is not valid yet")]
    CrlNotYetValid { this_update: u64, at: u64 },
    #[error("the revocation list is out of date")]
    CrlOutOfDate { next_update: Option<u64>, at: u64 },
    #[error("the revocation list revokes {role}")]
    Revoked { role: Role, serial: String },

    // certificate-binding
    #[error("the host masked the chip key: the firmware signs nothing then")]
    ChipKeyMasked,
    #[error("the certificate is not of the kind of key that the report says signed it")]
    SigningKeyMismatch {
        certificate: Option<SigningKey>,
        report: SigningKey,
    },
    #[error("the certificate does not have the subject of a {kind}")]
    CertificateSubject {
        kind: SigningKey,
        expected: &'static str,
        actual: String,
    },
    #[error("the certificate is of a {kind}, and its issuer does not sign these")]
    CertificateIssuerRole {
        kind: SigningKey,
        expected: &'static str,
        actual: String,
    },
    #[error("the product is not one that this verifier knows")]
    ProductUnknown { actual: String },
    #[error("report, certificate and its issuer are not of the same product")]
    ProductMismatch { expected: Product, actual: Product },
    #[error("the certificate lacks an extension ({name})")]
    ExtensionMissing { name: &'static str },
    #[error("the certificate has an extension that cannot be read ({name})")]
    ExtensionEncoding { name: &'static str, value: String },
    #[error("the report has no chip id: a VCEK binds nothing then")]
    ChipIdZero,
    #[error("the report is of another chip than the certificate")]
    ChipIdMismatch { certificate: String, report: String },
    #[error("the certificate is for another TCB version than the report's reported one")]
    TcbMismatch {
        certificate: TcbVersion,
        report: TcbVersion,
    },

    // report-signature
    #[error("the report has a version that this verifier does not know")]
    ReportVersion { actual: u32 },
    #[error("the report has a signature algorithm that this verifier does not know")]
    ReportAlgorithm { actual: u32 },
    #[error("the report has a byte set that must be zero (offset {offset:#x})")]
    ReportReserved { offset: usize },
    #[error("R or S of the report's signature is out of range or not padded with zeros")]
    SignatureRange,
    #[error("the report's signature is not by the certificate's key")]
    SignatureInvalid,

    // guest-policy
    #[error("the host may debug this guest: read and write its memory")]
    Debug { policy: GuestPolicy },
    #[error("the guest may be handed to a migration agent")]
    MigrationAgent { policy: GuestPolicy },
    #[error("bit 17 of the guest policy is not set")]
    PolicyReservedOne { policy: GuestPolicy },
    #[error("the guest policy has bits set that have no meaning yet")]
    PolicyReserved { policy: GuestPolicy },
    #[error("the report was not requested at VMPL 0")]
    Vmpl { actual: u32 },
    #[error("the ID key is not what the reference value says")]
    IdKey { expected: String, actual: String },
    #[error("the author key is not what the reference value says")]
    AuthorKey { expected: String, actual: String },

    // tcb
    #[error("the reported {component} version is above the committed one")]
    ReportedAboveCommitted {
        component: Component,
        committed: u8,
        reported: u8,
    },
    #[error("the launch {component} version is above the current one")]
    LaunchAboveCurrent {
        component: Component,
        current: u8,
        launch: u8,
    },
    #[error("the reported {component} version is below the minimum")]
    BelowMinimum {
        component: Component,
        minimum: u8,
        reported: Option<u8>,
    },
    #[error(
        "the reported {component} version is below the floor of {}{}; newer firmware answers it, --min-tcb takes another",
        .floor.advisory,
        highest_for(.unlisted)
    )]
    BelowFloor {
        component: Component,
        floor: Box<Floor>,
        unlisted: Option<Processor>,
        reported: Option<u8>,
    },
    #[error(
        "the firmware has not made sure that no memory has two addresses, as it does since snp={} ({})",
        .since.minimum, .since.advisory
    )]
    AliasCheck {
        since: Box<Floor>,
        platform_info: PlatformInfo,
    },

    // launch-measurement
    #[error(
        "there is no reference value: this verifier has none of its release and none was given"
    )]
    NoReferenceValues,
    #[error("the launch measurement is no reference value; {tried}")]
    MeasurementUnknown {
        tried: String,
        expected: Vec<LaunchMeasurement>,
        actual: LaunchMeasurement,
    },
    #[error("the launch measurement is of image {}, which is revoked: {}", .by.version, .by.reason)]
    MeasurementRevoked {
        by: Box<Revocation>,
        actual: LaunchMeasurement,
    },
    #[error("the launch measurement was published for another {input} than the statement claims")]
    ImageClaim {
        input: Box<str>,
        expected: Sha256Digest,
        actual: Option<Sha256Digest>,
    },

    // runtime-data, paravisor, quote, boot-measurement, and what else is of the platform az-snp
    #[error(transparent)]
    Azure(#[from] AzureRejection),

    // report-data
    #[error("the report is about other bytes than this provenance.json")]
    ProvenanceDigest {
        expected: Sha256Digest,
        actual: Sha256Digest,
    },
    #[error("the report has another nonce than provenance.json")]
    ReportDataNonce {
        provenance: Option<Nonce>,
        report: String,
    },
    #[error("the last bytes of the report data are not what they are for this kind of evidence")]
    ReportDataTag { expected: String, actual: String },
    #[error("the report is about another TLS key")]
    SessionKey {
        expected: Sha256Digest,
        actual: Sha256Digest,
    },
    #[error("the evidence document says another TLS key than the one that was given")]
    SessionDocument {
        expected: Sha256Digest,
        actual: Sha256Digest,
    },
    #[error("neither the evidence document nor the reader says which TLS key it is about")]
    SessionKeyMissing,

    // nonce
    #[error("the report is not about this nonce")]
    NonceNotInReport { expected: Nonce, actual: String },
    #[error("provenance.json is not about this nonce")]
    NonceNotInProvenance {
        expected: Nonce,
        actual: Option<Nonce>,
    },

    // statement
    #[error("provenance.json cannot be read: {0}")]
    StatementMalformed(JsonError),
    #[error("this is no in-toto statement v1")]
    StatementType { actual: String },
    #[error("the predicate is no SLSA provenance v1")]
    PredicateType { actual: String },
    #[error("the build type is not one that this verifier knows")]
    BuildType {
        expected: [&'static str; 2],
        actual: String,
    },
    #[error("the builder is not one whose evidence can be accepted here")]
    Builder {
        expected: Vec<&'static str>,
        actual: String,
    },
    #[error("the statement has an external parameter that this verifier does not know")]
    ExternalParameter { actual: String },
    #[error("the source is neither one repository nor one archive")]
    SourceParameter,
    #[error(
        "the nonce in provenance.json is not 1 to 16 bytes of lower-case hex, or nobody chose it"
    )]
    NonceSyntax { actual: String },
    #[error("a digest is not lower-case hex of a known algorithm ({what})")]
    DigestSyntax { what: String },
    #[error("the statement has no subject")]
    NoSubject,
    #[error(
        "a subject's name is no plain relative path of printable ASCII, or looks like an option"
    )]
    SubjectName { actual: String },
    #[error("a subject is there twice")]
    SubjectDuplicate { name: String },
    #[error(
        "two subjects are one file where upper and lower case are alike, or one is a folder of the other"
    )]
    SubjectAlike { name: String },

    // expectations
    #[error("it was built from another repository")]
    Repository {
        expected: String,
        actual: Option<String>,
    },
    #[error("it was built from another ref")]
    Reference {
        expected: String,
        actual: Option<String>,
    },
    #[error("it was built from another commit")]
    Commit {
        expected: String,
        actual: Option<String>,
    },
    #[error("it was built from another archive than the one that was sent")]
    SourceArchive {
        expected: Sha256Digest,
        actual: Option<String>,
    },
    #[error("it was built from other files than those that were sent")]
    SourceTree {
        expected: GitOid,
        actual: Option<String>,
    },
    #[error("it was built with another value of the option {name}")]
    OptionMismatch {
        name: &'static str,
        expected: String,
        actual: Option<String>,
    },
    #[error("it was built with the option {name}, which nobody expected")]
    OptionUnexpected { name: &'static str, actual: String },
    #[error("{file} is no subject of the statement")]
    Artifact { file: String, sha256: Sha256Digest },

    // subjects
    #[error("{name} is a subject and not in the bundle")]
    SubjectMissing { name: String },
    #[error("{name} has other bytes than its subject")]
    SubjectDigest {
        name: String,
        expected: Sha256Digest,
        actual: Sha256Digest,
    },
    #[error("{name} is executable in one of bundle and statement, and not in the other")]
    SubjectMode {
        name: String,
        expected: bool,
        actual: bool,
    },
    #[error("{name} is in the bundle and no subject")]
    ArtifactUnlisted { name: String },
    #[error("{name} is recorded and not in the bundle")]
    RecordMissing { name: String },
    #[error("{name} has other bytes than recorded")]
    RecordDigest {
        name: String,
        expected: Sha256Digest,
        actual: Sha256Digest,
    },
    #[error("{name} is in the bundle and not recorded")]
    RecordUnlisted { name: String },
    #[error("the statement records two digests of one file")]
    RecordContradiction {
        expected: Sha256Digest,
        actual: Sha256Digest,
    },
}

/// Why the floor is the one of another processor.
fn highest_for(unlisted: &Option<Processor>) -> String {
    match unlisted {
        None => String::new(),
        Some(processor) => {
            format!(", the highest of the product, because none is known for {processor}")
        }
    }
}

impl Rejection {
    /// Whether waiving its check covers it. A revoked measurement is known to prove nothing: whoever wants to believe it
    /// needs a verifier that does not know of the revocation.
    pub const fn is_waivable(&self) -> bool {
        !matches!(
            self,
            Self::MeasurementRevoked { .. } | Self::Azure(AzureRejection::BootRevoked { .. })
        )
    }

    /// Its stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Bundle(error) => bundle_code(error),
            Self::Project { .. } => "project-mismatch",
            Self::EvidenceMissing => "evidence-missing",
            Self::EvidenceMalformed(_) => "evidence-malformed",
            Self::EvidenceEncoding { .. } => "evidence-encoding",
            Self::PlatformUnknown { .. } => "platform-unknown",
            Self::ReportLength { .. } => "report-length",
            Self::CertificateMissing => "certificate-missing",
            Self::CertificateMalformed {
                role: Role::Crl, ..
            } => "crl-malformed",
            Self::CertificateMalformed { .. } => "certificate-malformed",
            Self::IssuerUnknown {
                role: Role::Crl, ..
            } => "crl-issuer",
            Self::IssuerUnknown { .. } => "issuer-unknown",
            Self::CertificateAlgorithm {
                role: Role::Crl, ..
            } => "crl-algorithm",
            Self::CertificateAlgorithm { .. } => "certificate-algorithm",
            Self::CertificateSignature { role: Role::Crl } => "crl-signature",
            Self::CertificateSignature { .. } => "certificate-signature",
            Self::CertificateNotYetValid { .. } => "certificate-not-yet-valid",
            Self::CertificateExpired { .. } => "certificate-expired",
            Self::CriticalExtension {
                role: Role::Crl, ..
            } => "crl-critical-extension",
            Self::CriticalExtension { .. } => "critical-extension",
            Self::CertificateAuthority { .. } => "certificate-authority",
            Self::CertificateKey { .. } => "certificate-key",
            Self::CrlNotYetValid { .. } => "crl-not-yet-valid",
            Self::CrlOutOfDate { .. } => "crl-out-of-date",
            Self::Revoked { .. } => "certificate-revoked",
            Self::ChipKeyMasked => "chip-key-masked",
            Self::SigningKeyMismatch { .. } => "signing-key-mismatch",
            Self::CertificateSubject { .. } => "certificate-subject",
            Self::CertificateIssuerRole { .. } => "certificate-issuer-role",
            Self::ProductUnknown { .. } => "product-unknown",
            Self::ProductMismatch { .. } => "product-mismatch",
            Self::ExtensionMissing { .. } => "extension-missing",
            Self::ExtensionEncoding { .. } => "extension-encoding",
            Self::ChipIdZero => "chip-id-zero",
            Self::ChipIdMismatch { .. } => "chip-id-mismatch",
            Self::TcbMismatch { .. } => "tcb-mismatch",
            Self::ReportVersion { .. } => "report-version",
            Self::ReportAlgorithm { .. } => "report-algorithm",
            Self::ReportReserved { .. } => "report-reserved",
            Self::SignatureRange => "signature-range",
            Self::SignatureInvalid => "signature-invalid",
            Self::Debug { .. } => "policy-debug",
            Self::MigrationAgent { .. } => "policy-migration-agent",
            Self::PolicyReservedOne { .. } => "policy-reserved-one",
            Self::PolicyReserved { .. } => "policy-reserved",
            Self::Vmpl { .. } => "vmpl",
            Self::IdKey { .. } => "id-key",
            Self::AuthorKey { .. } => "author-key",
            Self::ReportedAboveCommitted { .. } => "tcb-reported-above-committed",
            Self::LaunchAboveCurrent { .. } => "tcb-launch-above-current",
            Self::BelowMinimum { .. } => "tcb-below-minimum",
            Self::BelowFloor { .. } => "tcb-below-floor",
            Self::AliasCheck { .. } => "alias-check-incomplete",
            Self::NoReferenceValues => "no-reference-values",
            Self::MeasurementUnknown { .. } => "measurement-unknown",
            Self::MeasurementRevoked { .. } => "measurement-revoked",
            Self::ImageClaim { .. } => "image-claim-mismatch",
            Self::Azure(rejection) => rejection.code(),
            Self::ProvenanceDigest { .. } => "provenance-digest",
            Self::ReportDataNonce { .. } => "report-data-nonce",
            Self::ReportDataTag { .. } => "report-data-tag",
            Self::SessionKey { .. } => "session-key",
            Self::SessionDocument { .. } => "session-document",
            Self::SessionKeyMissing => "session-key-missing",
            Self::NonceNotInReport { .. } => "nonce-not-in-report",
            Self::NonceNotInProvenance { .. } => "nonce-not-in-provenance",
            Self::StatementMalformed(_) => "statement-malformed",
            Self::StatementType { .. } => "statement-type",
            Self::PredicateType { .. } => "predicate-type",
            Self::BuildType { .. } => "build-type-unknown",
            Self::Builder { .. } => "builder-unknown",
            Self::ExternalParameter { .. } => "external-parameter-unknown",
            Self::SourceParameter => "source-parameter",
            Self::NonceSyntax { .. } => "nonce-syntax",
            Self::DigestSyntax { .. } => "digest-syntax",
            Self::NoSubject => "subject-none",
            Self::SubjectName { .. } => "subject-name",
            Self::SubjectDuplicate { .. } => "subject-duplicate",
            Self::SubjectAlike { .. } => "subject-alike",
            Self::Repository { .. } => "repository-mismatch",
            Self::Reference { .. } => "ref-mismatch",
            Self::Commit { .. } => "commit-mismatch",
            Self::SourceArchive { .. } => "source-archive-mismatch",
            Self::SourceTree { .. } => "source-tree-mismatch",
            Self::OptionMismatch { .. } => "option-mismatch",
            Self::OptionUnexpected { .. } => "option-unexpected",
            Self::Artifact { .. } => "artifact-not-a-subject",
            Self::SubjectMissing { .. } => "subject-missing",
            Self::SubjectDigest { .. } => "subject-digest",
            Self::SubjectMode { .. } => "subject-mode",
            Self::ArtifactUnlisted { .. } => "artifact-unlisted",
            Self::RecordMissing { .. } => "record-missing",
            Self::RecordDigest { .. } => "record-digest",
            Self::RecordUnlisted { .. } => "record-unlisted",
            Self::RecordContradiction { .. } => "record-contradiction",
        }
    }

    /// Both sides of the comparison, where there are two.
    pub fn sides(&self) -> Sides {
        match self {
            Self::PlatformUnknown { actual } => sides("snp", actual),
            Self::ReportLength { actual } => sides(REPORT_BYTES, actual),
            Self::IssuerUnknown {
                trusted, actual, ..
            } => sides(trusted.join(" | "), actual),
            Self::CertificateAlgorithm { actual, .. } => sides(
                "RSASSA-PSS, SHA-384, MGF1 with SHA-384, 48 bytes of salt",
                actual,
            ),
            Self::CertificateNotYetValid { not_before, at, .. } => sides(not_before, at),
            Self::CertificateExpired { not_after, at, .. } => sides(not_after, at),
            Self::CriticalExtension { oid, .. } => (None, Some(oid.clone())),
            Self::CertificateAuthority { expected, .. } => sides(expected, !expected),
            Self::CertificateKey {
                expected, actual, ..
            }
            | Self::CertificateSubject {
                expected, actual, ..
            }
            | Self::CertificateIssuerRole {
                expected, actual, ..
            } => sides(expected, actual),
            Self::CrlNotYetValid { this_update, at } => sides(this_update, at),
            Self::CrlOutOfDate { next_update, at } => (
                next_update.map(|moment| moment.to_string()),
                Some(at.to_string()),
            ),
            Self::Revoked { serial, .. } => (None, Some(serial.clone())),
            Self::SigningKeyMismatch {
                certificate,
                report,
            } => (
                Some(report.to_string()),
                certificate.map(|kind| kind.to_string()),
            ),
            Self::ProductUnknown { actual } => {
                sides(Product::ALL.map(Product::name).join(" | "), actual)
            }
            Self::ProductMismatch { expected, actual } => sides(expected, actual),
            Self::ExtensionEncoding { value, .. } => (None, Some(value.clone())),
            Self::ChipIdMismatch {
                certificate,
                report,
            } => sides(certificate, report),
            Self::TcbMismatch {
                certificate,
                report,
            } => sides(certificate, report),
            Self::ReportVersion { actual } => {
                sides(format!("{MIN_VERSION} to {MAX_VERSION}"), actual)
            }
            Self::ReportAlgorithm { actual } => sides(ECDSA_P384_SHA384, actual),
            Self::ReportReserved { offset } => sides("0", format!("not 0 at {offset:#x}")),
            Self::Debug { policy }
            | Self::MigrationAgent { policy }
            | Self::PolicyReservedOne { policy }
            | Self::PolicyReserved { policy } => (None, Some(policy.to_string())),
            Self::Vmpl { actual } => sides(0, actual),
            Self::IdKey { expected, actual } | Self::AuthorKey { expected, actual } => {
                sides(expected, actual)
            }
            Self::ReportedAboveCommitted {
                committed,
                reported,
                ..
            } => sides(format!("at most {committed}"), reported),
            Self::LaunchAboveCurrent {
                current, launch, ..
            } => sides(format!("at most {current}"), launch),
            Self::BelowMinimum {
                minimum, reported, ..
            } => (
                Some(format!("at least {minimum}")),
                reported.map(|reported| reported.to_string()),
            ),
            Self::BelowFloor {
                floor, reported, ..
            } => (
                Some(format!("at least {}", floor.minimum)),
                reported.map(|reported| reported.to_string()),
            ),
            Self::AliasCheck { platform_info, .. } => sides(
                format!("{:#x} set", PlatformInfo::ALIAS_CHECK_COMPLETE),
                platform_info,
            ),
            Self::MeasurementUnknown {
                expected, actual, ..
            } => sides(joined(expected), actual),
            Self::MeasurementRevoked { actual, .. } => (None, Some(actual.to_string())),
            Self::ImageClaim {
                expected, actual, ..
            } => (
                Some(expected.to_string()),
                actual.map(|actual| actual.to_string()),
            ),
            Self::Azure(rejection) => rejection.sides(),
            Self::ProvenanceDigest { expected, actual } => sides(expected, actual),
            Self::ReportDataNonce { provenance, report } => {
                (provenance.as_ref().map(padded), Some(report.clone()))
            }
            Self::ReportDataTag { expected, actual } => sides(expected, actual),
            Self::SessionKey { expected, actual } | Self::SessionDocument { expected, actual } => {
                sides(expected, actual)
            }
            Self::NonceNotInReport { expected, actual } => sides(padded(expected), actual),
            Self::NonceNotInProvenance { expected, actual } => (
                Some(expected.to_string()),
                actual.as_ref().map(Nonce::to_string),
            ),
            Self::StatementType { actual } => sides(crate::provenance::STATEMENT_TYPE, actual),
            Self::PredicateType { actual } => sides(crate::provenance::PREDICATE_TYPE, actual),
            Self::BuildType { expected, actual } => sides(expected.join(" | "), actual),
            Self::Builder { expected, actual } => sides(expected.join(" | "), actual),
            Self::ExternalParameter { actual }
            | Self::NonceSyntax { actual }
            | Self::SubjectName { actual }
            | Self::SubjectAlike { name: actual } => (None, Some(actual.clone())),
            Self::Repository { expected, actual }
            | Self::Reference { expected, actual }
            | Self::Commit { expected, actual }
            | Self::OptionMismatch {
                expected, actual, ..
            } => (Some(expected.clone()), actual.clone()),
            Self::SourceArchive { expected, actual } => {
                (Some(expected.to_string()), actual.clone())
            }
            Self::SourceTree { expected, actual } => (Some(expected.to_string()), actual.clone()),
            Self::OptionUnexpected { actual, .. } => (None, Some(actual.clone())),
            Self::Artifact { sha256, .. } => (None, Some(sha256.to_string())),
            Self::SubjectMode {
                expected, actual, ..
            } => sides(executable(*expected), executable(*actual)),
            Self::SubjectDigest {
                expected, actual, ..
            }
            | Self::RecordDigest {
                expected, actual, ..
            }
            | Self::RecordContradiction { expected, actual } => sides(expected, actual),
            Self::Bundle(ReadError::Limit { size, limit, .. }) => {
                sides(format!("at most {limit}"), size)
            }
            Self::Bundle(ReadError::NotCanonical {
                expected, actual, ..
            })
            | Self::Project { expected, actual } => sides(expected, actual),
            Self::Bundle(_)
            | Self::EvidenceMissing
            | Self::EvidenceMalformed(_)
            | Self::EvidenceEncoding { .. }
            | Self::CertificateMissing
            | Self::CertificateMalformed { .. }
            | Self::CertificateSignature { .. }
            | Self::ChipKeyMasked
            | Self::ExtensionMissing { .. }
            | Self::ChipIdZero
            | Self::SignatureRange
            | Self::SignatureInvalid
            | Self::NoReferenceValues
            | Self::SessionKeyMissing
            | Self::StatementMalformed(_)
            | Self::SourceParameter
            | Self::DigestSyntax { .. }
            | Self::NoSubject
            | Self::SubjectDuplicate { .. }
            | Self::SubjectMissing { .. }
            | Self::ArtifactUnlisted { .. }
            | Self::RecordMissing { .. }
            | Self::RecordUnlisted { .. } => (None, None),
        }
    }
}

fn executable(is_executable: bool) -> &'static str {
    if is_executable {
        "executable"
    } else {
        "not executable"
    }
}

/// The nonce as its field of the report data has it.
fn padded(nonce: &Nonce) -> String {
    hex::encode(nonce.padded())
}

fn joined(measurements: &[LaunchMeasurement]) -> String {
    /// How many are shown; a release has one for each vCPU type and count.
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
