//! One job. Comes in: a claim of the slot, then events, then one outcome. Goes out: what clients may know of it.
//! Never: a second outcome, or none.

use std::fs::DirBuilder;
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
use crate::source::{GitRef, RepositoryUrl};
use crate::toolchain::Options;

/// Name of the event log in the job's folder. It outlives every job.
pub(super) const EVENT_LOG: &str = "events";
/// Sandboxes under another uid go through the folder; nobody lists it.
const FOLDER_MODE: u32 = 0o711;

/// Starts accepted jobs.
pub trait Builder {
    /// Returns whether the repository has the ref, without a job. Dropping the future may leave git running for a while.
    fn resolve(&self, url: RepositoryUrl, reference: Option<GitRef>) -> Resolving;

    /// Starts the build and returns; called once, on the runtime of the service, inside its `LocalSet`.
    fn start(&self, job: Running, request: Request);

    /// Returns whether a build would start without waiting for anything of the machine.
    fn is_ready(&self) -> bool;
}

/// Why a job could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The kernel gives no random bytes.
    #[error("no random bytes for a job id")]
    Random(#[from] getrandom::Error),
    /// The job's folder or log could not be made.
    #[error("the job's folder {path:?} could not be set up")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// How a job ended, and when.
#[derive(Debug)]
pub struct Ended {
    /// What the pipeline said.
    pub outcome: Outcome,
    /// When.
    pub finished_at: Date,
}

/// What everybody who knows its id may know of a job.
#[derive(Debug)]
pub struct Job {
    id: JobId,
    nonce: Nonce,
    nonce_source: NonceSource,
    identity: RequestIdentity,
    folder: PathBuf,
    accepted: Beginning,
    log: Arc<EventLog>,
    phase: Mutex<Phase>,
    ended: OnceLock<Ended>,
    ending: Notify,
}

impl Job {
    /// Makes the job's folder `<work>/job-<id>` with its log, and reports it queued.
    pub(super) fn set_up(
        work: &Path,
        request: &Request,
        about_guest: &str,
    ) -> Result<Self, SetupError> {
        let id = JobId::draw()?;
        let folder = work.join(format!("job-{id}"));
        let failed = |source| SetupError::Folder {
            path: folder.clone(),
            source,
        };
        DirBuilder::new()
            .mode(FOLDER_MODE)
            .create(&folder)
            .map_err(failed)?;
        let log = EventLog::create(&folder.join(EVENT_LOG)).map_err(failed)?;
        for event in [Event::Queued, Event::Vm(about_guest)] {
            log.append(event)
                .map_err(|error| failed(std::io::Error::other(error)))?;
        }
        Ok(Self {
            id,
            nonce: request.nonce().clone(),
            nonce_source: request.nonce_source(),
            identity: RequestIdentity::of(request),
            folder,
            accepted: Beginning::now(),
            log: Arc::new(log),
            phase: Mutex::new(Phase::Queued),
            ended: OnceLock::new(),
            ending: Notify::new(),
        })
    }

    /// Its name and capability.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// What the report will be bound to.
    pub fn nonce(&self) -> &Nonce {
        &self.nonce
    }

    /// Who chose the nonce.
    pub fn nonce_source(&self) -> NonceSource {
        self.nonce_source
    }

    /// Returns how to build, as far as the client chose that.
    pub fn options(&self) -> &Options {
        self.identity.options()
    }

    /// Returns whether `request` asks for this very build: the same nonce, source and options.
    pub fn is_of(&self, request: &Request) -> bool {
        self.identity == RequestIdentity::of(request)
    }

    /// The job's own folder, where every stage makes its subfolders.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// When it took the slot, by the host's clock.
    pub fn accepted_at(&self) -> Date {
        self.accepted.date()
    }

    /// What an end of it here and now is called.
    pub(super) fn end_now(&self) -> Date {
        self.accepted.end()
    }

    /// What happened so far.
    pub fn log(&self) -> &Arc<EventLog> {
        &self.log
    }

    /// Where it is.
    pub fn phase(&self) -> Phase {
        if self.ended.get().is_some() {
            Phase::Complete
        } else {
            *self.lock_phase()
        }
    }

    /// How it ended, once it has.
    pub fn ended(&self) -> Option<&Ended> {
        self.ended.get()
    }

    /// Waits until it has ended.
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

    /// Reports an event.
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

    /// The job, for everybody who reports events.
    pub fn job(&self) -> &Arc<Job> {
        &self.0
    }

    /// Ends the job.
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
            log::error!("the pipeline went away without an outcome");
            self.0.end(Outcome::internal());
        }
    }
}
