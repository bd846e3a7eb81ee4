//! `provenance.json`. Comes in: its bytes. Goes out: the parts that are compared with something. Never: a value that was
//! dropped before it was hashed; what is hashed are the bytes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::bundle::read::MAX_BUNDLE_ENTRIES;
use crate::digest::Sha256Digest;
use crate::name::{self, DistinctNames};
use crate::provenance::link::{can_displace_linker, is_linker_variable};
use crate::provenance::{
    BUILD_TYPE_CARGO, BUILD_TYPE_NIX, BUILDER_AZ_SNP, BUILDER_SEV_SNP, BUILDER_SIMULATED, Nonce,
    PREDICATE_TYPE, STATEMENT_TYPE, is_built_here,
};

use super::chosen::Chosen;
use super::json::{self, Text};
use super::rejection::Rejection;
use super::result::Platform;
use super::signer::Signer;

/// Most byproducts: there are the log and the lockfile.
const MAX_BYPRODUCTS: usize = 256;

/// The build types whose parameters are known here.
pub const BUILD_TYPES: [&str; 2] = [BUILD_TYPE_CARGO, BUILD_TYPE_NIX];

/// The builders whose evidence of a platform is accepted: the first under AMD's roots, all of them under a test hierarchy. The
/// shipped image cannot know that its device is simulated.
const fn builders(platform: Platform) -> &'static [&'static str] {
    match platform {
        Platform::Snp => &[BUILDER_SEV_SNP, BUILDER_SIMULATED],
        Platform::AzSnp => &[BUILDER_AZ_SNP, BUILDER_SIMULATED],
    }
}

/// Algorithms of the in-toto DigestSet (in-toto attestation framework, spec v1, DigestSet) with their hexadecimal digits.
const ALGORITHMS: [(&str, usize); 9] = [
    ("sha256", 64),
    ("sha384", 96),
    ("sha512", 128),
    ("sha1", 40),
    ("gitCommit", 40),
    ("gitTree", 40),
    ("gitBlob", 40),
    ("gitTag", 40),
    ("sha512_256", 64),
];

/// The statement, as far as it is compared with something.
#[derive(Debug, Deserialize)]
pub struct Statement<'a> {
    #[serde(rename = "_type", borrow)]
    statement_type: Text<'a>,
    #[serde(borrow, deserialize_with = "subjects")]
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

/// What the client chose. The first name that is not known is kept instead of an error: it has a code of its own.
#[derive(Debug)]
struct ExternalParameters<'a> {
    source: Source<'a>,
    nonce: Text<'a>,
    nonce_source: Text<'a>,
    options: Chosen,
    unknown: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source<'a> {
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
    /// What build scripts gave to the linker.
    #[serde(default, rename = "linkArguments", borrow)]
    link_arguments: Vec<LinkArguments<'a>>,
    #[serde(default)]
    toolchain: Parts,
    /// Of a flake.
    #[serde(default)]
    outputs: Parts,
}

/// Of one package.
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
    #[serde(borrow, deserialize_with = "byproducts")]
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
    /// Its name.
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    digest: DigestSet<'a>,
    #[serde(default)]
    annotations: Annotations,
}

/// What a statement says of a file beside its digest, as far as it is compared with something.
#[derive(Debug, Default, Deserialize)]
struct Annotations {
    #[serde(default)]
    executable: bool,
}

/// A DigestSet: what is compared, and the first entry that is not in order.
#[derive(Debug, Default)]
struct DigestSet<'a> {
    sha256: Option<Sha256Digest>,
    git_commit: Option<Text<'a>>,
    git_tree: Option<Text<'a>>,
    bad: Option<Cow<'static, str>>,
}

/// The first is the source.
#[derive(Debug)]
struct Dependencies<'a> {
    source: DigestSet<'a>,
    others: Parts,
}

/// A list of what took part, of which this much is kept.
#[derive(Debug, Default)]
struct Parts {
    /// The first digest that is not in order.
    bad: Option<Cow<'static, str>>,
    /// Whether one of them was built; none for an empty list.
    any_built: Option<bool>,
}

