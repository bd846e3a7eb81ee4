//! Runs commands and services in bubblewrap.
//!
//! * In: plans, and the parts of the sandbox that this machine provides.
//! * Out: how the commands ended, when everything in their sandboxes is dead.
//! * Never: a result while a process of the sandbox is alive.

use std::collections::BTreeMap;
use std::fs;
use std::future::{Future, poll_fn};
use std::io;
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::process::Command;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit};
use sha2::{Digest, Sha256};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep};

use super::cgroup::{CONTROLLERS, Group, Hierarchy};
#[cfg(feature = "host")]
use super::description::Degradation;
use super::description::{Degradations, Description, FetchNetwork, RunnerVersion};
use super::kernel_files::Covered;
use super::limits::Limits;
use super::network::{Cidr, NetworkTrial, PhaseNetwork};
use super::output::{End, Interruption, Watch};
use super::overlay::Overlays;
use super::process::{Handover, StartFailure};
use super::root::{self, Descriptors, Layout};
use super::seccomp::{Filters, Subject};
use super::spec::{CommandSpec, Exit, Network, OutputSink, Served, Work};
use super::started::{DEATH_LIMIT, Discard, Started, Tail, explain};
use super::users::Users;
use super::{NetworkError, Run, RunError, SetupError, bubblewrap};
use crate::causes::Chain;

/// How long a service may take to listen: its programs may have to be read from a disk first.
const LISTEN_LIMIT: Duration = Duration::from_secs(30);
/// The pause between two attempts to connect to a service.
const LISTEN_PAUSE: Duration = Duration::from_millis(5);
/// The namespaces that belong to the command alone, as provenance names them.
const NAMESPACES: &[&str] = &["user", "pid", "mount", "ipc", "uts", "cgroup", "network"];

/// The parts of the sandbox that not every machine provides.
pub(super) struct Means {
    /// The hierarchy in which control groups are created.
    pub hierarchy: Option<Hierarchy>,
    /// The users of commands and services.
    pub users: Option<Users>,
    /// The promises that do not hold on this machine.
    pub degradations: Degradations,
}

impl Means {
    /// Returns the limits of this machine; without the one of memory, if no controller enforces it.
    fn limits(&self) -> Limits {
        let mut limits = Limits::of_this_machine();
        let limits_memory = self
            .hierarchy
            .as_ref()
            .is_some_and(|found| found.has("memory"));
        if !limits_memory {
            limits.memory_bytes = None;
        }
        limits
    }

    /// Returns the machine's user id of commands.
    fn uid(&self) -> u32 {
        match &self.users {
            Some(users) => users.of_commands(),
            None => rustix::process::geteuid().as_raw(),
        }
    }

    /// Returns the controllers that enforce limits.
    fn controllers(&self) -> Vec<&'static str> {
        match &self.hierarchy {
            Some(hierarchy) => hierarchy.controllers.clone(),
            None => Vec::new(),
        }
    }
}

/// Runs commands on this machine, with the parts of the sandbox that it had when this was created.
pub struct Runner {
    program: PathBuf,
    layout: Layout,
    limits: Limits,
    filters: Filters,
    hierarchy: Option<Hierarchy>,
    /// None if this process is not root: then commands run as the user of this process.
    users: Option<Users>,
    reach: Reach,
    description: Description,
}

/// The addresses that phases that fetch reach on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reach {
    /// All addresses that the machine reaches, by its own network.
    Machine,
    /// Public addresses, and the ranges that the operator allows.
    Public { allowed: Vec<Cidr> },
}

impl Reach {
    /// Returns the name that provenance records.
    fn name(&self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Public { .. } => "public-unicast",
        }
    }
}

impl Runner {
    /// Creates the runner of the image, which has every part of the sandbox. A missing part is an
    /// error: in the image nothing is weaker.
    ///
    /// The caller started the trial of the network earlier, so that it runs while other work is
    /// done. Everything else is tried before this waits for it.
    ///
    /// # Errors
    /// The machine lacks a part, or a trial command or the trial of the network fails.
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

