//! How often something that was cut is tried again, and who is told.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::error::ClientError;
use super::events::Event;
use super::random;

/// The pauses before a connection that was cut is made again.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(500));

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

/// Pauses between tries: each twice as long as the one before it, up to a bound. A part of each is
/// left to chance, so that clients that were refused together do not come back together.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// Returns pauses of at most `first`, and in the end of at most `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            next: first,
            longest,
        }
    }

    /// Returns the next pause: between half of its length and all of it.
    pub fn pause(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(self.longest);
        // Without random numbers the pause has its whole length.
        let drawn = random::bytes().map_or(u32::MAX, u32::from_ne_bytes);
        let part = f64::from(drawn) / f64::from(u32::MAX);
        whole.mul_f64(0.5 + part / 2.0)
    }
}

/// How long nothing may succeed before a failure is final.
#[derive(Debug)]
pub struct Patience {
    limit: Duration,
    failing_since: Option<Instant>,
    backoff: Backoff,
}

impl Patience {
    /// Gives up once every try has failed for `limit`.
    pub fn new(limit: Duration) -> Self {
        Self {
            limit,
            failing_since: None,
            backoff: PAUSES,
        }
    }

    /// Something succeeded: the time counts from the next failure on.
    pub fn progressed(&mut self) {
        (self.failing_since, self.backoff) = (None, PAUSES);
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
        sleep(self.backoff.pause()).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_differ() {
        let milliseconds = Duration::from_millis;
        let mut backoff = Backoff::new(milliseconds(100), milliseconds(350));
        for whole in [100, 200, 350, 350, 350] {
            let pause = backoff.pause();
            assert!(
                milliseconds(whole / 2) <= pause && pause <= milliseconds(whole),
                "{pause:?} of {whole} ms"
            );
        }
        let pauses: Vec<_> = (0..8).map(|_| backoff.pause()).collect();
        assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{pauses:?}");
    }
}
