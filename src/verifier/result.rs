//! The attestation result. Comes in: what each check found. Goes out: outcomes in the order of the checks, and one verdict.
//! Never: an accepted bundle with a rejection that nobody waived, or with a check that was not reached.

use serde_json::{Map, Value};

use super::rejection::Rejection;

/// What kind of machine evidence is of. Each kind has its own checks between `tcb` and `report-data`, and a bundle of one
/// is never accepted by those of another.
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

/// What is checked, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// The bundle can be read, and has one statement and one evidence.
    Bundle,
    /// The VCEK or VLEK is AMD's.
    Endorsements,
    /// It is for this report.
    CertificateBinding,
    /// It signed this report.
    ReportSignature,
    /// Nobody can look into the guest.
    GuestPolicy,
    /// The firmware is in order and new enough.
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
    /// It is about the reader's nonce.
    Nonce,
    /// The statement is one that is understood.
    Statement,
    /// It says what the reader expects.
    Expectations,
    /// What is signed for other tools is this statement, by the key that it names.
    Envelope,
    /// The files are what it says.
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

    /// Returns whether evidence of a platform goes through it.
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

/// What became of a check.
#[derive(Debug)]
pub enum Outcome {
    /// It holds.
    Pass,
    /// It does not.
    Reject(Rejection),
    /// It was waived; with what it would have said, if it did not hold.
    Waived(Option<Rejection>),
    /// Nobody asked for it.
    NotChecked,
    /// What it builds on does not hold.
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

    /// The rejection, also one that was waived.
    pub const fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Reject(rejection) | Self::Waived(Some(rejection)) => Some(rejection),
            _ => None,
        }
    }

    /// Whether the reader did not want to know.
    pub const fn is_waived(&self) -> bool {
        matches!(self, Self::Waived(_))
    }

    /// Whether a bundle may be accepted with it.
    const fn is_acceptable(&self) -> bool {
        matches!(self, Self::Pass | Self::Waived(_) | Self::NotChecked)
    }
}

/// What a verifier found.
#[derive(Debug)]
pub struct AttestationResult {
    platform: Platform,
    outcomes: [Outcome; Check::ALL.len()],
    claims: Map<String, Value>,
}

impl AttestationResult {
    /// Nothing was reached.
    pub(super) fn new(platform: Platform) -> Self {
        Self {
            platform,
            outcomes: Check::ALL.map(|_| Outcome::NotReached),
            claims: Map::new(),
        }
    }

    /// Returns the platform whose checks these are. Of evidence that names none that is known, that is `snp`.
    pub fn platform(&self) -> Platform {
        self.platform
    }

    pub(super) fn set(&mut self, check: Check, outcome: Outcome) {
        self.outcomes[check as usize] = outcome;
    }

    /// Claims of something that is rejected are nobody's and stay out.
    pub(super) fn set_claims(&mut self, claims: Map<String, Value>) {
        if self.is_accepted() {
            self.claims = claims;
        }
    }

    /// What became of a check.
    pub fn outcome(&self, check: Check) -> &Outcome {
        &self.outcomes[check as usize]
    }

    /// Every check of the platform with its outcome, in order.
    pub fn outcomes(&self) -> impl Iterator<Item = (Check, &Outcome)> {
        Check::ALL
            .into_iter()
            .zip(&self.outcomes)
            .filter(|(check, _)| check.is_of(self.platform))
    }

    /// The verdict.
    pub fn is_accepted(&self) -> bool {
        self.outcomes().all(|(_, outcome)| outcome.is_acceptable())
    }

    /// What is established by an accepted bundle; empty for a rejected one.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }
}
