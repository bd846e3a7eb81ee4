//! Reads the options among the fields of a submission.
//!
//! * In: fields with their values.
//! * Out: [`Options`].
//! * Never: an option that is given twice, or for a toolchain that the same submission rules out.

use super::error::SubmissionError;
use super::field::Field;
use super::value::FieldValue;
use crate::source::SourcePath;
use crate::toolchain::options::{Attribute, Cache, ItemName, OptionError};
use crate::toolchain::{Kind, Options};

/// Takes the option `field`.
pub(super) fn set(
    options: &mut Options,
    field: Field,
    value: FieldValue,
) -> Result<(), SubmissionError> {
    let invalid = |reason| SubmissionError::OptionValue { field, reason };
    match (field, value) {
        (Field::Toolchain, FieldValue::Text(text)) => {
            let kind = text.parse().map_err(invalid)?;
            once(field, &mut options.toolchain, kind)
        }
        (Field::Path, FieldValue::Text(text)) => {
            let path = SourcePath::parse(&text).map_err(SubmissionError::Path)?;
            once(field, &mut options.path, path)
        }
        (Field::Package, FieldValue::Text(text)) => {
            let name = ItemName::parse(&text).map_err(invalid)?;
            once(field, &mut options.cargo.package, name)
        }
        (Field::Bins, FieldValue::List(items)) => {
            let names = names(&items).map_err(invalid)?;
            once(field, &mut options.cargo.bins, names)
        }
        (Field::Features, FieldValue::List(items)) => {
            let names = names(&items).map_err(invalid)?;
            once(field, &mut options.cargo.features, names)
        }
        (Field::NoDefaultFeatures, FieldValue::Flag(flag)) => {
            once(field, &mut options.cargo.no_default_features, flag)
        }
        (Field::Attribute, FieldValue::Text(text)) => {
            let attribute = Attribute::parse(&text).map_err(invalid)?;
            once(field, &mut options.nix.attribute, attribute)
        }
        (Field::Caches, FieldValue::Caches(caches)) => {
            let caches: Result<_, _> = caches
                .iter()
                .map(|(url, key)| Cache::parse(url, key))
                .collect();
            once(field, &mut options.nix.caches, caches.map_err(invalid)?)
        }
        (field, value) => Err(SubmissionError::FieldType {
            field,
            expected: field.expected(),
            actual: value.kind(),
        }),
    }
}

fn names(items: &[String]) -> Result<Vec<ItemName>, OptionError> {
    items.iter().map(|item| ItemName::parse(item)).collect()
}

/// Refuses options that no toolchain takes together. The rest is checked against the source.
pub(super) fn check(options: &Options) -> Result<(), SubmissionError> {
    let for_cargo = options.first_not_for(Kind::Nix);
    let for_nix = options.first_not_for(Kind::Cargo);
    match (options.toolchain, for_cargo, for_nix) {
        (Some(Kind::Cargo), _, Some(option)) | (None, Some(_), Some(option)) => {
            Err(SubmissionError::OptionMismatch {
                option,
                kind: Kind::Cargo,
            })
        }
        (Some(Kind::Nix), Some(option), _) => Err(SubmissionError::OptionMismatch {
            option,
            kind: Kind::Nix,
        }),
        _ => Ok(()),
    }
}

/// Keeps the value of a field that has none yet.
///
/// # Errors
/// The field is repeated.
pub(super) fn once<T>(field: Field, kept: &mut Option<T>, value: T) -> Result<(), SubmissionError> {
    match kept.replace(value) {
        Some(_) => Err(SubmissionError::FieldRepeated { field }),
        None => Ok(()),
    }
}
