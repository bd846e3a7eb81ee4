//! The attestation result.
//!
//! * In: the outcome of each check.
//! * Out: the outcomes in the order of the checks, and one verdict.
//! * Never: an accepted bundle with a rejection that nobody waived, or with a check that was not
//!   reached.

use serde_json::{Map, Value};

use super::rejection::Rejection;

/// The kind of machine that evidence comes from. Each kind has its own checks between `tcb` and
/// `report-data`, and a bundle of one kind is never accepted by the checks of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Platform {
    /// The launch measurement covers firmware, kernel, initrd and command line.
    #[default]
    Snp,
    /// The launch measurement covers Microsoft's paravisor, whose TPM speaks for the rest.
    AzSnp,
}

impl Platform {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Snp, Self::AzSnp];

    /// Returns its name in evidence.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Snp => "snp",
            Self::AzSnp => "az-snp",
        }
    }
}

/// The checks of the verifier, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// The bundle can be read, and has one statement and one evidence.
    Bundle,
    /// The VCEK or VLEK is AMD's.
    Endorsements,
    /// The certificate is the one for this report.
    CertificateBinding,
    /// The certificate's key signed this report.
    ReportSignature,
    /// The guest policy keeps the host out of the guest.
    GuestPolicy,
    /// The firmware's versions are consistent and new enough.
    Tcb,
    /// The guest is a published image.
    LaunchMeasurement,
    /// The report is about the claims that name the TPM's key.
    RuntimeData,
    /// Microsoft signed the paravisor, and it is new enough.
    Paravisor,
    /// The TPM signed its registers.
    Quote,
    /// The machine started a published image.
    BootMeasurement,
    /// The report is about this statement.
    ReportData,
    /// Report and statement have the reader's nonce.
    Nonce,
    /// The statement has a known form, and a builder that is accepted.
    Statement,
    /// Source, options and artifacts are those that the reader expects.
    Expectations,
    /// The signed statement is this statement, signed by the key that it names.
    Envelope,
    /// The files are those that the statement names.
    Subjects,
}

impl Check {
    /// All of them, in order.
    pub const ALL: [Self; 17] = [
        Self::Bundle,
        Self::Endorsements,
        Self::CertificateBinding,
        Self::ReportSignature,
        Self::GuestPolicy,
        Self::Tcb,
        Self::LaunchMeasurement,
        Self::RuntimeData,
        Self::Paravisor,
        Self::Quote,
        Self::BootMeasurement,
        Self::ReportData,
        Self::Nonce,
        Self::Statement,
        Self::Expectations,
        Self::Envelope,
        Self::Subjects,
    ];

    /// Returns whether the check applies to evidence of a platform.
    pub const fn is_of(self, platform: Platform) -> bool {
        match self {
            Self::LaunchMeasurement => matches!(platform, Platform::Snp),
            Self::RuntimeData | Self::Paravisor | Self::Quote | Self::BootMeasurement => {
                matches!(platform, Platform::AzSnp)
            }
            _ => true,
        }
    }

    /// Its name in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bundle => "bundle",
            Self::Endorsements => "endorsements",
            Self::CertificateBinding => "certificate-binding",
            Self::ReportSignature => "report-signature",
            Self::GuestPolicy => "guest-policy",
            Self::Tcb => "tcb",
            Self::LaunchMeasurement => "launch-measurement",
            Self::RuntimeData => "runtime-data",
            Self::Paravisor => "paravisor",
            Self::Quote => "quote",
            Self::BootMeasurement => "boot-measurement",
            Self::ReportData => "report-data",
            Self::Nonce => "nonce",
            Self::Statement => "statement",
            Self::Expectations => "expectations",
            Self::Envelope => "envelope",
            Self::Subjects => "subjects",
        }
    }
}

/// The outcome of one check.
#[derive(Debug)]
pub enum Outcome {
    /// The check holds.
    Pass,
    /// The check does not hold, for this reason.
    Reject(Rejection),
    /// The check was waived; with the rejection, if it did not hold.
    Waived(Option<Rejection>),
    /// The reader did not ask for the check.
    NotChecked,
    /// A check that this one depends on does not hold.
    NotReached,
}

impl Outcome {
    /// Its name in output.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Reject(_) => "reject",
            Self::Waived(_) => "waived",
            Self::NotChecked => "not-checked",
            Self::NotReached => "not-reached",
        }
    }

    /// Returns the rejection, also one that was waived.
    pub const fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Reject(rejection) | Self::Waived(Some(rejection)) => Some(rejection),
            _ => None,
        }
    }

    /// Returns whether the reader waived the check.
    pub const fn is_waived(&self) -> bool {
        matches!(self, Self::Waived(_))
    }

    /// Returns whether a bundle may be accepted with this outcome.
    const fn is_acceptable(&self) -> bool {
        matches!(self, Self::Pass | Self::Waived(_) | Self::NotChecked)
    }
}

/// The outcomes of all checks on a bundle, or on a session's evidence.
#[derive(Debug)]
pub struct AttestationResult {
    platform: Platform,
    outcomes: [Outcome; Check::ALL.len()],
    claims: Map<String, Value>,
}

impl AttestationResult {
    /// Returns a result in which no check was reached yet.
    pub(super) fn new(platform: Platform) -> Self {
        Self {
            platform,
            outcomes: Check::ALL.map(|_| Outcome::NotReached),
            claims: Map::new(),
        }
    }

    /// Returns the platform whose checks these are; `snp` for evidence that names no known
    /// platform.
    pub fn platform(&self) -> Platform {
        self.platform
    }

    pub(super) fn set(&mut self, check: Check, outcome: Outcome) {
        self.outcomes[check as usize] = outcome;
    }

    /// Sets the claims of an accepted result. Those of a rejected one prove nothing and are
    /// dropped.
    pub(super) fn set_claims(&mut self, claims: Map<String, Value>) {
        if self.is_accepted() {
            self.claims = claims;
        }
    }

    /// Returns the outcome of a check.
    pub fn outcome(&self, check: Check) -> &Outcome {
        &self.outcomes[check as usize]
    }

    /// Returns every check of the platform with its outcome, in order.
    pub fn outcomes(&self) -> impl Iterator<Item = (Check, &Outcome)> {
        Check::ALL
            .into_iter()
            .zip(&self.outcomes)
            .filter(|(check, _)| check.is_of(self.platform))
    }

    /// Returns the verdict: whether every check of the platform is acceptable.
    pub fn is_accepted(&self) -> bool {
        self.outcomes().all(|(_, outcome)| outcome.is_acceptable())
    }

    /// Returns the claims that an accepted bundle establishes; empty for a rejected one.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }
}

/// Returns claims with names as a JSON object takes them.
pub(super) fn owned<const N: usize>(claims: [(&str, Value); N]) -> [(String, Value); N] {
    claims.map(|(name, value)| (name.to_owned(), value))
}
