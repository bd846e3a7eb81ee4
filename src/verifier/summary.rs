//! A verification summary (SLSA): a verdict that an organisation signs with its own key, for people
//! who trust that key and do not want to appraise hardware evidence themselves.
//!
//! * In: a bundle that was read, the verdict about it, and the verifier's name; or a summary and
//!   its reader's expectations.
//! * Out: the in-toto statement that is to be signed; or the level that a signed one states.
//! * Never: a level whose requirements the verdict does not show, or a summary of a bundle without
//!   artifacts.
//!
//! Format: <https://slsa.dev/spec/v1.0/verification_summary>. `slsa.md` lists what meets each
//! requirement.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::expectations::ExpectedArtifact;
use super::json::{self, JsonError};
use super::result::AttestationResult;
use crate::bundle::{names, read::Bundle};
use crate::digest::Sha256Digest;
use crate::provenance::STATEMENT_TYPE;

/// The predicate type of verification summaries.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/verification_summary/v1";

/// The id of the verifier, unless the caller gives one.
pub const VERIFIER_ID: &str = "https://kettle.build/verifier/v1";

/// The id of the policy where no file was given: the requirements of this version of the verifier
/// for every bundle.
pub const DEFAULT_POLICY: &str = "https://kettle.build/verifier/v1/policy/default";

/// The version of SLSA that defines the levels.
const SLSA_VERSION: &str = "1.0";

/// A level of the build track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing is promised about the build.
    Build0,
    /// Provenance of the artifacts exists.
    Build1,
    /// A hosted platform wrote the provenance and signed it.
    Build2,
    /// That platform is hardened: builds are isolated, and cannot forge their provenance.
    Build3,
}

impl Level {
    /// All levels, the lowest first.
    pub const ALL: [Self; 4] = [Self::Build0, Self::Build1, Self::Build2, Self::Build3];

    /// Returns the level's name in summaries (SlsaResult).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Build0 => "SLSA_BUILD_LEVEL_0",
            Self::Build1 => "SLSA_BUILD_LEVEL_1",
            Self::Build2 => "SLSA_BUILD_LEVEL_2",
            Self::Build3 => "SLSA_BUILD_LEVEL_3",
        }
    }

    /// Returns the level of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }

    /// Returns the level that an accepted result shows. A waived check leaves open whether the
    /// evidence is about a published image at all, so only the provenance itself counts; an
    /// artifact that was only downloaded was built elsewhere.
    fn shown_by(result: &AttestationResult) -> Self {
        if result.claims().get("built_here") == Some(&Value::Bool(false)) {
            return Self::Build0;
        }
        if result.outcomes().any(|(_, outcome)| outcome.is_waived()) {
            return Self::Build1;
        }
        Self::Build3
    }
}

/// The verifier, the subject and the rules that a summary names.
#[derive(Clone, Debug)]
pub struct About<'a> {
    /// The URI of the verifier.
    pub verifier_id: &'a str,
    /// The URI of the resource that the artifacts are, such as a package URL.
    pub resource_uri: &'a str,
    /// The time of the verification, RFC 3339.
    pub time_verified: &'a str,
    /// The name of the policy file, and the digest of its bytes.
    pub policy: Option<(String, Sha256Digest)>,
    /// The options that were given outside of the policy file, with their values.
    pub options: Value,
}

/// The bundle has no artifact that a summary could be about.
#[derive(Debug, thiserror::Error)]
#[error("there is no summary: the bundle has no artifact that could be its subject")]
pub struct NoSubject;

/// The parts of a bundle that its summary names: the digests of its artifacts, of its provenance
/// and of its evidence.
pub struct Summarised {
    subject: Vec<Descriptor>,
    attestations: Vec<Descriptor>,
}

impl Summarised {
    /// Takes the digests that were computed when the bundle was read.
    ///
    /// # Errors
    /// The bundle has no artifact.
    pub fn of(bundle: &Bundle) -> Result<Self, NoSubject> {
        if bundle.artifacts.is_empty() {
            return Err(NoSubject);
        }
        let artifacts = bundle.artifacts.iter();
        let subject = artifacts.map(|file| Descriptor::named(&file.name, file.sha256));
        let provenance = Sha256Digest::of(&bundle.provenance);
        let mut attestations = vec![Descriptor::at(names::PROVENANCE, provenance)];
        if let Some(evidence) = &bundle.evidence {
            attestations.push(Descriptor::at(names::EVIDENCE, Sha256Digest::of(evidence)));
        }
        Ok(Self {
            subject: subject.collect(),
            attestations,
        })
    }
}

