//! The only room that starts processes. Comes in: a [`CommandSpec`], a pure description. Goes out: the command's
//! output, chunk by chunk, and how it ended, once every process it started is dead. Never: a command outside
//! the sandbox, a shell, an inherited environment, or a weaker sandbox than the one it reports.

mod spec;

use std::future::Future;
use std::path::Path;
use std::pin::Pin;

pub use spec::{Access, CommandSpec, Exit, Mount, Network, OutputSink, Stream};

/// Why a command could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The sandbox, or the sink that takes the output, failed.
    #[error("the sandbox could not run the command")]
    Io(#[from] std::io::Error),
}

/// Runs commands in sandboxes.
pub trait Run {
    /// Runs one command. When this returns, every process that it started is dead.
    fn run<'a>(
        &'a self,
        spec: &'a CommandSpec,
        sink: &'a mut dyn OutputSink,
    ) -> Pin<Box<dyn Future<Output = Result<Exit, RunError>> + 'a>>;

    /// Makes a new folder that sandboxed commands may write.
    ///
    /// # Errors
    /// What the file system reports, also when the folder is there already.
    fn make_writable_folder(&self, path: &Path) -> std::io::Result<()>;
}
