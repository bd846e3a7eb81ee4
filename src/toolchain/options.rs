//! Defines the options that a client chooses for a build, beside its source.
//!
//! * In: names and values, as they came with a submission.
//! * Out: [`Options`], each of which a tool reads as it is meant.
//! * Never: a value that a tool could read as another option, as a pattern or as two values.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::provenance::{CacheRecord, OptionsRecord};
use crate::source::SourcePath;
use crate::source::redirect::Endpoint;

use super::Kind;
use super::nix::key::TrustedKeys;

/// The length of the longest name, output of a flake, URL or key, in bytes.
const MAX_VALUE_BYTES: usize = 512;

/// The options that a client chose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The toolchain that builds the project.
    pub toolchain: Option<Kind>,
    /// The directory of the project within the source.
    pub path: Option<SourcePath>,
    /// The options that only cargo knows.
    pub cargo: CargoOptions,
    /// The options that only nix knows.
    pub nix: NixOptions,
}

/// The options of a cargo project that a client chose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CargoOptions {
    /// The package that is built.
    pub package: Option<ItemName>,
    /// The programs that are built.
    pub bins: Option<Vec<ItemName>>,
    /// The features that are switched on.
    pub features: Option<Vec<ItemName>>,
    /// Whether to leave out the default features.
    pub no_default_features: Option<bool>,
}

/// The options of a flake that a client chose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NixOptions {
    /// The output that is built.
    pub attribute: Option<Attribute>,
    /// Further binary caches for this build.
    pub caches: Option<Vec<Cache>>,
}

/// The reason why text is not the value of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum OptionError {
    #[error("there are two toolchains, cargo and nix")]
    Toolchain,
    #[error("a value has {bytes} bytes, allowed are 1 to {limit}")]
    Length { bytes: usize, limit: usize },
    #[error(
        "a name starts with a dash, or has a blank, a comma, a control character or one of * ? [ ]"
    )]
    ItemName,
    #[error(
        "an output of a flake is names of letters, digits and _ - + ' with one dot between them"
    )]
    Attribute,
    #[error(
        "the URL of a cache starts with https:// or http:// and has no user, blank, comma, ? or #"
    )]
    CacheUrl,
    #[error("the key of a cache is NAME:BASE64 of 32 bytes, as nix prints it")]
    CacheKey,
    #[error("two caches have different keys of one name")]
    CacheKeys,
}

/// The name of a package, a program or a feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemName(String);

impl ItemName {
    /// Reads a name that cargo takes as this name, and in a list as one item of it.
    ///
    /// # Errors
    /// The text is empty or too long, or has a character that means something else to cargo.
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        check_length(text)?;
        let is_special = |character: char| {
            character.is_control() || character.is_whitespace() || ",*?[]".contains(character)
        };
        if text.starts_with('-') || text.contains(is_special) {
            return Err(OptionError::ItemName);
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the name as the client wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ItemName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An output of a flake, for instance `packages.x86_64-linux.tool`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute(String);

impl Attribute {
    /// Reads a path of attributes that stands as it is in the URL of a flake.
    ///
    /// # Errors
    /// The text is empty or too long, or has a character that means something else to nix.
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        check_length(text)?;
        let is_name = |name: &str| {
            let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"_-+'".contains(&byte);
            let starts =
                name.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_');
            starts && name.bytes().all(is_letter)
        };
        if !text.split('.').all(is_name) {
            return Err(OptionError::Attribute);
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the path as the client wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A binary cache with the key that signs its store paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    url: String,
    key: String,
}

impl Cache {
    /// Reads a cache whose URL has no parameters: one of nix's turns off the check of signatures.
    ///
    /// # Errors
    /// The URL or the key is malformed, or too long.
    pub fn parse(url: &str, key: &str) -> Result<Self, OptionError> {
        check_length(url)?;
        check_length(key)?;
        let is_special = |character: char| {
            character.is_control() || character.is_whitespace() || ",?#@".contains(character)
        };
        if url.contains(is_special) || Endpoint::of(url).is_none() {
            return Err(OptionError::CacheUrl);
        }
        // Nix reads a `#` as the beginning of a comment.
        let ends_key = |character: char| {
            character.is_control() || character.is_whitespace() || ",#".contains(character)
        };
        if key.contains(ends_key) || TrustedKeys::parse(key).is_err() {
            return Err(OptionError::CacheKey);
        }
        Ok(Self {
            url: url.to_owned(),
            key: key.to_owned(),
        })
    }

    /// Expects one key of each name: a signature names the key that it is of.
    ///
    /// # Errors
    /// Two caches have different keys of one name.
    pub fn check_keys(caches: &[Self]) -> Result<(), OptionError> {
        let keys: BTreeSet<&str> = caches.iter().map(Self::key).collect();
        let keys: Vec<&str> = keys.into_iter().collect();
        match TrustedKeys::parse(&keys.join(" ")) {
            Ok(_) => Ok(()),
            Err(_) => Err(OptionError::CacheKeys),
        }
    }

    /// Returns the URL as the client wrote it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the key as the client wrote it, `NAME:BASE64`.
    pub fn key(&self) -> &str {
        &self.key
    }
}

fn check_length(text: &str) -> Result<(), OptionError> {
    let (bytes, limit) = (text.len(), MAX_VALUE_BYTES);
    if bytes == 0 || bytes > limit {
        return Err(OptionError::Length { bytes, limit });
    }
    Ok(())
}

impl FromStr for Kind {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        match text {
            "cargo" => Ok(Self::Cargo),
            "nix" => Ok(Self::Nix),
            _ => Err(OptionError::Toolchain),
        }
    }
}

impl Options {
    /// Returns the first option that was given and that only the other toolchain knows, by its name
    /// in the API.
    pub fn first_not_for(&self, kind: Kind) -> Option<&'static str> {
        match kind {
            Kind::Cargo => self.nix.first(),
            Kind::Nix => self.cargo.first(),
        }
    }

    /// Returns the options as a statement has them.
    pub fn record(&self) -> OptionsRecord {
        let name = |name: &ItemName| name.as_str().to_owned();
        let names = |names: &Vec<ItemName>| names.iter().map(name).collect();
        let cache = |cache: &Cache| CacheRecord {
            url: cache.url.clone(),
            key: cache.key.clone(),
        };
        let attribute = |attribute: &Attribute| attribute.as_str().to_owned();
        let caches = |caches: &Vec<Cache>| caches.iter().map(cache).collect();
        OptionsRecord {
            toolchain: self.toolchain.map(Kind::as_str),
            path: self.path.as_ref().map(|path| path.as_str().to_owned()),
            package: self.cargo.package.as_ref().map(name),
            bins: self.cargo.bins.as_ref().map(names),
            features: self.cargo.features.as_ref().map(names),
            no_default_features: self.cargo.no_default_features,
            attribute: self.nix.attribute.as_ref().map(attribute),
            caches: self.nix.caches.as_ref().map(caches),
        }
    }
}

impl CargoOptions {
    /// Returns the name of the first option that was given.
    fn first(&self) -> Option<&'static str> {
        let given = [
            (self.package.is_some(), "package"),
            (self.bins.is_some(), "bins"),
            (self.features.is_some(), "features"),
            (self.no_default_features.is_some(), "no_default_features"),
        ];
        given
            .iter()
            .find(|(is_given, _)| *is_given)
            .map(|(_, name)| *name)
    }
}

