//! Runs commands in bubblewrap. Comes in: plans. Goes out: how they ended, when everything is dead. Never: a result while
//! a process of the sandbox is alive.

use std::collections::BTreeMap;
use std::fs;
use std::future::{Future, poll_fn};
use std::io;
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::process::{Command, Stdio};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

use super::cgroup::{CONTROLLERS, Hierarchy};
#[cfg(feature = "host")]
use super::description::Degradation;
use super::description::{Degradations, Description, FetchNetwork, RunnerVersion};
use super::kernel_files::Covered;
use super::limits::Limits;
use super::network::{Cidr, NetworkTrial, PhaseNetwork};
use super::output::{End, Interruption, Watch};
use super::process::{Handover, Held, StartFailure, Status, bubblewrap};
use super::root::{self, Descriptors, Layout};
use super::seccomp::{Filters, Subject};
use super::spec::{CommandSpec, Exit, Network, OutputSink, Served, Stream, Work};
use super::users::Users;
use super::{NetworkError, Run, RunError, SetupError, kernel};
use crate::causes::Chain;
use crate::presence::is_file;

/// Where bubblewrap is, absolute: no search path is believed.
const BUBBLEWRAP: &[&str] = &["/usr/bin/bwrap", "/bin/bwrap", "/usr/local/bin/bwrap"];
/// 0.8 brought `--disable-userns`.
const OLDEST_BUBBLEWRAP: (u32, u32) = (0, 8);
/// For a namespace to empty after it was killed. Only freeing much memory takes time.
const DEATH_LIMIT: Duration = Duration::from_secs(30);
/// For a service to listen: its programs may have to be read from a disk first.
const LISTEN_LIMIT: Duration = Duration::from_secs(30);
const LISTEN_PAUSE: Duration = Duration::from_millis(5);
/// What is kept of standard error to say why bubblewrap gave up.
const MAX_MESSAGE_BYTES: usize = 1024;
/// How bubblewrap, like a shell, passes on that a signal ended the command: 128 and its number.
const SIGNAL_BASE: i32 = 128;
/// The highest signal of Linux.
const LAST_SIGNAL: i32 = 64;

const NAMESPACES: &[&str] = &["user", "pid", "mount", "ipc", "uts", "cgroup", "network"];
/// A kernel that has one of these with this value refuses user namespaces.
const USER_NAMESPACE_SYSCTLS: [(&str, &str, &str); 3] = [
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "user.max_user_namespaces above 0",
    ),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "kernel.unprivileged_userns_clone=1",
    ),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "kernel.apparmor_restrict_unprivileged_userns=0",
    ),
];

/// What the machine gives to the sandbox.
pub(super) struct Means {
    /// Where groups of processes are made.
    pub hierarchy: Option<Hierarchy>,
    /// The users of commands and services.
    pub users: Option<Users>,
    /// What is missing.
    pub degradations: Degradations,
}

/// Runs commands on this machine, as far as it was found able to when this was made.
pub struct Runner {
    program: PathBuf,
    layout: Layout,
    limits: Limits,
    filters: Filters,
    hierarchy: Option<Hierarchy>,
    /// None if we are not root: then commands run as we do.
    users: Option<Users>,
    reach: Reach,
    description: Description,
}

/// What phases that fetch reach on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reach {
    /// Whatever the machine reaches, by its own network.
    Machine,
    /// Public addresses, and these ranges beside them.
    Public {
        /// By an operator's leave.
        allowed: Vec<Cidr>,
    },
}

impl Reach {
    /// As it is recorded.
    fn name(&self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Public { .. } => "public-unicast",
        }
    }
}

impl Runner {
    /// Takes all that the sandbox can have, and fails where a part is missing: in the image nothing is weaker. The caller has
    /// begun the trial of the network while it had other things to do; everything else is found out before it is waited for.
    ///
    /// # Errors
    /// The machine lacks something, or a trial command or the trial of the network fails.
    pub fn of_image(trial: NetworkTrial) -> Result<Self, SetupError> {
        let hierarchy =
            Hierarchy::find().map_err(|source| SetupError::NoControlGroups { source })?;
        if let Some(controller) = CONTROLLERS.into_iter().find(|name| !hierarchy.has(name)) {
            return Err(SetupError::NoController { controller });
        }
        let users = Users::claim()?;
        let means = Means {
            hierarchy: Some(hierarchy),
            users: Some(users),
            degradations: Degradations::default(),
        };
        let mut runner = Self::with(means)?;
        let (allowed, result) = trial.result();
        result.map_err(|source| SetupError::NoFetchNetwork { source })?;
        runner.reach_public(allowed);
        Ok(runner)
    }

