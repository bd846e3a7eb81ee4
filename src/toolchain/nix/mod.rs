//! The nix pipeline: fetch the inputs with network, check, build through a daemon. Comes in: [`Detected`]. Goes out:
//! [`Fetched`], then [`Built`]. Never: evaluation with a network, a setting that the flake chose, an input that was not compared
//! with the lockfile, a store path that nobody accounts for.
//!
//! | step | command | network | sees of the store |
//! |---|---|---|---|
//! | fetch | `nix flake archive` | yes | one of its own, thrown away; skipped when the lockfile names nothing to fetch |
//! | check | none: NAR hashes are computed here | no | what was fetched |
//! | serve | `nix-daemon` | for caches and fixed-output derivations | all of it, and is the only one to write it |
//! | place | `nix-store --add-fixed` | no | read-only, and the daemon's socket |
//! | build | `nix build` | no | the same |
//! | list | `nix path-info` | no | the same |
//! | account | none: every path's NAR hash is computed here | no | all of it, when everybody is dead |

mod base32;
mod collect;
mod daemon;
mod json;
mod key;
mod ledger;
mod locate;
mod lockfile;
mod measure;
mod nar;
mod plan;
mod progress;
mod store_path;
mod tree;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::digest::Sha256Digest;
use crate::provenance::{DigestSet, ResourceDescriptor, SUBSTITUTED, git_set, sha256_set};
use crate::sandbox::{CommandSpec, remove_folder};
use crate::source::{SourceTree, tree as source_tree};

use super::untrusted::Untrusted;
use super::{Built, Commands, Context, Detected, Kind, Lockfile, Log, Phase, ToolchainError, blocking};
use collect::Output;
use ledger::{Added, Ledger, PathInfo};
use lockfile::{FlakeLock, LockedInput};
use plan::{Folders, INPUT_NAME as SOURCE_NAME, Plan};
use store_path::StorePath;

pub use key::TrustedKeysError;
pub use ledger::LedgerError;
pub use locate::{FindNixError, Nix};
pub use lockfile::{FlakeLockError, MAX_FLAKE_LOCK_BYTES};
pub use measure::tools;
pub use nar::NarError;

/// The lockfile's name.
const LOCKFILE: &str = "flake.lock";

/// Files that are no store paths, by the end of their names: nix's locks.
const LOCK_SUFFIX: &str = ".lock";

const MIB: u64 = 1 << 20;

/// A source tree with every input that it locks, checked.
#[derive(Debug)]
pub struct Fetched {
    tree: SourceTree,
    lockfile: Lockfile,
    lock: FlakeLock,
    /// Where the inputs are that do not come with the source, in the order of the lockfile; each once.
    inputs: Vec<PathBuf>,
    command: Vec<String>,
}

/// Fetches and checks the inputs that the lockfile names.
///
/// # Errors
/// A lockfile that cannot be used, an input that cannot be fetched or is not what the lockfile says.
pub async fn fetch(detected: Detected, context: &Context<'_>, log: &mut dyn Log) -> Result<Fetched, ToolchainError> {
    let tree = detected.tree;
    let nix = context.toolchain.nix().ok_or(ToolchainError::Unsupported(Kind::Nix))?;
    let lockfile = read_lockfile(tree.root())?;
    let lock = FlakeLock::parse(&lockfile.bytes)?;
    let wanted = wanted(&lock);
    if wanted.is_empty() {
        return Ok(Fetched { tree, lockfile, lock, inputs: Vec::new(), command: Vec::new() });
    }
    let folders = Folders::of(context.folder);
    context.runner.make_writable_folder(&folders.fetch)?;
    let plan = Plan { nix, source: tree.root(), epoch: tree.epoch() };
    let spec = plan.fetch(&folders, context.limits.fetch);
    daemon::ask(&spec, Phase::Fetch, context, log).await?;
    let store = folders.fetched();
    let inputs = blocking(move || find_inputs(&store, &wanted)).await?;
    log.note(&format!("{} inputs are what flake.lock says", inputs.len()))?;
    Ok(Fetched { tree, lockfile, lock, inputs, command: spec.argv })
}

