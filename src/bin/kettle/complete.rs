//! `kettle complete`: adds the VCEK that a bundle's host did not provide.
//!
//! * In: a bundle as downloaded, and a certificate: from AMD's key service, or a file.
//! * Out: the same bundle with the certificate in its evidence, in the canonical encoding.
//! * Never: a certificate that is not the report's, another change, or half a file.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use clap::Args;
use kettle::bundle::read::{self, Bundle, ReadError};
use kettle::bundle::{self, Entry, names};
use kettle::kds::KdsError;
use kettle::verifier::{Evidence, Platform, Rejection};
use serde_json::Value;

use super::build::{Unpacked, unpack};
use super::verify::{Fetching, Options, UsageError};

/// The end of `--help`.
pub const AFTER_HELP: &str = "\
Nothing else in the bundle changes: statement, artifacts and report stay as the secure processor \
signed them. The certificate must be the one for the report's chip and TCB version, under AMD's \
roots; the bundle is not verified beyond that.

Exit status: 0 the bundle has its certificate, 2 it does not.";

/// The arguments of `kettle complete`.
#[derive(Args)]
pub struct Arguments {
    /// The bundle as downloaded (`.tar.gz`).
    bundle: PathBuf,
    /// The file to write. Default: the bundle itself is replaced.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The VCEK, DER or PEM, instead of asking AMD's key service.
    #[arg(long, value_name = "FILE")]
    vcek: Option<PathBuf>,
    /// The directory for fetched files. Default: kettle below $XDG_CACHE_HOME or ~/.cache.
    #[arg(long, value_name = "DIR", conflicts_with = "vcek")]
    cache: Option<PathBuf>,
    /// A test hierarchy to trust instead of AMD: PEM, its ARK then its ASK.
    #[arg(long, value_name = "FILE", requires = "vcek")]
    trust_root: Option<PathBuf>,
}

/// Why there is no complete bundle.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum CompleteError {
    #[error(transparent)]
    Usage(Box<UsageError>),
    #[error("{path} is a directory: give the bundle as it was downloaded")]
    Directory { path: PathBuf },
    #[error("{path}")]
    Bundle {
        path: PathBuf,
        source: Box<ReadError>,
    },
    #[error("the bundle has no evidence: nobody signed it, and no certificate would help")]
    NoEvidence,
    #[error("the evidence: {0}")]
    Evidence(Box<Rejection>),
    #[error("AMD's key service has no certificate for this report, which names no VCEK of a chip")]
    NoCertificate,
    #[error("the certificate is not that of the key that signed the report")]
    AnotherCertificate,
    #[error("AMD's key service failed")]
    Fetch(#[source] Box<KdsError>),
    #[error("{path} cannot be written")]
    Write { path: PathBuf, source: io::Error },
    #[error("the bundle that was written is not the one that was read, and was removed")]
    Changed,
}

impl From<UsageError> for CompleteError {
    fn from(error: UsageError) -> Self {
        Self::Usage(Box::new(error))
    }
}

impl From<Rejection> for CompleteError {
    fn from(rejection: Rejection) -> Self {
        Self::Evidence(Box::new(rejection))
    }
}

/// Completes a bundle, and returns the output.
///
/// # Errors
/// The bundle cannot be completed.
pub fn run(arguments: &Arguments) -> Result<String, CompleteError> {
    let path = &arguments.bundle;
    if path.is_dir() {
        return Err(CompleteError::Directory { path: path.clone() });
    }
    let bundle = open(path)?;
    let Some(document) = bundle.evidence.as_deref() else {
        return Err(CompleteError::NoEvidence);
    };
    let evidence = Evidence::read(document)?;
    let out = arguments.out.as_ref().unwrap_or(path);
    if evidence.certificate.is_some() && arguments.vcek.is_none() {
        if arguments.out.is_some() {
            fs::copy(path, out).map_err(|source| CompleteError::Write {
                path: out.clone(),
                source,
            })?;
        }
        return Ok(format!("{} has its certificate already\n", out.display()));
    }
    let certificate = arguments.certificate(&evidence)?;
    let completed = with_certificate(document, &certificate)?;
    write(path, out, &bundle, &completed)?;
    Ok(format!("{} has its certificate now\n", out.display()))
}

fn open(path: &Path) -> Result<Bundle, CompleteError> {
    read::open(path).map_err(|source| CompleteError::Bundle {
        path: path.to_owned(),
        source: Box::new(source),
    })
}

