//! The in-toto Statement.
//!
//! * In: the records of the pipeline's receipts.
//! * Out: its bytes, serialised once.
//! * Never: a second serialisation: the bytes that are hashed are those that are stored, served and
//!   verified.

pub mod link;
mod options;
mod signer;
#[cfg(feature = "appliance")]
mod statement;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::{GitOid, Sha256Digest};
pub use link::LinkRecord;
pub use options::{CacheRecord, OptionsRecord};
pub use signer::{SIGNER_ALGORITHM, SignerRecord};
#[cfg(feature = "appliance")]
pub use statement::{Statement, StatementError};

/// `_type` of an in-toto Statement v1 (in-toto attestation framework, spec v1, Statement).
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// `predicateType` of SLSA provenance v1.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";

/// `buildType` of a build by cargo.
pub const BUILD_TYPE_CARGO: &str = "https://kettle.build/cargo/v1";

/// `buildType` of a build by nix.
pub const BUILD_TYPE_NIX: &str = "https://kettle.build/nix/v1";

/// `builder.id` of the shipped image on a secure processor.
pub const BUILDER_SEV_SNP: &str = "https://kettle.build/appliance/sev-snp/v1";

/// `builder.id` of the shipped image on a confidential machine of Azure, whose paravisor speaks for
/// the secure processor.
pub const BUILDER_AZ_SNP: &str = "https://kettle.build/appliance/az-snp/v1";

/// `builder.id` of the service with a simulated secure processor: never accepted under AMD's roots.
#[cfg(feature = "appraisal")]
pub const BUILDER_SIMULATED: &str = "https://kettle.build/appliance/simulated/v1";

/// `builder.id` of the service on an ordinary host: never with evidence, never accepted by a
/// verifier.
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
    /// The text has no digits, too many, or an odd number of them.
    #[error(
        "a nonce has 2 to {} hexadecimal digits, an even number; {digits} characters were given",
        2 * MAX_NONCE_BYTES
    )]
    Length {
        /// The number of characters that were given.
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
    /// The text has another number of characters, or a character that is no digit.
    pub fn parse(text: &str) -> Result<Self, ParseNonceError> {
        let digits = text.chars().count();
        if digits == 0 || digits > 2 * MAX_NONCE_BYTES || !digits.is_multiple_of(2) {
            return Err(ParseNonceError::Length { digits });
        }
        hex::decode(text)
            .map(Self)
            .map_err(|_| ParseNonceError::Digit)
    }

    /// Returns a nonce of full length from random bytes.
    pub fn from_random(bytes: [u8; MAX_NONCE_BYTES]) -> Self {
        Self(bytes.to_vec())
    }

    /// Returns whether the nonce has the greatest length, the only one that can name a job.
    #[cfg(feature = "appliance")]
    pub fn is_longest(&self) -> bool {
        self.0.len() == MAX_NONCE_BYTES
    }

    /// Returns the bytes of the nonce, 1 to 16.
    #[cfg(feature = "client")]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the nonce as the report data has it: left-aligned, padded with zero bytes.
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

/// The party that chose the nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NonceSource {
    /// The client sent it with the submission.
    Client,
    /// The appliance generated it at random.
    Appliance,
}

/// The members of in-toto's ResourceDescriptor (v1) that a statement uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceDescriptor {
    /// A name within the statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The URI that identifies the resource globally.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// The digests of its bytes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digest: DigestSet,
    /// Further properties, under names of this project.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, Value>,
}

/// A DigestSet: from the algorithm to lower-case hex.
pub type DigestSet = BTreeMap<String, String>;

/// Returns a DigestSet of one SHA-256 digest.
pub fn sha256_set(digest: &Sha256Digest) -> DigestSet {
    DigestSet::from([("sha256".to_owned(), digest.to_string())])
}

/// Returns a DigestSet of one git tree, with `gitCommit` if there is a commit.
pub fn git_set(tree: GitOid, commit: Option<GitOid>) -> DigestSet {
    let commit = commit.map(|commit| ("gitCommit".to_owned(), commit.to_string()));
    commit
        .into_iter()
        .chain([("gitTree".to_owned(), tree.to_string())])
        .collect()
}

/// Returns the annotation with the address of a download, where that differs from the resource's
/// own URI.
pub fn fetched_from(url: Option<&str>) -> BTreeMap<String, Value> {
    url.into_iter()
        .map(|url| ("fetchedFrom".to_owned(), Value::from(url)))
        .collect()
}

/// One file with its digest: the lockfile, a byproduct, part of a subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamedDigest {
    /// The file's name; a subject's is relative to `artifacts/`.
    pub name: String,
    /// The digests of the file.
    pub digest: DigestSet,
}

