//! Claims the users that belong to one service as long as it lives, and to no other service of this
//! machine. So one job cannot use up for another what the kernel counts by user, such as processes.
//!
//! * In: the locks of other services, and the kernel's count of the processes of a user.
//! * Out: one user for commands, and a user namespace with a root and 65,535 others for services
//!   that make sandboxes themselves. On the machine, all of them are ids that nothing else uses.
//! * Never: a user of the machine among them, a user that another service has, or a further user
//!   namespace below that one.
//!
//! A lock is a file. Two containers that each have their own `/run` do not share it, though they
//! may share the users. So each service also has a process that does nothing, under a user of its
//! own: the kernel refuses a second process of that user to any service, in any container.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{SetupError, kernel};

/// The machine's id of the first user of the first service. The ids of people, of packages and of
/// `subuid` files are far below; the kernel's own limit is 4,294,967,295.
const FIRST_ID: u32 = 2_000_000_000;
/// The number of users of the namespace: all that 16 bits can name, as on a machine without
/// namespaces. Among them are 65534, and ranges for build users.
const NAMESPACE_IDS: u32 = 65_536;
/// The distance between the first users of two services. It has room for those of the namespace,
/// the one of commands and the one of the process that does nothing.
const IDS_OF_A_SERVICE: u32 = 2 * NAMESPACE_IDS;
/// How many services can run at once. Their ids stay below 2^31, which some programs take for the
/// limit.
const MAX_SERVICES: u32 = 1024;
/// The highest id of commands where those ids do not exist, which is in a container with its own
/// users. It is below the 65534 that means "not mapped". The next service has the next lower id.
const HIGHEST_ID_IN_CONTAINERS: u32 = 65_532;
/// How far below the id of commands that of the process that does nothing is, in such a container.
const PRESENCE_IN_CONTAINERS: u32 = MAX_SERVICES;
/// The directory of the locks: one file for each service, which the service holds locked. The
/// kernel unlocks it when the service ends, however it ends.
const LOCKS: &str = "/run/kettle-users";
const LOCKS_MODE: u32 = 0o700;
const LOCK_MODE: u32 = 0o600;
/// The permissions of others than its owner that make a directory unfit for locks.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// A program that waits for the end of its input: while a namespace has no other process, and as
/// long as a service lives.
const WAITER: &str = "/usr/bin/cat";

/// Holds the users of this service. Dropping releases them.
#[derive(Debug)]
pub(super) struct Users {
    ids: Ids,
    _presence: Presence,
    _lock: File,
}

/// The users of one service, by their numbers on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ids {
    /// The first user of the namespace, its root.
    first: u32,
    of_commands: u32,
    /// The user of the process that does nothing.
    of_presence: u32,
}

impl Ids {
    fn of(service: u32) -> io::Result<Self> {
        let first = FIRST_ID + service * IDS_OF_A_SERVICE;
        let exist =
            is_mapped("/proc/self/uid_map", first)? && is_mapped("/proc/self/gid_map", first)?;
        let (of_commands, of_presence) = if exist {
            (first + NAMESPACE_IDS, first + NAMESPACE_IDS + 1)
        } else {
            let highest = HIGHEST_ID_IN_CONTAINERS - service;
            (highest, highest - PRESENCE_IN_CONTAINERS)
        };
        Ok(Self {
            first,
            of_commands,
            of_presence,
        })
    }
}

/// A process that does nothing, so that no other service can take its user. It ends with its input,
/// which the kernel closes when the service ends, however it ends.
#[derive(Debug)]
struct Presence(Child);

impl Presence {
    /// Starts the process. Returns none if the user has a process already.
    fn take(user: u32) -> io::Result<Option<Self>> {
        let Some(presence) = Self::among(user, 0)? else {
            return Ok(None);
        };
        // Another service may have done the same at the same moment: then neither takes the user.
        let is_alone = Self::among(user, 1)?.is_some();
        Ok(Some(presence).filter(|_| is_alone))
    }

