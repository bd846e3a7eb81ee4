//! `--policy`: reads options from a file.
//!
//! * In: a TOML file with the options' names.
//! * Out: options.
//! * Never: a key that is ignored.

use std::path::{Path, PathBuf};

use kettle::digest::Sha256Digest;
use serde::Deserialize;

use super::options::{Options, UsageError, read_file};

/// The content of the file. Its keys are the names of the options.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Policy {
    nonce: Option<String>,
    #[serde(default)]
    measurement: List<String>,
    #[serde(default)]
    measurements: List<PathBuf>,
    vcek: Option<PathBuf>,
    crl: Option<PathBuf>,
    #[serde(default)]
    fetch: bool,
    #[serde(default)]
    fetch_crl: bool,
    cache: Option<PathBuf>,
    min_tcb: Option<String>,
    repository: Option<String>,
    #[serde(rename = "ref")]
    reference: Option<String>,
    commit: Option<String>,
    #[serde(default)]
    artifact: List<PathBuf>,
    #[serde(default)]
    option: List<String>,
    #[serde(default)]
    no_options: bool,
    trust_root: Option<PathBuf>,
    at: Option<Moment>,
    #[serde(default)]
    waive: List<String>,
}

/// A time, as text or as a TOML date-time.
#[derive(Deserialize)]
#[serde(untagged)]
enum Moment {
    Text(String),
    Toml(toml::value::Datetime),
}

impl Moment {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Toml(moment) => moment.to_string(),
        }
    }
}

/// The value of an option that can be repeated: one value or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum List<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl<T: Clone> List<T> {
    /// Returns the policy's values, then `more`.
    fn and(self, more: &[T]) -> Vec<T> {
        let mut all = match self {
            Self::One(value) => vec![value],
            Self::Many(values) => values,
        };
        all.extend_from_slice(more);
        all
    }
}

impl List<PathBuf> {
    fn below(self, directory: &Path) -> Self {
        match self {
            Self::One(path) => Self::One(directory.join(path)),
            Self::Many(paths) => {
                Self::Many(paths.into_iter().map(|path| directory.join(path)).collect())
            }
        }
    }
}

impl Options {
    /// Returns these options together with those of the policy file, if there is one.
    ///
    /// # Errors
    /// The file cannot be read, or is not a policy file.
    pub fn with_policy(&self) -> Result<Self, UsageError> {
        let Some(path) = &self.policy else {
            return Ok(self.clone());
        };
        let bytes = read_file(path)?;
        let policy_sha256 = Some(Sha256Digest::of(&bytes));
        let options = Policy::read(path, bytes)?.overridden_by(self);
        Ok(Self {
            policy_sha256,
            ..options
        })
    }
}

impl Policy {
    /// Reads the bytes of the policy file at `path`. Its paths are relative to its directory.
    ///
    /// # Errors
    /// The bytes are not text, or have a key or a value that no option has.
    fn read(path: &Path, bytes: Vec<u8>) -> Result<Self, UsageError> {
        let text = String::from_utf8(bytes).map_err(|_| UsageError::PolicyText {
            path: path.to_owned(),
        })?;
        let policy: Self = toml::from_str(&text).map_err(|source| UsageError::Policy {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        Ok(policy.below(path.parent().unwrap_or(Path::new(""))))
    }

    fn below(self, directory: &Path) -> Self {
        let below = |path: Option<PathBuf>| path.map(|path| directory.join(path));
        Self {
            vcek: below(self.vcek),
            crl: below(self.crl),
            cache: below(self.cache),
            trust_root: below(self.trust_root),
            measurements: self.measurements.below(directory),
            artifact: self.artifact.below(directory),
            ..self
        }
    }

    /// Combines the policy with flags: a flag overrides a single value and adds to a list. The
    /// measurements of both are kept apart, because their origin is reported.
    fn overridden_by(self, flags: &Options) -> Options {
        Options {
            nonce: flags.nonce.clone().or(self.nonce),
            measurement: flags.measurement.clone(),
            measurements: flags.measurements.clone(),
            policy_measurement: self.measurement.and(&[]),
            policy_measurements: self.measurements.and(&[]),
            policy_sha256: None,
            vcek: flags.vcek.clone().or(self.vcek),
            crl: flags.crl.clone().or(self.crl),
            fetch: flags.fetch || self.fetch,
            fetch_crl: flags.fetch_crl || self.fetch_crl,
            cache: flags.cache.clone().or(self.cache),
            min_tcb: flags.min_tcb.clone().or(self.min_tcb),
            repository: flags.repository.clone().or(self.repository),
            reference: flags.reference.clone().or(self.reference),
            commit: flags.commit.clone().or(self.commit),
            artifact: self.artifact.and(&flags.artifact),
            option: self.option.and(&flags.option),
            no_options: flags.no_options || self.no_options,
            trust_root: flags.trust_root.clone().or(self.trust_root),
            policy: None,
            at: flags.at.clone().or(self.at.map(Moment::text)),
            waive: self.waive.and(&flags.waive),
        }
    }
}
