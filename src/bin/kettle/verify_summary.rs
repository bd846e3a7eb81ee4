//! `kettle verify-summary`: decides whether to trust a verification summary.
//!
//! * In: a summary, the public key of its signer, and what it has to say.
//! * Out: the verdict and the level, and an exit status.
//! * Never: a success without a signature of that key, or for another resource than the user named.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use kettle::causes::Chain;
use kettle::dsse::{self, MAX_CONTAINER_BYTES};
use kettle::inspect::{escaped, shown};
use kettle::verifier::summary::{self, Level, VERIFIER_ID, Wanted};
use serde_json::json;

use super::launch::{InputError, read};
use super::verify::{SummaryError, UsageError, artifact, public_key};

/// The end of `--help`.
pub const AFTER_HELP: &str = "\
A summary says what somebody found about a bundle; the bundle itself is not read here. Trust the \
summary as far as you trust the owner of the key.

Exit status: 0 accepted, 1 rejected, 2 nothing was verified.";

/// The arguments of `kettle verify-summary`.
#[derive(Args)]
pub struct Arguments {
    /// The file that `kettle verify --vsa-out` wrote.
    summary: PathBuf,
    /// The public key of its signer: P-256, PEM or DER.
    #[arg(long, value_name = "FILE")]
    public_key: PathBuf,
    /// The resource that it has to be about, as a URI.
    #[arg(long, value_name = "URI")]
    resource_uri: String,
    /// The verifier that it has to name, as a URI.
    #[arg(long, value_name = "URI", default_value = VERIFIER_ID)]
    verifier_id: String,
    /// A file that has to be one of its subjects. Repeatable.
    #[arg(long, value_name = "FILE", required = true)]
    artifact: Vec<PathBuf>,
    /// The lowest level of SLSA's build track that is accepted.
    #[arg(long, value_name = "LEVEL", default_value = "SLSA_BUILD_LEVEL_3", value_parser = level)]
    level: Level,
    /// Prints one JSON document.
    #[arg(long)]
    json: bool,
}

/// Why nothing was verified.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum VerifySummaryError {
    #[error(transparent)]
    Key(#[from] SummaryError),
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Artifact(#[from] Box<UsageError>),
}

fn level(text: &str) -> Result<Level, String> {
    let names = Level::ALL.map(Level::name).join(", ");
    Level::named(text).ok_or(format!("not a level of the build track; there are {names}"))
}

/// Appraises the summary, and returns the output and the exit status.
///
/// # Errors
/// A file cannot be read, or the key cannot be used.
pub fn run(arguments: &Arguments) -> Result<(String, ExitCode), VerifySummaryError> {
    let key = public_key(&arguments.public_key)?;
    let container = read(
        &arguments.summary,
        MAX_CONTAINER_BYTES,
        "MAX_CONTAINER_BYTES",
    )?;
    let mut artifacts = Vec::new();
    for path in &arguments.artifact {
        artifacts.push(artifact(path).map_err(Box::new)?);
    }
    let wanted = Wanted {
        verifier_id: &arguments.verifier_id,
        resource_uri: &arguments.resource_uri,
        artifacts: &artifacts,
        level: arguments.level,
    };
    let found = match dsse::open(&container, &key) {
        Ok(payload) => {
            summary::appraise(&payload, &wanted).map_err(|error| Chain(&error).to_string())
        }
        Err(error) => Err(Chain(&error).to_string()),
    };
    Ok(match found {
        Ok(level) => (accepted(level, arguments.json), ExitCode::SUCCESS),
        Err(reason) => (rejected(&reason, arguments.json), ExitCode::FAILURE),
    })
}

fn accepted(level: Level, json: bool) -> String {
    let name = level.name();
    if json {
        return escaped(&json!({"verdict": "accepted", "level": name}));
    }
    format!("ACCEPTED\n  level: {name}\n")
}

fn rejected(reason: &str, json: bool) -> String {
    if json {
        return escaped(&json!({"verdict": "rejected", "detail": reason}));
    }
    format!("REJECTED\n  {}\n", shown(reason))
}
