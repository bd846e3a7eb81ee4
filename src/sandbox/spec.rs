//! What to run, as values: no process is started here, so that plans can be compared in tests.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

/// Whether a command sees a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// An empty network namespace: not even a loopback that is up.
    None,
    /// A way to public addresses, through the machine's network; to what else, the description of the sandbox says. Fetch
    /// phases only.
    Fetch,
}

/// What a command may do with a mounted folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read and execute.
    ReadOnly,
    /// Write too.
    ReadWrite,
}

/// A folder or file of the machine that the command sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Absolute path on the machine.
    pub source: PathBuf,
    /// Absolute path in the sandbox.
    pub target: PathBuf,
    /// What the command may do there.
    pub access: Access,
}

impl Mount {
    /// `source` of the machine at `target`.
    pub fn new(source: impl Into<PathBuf>, target: &str, access: Access) -> Self {
        Self {
            source: source.into(),
            target: target.into(),
            access,
        }
    }
}

/// One command in one sandbox: the whole of what it will see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandSpec {
    /// Absolute path in the sandbox, then the arguments.
    pub argv: Vec<String>,
    /// The complete environment: nothing is inherited.
    pub environment: BTreeMap<String, String>,
    /// Working directory, an absolute path in the sandbox.
    pub directory: PathBuf,
    /// Mounted over the system's read-only root, in this order.
    pub mounts: Vec<Mount>,
    /// Whether it sees a network.
    pub network: Network,
    /// Wall-clock time after which everything is killed.
    pub time_limit: Duration,
}

/// Which of a command's outputs a chunk came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Takes a command's output while it runs.
pub trait OutputSink {
    /// Takes the next bytes of one stream: any length, cut anywhere.
    ///
    /// # Errors
    /// An error ends the command: everything it started is killed, and the run reports the error.
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> std::io::Result<()>;
}

/// What is done while a service runs.
pub type Work<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// How it went with a service. Everything that it had started is dead by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// How it ended before the work was done, if it did.
    pub end: Option<Exit>,
    /// The end of what it printed to standard error.
    pub message: String,
    /// Whether the kernel ended it, or a process of it, for want of memory.
    pub out_of_memory: bool,
    /// Whether it tried in vain to reach an address that is not public.
    pub was_refused_an_address: bool,
}

/// How a command ended. Everything that it had started is dead by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this status.
    Status(i32),
    /// It was ended by this signal.
    Signal(i32),
    /// It ran into its wall-clock limit.
    TimedOut {
        /// The limit.
        limit: Duration,
    },
    /// The kernel ended it, or a process of it, for want of memory.
    OutOfMemory,
    /// It did not succeed, and had tried to reach an address that is not public. Which one is in the log
    /// of the machine and nowhere else: a name server of the machine's own network may have said it.
    RefusedAddress,
}

impl Exit {
    /// Whether it exited with status 0.
    pub fn success(self) -> bool {
        self == Self::Status(0)
    }

    /// Whether it ended by itself, or by a signal, without success.
    pub(super) fn is_its_own_failure(self) -> bool {
        !self.success() && matches!(self, Self::Status(_) | Self::Signal(_))
    }
}
