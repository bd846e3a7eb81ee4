//! `--vsa-out`: writes the verdict as a verification summary, signed with the caller's own key.
//!
//! * In: options, the verdict, and a key: a file, or a program that signs.
//! * Out: a file.
//! * Never: a summary if nothing was verified, or a signature that its own key does not verify.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use kettle::digest::Sha256Digest;
use kettle::dsse::{self, NotSigned, PublicKey};
use kettle::verifier::summary::{self, About, NoSubject, Summarised, VERIFIER_ID};
use kettle::verifier::{AttestationResult, der_of};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::options::{Options, UsageError, read_file};

/// The heading of these options in `--help`.
const HEADING: &str = "Verification summary (SLSA)";

/// Options of the summary: whether it is written, and who signs it.
#[derive(Args)]
#[command(next_help_heading = HEADING)]
pub struct SummaryOptions {
    /// Writes the verdict as a signed verification summary: also of a rejected bundle, as failed.
    #[arg(
        long,
        value_name = "FILE",
        requires = "resource_uri",
        conflicts_with = "session"
    )]
    vsa_out: Option<PathBuf>,
    /// The key that signs it: PKCS#8 PEM, P-256.
    #[arg(long, value_name = "FILE", requires = "vsa_out")]
    vsa_key: Option<PathBuf>,
    /// A program that signs instead, for keys that cannot be read. It reads the message to sign
    /// from standard input, and prints the signature (ECDSA with SHA-256, DER).
    #[arg(
        long,
        value_name = "PROGRAM",
        requires = "vsa_out",
        requires = "vsa_public_key",
        conflicts_with = "vsa_key"
    )]
    vsa_signer: Option<PathBuf>,
    /// With --vsa-signer: its public key, PEM or DER.
    #[arg(long, value_name = "FILE", requires = "vsa_signer")]
    vsa_public_key: Option<PathBuf>,
    /// The name of the artifacts, as a URI: pkg:cargo/ripgrep@14.1.1 for instance.
    #[arg(long, value_name = "URI", requires = "vsa_out")]
    resource_uri: Option<String>,
    /// The name of the verifier, as a URI.
    #[arg(long, value_name = "URI", requires = "vsa_out", default_value = VERIFIER_ID)]
    verifier_id: String,
}

/// Why there is no summary.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum SummaryError {
    #[error(transparent)]
    File(Box<UsageError>),
    #[error("--vsa-out needs --vsa-key or --vsa-signer")]
    NoKey,
    #[error("{path} is no {expected}: {reason}")]
    Key {
        path: PathBuf,
        expected: &'static str,
        reason: String,
    },
    #[error("{path} cannot be started")]
    Start { path: PathBuf, source: io::Error },
    #[error("{path} did not sign: {reason}")]
    Signer { path: PathBuf, reason: String },
    #[error("the key could not sign")]
    Sign,
    #[error(transparent)]
    NotSigned(#[from] NotSigned),
    #[error(transparent)]
    NoSubject(#[from] NoSubject),
    #[error("{path} cannot be written")]
    Write { path: PathBuf, source: io::Error },
}

/// A summary that is to be written, with a key that was read.
pub struct Summary<'a> {
    out: &'a Path,
    signer: Signer<'a>,
    options: &'a SummaryOptions,
}

/// The key or the program that signs.
enum Signer<'a> {
    Key(EcdsaKeyPair),
    Program { path: &'a Path, key: PublicKey },
}

impl SummaryOptions {
    /// Reads the key if there is to be a summary, so that a wrong key is found before anything is
    /// verified.
    ///
    /// # Errors
    /// The key is missing, or is of another kind.
    pub fn prepare(&self) -> Result<Option<Summary<'_>>, SummaryError> {
        let Some(out) = &self.vsa_out else {
            return Ok(None);
        };
        let signer = match (&self.vsa_key, &self.vsa_signer, &self.vsa_public_key) {
            (Some(path), _, _) => Signer::Key(private_key(path)?),
            (None, Some(path), Some(key)) => Signer::Program {
                path,
                key: public_key(key)?,
            },
            _ => return Err(SummaryError::NoKey),
        };
        Ok(Some(Summary {
            out,
            signer,
            options: self,
        }))
    }
}

impl Summary<'_> {
    /// Signs and writes the summary of `bundle`. `flags` are the options outside of the policy
    /// file, and `policy_sha256` is the digest of the bytes of that file.
    ///
    /// # Errors
    /// The summary cannot be signed or written.
    pub fn write(
        &self,
        bundle: Summarised,
        result: &AttestationResult,
        flags: &Options,
        policy_sha256: Option<Sha256Digest>,
    ) -> Result<(), SummaryError> {
        let now = OffsetDateTime::now_utc().replace_nanosecond(0).ok();
        let now_text = now.and_then(|time| time.format(&Rfc3339).ok());
        let about = About {
            verifier_id: &self.options.verifier_id,
            resource_uri: self.options.resource_uri.as_deref().unwrap_or_default(),
            time_verified: &now_text.unwrap_or_default(),
            policy: flags.policy.as_deref().map(file_name).zip(policy_sha256),
            options: given_options(flags),
        };
        let statement = summary::statement(bundle, result, &about);
        let container = self.signer.seal(&statement)?;
        fs::write(self.out, container).map_err(|source| SummaryError::Write {
            path: self.out.to_owned(),
            source,
        })
    }
}

