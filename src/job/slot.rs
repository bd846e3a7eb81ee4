//! Gives the single slot to the first request that claims it.
//!
//! * In: complete and valid requests.
//! * Out: one job.
//! * Never: a second job, or a slot that becomes free again.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::run::{Job, Running, SetupError};
use super::{JobId, Request};
use crate::provenance::{Nonce, NonceSource};

/// The reason why a request did not get the slot.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another request has the slot.
    #[error("the slot is taken")]
    Taken,
    /// The job could not be set up; the slot is still free.
    #[error(transparent)]
    Setup(#[from] SetupError),
}

/// The state of the slot and its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// The slot is free for a job.
    Idle,
    /// The slot is taken, and its job runs.
    Accepted,
    /// The slot is taken, and its job has ended.
    Finished,
}

/// The single slot of this machine.
#[derive(Debug)]
pub struct Slot {
    work: PathBuf,
    about_guest: String,
    job: Mutex<Option<Arc<Job>>>,
    taken: Notify,
}

impl Slot {
    /// Returns a free slot. The job's directory will be created in the directory `work`.
    /// `about_guest` is the text of the job's `vm` event: image version, and launch measurement
    /// when known.
    pub fn new(work: PathBuf, about_guest: String) -> Self {
        Self {
            work,
            about_guest,
            job: Mutex::new(None),
            taken: Notify::new(),
        }
    }

    /// Returns whether a job has the slot.
    pub fn is_taken(&self) -> bool {
        self.lock().is_some()
    }

    /// Returns the state of the slot.
    pub fn state(&self) -> SlotState {
        match self.lock().as_ref().map(|job| job.ended().is_some()) {
            None => SlotState::Idle,
            Some(false) => SlotState::Accepted,
            Some(true) => SlotState::Finished,
        }
    }

    /// Returns the job for a caller that knows its id.
    pub fn find(&self, id: JobId) -> Option<Arc<Job>> {
        self.lock().as_ref().filter(|job| job.id() == id).cloned()
    }

    /// Returns the job whose client chose `nonce`, for a client that repeats its request. A nonce
    /// of less than the greatest length names no job.
    pub fn job_of(&self, nonce: &Nonce) -> Option<Arc<Job>> {
        let is_named = |job: &&Arc<Job>| {
            job.nonce() == nonce && job.nonce_source() == NonceSource::Client && nonce.is_longest()
        };
        self.lock().as_ref().filter(is_named).cloned()
    }

    /// Waits until a job has the slot.
    pub async fn wait_taken(&self) {
        let taken = self.taken.notified();
        let mut taken = std::pin::pin!(taken);
        taken.as_mut().enable();
        if !self.is_taken() {
            taken.await;
        }
    }

    /// Takes the slot for `request`.
    ///
    /// # Errors
    /// The slot is taken, or the job cannot be set up.
    pub fn claim(&self, request: &Request) -> Result<Running, ClaimError> {
        let mut slot = self.lock();
        if slot.is_some() {
            return Err(ClaimError::Taken);
        }
        let job = Arc::new(Job::set_up(&self.work, request, &self.about_guest)?);
        *slot = Some(Arc::clone(&job));
        drop(slot);
        self.taken.notify_waiters();
        Ok(Running::new(job))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Job>>> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_type::ErrorType;
    use crate::job::{Event, Outcome, Phase, SourceRequest};
    use crate::source::RepositoryUrl;

    fn request() -> Request {
        request_of("AB", NonceSource::Client, "https://example.org/x")
    }

    fn request_of(nonce: &str, nonce_source: NonceSource, url: &str) -> Request {
        Request::test_only_new(
            Nonce::parse(nonce).unwrap(),
            nonce_source,
            SourceRequest::Repository {
                url: RepositoryUrl::parse(url).unwrap(),
                reference: None,
                token: None,
            },
        )
    }

    fn slot() -> (tempfile::TempDir, Slot) {
        let work = tempfile::tempdir().unwrap();
        let slot = Slot::new(work.path().to_owned(), "test".to_owned());
        (work, slot)
    }

    #[test]
    fn gives_itself_away_once_even_after_the_job_ended() {
        let (_work, slot) = slot();
        assert_eq!((slot.is_taken(), slot.state()), (false, SlotState::Idle));
        let running = slot.claim(&request()).unwrap();
        assert_eq!((slot.is_taken(), slot.state()), (true, SlotState::Accepted));
        assert!(matches!(slot.claim(&request()), Err(ClaimError::Taken)));
        running.finish(Outcome::Failed {
            error_type: ErrorType::BuildFailed,
            message: "no".to_owned(),
        });
        assert_eq!(slot.state(), SlotState::Finished);
        assert!(matches!(slot.claim(&request()), Err(ClaimError::Taken)));
    }

    #[test]
    fn stays_free_when_the_job_cannot_be_set_up() {
        let slot = Slot::new("/nonexistent".into(), String::new());
        assert!(matches!(slot.claim(&request()), Err(ClaimError::Setup(_))));
        assert!(!slot.is_taken());
    }

    #[test]
    fn finds_the_job_by_its_id_only() {
        let (_work, slot) = slot();
        assert!(slot.find(JobId::draw().unwrap()).is_none());
        let running = slot.claim(&request()).unwrap();
        assert_eq!(slot.find(running.id()).unwrap().id(), running.id());
        assert!(slot.find(JobId::draw().unwrap()).is_none());
    }

    #[test]
    fn a_repeated_request_finds_its_job_by_a_long_nonce_and_is_compared() {
        let long = "ab".repeat(16);
        for (nonce, nonce_source, is_found) in [
            (&*long, NonceSource::Client, true),
            (&*long, NonceSource::Appliance, false),
            ("ab", NonceSource::Client, false),
        ] {
            let (_work, slot) = slot();
            let url = "https://example.org/x";
            let running = slot.claim(&request_of(nonce, nonce_source, url)).unwrap();
            let found = slot.job_of(&Nonce::parse(nonce).unwrap());
            assert_eq!(found.is_some(), is_found, "{nonce} {nonce_source:?}");
            assert!(
                slot.job_of(&Nonce::parse(&"ac".repeat(16)).unwrap())
                    .is_none()
            );
            assert!(running.is_of(&request_of(nonce, nonce_source, url)));
            assert!(!running.is_of(&request_of(nonce, nonce_source, "https://example.org/y")));
        }
    }

    #[test]
    fn a_lost_pipeline_fails_the_job() {
        let (_work, slot) = slot();
        let running = slot.claim(&request()).unwrap();
        let job = Arc::clone(running.job());
        assert_eq!(
            (job.phase(), job.ended().is_none(), job.log().is_closed()),
            (Phase::Queued, true, false)
        );
        job.emit(Event::Start("cargo build --release")).unwrap();
        assert_eq!(job.phase(), Phase::Build);
        drop(running);
        let ended = job.ended().unwrap();
        assert!(matches!(
            ended.outcome,
            Outcome::Failed {
                error_type: ErrorType::Internal,
                ..
            }
        ));
        assert_eq!(
            (job.phase(), job.log().is_closed()),
            (Phase::Complete, true)
        );
        assert!(job.emit(Event::Detect("cargo")).is_err());
    }
}
