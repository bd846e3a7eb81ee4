//! Builds a cargo project: fetches with a network, checks, and builds without one.
//!
//! * In: [`Detected`].
//! * Out: [`Fetched`], then [`Built`].
//! * Never: code of the project while there is a network, a dependency that was not unpacked here
//!   from bytes with the locked digest, or a cargo that reads the project's own configuration.
//!
//! | step | command | network | dependencies that it sees |
//! |---|---|---|---|
//! | ask | `git ls-remote` for each repository | yes | none: it finds out where a server redirects |
//! | fetch | `cargo fetch` | yes | downloads them; skipped when the lockfile names none |
//! | fetch again | the same, for one archive | yes | for each archive, if a registry redirected |
//! | check | `git cat-file` for each git dependency | no | the downloads; its output is hashed |
//! | inspect | `cargo metadata`, `cargo tree` | no | the checked ones, read-only |
//! | build | `cargo build` | no | the same |
//! | package | `cargo package`, for libraries only | no | the same |
//!
//! # How a dependency becomes an input of the build
//!
//! No directory that `cargo fetch` wrote is ever mounted into the build. In order:
//!
//! 1. `lockfile` reads `Cargo.lock`, and `config` reads the project's cargo configuration. Settings
//!    that cannot replace the toolchain become `--config` arguments of every command; the log names
//!    the others. Cargo itself does not find the configuration, because `plan` gives each command a
//!    working directory outside of the source.
//! 2. `cargo fetch` fills a `CARGO_HOME` that only this step writes. `redirects` reads cargo's
//!    trace meanwhile: if a registry redirected, each archive is fetched again, alone, so that its
//!    last URL is known.
//! 3. `git` hashes the object of each locked commit, copies the checkout into the fresh
//!    `CARGO_HOME` of the build, and compares the tree id of the copy. `vendor` unpacks each
//!    archive into a directory source, and compares the digest of the same bytes with the lockfile.
//!    Then the `CARGO_HOME` of the fetch is removed.
//! 4. `metadata` reads from cargo which packages the build will compile, before any code of the
//!    project runs. `dependencies` finds the checked directory of each; a package that lies
//!    elsewhere ends the job.
//! 5. `cargo build` runs code of the project for the first time. `messages` reads cargo's own lines
//!    out of its output: the names of artifacts, and for `links` the arguments of the linker. They
//!    are believed for no more than that: `metadata` knows which names a target can have.
//! 6. After everything in the sandbox is dead, `collect` copies the artifacts and hashes the
//!    copies.
//!
//! Every command passes through `plan`, which describes it as a value, and its output through
//! `answer` or `messages`. `answer` also recognises cargo's own errors, such as a lockfile that
//! would have to be changed, and turns them into a [`CargoError`].

mod answer;
mod collect;
pub mod config;
mod copy;
pub mod crate_archive;
mod dependencies;
mod error;
mod git;
mod links;
pub mod lockfile;
pub mod messages;
pub mod metadata;
mod plan;
mod redirects;
mod rustflags;
mod vendor;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::blocking::blocking;
use crate::error_type::ErrorType;
use crate::presence::there;
use crate::sandbox::{CommandSpec, remove_directory};
use crate::source::redirect::Endpoint;
use crate::source::repository::redirect;
use crate::source::{RepositoryUrl, SourceTree};

use super::untrusted::Untrusted;
use super::{Built, Commands, Context, Detected, Kind, Lockfile, Log, Phase, ToolchainError};
use answer::Answer;
use collect::Wanted;
use config::{Replaced, Settings};
use dependencies::{Checked, Place};
use lockfile::{CRATES_IO, GitSource, Lock, Locked, LockfileError, Origin};
use messages::{Announced, Messages};
use metadata::Metadata;
use plan::{Folders, Moved, Plan};
use vendor::{Redirects, Vendor};

pub(super) use plan::probe;

pub use error::CargoError;

pub use crate_archive::{MAX_CRATE_BYTES, MAX_CRATE_FILES, MAX_CRATE_UNPACKED_BYTES};

/// Largest lockfile, in bytes.
pub const MAX_LOCKFILE_BYTES: u64 = 8 << 20;

