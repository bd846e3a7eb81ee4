//! Clocks that lie. In: the time of the kernel's clock. Out: the time that the service gets
//! instead, from a moment on. Never: a lie to another program: the kernel, and the programs that
//! the service starts, use the real clocks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use libc::clockid_t;

const DAY: i64 = 24 * 60 * 60;
const HOUR: i64 = 60 * 60;
const YEAR: i64 = 365 * DAY;

/// The clock that lies: that of dates, or that of limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    Wall,
    Steady,
}

impl Clock {
    fn of(id: clockid_t) -> Option<Self> {
        match id {
            libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE | libc::CLOCK_TAI => {
                Some(Self::Wall)
            }
            libc::CLOCK_MONOTONIC
            | libc::CLOCK_MONOTONIC_RAW
            | libc::CLOCK_MONOTONIC_COARSE
            | libc::CLOCK_BOOTTIME => Some(Self::Steady),
            // The processor time of a process.
            _ => None,
        }
    }
}

/// How a clock lies, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Jumps by so much, and goes on from there.
    By(i64),
    /// Jumps to this moment, and goes on from there.
    To(i64),
    /// Is this much ahead and behind, in turn.
    Swings(i64),
    /// Stands still.
    Stands,
}

/// When the lie begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the service starts.
    Start,
    /// After its first response.
    Served,
    /// While a build runs.
    Build,
}

impl Moment {
    pub const ALL: [Self; 3] = [Self::Start, Self::Served, Self::Build];
}

/// Which clients get responses from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    Everybody,
    /// None, until the job has ended, and then the lie.
    NobodyForNow,
    /// Perhaps some, until then.
    SomeForNow,
    /// Perhaps none, although the lie has ended.
    SomeFromNowOn,
}

/// One lie in one job.
pub struct Jump {
    pub moment: Moment,
    pub liar: Arc<Liar>,
    pub answers: Answers,
}

/// All jumps of the wall clock that lead to a valid date.
pub const DATES: [(&str, Lie); 8] = [
    ("ten years back", Lie::By(-10 * YEAR)),
    ("ten years forward", Lie::By(10 * YEAR)),
    (
        "ten years, back and forward at each look",
        Lie::Swings(10 * YEAR),
    ),
    ("to 1970", Lie::To(0)),
    ("past 2038, and 31 bits", Lie::To(1 << 31)),
    ("past 2106, and 32 bits", Lie::To(1 << 32)),
    ("to 9000", Lie::To(221_845_392_000)),
    ("nowhere: it stands", Lie::Stands),
];

/// Jumps to dates that four digits for a year cannot express.
pub const NO_DATES: [(&str, Lie); 4] = [
    ("to 1901", Lie::To(-(1 << 31))),
    ("to 10000", Lie::To(253_402_300_800)),
    ("to the last second of 64 bits", Lie::To(i64::MAX - HOUR)),
    ("to the first second of 64 bits", Lie::To(i64::MIN)),
];

/// Jumps of the steady clock, which limits are measured by, forward.
pub const FORWARD: [(&str, Lie); 2] = [
    ("hours forward", Lie::By(6 * HOUR)),
    ("200 years forward", Lie::By(200 * YEAR)),
];

/// Lies in which the steady clock hardly moves.
pub const HARDLY: [(&str, Lie); 2] = [
    ("nowhere: it stands", Lie::Stands),
    ("a second, back and forward at each look", Lie::Swings(1)),
];

/// A jump of the steady clock back, which a kernel should not allow.
pub const BACK: (&str, Lie) = ("an hour back", Lie::By(-HOUR));
pub const WILD: (&str, Lie) = ("an hour, back and forward at each look", Lie::Swings(HOUR));

/// Tells lies in place of a clock.
pub struct Liar {
    clock: Clock,
    lie: Lie,
    lies: AtomicBool,
    told: AtomicU64,
    /// The clock's time at the first lie.
    first: Mutex<Option<i64>>,
}

impl Liar {
    pub fn new(clock: Clock, lie: Lie) -> Self {
        Self {
            clock,
            lie,
            lies: AtomicBool::new(false),
            told: AtomicU64::new(0),
            first: Mutex::new(None),
        }
    }

    pub fn begin(&self) {
        self.lies.store(true, Ordering::SeqCst);
    }

    pub fn end(&self) {
        self.lies.store(false, Ordering::SeqCst);
    }

    /// Returns whether the lie makes every wait too long at once.
    pub fn passes_every_limit(&self) -> bool {
        self.clock == Clock::Steady && matches!(self.lie, Lie::By(1..))
    }

    /// Returns how many lies were told.
    pub fn told(&self) -> u64 {
        self.told.load(Ordering::SeqCst)
    }

    /// Returns the time to report instead of `time`, both in seconds and nanoseconds; none for the
    /// truth.
    pub fn tell(&self, id: clockid_t, [seconds, nanos]: [u64; 2]) -> Option<[u64; 2]> {
        if Clock::of(id) != Some(self.clock) || !self.lies.load(Ordering::SeqCst) {
            return None;
        }
        let told = self.told.fetch_add(1, Ordering::SeqCst);
        let now = seconds as i64;
        let first = *self
            .first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(now);
        let (seconds, nanos) = match self.lie {
            Lie::By(change) => (now + change, nanos),
            Lie::To(moment) => (moment.saturating_add(now - first), nanos),
            Lie::Swings(change) if told.is_multiple_of(2) => (now + change, nanos),
            Lie::Swings(change) => (now - change, nanos),
            Lie::Stands => (first, 0),
        };
        // The kernel counts this one from its own start.
        let earliest = if self.clock == Clock::Steady {
            0
        } else {
            i64::MIN
        };
        Some([seconds.max(earliest) as u64, nanos])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(clock: Clock, lie: Lie, id: clockid_t, seconds: &[u64]) -> Vec<Option<i64>> {
        let liar = Liar::new(clock, lie);
        assert_eq!(liar.tell(id, [1, 2]), None, "before it began");
        liar.begin();
        seconds
            .iter()
            .map(|now| liar.tell(id, [*now, 2]).map(|[seconds, _]| seconds as i64))
            .collect()
    }

    #[test]
    fn each_lie_is_told_about_its_own_clock() {
        let wall = |lie| told(Clock::Wall, lie, libc::CLOCK_REALTIME, &[100, 103]);
        assert_eq!(wall(Lie::By(-200)), [Some(-100), Some(-97)]);
        assert_eq!(wall(Lie::To(7)), [Some(7), Some(10)]);
        assert_eq!(wall(Lie::Swings(10)), [Some(110), Some(93)]);
        assert_eq!(wall(Lie::Stands), [Some(100), Some(100)]);
        assert_eq!(
            told(Clock::Steady, Lie::By(-200), libc::CLOCK_MONOTONIC, &[100]),
            [Some(0)]
        );
        assert_eq!(
            told(Clock::Steady, Lie::Stands, libc::CLOCK_REALTIME, &[100]),
            [None]
        );
        assert_eq!(
            told(
                Clock::Wall,
                Lie::Stands,
                libc::CLOCK_PROCESS_CPUTIME_ID,
                &[100]
            ),
            [None]
        );
    }
}
