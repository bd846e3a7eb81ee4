//! How digests, lists and external parameters of `provenance.json` are read.
//!
//! * In: the members of a JSON document.
//! * Out: the values that are compared with something.
//! * Never: a list longer than its limit.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Dependencies, DigestSet, ExternalParameters, ListedItems, NamedFile};
use crate::bundle::read::MAX_BUNDLE_ENTRIES;
use crate::provenance::is_built_here;
use crate::verifier::chosen::Chosen;
use crate::verifier::json::Text;

/// Most byproducts of a statement. The appliance records the log and the lockfile.
const MAX_BYPRODUCTS: usize = 256;

/// The algorithms of the in-toto DigestSet (in-toto attestation framework, spec v1, DigestSet) with
/// their numbers of hexadecimal digits.
const ALGORITHMS: [(&str, usize); 9] = [
    ("sha256", 64),
    ("sha384", 96),
    ("sha512", 128),
    ("sha1", 40),
    ("gitCommit", 40),
    ("gitTree", 40),
    ("gitBlob", 40),
    ("gitTag", 40),
    ("sha512_256", 64),
];

/// Returns whether a text is `digits` hexadecimal digits in lower case.
pub(super) fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl<'de: 'a, 'a> Deserialize<'de> for ExternalParameters<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ExternalMembers)
    }
}

/// Reads external parameters member by member.
struct ExternalMembers;

impl<'de> Visitor<'de> for ExternalMembers {
    type Value = ExternalParameters<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("external parameters")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let (mut source, mut nonce, mut nonce_source, mut unknown) = (None, None, None, None);
        let mut options = Chosen::default();
        while let Some(name) = members.next_key::<Text<'de>>()? {
            match &*name {
                "source" => source = Some(members.next_value()?),
                "nonce" => nonce = Some(members.next_value()?),
                "nonceSource" => nonce_source = Some(members.next_value()?),
                "options" => options = members.next_value()?,
                _ => {
                    members.next_value::<IgnoredAny>()?;
                    unknown.get_or_insert(name.0.into_owned());
                }
            }
        }
        Ok(ExternalParameters {
            source: source.ok_or_else(|| A::Error::missing_field("source"))?,
            nonce: nonce.ok_or_else(|| A::Error::missing_field("nonce"))?,
            nonce_source: nonce_source.ok_or_else(|| A::Error::missing_field("nonceSource"))?,
            options,
            unknown,
        })
    }
}

/// Reads at most [`MAX_BUNDLE_ENTRIES`] subjects.
pub(super) fn subjects<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<NamedFile<'a>>, D::Error> {
    deserializer.deserialize_seq(Files {
        limit: MAX_BUNDLE_ENTRIES,
        name: "MAX_BUNDLE_ENTRIES",
    })
}

/// Reads at most [`MAX_BYPRODUCTS`] byproducts.
pub(super) fn byproducts<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<NamedFile<'a>>, D::Error> {
    deserializer.deserialize_seq(Files {
        limit: MAX_BYPRODUCTS,
        name: "MAX_BYPRODUCTS",
    })
}

/// Reads a list of files, up to a limit with this name.
struct Files {
    limit: usize,
    name: &'static str,
}

impl<'de> Visitor<'de> for Files {
    type Value = Vec<NamedFile<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {} files ({})", self.limit, self.name)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut files = Vec::new();
        while let Some(file) = items.next_element()? {
            if files.len() == self.limit {
                return Err(A::Error::invalid_length(files.len() + 1, &self));
            }
            files.push(file);
        }
        Ok(files)
    }
}

/// Reads the digests of a file, which must include SHA-256; a set without it is noted as malformed.
impl<'de: 'a, 'a> Deserialize<'de> for DigestSet<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut set = deserializer.deserialize_map(Digests)?;
        if set.sha256.is_none() && set.bad.is_none() {
            set.bad = Some("no sha256".into());
        }
        Ok(set)
    }
}

/// Reads a digest set, and notes its first malformed entry.
struct Digests;

impl<'de> Visitor<'de> for Digests {
    type Value = DigestSet<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a digest set")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut set = DigestSet::default();
        while let Some((algorithm, value)) = members.next_entry::<Text<'de>, Text<'de>>()? {
            let known = ALGORITHMS.iter().find(|(name, _)| *name == &*algorithm);
            if !known.is_some_and(|(_, digits)| is_hex(&value, *digits)) {
                set.bad
                    .get_or_insert_with(|| format!("{} {:?}", algorithm, &*value).into());
            } else if *algorithm == *"sha256" {
                set.sha256 = value.parse().ok();
            } else if *algorithm == *"gitCommit" {
                set.git_commit = Some(value);
            } else if *algorithm == *"gitTree" {
                set.git_tree = Some(value);
            }
        }
        Ok(set)
    }
}

/// A dependency, a tool, or an output of a flake.
#[derive(Deserialize)]
struct ListedItem<'a> {
    #[serde(default, borrow)]
    digest: AnyDigests<'a>,
    #[serde(borrow)]
    realised: Option<Text<'a>>,
    /// The downloads that a built output is only copied from.
    #[serde(default, rename = "copiedFrom", borrow)]
    copied_from: Vec<Text<'a>>,
}

/// A digest set of any algorithms, which may be empty.
#[derive(Default)]
struct AnyDigests<'a>(DigestSet<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for AnyDigests<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Digests).map(Self)
    }
}

impl ListedItems {
    /// Adds the remaining items of a list.
    fn read<'de, A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Self, A::Error> {
        while let Some(item) = items.next_element::<ListedItem<'de>>()? {
            let is_copy = !item.copied_from.is_empty();
            let is_built = is_built_here(item.realised.as_deref(), is_copy);
            self.bad = self.bad.or(item.digest.0.bad);
            self.any_built = Some(is_built || self.any_built == Some(true));
        }
        Ok(self)
    }
}

impl<'de> Deserialize<'de> for ListedItems {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = ListedItems;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of what took part")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<ListedItems, A::Error> {
                ListedItems::default().read(items)
            }
        }

        deserializer.deserialize_seq(List)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Dependencies<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Dependencies<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("resolved dependencies, the source first")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let first: ListedItem<'de> = items
                    .next_element()?
                    .ok_or_else(|| A::Error::invalid_length(0, &self))?;
                let source = first.digest.0;
                let others = ListedItems {
                    bad: source.bad.clone(),
                    any_built: None,
                }
                .read(items)?;
                Ok(Dependencies { source, others })
            }
        }

        deserializer.deserialize_seq(List)
    }
}