    /// Tries the sandbox with what the machine gives. Phases that fetch have the machine's network at first.
    pub(super) fn with(means: Means) -> Result<Self, SetupError> {
        let Means {
            hierarchy,
            users,
            degradations,
        } = means;
        let program = find_bubblewrap()?;
        let version = bubblewrap_version(&program)?;
        let filters = Filters::compile().map_err(|source| SetupError::Filter { source })?;
        let of_builds = filters.of(Subject::Command(Network::None));
        let mut limits = Limits::of_this_machine();
        limits.memory_bytes = limits
            .memory_bytes
            .filter(|_| hierarchy.as_ref().is_some_and(|found| found.has("memory")));
        let description = Description {
            runner: RunnerVersion {
                name: "bubblewrap",
                version,
            },
            namespaces: NAMESPACES,
            uid: users
                .as_ref()
                .map_or_else(|| rustix::process::geteuid().as_raw(), Users::of_commands),
            seccomp: hex::encode(Sha256::digest(of_builds.0.concat())),
            limits: limits.clone(),
            processors: thread::available_parallelism().ok().map(NonZero::get),
            controllers: hierarchy
                .as_ref()
                .map(|found| found.controllers.clone())
                .unwrap_or_default(),
            fetch_network: FetchNetwork {
                reaches: Reach::Machine.name(),
                allowed: Vec::new(),
            },
            degradations,
        };
        let layout = Layout::of_this_machine()?;
        let runner = Self {
            program,
            layout,
            limits,
            filters,
            hierarchy,
            users,
            reach: Reach::Machine,
            description,
        };
        runner.trial()?;
        Ok(runner)
    }

    /// Gives phases that fetch a network of their own, by which they reach public addresses, and `allowed` beside them.
    pub(super) fn reach_public(&mut self, allowed: Vec<Cidr>) {
        self.reach = Reach::Public {
            allowed: allowed.clone(),
        };
        self.description.fetch_network = FetchNetwork {
            reaches: self.reach.name(),
            allowed,
        };
    }

    /// Leaves phases that fetch the machine's network, for the reason given. The ranges are recorded as they were asked for.
    #[cfg(feature = "host")]
    pub(super) fn share_network(&mut self, allowed: Vec<Cidr>, degradation: Degradation) {
        self.description.degradations.push(degradation);
        self.description.fetch_network = FetchNetwork {
            reaches: self.reach.name(),
            allowed,
        };
    }

    /// What holds for every command, and what does not.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Whom commands run as, if not as us.
    fn build_user(&self) -> Option<u32> {
        self.users.as_ref().map(Users::of_commands)
    }

    /// The users of services.
    fn service_users(&self) -> io::Result<&Users> {
        self.users
            .as_ref()
            .ok_or_else(|| io::ErrorKind::PermissionDenied.into())
    }

    /// Everything short of a command of somebody's: the same arguments, with a program that does nothing.
    ///
    /// On a thread of its own, because the caller's may be driving a runtime already.
    fn trial(&self) -> Result<(), SetupError> {
        let trial = thread::scope(|scope| scope.spawn(|| self.run_nothing()).join());
        let message = match trial {
            Ok(Ok(exit)) if exit.success() => return Ok(()),
            Ok(Ok(exit)) => format!("it ended with {exit:?}"),
            Ok(Err(RunError::Setup { message })) => message,
            Ok(Err(error)) => Chain(&error).to_string(),
            Err(_) => "it panicked".into(),
        };
        Err(refused_user_namespaces().unwrap_or(SetupError::Trial { message }))
    }

