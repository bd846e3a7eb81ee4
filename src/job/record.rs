//! States what happened, in the words of provenance, and has it signed.
//!
//! * In: a build that is over.
//! * Out: the statement, the same signed by its own key, then evidence about the statement.
//! * Never: a value that a client or a build claimed without our having computed or chosen it.
//!
//! | receipt | made by | taken by |
//! |---|---|---|
//! | [`CompletedBuild`] | writing the log of what was built | the statement |
//! | [`StatedBuild`] | the statement, and the signature over it | the attester |
//! | [`AttestedBuild`] | the attester, or its absence | the bundle |

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::Job;
use super::log_file::{LogFile, LogFileError};
use super::statement_key::{StatementKey, StatementKeyError};
use crate::attester::{AttestError, Attester, Evidence};
use crate::bundle::{MAX_PROVENANCE_BYTES, names};
use crate::digest::Sha256Digest;
use crate::provenance::{
    self, ArchiveParameter, BuildDefinition, BuildMetadata, BuilderRecord, ExternalParameters,
    InternalParameters, NamedDigest, Platform, Predicate, ResourceDescriptor, RunDetails,
    SignerRecord, SourceParameter, Statement, StatementError, Subject, git_set, sha256_set,
};
use crate::sandbox::Description;
use crate::sbom;
use crate::source::{Origin, RepositoryUrl, SourceTree};
use crate::toolchain::{Artifact, Built, Kind, Tool};

/// The component that `builder.version` speaks of.
const COMPONENT: &str = "kettle-init";

/// The reason why there is no signed statement.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    #[error("the sandbox's description cannot be serialised")]
    Sandbox(#[source] serde_json::Error),
    #[error(transparent)]
    Statement(#[from] StatementError),
    #[error(transparent)]
    Key(#[from] StatementKeyError),
    #[error("the provenance of this build has {size} bytes, and verifiers read at most {limit}")]
    TooLong { size: usize, limit: u64 },
}

/// The machine that built, as a statement describes it.
pub(super) struct Machine<'a> {
    /// The kind of machine, and its image.
    pub platform: &'a Platform,
    /// The programs that built, with their digests.
    pub tools: &'a [Tool],
    /// The sandbox that the commands ran in.
    pub sandbox: &'a Description,
}

/// A build that is over, with its log on disk: it has everything that the statement says, and
/// nothing else gets into a statement.
pub(super) struct CompletedBuild<'a> {
    job: &'a Arc<Job>,
    machine: Machine<'a>,
    built: Built,
    log: LogFile,
}

impl<'a> CompletedBuild<'a> {
    /// Ends the build by writing its log: nothing that is printed later is in it.
    pub async fn new(
        job: &'a Arc<Job>,
        machine: Machine<'a>,
        built: Built,
    ) -> Result<Self, LogFileError> {
        let log = LogFile::write(job).await?;
        Ok(Self {
            job,
            machine,
            built,
            log,
        })
    }

    /// Writes the statement, and signs it. The key exists only meanwhile: no command of the build
    /// runs any more, and afterwards the key is gone.
    pub fn state(self) -> Result<StatedBuild, RecordError> {
        let key = StatementKey::new()?;
        let (statement, sbom) = self.statement(key.signer())?;
        let envelope = key.sign(&statement)?;
        Ok(StatedBuild {
            directory: self.job.directory().to_owned(),
            built: self.built,
            log: self.log,
            sbom,
            statement,
            envelope,
        })
    }

    /// Returns the statement, and the bill of materials, which has the same contents and is one of
    /// the statement's byproducts.
    fn statement(&self, signer: SignerRecord) -> Result<(Statement, Vec<u8>), RecordError> {
        let subjects: Vec<_> = self.built.artifacts().iter().map(subject).collect();
        let build_definition = BuildDefinition {
            build_type: build_type(self.built.kind()),
            external_parameters: self.external_parameters(),
            internal_parameters: self.internal_parameters(signer)?,
            resolved_dependencies: std::iter::once(source(self.built.tree()))
                .chain(self.built.dependencies().iter().cloned())
                .collect(),
        };
        let project = self.built.tree().project().as_str();
        let sbom = sbom::of(project, &subjects, &build_definition);
        let predicate = Predicate {
            build_definition,
            run_details: self.run_details(&sbom),
        };
        let statement = within_limit(Statement::new(subjects, &predicate)?)?;
        Ok((statement, sbom))
    }

