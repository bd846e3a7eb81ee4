//! How often something that was cut is tried again, and who is told.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::error::ClientError;
use super::events::Event;

/// The first pause before another try; each later one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause before another try.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Whoever wants to know how it goes.
pub trait Watch {
    /// Something failed and is tried again.
    fn retrying(&mut self, error: &ClientError);

    /// So many bytes of the submission are sent.
    fn sent(&mut self, bytes: u64, of: u64);

    /// The build says something. Each event comes once.
    fn event(&mut self, event: &Event);

    /// So many bytes of the bundle are here.
    fn received(&mut self, bytes: u64, of: u64);
}

/// How long nothing may succeed before a failure is final.
#[derive(Debug)]
pub struct Patience {
    limit: Duration,
    failing_since: Option<Instant>,
    pause: Duration,
}

impl Patience {
    /// Gives up once every try has failed for `limit`.
    pub fn new(limit: Duration) -> Self {
        Self {
            limit,
            failing_since: None,
            pause: FIRST_PAUSE,
        }
    }

    /// Something succeeded: the time counts from the next failure on.
    pub fn progressed(&mut self) {
        (self.failing_since, self.pause) = (None, FIRST_PAUSE);
    }

    /// Waits before another try.
    ///
    /// # Errors
    /// The failure, where another try cannot succeed or nothing has for too long.
    pub async fn after(
        &mut self,
        error: ClientError,
        watch: &mut dyn Watch,
    ) -> Result<(), ClientError> {
        let since = self.failing_since.get_or_insert_with(Instant::now);
        if !error.is_transient() || since.elapsed() >= self.limit {
            return Err(error);
        }
        watch.retrying(&error);
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}
