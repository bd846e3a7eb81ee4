//! Reads the options among the fields of a submission.
//!
//! * In: fields with their values.
//! * Out: [`Options`].
//! * Never: an option that is given twice, or for a toolchain that the same submission rules out.

use super::error::SubmissionError;
use super::field::Field;
use super::value::FieldValue;
use crate::source::SourcePath;
use crate::toolchain::options::{
    Attribute, Cache, CargoOptions, ItemName, NixOptions, OptionError,
};
use crate::toolchain::{Kind, Options};

/// Takes the option `field` with its value.
pub(super) fn set(
    options: &mut Options,
    field: Field,
    value: FieldValue,
) -> Result<(), SubmissionError> {
    match (field, value) {
        (Field::Toolchain, FieldValue::Text(text)) => {
            let kind = text.parse().map_err(|reason| invalid(field, reason))?;
            once(field, &mut options.toolchain, kind)
        }
        (Field::Path, FieldValue::Text(text)) => {
            let path = SourcePath::parse(&text).map_err(SubmissionError::Path)?;
            once(field, &mut options.path, path)
        }
        (Field::Attribute | Field::Caches, value) => set_for_nix(&mut options.nix, field, value),
        (field, value) => set_for_cargo(&mut options.cargo, field, value),
    }
}

fn set_for_cargo(
    options: &mut CargoOptions,
    field: Field,
    value: FieldValue,
) -> Result<(), SubmissionError> {
    match (field, value) {
        (Field::Package, FieldValue::Text(text)) => {
            let name = ItemName::parse(&text).map_err(|reason| invalid(field, reason))?;
            once(field, &mut options.package, name)
        }
        (Field::Bins, FieldValue::List(items)) => {
            once(field, &mut options.bins, names(field, &items)?)
        }
        (Field::Features, FieldValue::List(items)) => {
            once(field, &mut options.features, names(field, &items)?)
        }
        (Field::NoDefaultFeatures, FieldValue::Flag(flag)) => {
            once(field, &mut options.no_default_features, flag)
        }
        (field, value) => Err(wrong_type(field, &value)),
    }
}

fn set_for_nix(
    options: &mut NixOptions,
    field: Field,
    value: FieldValue,
) -> Result<(), SubmissionError> {
    match (field, value) {
        (Field::Attribute, FieldValue::Text(text)) => {
            let attribute = Attribute::parse(&text).map_err(|reason| invalid(field, reason))?;
            once(field, &mut options.attribute, attribute)
        }
        (Field::Caches, FieldValue::Caches(items)) => {
            let caches: Result<Vec<_>, _> = items
                .iter()
                .map(|(url, key)| Cache::parse(url, key))
                .collect();
            let caches = caches.map_err(|reason| invalid(field, reason))?;
            Cache::check_keys(&caches).map_err(|reason| invalid(field, reason))?;
            once(field, &mut options.caches, caches)
        }
        (field, value) => Err(wrong_type(field, &value)),
    }
}

fn invalid(field: Field, reason: OptionError) -> SubmissionError {
    SubmissionError::OptionValue { field, reason }
}

fn wrong_type(field: Field, value: &FieldValue) -> SubmissionError {
    SubmissionError::FieldType {
        field,
        expected: field.expected(),
        actual: value.kind(),
    }
}

fn names(field: Field, items: &[String]) -> Result<Vec<ItemName>, SubmissionError> {
    let names: Result<_, _> = items.iter().map(|item| ItemName::parse(item)).collect();
    names.map_err(|reason| invalid(field, reason))
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
