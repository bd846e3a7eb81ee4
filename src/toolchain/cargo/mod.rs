//! Builds a cargo project: fetches with a network, checks, and builds without one.
//!
//! * In: [`Detected`].
//! * Out: [`Fetched`], then [`Built`].
//! * Never: code of the project while there is a network, a dependency that was not unpacked here
//!   from bytes with the locked digest, or a cargo that reads the project's own configuration.
//!
//! | step | command | network | dependencies that it sees |
//! |---|---|---|---|
//! | survey | `cargo metadata --no-deps`, `rustc --version` | no | none; skipped without a fetch |
//! | ask | `git ls-remote` for each repository | yes | none: it finds out the redirects |
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
//!    working directory outside of the source. `needs` derives what is fetched.
//! 2. The survey refuses a choice that the project does not have, and a project that needs a newer
//!    compiler, before anything is fetched. `cargo fetch` fills a `CARGO_HOME` that only this step
//!    writes. `redirects` reads cargo's trace meanwhile: if a registry redirected, each archive is
//!    fetched again, alone, so that its last URL is known.
//! 3. `git` hashes the object of each locked commit, copies the checkout into the fresh
//!    `CARGO_HOME` of the build, and compares the tree id of the copy. `vendor` unpacks each
//!    archive into a directory source, and compares the digest of the same bytes with the lockfile.
//!    Then the `CARGO_HOME` of the fetch is removed.
//! 4. `metadata` reads from cargo which packages the build will compile, before any code of the
//!    project runs, and `selection` which of them the client chose. `dependencies` finds the
//!    checked directory of each; a package that lies elsewhere ends the job.
//! 5. `cargo build` runs code of the project for the first time. `messages` reads cargo's own lines
//!    out of its output: the names of artifacts, and for `links` the arguments of the linker. They
//!    are believed for no more than that: `metadata` knows which names a target can have.
//! 6. After everything in the sandbox is dead, `collect` copies the artifacts and hashes the
//!    copies.
//!
//! `steps` runs the commands. Each is a value that `plan` describes, and its output passes through
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
mod needs;
mod plan;
mod redirects;
mod rustflags;
mod selection;
mod steps;
mod target;
mod variables;
mod vendor;

use std::fs;
use std::path::Path;

use crate::blocking::blocking;
use crate::sandbox::{CommandSpec, remove_directory};
use crate::source::SourceTree;
use crate::source::repository::redirect;

use super::{
    Artifact, Built, Commands, Context, Detected, Kind, Lockfile, Log, Options, ToolchainError,
    libraries,
};
use crate::provenance::ResourceDescriptor;
use config::Settings;
use dependencies::Checked;
use lockfile::{Lock, LockfileError};
use metadata::Metadata;
use needs::{Needs, is_vendored_registry};
use plan::{Folders, Plan};
use steps::{Compiled, Project, Steps};
use vendor::{Redirects, Vendor};

pub(super) use plan::probe;

pub use error::CargoError;

pub use crate_archive::{MAX_CRATE_BYTES, MAX_CRATE_FILES, MAX_CRATE_UNPACKED_BYTES};

/// The size of the largest lockfile, in bytes.
pub const MAX_LOCKFILE_BYTES: u64 = 8 << 20;

/// A source tree with every dependency that it locks, checked and unpacked here.
#[derive(Debug)]
pub struct Fetched {
    tree: SourceTree,
    options: Options,
    lockfile: Lockfile,
    settings: Vec<String>,
    target: Option<String>,
    checked: Checked,
    command: Vec<String>,
}

