//! Runs the commands of one cargo project.
//!
//! * In: the plan of the commands, and the job's directories.
//! * Out: the output of the commands, read and compared.
//! * Never: as a fact, the output of a command that failed or that ran code of the project.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::blocking::blocking;
use crate::error_type::ErrorType;
use crate::presence::there;
use crate::provenance::LinkRecord;
use crate::sandbox::{CommandSpec, OutputSink, Overlay, Overlays, Stream, remove_directory};
use crate::source::RepositoryUrl;
use crate::source::repository::{self, FetchLog, Objects, redirect};
use crate::toolchain::complaint::Overheard;
use crate::toolchain::untrusted::Untrusted;
use crate::toolchain::{Context, Log, Phase, ToolchainError};

use super::answer::Answer;
use super::collect::Wanted;
use super::dependencies::{Checked, Place};
use super::lockfile::GitSource;
use super::messages::{Announced, Messages};
use super::metadata::Metadata;
use super::needs::Needs;
use super::plan::{self, Folders, Moved, Plan};
use super::vendor::Redirects;
use super::{CargoError, copy, git, redirects};

/// The files that cargo itself writes into a package's archive, and refuses to find in a package's
/// source.
const RESERVED: [&str; 2] = ["Cargo.toml.orig", ".cargo_vcs_info.json"];

/// The values that every step of one project needs.
pub(super) struct Steps<'a> {
    plan: &'a Plan<'a>,
    folders: &'a Folders,
    context: &'a Context<'a>,
    log: &'a mut dyn Log,
}

/// The packages that the build will compile.
pub(super) struct Project {
    /// The project as cargo describes it, with the selection made.
    pub metadata: Metadata,
    /// The ids of the packages that are used and are not selected themselves.
    pub used: Vec<String>,
}

/// The result of the fetch phase.
#[derive(Default)]
pub(super) struct Downloaded {
    /// The repositories that were fetched from where their servers have them.
    pub moved: Vec<Moved>,
    /// The last URLs of archives that a registry redirects.
    pub redirects: Redirects,
    /// The command that downloaded; empty when nothing was needed.
    pub command: Vec<String>,
}

/// The result of the build.
pub(super) struct Compiled {
    /// The command that compiled the packages.
    pub spec: CommandSpec,
    /// The files that will be delivered.
    pub wanted: Vec<Wanted>,
    /// The arguments that build scripts gave to the linker.
    pub link_arguments: Vec<LinkRecord>,
}

/// The log, as the room that takes sources in writes to it.
struct Fetching<'a>(&'a mut dyn Log);

impl OutputSink for Fetching<'_> {
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        self.0.output(stream, bytes)
    }
}

impl FetchLog for Fetching<'_> {
    fn note(&mut self, line: &str) -> io::Result<()> {
        self.0.note(line)
    }
}

impl<'a> Steps<'a> {
    /// Returns the steps of the commands that `plan` describes.
    pub fn new(
        plan: &'a Plan<'a>,
        folders: &'a Folders,
        context: &'a Context<'a>,
        log: &'a mut dyn Log,
    ) -> Self {
        Self {
            plan,
            folders,
            context,
            log,
        }
    }

    /// Downloads the dependencies that are needed, for a project that can be built.
    ///
    /// # Errors
    /// The client chose something that the project does not have, or a download fails.
    pub async fn download(&mut self, needs: &Needs) -> Result<Downloaded, ToolchainError> {
        if needs.is_empty() {
            return Ok(Downloaded::default());
        }
        self.survey().await?;
        let runner = self.context.runner;
        runner.make_writable_directory(&self.folders.fetch)?;
        let moved = self.find_moved(needs).await?;
        let limit = self.context.limits.fetch;
        let spec = self
            .plan
            .fetch(self.folders, &moved, &needs.plain_hosts(), limit);
        let command = spec.argv.clone();
        let redirects = self.fetch(spec, needs).await?;
        Ok(Downloaded {
            moved,
            redirects,
            command,
        })
    }

