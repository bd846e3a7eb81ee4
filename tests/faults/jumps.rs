//! What if a clock jumps just here? Every lie at every moment is one run of a whole job. The names
//! of the tests say what is expected; [`Stage::jump`] says what holds in each of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};

use crate::STAGE;
use crate::clock::{
    Answers, BACK, Clock, DATES, FORWARD, HARDLY, Jump, Liar, Lie, Moment, NO_DATES, WILD,
};
use crate::scene::{Stage, Story};

/// The job has the same product as under a good clock.
const SUCCESS: &[Option<&str>] = &[None];
/// The build reached its time limit.
const TOO_LONG: &[Option<&str>] = &[Some("\"BuildTimeout\"")];
/// Every wait may be too long, also those for killed processes.
const ANYTHING: &[Option<&str>] = &[None, Some("\"BuildTimeout\""), Some("\"Internal\"")];

struct Run {
    clock: Clock,
    moment: Moment,
    lie: (&'static str, Lie),
    answers: Answers,
    /// The reasons for which the job may fail.
    expected: &'static [Option<&'static str>],
}

fn perform(runs: impl IntoIterator<Item = Run>) {
    let _stage = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let stage = Stage::build();
    let (clean, _) = stage.rehearse(Story::Json);
    let mut broken = Vec::new();
    for Run {
        clock,
        moment,
        lie: (name, lie),
        answers,
        expected,
    } in runs
    {
        let jump = Jump {
            moment,
            liar: Arc::new(Liar::new(clock, lie)),
            answers,
        };
        let ended = catch_unwind(AssertUnwindSafe(|| stage.jump(Story::Json, &jump, &clean)));
        println!(
            "{clock:?}, {moment:?}, {name}: {ended:?}, {} lies",
            jump.liar.told()
        );
        match ended {
            Ok(failure) if expected.contains(&failure.as_deref()) => {}
            Ok(failure) => broken.push(format!(
                "{moment:?}, {name}: {failure:?} instead of {expected:?}"
            )),
            Err(panic) => {
                let what = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                broken.push(format!("{moment:?}, {name}: {what}"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
}

fn all(clock: Clock, moment: Moment, lies: &[(&'static str, Lie)], answers: Answers) -> Vec<Run> {
    lies.iter()
        .map(|lie| Run {
            clock,
            moment,
            lie: *lie,
            answers,
            expected: SUCCESS,
        })
        .collect()
}

#[test]
fn a_wall_clock_that_jumps_changes_nothing_but_times() {
    perform(
        Moment::ALL
            .into_iter()
            .flat_map(|moment| all(Clock::Wall, moment, &DATES, Answers::Everybody)),
    );
}

#[test]
fn a_wall_clock_without_a_date_cuts_off_until_it_has_one() {
    perform(all(
        Clock::Wall,
        Moment::Build,
        &NO_DATES,
        Answers::NobodyForNow,
    ));
}

#[test]
fn a_steady_clock_that_jumps_ends_what_was_limited_by_it_and_nothing_else() {
    let before = all(Clock::Steady, Moment::Served, &FORWARD, Answers::Everybody);
    let within = all(Clock::Steady, Moment::Build, &FORWARD, Answers::Everybody);
    let within = within.into_iter().map(|run| Run {
        expected: TOO_LONG,
        ..run
    });
    perform(before.into_iter().chain(within));
}

#[test]
fn a_steady_clock_that_stands_or_stutters_changes_nothing() {
    perform(
        Moment::ALL
            .into_iter()
            .flat_map(|moment| all(Clock::Steady, moment, &HARDLY, Answers::Everybody)),
    );
}

#[test]
fn a_steady_clock_that_goes_back_fails_closed() {
    let run = |lie, answers| Run {
        clock: Clock::Steady,
        moment: Moment::Build,
        lie,
        answers,
        expected: ANYTHING,
    };
    perform([
        run(BACK, Answers::SomeForNow),
        run(WILD, Answers::SomeFromNowOn),
    ]);
}
