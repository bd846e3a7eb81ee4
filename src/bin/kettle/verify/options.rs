//! The options of `kettle verify`. Comes in: flags and a policy file. Goes out: expectations. Never: a value that was given
//! and is not used.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use kettle::digest::{ParseDigestError, Sha256Digest};
use kettle::kds::KdsError;
use kettle::provenance::ParseNonceError;
use kettle::snp::measurement::ParseMeasurementError;
use kettle::verifier::{
    Anchor, Expectations, ExpectedArtifact, ExpectedOptionError, MinimumTcbError, NotWaivable,
    ReferenceError, ReferenceValues, SessionError, TrustRootError, TrustRoots,
};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::fetch::Fetching;

/// Largest file that an option names, in bytes; an artifact has no limit, it is only hashed.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// What can be said on the command line and, under the same names, in a policy file.
#[derive(Args, Clone, Default)]
pub struct Options {
    /// The nonce that the build was started with, hex. Without it freshness is not checked.
    #[arg(long, value_name = "HEX")]
    pub nonce: Option<String>,
    /// A launch measurement to believe, hex. Repeatable; the given ones replace the published ones.
    #[arg(long, value_name = "HEX")]
    pub measurement: Vec<String>,
    /// A published file of reference values to believe. Repeatable.
    #[arg(long, value_name = "FILE")]
    pub measurements: Vec<PathBuf>,
    /// What the policy names of the same.
    #[arg(skip)]
    pub policy_measurement: Vec<String>,
    /// What the policy names of the same.
    #[arg(skip)]
    pub policy_measurements: Vec<PathBuf>,
    /// The digest of the policy's bytes, from which these options were read.
    #[arg(skip)]
    pub policy_sha256: Option<Sha256Digest>,
    /// The VCEK or VLEK, DER or PEM, instead of the bundle's.
    #[arg(long, value_name = "FILE")]
    pub vcek: Option<PathBuf>,
    /// A revocation list of AMD's, DER or PEM.
    #[arg(long, value_name = "FILE")]
    pub crl: Option<PathBuf>,
    /// Gets a VCEK that neither --vcek nor the bundle has from AMD's key service.
    #[arg(long)]
    pub fetch: bool,
    /// With --fetch: gets AMD's revocation list too.
    #[arg(long)]
    pub fetch_crl: bool,
    /// With --fetch: where what was fetched is kept. Default: kettle below $XDG_CACHE_HOME or ~/.cache.
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// The lowest reported TCB version: any of bootloader=N,tee=N,snp=N,microcode=N,fmc=N; what is not named has to be at the
    /// floor that is compiled in. `none` accepts any firmware, old as it may be, and the output says so.
    #[arg(long, value_name = "LIST")]
    pub min_tcb: Option<String>,
    /// The repository that it must have been built from.
    #[arg(long, value_name = "URL")]
    pub repository: Option<String>,
    /// The ref that must have been asked for, literally.
    #[arg(long = "ref", value_name = "REF")]
    pub reference: Option<String>,
    /// The commit that it must have been built from, 40 hexadecimal digits.
    #[arg(long, value_name = "ID")]
    pub commit: Option<String>,
    /// A file that must be one of the artifacts. Repeatable.
    #[arg(long, value_name = "FILE")]
    pub artifact: Vec<PathBuf>,
    /// An option that the client must have chosen, as in the statement: `features=a,b`. Repeatable.
    #[arg(long, value_name = "NAME=VALUE")]
    pub option: Vec<String>,
    /// Refuses a build with an option that no --option expects.
    #[arg(long)]
    pub no_options: bool,
    /// A test hierarchy to believe instead of AMD: PEM, its ARK then its ASK.
    #[arg(long, value_name = "FILE")]
    pub trust_root: Option<PathBuf>,
    /// All of these as TOML; flags override single values and add to lists.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// The moment at which certificates must be valid, RFC 3339. Default: now.
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// A check whose rejection does not count: certificate-binding, guest-policy, tcb, launch-measurement or
    /// boot-measurement; a revoked measurement is rejected all the same. Repeatable.
    #[arg(long, value_name = "CHECK")]
    pub waive: Vec<String>,
}

