//! `kettle verify`: verifies a bundle, or the evidence about a TLS key.
//!
//! * In: options, a policy file, a bundle or the evidence about a TLS key.
//! * Out: text or JSON, and the exit status.
//! * Never: a status of success for anything but an accepted bundle or key.

mod fetch;
mod options;
mod policy;
mod public_key;
mod summary;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::problem::in_place_of_bundle;
use clap::Args;
use kettle::bundle::read::{self, Bundle, ReadError};
use kettle::inspect::{escaped, shown};
use kettle::provenance::Nonce;
use kettle::verifier::summary::{NoSubject, Summarised};
use kettle::verifier::verdict::{self, Status};
use kettle::verifier::{
    AttestationResult, Evidence, Expectations, NOT_ESTABLISHED, Outcome, Platform, Rejection,
    SessionEvidence, Sides, azure::trusted, public_key_of, verify, verify_session,
};
use serde_json::Value;

use public_key::{PublicKeyError, UntrustedKey};
use summary::SummaryOptions;

pub use fetch::Fetching;
pub use options::{Options, UsageError, artifact, read_file};
pub use summary::{SummaryError, public_key};

/// The claim whose values are printed as sentences.
const DISPLACING: &str = "displacing_link_arguments";

/// Options about a bundle, which make no sense for a session.
const OF_A_BUNDLE: [&str; 6] = [
    "repository",
    "reference",
    "commit",
    "artifact",
    "option",
    "no_options",
];

/// The arguments of `kettle verify`.
#[derive(Args)]
pub struct Arguments {
    /// The bundle as downloaded (`.tar.gz`), or the directory it was unpacked to.
    #[arg(required_unless_present = "session", conflicts_with = "session")]
    bundle: Option<PathBuf>,
    /// Verifies the response of `GET /attestation` to --nonce instead: may this TLS key be trusted?
    #[arg(long, value_name = "FILE", conflicts_with_all = OF_A_BUNDLE)]
    session: Option<PathBuf>,
    /// With --session: the TLS key that the appliance showed, DER or PEM.
    #[arg(
        long,
        value_name = "FILE",
        requires = "session",
        conflicts_with = "certificate"
    )]
    spki: Option<PathBuf>,
    /// With --session: the certificate that the appliance showed, DER or PEM.
    #[arg(long, value_name = "FILE", requires = "session")]
    certificate: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
    /// Prints one JSON document.
    #[arg(long)]
    pub json: bool,
    /// Writes the statement key, PEM, if the bundle is accepted: `provenance.sigstore.json` is
    /// signed with it.
    #[arg(long, value_name = "FILE", conflicts_with = "session")]
    public_key_out: Option<PathBuf>,
    #[command(flatten)]
    summary: SummaryOptions,
}

/// Why there is no verdict, or no summary of it.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum VerifyError {
    #[error(transparent)]
    Usage(Box<UsageError>),
    #[error(transparent)]
    Summary(Box<SummaryError>),
    #[error(transparent)]
    PublicKey(Box<PublicKeyError>),
}

impl From<UsageError> for VerifyError {
    fn from(error: UsageError) -> Self {
        Self::Usage(Box::new(error))
    }
}

impl From<SummaryError> for VerifyError {
    fn from(error: SummaryError) -> Self {
        Self::Summary(Box::new(error))
    }
}

