//! Holds the state of one job.
//!
//! * In: a claim of the slot, then events, then one outcome.
//! * Out: what clients may know of the job.
//! * Never: a second outcome, or none.

use std::fs::DirBuilder;
use std::io;
use std::ops::Deref;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::Notify;

use super::event::Event;
use super::identity::RequestIdentity;
use super::log::{EventLog, LogError};
use super::outcome::Outcome;
use super::phase::Phase;
use super::{JobId, Request, Resolving};
use crate::clock::{Beginning, Date};
use crate::provenance::{Nonce, NonceSource};
use crate::source::{GitRef, RepositoryToken, RepositoryUrl};
use crate::toolchain::Options;

/// The name of the event log in the job's directory. The file outlives the job.
pub(super) const EVENT_LOG: &str = "events";
/// The mode of the job's directory: sandboxes under another uid pass through it; nobody else lists
/// it.
const DIRECTORY_MODE: u32 = 0o711;

/// Starts the builds of accepted jobs.
pub trait Builder {
    /// Checks, without a job, that the repository has the ref. Dropping the future may leave git
    /// running for a while.
    fn resolve(
        &self,
        url: RepositoryUrl,
        reference: Option<GitRef>,
        token: Option<RepositoryToken>,
    ) -> Resolving;

    /// Starts the build and returns. It is called once, on the runtime of the service, inside its
    /// `LocalSet`.
    fn start(&self, job: Running, request: Request);

    /// Returns whether a build would start without waiting for anything of the machine.
    fn is_ready(&self) -> bool;
}

/// The reason why a job could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The kernel returned no random bytes.
    #[error("there are no random bytes for a job id")]
    Random(#[from] getrandom::Error),
    /// The job's directory or log could not be created.
    #[error("the job's directory {path:?} could not be set up")]
    Directory {
        /// The path of the directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

/// The end of a job, and its time.
#[derive(Debug)]
pub struct Ended {
    /// The outcome that the pipeline reported.
    pub outcome: Outcome,
    /// The time of the end, by the host's clock.
    pub finished_at: Date,
}

/// The state of a job, which every client that knows its id may see.
#[derive(Debug)]
pub struct Job {
    id: JobId,
    nonce: Nonce,
    nonce_source: NonceSource,
    identity: RequestIdentity,
    directory: PathBuf,
    accepted: Beginning,
    log: Arc<EventLog>,
    phase: Mutex<Phase>,
    ended: OnceLock<Ended>,
    ending: Notify,
}

impl Job {
    /// Creates the job's directory `<work>/job-<id>` with its log, and reports the job queued.
    pub(super) fn set_up(
        work: &Path,
        request: &Request,
        about_guest: &str,
    ) -> Result<Self, SetupError> {
        let id = JobId::draw()?;
        let directory = work.join(format!("job-{id}"));
        let log = Self::create_files(&directory, about_guest).map_err(|source| {
            let path = directory.clone();
            SetupError::Directory { path, source }
        })?;
        Ok(Self {
            id,
            nonce: request.nonce().clone(),
            nonce_source: request.nonce_source(),
            identity: RequestIdentity::of(request),
            directory,
            accepted: Beginning::now(),
            log: Arc::new(log),
            phase: Mutex::new(Phase::Queued),
            ended: OnceLock::new(),
            ending: Notify::new(),
        })
    }

    fn create_files(directory: &Path, about_guest: &str) -> io::Result<EventLog> {
        DirBuilder::new().mode(DIRECTORY_MODE).create(directory)?;
        let log = EventLog::create(&directory.join(EVENT_LOG))?;
        for event in [Event::Queued, Event::Vm(about_guest)] {
            log.append(event).map_err(io::Error::other)?;
        }
        Ok(log)
    }

    /// Returns the id, the job's name and the capability to see it.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Returns the nonce that the attestation report will be bound to.
    pub fn nonce(&self) -> &Nonce {
        &self.nonce
    }

    /// Returns who chose the nonce.
    pub fn nonce_source(&self) -> NonceSource {
        self.nonce_source
    }

    /// Returns the options that the client chose for the build.
    pub fn options(&self) -> &Options {
        self.identity.options()
    }

    /// Returns whether `request` asks for this very build: the same nonce, source and options.
    pub fn is_of(&self, request: &Request) -> bool {
        self.identity == RequestIdentity::of(request)
    }

    /// Returns the job's own directory, in which every stage creates its own.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns when the job took the slot, by the host's clock.
    pub fn accepted_at(&self) -> Date {
        self.accepted.date()
    }

    /// Returns the date for an end of the job here and now.
    pub(super) fn end_now(&self) -> Date {
        self.accepted.end()
    }

    /// Returns the log of what has happened so far.
    pub fn log(&self) -> &Arc<EventLog> {
        &self.log
    }

    /// Returns the phase that the job is in.
    pub fn phase(&self) -> Phase {
        if self.ended.get().is_some() {
            Phase::Complete
        } else {
            *self.lock_phase()
        }
    }

    /// Returns the end of the job, once it has ended.
    pub fn ended(&self) -> Option<&Ended> {
        self.ended.get()
    }

    /// Waits until the job has ended.
    pub async fn wait_ended(&self) -> &Ended {
        loop {
            let ending = self.ending.notified();
            let mut ending = std::pin::pin!(ending);
            ending.as_mut().enable();
            if let Some(ended) = self.ended.get() {
                return ended;
            }
            ending.await;
        }
    }

    /// Reports an event of the job.
    ///
    /// # Errors
    /// The log is full or cannot be written: the build has to end.
    pub fn emit(&self, event: Event<'_>) -> Result<(), LogError> {
        self.log.append(event)?;
        if let Some(phase) = event.kind().begins() {
            *self.lock_phase() = phase;
        }
        Ok(())
    }

    fn end(&self, outcome: Outcome) {
        let ended = Ended {
            outcome,
            finished_at: self.end_now(),
        };
        if self.ended.set(ended).is_err() {
            log::error!("the job ended twice");
        }
        self.log.close();
        self.ending.notify_waiters();
    }

    fn lock_phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one handle that can end a job. Losing it ends the job as failed: no job runs for ever.
#[derive(Debug)]
pub struct Running(Arc<Job>);

impl Running {
    pub(super) fn new(job: Arc<Job>) -> Self {
        Self(job)
    }

    /// Returns the job, for stages that report events.
    pub fn job(&self) -> &Arc<Job> {
        &self.0
    }

    /// Ends the job with its outcome.
    pub fn finish(self, outcome: Outcome) {
        self.0.end(outcome);
    }
}

impl Deref for Running {
    type Target = Job;

    fn deref(&self) -> &Job {
        &self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.ended.get().is_none() {
            log::error!("the pipeline ended without an outcome");
            self.0.end(Outcome::internal());
        }
    }
}
