//! Describes the options of a build in its statement.
//!
//! * In: the options that the client chose, checked.
//! * Out: the object `externalParameters.options`.
//! * Never: an option that the client did not give.

use serde::Serialize;

/// The options that a client gave, under the names of the statement; each that it did not give is
/// left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OptionsRecord {
    /// The toolchain: `cargo` or `nix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toolchain: Option<&'static str>,
    /// The directory of the project within the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The package that cargo builds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// The programs that cargo builds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bins: Option<Vec<String>>,
    /// The features that cargo switches on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<Vec<String>>,
    /// Whether cargo leaves out the default features.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_default_features: Option<bool>,
    /// The output of the flake that nix builds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attribute: Option<String>,
    /// The further caches that nix takes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caches: Option<Vec<CacheRecord>>,
}

/// A binary cache with the public key that signs what it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CacheRecord {
    /// The URL of the cache.
    pub url: String,
    /// The key that signs its paths, `NAME:BASE64`.
    pub key: String,
}

impl OptionsRecord {
    /// Returns whether the client gave no option.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_given_is_written() {
        assert!(OptionsRecord::default().is_empty());
        let options = OptionsRecord {
            toolchain: Some("cargo"),
            features: Some(Vec::new()),
            no_default_features: Some(false),
            ..OptionsRecord::default()
        };
        assert!(!options.is_empty());
        let written = serde_json::to_string(&options).unwrap();
        let expected = r#"{"toolchain":"cargo","features":[],"noDefaultFeatures":false}"#;
        assert_eq!(written, expected);
    }
}
