//! Reads the options that a reader keeps in a file.
//!
//! * In: TOML with the options' names.
//! * Out: options, as text.
//! * Never: a key that is ignored.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

/// The content of a policy file. Its keys are the names of the options of `kettle verify`; an
/// option that can be repeated has one value or a list. Paths are relative to the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Policy {
    /// The nonce that the build was started with, hex.
    pub nonce: Option<String>,
    /// Launch measurements to trust, hex.
    #[serde(default, deserialize_with = "list")]
    pub measurement: Vec<String>,
    /// The paths of files of reference values to trust.
    #[serde(default, deserialize_with = "list")]
    pub measurements: Vec<String>,
    /// The path of a VCEK or VLEK to use instead of the bundle's.
    pub vcek: Option<String>,
    /// The path of a revocation list.
    pub crl: Option<String>,
    /// Whether a missing VCEK is fetched from AMD.
    #[serde(default)]
    pub fetch: bool,
    /// Whether AMD's revocation list is fetched.
    #[serde(default)]
    pub fetch_crl: bool,
    /// The path of the directory for fetched files.
    pub cache: Option<String>,
    /// The lowest reported TCB version that is accepted.
    pub min_tcb: Option<String>,
    /// The URL of the repository that the source must come from.
    pub repository: Option<String>,
    /// The ref that the client must have requested, literally.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// The commit that must have been built, hex.
    pub commit: Option<String>,
    /// The paths of files that must be artifacts.
    #[serde(default, deserialize_with = "list")]
    pub artifact: Vec<String>,
    /// Options that the client must have chosen, as `NAME=VALUE`.
    #[serde(default, deserialize_with = "list")]
    pub option: Vec<String>,
    /// Whether any other option is refused.
    #[serde(default)]
    pub no_options: bool,
    /// The path of a test hierarchy to trust instead of AMD.
    pub trust_root: Option<String>,
    /// The time at which certificates must be valid, given as text or as a TOML date-time.
    #[serde(default, deserialize_with = "moment")]
    pub at: Option<String>,
    /// The names of checks whose rejection does not count.
    #[serde(default, deserialize_with = "list")]
    pub waive: Vec<String>,
}

/// The reason why bytes are not a policy file. The texts document the variants.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum PolicyError {
    #[error("it is not text in UTF-8")]
    Text,
    #[error("it is not a policy file")]
    Toml(#[source] Box<toml::de::Error>),
}

impl Policy {
    /// Reads the bytes of a policy file.
    ///
    /// # Errors
    /// The bytes are not text, or have a key or a value that no option has.
    pub fn read(bytes: &[u8]) -> Result<Self, PolicyError> {
        let text = std::str::from_utf8(bytes).map_err(|_| PolicyError::Text)?;
        toml::from_str(text).map_err(|error| PolicyError::Toml(Box::new(error)))
    }
}

/// Reads the value of an option that can be repeated: one value or several.
struct List;

impl<'de> Visitor<'de> for List {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, or a list of texts")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(vec![value.to_owned()])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element()? {
            values.push(value);
        }
        Ok(values)
    }
}

/// A time, as text or as a TOML date-time.
#[derive(Deserialize)]
#[serde(untagged)]
enum Moment {
    Text(String),
    Toml(toml::value::Datetime),
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Toml(moment) => fmt::Display::fmt(moment, f),
        }
    }
}

fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    deserializer.deserialize_any(List)
}

fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Some(Moment::deserialize(deserializer)?.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_is_a_list_of_one_and_a_time_is_read_in_both_forms() {
        let policy = Policy::read(b"waive = \"tcb\"\noption = [\"a=b\", \"c=d\"]").unwrap();
        assert_eq!(policy.waive, ["tcb"]);
        assert_eq!(policy.option, ["a=b", "c=d"]);
        for text in ["\"2026-01-31T12:00:00Z\"", "2026-01-31T12:00:00Z"] {
            let policy = Policy::read(format!("at = {text}").as_bytes()).unwrap();
            assert_eq!(policy.at.as_deref(), Some("2026-01-31T12:00:00Z"));
        }
    }

    #[test]
    fn an_unknown_key_and_a_value_of_another_kind_are_errors() {
        for text in [
            "noce = \"00\"",
            "waive = 1",
            "waive = [1]",
            "waive = [[\"tcb\"]]",
            "waive = { tcb = true }",
            "waive = 2026-01-31T12:00:00Z",
            "at = 1",
            "fetch = \"yes\"",
            "nonce = [\"00\"]",
        ] {
            assert!(
                matches!(Policy::read(text.as_bytes()), Err(PolicyError::Toml(_))),
                "{text}"
            );
        }
        assert!(matches!(Policy::read(b"\xff"), Err(PolicyError::Text)));
    }
}
