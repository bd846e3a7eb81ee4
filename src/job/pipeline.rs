//! Runs the stages of a build, in order.
//!
//! * In: the job that has the slot, and its request.
//! * Out: the job's outcome.
//! * Never: a stage without the receipt of the one before, or an outcome that a client could take
//!   for success when anything failed.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::OnceCell;
use tokio::task::spawn_local;

use super::build_log::JobLog;
use super::line::sanitise;
use super::log_file::LogFileError;
use super::pack::{self, PackError};
use super::record::{AttestedBuild, CompletedBuild, Machine, RecordError, StatedBuild};
use super::{Builder, Event, Job, LogError, Outcome, Request, Resolving, Running, SourceRequest};
use crate::attester::{AttestError, Attester};
use crate::blocking::blocking;
use crate::causes::{Chain, causes};
use crate::error_type::ErrorType;
use crate::provenance::Platform;
use crate::sandbox::Runner;
use crate::source::{
    GitRef, Origin, PartError, RepositoryToken, RepositoryUrl, SourceTree, repository,
};
use crate::toolchain::{
    self, Attempt, Built, Context, Kind, Limits, Tool, Toolchain, ToolchainError, nix,
};

/// The message for the client when the machine's disk is full.
const NO_ROOM: &str = "there is no room left for what the build writes";

/// The name, below the uploads, of the directory in which git looks for a commit before there is a
/// job.
const RESOLUTION: &str = "resolution";

/// Builds jobs with one toolchain in one sandbox.
#[derive(Clone)]
pub struct Pipeline(Rc<Inner>);

struct Inner {
    runner: Runner,
    toolchain: Toolchain,
    limits: Limits,
    cargo_tools: OnceCell<Vec<Tool>>,
    nix_tools: OnceCell<Vec<Tool>>,
    /// The directory of uploads, in which refs are resolved too.
    intake: PathBuf,
    platform: Platform,
    attester: Option<Arc<dyn Attester>>,
}

