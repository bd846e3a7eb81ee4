//! Holds the child that bubblewrap announces.
//!
//! * In: a process number, read from a pipe. The number is free again as soon as bubblewrap has
//!   collected a child that ended at once, and may belong to another process when it is read.
//! * Out: a descriptor of exactly that child, or the fact that it has ended.
//! * Never: a descriptor of another process, which would be killed in the child's place.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::clock::Limit;

/// A child that bubblewrap has announced.
pub(super) struct Announced<'a> {
    /// The number of the child, unless another process has it now.
    pub(super) number: Pid,
    /// The number of the bubblewrap that created the child. Nothing has waited for this bubblewrap,
    /// so its number is still its own.
    pub(super) parent: Option<Pid>,
    /// Our end of the pipe at whose other end the child waits.
    pub(super) start: &'a File,
    /// The number that the other end of the pipe has in the child.
    pub(super) start_inside: RawFd,
}

impl Announced<'_> {
    /// Opens a descriptor of the child. Returns none if the child has ended and bubblewrap has
    /// collected it: the PID namespace whose number 1 it was is empty then.
    ///
    /// The order of the steps matters. The descriptor is opened before the process is identified. A
    /// process that is found to be the child has had the number since the announcement, so the
    /// descriptor, which was opened in between, is that child's too.
    ///
    /// # Errors
    /// There is a process with this number, and it cannot be found out whether it is the child.
    pub(super) fn hold(&self) -> io::Result<Option<OwnedFd>> {
        let pidfd = match pidfd_open(self.number, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            // No process has the number, or a thread has it, which the child is not.
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let is_child = match parent_of(self.number) {
            Ok(parent) => (parent.is_some() && parent == self.parent) || self.is_waiting_for_us(),
            Err(_) if has_ended(&pidfd)? => false,
            Err(error) => return Err(error),
        };
        Ok(is_child.then_some(pidfd))
    }

    /// Returns whether the process with the number has the other end of our pipe. A child whose
    /// bubblewrap was killed has another parent now, but still has that end.
    fn is_waiting_for_us(&self) -> bool {
        let theirs = fs::metadata(format!("/proc/{}/fd/{}", self.number, self.start_inside));
        let (Ok(theirs), Ok(ours)) = (theirs, self.start.metadata()) else {
            return false;
        };
        (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino())
    }
}

/// Returns whether the process of a descriptor has ended, collected or not. If it has not,
/// everything that was read or opened by its number before belongs to that process.
pub(super) fn has_ended(pidfd: &OwnedFd) -> io::Result<bool> {
    readable_within(pidfd, Duration::ZERO)
}

/// Waits on this thread until a descriptor is readable. Returns whether it is.
pub(super) fn readable_within(descriptor: &impl AsFd, limit: Duration) -> io::Result<bool> {
    let limit = Limit::of(limit);
    loop {
        let timeout = Timespec::try_from(limit.left()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut polled = [PollFd::new(descriptor, PollFlags::IN)];
        match poll(&mut polled, Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns the parent of a process; none if the parent is outside of our PID namespace.
fn parent_of(process: Pid) -> io::Result<Option<Pid>> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let parent = parent_in(&stat).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Pid::from_raw(parent))
}

/// Returns the parent's number from `/proc/PID/stat`: the second field after the program's name,
/// which may itself contain spaces and parentheses (`proc_pid_stat(5)`).
fn parent_in(stat: &str) -> Option<i32> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    /// A number above the highest that a process can have (`proc_sys_kernel(5)`, `pid_max`).
    const NOBODY: i32 = 4_194_305;

    struct Waiter(Child);

    impl Waiter {
        /// Waits for the end of an input that does not end.
        fn start() -> Self {
            Self(
                Command::new("/usr/bin/cat")
                    .stdin(Stdio::piped())
                    .stdout(Stdio::null())
                    .spawn()
                    .unwrap(),
            )
        }

        fn number(&self) -> Pid {
            Pid::from_child(&self.0)
        }
    }

    impl Drop for Waiter {
        fn drop(&mut self) {
            self.0.kill().and_then(|()| self.0.wait()).unwrap();
        }
    }

    fn own_number() -> Pid {
        rustix::process::getpid()
    }

    /// Returns whether a child of `parent` with this number would be held. No process has its pipe.
    fn is_held(number: Pid, parent: Pid) -> bool {
        let (_inside, start) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let announced = Announced {
            number,
            parent: Some(parent),
            start: &start.into(),
            start_inside: 0,
        };
        announced.hold().unwrap().is_some()
    }

    #[test]
    fn holds_a_child_of_the_process_that_announced_it() {
        let child = Waiter::start();
        assert!(is_held(child.number(), own_number()));
    }

    #[test]
    fn holds_a_child_that_is_dead_and_not_collected() {
        let mut child = Command::new("/usr/bin/true").spawn().unwrap();
        let number = Pid::from_child(&child);
        while state_of(number) != "Z" {
            std::thread::yield_now();
        }
        assert!(is_held(number, own_number()));
        child.wait().unwrap();
    }

    fn state_of(process: Pid) -> String {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
        stat.rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .next()
            .unwrap()
            .to_owned()
    }

    #[test]
    fn a_number_that_nobody_has_is_that_of_a_child_that_has_ended() {
        assert!(!is_held(Pid::from_raw(NOBODY).unwrap(), own_number()));
    }

    #[test]
    fn a_process_with_another_parent_is_a_stranger() {
        let (bubblewrap, stranger) = (Waiter::start(), Waiter::start());
        assert!(!is_held(stranger.number(), bubblewrap.number()));
    }

    #[test]
    fn a_thread_of_a_stranger_is_no_child() {
        let (announce, announced) = std::sync::mpsc::channel();
        let (end, until_end) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            announce.send(rustix::thread::gettid()).unwrap();
            until_end.recv().unwrap();
        });
        let number = announced.recv().unwrap();
        assert!(!is_held(
            number,
            rustix::process::getppid().unwrap_or(own_number())
        ));
        end.send(()).unwrap();
        thread.join().unwrap();
    }

    #[test]
    fn an_orphan_is_known_by_the_pipe_that_it_waits_for() {
        let (inside, start) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let (other_inside, other) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        // The shell would give a process in the background an empty input, unless the input is
        // named.
        let script = "exec 3<&0; /usr/bin/cat <&3 >/dev/null & echo $!";
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", script])
            .stdin(inside)
            .stdout(Stdio::piped());
        let mut bubblewrap = shell.spawn().unwrap();
        drop(shell);
        let parent = Some(Pid::from_child(&bubblewrap));
        let mut line = String::new();
        BufReader::new(bubblewrap.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let number = Pid::from_raw(line.trim().parse().unwrap()).unwrap();
        bubblewrap.wait().unwrap();

        let hold = |start: &File| {
            Announced {
                number,
                parent,
                start,
                start_inside: 0,
            }
            .hold()
            .unwrap()
        };
        assert!(hold(&other.into()).is_none());
        let start = File::from(start);
        let orphan = hold(&start).unwrap();
        assert!(!has_ended(&orphan).unwrap());
        drop((start, other_inside));
    }

    #[test]
    fn name_of_a_program_does_not_move_the_fields_after_it() {
        assert_eq!(parent_in("17 (bwrap) S 12 17 9"), Some(12));
        assert_eq!(parent_in("17 (a) S 1 (b)) R 12 17 9"), Some(12));
        assert_eq!(parent_in("17 (bwrap)"), None);
    }
}