    fn run_nothing(&self) -> Result<Exit, RunError> {
        let spec = CommandSpec {
            argv: vec!["/usr/bin/true".into()],
            environment: BTreeMap::new(),
            directory: "/".into(),
            mounts: Vec::new(),
            network: Network::None,
            time_limit: DEATH_LIMIT,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(|source| RunError::Start { source })?;
        runtime.block_on(self.run(&spec, &mut Discard))
    }

    /// Up to the moment at which the command runs. Does not yield.
    fn start(&self, spec: &CommandSpec, subject: Subject) -> Result<Started, StartFailure> {
        let (user, users) = self.identity(subject).map_err(StartFailure::Io)?;
        let network = self.network(spec).map_err(StartFailure::Network)?;
        let resolv_conf = network.as_ref().map(PhaseNetwork::resolv_conf);
        let handover = Handover::open(self.filters.of(subject), users, resolv_conf.as_deref())
            .map_err(StartFailure::Io)?;
        let command = self
            .command(spec, user, &handover.numbers)
            .map_err(StartFailure::Io)?;
        let hierarchy = self.hierarchy.as_ref();
        let group = hierarchy.map(|found| found.group(&self.limits));
        let group = group.transpose().map_err(StartFailure::Limits)?;
        let group_counts_tasks = hierarchy.is_some_and(|found| found.has("pids"));
        let limits = self.limits.of_process(!group_counts_tasks);
        let start = || handover.start(command, limits, group);
        let (child, waiting) = match &network {
            None => start(),
            Some(network) => network.during(start).map_err(StartFailure::Io)?,
        }?;
        waiting.offer_to_be_ended().map_err(StartFailure::Limits)?;
        let (held, status) = waiting.release().map_err(StartFailure::Io)?;
        Ok(Started {
            watch: Watch::new(child, spec.time_limit),
            held,
            status,
            network,
        })
    }

    /// Whom bubblewrap is started as, if not as us, and the user namespace that a service gets.
    fn identity(&self, subject: Subject) -> io::Result<(Option<u32>, Option<OwnedFd>)> {
        match subject {
            Subject::Command(_) => Ok((self.build_user(), None)),
            Subject::Service => {
                let users = self.service_users()?;
                Ok((Some(users.of_service()), Some(users.make_namespace()?)))
            }
        }
    }

    /// bubblewrap with its arguments, for what runs in it.
    fn command(
        &self,
        spec: &CommandSpec,
        user: Option<u32>,
        descriptors: &Descriptors,
    ) -> io::Result<Command> {
        let covered = Covered::of_this_machine()?;
        let arguments = root::arguments(spec, &self.layout, &covered, &self.limits, descriptors);
        Ok(bubblewrap(&self.program, arguments, user))
    }

    fn network(&self, spec: &CommandSpec) -> Result<Option<PhaseNetwork>, NetworkError> {
        match (spec.network, &self.reach) {
            (Network::Fetch, Reach::Public { allowed }) => PhaseNetwork::set_up(allowed).map(Some),
            (Network::Fetch, Reach::Machine) | (Network::None, _) => Ok(None),
        }
    }

    async fn started(&self, spec: &CommandSpec, subject: Subject) -> Result<Started, RunError> {
        check_program(spec)?;
        match self.start(spec, subject) {
            Ok(started) => Ok(started),
            Err(StartFailure::Silent(child)) => Err(explain(*child).await),
            Err(StartFailure::Limits(source)) => Err(RunError::Limits { source }),
            Err(StartFailure::Network(source)) => Err(RunError::Network { source }),
            Err(StartFailure::Io(source)) => Err(RunError::Start { source }),
        }
    }

    async fn run_command(
        &self,
        spec: &CommandSpec,
        sink: &mut dyn OutputSink,
    ) -> Result<Exit, RunError> {
        let mut started = self.started(spec, Subject::Command(spec.network)).await?;
        let mut tail = Tail {
            sink,
            message: Vec::new(),
        };
        let end = started.watch.until_end(&mut tail).await;
        started.end().await?;
        let end = end?;
        started.watch.drain(&mut tail).await?;
        match end {
            End::TimedOut => Ok(Exit::TimedOut {
                limit: spec.time_limit,
            }),
            End::Exited => {
                let exit = started.exit(&tail.message)?;
                let is_refusal = exit.is_its_own_failure() && started.was_refused_an_address();
                Ok(if is_refusal {
                    Exit::RefusedAddress
                } else {
                    exit
                })
            }
        }
    }

    async fn serve_while(
        &self,
        spec: &CommandSpec,
        socket: &Path,
        work: Work<'_>,
    ) -> Result<Served, RunError> {
        let mut started = self.started(spec, Subject::Service).await?;
        let mut tail = Tail {
            sink: &mut Discard,
            message: Vec::new(),
        };
        let worked = work_while(&mut started.watch, &mut tail, socket, work).await;
        started.end().await?;
        let worked = match worked {
            Ok(worked) => Ok(worked),
            Err(end) => Err(end?),
        };
        // What it said last may still be in the pipes, whichever way it ended.
        started.watch.drain(&mut tail).await?;
        let end = match worked {
            Ok(Ok(())) => None,
            Ok(Err(source)) => {
                return Err(RunError::Listen {
                    source,
                    message: tail.text(),
                });
            }
            Err(End::TimedOut) => Some(Exit::TimedOut {
                limit: spec.time_limit,
            }),
            Err(End::Exited) => Some(started.exit(&tail.message)?),
        };
        let out_of_memory = started.held.ran_out_of_memory();
        let was_refused_an_address = started.was_refused_an_address();
        Ok(Served {
            end,
            message: tail.text(),
            out_of_memory,
            was_refused_an_address,
        })
    }
}

/// Waits until a service takes connections, and does the work. Returns how that went, or how the service ended where that
/// came first.
async fn work_while(
    watch: &mut Watch,
    tail: &mut Tail<'_>,
    socket: &Path,
    work: Work<'_>,
) -> Result<io::Result<()>, Result<End, Interruption>> {
    let mut ended = pin!(watch.until_end(tail));
    let mut worked = pin!(async {
        listening(socket).await?;
        work.await;
        Ok(())
    });
    poll_fn(|context| match ended.as_mut().poll(context) {
        Poll::Ready(end) => Poll::Ready(Err(end)),
        Poll::Pending => worked.as_mut().poll(context).map(Ok),
    })
    .await
}

/// Waits until a service takes connections.
async fn listening(socket: &Path) -> io::Result<()> {
    let deadline = Instant::now() + LISTEN_LIMIT;
    loop {
        match UnixStream::connect(socket).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => sleep(LISTEN_PAUSE).await,
        }
    }
}

