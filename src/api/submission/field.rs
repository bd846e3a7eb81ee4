//! Which fields a submission has, and what each format calls them.

use std::fmt;

/// What a submission can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `nonce`
    Nonce,
    /// `repo_url`
    RepositoryUrl,
    /// `repo_ref`, `ref`
    Ref,
    /// `source_data` in JSON, `source` in a form.
    Archive,
    /// `source_name` in JSON, the file name of `source` in a form.
    SourceName,
}

impl Field {
    /// The field that JSON calls `name`.
    pub(super) fn in_json(name: &str) -> Option<Self> {
        match name {
            "source_data" => Some(Self::Archive),
            "source_name" => Some(Self::SourceName),
            _ => Self::in_both(name),
        }
    }

    /// The field that a form calls `name`.
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
            _ => None,
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
        })
    }
}
