//! Reads `provenance.json`.
//!
//! * In: its bytes.
//! * Out: the members that are compared with something.
//! * Never: the digest of a statement that was serialised again; the hash is over the bytes
//!   themselves.
//!
//! | question | file |
//! |---|---|
//! | what a statement says | this one |
//! | whether it has an accepted form | `form` |
//! | how digests and lists are read | `read` |

mod form;
mod read;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use super::chosen::Chosen;
use super::json::{self, Text};
use super::rejection::Rejection;
use super::signer::Signer;
use crate::digest::Sha256Digest;
use crate::provenance::Nonce;
use crate::provenance::link::{can_displace_linker, is_linker_variable};

/// The members of a statement that are compared with something.
#[derive(Debug, Deserialize)]
pub struct Statement<'a> {
    #[serde(rename = "_type", borrow)]
    statement_type: Text<'a>,
    #[serde(borrow, deserialize_with = "read::subjects")]
    subject: Vec<NamedFile<'a>>,
    #[serde(rename = "predicateType", borrow)]
    predicate_type: Text<'a>,
    #[serde(borrow)]
    predicate: Predicate<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Predicate<'a> {
    #[serde(borrow)]
    build_definition: BuildDefinition<'a>,
    #[serde(borrow)]
    run_details: RunDetails<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BuildDefinition<'a> {
    #[serde(borrow)]
    build_type: Text<'a>,
    #[serde(borrow)]
    external_parameters: ExternalParameters<'a>,
    #[serde(borrow)]
    internal_parameters: InternalParameters<'a>,
    #[serde(borrow)]
    resolved_dependencies: Dependencies<'a>,
}

/// The client's choices. The first unknown name is kept instead of an error: it has its own code.
#[derive(Debug)]
struct ExternalParameters<'a> {
    source: SourceParameter<'a>,
    nonce: Text<'a>,
    nonce_source: Text<'a>,
    options: Chosen,
    unknown: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceParameter<'a> {
    #[serde(borrow)]
    repository: Option<Text<'a>>,
    #[serde(rename = "ref", borrow)]
    reference: Option<Text<'a>>,
    #[serde(borrow)]
    archive: Option<Archive<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Archive<'a> {
    #[serde(rename = "name", borrow)]
    _name: Option<Text<'a>>,
    #[serde(borrow)]
    sha256: Text<'a>,
}

#[derive(Debug, Deserialize)]
struct InternalParameters<'a> {
    #[serde(borrow)]
    signer: Option<Signer<'a>>,
    #[serde(borrow)]
    lockfile: NamedFile<'a>,
    #[serde(rename = "sourceDateEpoch")]
    source_date_epoch: Option<u64>,
    image: Option<Image<'a>>,
    /// The arguments that build scripts gave to the linker.
    #[serde(default, rename = "linkArguments", borrow)]
    link_arguments: Vec<LinkArguments<'a>>,
    #[serde(default)]
    toolchain: ListedItems,
    /// The outputs of a flake.
    #[serde(default)]
    outputs: ListedItems,
}

/// The arguments and variables that the build script of one package gave to the linker.
#[derive(Debug, Deserialize)]
struct LinkArguments<'a> {
    #[serde(borrow)]
    package: Text<'a>,
    #[serde(borrow)]
    arguments: Vec<Text<'a>>,
    #[serde(default, borrow)]
    environment: BTreeMap<Text<'a>, Text<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Image<'a> {
    #[serde(borrow)]
    kernel: Option<NamedFile<'a>>,
    #[serde(borrow)]
    initrd: Option<NamedFile<'a>>,
    #[serde(borrow)]
    root_hash: Option<Text<'a>>,
    #[serde(borrow)]
    command_line: Option<NamedFile<'a>>,
}

#[derive(Debug, Deserialize)]
struct RunDetails<'a> {
    #[serde(borrow)]
    builder: Builder<'a>,
    #[serde(borrow, deserialize_with = "read::byproducts")]
    byproducts: Vec<NamedFile<'a>>,
}

#[derive(Debug, Deserialize)]
struct Builder<'a> {
    #[serde(borrow)]
    id: Text<'a>,
}

/// A file with its SHA-256 digest; other algorithms beside it are read and not kept.
#[derive(Debug, Deserialize)]
pub struct NamedFile<'a> {
    /// The name of the file.
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    digest: DigestSet<'a>,
    #[serde(default)]
    annotations: Annotations,
}

/// The annotations of a file that are compared with something.
#[derive(Debug, Default, Deserialize)]
struct Annotations {
    #[serde(default)]
    executable: bool,
}

/// A DigestSet: the digests that are compared, and the first entry that is malformed.
#[derive(Debug, Default)]
struct DigestSet<'a> {
    sha256: Option<Sha256Digest>,
    git_commit: Option<Text<'a>>,
    git_tree: Option<Text<'a>>,
    bad: Option<Cow<'static, str>>,
}

/// The resolved dependencies, of which the first is the source.
#[derive(Debug)]
struct Dependencies<'a> {
    source: DigestSet<'a>,
    others: ListedItems,
}

/// The part of a list of dependencies, tools or outputs that is kept.
#[derive(Debug, Default)]
struct ListedItems {
    /// The first digest that is malformed.
    bad: Option<Cow<'static, str>>,
    /// Whether one of the items was built; none for an empty list.
    any_built: Option<bool>,
}

