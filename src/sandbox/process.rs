//! One bubblewrap and everything below it. Comes in: its arguments. Goes out: a process that waits to become the command,
//! held by a pidfd. Never: a moment in which dropping this leaves anything alive.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal, pidfd_open, pidfd_send_signal};

use super::cgroup::Group;
use super::kernel;
use super::limits::OOM_SCORE_ADJUSTMENT;
use super::root::{Descriptors, GROUP, PASSWD};
use super::seccomp::Filter;

/// bubblewrap says its child's number right after it made it: a few milliseconds.
const ANNOUNCE_LIMIT: Duration = Duration::from_secs(10);
/// How long dropping waits for processes that were killed. Exits take microseconds, unless much memory is to be freed.
const DROP_LIMIT: Duration = Duration::from_secs(2);
/// One JSON object of numbers.
const MAX_STATUS_BYTES: usize = 4096;

/// Descriptors for bubblewrap, and our ends of its pipes.
pub(super) struct Handover {
    pub(super) numbers: Descriptors,
    given: Vec<OwnedFd>,
    status: File,
    start: File,
}

impl Handover {
    /// Opens them all, with close-on-exec. `users` is the user namespace of a service.
    pub(super) fn open(filter: &Filter, users: Option<OwnedFd>) -> io::Result<Self> {
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
        given.extend(users);
        let number = |index: usize| given[index].as_raw_fd();
        let numbers = Descriptors {
            filter: [number(0), number(1)],
            passwd: number(2),
            group: number(3),
            status: number(4),
            start: number(5),
            users: given.get(6).map(AsRawFd::as_raw_fd),
        };
        Ok(Self { numbers, given, status: status.into(), start: start.into() })
    }

    /// Starts bubblewrap in `group`, with its standard streams from `command`, and waits until its child exists.
    ///
    /// This does not yield: until the child is held, nobody can drop what would kill it. A failure kills the group: neither
    /// does tokio end a process that it could start and not watch, nor bubblewrap a child that still waits for it.
    pub(super) fn start(
        self,
        mut command: Command,
        limits: Vec<(Resource, Rlimit)>,
        group: Option<Group>,
    ) -> Result<(tokio::process::Child, Waiting), StartFailure> {
        let entrance = group.as_ref().map(Group::entrance).transpose().map_err(StartFailure::Limits)?;
        kernel::prepare(&mut command, self.given, limits, entrance);
        let mut command = tokio::process::Command::from(command);
        let child = command.kill_on_drop(true).spawn().map_err(StartFailure::Io)?;
        // The descriptors that bubblewrap got are closed here, so that a dead one ends the status pipe.
        drop(command);
        let mut status = Status { pipe: self.status, bytes: Vec::new() };
        match status.announced() {
            Ok(Some(number)) => {
                let pidfd = pidfd_open(number, PidfdFlags::empty()).map_err(|e| StartFailure::Io(e.into()))?;
                Ok((child, Waiting { number, start: self.start, status, held: Held { pidfd, group } }))
            }
            Ok(None) => Err(StartFailure::Silent(Box::new(child))),
            Err(error) => Err(StartFailure::Io(error)),
        }
    }
}

/// Why there is no child.
pub(super) enum StartFailure {
    Io(io::Error),
    Limits(io::Error),
    /// bubblewrap ended without making one: its error is on its standard error.
    Silent(Box<tokio::process::Child>),
}

/// bubblewrap's own command line, before its standard streams are known.
pub(super) fn bubblewrap(program: &Path, arguments: Vec<OsString>, user: Option<u32>) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(user) = user {
        // Without groups given, this also drops all supplementary ones, where the kernel lets it.
        command.uid(user).gid(user);
        kernel::require_no_groups(&mut command);
    }
    command
}

/// A child of bubblewrap, number 1 of its namespace, that has not become the command.
pub(super) struct Waiting {
    number: Pid,
    start: File,
    status: Status,
    held: Held,
}

