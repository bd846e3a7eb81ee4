//! Builds a flake: fetches the inputs with a network, checks them, and builds through a daemon.
//!
//! * In: [`Detected`].
//! * Out: [`Fetched`], then [`Built`].
//! * Never: evaluation with a network, a setting that the flake chose, an input that was not
//!   compared with the lockfile, or a store path of unknown origin.
//!
//! | step | command | network | access to the store |
//! |---|---|---|---|
//! | fetch | `nix flake archive` | yes | its own store; skipped when there is nothing to fetch |
//! | check | none: NAR hashes are computed here | no | reads the fetched store |
//! | serve | `nix-daemon` | for caches and fixed-output derivations | the only one that writes |
//! | place | `nix-store --add-fixed` | no | read-only, and the daemon's socket |
//! | evaluate | `nix build --dry-run` | no | the same |
//! | substitute | `nix build` of the recipe, without a builder | no | the same |
//! | build | `nix build` of the recipe, without a cache | no | the same |
//! | list | `nix path-info` | no | the same |
//! | account | none: every path's NAR hash is computed here | no | reads, after the daemon is dead |
//!
//! # Who writes the store, and who accounts for it
//!
//! Only the daemon writes the store of the build, and only the daemon has a network then. Every
//! other command is its client, in its own sandbox, which sees the store read-only. `plan`
//! describes all commands as values, with settings that the flake cannot change; `progress` reads
//! their output. In order:
//!
//! 1. `lockfile` reads `flake.lock`. Inputs that are not part of the source are fetched into a
//!    store that is used for nothing else. `nar` computes the hash of each fetched path, and an
//!    input is found among them by the hash that the lockfile has, never by its name. `downloads`
//!    reads from nix's messages where a download was redirected to.
//! 2. `daemon` starts `nix-daemon` and runs its clients: they add the checked inputs, evaluate the
//!    flake to one recipe, download everything that caches have, build the rest, and list the
//!    store. All downloads from caches come before the first builder runs, because a builder could
//!    forge nix's messages about them. Builders have no network, except those of fixed-output
//!    derivations, whose content is known before.
//! 3. When the daemon and everything that it started are dead, `ledger` hashes every path of the
//!    store and compares it with nix's database. Each path must have been built or fetched here, be
//!    signed by a key that the image trusts (`key`), or have been added: as the source, as a
//!    checked input, or by evaluation. Any other path ends the job.
//! 4. `copied` and `recipe` find outputs that only have copies of downloads, which is recorded.
//!    `collect` copies the outputs as artifacts, each file alone or, if that would lose something,
//!    the whole as a tar that `tree` writes.
//!
//! That a path was built from its recipe rests on the daemon, which is part of the image; that its
//! bytes are these does not.

mod archive;
mod base32;
mod collect;
mod copied;
mod daemon;
mod downloads;
mod error;
pub mod key;
pub mod ledger;
mod locate;
pub mod lockfile;
mod measure;
pub mod nar;
mod plan;
pub mod progress;
mod recipe;
pub mod store_path;
mod tree;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::blocking::blocking;
use crate::digest::Sha256Digest;
use crate::provenance::{BUILT, OutputRecord, ResourceDescriptor, fetched_from, sha256_set};
use crate::sandbox::CommandSpec;
use crate::source::SourceTree;
use crate::source::redirect::{leaves_https, quoted, recorded};

use super::untrusted::Untrusted;
use super::{
    Artifact, Built, Commands, Context, Detected, Kind, Lockfile, Log, Phase, ToolchainError,
};
use collect::Output;
use daemon::{Answers, Ran};
use downloads::Redirects;
use key::TrustedKeys;
use ledger::{Added, Ledger, PathInfo};
use lockfile::{FlakeLock, LockedInput};
use plan::{Folders, INPUT_NAME as SOURCE_NAME, Plan};
use store_path::StorePath;

