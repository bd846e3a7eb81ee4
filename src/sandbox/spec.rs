//! Describes commands as values.
//!
//! * In: the plans of the pipeline.
//! * Out: values that tests can compare.
//! * Never: a process.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

/// The network that a command sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// An empty network namespace, in which even the loopback is off.
    None,
    /// A way to public addresses, through the machine's network. The description of the sandbox
    /// names everything else that is reached. For fetch phases only.
    Fetch,
}

/// What a command may do with a mounted directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The command may read and execute files.
    ReadOnly,
    /// The command may write them too.
    ReadWrite,
}

/// A directory or file of the machine that the command sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The absolute path on the machine.
    pub source: PathBuf,
    /// The absolute path in the sandbox.
    pub target: PathBuf,
    /// What the command may do there.
    pub access: Access,
}

impl Mount {
    /// Mounts `source` of the machine at `target`.
    pub fn new(source: impl Into<PathBuf>, target: &str, access: Access) -> Self {
        Self {
            source: source.into(),
            target: target.into(),
            access,
        }
    }
}

/// A file that one command sees and nobody else: its content is in memory only, in that of this
/// process and in the sandbox's own file system, and it is in no argument and no variable.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// The absolute path in the sandbox.
    pub target: PathBuf,
    /// The content, which is cleared when its last holder is dropped.
    pub content: Arc<Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut secret = f.debug_struct("SecretFile");
        secret.field("target", &self.target).finish_non_exhaustive()
    }
}

/// One command in one sandbox, with everything that it will see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandSpec {
    /// The program, an absolute path in the sandbox, then the arguments.
    pub argv: Vec<String>,
    /// The complete environment: nothing is inherited.
    pub environment: BTreeMap<String, String>,
    /// The working directory, an absolute path in the sandbox.
    pub directory: PathBuf,
    /// The mounts over the system's read-only root, in this order.
    pub mounts: Vec<Mount>,
    /// The file that only this command sees, if there is one.
    pub secret: Option<SecretFile>,
    /// The network that the command sees.
    pub network: Network,
    /// The wall-clock time after which everything is killed.
    pub time_limit: Duration,
}

/// The stream of a command that a chunk of output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// The command's standard output.
    Stdout,
    /// The command's standard error.
    Stderr,
}

/// Receives a command's output while it runs.
pub trait OutputSink {
    /// Receives the next bytes of one stream, of any length and cut anywhere.
    ///
    /// # Errors
    /// An error ends the command: everything it started is killed, and the run reports the error.
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> std::io::Result<()>;
}

/// The work that is done while a service runs.
pub type Work<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// The result of running a service. Every process that it had started is dead by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// How the service ended, if it ended before the work was done.
    pub end: Option<Exit>,
    /// The end of the service's standard error.
    pub message: String,
    /// Whether the kernel killed the service, or a process of it, because memory was exhausted.
    pub out_of_memory: bool,
    /// Whether the service tried to reach an address that is not public, and was refused.
    pub was_refused_an_address: bool,
}

/// How a command ended. Every process that it had started is dead by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The command exited with this status.
    Status(i32),
    /// This signal ended the command.
    Signal(i32),
    /// The command reached its wall-clock limit.
    TimedOut {
        /// The wall-clock limit of the command.
        limit: Duration,
    },
    /// The kernel killed the command, or a process of it, because memory was exhausted.
    OutOfMemory,
    /// The command did not succeed, and had tried to reach an address that is not public. The
    /// address is in the log of the machine and nowhere else: it may come from a name server of the
    /// machine's own network.
    RefusedAddress,
}

impl Exit {
    /// Returns whether the command exited with status 0.
    pub fn success(self) -> bool {
        self == Self::Status(0)
    }

    /// Returns whether the command ended by itself, or by a signal, without success.
    pub(super) fn is_its_own_failure(self) -> bool {
        !self.success() && matches!(self, Self::Status(_) | Self::Signal(_))
    }
}

/// Returns environment variables, names before values, in the form that a [`CommandSpec`] has.
pub fn owned_variables<const N: usize>(pairs: [(&str, &str); N]) -> [(String, String); N] {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned()))
}