impl NixOptions {
    /// Returns the name of the first option that was given.
    fn first(&self) -> Option<&'static str> {
        let given = [
            (self.attribute.is_some(), "attribute"),
            (self.caches.is_some(), "caches"),
        ];
        given
            .iter()
            .find(|(is_given, _)| *is_given)
            .map(|(_, name)| *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_argument_and_no_pattern() {
        for name in ["ripgrep", "my.tool", "größe", "serde/derive", "dep?"] {
            let is_plain = !name.contains('?');
            assert_eq!(ItemName::parse(name).is_ok(), is_plain, "{name}");
        }
        for name in ["", "-p", "a b", "a,b", "a\n", "*", "a[b]", &"x".repeat(513)] {
            assert!(ItemName::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn an_attribute_stands_as_it_is_in_a_url() {
        for text in ["tool", "packages.x86_64-linux.tool", "a.b'.c+d-e"] {
            assert_eq!(Attribute::parse(text).unwrap().as_str(), text);
        }
        for text in [
            "", ".", "a.", ".a", "a..b", "a^out", "a#b", "a%2eb", "a b", "\"a\"", "-a", "a.-b",
        ] {
            assert!(Attribute::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_cache_has_no_parameters_and_one_key() {
        let key = format!("cache-1:{}=", "A".repeat(43));
        assert!(Cache::parse("https://cache.example/x", &key).is_ok());
        for url in [
            "",
            "cache.example",
            "file:///x",
            "https://c?trusted=1",
            "https://u@c",
            "https://c https://d",
            "https://c#x",
        ] {
            assert!(Cache::parse(url, &key).is_err(), "{url}");
        }
        for key in [
            "",
            "x",
            "cache-1:AAAA",
            &format!("{key} {key}"),
            &format!("{key}\n{key}"),
            &format!("{key}\n"),
            &format!("\t{key}"),
            &key.replace("cache-1", "cache#1"),
            &key.replace("cache-1", "cache\0"),
            &key.replace("cache-1", "cache,1"),
        ] {
            assert!(Cache::parse("https://c", key).is_err(), "{key}");
        }
    }

    #[test]
    fn options_of_the_other_toolchain_are_named() {
        let mut options = Options::default();
        options.cargo.no_default_features = Some(false);
        assert_eq!(options.first_not_for(Kind::Cargo), None);
        assert_eq!(
            options.first_not_for(Kind::Nix),
            Some("no_default_features")
        );
        options.nix.attribute = Attribute::parse("x").ok();
        assert_eq!(options.first_not_for(Kind::Cargo), Some("attribute"));
        options.cargo.bins = Some(Vec::new());
        assert_eq!(options.first_not_for(Kind::Nix), Some("bins"));
        let record = options.record();
        assert_eq!(
            (record.no_default_features, record.bins),
            (Some(false), Some(Vec::new()))
        );
    }
}