pub use error::NixError;
pub use key::TrustedKeysError;
pub use ledger::LedgerError;
pub use locate::{CONFIGURATION_DIRECTORY, FindNixError, Nix};
pub use lockfile::{FlakeLockError, MAX_FLAKE_LOCK_BYTES};
pub use measure::tools;
pub use nar::NarError;

/// The lockfile's name.
const LOCKFILE: &str = "flake.lock";

/// Files that are no store paths, by the end of their names: nix's locks.
const LOCK_SUFFIX: &str = ".lock";

const MIB: u64 = 1 << 20;

/// Digits of a commit that cannot stand in a URL by chance.
const MIN_COMMIT_DIGITS: usize = 40;

/// A source tree with every input that it locks, checked.
#[derive(Debug)]
pub struct Fetched {
    tree: SourceTree,
    lockfile: Lockfile,
    inputs: Inputs,
    /// The locked inputs, as provenance lists them.
    dependencies: Vec<ResourceDescriptor>,
    command: Vec<String>,
}

/// Where the inputs are that do not come with the source, by the NAR hash that each has.
type Inputs = BTreeMap<Sha256Digest, PathBuf>;

/// What came of the fetch phase.
#[derive(Default)]
struct Downloaded {
    inputs: Inputs,
    /// The command that did it; empty when nothing was wanted.
    command: Vec<String>,
    redirects: Redirects,
}

