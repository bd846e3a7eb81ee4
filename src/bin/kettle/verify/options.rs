//! The options of `kettle verify`.
//!
//! * In: flags and a policy file.
//! * Out: expectations.
//! * Never: a value that was given and is not used.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use kettle::digest::Sha256Digest;
use kettle::kds::KdsError;
use kettle::verifier::{
    Expectations, ExpectedArtifact, OptionError, OptionFile, RequestedOptions, SessionError,
};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::fetch::Fetching;

/// Largest file that an option names, in bytes. An artifact has no limit, since it is only hashed.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// The options of the command line, which a policy file can have under the same names.
#[derive(Args, Clone, Default)]
pub struct Options {
    /// The nonce that the build was started with, hex. Without it freshness is not checked.
    #[arg(long, value_name = "HEX")]
    pub nonce: Option<String>,
    /// A launch measurement to trust, hex. Repeatable; the given ones replace the published ones.
    #[arg(long, value_name = "HEX")]
    pub measurement: Vec<String>,
    /// A published file of reference values to trust. Repeatable.
    #[arg(long, value_name = "FILE")]
    pub measurements: Vec<PathBuf>,
    /// The policy's values of `measurement`.
    #[arg(skip)]
    pub policy_measurement: Vec<String>,
    /// The policy's values of `measurements`.
    #[arg(skip)]
    pub policy_measurements: Vec<PathBuf>,
    /// The digest of the policy's bytes, from which these options were read.
    #[arg(skip)]
    pub policy_sha256: Option<Sha256Digest>,
    /// The VCEK or VLEK, DER or PEM, instead of the bundle's.
    #[arg(long, value_name = "FILE")]
    pub vcek: Option<PathBuf>,
    /// A revocation list from AMD, DER or PEM.
    #[arg(long, value_name = "FILE")]
    pub crl: Option<PathBuf>,
    /// Gets the VCEK from AMD's key service if neither --vcek nor the bundle has it.
    #[arg(long)]
    pub fetch: bool,
    /// With --fetch: gets AMD's revocation list too.
    #[arg(long)]
    pub fetch_crl: bool,
    /// With --fetch: the directory for fetched files. Default: kettle below $XDG_CACHE_HOME or
    /// ~/.cache.
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// The lowest reported TCB version: any of bootloader=N,tee=N,snp=N,microcode=N,fmc=N. Parts
    /// that are not named have to be at the floor that is compiled in. `none` accepts any firmware,
    /// however old, and the output says so.
    #[arg(long, value_name = "LIST")]
    pub min_tcb: Option<String>,
    /// The repository from which it must have been built.
    #[arg(long, value_name = "URL")]
    pub repository: Option<String>,
    /// The ref that must have been requested, literally.
    #[arg(long = "ref", value_name = "REF")]
    pub reference: Option<String>,
    /// The commit from which it must have been built, 40 hexadecimal digits.
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
    /// A test hierarchy to trust instead of AMD: PEM, its ARK then its ASK.
    #[arg(long, value_name = "FILE")]
    pub trust_root: Option<PathBuf>,
    /// A TOML file with any of these options. Flags override single values and add to lists.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// The time at which certificates must be valid, RFC 3339. Default: now.
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// A check whose rejection does not count: certificate-binding, guest-policy, tcb,
    /// launch-measurement or boot-measurement; a revoked measurement is rejected all the same.
    /// Repeatable.
    #[arg(long, value_name = "CHECK")]
    pub waive: Vec<String>,
}

