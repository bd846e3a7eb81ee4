//! The only room that starts processes. Comes in: a [`CommandSpec`], a pure description. Goes out: the command's
//! output, chunk by chunk, and how it ended, once every process it started is dead. Never: a command outside
//! the sandbox, a shell, an inherited environment, or a weaker sandbox than the one it reports.

mod spec;

use std::future::Future;
use std::path::Path;
use std::pin::Pin;

pub use spec::{Access, CommandSpec, Exit, Mount, Network, OutputSink, Stream};

/// Why a command was not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The sandbox could not be set up, or its output not be taken.
    #[error("the sandbox failed")]
    Io(#[from] std::io::Error),
}

/// What runs commands.
pub trait Run {
    /// Runs one command to its end.
    fn run<'a>(
        &'a self,
        spec: &'a CommandSpec,
        sink: &'a mut dyn OutputSink,
    ) -> Pin<Box<dyn Future<Output = Result<Exit, RunError>> + 'a>>;

    /// Makes a folder that sandboxed commands may write to.
    ///
    /// # Errors
    /// What the system reports.
    fn make_writable_folder(&self, path: &Path) -> std::io::Result<()>;
}
