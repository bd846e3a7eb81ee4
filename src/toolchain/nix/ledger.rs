//! Accounts for every path of the store: how it came to be there.
//!
//! * In: the content of nix's database, the trees themselves, and the paths that this job added.
//! * Out: one descriptor for each path that took part, and one for the rest.
//! * Never: a hash that was not computed here, or a path of unknown origin.
//!
//! The members that the database of nix 2.26 and 2.34.8 has for a path, as observed:
//!
//! | origin | `ultimate` | `ca` | `signatures` |
//! |---|---|---|---|
//! | built here | true | none | none, unless the store signs |
//! | fetched here, by a fixed-output derivation | true | always | the same |
//! | substituted | false | only if its content was known before | those of the cache |
//! | added by a client | false | always | none |
//!
//! A client adds a flake's source, an input, a recipe, or a file that an expression names. Only the
//! client knows which of them a path is, so the caller names the paths that it knows. An
//! unprivileged client can set neither `ultimate` nor add a path without a content address.
//!
//! Evaluation adds a recipe for everything that might have to be built, thousands for a package of
//! nixpkgs, of which a few are run. The others, with the files that only they name, share one
//! descriptor: their number, and the digest of their list, so that anyone who evaluates the flake
//! can compare it.

mod path_info;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::digest::Sha256Digest;
use crate::provenance::{
    BUILT, FETCHED, OutputRecord, ResourceDescriptor, SUBSTITUTED, fetched_from, sha256_set,
};

use super::key::TrustedKeys;
use super::nar::{Nar, NarError, NarHashError};
use super::store_path::{StorePath, StorePathError};

pub use path_info::{PathInfo, parse};

/// The end of the names of recipes.
const RECIPE_SUFFIX: &str = ".drv";

/// The name, in a statement, of the recipes that were not run and of the files that only they name.
const EVALUATED: &str = "recipes that were only evaluated";

/// Why the store cannot be accounted for.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The output of nix is not JSON, or has another form.
    #[error("nix's list of the store cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A path in the list is not a store path.
    #[error("nix names a path that is not a store path")]
    Path(#[from] StorePathError),
    /// A hash in the list cannot be read.
    #[error("nix's database has an unusable hash for {path}")]
    Hash {
        /// The path in the store.
        path: String,
        /// The reason for the refusal.
        source: NarHashError,
    },
    /// A path is missing in the store.
    #[error("{path} is not valid in the store")]
    Invalid {
        /// The path in the store.
        path: String,
    },
    /// A path refers to one that is not listed.
    #[error("{path} refers to {reference}, which is not listed")]
    Incomplete {
        /// The path in the store.
        path: String,
        /// The path that it refers to.
        reference: String,
    },
    /// The tree of a path cannot be hashed.
    #[error("{path} cannot be hashed")]
    Unread {
        /// The path in the store.
        path: String,
        /// The reason for the refusal.
        source: NarError,
    },
    /// The tree of a path differs from the database.
    #[error(
        "{path} has sha256 {} and {} bytes, but {} and {} in nix's database",
        .actual.sha256, .actual.size, .expected.sha256, .expected.size
    )]
    Altered {
        /// The path in the store.
        path: String,
        /// The hash and the size in the database.
        expected: Nar,
        /// The hash and the size of the tree.
        actual: Nar,
    },
    /// A path was not built here, not added by this job, and not signed by a trusted key.
    #[error("{path} was neither built here nor signed by a trusted key")]
    Unvouched {
        /// The path in the store.
        path: String,
    },
}

impl LedgerError {
    /// Returns whether nix or the appliance failed, and not a builder or a cache.
    pub(crate) fn is_fault(&self) -> bool {
        match self {
            Self::Unvouched { .. } => false,
            Self::Unread { source, .. } => source.is_fault(),
            _ => true,
        }
    }
}

/// The kind of a path that was added to the store as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// An input that `flake.lock` locks.
    Input,
    /// The source that is built.
    Source,
    /// A recipe, or a file that an expression names.
    Evaluation,
}