/// Why nothing was verified.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum UsageError {
    #[error("there is nothing to verify: give a bundle, or --session with --nonce")]
    NothingToVerify,
    #[error("{path} cannot be read")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is over the limit of {limit} bytes (MAX_FILE_BYTES)")]
    Limit { path: PathBuf, limit: u64 },
    #[error("{path} is not a policy file")]
    Policy {
        path: PathBuf,
        source: Box<toml::de::Error>,
    },
    #[error("{path} is not text in UTF-8")]
    PolicyText { path: PathBuf },
    #[error("--fetch asks AMD, which does not know the test hierarchy of --trust-root")]
    FetchTestRoot,
    #[error("{option} needs --fetch")]
    WithoutFetch { option: &'static str },
    #[error("--crl and --fetch-crl exclude each other: there can be one list only")]
    TwoLists,
    #[error("--fetch")]
    Fetch(#[source] KdsError),
    #[error(transparent)]
    Option(OptionError),
    #[error("--at {value} is not a time such as 2026-01-31T12:00:00Z")]
    Moment { value: String },
    #[error("{path}")]
    Key { path: PathBuf, source: SessionError },
}

impl Options {
    /// Parses the options and reads the files that they name.
    ///
    /// # Errors
    /// A value is not one that its option allows, or a file cannot be read.
    pub fn expectations(&self) -> Result<Expectations, UsageError> {
        let trust_root = self.trust_root.as_deref().map(option_file).transpose()?;
        let at = self.moment()?;
        let artifacts = self.artifact.iter().map(|path| artifact(path));
        let requested = RequestedOptions {
            at,
            trust_root,
            measurements: &self.measurement,
            references: option_files(&self.measurements)?,
            policy_measurements: &self.policy_measurement,
            policy_references: option_files(&self.policy_measurements)?,
            nonce: self.nonce.as_deref(),
            certificate: self.vcek.as_deref().map(read_file).transpose()?,
            crl: self.crl.as_deref().map(read_file).transpose()?,
            minimum_tcb: self.min_tcb.as_deref(),
            repository: self.repository.as_deref(),
            reference: self.reference.as_deref(),
            commit: self.commit.as_deref(),
            artifacts: artifacts.collect::<Result<_, _>>()?,
            options: &self.option,
            no_other_options: self.no_options,
            waived: &self.waive,
        };
        let expectations = requested.expectations();
        expectations.map_err(|error| UsageError::Option(error.of_command_line()))
    }

    /// Returns what may be fetched, if anything may.
    ///
    /// # Errors
    /// The options contradict each other.
    pub fn fetching(&self) -> Result<Option<Fetching>, UsageError> {
        if !self.fetch {
            let without = |option| Err(UsageError::WithoutFetch { option });
            return match (self.fetch_crl, &self.cache) {
                (true, _) => without("--fetch-crl"),
                (false, Some(_)) => without("--cache"),
                (false, None) => Ok(None),
            };
        }
        if self.trust_root.is_some() {
            return Err(UsageError::FetchTestRoot);
        }
        if self.fetch_crl && self.crl.is_some() {
            return Err(UsageError::TwoLists);
        }
        Ok(Some(Fetching {
            list: self.fetch_crl,
            cache: self.cache.clone(),
        }))
    }

    /// Returns the time of --at, or else now, in seconds since 1970.
    fn moment(&self) -> Result<u64, UsageError> {
        let Some(value) = &self.at else {
            return Ok(SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |elapsed| elapsed.as_secs()));
        };
        let moment = OffsetDateTime::parse(value, &Rfc3339).map_err(|_| UsageError::Moment {
            value: value.clone(),
        })?;
        // A time before 1970 is as good as its first second: no certificate was valid then.
        Ok(u64::try_from(moment.unix_timestamp()).unwrap_or_default())
    }
}

/// Reads a file that an option names.
fn option_file(path: &Path) -> Result<OptionFile, UsageError> {
    Ok(OptionFile {
        content: read_file(path)?,
        name: path.display().to_string(),
    })
}

fn option_files(paths: &[PathBuf]) -> Result<Vec<OptionFile>, UsageError> {
    paths.iter().map(|path| option_file(path)).collect()
}

/// Hashes a file that has to be one of the artifacts.
///
/// # Errors
/// The file cannot be read.
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

/// Reads a small file as a whole.
///
/// # Errors
/// The file cannot be read, or is over [`MAX_FILE_BYTES`].
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