    /// Starts a process of the user. Returns none if the user has more than `others` processes.
    fn among(user: u32, others: u64) -> io::Result<Option<Self>> {
        let mut command = Command::new(WAITER);
        command.env_clear().current_dir("/");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        kernel::become_if_alone(&mut command, user, others);
        match command.spawn() {
            Ok(child) => Ok(Some(Self(child))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        // It may have been killed already. Collecting it releases the user.
        let ended = self.0.kill().and_then(|()| self.0.wait());
        if let Err(error) = ended {
            log::warn!("the process that reserves a user could not be ended: {error}");
        }
    }
}

/// Calls `take` with each lock that no other service holds, until it takes one.
fn first_free<T>(
    locks: &Path,
    mut take: impl FnMut(u32, File) -> io::Result<Option<T>>,
) -> Result<T, SetupError> {
    let failed = |source| SetupError::Path {
        path: locks.to_owned(),
        source,
    };
    make_lock_directory(locks).map_err(failed)?;
    for service in 0..MAX_SERVICES {
        if let Some(lock) = try_lock(&locks.join(service.to_string())).map_err(failed)?
            && let Some(taken) = take(service, lock).map_err(failed)?
        {
            return Ok(taken);
        }
    }
    Err(SetupError::NoUsers {
        limit: MAX_SERVICES,
    })
}

impl Users {
    /// Claims the first users that no other service has. Only root can do this.
    pub(super) fn claim() -> Result<Self, SetupError> {
        first_free(Path::new(LOCKS), |service, lock| {
            Self::of(Ids::of(service)?, lock)
        })
    }

    /// Claims these users. Returns none if another process has one of them.
    fn of(ids: Ids, lock: File) -> io::Result<Option<Self>> {
        let Some(presence) = Presence::take(ids.of_presence)? else {
            return Ok(None);
        };
        // A process of this user may run that belongs to no service.
        let is_free = Presence::take(ids.of_commands)?.is_some();
        Ok(is_free.then_some(Self {
            ids,
            _presence: presence,
            _lock: lock,
        }))
    }

    /// Returns the uid and gid of commands.
    pub(super) fn of_commands(&self) -> u32 {
        self.ids.of_commands
    }

    /// Returns the machine's uid and gid of the namespace's root.
    pub(super) fn of_service(&self) -> u32 {
        self.ids.first
    }

    /// Creates a user namespace, which lives as long as the descriptor or a process in it.
    ///
    /// Its owner is [`Users::of_service`], so that a process of that user may enter it and has all
    /// capabilities there.
    pub(super) fn make_namespace(&self) -> io::Result<OwnedFd> {
        let mut command = Command::new(WAITER);
        command
            .env_clear()
            .current_dir("/")
            .uid(self.ids.first)
            .gid(self.ids.first);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        kernel::unshare_users(&mut command);
        let mut waiter = command.spawn()?;
        let namespace = self.map(&waiter);
        waiter.kill().and_then(|()| waiter.wait())?;
        namespace
    }

    /// Maps the users of the namespace in which `waiter` is, and opens the namespace.
    fn map(&self, waiter: &Child) -> io::Result<OwnedFd> {
        let file = |name| format!("/proc/{}/{name}", waiter.id());
        let ids = format!("0 {} {NAMESPACE_IDS}\n", self.ids.first);
        fs::write(file("uid_map"), &ids)?;
        fs::write(file("gid_map"), &ids)?;
        Ok(File::open(file("ns/user"))?.into())
    }
}

/// Creates the directory of the locks, or checks the one that exists. If other users could write
/// it, they could take the locks, or replace them by files of their own.
fn make_lock_directory(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(LOCKS_MODE).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = path.symlink_metadata()?;
    let is_ours = found.is_dir() && found.uid() == rustix::process::geteuid().as_raw();
    if is_ours && found.mode() & WRITABLE_BY_OTHERS == 0 {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        "it is not a directory that only root can write",
    ))
}

/// Returns whether our user namespace has all ids of the service that begins at `first`. A line has
/// the first id inside, the first id outside and the number of ids (user_namespaces(7)).
fn is_mapped(map: &str, first: u32) -> io::Result<bool> {
    let first = u64::from(first);
    let end = first + u64::from(IDS_OF_A_SERVICE);
    let has_all = |line: &str| {
        let numbers = line.split_whitespace().filter_map(|word| word.parse().ok());
        let numbers: Vec<u64> = numbers.collect();
        matches!(numbers[..], [inside, _, count] if inside <= first && end <= inside + count)
    };
    Ok(fs::read_to_string(map)?.lines().any(has_all))
}

/// Locks a file. Returns none if another service has it.
fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(LOCK_MODE)
        .open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Does the same as [`Users::claim`], without asking the kernel whether the users are free:
    /// only root can do that.
    fn claim_in(locks: &Path) -> Result<(Ids, File), SetupError> {
        first_free(locks, |service, lock| Ok(Some((Ids::of(service)?, lock))))
    }

    #[test]
    fn no_two_services_have_a_user_in_common() {
        let directory = tempfile::tempdir().unwrap();
        let claim = || claim_in(&directory.path().join("locks")).unwrap();
        let ((first, lock), (second, _)) = (claim(), claim());
        assert!(first.first + NAMESPACE_IDS <= first.of_commands);
        assert!(first.of_commands < first.of_presence && first.of_presence < second.first);
        drop(lock);
        assert_eq!(claim().0, first);
    }

    #[test]
    fn users_that_somebody_else_has_are_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let take = |service, _| Ok((service == 2).then_some(service));
        assert_eq!(first_free(directory.path(), take).unwrap(), 2);
        let refused = first_free(directory.path(), |_, _| Ok(None::<()>));
        assert!(matches!(refused, Err(SetupError::NoUsers { .. })));
    }

    #[test]
    fn ids_of_one_service_in_a_container_are_not_those_of_another() {
        let lowest_of_commands = HIGHEST_ID_IN_CONTAINERS - (MAX_SERVICES - 1);
        assert!(HIGHEST_ID_IN_CONTAINERS - PRESENCE_IN_CONTAINERS < lowest_of_commands);
    }

    #[test]
    fn ids_end_below_those_that_programs_take_for_none() {
        let last = FIRST_ID + MAX_SERVICES * IDS_OF_A_SERVICE;
        assert!(i32::try_from(last).is_ok());
    }

    #[test]
    fn locks_that_others_could_hold_are_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let locks = directory.path().join("locks");
        fs::create_dir(&locks).unwrap();
        fs::set_permissions(&locks, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(claim_in(&locks), Err(SetupError::Path { .. })));
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/tmp", &link).unwrap();
        assert!(matches!(claim_in(&link), Err(SetupError::Path { .. })));
    }

    #[test]
    fn a_service_beyond_the_last_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let held: Vec<_> = (0..MAX_SERVICES)
            .map(|_| claim_in(directory.path()))
            .collect();
        // A process may not be allowed so many open files. Then the error is another one, and still
        // no user is given twice.
        let ids: std::collections::BTreeSet<_> = held
            .iter()
            .flatten()
            .map(|(ids, _)| ids.of_commands)
            .collect();
        assert!(ids.len() > 1);
        assert_eq!(ids.len(), held.iter().flatten().count());
        assert!(claim_in(directory.path()).is_err());
    }
}