impl Added {
    fn word(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Source => "source",
            Self::Evaluation => "evaluation",
        }
    }
}

/// The origin of a path from a cache, according to nix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cached {
    /// The URL of the cache.
    pub cache: String,
    /// The last URL of the archive, escaped, if the cache redirected.
    pub fetched_from: Option<String>,
}

/// The origin of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Realised {
    /// The path was built here, without a network.
    Built,
    /// A builder here made it, and may have downloaded it: its content was known before.
    Fetched,
    /// The path was built elsewhere.
    Substituted {
        /// The cache that nix names.
        from: Option<Cached>,
        /// The name of the trusted key that signed the path.
        key: String,
    },
    /// The path was added as it is; its name depends on its content.
    Added(Added),
}

impl Realised {
    /// Returns the annotations that describe the origin.
    fn annotations(&self) -> BTreeMap<String, Value> {
        let mut annotations = BTreeMap::new();
        let (name, word) = match self {
            Self::Added(added) => ("added", added.word()),
            _ => ("realised", self.word()),
        };
        annotations.insert(name.to_owned(), word.into());
        let Self::Substituted { from, key } = self else {
            return annotations;
        };
        annotations.insert("key".to_owned(), key.as_str().into());
        if let Some(Cached {
            cache,
            fetched_from: last,
        }) = from
        {
            annotations.insert("cache".to_owned(), cache.as_str().into());
            annotations.extend(fetched_from(last.as_deref()));
        }
        annotations
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Built => BUILT,
            Self::Fetched => FETCHED,
            Self::Substituted { .. } => SUBSTITUTED,
            Self::Added(_) => "added",
        }
    }
}

/// Every path of the store, hashed, with its origin, sorted by path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger(Vec<LedgerEntry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct LedgerEntry {
    info: PathInfo,
    realised: Realised,
}

impl Ledger {
    /// Hashes every path and determines its origin.
    ///
    /// # Errors
    /// A path differs from nix's database, refers to one that is not listed, or has an unknown
    /// origin.
    pub fn new(
        infos: Vec<PathInfo>,
        keys: &TrustedKeys,
        caches: &BTreeMap<StorePath, Cached>,
        added: &BTreeMap<StorePath, Added>,
        hash: impl Fn(&StorePath) -> Result<Nar, NarError>,
    ) -> Result<Self, LedgerError> {
        let listed: BTreeSet<_> = infos.iter().map(|info| &info.path).collect();
        for info in &infos {
            let mut references = info.references.iter();
            if let Some(reference) = references.find(|reference| !listed.contains(reference)) {
                return Err(LedgerError::Incomplete {
                    path: info.path.to_string(),
                    reference: reference.to_string(),
                });
            }
            compare(info, &hash)?;
        }
        let mut entries = Vec::new();
        for info in infos {
            let (cache, added) = (caches.get(&info.path), added.get(&info.path).copied());
            let Some(realised) = realised(&info, keys, cache, added) else {
                return Err(LedgerError::Unvouched {
                    path: info.path.to_string(),
                });
            };
            entries.push(LedgerEntry { info, realised });
        }
        Ok(Self(entries))
    }

    /// Returns one descriptor for each path that took part, in order, and one for all that was only
    /// evaluated.
    pub fn descriptors(&self) -> Vec<ResourceDescriptor> {
        let used = self.used();
        let (took_part, evaluated): (Vec<_>, Vec<_>) = self
            .0
            .iter()
            .partition(|entry| !entry.is_of_evaluation() || used.contains(&entry.info.path));
        let took_part = took_part.into_iter().map(LedgerEntry::descriptor);
        took_part.chain(evaluated_descriptor(&evaluated)).collect()
    }

    /// Returns the paths that were downloaded, by a builder, from a cache or as an input.
    pub fn downloads(&self) -> BTreeSet<&StorePath> {
        let is_download = |entry: &&LedgerEntry| match entry.realised {
            Realised::Fetched | Realised::Substituted { .. } | Realised::Added(Added::Input) => {
                true
            }
            Realised::Built | Realised::Added(Added::Source | Added::Evaluation) => false,
        };
        self.0
            .iter()
            .filter(is_download)
            .map(|entry| &entry.info.path)
            .collect()
    }

