//! The options of a verification, as JSON.
//!
//! * In: an object whose members have the names of the options of `kettle verify`; files are in it.
//! * Out: expectations.
//! * Never: a member that is ignored.
//!
//! | member | value |
//! |---|---|
//! | `now` | the present moment, in seconds since 1970; required, because a module has no clock |
//! | `at` | another moment of interest, in seconds since 1970 |
//! | `policy` | a policy file: an object with `toml`, its text, and `files`, the files that it names |
//! | `size` | the size of the bundle in bytes; required for a bundle |
//! | `session` | true to verify the evidence about a TLS key: the response of `GET /attestation` |
//! | `public-key` | with `session`, the key that the appliance showed: a file |
//! | `nonce`, `min-tcb`, `repository`, `ref`, `commit` | text |
//! | `measurement`, `option`, `waive` | lists of text |
//! | `no-options` | a boolean |
//! | `vcek`, `crl`, `trust-root` | files: the bytes in base64 |
//! | `measurements`, `files` | lists of objects with `name` and `base64` |
//! | `artifact` | a list of objects with `file`, a name for messages, and `sha256` |
//!
//! As with `kettle verify --policy`, a member overrides a single value of the policy and adds to a
//! list. A path of the policy stands for the file of that name; a policy that wants something
//! fetched is refused.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::DateTime;
use serde::Deserialize;

use crate::digest::{ParseDigestError, Sha256Digest};
use crate::provenance::Nonce;
use crate::verifier::policy::{Policy, PolicyError};
use crate::verifier::{
    Expectations, ExpectedArtifact, OptionError, OptionFile, RequestedOptions, SessionError,
    public_key_of,
};