impl Signer<'_> {
    fn seal(&self, payload: &[u8]) -> Result<Vec<u8>, SummaryError> {
        let message = dsse::pre_authentication(payload);
        let (key, signature) = match self {
            Self::Key(pair) => {
                let key = PublicKey::from_point(pair.public_key().as_ref());
                let signature = pair
                    .sign(&SystemRandom::new(), &message)
                    .map_err(|_| SummaryError::Sign)?;
                (key.ok_or(SummaryError::Sign)?, signature.as_ref().to_vec())
            }
            Self::Program { path, key } => (key.clone(), signed_by(path, &message)?),
        };
        Ok(dsse::seal(payload, &key, &signature)?)
    }
}

/// Lets a program sign. Its standard error is this process's.
fn signed_by(path: &Path, message: &[u8]) -> Result<Vec<u8>, SummaryError> {
    let start = |source| SummaryError::Start {
        path: path.to_owned(),
        source,
    };
    let failed = |reason: String| SummaryError::Signer {
        path: path.to_owned(),
        reason,
    };
    let mut child = Command::new(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(start)?;
    let written = child.stdin.take().map(|mut input| input.write_all(message));
    let output = child
        .wait_with_output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    if let Some(Err(error)) = written {
        return Err(failed(format!("it did not read the message: {error}")));
    }
    Ok(output.stdout)
}

fn private_key(path: &Path) -> Result<EcdsaKeyPair, SummaryError> {
    let wrong = |reason: String| SummaryError::Key {
        path: path.to_owned(),
        expected: "private key on P-256 (PKCS#8, PEM or DER)",
        reason,
    };
    let der = der_of(&read(path)?, "PRIVATE KEY").map_err(wrong)?;
    let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, &der, &SystemRandom::new());
    pair.map_err(|error| wrong(error.to_string()))
}

/// Reads a public key, PEM or DER.
///
/// # Errors
/// The file cannot be read, or is not a public key on P-256.
pub fn public_key(path: &Path) -> Result<PublicKey, SummaryError> {
    let wrong = |reason: String| SummaryError::Key {
        path: path.to_owned(),
        expected: "public key on P-256 (SubjectPublicKeyInfo, PEM or DER)",
        reason,
    };
    let der = der_of(&read(path)?, "PUBLIC KEY").map_err(wrong)?;
    let key = PublicKey::from_spki(&der);
    key.ok_or_else(|| wrong("it is of another kind".to_owned()))
}

fn read(path: &Path) -> Result<Vec<u8>, SummaryError> {
    read_file(path).map_err(|error| SummaryError::File(Box::new(error)))
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// Returns the given options of a verification that are not in its policy file, by name. Readers of
/// the summary have to see them.
fn given_options(flags: &Options) -> Value {
    // There is no `..` here: a new option must be added to the list below, unless it cannot make a
    // verification less strict.
    let Options {
        nonce,
        measurement,
        measurements,
        policy_measurement: _,
        policy_measurements: _,
        policy_sha256: _,
        vcek,
        crl,
        fetch: _,
        fetch_crl: _,
        cache: _,
        min_tcb,
        repository,
        reference,
        commit,
        artifact,
        option,
        no_options,
        trust_root,
        policy: _,
        at,
        waive,
    } = flags;
    let all = [
        ("nonce", text(nonce)),
        ("measurement", texts(measurement)),
        ("measurements", paths(measurements)),
        ("vcek", path(vcek)),
        ("crl", path(crl)),
        ("min-tcb", text(min_tcb)),
        ("repository", text(repository)),
        ("ref", text(reference)),
        ("commit", text(commit)),
        ("artifact", paths(artifact)),
        ("option", texts(option)),
        ("no-options", Value::from(*no_options)),
        ("trust-root", path(trust_root)),
        ("at", text(at)),
        ("waive", texts(waive)),
    ];
    let mut given = Map::new();
    for (name, value) in all {
        if is_given(&value) {
            given.insert(name.to_owned(), value);
        }
    }
    Value::Object(given)
}

fn is_given(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(values) => !values.is_empty(),
        _ => true,
    }
}

fn text(value: &Option<String>) -> Value {
    value.clone().map_or(Value::Null, Value::from)
}

fn texts(values: &[String]) -> Value {
    Value::from(values.to_vec())
}

fn path(value: &Option<PathBuf>) -> Value {
    let name = value.as_deref().map(file_name);
    name.map_or(Value::Null, Value::from)
}

fn paths(values: &[PathBuf]) -> Value {
    let mut names = Vec::new();
    for value in values {
        names.push(file_name(value));
    }
    Value::from(names)
}