    /// Returns the recipe by which a path was built here, if it was and nix knows the recipe.
    pub fn recipe(&self, path: &StorePath) -> Option<&StorePath> {
        let entry = self
            .0
            .iter()
            .find(|entry| entry.info.path == *path && entry.info.ultimate)?;
        entry.info.deriver.as_ref()
    }

    /// Returns the paths that evaluation added and a build used: the recipes that were run, and the
    /// files that they, or other paths that took part, refer to.
    fn used(&self) -> BTreeSet<&StorePath> {
        let entries: BTreeMap<_, _> = self
            .0
            .iter()
            .map(|entry| (&entry.info.path, entry))
            .collect();
        let mut pending: Vec<&LedgerEntry> = self.0.iter().collect();
        pending.retain(|entry| !entry.is_of_evaluation());
        let built_here = pending.iter().copied().filter(|entry| entry.info.ultimate);
        let recipes = built_here.filter_map(|entry| entry.info.deriver.as_ref());
        let mut used: BTreeSet<&StorePath> = recipes.collect();
        pending.extend(used.iter().filter_map(|path| entries.get(path)));
        while let Some(entry) = pending.pop() {
            for path in entry.info.references.iter().filter(|path| !is_recipe(path)) {
                if used.insert(path) {
                    pending.extend(entries.get(path));
                }
            }
        }
        used
    }

    /// Returns the outputs, sorted by name, as provenance lists them.
    ///
    /// # Errors
    /// The store has no such path.
    pub fn outputs(
        &self,
        outputs: &BTreeMap<String, StorePath>,
    ) -> Result<Vec<OutputRecord>, LedgerError> {
        let mut records = Vec::new();
        for (name, path) in outputs {
            let Ok(index) = self.0.binary_search_by(|entry| entry.info.path.cmp(path)) else {
                return Err(LedgerError::Invalid {
                    path: path.to_string(),
                });
            };
            let LedgerEntry { info, realised } = &self.0[index];
            records.push(OutputRecord {
                name: name.clone(),
                path: path.to_string(),
                digest: sha256_set(&info.nar_hash),
                realised: realised.word(),
                copied_from: Vec::new(),
            });
        }
        Ok(records)
    }
}

/// Returns the one descriptor of all paths that were only evaluated, if there are any.
///
/// Its digest is of the list that `sha256sum` would print: a line `SHA256  PATH` for each, in
/// order, where the digest is that of the path's NAR.
fn evaluated_descriptor(entries: &[&LedgerEntry]) -> Option<ResourceDescriptor> {
    if entries.is_empty() {
        return None;
    }
    let lines: String = entries
        .iter()
        .map(|entry| format!("{}  {}\n", entry.info.nar_hash, entry.info.path))
        .collect();
    Some(ResourceDescriptor {
        name: Some(EVALUATED.to_owned()),
        uri: None,
        digest: sha256_set(&Sha256Digest::of(lines.as_bytes())),
        annotations: BTreeMap::from([
            ("added".to_owned(), "evaluation".into()),
            ("count".to_owned(), entries.len().into()),
        ]),
    })
}

fn is_recipe(path: &StorePath) -> bool {
    path.name().ends_with(RECIPE_SUFFIX)
}

impl LedgerEntry {
    /// Returns whether evaluation added the path.
    fn is_of_evaluation(&self) -> bool {
        self.realised == Realised::Added(Added::Evaluation)
    }

    fn descriptor(&self) -> ResourceDescriptor {
        let mut annotations = self.realised.annotations();
        annotations.insert("narSize".to_owned(), self.info.nar_size.into());
        // For a path that was not built here, the recipe is a claim without a signature.
        if let Some(recipe) = &self.info.deriver
            && self.info.ultimate
        {
            annotations.insert("deriver".to_owned(), recipe.to_string().into());
        }
        ResourceDescriptor {
            name: Some(self.info.path.to_string()),
            uri: None,
            digest: sha256_set(&self.info.nar_hash),
            annotations,
        }
    }
}

