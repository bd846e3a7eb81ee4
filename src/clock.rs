//! Reads the wall clock, which the host controls.
//!
//! * In: the time of the kernel, which can be anything and jump at any moment.
//! * Out: dates that every format can express.
//! * Never: a panic, a date out of order, or a limit that is measured by this clock.
//!
//! Nothing else in the appliance reads the wall clock, except hyper, which writes it into its
//! responses. The host controls the monotonic clock too, which may go back although it should not:
//! [`Limit`] is for waits that block a thread.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The last second that RFC 3339 and HTTP can express, 9999-12-31T23:59:59Z. The first second that
/// HTTP and TLS can express is the first of 1970.
const LAST: u64 = 253_402_300_799;

/// A second in the years 1970 to 9999. `Display` writes it as RFC 3339, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(u64);

impl Date {
    /// Returns the time of the clock, or the nearest date.
    pub fn now() -> Self {
        Self::nearest(read())
    }

    /// Returns the seconds since the start of 1970.
    pub fn seconds(self) -> u64 {
        self.0
    }

    fn nearest(seconds: Option<u64>) -> Self {
        Self(seconds.unwrap_or(0).min(LAST))
    }

    fn after(self, elapsed: Duration) -> Self {
        Self::nearest(self.0.checked_add(elapsed.as_secs()).or(Some(LAST)))
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = OffsetDateTime::from_unix_timestamp(self.0 as i64).map_err(|_| fmt::Error)?;
        f.write_str(&time.format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

/// Returns whether the clock has a time that is a date.
pub fn has_date() -> bool {
    read().is_some_and(|seconds| seconds <= LAST)
}

/// Returns the seconds since the start of 1970, or `None` before 1970.
fn read() -> Option<u64> {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .map(|since| since.as_secs())
}

/// The start of a period whose end will be dated. The end is later by the time that passed on the
/// monotonic clock: a jump of the wall clock in between changes neither date, and no period ends
/// before its start.
#[derive(Clone, Copy, Debug)]
pub struct Beginning {
    date: Date,
    instant: Instant,
}

impl Beginning {
    /// Returns a period that starts now.
    pub fn now() -> Self {
        Self {
            date: Date::now(),
            instant: Instant::now(),
        }
    }

    /// Returns the date of the start.
    pub fn date(&self) -> Date {
        self.date
    }

    /// Returns the date of an end now.
    pub fn end(&self) -> Date {
        self.date.after(self.instant.elapsed())
    }
}

/// A limit for the time of an operation that blocks its thread. If the clock goes back, no single
/// wait gets longer than the whole limit.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    whole: Duration,
    end: Instant,
}

impl Limit {
    /// Returns a limit that starts now.
    pub fn of(whole: Duration) -> Self {
        Self {
            whole,
            end: Instant::now() + whole,
        }
    }

    /// Returns the time that is left: zero once the limit has passed, and at most the whole.
    pub fn left(&self) -> Duration {
        self.end
            .saturating_duration_since(Instant::now())
            .min(self.whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_clock_says_is_a_date() {
        let said = |seconds| Date::nearest(seconds).to_string();
        assert_eq!(said(None), "1970-01-01T00:00:00Z");
        assert_eq!(said(Some(0)), "1970-01-01T00:00:00Z");
        assert_eq!(said(Some(1 << 32)), "2106-02-07T06:28:16Z");
        for seconds in [LAST, LAST + 1, u64::MAX] {
            assert_eq!(said(Some(seconds)), "9999-12-31T23:59:59Z");
        }
    }

    #[test]
    fn an_end_is_never_before_the_beginning() {
        let date = Date(1_767_225_600);
        for (seconds, end) in [
            (0, "2026-01-01T00:00:00Z"),
            (61, "2026-01-01T00:01:01Z"),
            (u64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(date.after(Duration::from_secs(seconds)).to_string(), end);
        }
        assert_eq!(date.after(Duration::from_millis(999)), date);
    }

    #[test]
    fn a_clock_that_goes_back_makes_no_wait_longer_than_its_limit() {
        let hour = Duration::from_secs(60 * 60);
        let second = Duration::from_secs(1);
        // As after a jump of an hour back.
        assert_eq!(
            Limit {
                whole: second,
                end: Instant::now() + hour
            }
            .left(),
            second
        );
        assert_eq!(
            Limit {
                whole: Duration::ZERO,
                end: Instant::now() + hour
            }
            .left(),
            Duration::ZERO
        );
        let left = Limit::of(hour).left();
        assert!(left <= hour && left > hour - second, "{left:?}");
    }
}