/// Fetches and checks the inputs that the lockfile names.
///
/// # Errors
/// A lockfile that cannot be used, an input that cannot be fetched or is not what the lockfile says.
pub async fn fetch(
    detected: Detected,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<Fetched, ToolchainError> {
    let tree = detected.tree;
    let nix = context
        .toolchain
        .nix()
        .ok_or(ToolchainError::Unsupported(Kind::Nix))?;
    let lockfile = Lockfile::read(tree.root(), LOCKFILE, MAX_FLAKE_LOCK_BYTES as u64)?;
    let lock = FlakeLock::parse(&lockfile.bytes)?;
    let Downloaded {
        inputs,
        command,
        redirects,
    } = fetch_inputs(nix, &tree, wanted(&lock), context, log).await?;
    let (root, places) = (tree.root().to_owned(), inputs.clone());
    let dependencies =
        blocking(move || input_descriptors(&lock, &root, &places, &redirects)).await?;
    Ok(Fetched {
        tree,
        lockfile,
        inputs,
        dependencies,
        command,
    })
}

/// Downloads what is wanted. Nothing runs when nothing is wanted.
async fn fetch_inputs(
    nix: &Nix,
    tree: &SourceTree,
    wanted: Vec<(String, Sha256Digest)>,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<Downloaded, ToolchainError> {
    if wanted.is_empty() {
        return Ok(Downloaded::default());
    }
    let folders = Folders::of(context.folder);
    context.runner.make_writable_directory(&folders.fetch)?;
    let plan = Plan {
        nix,
        source: tree.root(),
        epoch: tree.epoch(),
    };
    let spec = plan.fetch(&folders, context.limits.fetch);
    let redirects = daemon::redirects(&daemon::ask(&spec, Phase::Fetch, context, log).await?)?;
    refuse_plaintext(&redirects)?;
    let (store, count) = (folders.fetched(), wanted.len());
    let inputs = blocking(move || find_inputs(&store, &wanted)).await?;
    log.note(&format!(
        "{count} inputs were fetched, and are what flake.lock says"
    ))?;
    Ok(Downloaded {
        inputs,
        command: spec.argv,
        redirects,
    })
}

/// What is locked by a hash may come from anywhere, but what was asked for over https comes over https all the way.
fn refuse_plaintext<'a>(
    redirects: impl IntoIterator<Item = (&'a String, &'a Vec<String>)>,
) -> Result<(), ToolchainError> {
    for (first, urls) in redirects {
        if let Some((from, to)) = leaves_https(first, urls) {
            return Err(NixError::Plaintext {
                from: quoted(from),
                to: quoted(to),
            }
            .into());
        }
    }
    Ok(())
}

/// A URL as a statement has it.
fn recordable(url: &str) -> Result<String, ToolchainError> {
    recorded(url).ok_or_else(|| ToolchainError::UnreadableUrl {
        download: quoted(url),
    })
}

/// Builds, and copies what was made.
///
/// # Errors
/// What stopped the build; nothing to hand out; a store that does not add up.
pub async fn build(
    fetched: Fetched,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<Built, ToolchainError> {
    let Fetched {
        tree,
        lockfile,
        inputs,
        mut dependencies,
        command: fetch,
    } = fetched;
    let nix = context
        .toolchain
        .nix()
        .ok_or(ToolchainError::Unsupported(Kind::Nix))?;
    let folders = Folders::of(context.folder);
    for folder in folders.of_daemon() {
        context.runner.make_service_directory(&folder)?;
    }
    let plan = Plan {
        nix,
        source: tree.root(),
        epoch: tree.epoch(),
    };
    let places: Vec<_> = inputs.values().cloned().collect();
    let (ran, answers) = daemon::with_daemon(&plan, &folders, &places, context, log).await?;
    report_size(&folders.daemon, &answers.paths, log)?;

    let (root, keys, epoch) = (tree.root().to_owned(), nix.keys().clone(), tree.epoch());
    let accounted =
        blocking(move || account(&folders, answers, &keys, &inputs, &root, epoch)).await?;
    let Accounted {
        artifacts,
        outputs,
        paths,
    } = accounted;
    dependencies.extend(paths);
    if !outputs.iter().any(OutputRecord::is_built_here) {
        log.note(
            "nothing was built here: every output was downloaded, from a cache or as the flake names it, or is a copy of \
             such a download",
        )?;
    }
    let fetched = (!fetch.is_empty()).then_some("fetch");
    let network = fetched.into_iter().chain(["daemon"]).collect();
    let Ran {
        evaluate,
        substitute,
        build: CommandSpec {
            argv, environment, ..
        },
    } = ran;
    let commands = Commands {
        fetch,
        evaluate,
        substitute,
        build: argv,
        package: Vec::new(),
    };
    Ok(Built {
        tree,
        kind: Kind::Nix,
        artifacts,
        link_arguments: Vec::new(),
        outputs,
        lockfile,
        dependencies,
        commands,
        environment,
        network,
    })
}

/// What is known when everybody is dead.
struct Accounted {
    artifacts: Vec<Artifact>,
    outputs: Vec<OutputRecord>,
    paths: Vec<ResourceDescriptor>,
}

/// Finds out how everything in the store came to be there, and copies what is handed out.
fn account(
    folders: &Folders,
    answers: Answers,
    keys: &TrustedKeys,
    inputs: &Inputs,
    source: &Path,
    epoch: u64,
) -> Result<Accounted, ToolchainError> {
    let added = added(&answers.paths, &nar::hash(source)?.sha256, inputs);
    let store = folders.store();
    let hash = |path: &StorePath| nar::hash(&store.join(path.base()));
    let ledger = Ledger::new(answers.paths, keys, &answers.caches, &added, hash)?;
    let mut outputs = ledger.outputs(&answers.outputs)?;
    let downloads = ledger.downloads();
    for output in outputs.iter_mut().filter(|output| output.realised == BUILT) {
        let path = answers
            .outputs
            .get(&output.name)
            .ok_or(ToolchainError::Answer { tool: "nix build" })?;
        let mut from = copied::copied_from(path, &downloads, &store)?;
        if let Some(recipe) = ledger.recipe(path) {
            from.extend(recipe::unpacked_from(
                &store.join(recipe.base()),
                &downloads,
            )?);
        }
        output.copied_from = from.iter().map(StorePath::to_string).collect();
    }
    let trees = answers.outputs.into_iter();
    let trees = trees.map(|(name, path)| Output {
        name,
        path: store.join(path.base()),
        store: path,
    });
    let artifacts = collect::collect(&trees.collect::<Vec<_>>(), &folders.artifacts, epoch)?;
    Ok(Accounted {
        artifacts,
        outputs,
        paths: ledger.descriptors(),
    })
}

/// What has to be fetched: names with NAR hashes. A folder of another tree comes with that.
fn wanted(lock: &FlakeLock) -> Vec<(String, Sha256Digest)> {
    let wanted = lock.inputs().iter().filter(|input| input.path.is_none());
    wanted
        .filter_map(|input| Some((input.name.clone(), input.nar_hash?)))
        .collect()
}

/// The locked inputs as dependencies, each with the NAR hash that was computed.
fn input_descriptors(
    lock: &FlakeLock,
    root: &Path,
    fetched: &Inputs,
    redirects: &Redirects,
) -> Result<Vec<ResourceDescriptor>, ToolchainError> {
    // A folder of another tree has the hash of that tree's node.
    let tree_of = |node: &str| {
        lock.inputs()
            .iter()
            .find(|input| input.name == node)?
            .nar_hash
    };
    let descriptor = |input: &LockedInput| {
        let mut annotations =
            BTreeMap::from([("locked".to_owned(), Value::from_iter(input.locked.clone()))]);
        annotations.extend(fetched_from(
            last_url(input, redirects)
                .map(recordable)
                .transpose()?
                .as_deref(),
        ));
        let refused = || NixError::InputPath {
            input: input.name.clone(),
        };
        let hash = match (&input.path, &input.tree) {
            (Some(path), None) => part_of(root, path).ok_or_else(refused)?,
            (Some(path), Some(tree)) => {
                let place = tree_of(tree)
                    .and_then(|hash| fetched.get(&hash))
                    .ok_or_else(refused)?;
                annotations.insert("folder".to_owned(), path.clone().into());
                annotations.insert("partOf".to_owned(), tree.clone().into());
                part_of(place, path).ok_or_else(refused)?
            }
            (None, _) => input.nar_hash.ok_or_else(refused)?,
        };
        let (name, digest) = (Some(input.name.clone()), sha256_set(&hash));
        Ok(ResourceDescriptor {
            name,
            digest,
            annotations,
            ..ResourceDescriptor::default()
        })
    };
    lock.inputs().iter().map(descriptor).collect()
}

/// Where the download of an input ended, if it was redirected. Nix asks for the URL that is locked, or for one that it
/// makes of what is locked and that has the commit in it.
fn last_url<'a>(input: &LockedInput, redirects: &'a Redirects) -> Option<&'a str> {
    let locked = |name: &str| input.locked.get(name).and_then(Value::as_str);
    let is_asked = |url: &&String| {
        locked("url").is_some_and(|locked| locked == *url)
            || locked("rev").is_some_and(|rev| rev.len() >= MIN_COMMIT_DIGITS && url.contains(rev))
    };
    let asked = redirects.keys().find(is_asked)?;
    redirects.get(asked)?.last().map(String::as_str)
}