/// An artifact, as a subject of the statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// The artifact's name, relative to `artifacts/`, and its digest.
    #[serde(flatten)]
    pub file: NamedDigest,
    /// Further properties that a verifier compares; left out where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<SubjectAnnotations>,
}

/// The properties of a subject beside its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SubjectAnnotations {
    /// Whether the file in the bundle has the mode 0755 instead of 0644.
    pub executable: bool,
}

impl Subject {
    /// Describes a file, which everybody may execute or nobody.
    pub fn new(file: NamedDigest, executable: bool) -> Self {
        Self {
            file,
            annotations: executable.then_some(SubjectAnnotations { executable }),
        }
    }
}

/// The source that the client requested to be built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum SourceParameter {
    /// The source is a repository.
    Repository {
        /// The URL as the client gave it.
        repository: String,
        /// The ref as the client gave it, if it did.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
    },
    /// The source is an archive.
    Archive {
        /// The archive that the client sent.
        archive: ArchiveParameter,
    },
}

/// An archive as the client sent it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ArchiveParameter {
    /// The archive's file name, if the client gave one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The SHA-256 digest of its bytes, in lower-case hex.
    pub sha256: String,
}

/// The external parameters: exactly the client's choices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalParameters {
    /// The source to build.
    pub source: SourceParameter,
    /// The caller's value that shows freshness.
    pub nonce: Nonce,
    /// The party that chose the nonce.
    pub nonce_source: NonceSource,
    /// The options that the client chose; left out where it chose none.
    #[serde(skip_serializing_if = "OptionsRecord::is_empty")]
    pub options: OptionsRecord,
}

/// The commands that were run: program, then arguments. Empty where a phase was not needed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Commands {
    /// The fetch, with a network.
    pub fetch: Vec<String>,
    /// The evaluation of a flake, without network; left out where nothing was evaluated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evaluate: Vec<String>,
    /// The command that takes the recipe's inputs from caches, without its own network; left out
    /// where nothing was taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub substitute: Vec<String>,
    /// The build, without network.
    pub build: Vec<String>,
    /// The packaging of a library, without network; left out where nothing was packaged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub package: Vec<String>,
}

/// The part of the toolchain that becomes a part of artifacts: the standard library.
pub const RUST_STD: &str = "rust-std";

/// A program that took part in the build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ToolRecord {
    /// The name of the program, for instance `rustc`.
    pub name: String,
    /// The version line as the program prints it.
    pub version: String,
    /// The digests of the file that ran.
    pub digest: DigestSet,
}

/// A shared library that an artifact needs when it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LibraryRecord {
    /// The name of the library, as the artifact's ELF header has it.
    pub name: String,
    /// The package of the image that has a library of this name; left out if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// The version of the package.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// The origin of a store path that a builder made here, without a network.
pub const BUILT: &str = "built";

/// The origin of a store path that a builder with the network made, with the content that the flake
/// names.
pub const FETCHED: &str = "fetched";

/// The origin of a store path that was downloaded from a cache.
pub const SUBSTITUTED: &str = "substituted";

/// One output of a flake's default package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputRecord {
    /// The name of the output, for instance `out`.
    pub name: String,
    /// The path of the output in the store.
    pub path: String,
    /// The digests of its NAR.
    pub digest: DigestSet,
    /// The origin of its path: [`BUILT`], or, not made from the source here, [`FETCHED`] or
    /// [`SUBSTITUTED`].
    pub realised: &'static str,
    /// The downloads that its builder only copied or unpacked; left out where it made something
    /// itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub copied_from: Vec<String>,
}

impl OutputRecord {
    /// Returns whether it contains anything that was made here.
    pub fn is_built_here(&self) -> bool {
        is_built_here(Some(self.realised), !self.copied_from.is_empty())
    }
}

/// Returns whether an output of a flake contains anything that was made here. The writer, the
/// viewer and the verifier of a statement share this rule. `realised` is the origin of the output's
/// path, `is_copy` whether it contains only copies of downloads.
pub fn is_built_here(realised: Option<&str>, is_copy: bool) -> bool {
    realised == Some(BUILT) && !is_copy
}

