//! `kettle verify`. Comes in: options, a policy file, a bundle or the evidence about a TLS key. Goes out: text or JSON, and
//! the exit status. Never: a status of success for anything but an accepted bundle.

mod fetch;
mod options;
mod policy;
mod public_key;
mod summary;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use kettle::bundle::read::{self, Bundle, ReadError};
use kettle::inspect::{escaped, shown};
use kettle::provenance::Nonce;
use kettle::verifier::summary::{NoSubject, Summarised};
use kettle::verifier::{
    AttestationResult, Check, Evidence, Expectations, NOT_ESTABLISHED, Outcome, Platform,
    Rejection, SessionEvidence, Sides, azure::trusted, public_key_of, verify, verify_session,
};
use serde_json::{Map, Value, json};

use public_key::{PublicKeyError, UntrustedKey};
use summary::SummaryOptions;

pub use fetch::Fetching;
pub use options::{Options, UsageError, artifact, read_file};
pub use summary::{SummaryError, public_key};

/// The claim whose lines have a sentence of their own.
const DISPLACING: &str = "displacing_link_arguments";

/// Options that say something of a bundle, which a session does not have.
const OF_A_BUNDLE: [&str; 6] = [
    "repository",
    "reference",
    "commit",
    "artifact",
    "option",
    "no_options",
];

/// What to verify, and what to compare it with.
#[derive(Args)]
pub struct Arguments {
    /// The bundle as downloaded (`.tar.gz`), or the folder it was unpacked to.
    #[arg(required_unless_present = "session", conflicts_with = "session")]
    bundle: Option<PathBuf>,
    /// Verifies the answer of `GET /attestation` to --nonce instead: may this TLS key be trusted?
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
    /// Writes the statement key, PEM, if the bundle is accepted: `provenance.sigstore.json` is signed with it.
    #[arg(long, value_name = "FILE", conflicts_with = "session")]
    public_key_out: Option<PathBuf>,
    #[command(flatten)]
    summary: SummaryOptions,
}

/// Accepted.
const ACCEPTED: u8 = 0;
/// Rejected.
const REJECTED: u8 = 1;

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

/// The output with the exit status.
///
/// # Errors
/// Wrong usage, a path that cannot be read, a fault of ours: nothing was verified.
pub fn run(arguments: &Arguments) -> Result<(String, ExitCode), VerifyError> {
    let options = arguments.options.with_policy()?;
    let fetching = options.fetching()?;
    let mut expectations = options.expectations()?;
    let summary = arguments.summary.prepare()?;
    let result = match (&arguments.session, &arguments.bundle) {
        (Some(path), _) => session(arguments, path, &mut expectations, fetching)?,
        (None, Some(path)) => {
            let read = open(path)?;
            let wanted = read.as_ref().ok().filter(|_| summary.is_some());
            let summarised = wanted.map(Summarised::of);
            let key = UntrustedKey::of(&read);
            let result = judge(read, &mut expectations, fetching)?;
            if let Some(summary) = summary {
                let bundle = summarised.unwrap_or(Err(NoSubject));
                summary.write(
                    bundle.map_err(SummaryError::from)?,
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
    let text = if arguments.json {
        escaped(&document(&result))
    } else {
        text(&result, &expectations)
    };
    Ok((
        text,
        ExitCode::from(if result.is_accepted() {
            ACCEPTED
        } else {
            REJECTED
        }),
    ))
}

/// Verifies the bundle at `path`.
///
/// # Errors
/// It cannot be opened, or something that it lacks cannot be fetched.
pub fn bundle(
    path: &Path,
    expectations: &mut Expectations,
    fetching: Option<Fetching>,
) -> Result<AttestationResult, UsageError> {
    judge(open(path)?, expectations, fetching)
}

/// What is wrong about a bundle is for the verifier to say; what cannot be opened is none.
fn open(path: &Path) -> Result<Result<Bundle, ReadError>, UsageError> {
    match read::open(path) {
        Err(ReadError::Open(source)) => Err(UsageError::Read {
            path: path.to_owned(),
            source,
        }),
        read => Ok(read),
    }
}

fn judge(
    read: Result<Bundle, ReadError>,
    expectations: &mut Expectations,
    fetching: Option<Fetching>,
) -> Result<AttestationResult, UsageError> {
    let evidence = read
        .as_ref()
        .ok()
        .and_then(|bundle| Evidence::read(bundle.evidence.as_deref()?).ok());
    fetch(expectations, evidence, fetching)?;
    Ok(verify(read, expectations))
}

/// For evidence that can be read; what cannot be is rejected in any case.
///
/// # Errors
/// The key service did not give it.
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
    let shown = arguments.spki.as_ref().map(|path| (path, false));
    let key = match shown.or(arguments.certificate.as_ref().map(|path| (path, true))) {
        Some((path, is_certificate)) => {
            let key = public_key_of(&read_file(path)?, is_certificate);
            Some(key.map_err(|source| UsageError::Key {
                path: path.clone(),
                source,
            })?)
        }
        None => None,
    };
    fetch(
        expectations,
        SessionEvidence::read(&document)
            .ok()
            .map(|session| session.evidence),
        fetching,
    )?;
    Ok(verify_session(
        &document,
        &nonce,
        key.as_deref(),
        expectations,
    ))
}

/// The document of a run that verified nothing.
pub fn error_document(error: &str) -> String {
    escaped(&json!({"verdict": "error", "error": error, "checks": []}))
}

/// The result as the document of `--json`.
pub fn document(result: &AttestationResult) -> Value {
    let verdict = if result.is_accepted() {
        "accepted"
    } else {
        "rejected"
    };
    let checks: Vec<_> = result
        .outcomes()
        .map(|(check, outcome)| entry(check, outcome))
        .collect();
    json!({"verdict": verdict, "checks": checks, "claims": result.claims()})
}

fn entry(check: Check, outcome: &Outcome) -> Value {
    let mut entry = Map::new();
    entry.insert("check".to_owned(), json!(check.name()));
    entry.insert("outcome".to_owned(), json!(outcome.name()));
    if let Some(rejection) = outcome.rejection() {
        let (expected, actual) = rejection.sides();
        entry.insert("code".to_owned(), json!(rejection.code()));
        entry.insert("expected".to_owned(), json!(expected));
        entry.insert("actual".to_owned(), json!(actual));
        entry.insert("detail".to_owned(), json!(rejection.to_string()));
    }
    Value::Object(entry)
}

/// Returns one line a check, the verdict, what is established, and what is not.
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

/// What the claims say, with two warnings in words.
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

/// One line, for an object one a member; nothing for what is said in words elsewhere.
fn claim(name: &str, value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Array(_) if name == NOT_ESTABLISHED || name == DISPLACING => String::new(),
        Value::Object(members) => members
            .iter()
            .map(|(member, value)| {
                let value = value.as_str().map_or(value.to_string(), str::to_owned);
                format!("  {name}: {}\n", shown(&format!("{member}={value}")))
            })
            .collect(),
        Value::String(value) => format!("  {name}: {}\n", shown(value)),
        value => format!("  {name}: {}\n", escaped(value).trim_end()),
    }
}

/// What nobody looked at, what was waived, and what a verdict cannot establish.
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

/// The strings of a list; none where there is no list.
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
        line.push_str(
            &side
                .map(|side| format!("; {name} {side}"))
                .unwrap_or_default(),
        );
    }
    format!("{}\n", shown(&line))
}
