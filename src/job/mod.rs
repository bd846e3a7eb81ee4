//! The one build of this machine. Comes in: a [`Request`]. Goes out: events while it runs, then an [`Outcome`]. Never:
//! a second build, an event that is lost or repeated, or a log that lives in memory.

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