/// Verifies, and returns the output and the exit status.
///
/// # Errors
/// Nothing was verified: wrong usage, a path that cannot be read, or an internal error.
pub fn run(arguments: &Arguments) -> Result<(String, ExitCode), VerifyError> {
    let options = arguments.options.with_policy()?;
    let fetching = options.fetching()?;
    let mut expectations = options.expectations()?;
    let summary = arguments.summary.prepare()?;
    let result = match (&arguments.session, &arguments.bundle) {
        (Some(path), _) => session(arguments, path, &mut expectations, fetching)?,
        (None, Some(path)) => {
            let read = open(path)?;
            if let Some(refusal) = read.as_ref().err().and_then(|_| in_place_of_bundle(path)) {
                eprintln!("kettle: {refusal}");
            }
            // Taken from the bundle before the verifier consumes it.
            let wanted = read.as_ref().ok().filter(|_| summary.is_some());
            let summarised = wanted.map(Summarised::of);
            let key = UntrustedKey::of(&read);
            let result = judge(read, &mut expectations, fetching)?;
            if let Some(summary) = summary {
                let about = summarised.unwrap_or(Err(NoSubject));
                summary.write(
                    about.map_err(SummaryError::from)?,
                    &result,
                    &arguments.options,
                    options.policy_sha256,
                )?;
            }
            if let Some((path, key)) = arguments.public_key_out.as_ref().zip(key) {
                let written = key.write(path, &result);
                written.map_err(|error| VerifyError::PublicKey(Box::new(error)))?;
            }
            result
        }
        (None, None) => return Err(UsageError::NothingToVerify.into()),
    };
    Ok(printed(arguments, &result, &expectations))
}

/// Returns the output and the exit status of a result.
fn printed(
    arguments: &Arguments,
    result: &AttestationResult,
    expectations: &Expectations,
) -> (String, ExitCode) {
    let text = if arguments.json {
        verdict::document(result)
    } else {
        text(result, expectations)
    };
    (text, ExitCode::from(Status::of(result).code()))
}

/// Verifies the bundle at `path`.
///
/// # Errors
/// The bundle cannot be opened, or a certificate or list cannot be fetched.
pub fn bundle(
    path: &Path,
    expectations: &mut Expectations,
    fetching: Option<Fetching>,
) -> Result<AttestationResult, UsageError> {
    judge(open(path)?, expectations, fetching)
}

/// Reads a bundle. The verifier reports what is wrong with it; only a file that cannot be opened is
/// an error here.
fn open(path: &Path) -> Result<Result<Bundle, ReadError>, UsageError> {
    match read::open(path) {
        Err(ReadError::Open(source)) => Err(UsageError::Read {
            path: path.to_owned(),
            source,
        }),
        read => Ok(read),
    }
}

/// Fetches what is missing, and verifies.
fn judge(
    read: Result<Bundle, ReadError>,
    expectations: &mut Expectations,
    fetching: Option<Fetching>,
) -> Result<AttestationResult, UsageError> {
    fetch(expectations, evidence(&read), fetching)?;
    Ok(verify(read, expectations))
}

/// Returns the evidence of a bundle, if it can be read.
fn evidence(read: &Result<Bundle, ReadError>) -> Option<Evidence> {
    let bundle = read.as_ref().ok()?;
    Evidence::read(bundle.evidence.as_deref()?).ok()
}

/// Fetches what is missing for evidence that can be read. Other evidence is rejected in any case.
///
/// # Errors
/// AMD's key service did not return the certificate or the list.
pub fn fetch(
    expectations: &mut Expectations,
    evidence: Option<Evidence>,
    fetching: Option<Fetching>,
) -> Result<(), UsageError> {
    match fetching.zip(evidence) {
        Some((fetching, evidence)) => fetching
            .complete(expectations, &evidence)
            .map_err(UsageError::Fetch),
        None => Ok(()),
    }
}

/// Verifies the evidence about a TLS key.
fn session(
    arguments: &Arguments,
    path: &Path,
    expectations: &mut Expectations,
    fetching: Option<Fetching>,
) -> Result<AttestationResult, UsageError> {
    let nonce: Nonce = expectations
        .nonce
        .clone()
        .ok_or(UsageError::NothingToVerify)?;
    let document = read_file(path)?;
    let key = match (&arguments.spki, &arguments.certificate) {
        (Some(spki), _) => Some(session_key(spki, false)?),
        (None, Some(certificate)) => Some(session_key(certificate, true)?),
        (None, None) => None,
    };
    let session = SessionEvidence::read(&document).ok();
    let evidence = session.map(|session| session.evidence);
    fetch(expectations, evidence, fetching)?;
    let result = verify_session(&document, &nonce, key.as_deref(), expectations);
    Ok(result)
}