/// What the statement claims about the image that it ran in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageClaim {
    /// Of the kernel.
    pub kernel: Option<Sha256Digest>,
    /// Of the initrd.
    pub initrd: Option<Sha256Digest>,
    /// Root of the dm-verity tree.
    pub root_hash: Option<Sha256Digest>,
    /// Of the kernel's command line.
    pub command_line: Option<Sha256Digest>,
}

impl<'a> Statement<'a> {
    /// Reads it. Nothing is appraised yet.
    ///
    /// # Errors
    /// It is no JSON, or lacks a part.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Rejection> {
        json::read(bytes).map_err(Rejection::StatementMalformed)
    }

    /// Appraises its form: types, builder, parameters, digests, subjects. The builder has to be one of the platform that the
    /// evidence is of.
    ///
    /// # Errors
    /// The first that is not in order.
    pub fn appraise(&self, platform: Platform, is_amd: bool) -> Result<(), Rejection> {
        self.appraise_types()?;
        self.appraise_builder(platform, is_amd)?;
        self.appraise_parameters()?;
        self.appraise_digests()?;
        self.appraise_subjects()
    }

    fn appraise_types(&self) -> Result<(), Rejection> {
        if *self.statement_type != *STATEMENT_TYPE {
            return Err(Rejection::StatementType {
                actual: self.statement_type.to_string(),
            });
        }
        if *self.predicate_type != *PREDICATE_TYPE {
            return Err(Rejection::PredicateType {
                actual: self.predicate_type.to_string(),
            });
        }
        let actual = self.build_type();
        if BUILD_TYPES.contains(&actual) {
            Ok(())
        } else {
            Err(Rejection::BuildType {
                expected: BUILD_TYPES,
                actual: actual.to_owned(),
            })
        }
    }

    fn appraise_builder(&self, platform: Platform, is_amd: bool) -> Result<(), Rejection> {
        let of_platform = builders(platform);
        let expected = if is_amd {
            &of_platform[..1]
        } else {
            of_platform
        };
        if expected.contains(&self.builder()) {
            return Ok(());
        }
        Err(Rejection::Builder {
            expected: expected.to_vec(),
            actual: self.builder().to_owned(),
        })
    }

    fn appraise_parameters(&self) -> Result<(), Rejection> {
        let parameters = &self.predicate.build_definition.external_parameters;
        if let Some(actual) = &parameters.unknown {
            return Err(Rejection::ExternalParameter {
                actual: actual.clone(),
            });
        }
        if let Some(name) = parameters.options.unknown() {
            return Err(Rejection::ExternalParameter {
                actual: format!("options.{name}"),
            });
        }
        let source = &parameters.source;
        match (&source.repository, &source.reference, &source.archive) {
            (Some(_), _, None) => {}
            (None, None, Some(archive)) if is_hex(&archive.sha256, 64) => {}
            (None, None, Some(_)) => {
                return Err(Rejection::DigestSyntax {
                    what: "the archive".to_owned(),
                });
            }
            _ => return Err(Rejection::SourceParameter),
        }
        if self.nonce().is_none() || !["client", "appliance"].contains(&&*parameters.nonce_source) {
            return Err(Rejection::NonceSyntax {
                actual: format!("{} by {}", parameters.nonce, parameters.nonce_source),
            });
        }
        Ok(())
    }

    fn appraise_digests(&self) -> Result<(), Rejection> {
        let definition = &self.predicate.build_definition;
        let image = definition.internal_parameters.image.as_ref();
        let measured = image
            .into_iter()
            .flat_map(|image| [&image.kernel, &image.initrd, &image.command_line])
            .flatten();
        let byproducts = &self.predicate.run_details.byproducts;
        let files = self
            .subject
            .iter()
            .chain([self.lockfile()])
            .chain(byproducts)
            .chain(measured);
        let bad = files.filter_map(|file| {
            file.digest
                .bad
                .as_ref()
                .map(|bad| format!("{}: {bad}", file.name))
        });
        let InternalParameters {
            toolchain, outputs, ..
        } = &definition.internal_parameters;
        let parts = [&definition.resolved_dependencies.others, toolchain, outputs];
        let parts = parts
            .into_iter()
            .filter_map(|parts| parts.bad.as_ref().map(ToString::to_string));
        let root = image
            .and_then(|image| image.root_hash.as_ref())
            .filter(|hash| !is_hex(hash, 64));
        let root = root.map(|hash| format!("root hash: {}", &**hash));
        match bad.chain(parts).chain(root).next() {
            Some(what) => Err(Rejection::DigestSyntax { what }),
            None => Ok(()),
        }
    }

    fn appraise_subjects(&self) -> Result<(), Rejection> {
        if self.subject.is_empty() {
            return Err(Rejection::NoSubject);
        }
        if let Some(subject) = self
            .subject
            .iter()
            .find(|subject| name::check(&subject.name).is_err())
        {
            return Err(Rejection::SubjectName {
                actual: subject.name.to_string(),
            });
        }
        let names = self.sorted_subjects();
        match names.windows(2).find(|pair| pair[0].name == pair[1].name) {
            Some(pair) => Err(Rejection::SubjectDuplicate {
                name: pair[0].name.to_string(),
            }),
            None => self.appraise_likeness(),
        }
    }

    /// Two files that are one on some system: whoever unpacks them there has one of the two.
    fn appraise_likeness(&self) -> Result<(), Rejection> {
        let mut names = DistinctNames::default();
        match self
            .subject
            .iter()
            .find(|subject| !names.insert(&subject.name))
        {
            Some(subject) => Err(Rejection::SubjectAlike {
                name: subject.name.to_string(),
            }),
            None => Ok(()),
        }
    }

    /// The subjects, by name.
    pub fn sorted_subjects(&self) -> Vec<&NamedFile<'a>> {
        let mut subjects: Vec<_> = self.subject.iter().collect();
        subjects.sort_by(|a, b| a.name.cmp(&b.name));
        subjects
    }

    /// The nonce, if it is one as the appliance writes it.
    pub fn nonce(&self) -> Option<Nonce> {
        let text = &self.predicate.build_definition.external_parameters.nonce;
        Nonce::parse(text)
            .ok()
            .filter(|nonce| nonce.to_string() == **text)
    }

    /// `buildType`.
    pub fn build_type(&self) -> &str {
        &self.predicate.build_definition.build_type
    }

    /// `builder.id`.
    pub fn builder(&self) -> &str {
        &self.predicate.run_details.builder.id
    }

    /// The repository that was asked for.
    pub fn repository(&self) -> Option<&str> {
        self.predicate
            .build_definition
            .external_parameters
            .source
            .repository
            .as_deref()
    }

    /// The ref that was asked for.
    pub fn reference(&self) -> Option<&str> {
        self.predicate
            .build_definition
            .external_parameters
            .source
            .reference
            .as_deref()
    }

    /// What the client chose beyond the source.
    pub fn options(&self) -> &Chosen {
        &self.predicate.build_definition.external_parameters.options
    }

    /// SHA-256 of the archive that was sent, hex.
    pub fn archive(&self) -> Option<&str> {
        self.predicate
            .build_definition
            .external_parameters
            .source
            .archive
            .as_ref()
            .map(|archive| &*archive.sha256)
    }

    /// The commit of the repository that was built, hex; an archive has none.
    pub fn commit(&self) -> Option<&str> {
        self.repository()?;
        self.predicate
            .build_definition
            .resolved_dependencies
            .source
            .git_commit
            .as_deref()
    }

    /// Git's id of the tree that was built, hex.
    pub fn source_tree(&self) -> Option<&str> {
        self.predicate
            .build_definition
            .resolved_dependencies
            .source
            .git_tree
            .as_deref()
    }

    /// Returns what is said of the statement key; `None` in statements of appliances up to 0.4.0.
    pub fn signer(&self) -> Option<&Signer<'a>> {
        let parameters = &self.predicate.build_definition.internal_parameters;
        parameters.signer.as_ref()
    }

    /// The lockfile as it was used.
    pub fn lockfile(&self) -> &NamedFile<'a> {
        &self.predicate.build_definition.internal_parameters.lockfile
    }

    /// What is recorded of another file that came of the build.
    pub fn byproducts(&self, name: &str) -> impl Iterator<Item = &NamedFile<'a>> {
        self.predicate
            .run_details
            .byproducts
            .iter()
            .filter(move |file| *file.name == *name)
    }

    /// The time of every file of the bundle, in seconds.
    pub fn source_date_epoch(&self) -> Option<u64> {
        self.predicate
            .build_definition
            .internal_parameters
            .source_date_epoch
    }

    /// Whether anything that is handed out was made by this build, where a build can also be a download: with nix.
    pub fn built_here(&self) -> Option<bool> {
        self.predicate
            .build_definition
            .internal_parameters
            .outputs
            .any_built
    }

    /// What build scripts gave to the linker by which they can have put another program in its place, `PACKAGE: ARGUMENT`
    /// or `PACKAGE: NAME=VALUE` each; `None` where there is no such thing.
    pub fn displacing_link_arguments(&self) -> Option<Vec<String>> {
        let mut found = Vec::new();
        for LinkArguments {
            package,
            arguments,
            environment,
        } in &self
            .predicate
            .build_definition
            .internal_parameters
            .link_arguments
        {
            let arguments = arguments
                .iter()
                .filter(|argument| can_displace_linker(argument));
            found.extend(arguments.map(|argument| format!("{}: {}", &**package, &**argument)));
            let variables = environment
                .iter()
                .filter(|(name, _)| is_linker_variable(name));
            found.extend(
                variables.map(|(name, value)| format!("{}: {}={}", &**package, &**name, &**value)),
            );
        }
        (!found.is_empty()).then_some(found)
    }

    /// What it says of the image.
    pub fn image(&self) -> Option<ImageClaim> {
        let image = self
            .predicate
            .build_definition
            .internal_parameters
            .image
            .as_ref()?;
        Some(ImageClaim {
            kernel: image.kernel.as_ref().and_then(NamedFile::sha256),
            initrd: image.initrd.as_ref().and_then(NamedFile::sha256),
            root_hash: image.root_hash.as_ref().and_then(|hash| hash.parse().ok()),
            command_line: image.command_line.as_ref().and_then(NamedFile::sha256),
        })
    }
}

