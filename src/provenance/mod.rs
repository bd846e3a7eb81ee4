//! The in-toto Statement. Comes in: what the pipeline's receipts say. Goes out: its bytes, serialised once. Never: a
//! second serialisation; what is hashed is what is stored, served and verified.

pub mod link;
mod options;
#[cfg(feature = "appliance")]
mod statement;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::{GitOid, Sha256Digest};
pub use link::LinkRecord;
pub use options::{CacheRecord, OptionsRecord};
#[cfg(feature = "appliance")]
pub use statement::{Statement, StatementError};

/// `_type` of an in-toto Statement v1 (in-toto attestation framework, spec v1, Statement).
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// `predicateType` of SLSA provenance v1.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";

/// `buildType` of what cargo built.
pub const BUILD_TYPE_CARGO: &str = "https://kettle.build/cargo/v1";

/// `buildType` of what nix built.
pub const BUILD_TYPE_NIX: &str = "https://kettle.build/nix/v1";

/// `builder.id` of the shipped image on a secure processor.
pub const BUILDER_SEV_SNP: &str = "https://kettle.build/appliance/sev-snp/v1";

/// `builder.id` of the shipped image on a confidential machine of Azure, whose paravisor speaks for the secure processor.
#[cfg(feature = "appraisal")]
pub const BUILDER_AZ_SNP: &str = "https://kettle.build/appliance/az-snp/v1";

/// `builder.id` of the service beside a simulated secure processor: never accepted under AMD's roots.
#[cfg(feature = "appraisal")]
pub const BUILDER_SIMULATED: &str = "https://kettle.build/appliance/simulated/v1";

/// `builder.id` of the service on an ordinary host: never with evidence, never accepted by a verifier.
pub const BUILDER_HOST: &str = "https://kettle.build/appliance/host/v1";

/// Size of the report data, in bytes (AMD 56860, `MSG_REPORT_REQ`).
pub const REPORT_DATA_BYTES: usize = 64;

/// The last bytes of the report data about a TLS key: no report about a build has them.
pub const SESSION_TAG: &[u8; 16] = b"kettle-session/1";

/// Longest nonce, in bytes: the width of its field in the report data.
pub const MAX_NONCE_BYTES: usize = 16;

/// Why text is not a nonce.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseNonceError {
    /// It has no digits, too many, or an odd number.
    #[error("a nonce has 2 to {} hexadecimal digits, an even number; {digits} characters were given", 2 * MAX_NONCE_BYTES)]
    Length {
        /// Characters that were given.
        digits: usize,
    },
    /// A character is no hexadecimal digit.
    #[error("the nonce has a character that is no hexadecimal digit")]
    Digit,
}

/// The caller's freshness value: 1 to 16 bytes. Prints as lower-case hex.
#[derive(Clone, PartialEq, Eq)]
pub struct Nonce(Vec<u8>);

impl Nonce {
    /// Reads 2 to 32 hexadecimal digits of either case.
    ///
    /// # Errors
    /// Another number of characters, or a character that is no digit.
    pub fn parse(text: &str) -> Result<Self, ParseNonceError> {
        let digits = text.chars().count();
        if digits == 0 || digits > 2 * MAX_NONCE_BYTES || !digits.is_multiple_of(2) {
            return Err(ParseNonceError::Length { digits });
        }
        hex::decode(text)
            .map(Self)
            .map_err(|_| ParseNonceError::Digit)
    }

    /// A nonce of the longest kind, from bytes that somebody drew at random.
    pub fn from_random(bytes: [u8; MAX_NONCE_BYTES]) -> Self {
        Self(bytes.to_vec())
    }

    /// Returns whether it is of the longest kind: only these are long enough to name a job.
    #[cfg(feature = "appliance")]
    pub fn is_longest(&self) -> bool {
        self.0.len() == MAX_NONCE_BYTES
    }