/// The NAR hash of a file or folder of a tree; none where the path is, or passes, a link or nothing.
fn part_of(tree: &Path, path: &str) -> Option<Sha256Digest> {
    nar::hash_below(tree, Path::new(path))
        .ok()
        .map(|nar| nar.sha256)
}

/// The paths of the store that are the source or an input, by what they hold and what nix calls them.
fn added(paths: &[PathInfo], source: &Sha256Digest, inputs: &Inputs) -> BTreeMap<StorePath, Added> {
    let how = |info: &PathInfo| match &info.nar_hash {
        _ if info.path.name() != SOURCE_NAME => None,
        hash if hash == source => Some(Added::Source),
        hash => inputs.contains_key(hash).then_some(Added::Input),
    };
    paths
        .iter()
        .filter_map(|info| Some((info.path.clone(), how(info)?)))
        .collect()
}

/// Finds each wanted NAR hash among what was fetched; each path once.
fn find_inputs(store: &Path, wanted: &[(String, Sha256Digest)]) -> Result<Inputs, ToolchainError> {
    let mut fetched = BTreeMap::new();
    for name in Untrusted::open(store)?.names()? {
        let Some(path) = name.to_str().and_then(|name| StorePath::of_base(name).ok()) else {
            continue;
        };
        if !path.name().ends_with(LOCK_SUFFIX) {
            let place = store.join(path.base());
            fetched.insert(nar::hash(&place)?.sha256, place);
        }
    }
    let mut found = Inputs::new();
    for (name, hash) in wanted {
        let place = fetched
            .get(hash)
            .ok_or_else(|| ToolchainError::NotFetched {
                dependency: format!("input {name}"),
            })?;
        found.insert(*hash, place.clone());
    }
    Ok(found)
}