impl NamedFile<'_> {
    /// Its digest; always there in a statement whose form was appraised.
    pub fn sha256(&self) -> Option<Sha256Digest> {
        self.digest.sha256
    }

    /// Whether the file is a program that anybody may execute: the bundle's has to agree.
    pub fn is_executable(&self) -> bool {
        self.annotations.executable
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl<'de: 'a, 'a> Deserialize<'de> for ExternalParameters<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = ExternalParameters<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("external parameters")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
                let (mut source, mut nonce, mut nonce_source, mut unknown) =
                    (None, None, None, None);
                let mut options = Chosen::default();
                while let Some(name) = members.next_key::<Text<'de>>()? {
                    match &*name {
                        "source" => source = Some(members.next_value()?),
                        "nonce" => nonce = Some(members.next_value()?),
                        "nonceSource" => nonce_source = Some(members.next_value()?),
                        "options" => options = members.next_value()?,
                        _ => {
                            members.next_value::<IgnoredAny>()?;
                            unknown.get_or_insert(name.0.into_owned());
                        }
                    }
                }
                Ok(ExternalParameters {
                    source: source.ok_or_else(|| A::Error::missing_field("source"))?,
                    nonce: nonce.ok_or_else(|| A::Error::missing_field("nonce"))?,
                    nonce_source: nonce_source
                        .ok_or_else(|| A::Error::missing_field("nonceSource"))?,
                    options,
                    unknown,
                })
            }
        }

        deserializer.deserialize_map(Members)
    }
}