    /// Creates a runner with the parts that the machine provides, and tries it with a command.
    /// Phases that fetch have the machine's network at first.
    pub(super) fn with(means: Means) -> Result<Self, SetupError> {
        let program = bubblewrap::find()?;
        let version = bubblewrap::version_of(&program)?;
        let filters = Filters::compile().map_err(|source| SetupError::Filter { source })?;
        let filter_of_builds = filters.of(Subject::Command(Network::None));
        let limits = means.limits();
        let description = Description {
            runner: RunnerVersion {
                name: "bubblewrap",
                version,
            },
            namespaces: NAMESPACES,
            uid: means.uid(),
            seccomp: hex::encode(Sha256::digest(filter_of_builds.0.concat())),
            limits: limits.clone(),
            processors: thread::available_parallelism().ok().map(NonZero::get),
            controllers: means.controllers(),
            fetch_network: FetchNetwork {
                reaches: Reach::Machine.name(),
                allowed: Vec::new(),
            },
            degradations: means.degradations,
        };
        let layout = Layout::of_this_machine()?;
        let runner = Self {
            program,
            layout,
            limits,
            filters,
            hierarchy: means.hierarchy,
            users: means.users,
            reach: Reach::Machine,
            description,
        };
        runner.trial()?;
        Ok(runner)
    }

    /// Gives phases that fetch their own network, by which they reach public addresses and
    /// `allowed`.
    pub(super) fn reach_public(&mut self, allowed: Vec<Cidr>) {
        self.reach = Reach::Public {
            allowed: allowed.clone(),
        };
        self.description.fetch_network = FetchNetwork {
            reaches: self.reach.name(),
            allowed,
        };
    }

    /// Lets phases that fetch use the machine's network, for the given reason. The ranges are
    /// recorded as the operator named them.
    #[cfg(feature = "host")]
    pub(super) fn share_network(&mut self, allowed: Vec<Cidr>, degradation: Degradation) {
        self.description.degradations.push(degradation);
        self.description.fetch_network = FetchNetwork {
            reaches: self.reach.name(),
            allowed,
        };
    }

    /// Returns what holds for every command, and what does not.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Returns the user of commands, unless they run as this process does.
    fn build_user(&self) -> Option<u32> {
        self.users.as_ref().map(Users::of_commands)
    }

    /// Returns the users of services.
    fn service_users(&self) -> io::Result<&Users> {
        self.users
            .as_ref()
            .ok_or_else(|| io::ErrorKind::PermissionDenied.into())
    }

    /// Runs a program that does nothing, with the same arguments as any other command.
    ///
    /// It has its own thread, because the caller's thread may already be running a tokio runtime.
    fn trial(&self) -> Result<(), SetupError> {
        let trial = thread::scope(|scope| scope.spawn(|| self.run_nothing()).join());
        let message = match trial {
            Ok(Ok(exit)) if exit.success() => return Ok(()),
            Ok(Ok(exit)) => format!("it ended with {exit:?}"),
            Ok(Err(RunError::Setup { message })) => message,
            Ok(Err(error)) => Chain(&error).to_string(),
            Err(_) => "it panicked".into(),
        };
        Err(bubblewrap::refused_user_namespaces().unwrap_or(SetupError::Trial { message }))
    }

    fn run_nothing(&self) -> Result<Exit, RunError> {
        let spec = CommandSpec {
            argv: vec!["/usr/bin/true".into()],
            environment: BTreeMap::new(),
            directory: "/".into(),
            mounts: Vec::new(),
            secret: None,
            network: Network::None,
            time_limit: DEATH_LIMIT,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| RunError::Start { source })?;
        runtime.block_on(self.run(&spec, &mut Discard))
    }

    /// Starts the sandbox, up to the moment at which the command runs. Does not yield.
    fn start(&self, spec: &CommandSpec, subject: Subject) -> Result<Started, StartFailure> {
        let (user, namespace) = self.identity(subject)?;
        let network = self.network(spec)?;
        let resolv_conf = network.as_ref().map(PhaseNetwork::resolv_conf);
        let filter = self.filters.of(subject);
        let secret = spec.secret.as_ref().map(|secret| secret.content.as_slice());
        let handover = Handover::open(filter, namespace, resolv_conf.as_deref(), secret)?;
        let command = self.command(spec, user, &handover.numbers)?;
        let group = self.group().map_err(StartFailure::Limits)?;
        let limits = self.process_limits();
        let start = || handover.start(command, limits, group);
        let started = match &network {
            None => start(),
            Some(network) => network.during(start)?,
        };
        let (child, waiting) = started?;
        waiting.offer_to_be_ended().map_err(StartFailure::Limits)?;
        let (held, status) = waiting.release()?;
        Ok(Started {
            watch: Watch::new(child, spec.time_limit),
            held,
            status,
            network,
        })
    }

    /// Creates the control group of one command, where this machine has control groups.
    fn group(&self) -> io::Result<Option<Group>> {
        match &self.hierarchy {
            Some(hierarchy) => hierarchy.group(&self.limits).map(Some),
            None => Ok(None),
        }
    }

