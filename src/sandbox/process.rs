//! Starts one bubblewrap, and holds everything below it.
//!
//! * In: bubblewrap's command line and descriptors, its limits and its control group.
//! * Out: a process that waits to become the command, held by a pidfd, or that has ended by itself.
//! * Never: a moment in which dropping this leaves anything alive, or a signal to a process that
//!   does not belong to the sandbox.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::Command;
use std::time::Duration;

use rustix::fs::MemfdFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Resource, Rlimit, Signal, pidfd_send_signal};

use crate::clock::Limit;

use super::cgroup::Group;
use super::child::{Announced, has_ended, readable_within};
use super::kernel;
use super::limits::OOM_SCORE_ADJUSTMENT;
use super::network::NetworkError;
use super::root::{Descriptors, GROUP, PASSWD};
use super::seccomp::Filter;

/// How long bubblewrap may take to announce its child, which it does right after creating it: a few
/// milliseconds, and more on a busy machine.
const ANNOUNCE_LIMIT: Duration = Duration::from_secs(30);
/// How long dropping waits for processes that were killed. Exits take microseconds, unless much
/// memory has to be freed or the machine is busy.
const DROP_LIMIT: Duration = Duration::from_secs(10);
/// The size of bubblewrap's status: some small JSON objects of numbers.
const MAX_STATUS_BYTES: usize = 4096;

/// The descriptors of bubblewrap, and this process's ends of its pipes.
pub(super) struct Handover {
    pub(super) numbers: Descriptors,
    given: Vec<OwnedFd>,
    status: File,
    start: File,
}

impl Handover {
    /// Opens all of them, with close-on-exec. `users` is the user namespace of a service,
    /// `resolv_conf` the text of that file for a phase that has its own network, `secret` the
    /// content of the plan's secret file.
    pub(super) fn open(
        filter: &Filter,
        users: Option<OwnedFd>,
        resolv_conf: Option<&str>,
        secret: Option<&[u8]>,
    ) -> io::Result<Self> {
        let (status, status_inside) = pipe_with(PipeFlags::CLOEXEC)?;
        let (start_inside, start) = pipe_with(PipeFlags::CLOEXEC)?;
        let mut given = vec![
            memory_file(&filter.0[0])?,
            memory_file(&filter.0[1])?,
            memory_file(PASSWD.as_bytes())?,
            memory_file(GROUP.as_bytes())?,
            status_inside,
            start_inside,
        ];
        let users = users.map(|descriptor| give(&mut given, descriptor));
        let mut give_file = |content: Option<&[u8]>| {
            let file = content.map(memory_file).transpose()?;
            Ok::<_, io::Error>(file.map(|descriptor| give(&mut given, descriptor)))
        };
        let resolv_conf = give_file(resolv_conf.map(str::as_bytes))?;
        let secret = give_file(secret)?;
        let number = |index: usize| given[index].as_raw_fd();
        let numbers = Descriptors {
            filter: [number(0), number(1)],
            passwd: number(2),
            group: number(3),
            status: number(4),
            start: number(5),
            users,
            resolv_conf,
            secret,
        };
        Ok(Self {
            numbers,
            given,
            status: status.into(),
            start: start.into(),
        })
    }

    /// Starts bubblewrap in `group`, with the standard streams of `command`, and waits until its
    /// child exists.
    ///
    /// A child that has ended by then, because its sandbox could not be set up, is no failure to
    /// start: bubblewrap's status and standard error report what happened, as they do for every
    /// other child.
    ///
    /// This does not yield. Until the child is held, no caller can drop the value that would kill
    /// it; and nothing waits for bubblewrap, so that its number stays its own. A failure kills the
    /// group, because tokio does not end a process that it could start but not watch, and
    /// bubblewrap does not end a child that still waits for it.
    pub(super) fn start(
        self,
        mut command: Command,
        limits: Vec<(Resource, Rlimit)>,
        group: Option<Group>,
    ) -> Result<(tokio::process::Child, Waiting), StartFailure> {
        let entrance = group.as_ref().map(Group::entrance).transpose();
        let entrance = entrance.map_err(StartFailure::Limits)?;
        kernel::prepare(&mut command, self.given, limits, entrance);
        let mut command = tokio::process::Command::from(command);
        let child = command.kill_on_drop(true).spawn()?;
        // This closes the descriptors that bubblewrap got, so that the status pipe ends with
        // bubblewrap.
        drop(command);
        let mut status = Status {
            pipe: self.status,
            bytes: Vec::new(),
        };
        let Some(number) = status.announced()? else {
            return Err(StartFailure::Silent(Box::new(child)));
        };
        let announced = Announced {
            number,
            parent: child.id().and_then(|id| Pid::from_raw(id.cast_signed())),
            start: &self.start,
            start_inside: self.numbers.start,
        };
        let init = announced.hold()?;
        let waiting = Waiting {
            number,
            start: self.start,
            status,
            held: Held { init, group },
        };
        Ok((child, waiting))
    }
}