    /// Reads the project without its dependencies, before anything is fetched for it.
    ///
    /// # Errors
    /// The client chose something that the project does not have, or the compiler is older than the
    /// project asks for.
    async fn survey(&mut self) -> Result<(), ToolchainError> {
        let survey = self.plan.survey(self.folders);
        let answer = self.ask(&survey, Phase::Inspect, "cargo metadata").await?;
        let metadata = Metadata::parse(&answer)?.select(self.plan.options, self.plan.target)?;
        if !metadata.asks_for_a_version() {
            return Ok(());
        }
        let toolchain = self.context.toolchain;
        let version = plan::probe(toolchain, &toolchain.program("rustc"));
        let answer = self.ask(&version, Phase::Inspect, "rustc").await?;
        Ok(metadata.check_version(&String::from_utf8_lossy(&answer))?)
    }

    /// Asks the server of each repository for its URL there. A repository is fetched from another
    /// URL only on the same host, port and scheme.
    async fn find_moved(&mut self, needs: &Needs) -> Result<Vec<Moved>, ToolchainError> {
        let mut moved = Vec::new();
        for from in needs.repositories() {
            // Other text has no server that could redirect git, or is not fetched.
            let Ok(url) = RepositoryUrl::parse(from) else {
                continue;
            };
            let to = redirect::settle(self.context.runner, &url, plan::ASK_TIME).await?;
            if to != url {
                self.log.note(&format!("the server has {from} at {to}"))?;
                moved.push(Moved {
                    from: from.to_owned(),
                    to: to.as_str().to_owned(),
                });
            }
        }
        Ok(moved)
    }

    /// Runs the download, and finds out where archives came from if a registry redirects.
    async fn fetch(
        &mut self,
        spec: CommandSpec,
        needs: &Needs,
    ) -> Result<Redirects, ToolchainError> {
        if !redirects::fetch(&spec, self.context, self.log).await? {
            return Ok(Redirects::new());
        }
        self.log.note(
            "a registry redirects: each archive is fetched again, alone, which tells where it comes \
             from",
        )?;
        let fetched = &self.folders.fetch;
        redirects::find(&needs.registries, spec, fetched, self.context, self.log).await
    }

    /// Checks every checkout of a locked commit and places it in the build's `CARGO_HOME`.
    pub async fn place_git(
        &mut self,
        needs: &Needs,
    ) -> Result<Vec<(GitSource, git::Checked)>, ToolchainError> {
        let mut placed: Vec<(GitSource, git::Checked)> = Vec::new();
        for source in needs.git.iter().chain(&needs.unused) {
            // Directories that cannot be read have no checkout.
            let found = git::checkouts(&self.folders.fetch, source.commit).unwrap_or_default();
            if found.is_empty() && needs.git.contains(source) {
                return Err(ToolchainError::NotFetched {
                    dependency: format!("git dependency {}", source.commit),
                });
            }
            let is_placed = |(_, checked): &(_, git::Checked)| checked.commit == source.commit;
            if placed.iter().any(is_placed) {
                continue;
            }
            for checkout in found {
                placed.push((source.clone(), self.place_checkout(checkout).await?));
            }
        }
        Ok(placed)
    }

    async fn place_checkout(
        &mut self,
        checkout: git::Checkout,
    ) -> Result<git::Checked, ToolchainError> {
        let commit = checkout.commit.to_string();
        let spec = self
            .plan
            .commit(self.folders, &checkout.repository, &commit);
        let content = self.ask(&spec, Phase::Fetch, "git cat-file").await?;
        let (fetched, home) = (self.folders.fetch.clone(), self.folders.home.clone());
        let epoch = self.plan.epoch;
        let placing = blocking(move || {
            let placed = git::place(&checkout, &content, &fetched, &home, epoch);
            let is_other = matches!(placed, Err(ToolchainError::Cargo(CargoError::Tree { .. })));
            if is_other && git::may_differ(&home.join(checkout.target()))? {
                return Ok((None, checkout, content));
            }
            placed.map(|checked| (Some(checked), checkout, content))
        });
        match placing.await? {
            (Some(checked), ..) => Ok(checked),
            (None, checkout, content) => self.check_out(checkout, content).await,
        }
    }