/// Fetches and checks the dependencies that the lockfile names.
///
/// # Errors
/// The lockfile or an option cannot be used, or a dependency cannot be fetched or is not what the
/// lockfile says.
pub async fn fetch(
    detected: Detected,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<Fetched, ToolchainError> {
    let Detected { tree, options, .. } = detected;
    let lockfile = read_lockfile(tree.root())?;
    let lock = Lock::parse(&lockfile.bytes)?;
    let Settings {
        mut arguments,
        vendored,
        targets,
        ..
    } = read_settings(tree.root(), log)?;
    let target = target::choose(&targets, context.toolchain)?;
    let needs = Needs::of(lock, &vendored);
    let folders = Folders::of(context.folder);
    let plan = Plan {
        toolchain: context.toolchain,
        source: tree.root(),
        git: tree.git(),
        epoch: tree.epoch(),
        settings: &arguments,
        options: &options.cargo,
        target: target.as_deref(),
    };
    fs::create_dir(&folders.home)?;
    let mut steps = Steps::new(&plan, &folders, context, log);
    let downloaded = steps.download(&needs).await?;
    let git = steps.place_git(&needs).await?;
    let vendor = Vendor::new(needs.registries);
    arguments.extend(vendor.settings(|index| is_vendored_registry(index, &vendored)));
    let checked = Checked {
        registries: unpack(vendor, folders, downloaded.redirects, tree.epoch()).await?,
        git,
        moved: downloaded.moved,
    };
    Ok(Fetched {
        tree,
        options,
        lockfile,
        settings: arguments,
        target,
        checked,
        command: downloaded.command,
    })
}

/// Reads the project's own cargo configuration, and notes the settings that are not used.
fn read_settings(root: &Path, log: &mut dyn Log) -> Result<Settings, ToolchainError> {
    let settings = config::read(root)?;
    for note in &settings.notes {
        log.note(note)?;
    }
    Ok(settings)
}

/// Checks the archives of registries and unpacks them for the build, which sees nothing else of the
/// fetch.
async fn unpack(
    vendor: Vendor,
    folders: Folders,
    redirects: Redirects,
    epoch: u64,
) -> Result<Vec<vendor::Checked>, ToolchainError> {
    blocking(move || {
        let checked = vendor.make(&folders.fetch, &redirects, &folders.vendor, epoch)?;
        remove_directory(&folders.fetch)?;
        Ok(checked)
    })
    .await
}

/// Builds, and copies what was made.
///
/// # Errors
/// The build failed, or made nothing that can be delivered.
pub async fn build(
    fetched: Fetched,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<Built, ToolchainError> {
    let plan = Plan {
        toolchain: context.toolchain,
        source: fetched.tree.root(),
        git: fetched.tree.git(),
        epoch: fetched.tree.epoch(),
        settings: &fetched.settings,
        options: &fetched.options.cargo,
        target: fetched.target.as_deref(),
    };
    let folders = Folders::of(context.folder);
    let mut steps = Steps::new(&plan, &folders, context, log);
    let project = steps.inspect(&fetched.checked).await?;
    let mut compiled = steps.build(&project.metadata).await?;
    let mut package = Vec::new();
    if project.metadata.is_library_only() {
        package = steps.pack(&project.metadata, &mut compiled.wanted).await?;
    }
    if compiled.wanted.is_empty() {
        return Err(ToolchainError::NoArtifacts);
    }
    collect(fetched, project, compiled, package, folders).await
}

/// Copies the artifacts, and describes what took part in the build.
async fn collect(
    fetched: Fetched,
    project: Project,
    compiled: Compiled,
    package: Vec<String>,
    folders: Folders,
) -> Result<Built, ToolchainError> {
    let (wanted, checked) = (compiled.wanted, fetched.checked);
    let root = fetched.tree.root().to_owned();
    let (artifacts, libraries, dependencies) = blocking(move || {
        let dependencies = descriptors(&project.metadata, &project.used, &checked, &root)?;
        let artifacts: Vec<Artifact> = collect::collect(wanted, &folders.artifacts)?;
        let libraries = libraries::of(&artifacts, Path::new(libraries::LIST))?;
        Ok::<_, ToolchainError>((artifacts, libraries, dependencies))
    })
    .await?;
    let network = (!fetched.command.is_empty()).then_some("fetch");
    let CommandSpec {
        argv, environment, ..
    } = compiled.spec;
    Ok(Built {
        tree: fetched.tree,
        kind: Kind::Cargo,
        artifacts,
        libraries,
        link_arguments: compiled.link_arguments,
        imported: Vec::new(),
        outputs: Vec::new(),
        lockfile: fetched.lockfile,
        dependencies,
        commands: Commands {
            fetch: fetched.command,
            build: argv,
            package,
            ..Commands::default()
        },
        environment,
        network: network.into_iter().collect(),
    })
}

/// Returns the packages with the ids `used` as a statement has them, sorted by name and version.
fn descriptors(
    metadata: &Metadata,
    used: &[String],
    checked: &Checked,
    root: &Path,
) -> Result<Vec<ResourceDescriptor>, ToolchainError> {
    let packages = metadata.packages.iter();
    let mut packages: Vec<_> = packages
        .filter(|package| used.contains(&package.id))
        .collect();
    packages.sort_by(|a, b| (&a.name, &a.version, &a.id).cmp(&(&b.name, &b.version, &b.id)));
    packages
        .iter()
        .map(|package| checked.descriptor(package, root))
        .collect()
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
