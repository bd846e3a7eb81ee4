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

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::blocking::blocking;
use crate::digest::Sha256Digest;
use crate::provenance::{BUILT, OutputRecord, ResourceDescriptor, fetched_from, sha256_set};
use crate::sandbox::{CommandSpec, remove_directory};
use crate::source::SourceTree;
use crate::source::redirect::{leaves_https, quoted, recorded};

use super::untrusted::Untrusted;
use super::{
    Artifact, Attempt, Built, Commands, Context, Detected, Kind, Lockfile, Log, Options, Phase,
    ToolchainError,
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

/// The end of the names of files in the store that are no store paths: nix's locks.
const LOCK_SUFFIX: &str = ".lock";

/// The number of bytes of a mebibyte.
const MIB: u64 = 1 << 20;

/// The number of digits of a commit that do not stand in a URL by chance.
const MIN_COMMIT_DIGITS: usize = 40;

/// A source tree with every input that it locks, checked.
#[derive(Debug)]
pub struct Fetched {
    tree: SourceTree,
    options: Options,
    /// Whether cargo builds the project where the flake turns out to have no default package.
    gives_way: bool,
    lockfile: Lockfile,
    inputs: Inputs,
    /// The locked inputs, as provenance lists them.
    dependencies: Vec<ResourceDescriptor>,
    command: Vec<String>,
}

/// The paths of the inputs that do not come with the source, by their NAR hashes.
type Inputs = BTreeMap<Sha256Digest, PathBuf>;

/// The result of the fetch phase.
#[derive(Default)]
struct Downloaded {
    inputs: Inputs,
    /// The command that downloaded; empty when nothing was wanted.
    command: Vec<String>,
    redirects: Redirects,
}

/// Fetches and checks the inputs that the lockfile names.
///
/// # Errors
/// The lockfile cannot be used, or an input cannot be fetched or is not what the lockfile says.
pub async fn fetch(
    detected: Detected,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<Fetched, ToolchainError> {
    let Detected {
        tree,
        options,
        gives_way,
        ..
    } = detected;
    let nix = nix_of(context)?;
    let name = Kind::Nix.lockfile();
    let lockfile = Lockfile::read(tree.root(), name, MAX_FLAKE_LOCK_BYTES as u64)?;
    let lock = FlakeLock::parse(&lockfile.bytes)?;
    let plan = Plan {
        nix,
        source: tree.root(),
        epoch: tree.epoch(),
        commit: tree.origin().commit(),
        options: &options.nix,
    };
    let Downloaded {
        inputs,
        command,
        redirects,
    } = fetch_inputs(&plan, wanted(&lock), context, log).await?;
    let descriptors = InputDescriptors {
        lock,
        root: tree.root().to_owned(),
        fetched: inputs.clone(),
        redirects,
    };
    let dependencies = blocking(move || descriptors.all()).await?;
    Ok(Fetched {
        tree,
        options,
        gives_way,
        lockfile,
        inputs,
        dependencies,
        command,
    })
}

fn nix_of<'a>(context: &Context<'a>) -> Result<&'a Nix, ToolchainError> {
    let unsupported = ToolchainError::Unsupported(Kind::Nix);
    context.toolchain.nix().ok_or(unsupported)
}