    /// Writes the files of a commit from its objects, where cargo's checkout has others: those of
    /// submodules, or files that attributes change.
    async fn check_out(
        &mut self,
        checkout: git::Checkout,
        content: Vec<u8>,
    ) -> Result<git::Checked, ToolchainError> {
        let commit = checkout.commit;
        let into = self.folders.home.join(checkout.target());
        remove_directory(&into)?;
        let (path, home) = (checkout.path(), &self.folders.fetch);
        let objects = Objects {
            home,
            checkout: &path,
        };
        let mut log = Fetching(self.log);
        let written = repository::check_out(
            self.context.runner,
            objects,
            commit,
            (self.plan.epoch, &into),
            &self.folders.objects,
            &mut log,
        );
        let tree = written
            .await
            .map_err(|source| ToolchainError::from(CargoError::Objects { commit, source }))?;
        self.log.note(&format!(
            "git dependency {commit} is compiled as its commit has it: submodules included, and no \
             file changed by attributes"
        ))?;
        let home = self.folders.home.clone();
        blocking(move || git::complete(&checkout, &content, &home, tree)).await
    }

    /// Finds out what the build will compile.
    ///
    /// # Errors
    /// The client chose something that the project does not have, or a package was not checked.
    pub async fn inspect(&mut self, checked: &Checked) -> Result<Project, ToolchainError> {
        let spec = self.plan.metadata(self.folders);
        let answer = self.ask(&spec, Phase::Inspect, "cargo metadata").await?;
        let metadata = Metadata::parse(&answer)?.select(self.plan.options, self.plan.target)?;
        for member in metadata.default_members() {
            if !matches!(checked.place(member)?, Place::Source(_)) {
                return Err(CargoError::Outside {
                    package: member.spec(),
                }
                .into());
            }
        }
        for note in metadata.not_built() {
            self.log.note(&note)?;
        }
        let used = self.used(&metadata, checked).await?;
        Ok(Project { metadata, used })
    }

    /// Returns the ids of the packages that the build compiles, without those that are selected.
    async fn used(
        &mut self,
        metadata: &Metadata,
        checked: &Checked,
    ) -> Result<Vec<String>, ToolchainError> {
        let is_selected = |package| metadata.is_default_member(package);
        if metadata.packages.iter().all(is_selected) {
            return Ok(Vec::new());
        }
        let spec = self.plan.tree(self.folders);
        let tree = self.ask(&spec, Phase::Inspect, "cargo tree").await?;
        let mut used = Vec::new();
        for package in metadata.used(&tree)? {
            if !metadata.is_default_member(package) {
                checked.place(package)?;
                used.push(package.id.clone());
            }
        }
        Ok(used)
    }

    /// Compiles the selected packages.
    ///
    /// # Errors
    /// The build failed, or gave the linker arguments that cannot be recorded.
    pub async fn build(&mut self, metadata: &Metadata) -> Result<Compiled, ToolchainError> {
        self.context
            .runner
            .make_writable_directory(&self.folders.target)?;
        let overlay = self.cover_source().await?;
        let writable = overlay.as_ref().map(Overlay::path);
        let limit = self.context.limits.build;
        let spec = self.plan.build(self.folders, writable, limit);
        let rustc = self.context.toolchain.program("rustc");
        let mut messages = Messages::new(metadata, &rustc, self.log);
        let mut overheard = Overheard::new(&mut messages);
        let exit = self.context.runner.run(&spec, &mut overheard).await?;
        let complaint = overheard.complaint();
        let Announced { names, links } = messages.finish()?;
        let records = links.records();
        self.uncover(overlay).await?;
        ToolchainError::of_exit(Phase::Build, exit).map_err(|error| error.saying(complaint))?;
        let (target, release) = (&self.folders.target, self.plan.release());
        let wanted = names
            .into_iter()
            .map(|name| Wanted::new(target, &release, name));
        Ok(Compiled {
            spec,
            wanted: wanted.collect(),
            link_arguments: records?,
        })
    }