impl Run for Runner {
    fn run<'a>(
        &'a self,
        spec: &'a CommandSpec,
        sink: &'a mut dyn OutputSink,
    ) -> Pin<Box<dyn Future<Output = Result<Exit, RunError>> + 'a>> {
        Box::pin(self.run_command(spec, sink))
    }

    fn serve<'a>(
        &'a self,
        spec: &'a CommandSpec,
        socket: &'a Path,
        work: Work<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<Served, RunError>> + 'a>> {
        Box::pin(self.serve_while(spec, socket, work))
    }

    fn make_writable_folder(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o700).create(path)?;
        self.build_user()
            .map_or(Ok(()), |user| chown(path, Some(user), Some(user)))
    }

    fn make_service_folder(&self, path: &Path) -> io::Result<()> {
        let owner = self.service_users()?.of_service();
        fs::DirBuilder::new().mode(0o755).create(path)?;
        chown(path, Some(owner), Some(owner))
    }
}

/// A command that runs. The order of the fields is the order of dropping: bubblewrap's outer process, then the rest.
struct Started {
    watch: Watch,
    held: Held,
    status: Status,
    network: Option<PhaseNetwork>,
}

impl Started {
    /// Kills everything, and waits until that has happened.
    async fn end(&mut self) -> Result<(), RunError> {
        let wait = |source| RunError::Wait { source };
        self.held.kill().map_err(wait)?;
        let survivors = |_| RunError::Survivors { limit: DEATH_LIMIT };
        if let Some(death) = self.held.death().map_err(wait)? {
            timeout(DEATH_LIMIT, kernel::readable(death))
                .await
                .map_err(survivors)?
                .map_err(wait)?;
        }
        timeout(DEATH_LIMIT, self.watch.reap())
            .await
            .map_err(survivors)?
            .map_err(wait)
    }

    /// Whether it tried to reach addresses that are not public. Which, is for the log of the machine. That
    /// this cannot be learned changes no result.
    fn was_refused_an_address(&self) -> bool {
        let refused = self
            .network
            .as_ref()
            .map(PhaseNetwork::refused_addresses)
            .transpose();
        let refused = refused.unwrap_or_else(|error| {
            log::warn!("which addresses were refused cannot be read: {error}");
            None
        });
        let refused = refused.unwrap_or_default();
        for address in &refused {
            log::warn!("a phase was refused {address}, which is not a public address");
        }
        !refused.is_empty()
    }

    /// How the command ended, when it ended by itself.
    fn exit(&mut self, message: &[u8]) -> Result<Exit, RunError> {
        let code = self
            .status
            .exit_code()
            .map_err(|source| RunError::Wait { source })?;
        match code {
            Some(0) => Ok(Exit::Status(0)),
            _ if self.held.ran_out_of_memory() => Ok(Exit::OutOfMemory),
            Some(code) => Ok(exit_of(code)),
            None => Err(RunError::Setup {
                message: text(message),
            }),
        }
    }
}

/// A command that exits by itself with a status above 128 looks like one that a signal ended: bubblewrap tells no more.
fn exit_of(code: i32) -> Exit {
    match code - SIGNAL_BASE {
        signal @ 1..=LAST_SIGNAL => Exit::Signal(signal),
        _ => Exit::Status(code),
    }
}

