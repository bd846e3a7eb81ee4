//! `--vsa-out`: the verdict as a verification summary, signed with the caller's own key.
//!
//! - Comes in: options, the verdict, and a key: a file, or a program that signs.
//! - Goes out: a file.
//! - Never: a summary where nothing was verified, or with a signature that its own key does not verify.

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

/// What `--help` calls these options.
const HEADING: &str = "Verification summary (SLSA)";

/// Whether there is to be a summary, and in whose name.
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
    /// A program that signs instead, for keys that cannot be read: gets on standard input what is to be signed, and prints the
    /// signature (ECDSA with SHA-256, DER).
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
    /// What the artifacts are, as a URI: pkg:cargo/ripgrep@14.1.1 for instance.
    #[arg(long, value_name = "URI", requires = "vsa_out")]
    resource_uri: Option<String>,
    /// Who verifies, as a URI.
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

/// A summary that is to be written, with a key that was found to be one.
pub struct Summary<'a> {
    out: &'a Path,
    signer: Signer<'a>,
    options: &'a SummaryOptions,
}

/// Who signs.
enum Signer<'a> {
    Key(EcdsaKeyPair),
    Program { path: &'a Path, key: PublicKey },
}

impl SummaryOptions {
    /// Reads the key, if there is to be a summary, so that a wrong one is found before anything is verified.
    ///
    /// # Errors
    /// There is no key, or it is of another kind.
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
    /// Signs and writes what is to be said of `bundle`. `flags` are the options outside of the policy file, and
    /// `policy_sha256` is the digest of the bytes that were read from that.
    ///
    /// # Errors
    /// Nothing was signed, or the file cannot be written.
    pub fn write(
        &self,
        bundle: Summarised,
        result: &AttestationResult,
        flags: &Options,
        policy_sha256: Option<Sha256Digest>,
    ) -> Result<(), SummaryError> {
        let now = OffsetDateTime::now_utc().replace_nanosecond(0);
        let now = now.ok().and_then(|now| now.format(&Rfc3339).ok());
        let about = About {
            verifier_id: &self.options.verifier_id,
            resource_uri: self.options.resource_uri.as_deref().unwrap_or_default(),
            time_verified: &now.unwrap_or_default(),
            policy: flags.policy.as_deref().map(file_name).zip(policy_sha256),
            options: given(flags),
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
                let signature = pair.sign(&SystemRandom::new(), &message);
                let signature = signature.map_err(|_| SummaryError::Sign)?;
                (key.ok_or(SummaryError::Sign)?, signature.as_ref().to_vec())
            }
            Self::Program { path, key } => (key.clone(), signed_by(path, &message)?),
        };
        Ok(dsse::seal(payload, &key, &signature)?)
    }
}

/// Has a program sign. What it complains of goes where our own complaints go.
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
    match written {
        Some(Err(error)) => Err(failed(format!(
            "it did not read what it should sign: {error}"
        ))),
        _ => Ok(output.stdout),
    }
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
/// It is none on P-256.
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

/// The options of a verification that its policy file does not say, by name: readers of the summary have to see them.
fn given(flags: &Options) -> Value {
    // Without `..`: an option that is new has to be shown here, or to be one that lets nothing more pass.
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
    let texts = |values: &[String]| Value::from(values.to_vec());
    let names = |paths: &[PathBuf]| paths.iter().map(|path| file_name(path)).collect::<Vec<_>>();
    let paths = |values: &[PathBuf]| Value::from(names(values));
    let text = |value: &Option<String>| value.clone().map_or(Value::Null, Value::from);
    let path = |value: &Option<PathBuf>| {
        value
            .as_deref()
            .map_or(Value::Null, |path| file_name(path).into())
    };
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
    let is_given = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(values) => !values.is_empty(),
        _ => true,
    };
    let given: Map<_, _> = all
        .into_iter()
        .filter(|(_, value)| is_given(value))
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    Value::Object(given)
}