    /// Covers the source with a directory that the build can write to, and with a `.git`, where
    /// that is possible.
    async fn cover_source(&mut self) -> Result<Option<Overlay>, ToolchainError> {
        let mounted = match self.context.runner.overlays() {
            Some(overlays) => self.mount(overlays).await?,
            None => None,
        };
        if mounted.is_none() {
            self.log.note(
                "this machine lets the appliance mount no overlay: the build sees its source \
                 read-only, without a .git",
            )?;
        }
        Ok(mounted)
    }

    async fn mount(&self, overlays: Overlays) -> Result<Option<Overlay>, ToolchainError> {
        let git = self.plan.git.map(Path::to_owned);
        let source = self.plan.source.to_owned();
        let directory = self.folders.overlay.clone();
        let mount = move || {
            let layers: Vec<_> = git.as_deref().into_iter().chain([&*source]).collect();
            overlays.mount(&layers, &directory)
        };
        Ok(blocking(mount).await?)
    }

    /// Throws away what the build wrote to its source, and names it in the log.
    async fn uncover(&mut self, overlay: Option<Overlay>) -> Result<(), ToolchainError> {
        let Some(overlay) = overlay else {
            return Ok(());
        };
        let changes = blocking(move || overlay.finish()).await?;
        if changes.is_empty() {
            return Ok(());
        }
        let mut names: Vec<_> = changes
            .paths
            .iter()
            .map(|path| format!("{path:?}"))
            .collect();
        if changes.others > 0 {
            names.push(format!("at least {} more", changes.others));
        }
        let names = names.join(", ");
        Ok(self.log.note(&format!(
            "the build changed its source, of which nothing is kept: {names}"
        ))?)
    }

    /// Packs a library as an archive. Where that is impossible, only the rlib is delivered.
    pub async fn pack(
        &mut self,
        metadata: &Metadata,
        wanted: &mut Vec<Wanted>,
    ) -> Result<Vec<String>, ToolchainError> {
        self.context
            .runner
            .make_writable_directory(&self.folders.package)?;
        let unpublished = self.unpublished().await?;
        let plan = Plan {
            source: unpublished.as_deref().unwrap_or(self.plan.source),
            ..*self.plan
        };
        let spec = plan.package(self.folders, self.context.limits.build);
        match self.ask(&spec, Phase::Package, "cargo package").await {
            Ok(_) => {
                let names = metadata
                    .default_members()
                    .map(|package| package.crate_name());
                let archive = |name| Wanted::new(&self.folders.package, "package", name);
                wanted.extend(names.map(archive));
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
                self.log.note(
                    "cargo package cannot pack this library: its rlib is delivered without a .crate \
                     file",
                )?;
                Ok(Vec::new())
            }
        }
    }

    /// Returns a copy of the source without the files that cargo writes into archives, if the
    /// source has them: it was unpacked from such an archive.
    async fn unpublished(&mut self) -> Result<Option<PathBuf>, ToolchainError> {
        let mut has_reserved = false;
        for name in RESERVED {
            has_reserved |= there(self.plan.source.join(name).symlink_metadata())?.is_some();
        }
        if !has_reserved {
            return Ok(None);
        }
        self.log.note(&format!(
            "cargo package sees the source without {}",
            RESERVED.join(" and ")
        ))?;
        let (source, epoch) = (self.plan.source.to_owned(), self.plan.epoch);
        let target = self.folders.unpublished.clone();
        let copied = blocking(move || {
            fs::create_dir(&target)?;
            copy::directory(&Untrusted::open(&source)?, &target, &RESERVED, epoch)?;
            Ok::<_, io::Error>(target)
        });
        Ok(Some(copied.await?))
    }

    /// Runs a command that runs nothing of the project, and returns its standard output.
    async fn ask(
        &mut self,
        spec: &CommandSpec,
        phase: Phase,
        tool: &'static str,
    ) -> Result<Vec<u8>, ToolchainError> {
        let mut answer = Answer::new(tool, self.log);
        let run = self.context.runner.run(spec, &mut answer).await;
        answer.judge(run, phase)?;
        Ok(answer.output.into_bytes())
    }
}
