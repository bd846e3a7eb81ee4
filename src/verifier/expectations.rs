//! The values that the reader of a bundle expects.
//!
//! * In: the reader's own options.
//! * Out: values to compare with.
//! * Never: something read from the bundle.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::digest::{GitOid, Sha256Digest};
use crate::provenance::Nonce;
use crate::snp::tcb::Component;

use super::chosen::ExpectedOption;
use super::endorsements::TrustRoots;
use super::reference::ReferenceValues;
use super::result::Check;

/// Everything that one verification compares with.
#[derive(Clone, Debug)]
pub struct Expectations {
    /// The roots that are trusted.
    pub roots: TrustRoots,
    /// The moment of interest, in seconds since 1970.
    pub at: u64,
    /// The launch measurements that are accepted.
    pub references: ReferenceValues,
    /// The nonce that the reader chose.
    pub nonce: Option<Nonce>,
    /// A VCEK or VLEK, DER or PEM, to use instead of the bundle's.
    pub certificate: Option<Vec<u8>>,
    /// A revocation list, DER or PEM.
    pub crl: Option<Vec<u8>>,
    /// The lowest reported TCB version that is accepted.
    pub minimum_tcb: MinimumTcb,
    /// The URL of the repository that the source must come from.
    pub repository: Option<String>,
    /// The ref that the client must have requested, literally.
    pub reference: Option<String>,
    /// The commit that must have been built.
    pub commit: Option<GitOid>,
    /// SHA-256 of the archive that the reader sent as the source.
    pub source_archive: Option<Sha256Digest>,
    /// Git's id of the tree that the reader sent as the source.
    pub source_tree: Option<GitOid>,
    /// Files that the reader has, each of which must be a subject.
    pub artifacts: Vec<ExpectedArtifact>,
    /// Options that the client must have chosen.
    pub options: Vec<ExpectedOption>,
    /// Whether any other option is refused.
    pub no_other_options: bool,
    /// Checks whose rejection is shown and does not count.
    pub waived: BTreeSet<Waivable>,
}

impl Expectations {
    /// Expects nothing beyond valid evidence of a known image.
    pub fn new(roots: TrustRoots, at: u64, references: ReferenceValues) -> Self {
        Self {
            roots,
            at,
            references,
            nonce: None,
            certificate: None,
            crl: None,
            minimum_tcb: MinimumTcb::default(),
            repository: None,
            reference: None,
            commit: None,
            source_archive: None,
            source_tree: None,
            artifacts: Vec::new(),
            options: Vec::new(),
            no_other_options: false,
            waived: BTreeSet::new(),
        }
    }
}

/// A file that must be a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedArtifact {
    /// The name under which the reader knows it.
    pub file: String,
    /// The digest of its bytes.
    pub sha256: Sha256Digest,
}

/// The checks that may be waived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Waivable {
    /// `certificate-binding`.
    CertificateBinding,
    /// `guest-policy`.
    GuestPolicy,
    /// `tcb`.
    Tcb,
    /// `launch-measurement`.
    LaunchMeasurement,
    /// `boot-measurement`.
    BootMeasurement,
}

impl Waivable {
    const ALL: [Self; 5] = [
        Self::CertificateBinding,
        Self::GuestPolicy,
        Self::Tcb,
        Self::LaunchMeasurement,
        Self::BootMeasurement,
    ];

    /// Returns the check that is waived.
    pub const fn check(self) -> Check {
        match self {
            Self::CertificateBinding => Check::CertificateBinding,
            Self::GuestPolicy => Check::GuestPolicy,
            Self::Tcb => Check::Tcb,
            Self::LaunchMeasurement => Check::LaunchMeasurement,
            Self::BootMeasurement => Check::BootMeasurement,
        }
    }
}

/// The name that was given is not that of a check that may be waived.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{name:?} cannot be waived; certificate-binding, guest-policy, tcb, launch-measurement and \
     boot-measurement can"
)]
pub struct NotWaivable {
    /// The name as it was given.
    pub name: String,
}

impl FromStr for Waivable {
    type Err = NotWaivable;

    fn from_str(name: &str) -> Result<Self, NotWaivable> {
        let found = Self::ALL
            .into_iter()
            .find(|waivable| waivable.check().name() == name);
        found.ok_or_else(|| NotWaivable {
            name: name.to_owned(),
        })
    }
}

/// The lowest version that the reader accepts for some components. The others have to be at the
/// floor that was compiled in, unless the reader takes any firmware.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MinimumTcb {
    given: [Option<u8>; Component::ALL.len()],
    takes_any: bool,
}