    fn external_parameters(&self) -> ExternalParameters {
        ExternalParameters {
            source: source_parameter(self.built.tree().origin()),
            nonce: self.job.nonce().clone(),
            nonce_source: self.job.nonce_source(),
            options: self.job.options().record(),
        }
    }

    fn internal_parameters(&self, signer: SignerRecord) -> Result<InternalParameters, RecordError> {
        let (built, machine) = (&self.built, &self.machine);
        Ok(InternalParameters {
            signer,
            command: built.commands().clone(),
            environment: built.environment().clone(),
            lockfile: self.lockfile(),
            libraries: built.libraries().to_vec(),
            link_arguments: built.link_arguments().to_vec(),
            import_from_derivation: built.imported().to_vec(),
            outputs: built.outputs().to_vec(),
            toolchain: machine.tools.iter().map(tool).collect(),
            image: machine.platform.image.clone(),
            network: networked(built),
            sandbox: serde_json::to_value(machine.sandbox).map_err(RecordError::Sandbox)?,
            source_date_epoch: built.tree().epoch(),
        })
    }

    fn run_details(&self, sbom: &[u8]) -> RunDetails {
        let job = self.job;
        RunDetails {
            builder: BuilderRecord {
                id: self.machine.platform.builder,
                version: BTreeMap::from([(COMPONENT, env!("CARGO_PKG_VERSION").to_owned())]),
            },
            metadata: BuildMetadata {
                invocation_id: job.id().to_string(),
                started_on: job.accepted_at().to_string(),
                finished_on: job.end_now().to_string(),
            },
            byproducts: vec![
                named(names::BUILD_LOG, self.log.sha256()),
                self.lockfile(),
                named(names::SBOM, &Sha256Digest::of(sbom)),
            ],
        }
    }

    fn lockfile(&self) -> NamedDigest {
        let lockfile = self.built.lockfile();
        named(lockfile.name, &Sha256Digest::of(&lockfile.bytes))
    }
}

/// A build with its signed statement: the receipt of [`CompletedBuild::state`].
pub(super) struct StatedBuild {
    directory: PathBuf,
    built: Built,
    log: LogFile,
    sbom: Vec<u8>,
    statement: Statement,
    envelope: Vec<u8>,
}

impl StatedBuild {
    /// Requests evidence about the statement. This may block for minutes.
    pub fn attest(self, attester: &dyn Attester) -> Result<AttestedBuild, AttestError> {
        let evidence = attester.attest(&self.statement.report_data())?;
        Ok(AttestedBuild {
            stated: self,
            evidence: Some(evidence),
        })
    }

    /// Continues without evidence, on a machine that has no attester.
    pub fn without_attester(self) -> AttestedBuild {
        AttestedBuild {
            stated: self,
            evidence: None,
        }
    }
}

/// A build with its statement, and with evidence about that statement where there is an attester.
pub(super) struct AttestedBuild {
    stated: StatedBuild,
    evidence: Option<Evidence>,
}

/// The contents of a bundle.
pub(super) struct BundleParts {
    /// The directory of the job, in which the bundle is written.
    pub directory: PathBuf,
    /// The build, with its artifacts.
    pub built: Built,
    /// The build log, whose digest the statement has.
    pub log: LogFile,
    /// The bill of materials, whose digest the statement has.
    pub sbom: Vec<u8>,
    /// The statement about everything else here.
    pub statement: Statement,
    /// The statement in its container, signed by the statement key.
    pub envelope: Vec<u8>,
    /// The evidence about the statement; none where there is no attester.
    pub evidence: Option<Evidence>,
}

