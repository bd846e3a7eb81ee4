//! Runs commands in sandboxes. No other room starts processes.
//!
//! * In: a [`CommandSpec`], a pure description of one command.
//! * Out: the command's output, chunk by chunk, and how it ended, once every process that it
//!   started is dead.
//! * Never: a command outside the sandbox, a shell, an inherited environment, or a weaker sandbox
//!   than the one that is reported.
//!
//! | part | file |
//! |---|---|
//! | what to run | `spec` |
//! | the directories and files that a command sees | `root`, `paths`, `kernel_files` |
//! | the system calls that it has | `seccomp`, `syscalls` |
//! | the limits of what it uses | `limits`, `cgroup` |
//! | starting, watching, killing | `runner`, `process`, `child`, `output`, `started` |
//! | bubblewrap's program, and why a machine refuses to run it | `bubblewrap` |
//! | the users of commands, and of services that make sandboxes themselves | `users` |
//! | a host, which may lack parts of the sandbox: feature `host` | `host` |
//! | the record of the sandbox, for provenance | `description` |
//! | the network of phases that fetch | `network` |
//! | directories that an unprivileged uid can reach, on a host: feature `host` | `private_mounts` |
//! | a source that a command can write to, and that stays as it is | `overlay` |
//! | removing the files of commands | `remove` |
//! | the calls that need `unsafe` | `kernel` |
//!
//! # How a command runs
//!
//! 1. [`Runner`] chooses the user and, for a phase that fetches, sets up a network.
//! 2. `process` opens the descriptors of bubblewrap: the filter's two programs, `/etc/passwd` and
//!    `/etc/group`, a pipe for bubblewrap's status, and a pipe on which its child waits.
//! 3. `root` writes bubblewrap's arguments, and `cgroup` creates a control group with the limits.
//! 4. bubblewrap starts in that group, builds the namespaces and announces its child, which `child`
//!    holds by a pidfd. Nothing of the command has run so far.
//! 5. The child is released and becomes the command. `output` passes its output to the sink until
//!    bubblewrap ends, the time limit is over or the sink refuses.
//! 6. Everything in the sandbox is killed, however the command ended. When all of it is dead, the
//!    rest of the output is read from the pipes, and the exit status from bubblewrap's.
//!
//! # Who waits for whom
//!
//! Tokio waits for bubblewrap's outer process, and for nothing else. That process waits for number
//! 1 of the sandbox's PID namespace, bubblewrap's reaper, which waits for the command and for every
//! orphan. The command is not number 1 itself, because the kernel drops signals that number 1 sends
//! to itself, and because neither cargo nor git collects orphans. A [`Runner`] holds a pidfd of
//! number 1: its death completes only when the namespace is empty, and no [`Run::run`] returns
//! before that. If number 1 has ended, and bubblewrap has collected it, before it could be held,
//! the namespace is empty too; its number may belong to any process by then.

mod bubblewrap;
mod cgroup;
mod child;
mod description;
#[cfg(feature = "host")]
mod host;
mod kernel;
mod kernel_files;
mod limits;
mod network;
mod output;
mod overlay;
pub mod paths;
#[cfg(feature = "host")]
mod private_mounts;
mod process;
mod remove;
mod root;
mod runner;
mod seccomp;
mod spec;
mod started;
mod syscalls;
mod users;

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

pub use cgroup::NoCgroups;
#[cfg(feature = "host")]
pub use description::Degradation;
pub use description::{Degradations, Description, FetchNetwork, RunnerVersion};
pub use limits::Limits;
#[cfg(feature = "host")]
pub use network::ParseCidrError;
pub use network::{Cidr, NetworkError, NetworkTrial, ResolverError, TrialError};
pub use overlay::{Changes, Overlay, Overlays};
#[cfg(feature = "host")]
pub use private_mounts::{Entered, enter_private_mounts};
pub use remove::remove_directory;
pub use runner::Runner;
pub use spec::owned_variables;
pub use spec::{
    Access, CommandSpec, Exit, Mount, Network, OutputSink, SecretFile, Served, Stream, Work,
};

