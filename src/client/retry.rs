//! Decides how long failed requests are repeated, and reports progress.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::error::ClientError;
use super::events::Event;
use super::random;

/// The pauses before a request that was cut is repeated.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(500));

/// Receives the progress of a build.
pub trait Observer {
    /// Reports a failure after which the request is repeated.
    fn retrying(&mut self, error: &ClientError);

    /// Reports that `bytes` of the submission's `of` bytes are sent.
    fn sent(&mut self, bytes: u64, of: u64);

    /// Reports an event of the build. Each event is reported once.
    fn event(&mut self, event: &Event);

    /// Reports that `bytes` of the bundle's `of` bytes have arrived.
    fn received(&mut self, bytes: u64, of: u64);
}

/// Pauses between attempts: each is twice as long as the one before it, up to a bound. A part of
/// each is random, so that clients that were refused together do not return together.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// Starts with a pause of at most `first`; later ones grow to at most `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            next: first,
            longest,
        }
    }

    /// Returns the next pause, shortened at random by up to one half.
    pub fn pause(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(self.longest);
        // Without random numbers the pause has its whole length.
        let drawn = random::bytes().map_or(u32::MAX, u32::from_ne_bytes);
        let part = f64::from(drawn) / f64::from(u32::MAX);
        whole.mul_f64(0.5 + part / 2.0)
    }
}

/// Decides whether another attempt is made: until every one has failed for a certain time.
#[derive(Debug)]
pub struct Retries {
    limit: Duration,
    failing_since: Option<Instant>,
    backoff: Backoff,
}

impl Retries {
    /// Gives up after every attempt has failed for `limit`.
    pub fn new(limit: Duration) -> Self {
        Self {
            limit,
            failing_since: None,
            backoff: PAUSES,
        }
    }

    /// Records a success: the time counts from the next failure on.
    pub fn progressed(&mut self) {
        (self.failing_since, self.backoff) = (None, PAUSES);
    }

    /// Waits after a failure, before the next attempt.
    ///
    /// # Errors
    /// The failure itself, if another attempt cannot succeed, or if all have failed for too long.
    pub async fn after(
        &mut self,
        error: ClientError,
        observer: &mut dyn Observer,
    ) -> Result<(), ClientError> {
        let since = self.failing_since.get_or_insert_with(Instant::now);
        if !error.is_transient() || since.elapsed() >= self.limit {
            return Err(error);
        }
        observer.retrying(&error);
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
