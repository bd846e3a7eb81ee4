//! The only room that starts processes. Comes in: a [`CommandSpec`], a pure description. Goes out: the command's
//! output, chunk by chunk, and how it ended, once every process it started is dead. Never: a command outside
//! the sandbox, a shell, an inherited environment, or a weaker sandbox than the one it reports.
//!
//! | part | file |
//! |---|---|
//! | what to run | `spec` |
//! | what the command sees of the machine | `root`, `kernel_files` |
//! | which system calls it has | `seccomp`, `syscalls` |
//! | how much it may use | `limits`, `cgroup` |
//! | starting, watching, killing | `runner`, `process`, `child`, `output`, `started` |
//! | bubblewrap's program | `bubblewrap` |
//! | the users of commands, and of services that make sandboxes themselves | `users` |
//! | what a host lacks: feature `host` | `host` |
//! | what held, for provenance | `description` |
//! | the network of phases that fetch | `network` |
//! | folders that an unprivileged uid can reach, on a host: feature `host` | `private_mounts` |
//! | removing what commands wrote | `remove` |
//! | the calls that need `unsafe` | `kernel` |
//!
//! # Who waits for whom
//!
//! Tokio waits for bubblewrap's outer process, and for nothing else. That process waits for the process with number 1
//! of the sandbox's PID namespace, bubblewrap's reaper, which waits for the command and for every orphan. The reaper
//! is there, rather than the command itself as number 1, because the kernel drops signals that number 1 sends to
//! itself and because neither cargo nor git collects orphans. A [`Runner`] holds a pidfd of number 1: its death
//! completes only when the namespace is empty, and no [`Run::run`] returns before that. A number 1 that has ended, and that
//! bubblewrap has collected, before it could be held leaves an empty namespace too; its number may be anybody's by then.

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
#[cfg(feature = "host")]
pub use private_mounts::{Entered, enter_private_mounts};
pub use remove::remove_directory;
pub use runner::Runner;
pub use spec::{Access, CommandSpec, Exit, Mount, Network, OutputSink, Served, Stream, Work};

/// Runs commands. The pipeline takes it as a trait so that plans can be tested without processes.
pub trait Run {
    /// Runs one command, gives its output to `sink`, and returns once every process that it started is dead.
    ///
    /// Dropping the future kills them too. The thread that polls it first has to outlive it: the kernel kills what that
    /// thread started when the thread ends.
    ///
    /// # Errors
    /// The sandbox could not be set up or taken down as described, or the sink failed.
    fn run<'a>(
        &'a self,
        spec: &'a CommandSpec,
        sink: &'a mut dyn OutputSink,
    ) -> Pin<Box<dyn Future<Output = Result<Exit, RunError>> + 'a>>;

    /// Runs a service that makes sandboxes itself, under users of its own, and kills it when `work` is done, or when it ends
    /// before that. `work` starts once the service takes connections at `socket`, a path of this machine.
    ///
    /// Needs root: nobody else can give a namespace more than one user.
    ///
    /// # Errors
    /// As for [`Run::run`], or the service did not listen in time.
    fn serve<'a>(
        &'a self,
        spec: &'a CommandSpec,
        socket: &'a Path,
        work: Work<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<Served, RunError>> + 'a>>;

    /// Creates a folder that services may write, and nobody else but us; everybody may read it.
    ///
    /// # Errors
    /// The folder exists, or cannot be created or handed over.
    fn make_service_directory(&self, path: &Path) -> io::Result<()>;

    /// Creates a folder that sandboxed commands may write, and nobody else but us.
    ///
    /// # Errors
    /// The folder exists, or cannot be created or handed over.
    fn make_writable_directory(&self, path: &Path) -> io::Result<()>;
}