/// Adds a descriptor to those that bubblewrap gets, and returns its number.
fn give(given: &mut Vec<OwnedFd>, descriptor: OwnedFd) -> RawFd {
    let number = descriptor.as_raw_fd();
    given.push(descriptor);
    number
}

/// Why bubblewrap has no child.
pub(super) enum StartFailure {
    /// Any step failed that no other variant names.
    Io(io::Error),
    /// The limits could not be set.
    Limits(io::Error),
    /// The network of the phase could not be set up.
    Network(NetworkError),
    /// bubblewrap ended without creating a child: the reason is on its standard error.
    Silent(Box<tokio::process::Child>),
}

impl From<io::Error> for StartFailure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<NetworkError> for StartFailure {
    fn from(error: NetworkError) -> Self {
        Self::Network(error)
    }
}

/// A child of bubblewrap, number 1 of its namespace, that has not become the command yet. It may
/// have ended.
pub(super) struct Waiting {
    number: Pid,
    start: File,
    status: Status,
    held: Held,
}

impl Waiting {
    /// Has the kernel end the child, or what it starts, before this process when memory is
    /// exhausted. Nothing is needed for a child that has died in the meantime, and a process that
    /// is not root may not be allowed to request it.
    pub(super) fn offer_to_be_ended(&self) -> io::Result<()> {
        let Some(init) = &self.held.init else {
            return Ok(());
        };
        let path = format!("/proc/{}/oom_score_adj", self.number);
        let file = File::options().write(true).open(path);
        if has_ended(init)? {
            // The file may belong to another process, which has the number now.
            return Ok(());
        }
        let written = file.and_then(|mut file| file.write_all(OOM_SCORE_ADJUSTMENT.as_bytes()));
        let Err(error) = written else {
            return Ok(());
        };
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Ok(()),
            _ if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            _ => Err(error),
        }
    }

    /// Lets the child become the command. If its sandbox could not be set up, it has died, and its
    /// status will report that.
    pub(super) fn release(mut self) -> io::Result<(Held, Status)> {
        match self.start.write_all(&[1]) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok((self.held, self.status)),
        }
    }
}

/// Holds everything in one sandbox. Dropping kills it.
pub(super) struct Held {
    /// Number 1 of the PID namespace; none if it had ended before it could be held. The namespace
    /// was empty then.
    init: Option<OwnedFd>,
    group: Option<Group>,
}

impl Held {
    /// Returns a descriptor that becomes readable when the namespace is empty: number 1 dies last.
    /// Returns none if the namespace is known to be empty.
    pub(super) fn death(&self) -> io::Result<Option<OwnedFd>> {
        self.init.as_ref().map(OwnedFd::try_clone).transpose()
    }

    /// Kills number 1, which ends its namespace, and the whole control group.
    pub(super) fn kill(&self) -> io::Result<()> {
        if let Some(init) = &self.init {
            match pidfd_send_signal(init, Signal::KILL) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.group.as_ref().map_or(Ok(()), Group::kill)
    }

    /// Returns whether the kernel killed a process of it because memory was exhausted, if that is
    /// known.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        self.group.as_ref().is_some_and(Group::ran_out_of_memory)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            log::error!("a sandbox could not be killed: {error}");
        }
        // The group can be removed only when it is empty, and the caller may rely on nothing being
        // alive.
        let is_empty = match &self.init {
            Some(init) => readable_within(init, DROP_LIMIT).is_ok_and(|is_dead| is_dead),
            None => true,
        };
        if !is_empty {
            log::error!("a sandbox is not empty {DROP_LIMIT:?} after it was killed");
        }
    }
}

/// What bubblewrap reports about its child: JSON objects, one after the other.
pub(super) struct Status {
    pipe: File,
    bytes: Vec<u8>,
}