fn subjects<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<NamedFile<'a>>, D::Error> {
    deserializer.deserialize_seq(Files {
        limit: MAX_BUNDLE_ENTRIES,
        name: "MAX_BUNDLE_ENTRIES",
    })
}

fn byproducts<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<NamedFile<'a>>, D::Error> {
    deserializer.deserialize_seq(Files {
        limit: MAX_BYPRODUCTS,
        name: "MAX_BYPRODUCTS",
    })
}

/// At most so many files.
struct Files {
    limit: usize,
    name: &'static str,
}

impl<'de> Visitor<'de> for Files {
    type Value = Vec<NamedFile<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {} files ({})", self.limit, self.name)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut files = Vec::new();
        while let Some(file) = items.next_element()? {
            if files.len() == self.limit {
                return Err(A::Error::invalid_length(files.len() + 1, &self));
            }
            files.push(file);
        }
        Ok(files)
    }
}

/// A set for a file has SHA-256; one without is noted as bad.
impl<'de: 'a, 'a> Deserialize<'de> for DigestSet<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut set = deserializer.deserialize_map(Digests)?;
        if set.sha256.is_none() && set.bad.is_none() {
            set.bad = Some("no sha256".into());
        }
        Ok(set)
    }
}

struct Digests;

impl<'de> Visitor<'de> for Digests {
    type Value = DigestSet<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a digest set")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut set = DigestSet::default();
        while let Some((algorithm, value)) = members.next_entry::<Text<'de>, Text<'de>>()? {
            let known = ALGORITHMS.iter().find(|(name, _)| *name == &*algorithm);
            if !known.is_some_and(|(_, digits)| is_hex(&value, *digits)) {
                set.bad
                    .get_or_insert_with(|| format!("{} {:?}", algorithm, &*value).into());
            } else if *algorithm == *"sha256" {
                set.sha256 = value.parse().ok();
            } else if *algorithm == *"gitCommit" {
                set.git_commit = Some(value);
            } else if *algorithm == *"gitTree" {
                set.git_tree = Some(value);
            }
        }
        Ok(set)
    }
}