/// Downloads the wanted inputs. Nothing runs when nothing is wanted.
async fn fetch_inputs(
    plan: &Plan<'_>,
    wanted: Vec<(String, Sha256Digest)>,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<Downloaded, ToolchainError> {
    if wanted.is_empty() {
        return Ok(Downloaded::default());
    }
    let folders = Folders::of(context.folder);
    context.runner.make_writable_directory(&folders.fetch)?;
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

/// Refuses a redirect from https to another scheme: a download that is locked by a hash may come
/// from any server, but one that was requested over https comes over https all the way.
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

/// Returns a URL as a statement has it.
fn recordable(url: &str) -> Result<String, ToolchainError> {
    recorded(url).ok_or_else(|| ToolchainError::UnreadableUrl {
        download: quoted(url),
    })
}

/// Builds, and copies what was made. A flake without a default package may give way to cargo.
///
/// # Errors
/// The build failed, made nothing that can be delivered, or left a store that does not add up.
pub async fn build(
    fetched: Fetched,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<Attempt, ToolchainError> {
    let folders = Folders::of(context.folder);
    let keys = keys(nix_of(context)?, &fetched.options)?;
    let (ran, answers) = match realise(&fetched, &folders, context, log).await {
        Err(ToolchainError::Nix(NixError::NoDefaultPackage)) if fetched.gives_way => {
            return give_way(fetched, folders, log).await;
        }
        Err(ToolchainError::Nix(NixError::NoDefaultPackage)) => {
            return Err(no_output(&fetched.options).into());
        }
        ended => ended?,
    };
    report_size(&folders.daemon, &answers.paths, log)?;
    let account = Account {
        folders,
        keys,
        inputs: fetched.inputs.clone(),
        source: fetched.tree.root().to_owned(),
        epoch: fetched.tree.epoch(),
    };
    let accounted = blocking(move || account.settle(answers)).await?;
    if !accounted.outputs.iter().any(OutputRecord::is_built_here) {
        log.note(
            "nothing was built here: every output was downloaded, from a cache or as the flake \
             names it, or is a copy of such a download",
        )?;
    }
    let built = built(fetched, ran, accounted);
    Ok(Attempt::Built(Box::new(built)))
}

fn built(fetched: Fetched, ran: Ran, accounted: Accounted) -> Built {
    let mut dependencies = fetched.dependencies;
    dependencies.extend(accounted.paths);
    let network = (!fetched.command.is_empty()).then_some("fetch");
    let CommandSpec {
        argv, environment, ..
    } = ran.build;
    Built {
        tree: fetched.tree,
        kind: Kind::Nix,
        artifacts: accounted.artifacts,
        libraries: Vec::new(),
        link_arguments: Vec::new(),
        imported: ran.imported.iter().map(ToString::to_string).collect(),
        outputs: accounted.outputs,
        lockfile: fetched.lockfile,
        dependencies,
        commands: Commands {
            fetch: fetched.command,
            evaluate: ran.evaluate,
            substitute: ran.substitute,
            build: argv,
            package: Vec::new(),
        },
        environment,
        network: network.into_iter().chain(["daemon"]).collect(),
    }
}

/// Evaluates the flake and makes its outputs, by a daemon that is dead afterwards.
async fn realise(
    fetched: &Fetched,
    folders: &Folders,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<(Ran, Answers), ToolchainError> {
    for directory in folders.of_daemon() {
        context.runner.make_service_directory(&directory)?;
    }
    let plan = Plan {
        nix: nix_of(context)?,
        source: fetched.tree.root(),
        epoch: fetched.tree.epoch(),
        commit: fetched.tree.origin().commit(),
        options: &fetched.options.nix,
    };
    let inputs: Vec<_> = fetched.inputs.values().cloned().collect();
    daemon::with_daemon(&plan, folders, &inputs, context, log).await
}

/// Returns the keys whose signatures count for this build: the machine's, and those of the caches
/// that the client chose.
fn keys(nix: &Nix, options: &Options) -> Result<TrustedKeys, NixError> {
    let mut keys = nix.keys().clone();
    for cache in options.nix.caches.iter().flatten() {
        keys = keys.and(cache.key())?;
    }
    Ok(keys)
}

/// Returns the error for a flake without the output that would be built.
fn no_output(options: &Options) -> NixError {
    match &options.nix.attribute {
        Some(attribute) => NixError::NoAttribute {
            attribute: attribute.as_str().to_owned(),
        },
        None => NixError::NoDefaultPackage,
    }
}

/// Leaves the source to cargo. Nothing that nix fetched takes part in that build.
async fn give_way(
    fetched: Fetched,
    folders: Folders,
    log: &mut dyn Log,
) -> Result<Attempt, ToolchainError> {
    log.note(
        "the flake has no default package for x86_64-linux: cargo builds the project (choose with \
         toolchain)",
    )?;
    blocking(move || {
        for directory in [&folders.fetch, &folders.daemon] {
            remove_directory(directory)?;
        }
        Ok::<_, io::Error>(())
    })
    .await?;
    let detected = Detected::for_cargo(fetched.tree, fetched.options);
    Ok(Attempt::GivesWay(Box::new(detected)))
}

/// The values that are needed to account for a store when every process is dead.
struct Account {
    folders: Folders,
    keys: TrustedKeys,
    inputs: Inputs,
    /// The source tree on this machine.
    source: PathBuf,
    epoch: u64,
}

/// The result of the account of a store.
struct Accounted {
    artifacts: Vec<Artifact>,
    outputs: Vec<OutputRecord>,
    paths: Vec<ResourceDescriptor>,
}

impl Account {
    /// Finds out the origin of every path in the store, and copies the outputs as artifacts.
    fn settle(self, answers: Answers) -> Result<Accounted, ToolchainError> {
        let source = nar::hash(&self.source)?.sha256;
        let added = added(&answers.paths, &source, &self.inputs);
        let store = self.folders.store();
        let hash = |path: &StorePath| nar::hash(&store.join(path.base()));
        let ledger = Ledger::new(answers.paths, &self.keys, &answers.caches, &added, hash)?;
        let mut outputs = ledger.outputs(&answers.outputs)?;
        let downloads = ledger.downloads();
        for output in outputs.iter_mut().filter(|output| output.realised == BUILT) {
            let path = answers
                .outputs
                .get(&output.name)
                .ok_or(ToolchainError::Answer { tool: "nix build" })?;
            output.copied_from = copied_from(path, &ledger, &downloads, &store)?;
        }
        let trees = answers.outputs.into_iter().map(|(name, path)| Output {
            name,
            path: store.join(path.base()),
            store: path,
        });
        let trees: Vec<_> = trees.collect();
        let artifacts = collect::collect(&trees, &self.folders.artifacts, self.epoch)?;
        Ok(Accounted {
            artifacts,
            outputs,
            paths: ledger.descriptors(),
        })
    }
}

/// Returns the downloads of which the builder of the output at `path` only made copies.
fn copied_from(
    path: &StorePath,
    ledger: &Ledger,
    downloads: &BTreeSet<&StorePath>,
    store: &Path,
) -> Result<Vec<String>, ToolchainError> {
    let mut from = copied::copied_from(path, downloads, store)?;
    if let Some(recipe) = ledger.recipe(path) {
        let recipe = store.join(recipe.base());
        from.extend(recipe::unpacked_from(&recipe, downloads)?);
    }
    Ok(from.iter().map(ToString::to_string).collect())
}

/// Returns the inputs to fetch: names with NAR hashes. A directory of another tree comes with that
/// tree.
fn wanted(lock: &FlakeLock) -> Vec<(String, Sha256Digest)> {
    let wanted = lock.inputs().iter().filter(|input| input.path.is_none());
    wanted
        .filter_map(|input| Some((input.name.clone(), input.nar_hash?)))
        .collect()
}

/// The values that are needed to list the locked inputs as dependencies.
struct InputDescriptors {
    lock: FlakeLock,
    /// The source tree on this machine.
    root: PathBuf,
    fetched: Inputs,
    redirects: Redirects,
}

impl InputDescriptors {
    /// Returns the locked inputs as dependencies, each with the NAR hash that was computed.
    fn all(&self) -> Result<Vec<ResourceDescriptor>, ToolchainError> {
        let inputs = self.lock.inputs().iter();
        inputs.map(|input| self.descriptor(input)).collect()
    }

    fn descriptor(&self, input: &LockedInput) -> Result<ResourceDescriptor, ToolchainError> {
        let locked = Value::from_iter(input.locked.clone());
        let mut annotations = BTreeMap::from([("locked".to_owned(), locked)]);
        let url = last_url(input, &self.redirects)
            .map(recordable)
            .transpose()?;
        annotations.extend(fetched_from(url.as_deref()));
        if let (Some(path), Some(tree)) = (&input.path, &input.tree) {
            annotations.insert("folder".to_owned(), path.clone().into());
            annotations.insert("partOf".to_owned(), tree.clone().into());
        }
        let hash = self.hash(input).ok_or_else(|| NixError::InputPath {
            input: input.name.clone(),
        })?;
        Ok(ResourceDescriptor {
            name: Some(input.name.clone()),
            digest: sha256_set(&hash),
            annotations,
            ..ResourceDescriptor::default()
        })
    }

    /// Returns the NAR hash of an input: of a part of the source, of a part of another input, or of
    /// its own tree.
    fn hash(&self, input: &LockedInput) -> Option<Sha256Digest> {
        match (&input.path, &input.tree) {
            (Some(path), None) => part_of(&self.root, path),
            (Some(path), Some(tree)) => {
                // A directory of another tree has the hash of that tree's node.
                let mut inputs = self.lock.inputs().iter();
                let whole = inputs.find(|input| input.name == *tree)?.nar_hash?;
                part_of(self.fetched.get(&whole)?, path)
            }
            (None, _) => input.nar_hash,
        }
    }
}

/// Returns the URL where the download of an input ended, if it was redirected. Nix requests the URL
/// that is locked, or one that it derives from the locked reference and that has the commit in it.
fn last_url<'a>(input: &LockedInput, redirects: &'a Redirects) -> Option<&'a str> {
    let locked = |name: &str| input.locked.get(name).and_then(Value::as_str);
    let is_requested = |url: &&String| {
        locked("url").is_some_and(|locked| locked == *url)
            || locked("rev").is_some_and(|rev| rev.len() >= MIN_COMMIT_DIGITS && url.contains(rev))
    };
    let requested = redirects.keys().find(is_requested)?;
    redirects.get(requested)?.last().map(String::as_str)
}

/// Returns the NAR hash of a file or directory of a tree; `None` where the path is missing, or is
/// or passes a link.
fn part_of(tree: &Path, path: &str) -> Option<Sha256Digest> {
    nar::hash_below(tree, Path::new(path))
        .ok()
        .map(|nar| nar.sha256)
}

/// Returns the paths of the store that are the source or an input, by their content and the name
/// that nix gives them.
fn added(paths: &[PathInfo], source: &Sha256Digest, inputs: &Inputs) -> BTreeMap<StorePath, Added> {
    let added_as = |info: &PathInfo| match &info.nar_hash {
        _ if info.path.name() != SOURCE_NAME => None,
        hash if hash == source => Some(Added::Source),
        hash => inputs.contains_key(hash).then_some(Added::Input),
    };
    paths
        .iter()
        .filter_map(|info| Some((info.path.clone(), added_as(info)?)))
        .collect()
}

/// Finds each wanted NAR hash among the fetched paths, and hashes each path once.
fn find_inputs(store: &Path, wanted: &[(String, Sha256Digest)]) -> Result<Inputs, ToolchainError> {
    let mut fetched = BTreeMap::new();
    for name in Untrusted::open(store)?.names()? {
        let Some(path) = name.to_str().and_then(|name| StorePath::of_base(name).ok()) else {
            continue;
        };
        if !path.name().ends_with(LOCK_SUFFIX) {
            let path = store.join(path.base());
            fetched.insert(nar::hash(&path)?.sha256, path);
        }
    }
    let mut found = Inputs::new();
    for (name, hash) in wanted {
        let path = fetched
            .get(hash)
            .ok_or_else(|| ToolchainError::NotFetched {
                dependency: format!("input {name}"),
            })?;
        found.insert(*hash, path.clone());
    }
    Ok(found)
}

/// Reports how large the store is, and how large it may be.
fn report_size(store: &Path, paths: &[PathInfo], log: &mut dyn Log) -> Result<(), ToolchainError> {
    let space = rustix::fs::statvfs(store).map_err(io::Error::from)?;
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
                matches!(
                    &refusal,
                    ToolchainError::Nix(NixError::Plaintext { to, .. })
                        if to == urls.last().unwrap()
                ),
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