    /// Returns the limits that a process sets for itself before it becomes bubblewrap.
    fn process_limits(&self) -> Vec<(Resource, Rlimit)> {
        let group_counts_tasks = self
            .hierarchy
            .as_ref()
            .is_some_and(|found| found.has("pids"));
        self.limits.of_process(!group_counts_tasks)
    }

    /// Returns the user that starts bubblewrap, unless it is this process's own, and the user
    /// namespace of a service.
    fn identity(&self, subject: Subject) -> io::Result<(Option<u32>, Option<OwnedFd>)> {
        match subject {
            Subject::Command(_) => Ok((self.build_user(), None)),
            Subject::Service => {
                let users = self.service_users()?;
                Ok((Some(users.of_service()), Some(users.make_namespace()?)))
            }
        }
    }

    /// Builds bubblewrap's command line for a command or a service.
    fn command(
        &self,
        spec: &CommandSpec,
        user: Option<u32>,
        descriptors: &Descriptors,
    ) -> io::Result<Command> {
        let covered = Covered::of_this_machine()?;
        let arguments = root::arguments(spec, &self.layout, &covered, &self.limits, descriptors);
        Ok(bubblewrap::command(&self.program, arguments, user))
    }

    /// Sets up the network of a phase that fetches, unless it shares the machine's.
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
        let mut tail = Tail::new(sink);
        let end = started.watch.until_end(&mut tail).await;
        started.end().await?;
        let end = end?;
        started.watch.drain(&mut tail).await?;
        let exit = match end {
            End::TimedOut => {
                return Ok(Exit::TimedOut {
                    limit: spec.time_limit,
                });
            }
            End::Exited => started.exit(&tail.message)?,
        };
        if exit.is_its_own_failure() && started.was_refused_an_address() {
            return Ok(Exit::RefusedAddress);
        }
        Ok(exit)
    }

    async fn serve_while(
        &self,
        spec: &CommandSpec,
        socket: &Path,
        work: Work<'_>,
    ) -> Result<Served, RunError> {
        let mut started = self.started(spec, Subject::Service).await?;
        let mut discard = Discard;
        let mut tail = Tail::new(&mut discard);
        let outcome = work_while(&mut started.watch, &mut tail, socket, work).await;
        started.end().await?;
        let outcome = outcome?;
        // Its last output may still be in the pipes, whichever way it ended.
        started.watch.drain(&mut tail).await?;
        let end = match outcome {
            ServiceOutcome::Worked => None,
            ServiceOutcome::DidNotListen(source) => {
                return Err(RunError::Listen {
                    source,
                    message: tail.text(),
                });
            }
            ServiceOutcome::Ended(End::TimedOut) => Some(Exit::TimedOut {
                limit: spec.time_limit,
            }),
            ServiceOutcome::Ended(End::Exited) => Some(started.exit(&tail.message)?),
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

/// What happened first while a service ran.
enum ServiceOutcome {
    /// The work was done.
    Worked,
    /// The service took no connection in time.
    DidNotListen(io::Error),
    /// The service ended.
    Ended(End),
}

/// Waits until a service takes connections, and does the work. Returns early if the service ends.
async fn work_while(
    watch: &mut Watch,
    tail: &mut Tail<'_>,
    socket: &Path,
    work: Work<'_>,
) -> Result<ServiceOutcome, Interruption> {
    let mut ended = pin!(watch.until_end(tail));
    let mut worked = pin!(async {
        if let Err(error) = listening(socket).await {
            return ServiceOutcome::DidNotListen(error);
        }
        work.await;
        ServiceOutcome::Worked
    });
    poll_fn(|context| match ended.as_mut().poll(context) {
        Poll::Ready(end) => Poll::Ready(end.map(ServiceOutcome::Ended)),
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

    fn make_writable_directory(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o700).create(path)?;
        self.build_user()
            .map_or(Ok(()), |user| chown(path, Some(user), Some(user)))
    }

    fn overlays(&self) -> Option<Overlays> {
        self.build_user().map(Overlays::for_commands_of)
    }

    fn make_service_directory(&self, path: &Path) -> io::Result<()> {
        let owner = self.service_users()?.of_service();
        fs::DirBuilder::new().mode(0o755).create(path)?;
        chown(path, Some(owner), Some(owner))
    }
}

/// Checks that the program is an absolute path. `env`, which comes before the program, would take a
/// name with an equals sign for a variable.
fn check_program(spec: &CommandSpec) -> Result<(), RunError> {
    match spec.argv.first() {
        Some(program) if program.starts_with('/') && !program.contains('=') => Ok(()),
        program => Err(RunError::Program {
            program: program.cloned().unwrap_or_default(),
        }),
    }
}