impl Status {
    /// Waits for the child's number. Returns none if bubblewrap ended without creating a child.
    fn announced(&mut self) -> io::Result<Option<Pid>> {
        let limit = Limit::of(ANNOUNCE_LIMIT);
        loop {
            if let Some(number) = self.member("child-pid") {
                return Ok(i32::try_from(number).ok().and_then(Pid::from_raw));
            }
            if !readable_within(&self.pipe, limit.left())? {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if !self.read_some()? {
                return Ok(None);
            }
        }
    }

    /// Returns the exit status as bubblewrap passes it on; none if the command was never reached.
    /// Call this only after bubblewrap and its child are dead: then the pipe has an end.
    pub(super) fn exit_code(&mut self) -> io::Result<Option<i32>> {
        while self.read_some()? {}
        let code = self.member("exit-code");
        Ok(code.and_then(|code| i32::try_from(code).ok()))
    }

    /// Reads more of the pipe. Returns whether there was more.
    fn read_some(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 512];
        let read = loop {
            match self.pipe.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.bytes.extend_from_slice(&buffer[..read]);
        if self.bytes.len() > MAX_STATUS_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(read > 0)
    }

    /// Returns the number of this name in the first object that has it.
    fn member(&self, name: &str) -> Option<i64> {
        let objects =
            serde_json::Deserializer::from_slice(&self.bytes).into_iter::<serde_json::Value>();
        objects
            .map_while(Result::ok)
            .find_map(|object| object.get(name)?.as_i64())
    }
}

fn memory_file(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(rustix::fs::memfd_create("kettle", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::super::seccomp::Subject;
    use super::super::spec::Network;
    use super::*;

    fn status(text: &str) -> Status {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        File::from(write).write_all(text.as_bytes()).unwrap();
        Status {
            pipe: read.into(),
            bytes: Vec::new(),
        }
    }

    #[test]
    fn reads_number_and_exit_code_from_successive_objects() {
        let mut status =
            status("{ \"child-pid\": 12, \"pid-namespace\": 4026531836 }\n{ \"exit-code\": 3 }\n");
        assert_eq!(status.announced().unwrap(), Pid::from_raw(12));
        assert_eq!(status.exit_code().unwrap(), Some(3));
    }

    #[test]
    fn bubblewrap_that_ends_early_announces_nothing() {
        assert_eq!(status("").announced().unwrap(), None);
        assert_eq!(status("{ \"child-pid\": 12 }\n").exit_code().unwrap(), None);
    }

    /// Starts a shell in bubblewrap's place that announces `child`, says that its exit status is 7,
    /// and ends.
    fn announce(child: &str) -> (tokio::process::Child, Waiting) {
        let filter = Filter::compile(Subject::Command(Network::None)).unwrap();
        let handover = Handover::open(&filter, None, None, None).unwrap();
        let script =
            "printf '{ \"child-pid\": %s }\\n{ \"exit-code\": 7 }\\n' \"$1\" >/proc/self/fd/$2";
        let mut command = Command::new("/bin/sh");
        command.args([
            "-c",
            script,
            "sh",
            child,
            &handover.numbers.status.to_string(),
        ]);
        let Ok(started) = handover.start(command, Vec::new(), None) else {
            panic!("it does not start")
        };
        started
    }

    /// How a bubblewrap ends whose announced child cannot be held.
    async fn exit_code_without(child: &str) -> Option<i32> {
        let (mut bubblewrap, waiting) = announce(child);
        waiting.offer_to_be_ended().unwrap();
        let (held, mut status) = waiting.release().unwrap();
        held.kill().unwrap();
        assert!(held.death().unwrap().is_none(), "nothing is held");
        drop(held);
        bubblewrap.wait().await.unwrap();
        status.exit_code().unwrap()
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(future)
    }

    #[test]
    fn a_child_that_ended_before_it_could_be_held_has_its_exit_status() {
        // Above the highest number that a process can have (`proc_sys_kernel(5)`, `pid_max`).
        assert_eq!(block_on(exit_code_without("4194305")), Some(7));
    }

    #[test]
    fn a_stranger_who_has_the_number_of_an_ended_child_is_left_alone() {
        let mut stranger = Command::new("/usr/bin/cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let score =
            || std::fs::read_to_string(format!("/proc/{}/oom_score_adj", stranger.id())).unwrap();
        let before = score();
        assert_eq!(
            block_on(exit_code_without(&stranger.id().to_string())),
            Some(7)
        );
        assert_eq!(score(), before);
        // It ends with its input, and not by a signal.
        drop(stranger.stdin.take());
        assert!(stranger.wait().unwrap().success());
    }

    #[test]
    fn refuses_endless_status() {
        assert!(
            status(&" ".repeat(MAX_STATUS_BYTES + 1))
                .announced()
                .is_err()
        );
    }
}