/// Why nothing was verified.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum UsageError {
    #[error("there is nothing to verify: a bundle, or --session with --nonce")]
    NothingToVerify,
    #[error("{path} cannot be read")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is over the limit of {limit} bytes (MAX_FILE_BYTES)")]
    Limit { path: PathBuf, limit: u64 },
    #[error("{path} is no policy")]
    Policy {
        path: PathBuf,
        source: Box<toml::de::Error>,
    },
    #[error("{path} is no text")]
    PolicyText { path: PathBuf },
    #[error("--fetch asks AMD, who knows nothing of the test hierarchy of --trust-root")]
    FetchTestRoot,
    #[error("{option} is nothing without --fetch")]
    WithoutFetch { option: &'static str },
    #[error("--crl and --fetch-crl are two lists")]
    TwoLists,
    #[error("--fetch")]
    Fetch(#[source] KdsError),
    #[error("--nonce")]
    Nonce(#[source] ParseNonceError),
    #[error("--measurement {value}")]
    Measurement {
        value: String,
        source: ParseMeasurementError,
    },
    #[error("{path}")]
    References {
        path: PathBuf,
        source: ReferenceError,
    },
    #[error("the reference values that were compiled in")]
    Published(#[source] ReferenceError),
    #[error("--min-tcb")]
    MinimumTcb(#[source] MinimumTcbError),
    #[error("--option")]
    Option(#[source] ExpectedOptionError),
    #[error("--commit")]
    Commit(#[source] ParseDigestError),
    #[error("{path}")]
    TrustRoot {
        path: PathBuf,
        source: TrustRootError,
    },
    #[error("the certificates that were compiled in")]
    Roots(#[source] TrustRootError),
    #[error("--at {value} is no moment such as 2026-01-31T12:00:00Z")]
    Moment { value: String },
    #[error("--waive")]
    Waive(#[source] NotWaivable),
    #[error("{path}")]
    Key { path: PathBuf, source: SessionError },
}

impl Options {
    /// Reads every file that is named.
    ///
    /// # Errors
    /// Something is not what its option takes.
    pub fn expectations(&self) -> Result<Expectations, UsageError> {
        let mut expectations = Expectations::new(self.roots()?, self.moment()?, self.references()?);
        expectations.nonce = parsed(&self.nonce, |text| {
            kettle::provenance::Nonce::parse(text).map_err(UsageError::Nonce)
        })?;
        expectations.certificate = parsed(&self.vcek, |path| read_file(path))?;
        expectations.crl = parsed(&self.crl, |path| read_file(path))?;
        let minimum = parsed(&self.min_tcb, |text| {
            text.parse().map_err(UsageError::MinimumTcb)
        })?;
        expectations.minimum_tcb = minimum.unwrap_or_default();
        expectations.commit = parsed(&self.commit, |text| {
            text.parse().map_err(UsageError::Commit)
        })?;
        expectations.artifacts = self
            .artifact
            .iter()
            .map(|path| artifact(path))
            .collect::<Result<_, _>>()?;
        expectations.options = each_parsed(&self.option, UsageError::Option)?;
        expectations.no_other_options = self.no_options;
        expectations.waived = each_parsed(&self.waive, UsageError::Waive)?;
        (expectations.repository, expectations.reference) =
            (self.repository.clone(), self.reference.clone());
        Ok(expectations)
    }

    /// What may be fetched, if anything may.
    ///
    /// # Errors
    /// The options contradict each other.
    pub fn fetching(&self) -> Result<Option<Fetching>, UsageError> {
        let needing = [
            ("--fetch-crl", self.fetch_crl),
            ("--cache", self.cache.is_some()),
        ];
        match needing.into_iter().find(|(_, is_given)| *is_given) {
            Some((option, _)) if !self.fetch => Err(UsageError::WithoutFetch { option }),
            _ if !self.fetch => Ok(None),
            _ if self.trust_root.is_some() => Err(UsageError::FetchTestRoot),
            _ if self.fetch_crl && self.crl.is_some() => Err(UsageError::TwoLists),
            _ => Ok(Some(Fetching {
                list: self.fetch_crl,
                cache: self.cache.clone(),
            })),
        }
    }

    fn roots(&self) -> Result<TrustRoots, UsageError> {
        let Some(path) = &self.trust_root else {
            return TrustRoots::amd().map_err(UsageError::Roots);
        };
        let pem = read_file(path)?;
        TrustRoots::test_only(&pem).map_err(|source| UsageError::TrustRoot {
            path: path.clone(),
            source,
        })
    }

    /// Those given, else those published with this release.
    fn references(&self) -> Result<ReferenceValues, UsageError> {
        let measurements = [
            (Anchor::Policy, &self.policy_measurement),
            (Anchor::Option, &self.measurement),
        ];
        let files = [
            (Anchor::Policy, &self.policy_measurements),
            (Anchor::File, &self.measurements),
        ];
        if measurements.iter().all(|(_, given)| given.is_empty())
            && files.iter().all(|(_, given)| given.is_empty())
        {
            return ReferenceValues::published().map_err(UsageError::Published);
        }
        let mut references = ReferenceValues::default();
        for (anchor, value) in each(measurements) {
            let measurement = value.parse();
            let wrong = |source| UsageError::Measurement {
                value: value.clone(),
                source,
            };
            references.add_from(anchor, measurement.map_err(wrong)?);
        }
        for (anchor, path) in each(files) {
            let added = references.add_file_from(anchor, &read_file(path)?);
            added.map_err(|source| UsageError::References {
                path: path.clone(),
                source,
            })?;
        }
        Ok(references)
    }

    /// Seconds since 1970.
    fn moment(&self) -> Result<u64, UsageError> {
        let Some(value) = &self.at else {
            return Ok(SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |elapsed| elapsed.as_secs()));
        };
        let moment = OffsetDateTime::parse(value, &Rfc3339).map_err(|_| UsageError::Moment {
            value: value.clone(),
        })?;
        // Before 1970 nothing of this was valid, as at its first second.
        Ok(u64::try_from(moment.unix_timestamp()).unwrap_or_default())
    }
}

/// Each value with where it comes from.
fn each<T>(given: [(Anchor, &Vec<T>); 2]) -> impl Iterator<Item = (Anchor, &T)> {
    given
        .into_iter()
        .flat_map(|(anchor, values)| values.iter().map(move |value| (anchor, value)))
}

fn parsed<T, U>(
    value: &Option<T>,
    parse: impl Fn(&T) -> Result<U, UsageError>,
) -> Result<Option<U>, UsageError> {
    value.as_ref().map(parse).transpose()
}

fn each_parsed<T: FromStr, C: FromIterator<T>>(
    given: &[String],
    wrong: impl Fn(T::Err) -> UsageError,
) -> Result<C, UsageError> {
    given
        .iter()
        .map(|text| text.parse().map_err(&wrong))
        .collect()
}

/// Hashes a file that has to be one of the artifacts.
///
/// # Errors
/// It cannot be read.
pub fn artifact(path: &Path) -> Result<ExpectedArtifact, UsageError> {
    let hashed = File::open(path).and_then(Sha256Digest::of_reader);
    let (sha256, _) = hashed.map_err(|source| UsageError::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(ExpectedArtifact {
        file: path.display().to_string(),
        sha256,
    })
}

/// A small file as a whole.
///
/// # Errors
/// It cannot be read or is over [`MAX_FILE_BYTES`].
pub fn read_file(path: &Path) -> Result<Vec<u8>, UsageError> {
    let mut bytes = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|source| UsageError::Read {
        path: path.to_owned(),
        source,
    })?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(UsageError::Limit {
            path: path.to_owned(),
            limit: MAX_FILE_BYTES,
        });
    }
    Ok(bytes)
}