    /// The bytes, 1 to 16.
    #[cfg(feature = "client")]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As the report data has it: left-aligned, padded with zero bytes.
    pub fn padded(&self) -> [u8; MAX_NONCE_BYTES] {
        let mut bytes = [0; MAX_NONCE_BYTES];
        bytes[..self.0.len()].copy_from_slice(&self.0);
        bytes
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Nonce {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Who chose the nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NonceSource {
    /// The submission carried it.
    Client,
    /// The appliance drew it.
    Appliance,
}

/// in-toto v1 ResourceDescriptor, the members that we use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceDescriptor {
    /// A name within the statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is, globally.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Of its bytes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digest: DigestSet,
    /// More about it, by our names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, Value>,
}

/// DigestSet: algorithm to lower-case hex.
pub type DigestSet = BTreeMap<String, String>;

/// A DigestSet of one SHA-256 digest.
pub fn sha256_set(digest: &Sha256Digest) -> DigestSet {
    DigestSet::from([("sha256".to_owned(), digest.to_string())])
}

/// A DigestSet of one git tree, with `gitCommit` where there is one.
pub fn git_set(tree: GitOid, commit: Option<GitOid>) -> DigestSet {
    let commit = commit.map(|commit| ("gitCommit".to_owned(), commit.to_string()));
    commit
        .into_iter()
        .chain([("gitTree".to_owned(), tree.to_string())])
        .collect()
}

/// The annotation that names where something was fetched from, where that is not what it is called by.
pub fn fetched_from(url: Option<&str>) -> BTreeMap<String, Value> {
    url.into_iter()
        .map(|url| ("fetchedFrom".to_owned(), Value::from(url)))
        .collect()
}

/// One file with its digest: the lockfile, a byproduct, part of a subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamedDigest {
    /// A subject's is relative to `artifacts/`.
    pub name: String,
    /// Of the file.
    pub digest: DigestSet,
}

/// An artifact, as a subject of the statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// Relative to `artifacts/`, with the digest of the file.
    #[serde(flatten)]
    pub file: NamedDigest,
    /// What else a verifier holds the file to; left out where there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<SubjectAnnotations>,
}

/// What a subject says beside its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SubjectAnnotations {
    /// The file in the bundle has the mode 0755 instead of 0644.
    pub executable: bool,
}

impl Subject {
    /// Describes a file that anybody may execute, or nobody.
    pub fn new(file: NamedDigest, executable: bool) -> Self {
        Self {
            file,
            annotations: executable.then_some(SubjectAnnotations { executable }),
        }
    }
}

/// What the client asked to be built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum SourceParameter {
    /// A repository.
    Repository {
        /// The URL as given.
        repository: String,
        /// The ref as given, if it was.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
    },
    /// An archive.
    Archive {
        /// Which.
        archive: ArchiveParameter,
    },
}

/// An archive as the client sent it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ArchiveParameter {
    /// Its file name, if given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of its bytes; lower-case hex.
    pub sha256: String,
}

/// Exactly what the client chose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalParameters {
    /// What to build.
    pub source: SourceParameter,
    /// Freshness.
    pub nonce: Nonce,
    /// Who chose it.
    pub nonce_source: NonceSource,
    /// The options that the client chose; left out where it chose none.
    #[serde(skip_serializing_if = "OptionsRecord::is_empty")]
    pub options: OptionsRecord,
}

/// The commands that were run: program, then arguments. Empty where a phase was not needed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Commands {
    /// With network.
    pub fetch: Vec<String>,
    /// Evaluation of a flake, without network; left out where nothing was evaluated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evaluate: Vec<String>,
    /// What took from caches whatever the recipe needs, without a network of its own; left out likewise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub substitute: Vec<String>,
    /// What built, without network.
    pub build: Vec<String>,
    /// Packaging of a library, without network; left out where nothing was packaged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub package: Vec<String>,
}

/// A program that took part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ToolRecord {
    /// For instance `rustc`.
    pub name: String,
    /// The version line as the tool prints it.
    pub version: String,
    /// Of the file that ran.
    pub digest: DigestSet,
}