/// Builds, and copies what was made.
///
/// # Errors
/// What stopped the build; nothing to hand out; a store that does not add up.
pub async fn build(fetched: Fetched, context: &Context<'_>, log: &mut dyn Log) -> Result<Built, ToolchainError> {
    let Fetched { tree, lockfile, lock, inputs, command: fetch } = fetched;
    let nix = context.toolchain.nix().ok_or(ToolchainError::Unsupported(Kind::Nix))?;
    let folders = Folders::of(context.folder);
    for folder in folders.of_daemon() {
        context.runner.make_service_folder(&folder)?;
    }
    let plan = Plan { nix, source: tree.root(), epoch: tree.epoch() };
    let spec = plan.build(&folders, context.limits.build);
    let answers = daemon::with_daemon(&plan, &folders, &spec, &inputs, context, log).await?;
    report_size(&folders.daemon, answers.paths.len(), log)?;

    let (root, keys, epoch) = (tree.root().to_owned(), nix.keys().clone(), tree.epoch());
    let accounted = blocking(move || {
        if folders.fetch.exists() {
            remove_folder(&folders.fetch)?;
        }
        let mut added: BTreeMap<_, _> = answers.inputs.into_iter().map(|path| (path, Added::Input)).collect();
        let source = nar::hash(&root)?.sha256;
        let is_source = |info: &&PathInfo| info.nar_hash == source && info.path.name() == SOURCE_NAME;
        added.extend(answers.paths.iter().find(is_source).map(|info| (info.path.clone(), Added::Source)));
        let store = folders.store();
        let hash = |path: &StorePath| nar::hash(&store.join(path.base()));
        let ledger = Ledger::new(answers.paths, &keys, &answers.caches, &added, hash)?;
        let outputs = ledger.outputs(&answers.outputs)?;
        let trees = answers.outputs.into_iter().map(|(name, store_path)| Output {
            name,
            path: store.join(store_path.base()),
            store: store_path,
        });
        let artifacts = collect::collect(&trees.collect::<Vec<_>>(), &folders.artifacts, epoch)?;
        let mut dependencies = input_descriptors(&lock, &root)?;
        dependencies.extend(ledger.descriptors());
        Ok((artifacts, outputs, dependencies))
    });
    let (artifacts, outputs, dependencies) = accounted.await?;
    if outputs.iter().all(|output| output.realised == SUBSTITUTED) {
        log.note("nothing was built here: every output was downloaded from a cache, which alone vouches for it")?;
    }
    let fetched = (!fetch.is_empty()).then_some("fetch");
    let network = fetched.into_iter().chain(["daemon"]).collect();
    let CommandSpec { argv, environment, .. } = spec;
    let commands = Commands { fetch, build: argv, package: Vec::new() };
    Ok(Built { tree, kind: Kind::Nix, artifacts, outputs, lockfile, dependencies, commands, environment, network })
}

/// What has to be fetched: names with NAR hashes. A folder of another tree comes with that.
fn wanted(lock: &FlakeLock) -> Vec<(String, Sha256Digest)> {
    let wanted = lock.inputs().iter().filter(|input| input.path.is_none());
    wanted.filter_map(|input| Some((input.name.clone(), input.nar_hash?))).collect()
}

/// The locked inputs as dependencies: the NAR hash that was computed, or the tree of a folder of the source, or nothing for
/// a folder of another input but which that is.
fn input_descriptors(lock: &FlakeLock, root: &Path) -> Result<Vec<ResourceDescriptor>, ToolchainError> {
    lock.inputs().iter().map(|input| input_descriptor(input, root)).collect()
}

fn input_descriptor(input: &LockedInput, root: &Path) -> Result<ResourceDescriptor, ToolchainError> {
    let mut annotations = BTreeMap::from([("locked".to_owned(), Value::from_iter(input.locked.clone()))]);
    let digest = match (&input.nar_hash, &input.path, &input.tree) {
        (_, Some(folder), None) => git_set(source_tree::hash(&root.join(folder))?, None),
        (_, Some(folder), Some(tree)) => {
            annotations.insert("folder".to_owned(), folder.clone().into());
            annotations.insert("partOf".to_owned(), tree.clone().into());
            DigestSet::new()
        }
        (Some(nar_hash), None, _) => sha256_set(nar_hash),
        (None, None, _) => return Err(ToolchainError::NotFetched { dependency: format!("input {}", input.name) }),
    };
    Ok(ResourceDescriptor { name: Some(input.name.clone()), digest, annotations, ..ResourceDescriptor::default() })
}

/// Finds each wanted NAR hash among what was fetched; each path once.
fn find_inputs(store: &Path, wanted: &[(String, Sha256Digest)]) -> Result<Vec<PathBuf>, ToolchainError> {
    let mut fetched = BTreeMap::new();
    for name in Untrusted::open(store)?.names()? {
        let Some(path) = name.to_str().and_then(|name| StorePath::of_base(name).ok()) else { continue };
        if !path.name().ends_with(LOCK_SUFFIX) {
            let place = store.join(path.base());
            fetched.insert(nar::hash(&place)?.sha256, place);
        }
    }
    let mut found = BTreeMap::new();
    for (name, hash) in wanted {
        let place =
            fetched.get(hash).ok_or_else(|| ToolchainError::NotFetched { dependency: format!("input {name}") })?;
        found.insert(*hash, place.clone());
    }
    Ok(found.into_values().collect())
}

/// How much of what there is the store has taken.
fn report_size(folder: &Path, paths: usize, log: &mut dyn Log) -> Result<(), ToolchainError> {
    let space = rustix::fs::statvfs(folder).map_err(io::Error::from)?;
    let mib = |blocks: u64| blocks * space.f_frsize / MIB;
    let used = mib(space.f_blocks - space.f_bfree);
    let line = format!(
        "the nix store has {paths} paths; the file system that it shares with the job has {used} of {} MiB in use",
        mib(space.f_blocks)
    );
    Ok(log.note(&line)?)
}

fn read_lockfile(root: &Path) -> Result<Lockfile, ToolchainError> {
    let mut bytes = Vec::new();
    File::open(root.join(LOCKFILE))?.take(MAX_FLAKE_LOCK_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Lockfile { name: LOCKFILE, bytes })
}