/// Returns the statement that is to be signed.
///
/// For a rejected bundle it names the artifacts in the bundle, and says that they failed.
pub fn statement(bundle: Summarised, result: &AttestationResult, about: &About<'_>) -> Vec<u8> {
    let (verdict, level) = if result.is_accepted() {
        ("PASSED", Level::shown_by(result).name())
    } else {
        ("FAILED", "FAILED")
    };
    let statement = Statement {
        statement_type: STATEMENT_TYPE.to_owned(),
        subject: bundle.subject,
        predicate_type: PREDICATE_TYPE.to_owned(),
        predicate: Predicate {
            verifier: Verifier {
                id: about.verifier_id.to_owned(),
                version: Some(serde_json::json!({"kettle": env!("CARGO_PKG_VERSION")})),
            },
            time_verified: about.time_verified.to_owned(),
            resource_uri: about.resource_uri.to_owned(),
            policy: about.policy(),
            input_attestations: bundle.attestations,
            verification_result: verdict.to_owned(),
            verified_levels: vec![level.to_owned()],
            slsa_version: Some(SLSA_VERSION.to_owned()),
        },
    };
    // Serialising cannot fail: all keys are strings.
    serde_json::to_vec(&statement).unwrap_or_default()
}

impl About<'_> {
    fn policy(&self) -> Descriptor {
        let mut policy = match &self.policy {
            Some((name, sha256)) => Descriptor::at(name, *sha256),
            None => Descriptor {
                uri: Some(DEFAULT_POLICY.to_owned()),
                ..Descriptor::default()
            },
        };
        if self
            .options
            .as_object()
            .is_some_and(|given| !given.is_empty())
        {
            policy.annotations = Some(serde_json::json!({"options": self.options}));
        }
        policy
    }
}

/// The values that the reader of a summary expects.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The URI of the verifier that must have made it.
    pub verifier_id: &'a str,
    /// The URI of the resource that it has to be about.
    pub resource_uri: &'a str,
    /// The files that have to be subjects.
    pub artifacts: &'a [ExpectedArtifact],
    /// The lowest level of the build track that is accepted.
    pub level: Level,
}

/// Why a summary, whose signature was verified, is not the expected one. Both sides of a comparison
/// are in the text.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum SummaryError {
    #[error("it is not a verification summary")]
    Form(#[source] JsonError),
    #[error("its {field} is {actual:?}, expected {expected:?}")]
    Field {
        field: &'static str,
        expected: String,
        actual: String,
    },
    #[error("{file}: {sha256} is not one of its subjects")]
    NotASubject { file: String, sha256: Sha256Digest },
    #[error("its levels are {actual}, expected at least {}", expected.name())]
    Level { expected: Level, actual: String },
}

/// Compares the payload of a signed summary with what its reader expects, and returns the highest
/// level of the build track.
///
/// # Errors
/// The first difference.
pub fn appraise(payload: &[u8], wanted: &Wanted<'_>) -> Result<Level, SummaryError> {
    let statement: Statement = json::read(payload).map_err(SummaryError::Form)?;
    let predicate = &statement.predicate;
    for (field, expected, actual) in [
        ("_type", STATEMENT_TYPE, &statement.statement_type),
        ("predicateType", PREDICATE_TYPE, &statement.predicate_type),
        ("verifier.id", wanted.verifier_id, &predicate.verifier.id),
        ("resourceUri", wanted.resource_uri, &predicate.resource_uri),
        (
            "verificationResult",
            "PASSED",
            &predicate.verification_result,
        ),
    ] {
        if expected != actual {
            return Err(SummaryError::Field {
                field,
                expected: expected.to_owned(),
                actual: actual.clone(),
            });
        }
    }
    for artifact in wanted.artifacts {
        appraise_artifact(&statement.subject, artifact)?;
    }
    appraise_level(&predicate.verified_levels, wanted.level)
}