/// How a path of the store came to be: by a builder, here, without a network.
pub const BUILT: &str = "built";

/// How a path of the store came to be: by a builder that had the network, with the content that the flake names.
pub const FETCHED: &str = "fetched";

/// How a path of the store came to be: downloaded from a cache.
pub const SUBSTITUTED: &str = "substituted";

/// One output of a flake's default package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputRecord {
    /// For instance `out`.
    pub name: String,
    /// In the store.
    pub path: String,
    /// Of its NAR.
    pub digest: DigestSet,
    /// [`BUILT`]; or [`FETCHED`] or [`SUBSTITUTED`]: not made from the source here.
    pub realised: &'static str,
    /// Downloads of which its builder only made copies, or that it only unpacked; left out where it made something of its
    /// own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub copied_from: Vec<String>,
}

impl OutputRecord {
    /// Whether it holds anything that was made here.
    pub fn is_built_here(&self) -> bool {
        is_built_here(Some(self.realised), !self.copied_from.is_empty())
    }
}

/// Whether an output of a flake holds anything that was made here: whoever writes a statement, shows or verifies one asks
/// this. `realised` is how the output's path came to be, `is_copy` whether it only holds copies of downloads.
pub fn is_built_here(realised: Option<&str>, is_copy: bool) -> bool {
    realised == Some(BUILT) && !is_copy
}

/// What the appliance chose.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InternalParameters {
    /// What was run.
    pub command: Commands,
    /// Every variable that the build saw.
    pub environment: BTreeMap<String, String>,
    /// As it was used.
    pub lockfile: NamedDigest,
    /// What build scripts gave to the linker; left out where that is nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub link_arguments: Vec<LinkRecord>,
    /// What the artifacts were taken from, where that has an identity of its own: the outputs of a flake.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<OutputRecord>,
    /// What ran.
    pub toolchain: Vec<ToolRecord>,
    /// The image that ran; absent on a host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRecord>,
    /// The phases that had a network.
    pub network: Vec<&'static str>,
    /// What held the build, with every degradation.
    pub sandbox: Value,
    /// `SOURCE_DATE_EPOCH`, in seconds.
    pub source_date_epoch: u64,
}

/// What the guest knows about its own image. The launch measurement covers all of it; only evidence proves that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageRecord {
    /// As the command line names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Root of the root file system's dm-verity tree: SHA-256, hex, lower case.
    pub root_hash: String,
    /// The kernel, as the measured command line names it: a guest sees no file of it.
    pub kernel: NamedDigest,
    /// The initrd, likewise.
    pub initrd: NamedDigest,
    /// The kernel command line, digested as it was measured: without what firmware appends, and without a final newline.
    pub command_line: NamedDigest,
}

/// Where the service runs, as far as a statement speaks of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// What kind of appliance: `builder.id`.
    pub builder: &'static str,
    /// The image; none on a host.
    pub image: Option<ImageRecord>,
}

impl Platform {
    /// An ordinary host.
    #[cfg(feature = "host")]
    pub const HOST: Self = Self {
        builder: BUILDER_HOST,
        image: None,
    };

    /// A host whose evidence comes from a simulated secure processor.
    #[cfg(feature = "simulator")]
    pub const SIMULATED: Self = Self {
        builder: BUILDER_SIMULATED,
        image: None,
    };

    /// The shipped image on a machine that offers it a secure processor. Evidence alone proves it.
    pub fn attested(image: ImageRecord) -> Self {
        Self {
            builder: BUILDER_SEV_SNP,
            image: Some(image),
        }
    }

    /// A booted image without a secure processor to say so: it claims no more than a host.
    pub fn unattested(image: ImageRecord) -> Self {
        Self {
            builder: BUILDER_HOST,
            image: Some(image),
        }
    }
}