/// What cargo itself writes into a package's archive, and refuses to find in a package's source.
const RESERVED: [&str; 2] = ["Cargo.toml.orig", ".cargo_vcs_info.json"];

/// A source tree with every dependency that it locks, checked and unpacked by us.
#[derive(Debug)]
pub struct Fetched {
    tree: SourceTree,
    lockfile: Lockfile,
    settings: Vec<String>,
    checked: Checked,
    command: Vec<String>,
}

/// What has to come over the network.
struct Needs {
    registries: Vec<Locked>,
    git: Vec<GitSource>,
    unused: Vec<GitSource>,
}

/// Fetches and checks the dependencies that the lockfile names.
///
/// # Errors
/// A lockfile that cannot be used, a dependency that cannot be fetched or is not what the lockfile says.
pub async fn fetch(
    detected: Detected,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<Fetched, ToolchainError> {
    let tree = detected.tree;
    let lockfile = read_lockfile(tree.root())?;
    let lock = Lock::parse(&lockfile.bytes)?;
    let Settings {
        mut arguments,
        vendored,
        notes,
    } = config::read(tree.root())?;
    for note in notes {
        log.note(&note)?;
    }
    let needs = Needs::of(lock, &vendored);
    let folders = Folders::of(context.folder);
    let plan = Plan {
        toolchain: context.toolchain,
        source: tree.root(),
        epoch: tree.epoch(),
        settings: &arguments,
    };
    let (mut moved, mut redirects, mut command) = (Vec::new(), Redirects::new(), Vec::new());
    if !needs.is_empty() {
        context.runner.make_writable_directory(&folders.fetch)?;
        moved = find_moved(&needs, context, log).await?;
        let spec = plan.fetch(&folders, &moved, &needs.plain_hosts(), context.limits.fetch);
        command.clone_from(&spec.argv);
        if redirects::fetch(&spec, context, log).await? {
            log.note("a registry redirects: each archive is fetched once more, alone, which tells where from")?;
            redirects =
                redirects::find(&needs.registries, spec, &folders.fetch, context, log).await?;
        }
    }
    fs::create_dir(&folders.home)?;
    let git = place_git(&needs, &plan, &folders, context, log).await?;
    let vendor = Vendor::new(needs.registries);
    arguments.extend(vendor.settings(|index| is_vendored_registry(index, &vendored)));
    let epoch = tree.epoch();
    let registries = blocking(move || {
        let checked = vendor.make(&folders.fetch, &redirects, &folders.vendor, epoch)?;
        remove_directory(&folders.fetch)?;
        Ok::<_, ToolchainError>(checked)
    });
    let checked = Checked {
        registries: registries.await?,
        git,
        moved,
    };
    Ok(Fetched {
        tree,
        lockfile,
        settings: arguments,
        checked,
        command,
    })
}

/// Builds, and copies what was made.
///
/// # Errors
/// What stopped the build; nothing to hand out.
pub async fn build(
    fetched: Fetched,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<Built, ToolchainError> {
    let Fetched {
        tree,
        lockfile,
        settings,
        checked,
        command: fetch,
    } = fetched;
    let plan = Plan {
        toolchain: context.toolchain,
        source: tree.root(),
        epoch: tree.epoch(),
        settings: &settings,
    };
    let folders = Folders::of(context.folder);
    let (metadata, used) = inspect(&plan, &folders, &checked, context, log).await?;

    context.runner.make_writable_directory(&folders.target)?;
    let spec = plan.build(&folders, context.limits.build);
    let mut messages = Messages::new(&metadata, &context.toolchain.program("rustc"), log);
    let exit = context.runner.run(&spec, &mut messages).await?;
    let Announced { names, links } = messages.finish()?;
    ToolchainError::of_exit(Phase::Build, exit)?;
    let link_arguments = links.records()?;

    let mut wanted: Vec<Wanted> = names
        .into_iter()
        .map(|name| Wanted::new(&folders.target, "release", name))
        .collect();
    let mut package = Vec::new();
    if metadata.is_library_only() {
        package = pack(&plan, &folders, &metadata, &mut wanted, context, log).await?;
    }
    if wanted.is_empty() {
        return Err(ToolchainError::NoArtifacts);
    }
    let root = tree.root().to_owned();
    let (artifacts, dependencies) = blocking(move || {
        let used = metadata
            .packages
            .iter()
            .filter(|package| used.contains(&package.id));
        let mut used: Vec<_> = used.collect();
        used.sort_by(|a, b| (&a.name, &a.version, &a.id).cmp(&(&b.name, &b.version, &b.id)));
        let dependencies: Result<_, _> = used
            .iter()
            .map(|package| checked.descriptor(package, &root))
            .collect();
        Ok::<_, ToolchainError>((collect::collect(wanted, &folders.artifacts)?, dependencies?))
    })
    .await?;
    let network = if fetch.is_empty() {
        Vec::new()
    } else {
        vec!["fetch"]
    };
    let CommandSpec {
        argv, environment, ..
    } = spec;
    let commands = Commands {
        fetch,
        build: argv,
        package,
        ..Commands::default()
    };
    let outputs = Vec::new();
    Ok(Built {
        tree,
        kind: Kind::Cargo,
        artifacts,
        link_arguments,
        outputs,
        lockfile,
        dependencies,
        commands,
        environment,
        network,
    })
}

/// Asks the server of each repository where it has it: only on the same host, port and scheme is it fetched.
async fn find_moved(
    needs: &Needs,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<Vec<Moved>, ToolchainError> {
    let mut moved = Vec::new();
    for from in needs.repositories() {
        // What is no such URL has no server that could redirect git, or is not fetched.
        let Ok(url) = RepositoryUrl::parse(from) else {
            continue;
        };
        let to = redirect::settle(context.runner, &url, plan::ASK_TIME).await?;
        if to != url {
            log.note(&format!("the server has {from} at {to}"))?;
            moved.push(Moved {
                from: from.to_owned(),
                to: to.as_str().to_owned(),
            });
        }
    }
    Ok(moved)
}

/// What the build will compile: the project's metadata, and the ids of the packages that are not the source itself.
async fn inspect(
    plan: &Plan<'_>,
    folders: &Folders,
    checked: &Checked,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<(Metadata, Vec<String>), ToolchainError> {
    let answer = ask(
        &plan.metadata(folders),
        Phase::Inspect,
        "cargo metadata",
        context,
        log,
    )
    .await?;
    let metadata = Metadata::parse(&answer)?;
    for member in metadata.default_members() {
        if !matches!(checked.place(member)?, Place::Source(_)) {
            return Err(CargoError::Outside {
                package: member.spec(),
            }
            .into());
        }
    }
    if metadata
        .packages
        .iter()
        .all(|package| metadata.is_default_member(package))
    {
        return Ok((metadata, Vec::new()));
    }
    let tree = ask(
        &plan.tree(folders),
        Phase::Inspect,
        "cargo tree",
        context,
        log,
    )
    .await?;
    let used = metadata
        .used(&tree)?
        .into_iter()
        .filter(|package| !metadata.is_default_member(package));
    let used: Vec<_> = used
        .map(|package| checked.place(package).map(|_| package.id.clone()))
        .collect::<Result<_, _>>()?;
    Ok((metadata, used))
}

/// Packs a library; where that is impossible the rlib is all there is.
async fn pack(
    plan: &Plan<'_>,
    folders: &Folders,
    metadata: &Metadata,
    wanted: &mut Vec<Wanted>,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<Vec<String>, ToolchainError> {
    context.runner.make_writable_directory(&folders.package)?;
    let unpublished = unpublished(plan, folders, log).await?;
    let plan = Plan {
        source: unpublished.as_deref().unwrap_or(plan.source),
        ..*plan
    };
    let spec = plan.package(folders, context.limits.build);
    match ask(&spec, Phase::Package, "cargo package", context, log).await {
        Ok(_) => {
            let names = metadata
                .default_members()
                .map(|package| package.crate_name());
            wanted.extend(names.map(|name| Wanted::new(&folders.package, "package", name)));
            Ok(spec.argv)
        }
        Err(error)
            if !matches!(
                error.error_type(),
                ErrorType::BuildFailed | ErrorType::LockfileMismatch
            ) =>
        {
            Err(error)
        }
        Err(_) => {
            log.note("cargo package cannot pack this library: its rlib is handed out without a .crate file")?;
            Ok(Vec::new())
        }
    }
}

/// A copy of the source without what cargo writes into archives, if it has that: it was unpacked from one.
async fn unpublished(
    plan: &Plan<'_>,
    folders: &Folders,
    log: &mut dyn Log,
) -> Result<Option<PathBuf>, ToolchainError> {
    let found = RESERVED
        .iter()
        .map(|name| there(plan.source.join(name).symlink_metadata()));
    if found
        .collect::<io::Result<Vec<_>>>()?
        .iter()
        .all(Option::is_none)
    {
        return Ok(None);
    }
    log.note(&format!(
        "cargo package sees the source without {}",
        RESERVED.join(" and ")
    ))?;
    let (source, target, epoch) = (
        plan.source.to_owned(),
        folders.unpublished.clone(),
        plan.epoch,
    );
    blocking(move || {
        fs::create_dir(&target)?;
        copy::folder(&Untrusted::open(&source)?, &target, &RESERVED, epoch)?;
        Ok(Some(target))
    })
    .await
}

/// Runs a command that runs nothing of the project, and gives its standard output.
async fn ask(
    spec: &CommandSpec,
    phase: Phase,
    tool: &'static str,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<Vec<u8>, ToolchainError> {
    let mut answer = Answer::new(tool, log);
    let run = context.runner.run(spec, &mut answer).await;
    answer.judge(run, phase)?;
    Ok(answer.output.into_bytes())
}

/// Checks every checkout of a locked commit and places it in the build's `CARGO_HOME`.
async fn place_git(
    needs: &Needs,
    plan: &Plan<'_>,
    folders: &Folders,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<Vec<(GitSource, git::Checked)>, ToolchainError> {
    let mut placed: Vec<(GitSource, git::Checked)> = Vec::new();
    for source in needs.git.iter().chain(&needs.unused) {
        // Folders that cannot be read hold no checkout.
        let found = git::checkouts(&folders.fetch, source.commit).unwrap_or_default();
        if found.is_empty() && needs.git.contains(source) {
            return Err(ToolchainError::NotFetched {
                dependency: format!("git dependency {}", source.commit),
            });
        }
        if placed
            .iter()
            .any(|(_, checked)| checked.commit == source.commit)
        {
            continue;
        }
        for checkout in found {
            let spec = plan.commit(folders, &checkout.repository, &checkout.commit.to_string());
            let content = ask(&spec, Phase::Fetch, "git cat-file", context, log).await?;
            let (fetched, home) = (folders.fetch.clone(), folders.home.clone());
            let epoch = plan.epoch;
            let checked =
                blocking(move || git::place(&checkout, &content, &fetched, &home, epoch)).await?;
            placed.push((source.clone(), checked));
        }
    }
    Ok(placed)
}

impl Needs {
    fn of(lock: Lock, vendored: &[Replaced]) -> Self {
        let (mut registries, mut git) = (Vec::new(), Vec::new());
        for package in lock.packages {
            match &package.origin {
                Origin::Folder => {}
                Origin::Registry { index, .. } if is_vendored_registry(index, vendored) => {}
                Origin::Registry { .. } => registries.push(package),
                Origin::Git(source)
                    if is_vendored_git(source, vendored) || git.contains(source) => {}
                Origin::Git(source) => git.push(source.clone()),
            }
        }
        let unused = lock
            .unused
            .into_iter()
            .filter(|source| !git.contains(source))
            .collect();
        Self {
            registries,
            git,
            unused,
        }
    }

    /// The URLs of everything that git fetches, once each: dependencies, and the indexes of registries that have one in a
    /// repository.
    fn repositories(&self) -> BTreeSet<&str> {
        let indexes = self
            .registries
            .iter()
            .filter_map(|package| package.origin.index());
        let indexes = indexes
            .filter(|index| *index != CRATES_IO)
            .filter_map(|index| index.strip_prefix("registry+"));
        self.git
            .iter()
            .chain(&self.unused)
            .map(|source| source.url.as_str())
            .chain(indexes)
            .collect()
    }

    /// The hosts of registries that the lockfile names without TLS. What is no name and no address could mean every host to
    /// who is told.
    fn plain_hosts(&self) -> BTreeSet<String> {
        let indexes = self
            .registries
            .iter()
            .filter_map(|package| package.origin.index());
        let urls = indexes
            .filter_map(|index| index.split_once('+'))
            .map(|(_, url)| url);
        let plain = urls
            .filter_map(Endpoint::of)
            .filter(|endpoint| !endpoint.is_https());
        let is_plain =
            |character: char| character.is_ascii_alphanumeric() || ".-_:".contains(character);
        let hosts = plain.map(|endpoint| endpoint.host().to_owned());
        hosts.filter(|host| host.chars().all(is_plain)).collect()
    }

    fn is_empty(&self) -> bool {
        self.registries.is_empty() && self.git.is_empty() && self.unused.is_empty()
    }
}

fn is_vendored_registry(index: &str, vendored: &[Replaced]) -> bool {
    let plain = index.strip_prefix("registry+").unwrap_or(index);
    vendored.iter().any(|replaced| match replaced {
        Replaced::CratesIo => index == CRATES_IO,
        Replaced::Registry(url) => url == plain,
        Replaced::Git(..) => false,
    })
}

fn is_vendored_git(source: &GitSource, vendored: &[Replaced]) -> bool {
    let same =
        |url: &String, query: &String| *url == source.url && *query == decoded(&source.query);
    vendored
        .iter()
        .any(|replaced| matches!(replaced, Replaced::Git(url, query) if same(url, query)))
}

/// Undoes the percent-encoding that version 4 of the lockfile has in the query of a git source.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after
            .get(..2)
            .and_then(|digits| hex::decode(digits).ok())
            .filter(|_| *first == b'%');
        bytes.push(digits.as_ref().map_or(*first, |byte| byte[0]));
        rest = if digits.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn read_lockfile(root: &Path) -> Result<Lockfile, ToolchainError> {
    let lockfile = Lockfile::read(root, "Cargo.lock", MAX_LOCKFILE_BYTES)?;
    if lockfile.bytes.len() as u64 > MAX_LOCKFILE_BYTES {
        return Err(LockfileError::TooLong {
            limit: MAX_LOCKFILE_BYTES,
        }
        .into());
    }
    Ok(lockfile)
}

impl From<LockfileError> for ToolchainError {
    fn from(error: LockfileError) -> Self {
        CargoError::from(error).into()
    }
}

impl From<redirect::RedirectError> for ToolchainError {
    fn from(error: redirect::RedirectError) -> Self {
        CargoError::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_without_tls_are_those_of_registries_that_the_lockfile_names_so() {
        let sum = "02".repeat(32);
        let indexes = [
            CRATES_IO,
            "sparse+https://h/i/",
            "sparse+http://B:8/i/",
            "registry+http://[::1]/i",
            "registry+file:///i",
            "sparse+http://*/",
            "sparse+http://a,c/",
        ];
        let package = |index| {
            format!(
                "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"{index}\"\nchecksum = \"{sum}\"\n"
            )
        };
        let lock: String = indexes.into_iter().map(package).collect();
        let needs = Needs::of(Lock::parse(lock.as_bytes()).unwrap(), &[]);
        assert_eq!(
            needs.plain_hosts(),
            BTreeSet::from(["::1".to_owned(), "b".to_owned()])
        );
    }

    #[test]
    fn a_vendored_source_is_not_fetched() {
        let commit = "01".repeat(20);
        let sum = "02".repeat(32);
        let lock = format!(
            "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"{CRATES_IO}\"\nchecksum = \"{sum}\"\n\
             [[package]]\nname = \"b\"\nversion = \"1.0.0\"\nsource = \"git+https://h/r?branch=x%2Fy#{commit}\"\n"
        );
        let needs =
            |vendored: &[Replaced]| Needs::of(Lock::parse(lock.as_bytes()).unwrap(), vendored);
        assert_eq!((needs(&[]).registries.len(), needs(&[]).git.len()), (1, 1));
        let git = Replaced::Git("https://h/r".to_owned(), "branch=x/y".to_owned());
        assert!(needs(&[Replaced::CratesIo, git.clone()]).is_empty());
        assert!(needs(&[git]).git.is_empty());
    }
}