/// Reads the DER SubjectPublicKeyInfo of a key or a certificate.
fn session_key(path: &Path, is_certificate: bool) -> Result<Vec<u8>, UsageError> {
    public_key_of(&read_file(path)?, is_certificate).map_err(|source| UsageError::Key {
        path: path.to_owned(),
        source,
    })
}

/// Returns the result as text: a line for each check, the verdict, what is established, and what is
/// not.
pub fn text(result: &AttestationResult, expectations: &Expectations) -> String {
    let mut text = String::new();
    if !expectations.roots.is_amd() {
        text.push_str("trusting a test hierarchy (--trust-root) instead of AMD\n");
    }
    if result.platform() == Platform::AzSnp {
        text.push_str(&format!("trusting {}\n", trusted(&expectations.roots)));
    }
    for (check, outcome) in result.outcomes() {
        let head = format!("{:<20} {}", check.name(), outcome.name().replace('-', " "));
        text.push_str(&line(&head, outcome.rejection()));
    }
    text.push_str(if result.is_accepted() {
        "ACCEPTED\n"
    } else {
        "REJECTED\n"
    });
    text.push_str(&established(result));
    text.push_str(&left_open(result));
    text
}

/// Returns the claims, a line each, and two warnings as sentences.
fn established(result: &AttestationResult) -> String {
    let claims = result.claims();
    let mut lines: String = claims
        .iter()
        .map(|(name, value)| claim(name, value))
        .collect();
    for given in strings(claims.get(DISPLACING)) {
        let given = shown(given);
        lines.push_str(&format!(
            "a build script may have put another program in the place of the linker: {given}\n"
        ));
    }
    if claims.get("built_here") == Some(&Value::Bool(false)) {
        lines.push_str(
            "nothing was built: every output was downloaded, from a cache or as its flake names \
             it, or is a copy of such a download\n",
        );
    }
    lines
}

/// Returns the line of a claim, or a line for each member of an object. Claims that are printed as
/// sentences have none.
fn claim(name: &str, value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Array(_) if name == NOT_ESTABLISHED || name == DISPLACING => String::new(),
        Value::Object(members) => {
            let mut lines = String::new();
            for (member, content) in members {
                let text = content.as_str().map_or(content.to_string(), str::to_owned);
                let pair = shown(&format!("{member}={text}"));
                lines.push_str(&format!("  {name}: {pair}\n"));
            }
            lines
        }
        Value::String(text) => format!("  {name}: {}\n", shown(text)),
        other => format!("  {name}: {}\n", escaped(other).trim_end()),
    }
}

/// Returns the checks that were not made or were waived, and what a verdict cannot establish.
fn left_open(result: &AttestationResult) -> String {
    let mut lines = String::new();
    for (check, outcome) in result.outcomes() {
        let name = check.name();
        match outcome {
            Outcome::NotChecked => lines.push_str(&format!("{name}: not checked\n")),
            Outcome::Waived(_) => lines.push_str(&format!("{name}: waived, not established\n")),
            _ => {}
        }
    }
    for sentence in strings(result.claims().get(NOT_ESTABLISHED)) {
        lines.push_str(&format!("{}\n", shown(sentence)));
    }
    lines
}

/// Returns the strings of a list; none if there is no list.
fn strings(value: Option<&Value>) -> impl Iterator<Item = &str> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str)
}

fn line(head: &str, rejection: Option<&Rejection>) -> String {
    let Some(rejection) = rejection else {
        return format!("{head}\n");
    };
    let sides: Sides = rejection.sides();
    let mut line = format!("{head}: {}: {}", rejection.code(), rejection);
    for (name, side) in [("expected", sides.0), ("actual", sides.1)] {
        if let Some(value) = side {
            line.push_str(&format!("; {name} {value}"));
        }
    }
    format!("{}\n", shown(&line))
}
