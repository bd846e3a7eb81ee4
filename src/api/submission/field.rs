//! Names the fields of a submission, as each of the two formats calls them.
//!
//! * In: a name in one format.
//! * Out: a [`Field`].
//! * Never: a name that is known in the other format only.

use std::fmt;

/// A field of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The field `nonce` in both formats.
    Nonce,
    /// The field `repo_url` in both formats.
    RepositoryUrl,
    /// The field `repo_ref`, or `ref`.
    Ref,
    /// The field `source_data` in JSON, `source` in a form.
    Archive,
    /// The field `source_name` in JSON, the file name of `source` in a form.
    SourceName,
    /// The field `toolchain` in both formats.
    Toolchain,
    /// The field `path` in both formats.
    Path,
    /// The field `package` in both formats.
    Package,
    /// The field `bins` in both formats.
    Bins,
    /// The field `features` in both formats.
    Features,
    /// The field `no_default_features` in both formats.
    NoDefaultFeatures,
    /// The field `attribute` in both formats.
    Attribute,
    /// The field `caches`, in JSON only.
    Caches,
    /// The field `repo_token`.
    Token,
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
            "repo_token" => Some(Self::Token),
            _ => None,
        }
    }

    /// Returns the type that the value of the field has in JSON, with its article.
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
            Self::Token => "repo_token",
        })
    }
}