impl AttestedBuild {
    /// Returns the contents of the receipt, for the bundle.
    pub fn into_parts(self) -> BundleParts {
        let StatedBuild {
            directory,
            built,
            log,
            sbom,
            statement,
            envelope,
        } = self.stated;
        BundleParts {
            directory,
            built,
            log,
            sbom,
            statement,
            envelope,
            evidence: self.evidence,
        }
    }
}

/// A statement that no verifier would read is of no use to anybody.
fn within_limit(statement: Statement) -> Result<Statement, RecordError> {
    let size = statement.as_bytes().len();
    if size as u64 > MAX_PROVENANCE_BYTES {
        return Err(RecordError::TooLong {
            size,
            limit: MAX_PROVENANCE_BYTES,
        });
    }
    Ok(statement)
}

fn named(name: &str, digest: &Sha256Digest) -> NamedDigest {
    NamedDigest {
        name: name.to_owned(),
        digest: sha256_set(digest),
    }
}

fn subject(artifact: &Artifact) -> Subject {
    Subject::new(named(&artifact.name, &artifact.sha256), artifact.executable)
}

fn tool(tool: &Tool) -> provenance::ToolRecord {
    provenance::ToolRecord {
        name: tool.name.clone(),
        version: tool.version.clone(),
        digest: sha256_set(&tool.sha256),
    }
}

fn source_parameter(origin: &Origin) -> SourceParameter {
    match origin {
        Origin::Repository { url, reference, .. } => SourceParameter::Repository {
            repository: url.as_str().to_owned(),
            reference: reference
                .as_ref()
                .map(|reference| reference.as_str().to_owned()),
        },
        Origin::Archive { name, sha256 } => SourceParameter::Archive {
            archive: ArchiveParameter {
                name: name.clone(),
                sha256: sha256.to_string(),
            },
        },
    }
}

fn build_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Cargo => provenance::BUILD_TYPE_CARGO,
        Kind::Nix => provenance::BUILD_TYPE_NIX,
    }
}

/// The phases that had a network.
fn networked(built: &Built) -> Vec<&'static str> {
    let source = matches!(built.tree().origin(), Origin::Repository { .. }).then_some("source");
    source
        .into_iter()
        .chain(built.network().iter().copied())
        .collect()
}