/// Why nothing was verified. The texts document the variants.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    #[error("the options are not in their form")]
    Json(#[source] serde_json::Error),
    #[error("{option}: there is nothing to verify without it")]
    Missing { option: &'static str },
    #[error("{option} is not base64")]
    Base64 { option: &'static str },
    #[error(transparent)]
    Option(#[from] OptionError),
    #[error("artifact {file}")]
    Artifact {
        file: String,
        source: ParseDigestError,
    },
    #[error("public-key")]
    Key(#[source] SessionError),
    #[error("the input cannot be read")]
    Input(#[source] io::Error),
    #[error("the policy")]
    Policy(#[source] PolicyError),
    #[error("the policy has {option}, and nothing is fetched here: remove it")]
    Fetch { option: &'static str },
    #[error("the policy names the file {name:?}, which was not given")]
    File { name: String },
    #[error("the policy has the time {text:?}, which is not one such as 2026-01-31T12:00:00Z")]
    Moment { text: String },
}

/// What is verified.
pub enum Subject {
    /// A bundle of this many bytes.
    Bundle {
        /// The number of bytes of the archive.
        size: u64,
    },
    /// The evidence about a TLS key.
    Session {
        /// The nonce that the evidence was requested with.
        nonce: Nonce,
        /// The public key that the TLS connection showed, DER.
        public_key: Option<Vec<u8>>,
    },
}

/// The options as they are given.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    now: Option<u64>,
    at: Option<u64>,
    policy: Option<PolicyFile>,
    size: Option<u64>,
    session: bool,
    public_key: Option<String>,
    nonce: Option<String>,
    measurement: Vec<String>,
    measurements: Vec<NamedFile>,
    vcek: Option<String>,
    crl: Option<String>,
    min_tcb: Option<String>,
    repository: Option<String>,
    #[serde(rename = "ref")]
    reference: Option<String>,
    commit: Option<String>,
    artifact: Vec<Artifact>,
    option: Vec<String>,
    no_options: bool,
    trust_root: Option<String>,
    waive: Vec<String>,
    /// The measurements of the policy.
    #[serde(skip)]
    policy_measurement: Vec<String>,
    /// The files of reference values of the policy.
    #[serde(skip)]
    policy_measurements: Vec<NamedFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    toml: String,
    #[serde(default)]
    files: Vec<NamedFile>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedFile {
    name: String,
    base64: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Artifact {
    file: String,
    sha256: String,
}

impl Options {
    /// Reads the options, and those of the policy in them.
    ///
    /// # Errors
    /// The bytes are not such an object, or the policy cannot be used.
    pub fn read(bytes: &[u8]) -> Result<Self, UsageError> {
        let mut options: Self = serde_json::from_slice(bytes).map_err(UsageError::Json)?;
        if let Some(file) = options.policy.take() {
            let policy = Policy::read(file.toml.as_bytes()).map_err(UsageError::Policy)?;
            options.add(policy, &file)?;
        }
        Ok(options)
    }

    fn add(&mut self, policy: Policy, file: &PolicyFile) -> Result<(), UsageError> {
        let fetches = [
            ("fetch", policy.fetch),
            ("fetch-crl", policy.fetch_crl),
            ("cache", policy.cache.is_some()),
        ];
        if let Some((option, _)) = fetches.into_iter().find(|(_, given)| *given) {
            return Err(UsageError::Fetch { option });
        }
        for (own, named) in [
            (&mut self.nonce, policy.nonce),
            (&mut self.min_tcb, policy.min_tcb),
            (&mut self.repository, policy.repository),
            (&mut self.reference, policy.reference),
            (&mut self.commit, policy.commit),
            (&mut self.vcek, file.content(policy.vcek)?),
            (&mut self.crl, file.content(policy.crl)?),
            (&mut self.trust_root, file.content(policy.trust_root)?),
        ] {
            *own = own.take().or(named);
        }
        if self.at.is_none() {
            self.at = policy.at.as_deref().map(seconds).transpose()?;
        }
        self.no_options |= policy.no_options;
        self.option.splice(..0, policy.option);
        self.waive.splice(..0, policy.waive);
        self.policy_measurement = policy.measurement;
        for path in policy.measurements {
            self.policy_measurements.push(file.named(&path)?.clone());
        }
        for path in policy.artifact {
            let content = decoded("artifact", &file.named(&path)?.base64)?;
            let sha256 = Sha256Digest::of(&content).to_string();
            self.artifact.push(Artifact { file: path, sha256 });
        }
        Ok(())
    }

    /// Returns what is to be verified. A session has the nonce of its expectations.
    ///
    /// # Errors
    /// A member is missing, or is not in its form.
    pub fn subject(&self, expectations: &Expectations) -> Result<Subject, UsageError> {
        if !self.session {
            let size = self.size.ok_or(UsageError::Missing { option: "size" })?;
            return Ok(Subject::Bundle { size });
        }
        let nonce = expectations.nonce.clone();
        let nonce = nonce.ok_or(UsageError::Missing { option: "nonce" })?;
        let public_key = match &self.public_key {
            Some(text) => {
                let bytes = decoded("public-key", text)?;
                Some(public_key_of(&bytes, false).map_err(UsageError::Key)?)
            }
            None => None,
        };
        Ok(Subject::Session { nonce, public_key })
    }

    /// Returns the values to compare with.
    ///
    /// # Errors
    /// A member is missing, or is not in its form.
    pub fn expectations(&self) -> Result<Expectations, UsageError> {
        let at = self.at.or(self.now);
        let artifacts = self.artifact.iter().map(Artifact::expected);
        let requested = RequestedOptions {
            at: at.ok_or(UsageError::Missing { option: "now" })?,
            trust_root: self.trust_root()?,
            measurements: &self.measurement,
            references: files(&self.measurements)?,
            policy_measurements: &self.policy_measurement,
            policy_references: files(&self.policy_measurements)?,
            nonce: self.nonce.as_deref(),
            certificate: content("vcek", &self.vcek)?,
            crl: content("crl", &self.crl)?,
            minimum_tcb: self.min_tcb.as_deref(),
            repository: self.repository.as_deref(),
            reference: self.reference.as_deref(),
            commit: self.commit.as_deref(),
            artifacts: artifacts.collect::<Result<_, _>>()?,
            options: &self.option,
            no_other_options: self.no_options,
            waived: &self.waive,
        };
        Ok(requested.expectations()?)
    }

    fn trust_root(&self) -> Result<Option<OptionFile>, UsageError> {
        let name = "trust-root";
        let content = content(name, &self.trust_root)?;
        Ok(content.map(|content| OptionFile {
            name: name.to_owned(),
            content,
        }))
    }
}

impl PolicyFile {
    /// Returns the file that a path of the policy stands for: the one with the path's last name.
    fn named(&self, path: &str) -> Result<&NamedFile, UsageError> {
        let name = path.rsplit('/').next().unwrap_or(path);
        let found = self.files.iter().find(|file| file.name == name);
        found.ok_or_else(|| UsageError::File {
            name: name.to_owned(),
        })
    }

    /// Returns the content of the file at a path, if the policy names one, in base64.
    fn content(&self, path: Option<String>) -> Result<Option<String>, UsageError> {
        let found = path.map(|path| self.named(&path)).transpose()?;
        Ok(found.map(|file| file.base64.clone()))
    }
}

/// Returns the seconds since 1970 of a time in UTC.
fn seconds(text: &str) -> Result<u64, UsageError> {
    let moment: DateTime = text.parse().map_err(|_| UsageError::Moment {
        text: text.to_owned(),
    })?;
    Ok(moment.unix_duration().as_secs())
}

impl Artifact {
    fn expected(&self) -> Result<ExpectedArtifact, UsageError> {
        let sha256 = self.sha256.parse().map_err(|source| UsageError::Artifact {
            file: self.file.clone(),
            source,
        })?;
        Ok(ExpectedArtifact {
            file: self.file.clone(),
            sha256,
        })
    }
}

/// Returns files of reference values.
fn files(given: &[NamedFile]) -> Result<Vec<OptionFile>, UsageError> {
    let read = |file: &NamedFile| {
        let content = decoded("measurements", &file.base64)?;
        let name = file.name.clone();
        Ok(OptionFile { name, content })
    };
    given.iter().map(read).collect()
}

/// Returns the bytes of a file, if it was given.
fn content(option: &'static str, text: &Option<String>) -> Result<Option<Vec<u8>>, UsageError> {
    text.as_ref().map(|text| decoded(option, text)).transpose()
}

fn decoded(option: &'static str, text: &str) -> Result<Vec<u8>, UsageError> {
    STANDARD
        .decode(text)
        .map_err(|_| UsageError::Base64 { option })
}