impl Arguments {
    /// Returns the certificate of the report's key, DER.
    fn certificate(&self, evidence: &Evidence) -> Result<Vec<u8>, CompleteError> {
        let options = Options {
            vcek: self.vcek.clone(),
            trust_root: self.trust_root.clone(),
            ..Options::default()
        };
        let mut expectations = options.expectations()?;
        if self.vcek.is_none() {
            let without_certificate = Evidence {
                certificate: None,
                ..evidence.clone()
            };
            let fetching = Fetching {
                list: false,
                cache: self.cache.clone(),
            };
            fetching
                .complete(&mut expectations, &without_certificate)
                .map_err(|error| CompleteError::Fetch(Box::new(error)))?;
        }
        let Some(certificate) = expectations.certificate else {
            return Err(CompleteError::NoCertificate);
        };
        let (roots, at) = (&expectations.roots, expectations.at);
        if !roots.certify(&evidence.report, &certificate, at) {
            return Err(CompleteError::AnotherCertificate);
        }
        Ok(kettle::verifier::certificate_der(&certificate)?)
    }
}

/// Returns the evidence with a chain of one certificate: every verifier has AMD's ASK and ARK.
fn with_certificate(document: &[u8], certificate: &[u8]) -> Result<Vec<u8>, CompleteError> {
    let evidence = Evidence::read(document)?;
    // The members are in the order in which the appliance writes them.
    let text = match evidence.platform() {
        Platform::Snp => {
            let parts = [&evidence.report.as_bytes()[..], certificate];
            let [report, vcek] = parts.map(|part| STANDARD.encode(part));
            format!(
                "{{\"platform\":\"snp\",\"evidence\":{{\"attestation_report\":\"{report}\",\
                 \"cert_chain\":{{\"vcek\":\"{vcek}\"}}}}}}\n"
            )
        }
        Platform::AzSnp => {
            let members: Value = serde_json::from_slice(document).unwrap_or_default();
            let members = &members["evidence"];
            let (quote, hcl) = (&members["tpm_quote"], &members["hcl_report"]);
            let [signature, message, pcrs] =
                ["signature", "message", "pcrs"].map(|name| &quote[name]);
            let vcek = URL_SAFE_NO_PAD.encode(certificate);
            format!(
                "{{\"platform\":\"az-snp\",\"evidence\":{{\"version\":1,\"tpm_quote\":{{\
                 \"signature\":{signature},\"message\":{message},\"pcrs\":{pcrs}}},\
                 \"hcl_report\":{hcl},\"vcek\":\"{vcek}\"}}}}\n"
            )
        }
    };
    // A verifier must be able to read it.
    Evidence::read(text.as_bytes())?;
    Ok(text.into_bytes())
}

/// Writes the bundle to a temporary file beside `out`, reads it back, and renames it.
fn write(from: &Path, out: &Path, before: &Bundle, evidence: &[u8]) -> Result<(), CompleteError> {
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    let beside =
        |ending: &str| out.with_file_name(format!(".{name}.{}.{ending}", std::process::id()));
    let unfinished = Unfinished {
        files: beside("files"),
        bundle: beside("bundle"),
    };
    let failed = |source| CompleteError::Write {
        path: out.to_owned(),
        source,
    };
    let unpacked = unpack(from, &unfinished.files).map_err(failed)?;
    let file = File::create_new(&unfinished.bundle).map_err(failed)?;
    let entries = entries(&unfinished.files, &unpacked, before, evidence).map_err(failed)?;
    let epoch = before.time.unwrap_or_default();
    let file = bundle::write(file, &unpacked.top, entries, epoch).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    let expected = Bundle {
        evidence: Some(evidence.to_vec()),
        ..before.clone()
    };
    if open(&unfinished.bundle)? != expected {
        return Err(CompleteError::Changed);
    }
    fs::rename(&unfinished.bundle, out).map_err(failed)
}

fn entries<'a>(
    directory: &Path,
    unpacked: &Unpacked,
    before: &Bundle,
    evidence: &'a [u8],
) -> io::Result<Vec<Entry<'a>>> {
    let mut entries = Vec::new();
    for file in &unpacked.files {
        let path = file.to_string_lossy().into_owned();
        if path == names::EVIDENCE {
            entries.push(Entry::of_bytes(path, evidence));
            continue;
        }
        let on_disk = directory.join(&unpacked.top).join(file);
        let name = names::artifact_name(&path);
        let is_executable = |name| {
            let mut artifacts = before.artifacts.iter();
            let found = artifacts.find(|artifact| artifact.name == name);
            found.is_some_and(|artifact| artifact.executable)
        };
        entries.push(Entry {
            executable: name.is_some_and(is_executable),
            size: fs::metadata(&on_disk)?.len(),
            recorded: None,
            content: Box::new(Lazy {
                path: on_disk,
                file: None,
            }),
            path,
        });
    }
    Ok(entries)
}

/// A file that is opened when it is read, because a bundle may have more files than a process may
/// open.
struct Lazy {
    path: PathBuf,
    file: Option<File>,
}

impl Read for Lazy {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let file = match &mut self.file {
            Some(file) => file,
            closed => closed.insert(File::open(&self.path)?),
        };
        file.read(buffer)
    }
}

/// Temporary files that are removed in any case.
struct Unfinished {
    files: PathBuf,
    bundle: PathBuf,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // The bundle was renamed, or is not wanted.
        let _ = fs::remove_file(&self.bundle);
        let _ = fs::remove_dir_all(&self.files);
    }
}
