//! The options of a verification, before they are parsed.
//!
//! * In: the text of options, and the content of the files that they name.
//! * Out: expectations.
//! * Never: an option that one reader understands and another one ignores: programs that take
//!   options from different places all come here.

use std::error::Error;
use std::str::FromStr;

use crate::provenance::Nonce;

use super::endorsements::TrustRoots;
use super::expectations::{Expectations, ExpectedArtifact};
use super::reference::{Anchor, ReferenceValues};

/// A file that an option names.
pub struct OptionFile {
    /// The name by which messages call it.
    pub name: String,
    /// Its bytes.
    pub content: Vec<u8>,
}

/// The options of one verification. Those that are text are as the reader gave them.
#[derive(Default)]
pub struct RequestedOptions<'a> {
    /// The moment of interest, in seconds since 1970.
    pub at: u64,
    /// A test hierarchy to trust instead of AMD.
    pub trust_root: Option<OptionFile>,
    /// Launch measurements to trust.
    pub measurements: &'a [String],
    /// Files of reference values to trust.
    pub references: Vec<OptionFile>,
    /// The measurements of a policy, which are trusted too.
    pub policy_measurements: &'a [String],
    /// The files of reference values of a policy, which are trusted too.
    pub policy_references: Vec<OptionFile>,
    /// The nonce that the reader chose.
    pub nonce: Option<&'a str>,
    /// A VCEK or VLEK, DER or PEM, to use instead of the bundle's.
    pub certificate: Option<Vec<u8>>,
    /// A revocation list, DER or PEM.
    pub crl: Option<Vec<u8>>,
    /// The lowest reported TCB version that is accepted.
    pub minimum_tcb: Option<&'a str>,
    /// The URL of the repository that the source must come from.
    pub repository: Option<&'a str>,
    /// The ref that the client must have requested, literally.
    pub reference: Option<&'a str>,
    /// The commit that must have been built.
    pub commit: Option<&'a str>,
    /// Files that the reader has, each of which must be a subject.
    pub artifacts: Vec<ExpectedArtifact>,
    /// Options that the client must have chosen.
    pub options: &'a [String],
    /// Whether any other option is refused.
    pub no_other_options: bool,
    /// Checks whose rejection is shown and does not count.
    pub waived: &'a [String],
}

/// Why an option cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{place}")]
pub struct OptionError {
    place: String,
    is_option: bool,
    source: Box<dyn Error + Send + Sync>,
}

impl OptionError {
    /// Returns the same error with the name of an option as command lines have it.
    #[must_use]
    pub fn of_command_line(mut self) -> Self {
        if self.is_option {
            self.place.insert_str(0, "--");
        }
        self
    }

    /// Returns a function that makes the error about an option, or about one of its values.
    fn of_option<E: Error + Send + Sync + 'static>(place: impl Into<String>) -> impl Fn(E) -> Self {
        let place = place.into();
        move |source| Self {
            place: place.clone(),
            is_option: true,
            source: source.into(),
        }
    }

    /// Returns a function that makes the error about a file, or about what was compiled in.
    fn of_file<E: Error + Send + Sync + 'static>(place: &str) -> impl Fn(E) -> Self {
        let of_option = Self::of_option(place);
        move |source| Self {
            is_option: false,
            ..of_option(source)
        }
    }
}

impl RequestedOptions<'_> {
    /// Parses the options.
    ///
    /// # Errors
    /// A value is not one that its option allows.
    pub fn expectations(self) -> Result<Expectations, OptionError> {
        let mut expectations = Expectations::new(self.roots()?, self.at, self.references()?);
        if let Some(text) = self.nonce {
            let nonce = Nonce::parse(text).map_err(OptionError::of_option("nonce"))?;
            expectations.nonce = Some(nonce);
        }
        if let Some(minimum_tcb) = parsed("min-tcb", self.minimum_tcb)? {
            expectations.minimum_tcb = minimum_tcb;
        }
        expectations.certificate = self.certificate;
        expectations.crl = self.crl;
        expectations.commit = parsed("commit", self.commit)?;
        expectations.repository = self.repository.map(str::to_owned);
        expectations.reference = self.reference.map(str::to_owned);
        expectations.artifacts = self.artifacts;
        expectations.options = each_parsed("option", self.options)?;
        expectations.no_other_options = self.no_other_options;
        expectations.waived = each_parsed("waive", self.waived)?;
        Ok(expectations)
    }

    fn roots(&self) -> Result<TrustRoots, OptionError> {
        let compiled_in = "the certificates that were compiled in cannot be used";
        match &self.trust_root {
            None => TrustRoots::amd().map_err(OptionError::of_file(compiled_in)),
            Some(file) => {
                TrustRoots::test_only(&file.content).map_err(OptionError::of_file(&file.name))
            }
        }
    }

    /// Returns the reference values that were given, or else those published with this release.
    fn references(&self) -> Result<ReferenceValues, OptionError> {
        let measurements = [
            (Anchor::Policy, self.policy_measurements),
            (Anchor::Option, self.measurements),
        ];
        let files = [
            (Anchor::Policy, &self.policy_references),
            (Anchor::File, &self.references),
        ];
        let mut references = ReferenceValues::default();
        for (anchor, given) in measurements {
            for text in given {
                let place = format!("measurement {text}");
                let measurement = text.parse().map_err(OptionError::of_option(place))?;
                references.add_from(anchor, measurement);
            }
        }
        for (anchor, given) in files {
            for file in given {
                let added = references.add_file_from(anchor, &file.content);
                added.map_err(OptionError::of_file(&file.name))?;
            }
        }
        let is_given = measurements.iter().any(|(_, given)| !given.is_empty())
            || files.iter().any(|(_, given)| !given.is_empty());
        if is_given {
            return Ok(references);
        }
        let compiled_in = "the reference values that were compiled in cannot be used";
        ReferenceValues::published().map_err(OptionError::of_file(compiled_in))
    }
}

/// Parses the value of an option, if it was given.
fn parsed<T>(option: &str, text: Option<&str>) -> Result<Option<T>, OptionError>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
{
    let parsed = text.map(str::parse).transpose();
    parsed.map_err(OptionError::of_option(option))
}

/// Parses each value of an option that can be repeated.
fn each_parsed<T, C>(option: &str, given: &[String]) -> Result<C, OptionError>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
    C: FromIterator<T>,
{
    let parsed: Result<C, _> = given.iter().map(|text| text.parse()).collect();
    parsed.map_err(OptionError::of_option(option))
}