/// SLSA v1 BuildDefinition.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildDefinition {
    /// What the parameters mean.
    pub build_type: &'static str,
    /// What the client chose.
    pub external_parameters: ExternalParameters,
    /// What the appliance chose.
    pub internal_parameters: InternalParameters,
    /// The source itself, then every dependency that the build used.
    pub resolved_dependencies: Vec<ResourceDescriptor>,
}

/// Who built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BuilderRecord {
    /// What kind of appliance.
    pub id: &'static str,
    /// Component to version.
    pub version: BTreeMap<&'static str, String>,
}

/// When, and for which job. The clock belongs to the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildMetadata {
    /// The job's id.
    pub invocation_id: String,
    /// RFC 3339, UTC.
    pub started_on: String,
    /// RFC 3339, UTC.
    pub finished_on: String,
}

/// SLSA v1 RunDetails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunDetails {
    /// Who built.
    pub builder: BuilderRecord,
    /// When.
    pub metadata: BuildMetadata,
    /// What else came of it: the log and the lockfile.
    pub byproducts: Vec<NamedDigest>,
}

/// SLSA v1 provenance.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Predicate {
    /// What was to be done, from what.
    pub build_definition: BuildDefinition,
    /// How it went.
    pub run_details: RunDetails,
}

/// The 64 bytes that a report about a build carries.
///
/// | bytes | content |
/// |---|---|
/// | 0–31 | SHA-256 of `provenance.json` |
/// | 32–47 | the nonce, left-aligned, padded with zero bytes |
/// | 48–63 | zero |
pub fn report_data(provenance: &[u8], nonce: &Nonce) -> [u8; REPORT_DATA_BYTES] {
    layout(provenance, nonce, &[0; 16])
}

/// The 64 bytes that a report about a TLS key carries: SHA-256 of its DER SubjectPublicKeyInfo, the nonce as above, then
/// [`SESSION_TAG`].
pub fn session_report_data(public_key: &[u8], nonce: &Nonce) -> [u8; REPORT_DATA_BYTES] {
    layout(public_key, nonce, SESSION_TAG)
}

fn layout(subject: &[u8], nonce: &Nonce, tag: &[u8; 16]) -> [u8; REPORT_DATA_BYTES] {
    let mut data = [0; REPORT_DATA_BYTES];
    data[..32].copy_from_slice(Sha256Digest::of(subject).as_bytes());
    data[32..48].copy_from_slice(&nonce.padded());
    data[48..].copy_from_slice(tag);
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_built_and_is_no_copy_was_built_here() {
        assert!(is_built_here(Some(BUILT), false));
        for (realised, is_copy) in [
            (Some(BUILT), true),
            (Some(FETCHED), false),
            (Some(SUBSTITUTED), false),
            (Some("added"), false),
            (None, false),
        ] {
            assert!(!is_built_here(realised, is_copy), "{realised:?} {is_copy}");
        }
    }

    #[test]
    fn nonces_have_one_to_sixteen_bytes() {
        assert_eq!(Nonce::parse("00").unwrap().to_string(), "00");
        assert_eq!(
            Nonce::parse(&"Ab".repeat(16)).unwrap().to_string(),
            "ab".repeat(16)
        );
        for (text, error) in [
            ("", ParseNonceError::Length { digits: 0 }),
            ("abc", ParseNonceError::Length { digits: 3 }),
            (&"0".repeat(34), ParseNonceError::Length { digits: 34 }),
            ("0g", ParseNonceError::Digit),
            ("éé", ParseNonceError::Digit),
        ] {
            assert_eq!(Nonce::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn report_data_binds_provenance_and_nonce() {
        let data = report_data(b"x", &Nonce::parse("0102").unwrap());
        assert_eq!(data[..32], *Sha256Digest::of(b"x").as_bytes());
        assert_eq!(data[32..36], [1, 2, 0, 0]);
        assert_eq!(data[36..], [0; 28]);
        let session = session_report_data(b"x", &Nonce::parse("0102").unwrap());
        assert_eq!(
            (&session[..48], &session[48..]),
            (&data[..48], &b"kettle-session/1"[..])
        );
    }
}