/// Why this machine cannot run sandboxed commands.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// bubblewrap is not installed.
    #[error("bubblewrap is missing: install the package bubblewrap (looked for {})", list(.looked_for))]
    NoBubblewrap {
        /// The paths that were tried.
        looked_for: &'static [&'static str],
    },
    /// bubblewrap is too old, or does not say its version.
    #[error("bubblewrap {found} is too old: {required} is needed")]
    OldBubblewrap {
        /// What is needed at least.
        required: String,
        /// What it says.
        found: String,
    },
    /// The kernel refuses user namespaces.
    #[error("the kernel refuses user namespaces to ordinary users: set {sysctl} (now {value})")]
    NoUserNamespaces {
        /// The sysctl with the value that it needs.
        sysctl: &'static str,
        /// The value that it has.
        value: String,
    },
    /// A trial command failed for a reason that we cannot name.
    #[error("a trial command in the sandbox failed: {message}")]
    Trial {
        /// What bubblewrap said.
        message: String,
    },
    /// A program or file of the machine could not be used.
    #[error("cannot use {}", path.display())]
    Path {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Other services have all the users that there are for commands.
    #[error("{limit} services run already, each with users of its own: end one of them first")]
    NoUsers {
        /// How many services can run at once.
        limit: u32,
    },
    /// The image has no control groups.
    #[error("the sandbox has no control groups")]
    NoControlGroups {
        /// Why.
        source: NoCgroups,
    },
    /// The image lacks a controller.
    #[error("the cgroup v2 controller {controller} is not available")]
    NoController {
        /// Its name.
        controller: &'static str,
    },
    /// The image cannot give phases that fetch a network of their own.
    #[error("phases that fetch cannot have a network of their own")]
    NoFetchNetwork {
        /// Why.
        source: TrialError,
    },
    /// A mount could not be made.
    #[cfg(feature = "host")]
    #[error("cannot mount {}", path.display())]
    Mount {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The mount namespace could not be left.
    #[cfg(feature = "host")]
    #[error("cannot enter a mount namespace of our own")]
    Unshare {
        /// Why.
        source: io::Error,
    },
    /// The system call filter does not compile: a fault of ours.
    #[error("the system call filter does not compile")]
    Filter {
        /// Why.
        source: seccompiler::BackendError,
    },
}

/// Why a command gave no [`Exit`].
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The plan names a program by something else than an absolute path: a fault of the plan.
    #[error("the program {program:?} is not an absolute path that can be run")]
    Program {
        /// As planned.
        program: String,
    },
    /// bubblewrap could not be started.
    #[error("cannot start bubblewrap")]
    Start {
        /// Why.
        source: io::Error,
    },
    /// A phase that fetches could not be given its network.
    #[error("the network of a phase could not be set up")]
    Network {
        /// Why.
        source: NetworkError,
    },
    /// bubblewrap gave up before the command ran.
    #[error("the sandbox could not be set up: {message}")]
    Setup {
        /// What bubblewrap said.
        message: String,
    },
    /// A service takes no connections.
    #[error("the service did not listen in time: {message}")]
    Listen {
        /// What connecting reports.
        source: io::Error,
        /// What it said last.
        message: String,
    },
    /// The command's limits could not be set.
    #[error("the limits of the sandbox could not be set")]
    Limits {
        /// Why.
        source: io::Error,
    },
    /// The command's output could not be read.
    #[error("the output of the command could not be read")]
    Output {
        /// Why.
        source: io::Error,
    },
    /// The sink refused output.
    #[error("the output of the command could not be kept")]
    Sink {
        /// What the sink said.
        source: io::Error,
    },
    /// How the command ended could not be learned.
    #[error("cannot learn how the command ended")]
    Wait {
        /// Why.
        source: io::Error,
    },
    /// Processes of the sandbox outlived being killed: nothing that they can write may be read.
    #[error("the sandbox was not empty {limit:?} after it was killed")]
    Survivors {
        /// How long we waited.
        limit: Duration,
    },
}

fn list(paths: &[&str]) -> String {
    paths.join(", ")
}