fn appraise_artifact(
    subjects: &[Descriptor],
    artifact: &ExpectedArtifact,
) -> Result<(), SummaryError> {
    let hex = artifact.sha256.to_string();
    if subjects
        .iter()
        .any(|subject| subject.digest["sha256"] == *hex)
    {
        return Ok(());
    }
    Err(SummaryError::NotASubject {
        file: artifact.file.clone(),
        sha256: artifact.sha256,
    })
}

/// Returns the highest level that is named; the names of other tracks are passed over.
fn appraise_level(names: &[String], expected: Level) -> Result<Level, SummaryError> {
    let highest = names.iter().filter_map(|name| Level::named(name)).max();
    match highest {
        Some(level) if level >= expected => Ok(level),
        _ => Err(SummaryError::Level {
            expected,
            actual: names.join(", "),
        }),
    }
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    statement_type: String,
    subject: Vec<Descriptor>,
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Predicate {
    verifier: Verifier,
    time_verified: String,
    resource_uri: String,
    policy: Descriptor,
    #[serde(default)]
    input_attestations: Vec<Descriptor>,
    verification_result: String,
    verified_levels: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slsa_version: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct Verifier {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<Value>,
}

/// The members of in-toto's ResourceDescriptor that a summary needs.
#[derive(Default, Deserialize, Serialize)]
struct Descriptor {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    digest: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Value>,
}

impl Descriptor {
    fn named(name: &str, sha256: Sha256Digest) -> Self {
        Self {
            name: Some(name.to_owned()),
            digest: digest_set(sha256),
            ..Self::default()
        }
    }

    fn at(uri: &str, sha256: Sha256Digest) -> Self {
        Self {
            uri: Some(uri.to_owned()),
            digest: digest_set(sha256),
            ..Self::default()
        }
    }
}

fn digest_set(sha256: Sha256Digest) -> Value {
    serde_json::json!({"sha256": sha256.to_string()})
}

#[cfg(test)]
mod tests {
    use super::*;

    const URI: &str = "pkg:cargo/x@1.0.0";

    fn appraised(payload: &str, sha256: Sha256Digest) -> Result<Level, SummaryError> {
        let artifacts = [ExpectedArtifact {
            file: "x".to_owned(),
            sha256,
        }];
        let wanted = Wanted {
            verifier_id: VERIFIER_ID,
            resource_uri: URI,
            artifacts: &artifacts,
            level: Level::Build3,
        };
        appraise(payload.as_bytes(), &wanted)
    }

    #[test]
    fn a_summary_that_two_readers_could_read_differently_is_none() {
        let [first, second] = [&b"first"[..], b"second"].map(Sha256Digest::of);
        let payload = serde_json::json!({
            "_type": STATEMENT_TYPE,
            "subject": [{"digest": {"sha256": first.to_string()}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "verifier": {"id": VERIFIER_ID},
                "timeVerified": "2026-01-31T12:00:00Z",
                "resourceUri": URI,
                "policy": {"uri": DEFAULT_POLICY},
                "verificationResult": "PASSED",
                "verifiedLevels": ["SLSA_BUILD_LEVEL_3"],
            },
        })
        .to_string();
        assert!(matches!(appraised(&payload, first), Ok(Level::Build3)));
        let not_a_subject = appraised(&payload, second);
        assert!(matches!(
            not_a_subject,
            Err(SummaryError::NotASubject { .. })
        ));
        let digest = format!("\"sha256\":\"{first}\"");
        for (member, twice) in [
            (&*digest, format!("{digest},\"sha256\":\"{second}\"")),
            ("\"digest\":", "\"digest\":{},\"digest\":".to_owned()),
            (
                "\"verificationResult\":",
                "\"verificationResult\":\"FAILED\",\"verificationResult\":".to_owned(),
            ),
        ] {
            assert!(payload.contains(member), "{member}");
            let payload = payload.replacen(member, &twice, 1);
            for sha256 in [first, second] {
                let refused = appraised(&payload, sha256);
                assert!(matches!(refused, Err(SummaryError::Form(_))), "{twice}");
            }
        }
    }
}
