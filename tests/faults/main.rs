//! What if it fails just here? Every place at which the service calls the system is found once, in
//! a run in which nothing fails; then each of them fails, one a run, in every way that the kernel
//! has for it, while a client runs a whole job with the real service. [`scene`] says how a run may
//! end. README.md in this directory has the results.
//!
//! `KETTLE_FAULTS_SEED` repeats a sample, `KETTLE_FAULTS_ONLY` runs the places whose description
//! contains it.
#![cfg(all(
    feature = "cli",
    feature = "host",
    target_os = "linux",
    target_arch = "x86_64"
))]
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod client;
mod clock;
#[allow(dead_code, unused_imports)] // Shared with other tests, which need more of it.
#[path = "../e2e/harness/mod.rs"]
mod harness;
mod jumps;
mod product;
mod remains;
mod scene;
mod site;
mod stack;
mod table;
mod tracer;
#[path = "../e2e/harness/unchecked.rs"]
mod unchecked;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use product::Product;
use scene::{Ending, Stage, Story};
use site::{Call, Fault, Key, Kind};
use table::{Line, Places, table, tolerated};
use tracer::Plan;

/// The time for a sample, without the runs in which nothing fails.
const SAMPLE_TIME: Duration = Duration::from_secs(40);
/// The least number of runs, even if they take longer on a busy machine: among fewer, one that
/// reaches nothing would be too many.
const LEAST_RUNS: usize = 20;
/// How many chances a place that is not reached gets in all.
const CHANCES: usize = 2;

/// Allows one run at a time: the remains of one must not be taken for another's.
static STAGE: Mutex<()> = Mutex::new(());

/// A run to be made.
struct Run {
    story: Story,
    key: Key,
    fault: Fault,
    place: String,
}

struct Rehearsed {
    stage: Stage,
    clean: BTreeMap<Story, Product>,
    runs: Vec<Run>,
}

/// Returns every place of every story, in the first story that reaches it.
fn rehearse() -> Rehearsed {
    let stage = Stage::build();
    let (mut clean, mut found, mut calls) =
        (BTreeMap::new(), BTreeMap::<Key, (Story, Call)>::new(), 0);
    for story in Story::ALL {
        let (product, trace) = stage.rehearse(*story);
        clean.insert(*story, product);
        calls += trace.calls;
        for (key, call) in trace.sites {
            found.entry(key).or_insert((*story, call));
        }
    }
    println!(
        "{calls} system calls in {} jobs, from {} places",
        Story::ALL.len(),
        found.len()
    );
    // The caller has to be known: the call alone would stand for many places.
    let ours = found
        .keys()
        .filter(|key| key.stack.iter().any(|address| stage.image.is_own(*address)))
        .count();
    assert!(
        ours * 10 >= found.len() * 8,
        "only {ours} of {} places lead to a function of ours",
        found.len()
    );
    let places = Places::of(found.keys());
    let only = env::var("KETTLE_FAULTS_ONLY").unwrap_or_default();
    let mut runs = Vec::new();
    for (key, (story, call)) in found {
        let place = places.describe(&key);
        let of_place = |fault| Run {
            story,
            key: key.clone(),
            fault,
            place: place.clone(),
        };
        runs.extend(key.faults(&call).into_iter().map(of_place).filter(|run| {
            format!("{:?}: {}, {}", run.story, run.place, run.fault).contains(&only)
        }));
    }
    Rehearsed { stage, clean, runs }
}

impl Rehearsed {
    fn perform(&self, run: &Run) -> Line {
        let mut ending = Ok((Ending::NotReached, String::new()));
        for _ in 0..CHANCES {
            let plan = Plan::Inject(run.key.clone(), run.fault);
            ending = catch_unwind(AssertUnwindSafe(|| {
                self.stage
                    .perform(run.story, plan, run.fault, &self.clean[&run.story])
            }));
            if !matches!(ending, Ok((Ending::NotReached, _))) {
                break;
            }
        }
        let (ending, remarks) = match ending {
            Ok((ending, remarks)) => (Ok(ending), remarks),
            Err(panic) => {
                let what = panic.downcast_ref::<String>().cloned();
                (
                    Err(what.unwrap_or_else(|| "it panicked".to_owned())),
                    "see below".to_owned(),
                )
            }
        };
        let word = ending
            .as_ref()
            .map_or_else(|_| "BROKEN".to_owned(), |ending| format!("{ending:?}"));
        println!(
            "{word}: {:?}: {}, {} [{remarks}]",
            run.story, run.place, run.fault
        );
        Line {
            kind: run.key.kind,
            place: run.place.clone(),
            fault: run.fault,
            ending,
        }
    }
}

/// Prints the results, and fails if one is not allowed.
fn conclude(lines: &[Line]) {
    println!("\n{}\ntolerated:\n{}", table(lines), tolerated(lines));
    let broken: Vec<_> = lines
        .iter()
        .filter_map(|line| {
            Some(format!(
                "{}, {}:\n{}",
                line.place,
                line.fault,
                line.ending.as_ref().err()?
            ))
        })
        .collect();
    let (count, all) = (broken.len(), lines.len());
    assert!(
        broken.is_empty(),
        "{count} of {all} runs ended as none may:\n\n{}",
        broken.join("\n\n")
    );
    // Which caller happens to need more memory differs from run to run.
    let missed = lines
        .iter()
        .filter(|line| line.ending == Ok(Ending::NotReached) && line.kind != Kind::Memory)
        .count();
    assert!(
        missed * 10 <= all,
        "{missed} of {all} places were not reached"
    );
}

#[test]
fn a_sample_of_faults_never_gives_a_wrong_result() {
    let _stage = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let seed = env::var("KETTLE_FAULTS_SEED").map_or_else(
        |_| {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_nanos() as u64
        },
        |seed| seed.parse().unwrap(),
    );
    println!("KETTLE_FAULTS_SEED={seed}");
    let mut rehearsed = rehearse();
    rehearsed.runs.sort_by_cached_key(|run| {
        let mut hasher = DefaultHasher::new();
        (seed, &run.place, run.fault.errno, &run.key.stack).hash(&mut hasher);
        hasher.finish()
    });
    let end = Instant::now() + SAMPLE_TIME;
    let mut lines = Vec::new();
    for run in &rehearsed.runs {
        if lines.len() >= LEAST_RUNS && Instant::now() >= end {
            break;
        }
        lines.push(rehearsed.perform(run));
    }
    conclude(&lines);
}

#[test]
#[ignore = "takes ten minutes and more: scripts/faults runs it"]
fn no_fault_gives_a_wrong_result() {
    let _stage = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let rehearsed = rehearse();
    let lines: Vec<_> = rehearsed
        .runs
        .iter()
        .map(|run| rehearsed.perform(run))
        .collect();
    conclude(&lines);
    let kinds: BTreeSet<_> = lines.iter().map(|line| line.kind).collect();
    assert!(
        env::var_os("KETTLE_FAULTS_ONLY").is_some() || kinds.len() == Kind::ALL.len(),
        "only {kinds:?}"
    );
}
