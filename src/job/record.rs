//! What happened, in the words of provenance. Comes in: the receipts of the pipeline. Goes out: the statement. Never: a
//! value that a client or a build claimed without our having computed or chosen it.

use std::collections::BTreeMap;

use super::Job;
use crate::bundle::{MAX_PROVENANCE_BYTES, names};
use crate::digest::Sha256Digest;
use crate::provenance::{
    self, ArchiveParameter, BuildDefinition, BuildMetadata, BuilderRecord, ExternalParameters,
    InternalParameters, NamedDigest, Nonce, NonceSource, Platform, Predicate, ResourceDescriptor,
    RunDetails, SourceParameter, Statement, StatementError, Subject, git_set, sha256_set,
};
use crate::sandbox::Description;
use crate::source::{Origin, RepositoryUrl, SourceTree};
use crate::toolchain::{Artifact, Built, Kind, Tool};

/// The component that `builder.version` speaks of.
const COMPONENT: &str = "kettle-init";

/// Why there is no statement.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    #[error("the sandbox's description cannot be serialised")]
    Sandbox(#[source] serde_json::Error),
    #[error(transparent)]
    Statement(#[from] StatementError),
    #[error("the provenance of this build has {size} bytes, and verifiers read at most {limit}")]
    TooLong { size: usize, limit: u64 },
}

/// States what was built from what.
pub(super) fn statement(
    job: &Job,
    platform: &Platform,
    (nonce, nonce_source): (&Nonce, NonceSource),
    built: &Built,
    tools: &[Tool],
    sandbox: &Description,
    log: &Sha256Digest,
) -> Result<Statement, RecordError> {
    let lockfile = named(
        built.lockfile.name,
        &Sha256Digest::of(&built.lockfile.bytes),
    );
    let subject = built.artifacts.iter().map(subject).collect();
    let definition = BuildDefinition {
        build_type: build_type(built.kind),
        external_parameters: ExternalParameters {
            source: source_parameter(built.tree.origin()),
            nonce: nonce.clone(),
            nonce_source,
        },
        internal_parameters: InternalParameters {
            command: built.commands.clone(),
            environment: built.environment.clone(),
            lockfile: lockfile.clone(),
            link_arguments: built.link_arguments.clone(),
            outputs: built.outputs.clone(),
            toolchain: tools.iter().map(tool).collect(),
            image: platform.image.clone(),
            network: networked(built),
            sandbox: serde_json::to_value(sandbox).map_err(RecordError::Sandbox)?,
            source_date_epoch: built.tree.epoch(),
        },
        resolved_dependencies: std::iter::once(source(&built.tree))
            .chain(built.dependencies.clone())
            .collect(),
    };
    let details = RunDetails {
        builder: BuilderRecord {
            id: platform.builder,
            version: BTreeMap::from([(COMPONENT, env!("CARGO_PKG_VERSION").to_owned())]),
        },
        metadata: BuildMetadata {
            invocation_id: job.id().to_string(),
            started_on: job.accepted_at().to_string(),
            finished_on: job.end_now().to_string(),
        },
        byproducts: vec![named(names::BUILD_LOG, log), lockfile],
    };
    let predicate = Predicate {
        build_definition: definition,
        run_details: details,
    };
    within_limit(Statement::new(subject, &predicate)?)
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
    let source = matches!(built.tree.origin(), Origin::Repository { .. }).then_some("source");
    source
        .into_iter()
        .chain(built.network.iter().copied())
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
