//! Reads the values of fields.
//!
//! * In: a value as one format has it.
//! * Out: a [`FieldValue`], in which both formats have the same form.
//! * Never: a value of another type than its format has for the field.

use serde_json::Value;

use super::error::SubmissionError;
use super::field::Field;

/// The value of a field: text, a list of texts, a boolean, or binary caches.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FieldValue {
    /// The value is a string.
    Text(String),
    /// The value is an array of strings.
    List(Vec<String>),
    /// The value is a boolean.
    Flag(bool),
    /// The value is a list of binary caches, each a URL and a key.
    Caches(Vec<(String, String)>),
}

impl FieldValue {
    /// Reads the value that a form has for `field`.
    pub(super) fn of_form(field: Field, text: String) -> Self {
        match (field, text.as_str()) {
            (Field::Bins | Field::Features, _) => {
                Self::List(text.split(',').map(str::to_owned).collect())
            }
            (Field::NoDefaultFeatures, "true") => Self::Flag(true),
            (Field::NoDefaultFeatures, "false") => Self::Flag(false),
            _ => Self::Text(text),
        }
    }

    /// Reads the value that JSON has for `field`. Returns `None` for `null`.
    pub(super) fn of_json(field: Field, value: Value) -> Result<Option<Self>, SubmissionError> {
        let wrong_type = |actual| SubmissionError::FieldType {
            field,
            expected: field.expected(),
            actual,
        };
        match value {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(Self::Text(text))),
            Value::Bool(flag) => Ok(Some(Self::Flag(flag))),
            Value::Array(items) => {
                let list = if field == Field::Caches {
                    items
                        .iter()
                        .map(cache)
                        .collect::<Option<_>>()
                        .map(Self::Caches)
                } else {
                    items
                        .iter()
                        .map(text)
                        .collect::<Option<_>>()
                        .map(Self::List)
                };
                list.map(Some)
                    .ok_or_else(|| wrong_type("an array of other values"))
            }
            Value::Number(_) => Err(wrong_type("a number")),
            Value::Object(_) => Err(wrong_type("an object")),
        }
    }

    /// Returns the number of bytes that the value has as one text, with a comma between items.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Flag(_) => 0,
            Self::List(items) => items.iter().map(|item| item.len() + 1).sum(),
            Self::Caches(caches) => {
                let bytes = caches.iter().map(|(url, key)| url.len() + key.len() + 2);
                bytes.sum()
            }
        }
    }

    /// Returns the type of the value with its article, for a refusal.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Flag(_) => "a boolean",
            Self::List(_) | Self::Caches(_) => "an array",
        }
    }
}

fn text(item: &Value) -> Option<String> {
    item.as_str().map(str::to_owned)
}

/// Reads an object that has `url` and `key`, and nothing else.
fn cache(item: &Value) -> Option<(String, String)> {
    let members = item.as_object().filter(|members| members.len() == 2)?;
    Some((text(members.get("url")?)?, text(members.get("key")?)?))
}