/// The source itself, the first of the resolved dependencies.
fn source(tree: &SourceTree) -> ResourceDescriptor {
    match tree.origin() {
        Origin::Repository {
            url,
            commit,
            fetched_from,
            ..
        } => ResourceDescriptor {
            uri: Some(format!("git+{}#{commit}", url.as_str())),
            digest: git_set(tree.tree(), Some(*commit)),
            annotations: provenance::fetched_from(fetched_from.as_ref().map(RepositoryUrl::as_str)),
            ..ResourceDescriptor::default()
        },
        Origin::Archive { name, sha256 } => {
            let mut digest = sha256_set(sha256);
            digest.extend(git_set(tree.tree(), None));
            ResourceDescriptor {
                name: name.clone(),
                digest,
                ..ResourceDescriptor::default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::GitOid;
    use crate::job::{Request, SourceRequest};
    use crate::provenance::{ImageRecord, Nonce, NonceSource};
    use crate::sandbox::{Degradations, FetchNetwork, Limits, RunnerVersion};
    use crate::source::GitRef;
    use crate::toolchain::test_only;

    /// The SHA-256 digests of the two statements below. They change only with the form of a
    /// statement, which verifiers, old ones too, have to read.
    const GOLDEN: [(Kind, &str); 2] = [
        (
            Kind::Cargo,
            "d185e403c517465391db7f49bce24d18a5c99466e1554be10971098d23ada764",
        ),
        (
            Kind::Nix,
            "a0a059377fad780c8fa3ddb35919a4b804c6f3fde1fff96f98a314ad82cfd47e",
        ),
    ];

    fn url(text: &str) -> RepositoryUrl {
        RepositoryUrl::parse(text).unwrap()
    }

    fn tree(kind: Kind) -> SourceTree {
        let origin = match kind {
            Kind::Cargo => Origin::Repository {
                url: url("https://example.org/hello"),
                reference: Some(GitRef::parse("v1").unwrap()),
                commit: GitOid::of_object("commit", b"a commit"),
                fetched_from: Some(url("https://example.org/moved/hello")),
            },
            Kind::Nix => Origin::Archive {
                name: Some("hello.tar".to_owned()),
                sha256: Sha256Digest::of(b"an archive"),
            },
        };
        SourceTree::test_only_of(origin, GitOid::of_object("tree", b""), 1_700_000_000)
    }

    fn platform(kind: Kind) -> Platform {
        let named = |name: &str| named(name, &Sha256Digest::of(name.as_bytes()));
        let image = ImageRecord {
            version: Some("1.2.3".to_owned()),
            variant: None,
            root_hash: "ab".repeat(32),
            kernel: named("kernel"),
            initrd: named("initrd"),
            command_line: named("cmdline"),
        };
        match kind {
            Kind::Cargo => Platform::attested(image),
            Kind::Nix => Platform::unattested(image),
        }
    }

    fn sandbox() -> Description {
        Description {
            runner: RunnerVersion {
                name: "bubblewrap",
                version: "0.8.0".to_owned(),
            },
            namespaces: &["mount", "pid"],
            uid: 7,
            seccomp: "cd".repeat(32),
            limits: Limits {
                memory_bytes: Some(1),
                tasks: 2,
                open_files: 3,
                file_bytes: 4,
                tmp_bytes: 5,
                home_bytes: 6,
            },
            processors: Some(8),
            controllers: vec!["memory", "pids"],
            fetch_network: FetchNetwork {
                reaches: "public-unicast",
                allowed: Vec::new(),
            },
            degradations: Degradations::default(),
        }
    }

    /// Returns a statement, with words in place of the job's id, both times, our own version and
    /// the key.
    fn stated(kind: Kind) -> String {
        let work = tempfile::tempdir().unwrap();
        let request = Request::test_only_new(
            Nonce::parse("00c0ffee").unwrap(),
            NonceSource::Client,
            SourceRequest::Repository {
                url: url("https://example.org/hello"),
                reference: None,
                token: None,
            },
        );
        let job = Arc::new(Job::set_up(work.path(), &request, "guest").unwrap());
        let tools = [Tool {
            name: "rustc".to_owned(),
            version: "rustc 1.95.0".to_owned(),
            sha256: Sha256Digest::of(b"rustc"),
        }];
        let machine = Machine {
            platform: &platform(kind),
            tools: &tools,
            sandbox: &sandbox(),
        };
        let built = test_only::built(tree(kind), kind);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let completed = runtime.block_on(CompletedBuild::new(&job, machine, built));
        let stated = completed.unwrap().state().unwrap();
        let parts = stated.without_attester().into_parts();
        let bytes = parts.statement.into_bytes();
        let sbom = Sha256Digest::of(&parts.sbom).to_string();
        assert!(String::from_utf8_lossy(&bytes).contains(&sbom));
        let mut text = String::from_utf8(bytes).unwrap();
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        let details = &read["predicate"]["runDetails"];
        let signer = &read["predicate"]["buildDefinition"]["internalParameters"]["signer"];
        for (member, value) in [
            ("invocationId", &details["metadata"]["invocationId"]),
            ("startedOn", &details["metadata"]["startedOn"]),
            ("finishedOn", &details["metadata"]["finishedOn"]),
            (COMPONENT, &details["builder"]["version"][COMPONENT]),
            ("publicKey", &signer["publicKey"]),
        ] {
            let member_of = |value: &str| format!("\"{member}\":\"{value}\"");
            let found = member_of(value.as_str().unwrap());
            assert_eq!(text.matches(&found).count(), 1, "{found}");
            text = text.replace(&found, &member_of(member));
        }
        text
    }

    #[test]
    fn a_statement_about_the_same_build_is_the_same_bytes() {
        for (kind, sha256) in GOLDEN {
            let text = stated(kind);
            let found = Sha256Digest::of(text.as_bytes()).to_string();
            assert_eq!(found, sha256, "{kind}: {text}");
        }
    }
}
