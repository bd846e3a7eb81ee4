//! Whether a statement has the form that the verifier accepts.
//!
//! * In: a statement that was read.
//! * Out: nothing, or the first part that is not in order.
//! * Never: an unknown parameter, builder or build type passed over.

use super::Statement;
use super::read::is_hex;
use crate::name::{self, DistinctNames};
use crate::provenance::{
    BUILD_TYPE_CARGO, BUILD_TYPE_NIX, BUILDER_AZ_SNP, BUILDER_SEV_SNP, BUILDER_SIMULATED,
    PREDICATE_TYPE, STATEMENT_TYPE,
};
use crate::verifier::rejection::Rejection;
use crate::verifier::result::Platform;

/// The build types whose parameters are known here.
pub const BUILD_TYPES: [&str; 2] = [BUILD_TYPE_CARGO, BUILD_TYPE_NIX];

/// Returns the builders whose evidence of a platform is accepted: the first under AMD's roots, all
/// of them under a test hierarchy. The shipped image cannot know that its device is simulated.
const fn builders(platform: Platform) -> &'static [&'static str] {
    match platform {
        Platform::Snp => &[BUILDER_SEV_SNP, BUILDER_SIMULATED],
        Platform::AzSnp => &[BUILDER_AZ_SNP, BUILDER_SIMULATED],
    }
}

impl Statement<'_> {
    /// Appraises the statement's form: types, builder, parameters, digests, subjects. The builder
    /// has to be one of the evidence's platform.
    ///
    /// # Errors
    /// The first of them that is not in order.
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
        self.appraise_source()?;
        if self.nonce().is_none() || !["client", "appliance"].contains(&&*parameters.nonce_source) {
            return Err(Rejection::NonceSyntax {
                actual: format!("{} by {}", parameters.nonce, parameters.nonce_source),
            });
        }
        Ok(())
    }

    /// Expects either a repository or an archive.
    fn appraise_source(&self) -> Result<(), Rejection> {
        let source = self.source();
        match (&source.repository, &source.reference, &source.archive) {
            (Some(_), _, None) => Ok(()),
            (None, None, Some(archive)) if is_hex(&archive.sha256, 64) => Ok(()),
            (None, None, Some(_)) => Err(Rejection::DigestSyntax {
                what: "the archive".to_owned(),
            }),
            _ => Err(Rejection::SourceParameter),
        }
    }

    fn appraise_digests(&self) -> Result<(), Rejection> {
        let malformed = self
            .malformed_file()
            .or_else(|| self.malformed_item())
            .or_else(|| self.malformed_root_hash());
        match malformed {
            Some(what) => Err(Rejection::DigestSyntax { what }),
            None => Ok(()),
        }
    }

    /// Returns the first malformed digest of a file: of a subject, the lockfile, a byproduct or a
    /// part of the image.
    fn malformed_file(&self) -> Option<String> {
        let image = self.internal_parameters().image.iter();
        let measured = image
            .flat_map(|image| [&image.kernel, &image.initrd, &image.command_line])
            .flatten();
        let mut files = self
            .subject
            .iter()
            .chain([self.lockfile()])
            .chain(&self.predicate.run_details.byproducts)
            .chain(measured);
        files.find_map(|file| {
            let bad = file.digest.bad.as_ref()?;
            Some(format!("{}: {bad}", file.name))
        })
    }

    /// Returns the first malformed digest of a dependency, a tool or an output.
    fn malformed_item(&self) -> Option<String> {
        let internal = self.internal_parameters();
        let lists = [
            &self.definition().resolved_dependencies.others,
            &internal.toolchain,
            &internal.outputs,
        ];
        let bad = lists.into_iter().find_map(|list| list.bad.as_ref())?;
        Some(bad.to_string())
    }

    fn malformed_root_hash(&self) -> Option<String> {
        let image = self.internal_parameters().image.as_ref()?;
        let hash = image.root_hash.as_ref()?;
        (!is_hex(hash, 64)).then(|| format!("root hash: {}", &**hash))
    }

    fn appraise_subjects(&self) -> Result<(), Rejection> {
        if self.subject.is_empty() {
            return Err(Rejection::NoSubject);
        }
        for subject in &self.subject {
            if name::check(&subject.name).is_err() {
                return Err(Rejection::SubjectName {
                    actual: subject.name.to_string(),
                });
            }
        }
        let subjects = self.sorted_subjects();
        let mut pairs = subjects.windows(2);
        match pairs.find(|pair| pair[0].name == pair[1].name) {
            Some(pair) => Err(Rejection::SubjectDuplicate {
                name: pair[0].name.to_string(),
            }),
            None => self.appraise_distinct_names(),
        }
    }

    /// Expects that no two subjects are one file on any system: unpacking there would leave one of
    /// the two.
    fn appraise_distinct_names(&self) -> Result<(), Rejection> {
        let mut names = DistinctNames::default();
        for subject in &self.subject {
            if !names.insert(&subject.name) {
                return Err(Rejection::SubjectAlike {
                    name: subject.name.to_string(),
                });
            }
        }
        Ok(())
    }
}