/// A statement's claim about the image in which the build ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageClaim {
    /// The digest of the kernel.
    pub kernel: Option<Sha256Digest>,
    /// The digest of the initrd.
    pub initrd: Option<Sha256Digest>,
    /// The root hash of the dm-verity tree.
    pub root_hash: Option<Sha256Digest>,
    /// The digest of the kernel's command line.
    pub command_line: Option<Sha256Digest>,
}

impl<'a> Statement<'a> {
    /// Reads a statement. Nothing is appraised yet.
    ///
    /// # Errors
    /// The bytes are no strict JSON, or lack a member.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Rejection> {
        json::read(bytes).map_err(Rejection::StatementMalformed)
    }

    fn definition(&self) -> &BuildDefinition<'a> {
        &self.predicate.build_definition
    }

    fn source(&self) -> &SourceParameter<'a> {
        &self.definition().external_parameters.source
    }

    fn internal_parameters(&self) -> &InternalParameters<'a> {
        &self.definition().internal_parameters
    }

    /// Returns the subjects, sorted by name.
    pub fn sorted_subjects(&self) -> Vec<&NamedFile<'a>> {
        let mut subjects: Vec<_> = self.subject.iter().collect();
        subjects.sort_by(|a, b| a.name.cmp(&b.name));
        subjects
    }

    /// Returns the nonce, if it is written as the appliance writes it.
    pub fn nonce(&self) -> Option<Nonce> {
        let text = &self.definition().external_parameters.nonce;
        let nonce = Nonce::parse(text).ok()?;
        (nonce.to_string() == **text).then_some(nonce)
    }

    /// Returns the member `buildType`.
    pub fn build_type(&self) -> &str {
        &self.definition().build_type
    }

    /// Returns the member `builder.id`.
    pub fn builder(&self) -> &str {
        &self.predicate.run_details.builder.id
    }

    /// Returns the repository that the client requested.
    pub fn repository(&self) -> Option<&str> {
        self.source().repository.as_deref()
    }

    /// Returns the ref that the client requested.
    pub fn reference(&self) -> Option<&str> {
        self.source().reference.as_deref()
    }

    /// Returns the options that the client chose beyond the source.
    pub fn options(&self) -> &Chosen {
        &self.definition().external_parameters.options
    }

    /// Returns the SHA-256 digest of the archive that the client sent, hex.
    pub fn archive(&self) -> Option<&str> {
        let archive = self.source().archive.as_ref()?;
        Some(&archive.sha256)
    }

    /// Returns the commit of the repository that was built, hex; an archive has none.
    pub fn commit(&self) -> Option<&str> {
        self.repository()?;
        let source = &self.definition().resolved_dependencies.source;
        source.git_commit.as_deref()
    }

    /// Returns Git's id of the tree that was built, hex.
    pub fn source_tree(&self) -> Option<&str> {
        let source = &self.definition().resolved_dependencies.source;
        source.git_tree.as_deref()
    }

    /// Returns the record of the statement key; statements of appliances up to 0.4.0 have none.
    pub fn signer(&self) -> Option<&Signer<'a>> {
        self.internal_parameters().signer.as_ref()
    }

    /// Returns the lockfile that the build used.
    pub fn lockfile(&self) -> &NamedFile<'a> {
        &self.internal_parameters().lockfile
    }

    /// Returns the byproducts of this name.
    pub fn byproducts(&self, name: &str) -> impl Iterator<Item = &NamedFile<'a>> {
        self.predicate
            .run_details
            .byproducts
            .iter()
            .filter(move |file| *file.name == *name)
    }

    /// Returns the time of every file of the bundle, in seconds since 1970.
    pub fn source_date_epoch(&self) -> Option<u64> {
        self.internal_parameters().source_date_epoch
    }

    /// Returns whether any artifact was made by this build; none for a toolchain whose artifacts
    /// always are. With nix an artifact can also be a download.
    pub fn built_here(&self) -> Option<bool> {
        self.internal_parameters().outputs.any_built
    }

    /// Returns the arguments and variables by which build scripts can have displaced the linker,
    /// `PACKAGE: ARGUMENT` or `PACKAGE: NAME=VALUE` each; none where there is no such argument.
    pub fn displacing_link_arguments(&self) -> Option<Vec<String>> {
        let mut found = Vec::new();
        for LinkArguments {
            package,
            arguments,
            environment,
        } in &self.internal_parameters().link_arguments
        {
            for argument in arguments {
                if can_displace_linker(argument) {
                    found.push(format!("{}: {}", &**package, &**argument));
                }
            }
            for (name, value) in environment {
                if is_linker_variable(name) {
                    found.push(format!("{}: {}={}", &**package, &**name, &**value));
                }
            }
        }
        (!found.is_empty()).then_some(found)
    }

    /// Returns the claim about the image in which the build ran.
    pub fn image(&self) -> Option<ImageClaim> {
        let image = self.internal_parameters().image.as_ref()?;
        Some(ImageClaim {
            kernel: image.kernel.as_ref().and_then(NamedFile::sha256),
            initrd: image.initrd.as_ref().and_then(NamedFile::sha256),
            root_hash: image.root_hash.as_ref().and_then(|hash| hash.parse().ok()),
            command_line: image.command_line.as_ref().and_then(NamedFile::sha256),
        })
    }
}

impl NamedFile<'_> {
    /// Returns the digest of the file; a statement whose form was appraised has it for every file.
    pub fn sha256(&self) -> Option<Sha256Digest> {
        self.digest.sha256
    }

    /// Returns whether the file is a program that anybody may execute; the mode in the bundle has
    /// to agree.
    pub fn is_executable(&self) -> bool {
        self.annotations.executable
    }
}