/// The reason why a job failed.
#[derive(Debug, thiserror::Error)]
enum JobError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Repository(#[from] repository::RepositoryError),
    #[error(transparent)]
    Part(#[from] PartError),
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    #[error("the toolchain could not be measured")]
    Measure(#[source] io::Error),
    #[error(transparent)]
    LogFile(#[from] LogFileError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("there is no evidence")]
    Attest(#[from] AttestError),
    #[error("the request for evidence did not end")]
    Waiting(#[source] io::Error),
    #[error(transparent)]
    Pack(#[from] PackError),
}

impl JobError {
    /// Classifies the error, in the words that clients know.
    fn error_type(&self) -> ErrorType {
        match self {
            Self::Log(LogError::Full { .. }) | Self::Record(RecordError::TooLong { .. }) => {
                ErrorType::BuildFailed
            }
            Self::Repository(error) if error.is_fault() => ErrorType::Internal,
            Self::Repository(_) => ErrorType::SourceFetchFailed,
            Self::Part(error) if error.is_fault() => ErrorType::Internal,
            Self::Part(_) => ErrorType::UnsupportedToolchain,
            Self::Toolchain(error) => error.error_type(),
            Self::Attest(_) => ErrorType::AttestationFailed,
            Self::Log(_)
            | Self::Measure(_)
            | Self::LogFile(_)
            | Self::Record(_)
            | Self::Waiting(_)
            | Self::Pack(_) => ErrorType::Internal,
        }
    }
}

impl Pipeline {
    /// Returns a pipeline for this machine. `intake` is the directory in which uploads are
    /// unpacked; `platform` is what statements tell about the machine. With an attester every build
    /// ends with evidence or fails.
    pub fn new(
        runner: Runner,
        toolchain: Toolchain,
        limits: Limits,
        intake: PathBuf,
        platform: Platform,
        attester: Option<Arc<dyn Attester>>,
    ) -> Self {
        let (cargo_tools, nix_tools) = (OnceCell::new(), OnceCell::new());
        Self(Rc::new(Inner {
            runner,
            toolchain,
            limits,
            cargo_tools,
            nix_tools,
            intake,
            platform,
            attester,
        }))
    }

    /// Starts to measure the toolchain, so that no job has to wait for that.
    pub fn warm_up(&self) {
        let inner = Rc::clone(&self.0);
        spawn_local(async move {
            if let Err(error) = inner.tools(Kind::Cargo).await {
                log::error!("the toolchain cannot be used: {}", Chain(&error));
            }
        });
    }
}

impl Builder for Pipeline {
    fn resolve(
        &self,
        url: RepositoryUrl,
        reference: Option<GitRef>,
        token: Option<RepositoryToken>,
    ) -> Resolving {
        let inner = Rc::clone(&self.0);
        Box::pin(async move {
            let directory = inner.intake.join(RESOLUTION);
            let (reference, token) = (reference.as_ref(), token.as_ref());
            let resolving = repository::resolve(&inner.runner, &url, reference, token, &directory);
            Ok(resolving.await?)
        })
    }

    fn is_ready(&self) -> bool {
        self.0.cargo_tools.initialized()
    }

    fn start(&self, job: Running, request: Request) {
        let inner = Rc::clone(&self.0);
        let upload = upload(&inner.intake, request.source());
        spawn_local(async move {
            let outcome = match inner.build(job.job(), request).await {
                Ok(outcome) => outcome,
                Err(error) => failure(&error),
            };
            let directory = job.directory().to_owned();
            if !matches!(outcome, Outcome::Succeeded(_)) {
                pack::withdraw(directory.clone()).await;
            }
            job.finish(outcome);
            pack::clean(directory, upload).await;
        });
    }
}

impl Inner {
    async fn build(&self, job: &Arc<Job>, request: Request) -> Result<Outcome, JobError> {
        let mut log = JobLog::new(Arc::clone(job));
        let built = self.run_tools(job, request.into_source(), &mut log).await;
        // The last words of a tool are kept, however the tool ended.
        let ended = log.end_lines();
        // A full log ends the command that filled it: the log is the cause, not the command's end.
        let built = built.map_err(|error| log.take_error().map_or(error, JobError::Log))?;
        ended?;
        job.emit(Event::Provenance("writing provenance"))?;
        let machine = Machine {
            platform: &self.platform,
            tools: self.tools(built.kind()).await?,
            sandbox: self.runner.description(),
        };
        let completed = CompletedBuild::new(job, machine, built).await?;
        let stated = completed.state()?;
        let attested = self.attest(job, stated).await?;
        Ok(Outcome::Succeeded(Box::new(pack::pack(attested).await?)))
    }

    /// Gets evidence about the statement, where there is an attester.
    async fn attest(&self, job: &Job, stated: StatedBuild) -> Result<AttestedBuild, JobError> {
        let Some(attester) = self.attester.clone() else {
            return Ok(stated.without_attester());
        };
        job.emit(Event::Attest(
            "requesting evidence from the secure processor",
        ))?;
        let attested = blocking(move || Ok(stated.attest(&*attester))).await;
        Ok(attested.map_err(JobError::Waiting)??)
    }

    /// Runs the stages in which tools run: from the source to the build.
    async fn run_tools(
        &self,
        job: &Arc<Job>,
        source: SourceRequest,
        log: &mut JobLog,
    ) -> Result<Built, JobError> {
        let tree = self.take_in(job, source, log).await?;
        log.end_lines()?;
        job.emit(Event::Init(&identity(&tree)))?;
        for note in tree.notes() {
            job.emit(Event::Note(note))?;
        }
        self.run_toolchain(job, tree, log).await
    }

    /// Gets the source onto this machine. The token of a private repository ends here.
    async fn take_in(
        &self,
        job: &Arc<Job>,
        source: SourceRequest,
        log: &mut JobLog,
    ) -> Result<SourceTree, JobError> {
        match source {
            SourceRequest::Archive(tree) => Ok(tree),
            SourceRequest::Repository {
                url,
                reference,
                token,
            } => {
                let reference = reference.as_ref();
                let wanted = reference.map_or("the default branch", |reference| reference.as_str());
                let message = format!("fetching {} ({wanted})", url.as_str());
                job.emit(Event::Init(&message))?;
                let directory = job.directory().join("repository");
                let fetching = repository::fetch(
                    &self.runner,
                    &url,
                    reference,
                    token.as_ref(),
                    &directory,
                    log,
                );
                let fetched = fetching.await?;
                drop(token);
                chosen_part(job, fetched).await
            }
        }
    }

    async fn run_toolchain(
        &self,
        job: &Arc<Job>,
        tree: SourceTree,
        log: &mut JobLog,
    ) -> Result<Built, JobError> {
        let context = Context {
            runner: &self.runner,
            toolchain: &self.toolchain,
            folder: job.directory(),
            limits: self.limits,
        };
        let has_nix = self.toolchain.nix().is_some();
        let detected = toolchain::detect(tree, job.options().clone(), has_nix);
        let mut detected = detected.map_err(ToolchainError::from)?;
        loop {
            job.emit(Event::Detect(detected.kind().as_str()))?;
            job.emit(Event::Start(command_line(detected.kind())))?;
            let fetched = toolchain::fetch(detected, &context, log).await?;
            match toolchain::build(fetched, &context, log).await? {
                Attempt::Built(built) => return Ok(*built),
                Attempt::GivesWay(cargo) => detected = *cargo,
            }
            log.end_lines()?;
        }
    }

    /// Returns the programs that build; they are measured once.
    async fn tools(&self, kind: Kind) -> Result<&[Tool], JobError> {
        match kind {
            Kind::Cargo => self.cargo_tools().await,
            Kind::Nix => self.nix_tools().await,
        }
    }

    async fn cargo_tools(&self) -> Result<&[Tool], JobError> {
        let measure = || async {
            let toolchain = self.toolchain.clone();
            // The programs are hashed while they are asked for their versions.
            let hashing = blocking(move || toolchain.measure());
            let versions = self.toolchain.versions(&self.runner).await?;
            let hashed = hashing.await.map_err(JobError::Measure)?;
            Ok(versions.label(hashed))
        };
        self.cargo_tools
            .get_or_try_init(measure)
            .await
            .map(Vec::as_slice)
    }

    async fn nix_tools(&self) -> Result<&[Tool], JobError> {
        let nix = self
            .toolchain
            .nix()
            .ok_or(ToolchainError::Unsupported(Kind::Nix))?;
        let measure =
            || async { Ok(nix::tools(nix, self.toolchain.listed(), &self.runner).await?) };
        self.nix_tools
            .get_or_try_init(measure)
            .await
            .map(Vec::as_slice)
    }
}

/// Returns the directory of the upload that a job builds, which is below that of all uploads.
fn upload(intake: &Path, source: &SourceRequest) -> Option<PathBuf> {
    let SourceRequest::Archive(tree) = source else {
        return None;
    };
    let below = tree.root().strip_prefix(intake).ok()?;
    Some(intake.join(below.iter().next()?))
}

/// Returns the part of a fetched source that the client chose. The part of an archive was chosen
/// when it was unpacked.
async fn chosen_part(job: &Job, tree: SourceTree) -> Result<SourceTree, JobError> {
    let Some(path) = job.options().path.clone() else {
        return Ok(tree);
    };
    Ok(blocking(move || tree.part(&path)).await?)
}

/// Returns the command as people write it; provenance has the whole command.
fn command_line(kind: Kind) -> &'static str {
    match kind {
        Kind::Cargo => "cargo build --release",
        Kind::Nix => "nix build",
    }
}

fn identity(tree: &SourceTree) -> String {
    match tree.origin() {
        Origin::Repository { commit, .. } => {
            format!("source: commit {commit}, tree {}", tree.tree())
        }
        Origin::Archive { sha256, .. } => {
            format!("source: archive with sha256 {sha256}, tree {}", tree.tree())
        }
    }
}

/// Logs an error, and returns the outcome that clients see.
fn failure(error: &JobError) -> Outcome {
    let error_type = error.error_type();
    // Messages quote names and settings of the source, so they are made inert.
    let message = sanitise(&Chain(error).to_string());
    log::warn!("the job failed ({error_type}): {message}");
    match error_type {
        // The build left no room: then the build failed, not the appliance.
        ErrorType::Internal if is_out_of_room(error) => Outcome::Failed {
            error_type: ErrorType::BuildFailed,
            message: NO_ROOM.to_owned(),
        },
        ErrorType::Internal => Outcome::internal(),
        _ => Outcome::Failed {
            error_type,
            message,
        },
    }
}

/// Returns whether a write of ours failed because there was no room left on the disk.
fn is_out_of_room(error: &(dyn Error + 'static)) -> bool {
    let mut errors = causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>());
    errors.any(|cause| {
        matches!(
            cause.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_that_leaves_no_room_for_its_log_has_failed_by_itself() {
        let end = |kind: io::ErrorKind| match failure(&JobError::Log(LogError::File(kind.into()))) {
            Outcome::Failed { error_type, .. } => error_type,
            Outcome::Succeeded(_) => panic!("{kind}"),
        };
        assert_eq!(end(io::ErrorKind::StorageFull), ErrorType::BuildFailed);
        assert_eq!(end(io::ErrorKind::PermissionDenied), ErrorType::Internal);
    }
}
