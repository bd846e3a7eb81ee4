//! The options that a client chose for its build, beyond the source.
//!
//! * In: `externalParameters.options` of a statement, and the options that the reader expects.
//! * Out: each option as one line of text.
//! * Never: an unknown option passed over, or two different choices with the same text.
//!
//! | option | value in the statement | as text |
//! |---|---|---|
//! | `toolchain`, `path`, `package`, `attribute` | a string | the string |
//! | `bins`, `features` | a list of strings | joined by commas |
//! | `noDefaultFeatures` | true or false | `true` or `false` |
//! | `caches` | a list of `url` and `key` | URL, space, key; joined by commas |

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::json::Text;

/// Longest value of an option as text, in bytes.
pub const MAX_OPTION_BYTES: usize = 16 << 10;

/// The form of an option's value in a statement.
#[derive(Clone, Copy)]
enum Form {
    Text,
    List,
    Flag,
    Caches,
}

/// All known options, each with the form of its value.
const OPTIONS: [(&str, Form); 8] = [
    ("toolchain", Form::Text),
    ("path", Form::Text),
    ("package", Form::Text),
    ("bins", Form::List),
    ("features", Form::List),
    ("noDefaultFeatures", Form::Flag),
    ("attribute", Form::Text),
    ("caches", Form::Caches),
];

/// The options that a client chose. The first unknown name is kept instead of an error: it has its
/// own code.
#[derive(Debug, Default)]
pub struct Chosen {
    options: BTreeMap<&'static str, String>,
    unknown: Option<String>,
}

impl Chosen {
    /// Returns each option with its value as text, by name.
    pub fn options(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.options.iter().map(|(name, value)| (*name, &**value))
    }

    /// Returns the value of an option as text; none for one that was not given.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(|value| &**value)
    }

    /// Returns the name of the first unknown option.
    pub fn unknown(&self) -> Option<&str> {
        self.unknown.as_deref()
    }
}

/// An option with the value that the reader expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedOption {
    /// The option's name in the statement.
    pub name: &'static str,
    /// The option's value as text.
    pub value: String,
}

/// Why text is no expected option.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum ExpectedOptionError {
    #[error("{text:?} is not NAME=VALUE")]
    Form { text: String },
    #[error(
        "no option has the name {name:?}; there are {}",
        OPTIONS.map(|(name, _)| name).join(", ")
    )]
    Name { name: String },
}

impl FromStr for ExpectedOption {
    type Err = ExpectedOptionError;

    fn from_str(text: &str) -> Result<Self, ExpectedOptionError> {
        let Some((name, value)) = text.split_once('=') else {
            return Err(ExpectedOptionError::Form {
                text: text.to_owned(),
            });
        };
        let Some((name, _)) = OPTIONS.into_iter().find(|(known, _)| *known == name) else {
            return Err(ExpectedOptionError::Name {
                name: name.to_owned(),
            });
        };
        Ok(Self {
            name,
            value: value.to_owned(),
        })
    }
}

impl<'de> Deserialize<'de> for Chosen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Chosen;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("options")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Chosen, A::Error> {
        let mut chosen = Chosen::default();
        while let Some(name) = members.next_key::<Text<'de>>()? {
            let Some((name, form)) = OPTIONS.into_iter().find(|(known, _)| *known == &*name) else {
                members.next_value::<IgnoredAny>()?;
                chosen.unknown.get_or_insert_with(|| name.to_string());
                continue;
            };
            chosen.options.insert(name, form.read(&mut members)?);
        }
        Ok(chosen)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cache<'a> {
    #[serde(borrow)]
    url: Text<'a>,
    #[serde(borrow)]
    key: Text<'a>,
}

impl Form {
    fn read<'de, A: MapAccess<'de>>(self, members: &mut A) -> Result<String, A::Error> {
        match self {
            Self::Text => within(members.next_value::<String>()?),
            Self::Flag => members.next_value::<bool>().map(|value| value.to_string()),
            Self::List => members.next_value_seed(Joined::<Text<'de>> {
                text: |item| one(&item, &[',']),
            }),
            Self::Caches => members.next_value_seed(Joined::<Cache<'de>> { text: cache }),
        }
    }
}