/// How large the store is, and how much larger it could have become.
fn report_size(folder: &Path, paths: &[PathInfo], log: &mut dyn Log) -> Result<(), ToolchainError> {
    let space = rustix::fs::statvfs(folder).map_err(io::Error::from)?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let used = paths
        .iter()
        .fold(0_u64, |sum, info| sum.saturating_add(info.nar_size));
    let (count, used, limit) = (paths.len(), used / MIB, used.saturating_add(free) / MIB);
    Ok(log.note(&format!(
        "the nix store has {count} paths, which take {used} MiB of {limit} MiB that it may have"
    ))?)
}

impl From<FlakeLockError> for ToolchainError {
    fn from(error: FlakeLockError) -> Self {
        NixError::from(error).into()
    }
}

impl From<LedgerError> for ToolchainError {
    fn from(error: LedgerError) -> Self {
        NixError::from(error).into()
    }
}

impl From<NarError> for ToolchainError {
    fn from(error: NarError) -> Self {
        NixError::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn redirects(pairs: &[(&str, &[&str])]) -> Redirects {
        let owned = |urls: &[&str]| urls.iter().map(|&url| url.to_owned()).collect();
        pairs
            .iter()
            .map(|&(url, urls)| (url.to_owned(), owned(urls)))
            .collect()
    }

    fn input(locked: Value) -> LockedInput {
        let locked = serde_json::from_value(locked).unwrap();
        LockedInput {
            name: "input".to_owned(),
            nar_hash: None,
            locked,
            path: None,
            tree: None,
        }
    }

    #[test]
    fn an_input_is_fetched_from_where_its_download_ended() {
        let rev = "0123456789".repeat(4);
        let archive = format!("https://forge/o/r/archive/{rev}.tar.gz");
        let found = redirects(&[
            (&archive, &["https://code/x", "https://code/y"]),
            ("https://h/a", &["https://h/b"]),
        ]);
        let of = |locked| last_url(&input(locked), &found);
        assert_eq!(
            of(json!({"type": "forge", "owner": "o", "repo": "r", "rev": rev})),
            Some("https://code/y")
        );
        assert_eq!(
            of(json!({"type": "tarball", "url": "https://h/a"})),
            Some("https://h/b")
        );
        assert_eq!(of(json!({"type": "tarball", "url": "https://h/"})), None);
        assert_eq!(of(json!({"type": "git", "rev": "a"})), None);
    }

    #[test]
    fn a_download_does_not_leave_https() {
        for (first, urls) in [
            ("https://a/x", &["https://b/x", "http://c/x"][..]),
            ("https://a/x", &["http://a/x"]),
            ("https://a/x", &["ftp://a/x"]),
            ("http://a/x", &["https://a/x", "http://a/x"]),
        ] {
            let refusal = refuse_plaintext(&redirects(&[(first, urls)])).unwrap_err();
            assert!(
                matches!(&refusal, ToolchainError::Nix(NixError::Plaintext { to, .. }) if to == urls.last().unwrap()),
                "{refusal}"
            );
        }
        refuse_plaintext(&redirects(&[
            ("https://a/x", &["https://b/x"]),
            ("http://a/x", &["http://b/x"]),
        ]))
        .unwrap();
    }
}
