//! The one build of this machine. Comes in: a [`Request`]. Goes out: events while it runs, then an [`Outcome`]. Never:
//! a second build, an event that is lost or repeated, or a log that lives in memory.

mod error_type;
mod request;

pub use error_type::ErrorType;
pub use request::{Request, SourceRequest};