/// Why text is no minimum TCB version.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum MinimumTcbError {
    #[error(
        "{part:?} is not one of bootloader=N, tee=N, snp=N, microcode=N, fmc=N with N from 0 to \
         255, and not none alone"
    )]
    Part { part: String },
    #[error("{component} is repeated")]
    Repeated { component: Component },
}

impl MinimumTcb {
    /// The option's value for any firmware.
    const NONE: &str = "none";

    /// Accepts any firmware, however old.
    pub const fn none() -> Self {
        Self {
            given: [None; Component::ALL.len()],
            takes_any: true,
        }
    }

    /// Returns whether the reader accepts any firmware.
    pub const fn takes_any(&self) -> bool {
        self.takes_any
    }

    /// Returns the minimum that the reader gave for a component, if there is one.
    pub fn of(&self, component: Component) -> Option<u8> {
        self.given[component as usize]
    }
}

impl FromStr for MinimumTcb {
    type Err = MinimumTcbError;

    fn from_str(text: &str) -> Result<Self, MinimumTcbError> {
        if text == Self::NONE {
            return Ok(Self::none());
        }
        let mut minimum = Self::default();
        for part in text.split(',') {
            let (component, version) = minimum_part(part).ok_or_else(|| MinimumTcbError::Part {
                part: part.to_owned(),
            })?;
            if minimum.given[component as usize].replace(version).is_some() {
                return Err(MinimumTcbError::Repeated { component });
            }
        }
        Ok(minimum)
    }
}

fn minimum_part(part: &str) -> Option<(Component, u8)> {
    let (name, version) = part.split_once('=')?;
    let component = Component::ALL
        .into_iter()
        .find(|component| component.name() == name)?;
    if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((component, version.parse().ok()?))
}

/// A repository URL as it is compared: without trailing `/` and `.git`, scheme and host in lower
/// case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryName(String);

impl RepositoryName {
    /// Normalises a URL.
    pub fn of(url: &str) -> Self {
        let url = url.trim_end_matches('/');
        let url = url
            .strip_suffix(".git")
            .unwrap_or(url)
            .trim_end_matches('/');
        let Some((scheme, rest)) = url.split_once("://") else {
            return Self(url.to_owned());
        };
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        Self(format!(
            "{}://{}{path}",
            scheme.to_ascii_lowercase(),
            host.to_ascii_lowercase()
        ))
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minimum_tcb_takes_any_subset_once() {
        let minimum: MinimumTcb = "snp=22,fmc=0".parse().unwrap();
        assert_eq!(
            (minimum.of(Component::Snp), minimum.of(Component::Fmc)),
            (Some(22), Some(0))
        );
        assert_eq!(minimum.of(Component::Tee), None);
        assert!(!minimum.takes_any() && "none".parse::<MinimumTcb>().unwrap().takes_any());
        for text in [
            "",
            "snp",
            "snp=",
            "snp=256",
            "snp=+1",
            "SNP=1",
            "spl=1",
            "snp=1,",
            "snp=1 ",
            "None",
            "none,snp=1",
        ] {
            assert!(
                matches!(
                    text.parse::<MinimumTcb>(),
                    Err(MinimumTcbError::Part { .. })
                ),
                "{text}"
            );
        }
        let repeated = MinimumTcbError::Repeated {
            component: Component::Snp,
        };
        assert_eq!("snp=1,snp=1".parse::<MinimumTcb>(), Err(repeated));
    }

    #[test]
    fn repositories_are_compared_without_what_servers_ignore() {
        let name = RepositoryName::of("https://example.org/a/B");
        for same in [
            "HTTPS://Example.ORG/a/B",
            "https://example.org/a/B/",
            "https://example.org/a/B.git",
            "https://example.org/a/B.git/",
        ] {
            assert_eq!(RepositoryName::of(same), name, "{same}");
        }
        for other in [
            "http://example.org/a/B",
            "https://example.org/a/b",
            "https://example.org/a/B.git.git",
            "example.org/a/B",
        ] {
            assert_ne!(RepositoryName::of(other), name, "{other}");
        }
    }

    #[test]
    fn five_checks_can_be_waived_and_no_other() {
        assert_eq!("tcb".parse(), Ok(Waivable::Tcb));
        assert_eq!("boot-measurement".parse(), Ok(Waivable::BootMeasurement));
        for name in [
            "",
            "report-signature",
            "endorsements",
            "nonce",
            "TCB",
            "runtime-data",
            "paravisor",
            "quote",
        ] {
            assert!(name.parse::<Waivable>().is_err(), "{name}");
        }
    }
}