/// Runs commands. The pipeline takes it as a trait so that plans can be tested without processes.
pub trait Run {
    /// Runs one command, passes its output to `sink`, and returns once every process that it
    /// started is dead.
    ///
    /// Dropping the future kills them too. The thread that polls it first has to outlive it: the
    /// kernel kills the processes that a thread started when the thread ends.
    ///
    /// # Errors
    /// The sandbox could not be set up or taken down as described, or the sink failed.
    fn run<'a>(
        &'a self,
        spec: &'a CommandSpec,
        sink: &'a mut dyn OutputSink,
    ) -> Pin<Box<dyn Future<Output = Result<Exit, RunError>> + 'a>>;

    /// Runs a service that makes sandboxes itself, under its own users. Everything that it started
    /// is killed when `work` is done, or when the service ends before that. `work` starts once the
    /// service takes connections at `socket`, a path of this machine.
    ///
    /// Needs root: no other user can give a namespace more than one user.
    ///
    /// # Errors
    /// As for [`Run::run`], or the service did not listen in time.
    fn serve<'a>(
        &'a self,
        spec: &'a CommandSpec,
        socket: &'a Path,
        work: Work<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<Served, RunError>> + 'a>>;

    /// Creates a directory that only services and this process may write, and every user may read.
    ///
    /// # Errors
    /// The directory exists, or it cannot be created or its owner cannot be changed.
    fn make_service_directory(&self, path: &Path) -> io::Result<()>;

    /// Creates a directory that only sandboxed commands and this process may write.
    ///
    /// # Errors
    /// The directory exists, or it cannot be created or its owner cannot be changed.
    fn make_writable_directory(&self, path: &Path) -> io::Result<()>;

    /// Returns what mounts directories for commands to write to, if this process may mount any.
    fn overlays(&self) -> Option<Overlays> {
        None
    }
}

/// Why this machine cannot run sandboxed commands.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum SetupError {
    #[error("bubblewrap is missing: install the package bubblewrap (looked for {})", list(.looked_for))]
    NoBubblewrap { looked_for: &'static [&'static str] },
    /// bubblewrap is too old, or it prints no version that can be read.
    #[error("bubblewrap {found} is too old: {required} is needed")]
    OldBubblewrap { required: String, found: String },
    /// `sysctl` names the setting with the value that it needs, `value` is the present one.
    #[error("the kernel refuses user namespaces to ordinary users: set {sysctl} (now {value})")]
    NoUserNamespaces { sysctl: &'static str, value: String },
    /// The reason is unknown; the message is bubblewrap's own.
    #[error("a trial command in the sandbox failed: {message}")]
    Trial { message: String },
    #[error("cannot use {}", path.display())]
    Path { path: PathBuf, source: io::Error },
    /// Other services have all the users that are reserved for commands.
    #[error("{limit} services run already, each with its own users: end one of them first")]
    NoUsers { limit: u32 },
    #[error("the sandbox has no control groups")]
    NoControlGroups { source: NoCgroups },
    #[error("the cgroup v2 controller {controller} is not available")]
    NoController { controller: &'static str },
    #[error("phases that fetch cannot have their own network")]
    NoFetchNetwork { source: TrialError },
    #[cfg(feature = "host")]
    #[error("cannot mount {}", path.display())]
    Mount { path: PathBuf, source: io::Error },
    #[cfg(feature = "host")]
    #[error("cannot create a private mount namespace")]
    Unshare { source: io::Error },
    /// This is an internal error.
    #[error("the system call filter does not compile")]
    Filter { source: seccompiler::BackendError },
}

/// Why a command returned no [`Exit`].
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum RunError {
    /// This is an error of the plan.
    #[error("the program {program:?} is not an absolute path that can be run")]
    Program { program: String },
    #[error("cannot start bubblewrap")]
    Start { source: io::Error },
    #[error("the network of a phase could not be set up")]
    Network { source: NetworkError },
    /// bubblewrap ended before the command ran; the message is bubblewrap's own.
    #[error("the sandbox could not be set up: {message}")]
    Setup { message: String },
    /// `source` is the last connection's error, `message` the end of the service's standard error.
    #[error("the service did not listen in time: {message}")]
    Listen { source: io::Error, message: String },
    #[error("the limits of the sandbox could not be set")]
    Limits { source: io::Error },
    #[error("the output of the command could not be read")]
    Output { source: io::Error },
    /// The sink refused output.
    #[error("the output of the command could not be kept")]
    Sink { source: io::Error },
    #[error("cannot learn how the command ended")]
    Wait { source: io::Error },
    /// Processes of the sandbox are still alive: files that they can write must not be read.
    #[error("the sandbox was not empty {limit:?} after it was killed")]
    Survivors { limit: Duration },
}

fn list(paths: &[&str]) -> String {
    paths.join(", ")
}
