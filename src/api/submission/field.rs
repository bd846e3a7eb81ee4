//! Which fields a submission has, what each format calls them, and what their values look like.
//!
//! * In: the names and values of one format.
//! * Out: a [`Field`], and its value in a form that both formats have.
//! * Never: a name that is known in the other format only.

use std::fmt;

use serde_json::Value;

use super::error::SubmissionError;

/// A field of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The field `nonce`.
    Nonce,
    /// The field `repo_url`.
    RepositoryUrl,
    /// The field `repo_ref`, or `ref`.
    Ref,
    /// The field `source_data` in JSON, `source` in a form.
    Archive,
    /// The field `source_name` in JSON, the file name of `source` in a form.
    SourceName,
    /// The field `toolchain`.
    Toolchain,
    /// The field `path`.
    Path,
    /// The field `package`.
    Package,
    /// The field `bins`.
    Bins,
    /// The field `features`.
    Features,
    /// The field `no_default_features`.
    NoDefaultFeatures,
    /// The field `attribute`.
    Attribute,
    /// The field `caches`, in JSON only.
    Caches,
}

/// The value of a field other than the archive.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FieldValue {
    /// A string.
    Text(String),
    /// An array of strings.
    List(Vec<String>),
    /// A boolean.
    Flag(bool),
    /// Binary caches, each a URL and a key.
    Caches(Vec<(String, String)>),
}

impl Field {
    /// Returns the field that JSON calls `name`.
    pub(super) fn in_json(name: &str) -> Option<Self> {
        match name {
            "source_data" => Some(Self::Archive),
            "source_name" => Some(Self::SourceName),
            "caches" => Some(Self::Caches),
            _ => Self::in_both(name),
        }
    }

    /// Returns the field that a form calls `name`.
    pub(super) fn in_form(name: &str) -> Option<Self> {
        if name == "source" {
            Some(Self::Archive)
        } else {
            Self::in_both(name)
        }
    }

    fn in_both(name: &str) -> Option<Self> {
        match name {
            "nonce" => Some(Self::Nonce),
            "repo_url" => Some(Self::RepositoryUrl),
            "repo_ref" | "ref" => Some(Self::Ref),
            "toolchain" => Some(Self::Toolchain),
            "path" => Some(Self::Path),
            "package" => Some(Self::Package),
            "bins" => Some(Self::Bins),
            "features" => Some(Self::Features),
            "no_default_features" => Some(Self::NoDefaultFeatures),
            "attribute" => Some(Self::Attribute),
            _ => None,
        }
    }

    /// Returns what its value is in JSON.
    pub(super) const fn expected(self) -> &'static str {
        match self {
            Self::Bins | Self::Features => "an array of strings",
            Self::NoDefaultFeatures => "a boolean",
            Self::Caches => "an array of objects with url and key",
            _ => "a string",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nonce => "nonce",
            Self::RepositoryUrl => "repo_url",
            Self::Ref => "repo_ref",
            Self::Archive => "the archive",
            Self::SourceName => "source_name",
            Self::Toolchain => "toolchain",
            Self::Path => "path",
            Self::Package => "package",
            Self::Bins => "bins",
            Self::Features => "features",
            Self::NoDefaultFeatures => "no_default_features",
            Self::Attribute => "attribute",
            Self::Caches => "caches",
        })
    }
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

    /// Reads the value that JSON has for `field`; `null` is none.
    pub(super) fn of_json(field: Field, value: Value) -> Result<Option<Self>, SubmissionError> {
        let wrong = |actual| SubmissionError::FieldType {
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
                    .ok_or_else(|| wrong("an array of other values"))
            }
            Value::Number(_) => Err(wrong("a number")),
            Value::Object(_) => Err(wrong("an object")),
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

    /// Returns what a value is that its field cannot have.
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

/// An object with nothing but `url` and `key`.
fn cache(item: &Value) -> Option<(String, String)> {
    let members = item.as_object().filter(|members| members.len() == 2)?;
    Some((text(members.get("url")?)?, text(members.get("key")?)?))
}
