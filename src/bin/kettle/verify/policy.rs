//! `--policy`: adds the options of a file to those of the command line.
//!
//! * In: flags, and the path of a policy file.
//! * Out: options.
//! * Never: a path of the file that is relative to another directory than its own.

use std::path::{Path, PathBuf};

use kettle::digest::Sha256Digest;
use kettle::verifier::policy::{Policy, PolicyError};

use super::options::{Options, UsageError, read_file};

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
        let policy = Policy::read(&bytes).map_err(|error| unreadable(path, error))?;
        let directory = path.parent().unwrap_or(Path::new(""));
        Ok(Self {
            policy_sha256: Some(Sha256Digest::of(&bytes)),
            ..self.over(policy, directory)
        })
    }

    /// Combines a policy with these flags: a flag overrides a single value and adds to a list. The
    /// measurements of both are kept apart, because their origin is reported.
    fn over(&self, policy: Policy, directory: &Path) -> Self {
        let path = |given: &Option<PathBuf>, named: Option<String>| {
            given.clone().or(named.map(|name| directory.join(name)))
        };
        let paths = |named: Vec<String>| named.into_iter().map(|name| directory.join(name));
        Self {
            nonce: self.nonce.clone().or(policy.nonce),
            measurement: self.measurement.clone(),
            measurements: self.measurements.clone(),
            policy_measurement: policy.measurement,
            policy_measurements: paths(policy.measurements).collect(),
            policy_sha256: None,
            vcek: path(&self.vcek, policy.vcek),
            crl: path(&self.crl, policy.crl),
            fetch: self.fetch || policy.fetch,
            fetch_crl: self.fetch_crl || policy.fetch_crl,
            cache: path(&self.cache, policy.cache),
            min_tcb: self.min_tcb.clone().or(policy.min_tcb),
            repository: self.repository.clone().or(policy.repository),
            reference: self.reference.clone().or(policy.reference),
            commit: self.commit.clone().or(policy.commit),
            artifact: paths(policy.artifact)
                .chain(self.artifact.clone())
                .collect(),
            option: [policy.option, self.option.clone()].concat(),
            no_options: self.no_options || policy.no_options,
            trust_root: path(&self.trust_root, policy.trust_root),
            policy: None,
            at: self.at.clone().or(policy.at),
            waive: [policy.waive, self.waive.clone()].concat(),
        }
    }
}

fn unreadable(path: &Path, error: PolicyError) -> UsageError {
    let path = path.to_owned();
    match error {
        PolicyError::Text => UsageError::PolicyText { path },
        PolicyError::Toml(source) => UsageError::Policy { path, source },
    }
}