/// `env`, which comes before the program, would take a name with an equals sign for a variable.
fn check_program(spec: &CommandSpec) -> Result<(), RunError> {
    match spec.argv.first() {
        Some(program) if program.starts_with('/') && !program.contains('=') => Ok(()),
        program => Err(RunError::Program {
            program: program.cloned().unwrap_or_default(),
        }),
    }
}

/// The error of a bubblewrap that ended before it made a child.
async fn explain(child: tokio::process::Child) -> RunError {
    match child.wait_with_output().await {
        Ok(output) => RunError::Setup {
            message: text(&output.stderr),
        },
        Err(source) => RunError::Wait { source },
    }
}

/// Passes output on, and keeps the end of standard error for [`RunError::Setup`].
struct Tail<'a> {
    sink: &'a mut dyn OutputSink,
    message: Vec<u8>,
}

impl Tail<'_> {
    fn text(&self) -> String {
        text(&self.message)
    }
}

fn text(message: &[u8]) -> String {
    String::from_utf8_lossy(message).trim_end().to_owned()
}

impl OutputSink for Tail<'_> {
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        if stream == Stream::Stderr {
            self.message
                .extend_from_slice(&bytes[bytes.len().saturating_sub(MAX_MESSAGE_BYTES)..]);
            self.message
                .drain(..self.message.len().saturating_sub(MAX_MESSAGE_BYTES));
        }
        self.sink.chunk(stream, bytes)
    }
}

/// Takes what nobody reads.
struct Discard;

impl OutputSink for Discard {
    fn chunk(&mut self, _: Stream, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

impl From<Interruption> for RunError {
    fn from(interruption: Interruption) -> Self {
        match interruption {
            Interruption::Output(source) => Self::Output { source },
            Interruption::Sink(source) => Self::Sink { source },
            Interruption::Wait(source) => Self::Wait { source },
        }
    }
}

fn find_bubblewrap() -> Result<PathBuf, SetupError> {
    for path in BUBBLEWRAP.iter().map(PathBuf::from) {
        if is_file(&path).map_err(|source| SetupError::Path {
            path: path.clone(),
            source,
        })? {
            return Ok(path);
        }
    }
    Err(SetupError::NoBubblewrap {
        looked_for: BUBBLEWRAP,
    })
}

/// It prints `bubblewrap 0.8.0`.
fn bubblewrap_version(program: &Path) -> Result<String, SetupError> {
    let output = Command::new(program)
        .arg("--version")
        .env_clear()
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|source| SetupError::Path {
        path: program.to_owned(),
        source,
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text
        .trim()
        .strip_prefix("bubblewrap ")
        .unwrap_or(text.trim())
        .to_owned();
    match parse_version(&version) {
        Some(found) if found >= OLDEST_BUBBLEWRAP => Ok(version),
        _ => {
            let required = format!("{}.{}", OLDEST_BUBBLEWRAP.0, OLDEST_BUBBLEWRAP.1);
            Err(SetupError::OldBubblewrap {
                required,
                found: version,
            })
        }
    }
}

fn parse_version(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

fn refused_user_namespaces() -> Option<SetupError> {
    USER_NAMESPACE_SYSCTLS
        .into_iter()
        .find_map(|(path, refusing, sysctl)| {
            let value = fs::read_to_string(path).ok()?.trim().to_owned();
            (value == refusing).then_some(SetupError::NoUserNamespaces { sysctl, value })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_above_128_are_signals_as_in_a_shell() {
        assert_eq!(exit_of(3), Exit::Status(3));
        assert_eq!(exit_of(128), Exit::Status(128));
        assert_eq!(exit_of(137), Exit::Signal(9));
        assert_eq!(exit_of(255), Exit::Status(255));
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(parse_version("0.11.0").unwrap() >= OLDEST_BUBBLEWRAP);
        assert!(parse_version("0.4.1").unwrap() < OLDEST_BUBBLEWRAP);
        assert_eq!(parse_version("built from git"), None);
    }

    #[test]
    fn tail_keeps_the_end_of_standard_error_only() {
        let mut tail = Tail {
            sink: &mut Discard,
            message: Vec::new(),
        };
        tail.chunk(Stream::Stderr, &[b'a'; MAX_MESSAGE_BYTES])
            .unwrap();
        tail.chunk(Stream::Stderr, b"the end").unwrap();
        tail.chunk(Stream::Stdout, b"no").unwrap();
        assert_eq!(tail.message.len(), MAX_MESSAGE_BYTES);
        assert!(tail.message.ends_with(b"athe end"));
    }
}