/// The internal parameters: the appliance's choices.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InternalParameters {
    /// The key that signs this statement, for tools that cannot read the report.
    pub signer: SignerRecord,
    /// The commands that were run.
    pub command: Commands,
    /// Every variable that the build saw.
    pub environment: BTreeMap<String, String>,
    /// The lockfile that the build used.
    pub lockfile: NamedDigest,
    /// The shared libraries that the artifacts need when they start; left out where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub libraries: Vec<LibraryRecord>,
    /// The arguments that build scripts gave to the linker; left out where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub link_arguments: Vec<LinkRecord>,
    /// The recipes from which the evaluation of a flake imported; left out where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub import_from_derivation: Vec<String>,
    /// The outputs of a flake from which the artifacts were taken; left out for other builds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<OutputRecord>,
    /// The programs that took part in the build.
    pub toolchain: Vec<ToolRecord>,
    /// The image in which the build ran; absent on a host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRecord>,
    /// The phases that had a network.
    pub network: Vec<&'static str>,
    /// The sandbox of the build, with every degradation.
    pub sandbox: Value,
    /// The value of `SOURCE_DATE_EPOCH`, in seconds since 1970.
    pub source_date_epoch: u64,
}

/// The guest's knowledge about its own image. The launch measurement covers all of it; only
/// evidence proves that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageRecord {
    /// The version of the image, as the command line names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The name of the published boot, where it has a command line of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<&'static str>,
    /// The root hash of the root file system's dm-verity tree: SHA-256, hex, lower case.
    pub root_hash: String,
    /// The kernel, as the measured command line names it: a guest sees no file of it.
    pub kernel: NamedDigest,
    /// The initrd, as the measured command line names it.
    pub initrd: NamedDigest,
    /// The kernel command line, digested as it was measured: without what firmware appends, and
    /// without a final newline.
    pub command_line: NamedDigest,
}

/// The platform of the service, as a statement names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// The kind of appliance: `builder.id`.
    pub builder: &'static str,
    /// The image that runs; none on a host.
    pub image: Option<ImageRecord>,
}

impl Platform {
    /// An ordinary host, without evidence.
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

    /// Returns the platform of the shipped image on a machine with a secure processor. Only
    /// evidence proves it.
    pub fn attested(image: ImageRecord) -> Self {
        Self {
            builder: BUILDER_SEV_SNP,
            image: Some(image),
        }
    }

    /// Returns the platform of the shipped image on a confidential machine of Azure. Only evidence
    /// proves it.
    pub fn attested_by_paravisor(image: ImageRecord) -> Self {
        Self {
            builder: BUILDER_AZ_SNP,
            image: Some(image),
        }
    }

    /// Returns the platform of a booted image without a secure processor: it claims no more than a
    /// host.
    pub fn unattested(image: ImageRecord) -> Self {
        Self {
            builder: BUILDER_HOST,
            image: Some(image),
        }
    }
}

/// The BuildDefinition of SLSA v1.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildDefinition {
    /// The type that defines the meaning of the parameters.
    pub build_type: &'static str,
    /// The client's choices.
    pub external_parameters: ExternalParameters,
    /// The appliance's choices.
    pub internal_parameters: InternalParameters,
    /// The source itself, then every dependency that the build used.
    pub resolved_dependencies: Vec<ResourceDescriptor>,
}

/// The builder, as a statement names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BuilderRecord {
    /// The id of the kind of appliance.
    pub id: &'static str,
    /// The version of each component.
    pub version: BTreeMap<&'static str, String>,
}

/// The times of a build, and its job. The clock belongs to the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildMetadata {
    /// The id of the job.
    pub invocation_id: String,
    /// The start, RFC 3339, UTC.
    pub started_on: String,
    /// The end, RFC 3339, UTC.
    pub finished_on: String,
}

/// The RunDetails of SLSA v1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunDetails {
    /// The builder that made the artifacts.
    pub builder: BuilderRecord,
    /// The times of the build, and its job.
    pub metadata: BuildMetadata,
    /// The other files of the build: the log and the lockfile.
    pub byproducts: Vec<NamedDigest>,
}

/// The predicate of SLSA v1 provenance.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Predicate {
    /// The inputs of the build.
    pub build_definition: BuildDefinition,
    /// The record of this run.
    pub run_details: RunDetails,
}

/// Returns the report data, 64 bytes, of a report about a build.
///
/// | bytes | content |
/// |---|---|
/// | 0–31 | SHA-256 of `provenance.json` |
/// | 32–47 | the nonce, left-aligned, padded with zero bytes |
/// | 48–63 | zero |
pub fn report_data(provenance: &[u8], nonce: &Nonce) -> [u8; REPORT_DATA_BYTES] {
    layout(provenance, nonce, &[0; 16])
}

/// Returns the report data, 64 bytes, of a report about a TLS key: SHA-256 of its DER
/// SubjectPublicKeyInfo, the nonce as above, then [`SESSION_TAG`].
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
