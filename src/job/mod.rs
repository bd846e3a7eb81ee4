//! Runs the one build of this machine.
//!
//! * In: a [`Request`].
//! * Out: events while it runs, then an [`Outcome`].
//! * Never: a second build, an event that is lost or repeated, or a log that is kept in memory.
//!
//! # From the request to the outcome
//!
//! 1. [`Slot::claim`] sets up a [`Job`] and puts it into the slot, under one lock: the slot never
//!    becomes free again, and a job that cannot be set up leaves it free. The claim returns
//!    [`Running`], the one handle that can end the job.
//! 2. [`Pipeline`] is the production [`Builder`]. It takes the handle and the request, and calls
//!    the stages in order: take in the source, detect, fetch, build, write the log file, state,
//!    attest, pack. Each stage takes the receipt of the one before; `record` has the receipts from
//!    the end of the build on.
//! 3. On an error the pipeline first removes what could be downloaded, then ends the job; after
//!    every end it removes all files that nobody downloads (`pack`).
//! 4. [`Running::finish`] sets the [`Outcome`], closes the log and wakes all waiting tasks. A
//!    handle that is dropped without that ends the job as failed, so no job runs for ever.
//!
//! # From an event to its readers
//!
//! Whatever happens becomes an [`Event`]: stages report through [`Job::emit`], the output of tools
//! comes through `build_log` and [`LineSplitter`]. Both make texts inert on the way in, so a record
//! in the log is always one line of visible text. [`EventLog`] appends the record to its file, in
//! batches, and wakes the readers. Each reader has its own [`Cursor`] and [`Chunk`] and reads at
//! its own pace; none has a queue. A reader that finds the log closed before it finds no more
//! records has seen everything: the outcome is set before the log is closed.

mod build_log;
mod event;
mod id;
mod identity;
mod line;
mod log;
mod log_file;
mod outcome;
mod pack;
mod phase;
mod pipeline;
mod record;
mod request;
mod resolve;
mod run;
mod slot;
mod statement_key;

pub use event::{Event, EventKind, Record};
pub use id::JobId;
pub use line::{Line, LineSplitter, MAX_LINE_BYTES, NOTE_MARK};
pub use log::{Chunk, Cursor, EventLog, LogError, MAX_LOG_BYTES};
pub use outcome::{BundleFile, Finished, Outcome};
pub use phase::Phase;
pub use pipeline::Pipeline;
pub use request::{Request, SourceRequest};
pub use resolve::{ResolveError, Resolving};
pub use run::{Builder, Ended, Job, Running, SetupError};
pub use slot::{ClaimError, Slot, SlotState};