impl Waiting {
    /// Has the kernel end it, or what it starts, before us when memory ends. One that has died in the meantime needs no
    /// such thing, and who is no more than its user may not be allowed to ask for it.
    pub(super) fn offer_to_be_ended(&self) -> io::Result<()> {
        let path = format!("/proc/{}/oom_score_adj", self.number.as_raw_nonzero());
        match std::fs::write(path, OOM_SCORE_ADJUSTMENT) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            written => written,
        }
    }

    /// Lets it become the command. One that could not be set up has died: its status will say so.
    pub(super) fn release(mut self) -> io::Result<(Held, Status)> {
        match self.start.write_all(&[1]) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok((self.held, self.status)),
        }
    }
}

/// Everything in one sandbox. Dropping kills it.
pub(super) struct Held {
    pidfd: OwnedFd,
    group: Option<Group>,
}

impl Held {
    /// A descriptor that becomes readable when the namespace is empty: number 1 dies last.
    pub(super) fn death(&self) -> io::Result<OwnedFd> {
        self.pidfd.try_clone()
    }

    /// Kills all of it: number 1, whose end is that of its namespace, and the whole group.
    pub(super) fn kill(&self) -> io::Result<()> {
        match pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
        self.group.as_ref().map_or(Ok(()), Group::kill)
    }

    /// Whether the kernel killed something for want of memory, where that can be known.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        self.group.as_ref().is_some_and(Group::ran_out_of_memory)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            log::error!("a sandbox could not be killed: {error}");
        }
        // The group can be removed only when it is empty, and our caller may count on nothing being alive.
        if !readable_within(&self.pidfd, DROP_LIMIT).is_ok_and(|dead| dead) {
            log::error!("a sandbox is not empty {DROP_LIMIT:?} after it was killed");
        }
    }
}

/// What bubblewrap says about its child: JSON objects, one after the other.
pub(super) struct Status {
    pipe: File,
    bytes: Vec<u8>,
}

impl Status {
    /// The child's number; none if bubblewrap ended without making a child.
    fn announced(&mut self) -> io::Result<Option<Pid>> {
        let deadline = Instant::now() + ANNOUNCE_LIMIT;
        loop {
            if let Some(number) = self.member("child-pid") {
                return Ok(i32::try_from(number).ok().and_then(Pid::from_raw));
            }
            if !readable_within(&self.pipe, deadline.saturating_duration_since(Instant::now()))? {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if !self.read_some()? {
                return Ok(None);
            }
        }
    }

    /// The exit status as bubblewrap passes it on; none if the command was never reached. To be asked once bubblewrap and
    /// its child are dead: then the pipe has an end.
    pub(super) fn exit_code(&mut self) -> io::Result<Option<i32>> {
        while self.read_some()? {}
        Ok(self.member("exit-code").and_then(|code| i32::try_from(code).ok()))
    }

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

    fn member(&self, name: &str) -> Option<i64> {
        let objects = serde_json::Deserializer::from_slice(&self.bytes).into_iter::<serde_json::Value>();
        objects.map_while(Result::ok).find_map(|object| object.get(name)?.as_i64())
    }
}

fn memory_file(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(rustix::fs::memfd_create("kettle", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

fn readable_within(descriptor: &impl AsFd, limit: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
        match poll(&mut [PollFd::new(descriptor, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(text: &str) -> Status {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        File::from(write).write_all(text.as_bytes()).unwrap();
        Status { pipe: read.into(), bytes: Vec::new() }
    }

    #[test]
    fn reads_number_and_exit_code_from_successive_objects() {
        let mut status = status("{ \"child-pid\": 12, \"pid-namespace\": 4026531836 }\n{ \"exit-code\": 3 }\n");
        assert_eq!(status.announced().unwrap(), Pid::from_raw(12));
        assert_eq!(status.exit_code().unwrap(), Some(3));
    }

    #[test]
    fn bubblewrap_that_ends_early_announces_nothing() {
        assert_eq!(status("").announced().unwrap(), None);
        assert_eq!(status("{ \"child-pid\": 12 }\n").exit_code().unwrap(), None);
    }

    #[test]
    fn refuses_endless_status() {
        assert!(status(&" ".repeat(MAX_STATUS_BYTES + 1)).announced().is_err());
    }
}