/// Returns an item of a list. An empty item, or one with a separator in it, would give two lists
/// the same text.
fn one(item: &str, separators: &[char]) -> Option<String> {
    let is_one = !item.is_empty() && !item.contains(separators);
    is_one.then(|| item.to_owned())
}

fn cache(Cache { url, key }: Cache<'_>) -> Option<String> {
    let (url, key) = (one(&url, &[',', ' '])?, one(&key, &[',', ' '])?);
    Some(format!("{url} {key}"))
}

fn within<E: serde::de::Error>(value: String) -> Result<String, E> {
    if value.len() <= MAX_OPTION_BYTES {
        return Ok(value);
    }
    Err(E::custom(format!(
        "the value of an option has over {MAX_OPTION_BYTES} bytes (MAX_OPTION_BYTES)"
    )))
}

/// Reads a list as one text, each item as `text` writes it, without keeping the items.
struct Joined<T> {
    text: fn(T) -> Option<String>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Joined<T> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Joined<T> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<String, A::Error> {
        let mut joined = String::new();
        while let Some(item) = items.next_element()? {
            let Some(item) = (self.text)(item) else {
                return Err(A::Error::custom(
                    "an item in the list of an option is empty or has a separator in it",
                ));
            };
            if !joined.is_empty() {
                joined.push(',');
            }
            joined = within(joined + &item)?;
        }
        Ok(joined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Chosen, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn every_option_has_one_text() {
        let text = r#"{"toolchain":"cargo","path":"a/b","package":"p","bins":["x","y"],"features":[],
            "noDefaultFeatures":true,"attribute":"packages.x","caches":[{"url":"https://c","key":"k:1"}]}"#;
        let chosen = read(text).unwrap();
        let options: Vec<_> = chosen
            .options()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let expected = [
            "attribute=packages.x",
            "bins=x,y",
            "caches=https://c k:1",
            "features=",
            "noDefaultFeatures=true",
            "package=p",
            "path=a/b",
            "toolchain=cargo",
        ];
        assert_eq!(options, expected);
        assert_eq!(
            (chosen.value("bins"), chosen.value("x"), chosen.unknown()),
            (Some("x,y"), None, None)
        );
    }

    #[test]
    fn what_could_be_read_as_something_else_is_refused() {
        for bad in [
            r#"{"bins":["a,b"]}"#,
            r#"{"bins":[""]}"#,
            r#"{"bins":"a"}"#,
            r#"{"path":["a"]}"#,
            r#"{"noDefaultFeatures":"true"}"#,
            r#"{"caches":[{"url":"https://c k","key":"k"}]}"#,
            r#"{"caches":[{"url":"https://c"}]}"#,
            r#"{"caches":[{"url":"https://c","key":"k","more":1}]}"#,
            "[]",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(
            read(r#"{"path":"a","profile":"dev","lto":1}"#)
                .unwrap()
                .unknown(),
            Some("profile")
        );
    }

    #[test]
    fn the_value_of_an_option_has_a_limit() {
        let text = |length| format!(r#"{{"path":"{}"}}"#, "a".repeat(length));
        let list = |items| format!(r#"{{"bins":[{}]}}"#, vec!["\"a\""; items].join(","));
        assert!(read(&text(MAX_OPTION_BYTES)).is_ok() && read(&list(MAX_OPTION_BYTES / 2)).is_ok());
        for long in [text(MAX_OPTION_BYTES + 1), list(MAX_OPTION_BYTES)] {
            assert!(
                read(&long)
                    .unwrap_err()
                    .to_string()
                    .contains("MAX_OPTION_BYTES")
            );
        }
    }

    #[test]
    fn an_expected_option_has_a_name_that_there_is() {
        let option: ExpectedOption = "features=a=b,c".parse().unwrap();
        assert_eq!((option.name, &*option.value), ("features", "a=b,c"));
        assert!(matches!(
            "features".parse::<ExpectedOption>(),
            Err(ExpectedOptionError::Form { .. })
        ));
        for name in ["", "Features", "no_default_features", "profile"] {
            let refusal = format!("{name}=x").parse::<ExpectedOption>().unwrap_err();
            assert!(
                matches!(&refusal, ExpectedOptionError::Name { .. }),
                "{refusal}"
            );
        }
    }
}