/// Compares the tree of a path with nix's database.
fn compare(
    info: &PathInfo,
    hash: impl Fn(&StorePath) -> Result<Nar, NarError>,
) -> Result<(), LedgerError> {
    let path = || info.path.to_string();
    let actual = hash(&info.path).map_err(|source| LedgerError::Unread {
        path: path(),
        source,
    })?;
    let expected = Nar {
        sha256: info.nar_hash,
        size: info.nar_size,
    };
    if actual != expected {
        return Err(LedgerError::Altered {
            path: path(),
            expected,
            actual,
        });
    }
    Ok(())
}

/// Returns the origin of a path; `None` when it is unknown.
///
/// A path from a cache without the signature of a trusted key is not taken for one that an
/// expression added, although nix accepts it if its name depends on its content.
fn realised(
    info: &PathInfo,
    keys: &TrustedKeys,
    cache: Option<&Cached>,
    added: Option<Added>,
) -> Option<Realised> {
    if info.ultimate {
        return Some(if info.ca.is_some() {
            Realised::Fetched
        } else {
            Realised::Built
        });
    }
    if let Some(key) = keys.signer(&info.fingerprint(), &info.signatures) {
        return Some(Realised::Substituted {
            from: cache.cloned(),
            key: key.to_owned(),
        });
    }
    let by_evaluation = cache.is_none() && info.signatures.is_empty();
    let added = added.or(by_evaluation.then_some(Added::Evaluation));
    added.filter(|_| info.ca.is_some()).map(Realised::Added)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEY: &str = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/nix/cache.pub"
    ));
    const INFOS: &[u8] = include_bytes!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/nix/path-info.json"
    ));

    fn path(name: &str) -> StorePath {
        find(&parse(INFOS).unwrap(), name).path.clone()
    }

    fn find<'a>(infos: &'a [PathInfo], name: &str) -> &'a PathInfo {
        infos
            .iter()
            .find(|info| info.path.base().ends_with(name))
            .unwrap()
    }

    fn cached() -> Cached {
        Cached {
            cache: "http://127.0.0.1:8018".to_owned(),
            fetched_from: Some("https://x/y".to_owned()),
        }
    }

    /// Returns the ledger of a store in which every tree is as nix's database says.
    fn ledger(change: impl Fn(&mut PathInfo)) -> Result<Ledger, LedgerError> {
        let mut infos = parse(INFOS).unwrap();
        infos.iter_mut().for_each(change);
        let nars: BTreeMap<_, _> = infos
            .iter()
            .map(|info| {
                (
                    info.path.clone(),
                    Nar {
                        sha256: info.nar_hash,
                        size: info.nar_size,
                    },
                )
            })
            .collect();
        let caches = BTreeMap::from([(path("greeting-2.1"), cached())]);
        let added = BTreeMap::from([
            (
                path("1y6cacrjrj06f8hjy4kflkzr5gqans87-source"),
                Added::Input,
            ),
            (
                path("7c6zs0pdvqwhb4m3yl06nrjm0ghgzram-source"),
                Added::Source,
            ),
        ]);
        Ledger::new(
            infos,
            &TrustedKeys::parse(KEY).unwrap(),
            &caches,
            &added,
            |path| Ok(nars[path]),
        )
    }

    fn only(name: &'static str, change: impl Fn(&mut PathInfo)) -> impl Fn(&mut PathInfo) {
        move |info| {
            if info.path.name() == name {
                change(info);
            }
        }
    }

    #[test]
    fn reads_what_nix_says() {
        let infos = parse(INFOS).unwrap();
        assert!(infos.len() == 9 && infos.is_sorted_by_key(|info| &info.path));
        let hello = find(&infos, "hello-1.0");
        assert_eq!(
            (hello.nar_size, hello.ultimate, hello.ca.as_deref()),
            (600, true, None)
        );
        assert_eq!(hello.deriver, Some(path("hello-1.0.drv")));
        assert_eq!(
            hello.references,
            BTreeSet::from([path("hello-1.0"), path("greeting-2.1")])
        );
        assert_eq!(find(&infos, "greeting-2.1").signatures.len(), 1);
    }

    #[test]
    fn refuses_what_nix_does_not_say() {
        assert!(parse(b"{}").unwrap().is_empty());
        let hello = path("hello-1.0");
        let invalid = parse(format!(r#"{{"{hello}":null}}"#).as_bytes()).unwrap_err();
        assert!(
            matches!(&invalid, LedgerError::Invalid { path } if *path == hello.to_string()),
            "{invalid}"
        );
        let text = String::from_utf8(INFOS.to_vec()).unwrap();
        for (from, to) in [
            ("\"ultimate\"", "\"x\""),
            ("\"ca\"", "\"narSize\""),
            ("narSize\":600", "narSize\":-1"),
        ] {
            let refusal = parse(text.replace(from, to).as_bytes()).unwrap_err();
            assert!(matches!(refusal, LedgerError::Json(_)), "{from}: {refusal}");
        }
        let refusal = parse(text.replace("sha256-U0mb", "sha512-U0mb").as_bytes()).unwrap_err();
        assert!(matches!(refusal, LedgerError::Hash { .. }), "{refusal}");
        let refusal = parse(
            text.replace("/nix/store/19fh", "/nix/other/19fh")
                .as_bytes(),
        )
        .unwrap_err();
        assert!(matches!(refusal, LedgerError::Path(_)), "{refusal}");
    }

    #[test]
    fn every_path_is_told_apart_as_the_database_allows() {
        let ledger = ledger(|_| ()).unwrap();
        let found: BTreeMap<_, _> = ledger
            .0
            .iter()
            .map(|entry| (entry.info.path.base(), entry.realised.clone()))
            .collect();
        let substituted = Realised::Substituted {
            from: Some(cached()),
            key: "test-cache-1".to_owned(),
        };
        let added = Realised::Added;
        let expected = BTreeMap::from([
            ("19fh7wyy68shhsscywmgxdxxfwsyf4jp-fixed", Realised::Fetched),
            (
                "1y6cacrjrj06f8hjy4kflkzr5gqans87-source",
                added(Added::Input),
            ),
            (
                "63cdvqwycq731r4b0xldqblzrsxzgki3-hello-1.0.drv",
                added(Added::Evaluation),
            ),
            (
                "7c6zs0pdvqwhb4m3yl06nrjm0ghgzram-source",
                added(Added::Source),
            ),
            (
                "90nj2w3v85qqkf8i6q5c7vvkz4nqpah7-greeting-2.1.drv",
                added(Added::Evaluation),
            ),
            (
                "c0blc5saydj7i2ildx49s5r2xylr4pwx-hello-1.0",
                Realised::Built,
            ),
            ("cd702inh1qxjkpdb45s2bk58ly9ckv4g-greeting-2.1", substituted),
            (
                "qp3sypqrri2xj4pn98bf5jcvwc58c4ik-note",
                added(Added::Evaluation),
            ),
            (
                "srs3a1m4cgixflb58y21fg6c1fxazi55-fixed.drv",
                added(Added::Evaluation),
            ),
        ]);
        assert_eq!(found, expected);
    }

    #[test]
    fn descriptors_say_how_a_path_came_to_be() {
        let ledger = ledger(|_| ()).unwrap();
        let descriptors = ledger.descriptors();
        assert_eq!(descriptors.len(), 9);
        let of = |name: &str| {
            let name = path(name).to_string();
            let found = descriptors
                .iter()
                .find(|descriptor| descriptor.name.as_deref() == Some(&name))
                .unwrap();
            serde_json::to_value(found).unwrap()
        };
        assert_eq!(
            of("greeting-2.1"),
            json!({
                "name": "/nix/store/cd702inh1qxjkpdb45s2bk58ly9ckv4g-greeting-2.1",
                "digest": {"sha256": "10551daed7fa467d0b58826e7eb9a0f2af7d693de319f2ef775fffcda244b9f6"},
                "annotations": {
                    "realised": "substituted", "cache": "http://127.0.0.1:8018", "fetchedFrom": "https://x/y", "key": "test-cache-1", "narSize": 120,
                },
            })
        );
        let deriver = "/nix/store/63cdvqwycq731r4b0xldqblzrsxzgki3-hello-1.0.drv";
        let built = json!({"realised": "built", "narSize": 600, "deriver": deriver});
        assert_eq!(of("hello-1.0")["annotations"], built);
        let fixed = &of("-fixed")["annotations"];
        assert_eq!(
            (&fixed["realised"], fixed.get("fixedOutput")),
            (&json!("fetched"), None)
        );
        assert_eq!(
            of("note")["annotations"],
            json!({"added": "evaluation", "narSize": 120})
        );
        assert_eq!(
            of("87-source")["annotations"],
            json!({"added": "input", "narSize": 344})
        );
        assert_eq!(
            of("am-source")["annotations"],
            json!({"added": "source", "narSize": 1696})
        );
    }

    #[test]
    fn recipes_that_were_not_run_are_one_descriptor() {
        let ledger = ledger(|_| ()).unwrap();
        let descriptors = ledger.descriptors();
        let listed = |name: &str| {
            let name = path(name).to_string();
            descriptors
                .iter()
                .any(|descriptor| descriptor.name.as_deref() == Some(&name))
        };
        assert!(
            listed("hello-1.0.drv")
                && listed("fixed.drv")
                && listed("note")
                && !listed("greeting-2.1.drv")
        );
        let infos = parse(INFOS).unwrap();
        let recipe = find(&infos, "greeting-2.1.drv");
        let lines = format!("{}  {}\n", recipe.nar_hash, recipe.path);
        let expected = json!({
            "name": "recipes that were only evaluated",
            "digest": {"sha256": Sha256Digest::of(lines.as_bytes()).to_string()},
            "annotations": {"added": "evaluation", "count": 1},
        });
        assert_eq!(
            serde_json::to_value(descriptors.last().unwrap()).unwrap(),
            expected
        );
    }

    /// A statement of a flake that evaluates a hundred thousand recipes is as long as that of one
    /// that evaluates one.
    #[test]
    fn what_was_only_evaluated_does_not_make_a_statement_longer() {
        let infos = parse(INFOS).unwrap();
        let recipe = find(&infos, "greeting-2.1.drv").clone();
        let with = |count: usize| {
            let more = (0..count).map(|number| PathInfo {
                path: StorePath::parse(
                    &recipe
                        .path
                        .to_string()
                        .replace("greeting", &format!("more-{number}")),
                )
                .unwrap(),
                ..recipe.clone()
            });
            let mut infos: Vec<_> = infos.iter().cloned().chain(more).collect();
            infos.sort_by(|a, b| a.path.cmp(&b.path));
            let nars: BTreeMap<_, _> = infos
                .iter()
                .map(|info| {
                    (
                        info.path.clone(),
                        Nar {
                            sha256: info.nar_hash,
                            size: info.nar_size,
                        },
                    )
                })
                .collect();
            let keys = TrustedKeys::parse(KEY).unwrap();
            let ledger = Ledger::new(infos, &keys, &BTreeMap::new(), &BTreeMap::new(), |path| {
                Ok(nars[path])
            })
            .unwrap();
            ledger.descriptors()
        };
        let (few, many) = (with(1), with(100_000));
        assert_eq!(few.len(), many.len());
        let count =
            |descriptors: &[ResourceDescriptor]| descriptors.last()?.annotations["count"].as_u64();
        assert_eq!(
            count(&many).zip(count(&few)).map(|(many, few)| many - few),
            Some(99_999)
        );
        assert_ne!(few.last().unwrap().digest, many.last().unwrap().digest);
    }

    #[test]
    fn downloads_are_what_was_fetched_substituted_or_locked() {
        let ledger = ledger(|_| ()).unwrap();
        let expected = [
            "-fixed",
            "1y6cacrjrj06f8hjy4kflkzr5gqans87-source",
            "greeting-2.1",
        ]
        .map(path);
        assert_eq!(ledger.downloads(), expected.iter().collect());
    }

    #[test]
    fn a_path_for_which_nobody_answers_is_refused() {
        let unvouched = |change: &dyn Fn(&mut PathInfo)| match ledger(change) {
            Err(LedgerError::Unvouched { path }) => path,
            other => panic!("{other:?}"),
        };
        let greeting = path("greeting-2.1").to_string();
        let forged = |info: &mut PathInfo| info.signatures = vec!["test-cache-1:AAAA".to_owned()];
        let address = |info: &mut PathInfo| info.ca = Some("fixed:r:sha256:x".to_owned());
        assert_eq!(
            unvouched(&only("greeting-2.1", |info| info.signatures.clear())),
            greeting
        );
        assert_eq!(unvouched(&only("greeting-2.1", forged)), greeting);
        let from_cache = |info: &mut PathInfo| {
            info.signatures.clear();
            address(info);
        };
        assert_eq!(unvouched(&only("greeting-2.1", from_cache)), greeting);
        let note = path("note").to_string();
        assert_eq!(unvouched(&only("note", |info| info.ca = None)), note);
        assert_eq!(unvouched(&only("note", forged)), note);
        assert!(unvouched(&only("source", |info| info.ca = None)).ends_with("-source"));
    }

    #[test]
    fn a_tree_that_is_not_what_nix_says_is_refused() {
        let empty = Nar {
            sha256: Sha256Digest::of(b""),
            size: 0,
        };
        let infos = parse(INFOS).unwrap();
        let nobody = (TrustedKeys::default(), BTreeMap::new(), BTreeMap::new());
        let refusal = Ledger::new(infos.clone(), &nobody.0, &nobody.1, &nobody.2, |_| {
            Ok(empty)
        })
        .unwrap_err();
        let LedgerError::Altered {
            path,
            expected,
            actual,
        } = &refusal
        else {
            panic!("{refusal}")
        };
        assert_eq!((path, actual), (&infos[0].path.to_string(), &empty));
        assert_eq!(
            expected,
            &Nar {
                sha256: infos[0].nar_hash,
                size: infos[0].nar_size
            }
        );
        let unread = |_: &StorePath| Err(NarError::TooMany { limit: 1 });
        let refusal = Ledger::new(infos, &nobody.0, &nobody.1, &nobody.2, unread).unwrap_err();
        assert!(matches!(refusal, LedgerError::Unread { .. }), "{refusal}");
    }

    #[test]
    fn what_a_path_refers_to_is_listed() {
        let absent = StorePath::parse(&path("note").to_string().replace("note", "absent")).unwrap();
        let refusal = ledger(only("hello-1.0", |info| {
            info.references.extend([absent.clone()])
        }))
        .unwrap_err();
        let LedgerError::Incomplete {
            path: found,
            reference,
        } = refusal
        else {
            panic!("{refusal}")
        };
        assert_eq!(
            (found, reference),
            (path("hello-1.0").to_string(), absent.to_string())
        );
    }

    #[test]
    fn an_output_is_what_the_ledger_says_of_its_path() {
        let ledger = ledger(|_| ()).unwrap();
        let record = |path: StorePath| ledger.outputs(&BTreeMap::from([("out".to_owned(), path)]));
        for (name, realised) in [
            ("greeting-2.1", SUBSTITUTED),
            ("hello-1.0", BUILT),
            ("note", "added"),
        ] {
            let [output] = record(path(name)).unwrap().try_into().unwrap();
            assert_eq!(
                (output.name.as_str(), output.path, output.realised),
                ("out", path(name).to_string(), realised)
            );
        }
        let absent = StorePath::parse(&path("note").to_string().replace("note", "absent")).unwrap();
        assert!(matches!(record(absent), Err(LedgerError::Invalid { .. })));
    }
}