/// A dependency, a tool, an output of a flake.
#[derive(Deserialize)]
struct Part<'a> {
    #[serde(default, borrow)]
    digest: AnyDigests<'a>,
    #[serde(borrow)]
    realised: Option<Text<'a>>,
    /// Of an output that is built: the downloads that it is copied from.
    #[serde(default, rename = "copiedFrom", borrow)]
    copied_from: Vec<Text<'a>>,
}

/// A set of any algorithms, which may be empty.
#[derive(Default)]
struct AnyDigests<'a>(DigestSet<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for AnyDigests<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Digests).map(Self)
    }
}

impl Parts {
    /// Reads the rest of a list.
    fn read<'de, A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Self, A::Error> {
        while let Some(Part {
            digest,
            realised,
            copied_from,
        }) = items.next_element()?
        {
            self.bad = self.bad.or(digest.0.bad);
            let is_built = is_built_here(realised.as_deref(), !copied_from.is_empty());
            self.any_built = Some(is_built || self.any_built == Some(true));
        }
        Ok(self)
    }
}

impl<'de> Deserialize<'de> for Parts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Parts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of what took part")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Parts, A::Error> {
                Parts::default().read(items)
            }
        }

        deserializer.deserialize_seq(List)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Dependencies<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Dependencies<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("resolved dependencies, the source first")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let first: Part<'de> = items
                    .next_element()?
                    .ok_or_else(|| A::Error::invalid_length(0, &self))?;
                let source = first.digest.0;
                let others = Parts {
                    bad: source.bad.clone(),
                    any_built: None,
                }
                .read(items)?;
                Ok(Dependencies { source, others })
            }
        }

        deserializer.deserialize_seq(List)
    }
}
