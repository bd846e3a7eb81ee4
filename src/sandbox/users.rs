//! The users that belong to one service for as long as it lives, and to no other service of this
//! machine: what the kernel counts by user, such as processes, one job cannot use up for another.
//!
//! - Comes in: the locks of other services, and what the kernel says of users.
//! - Goes out: one user for commands, and a user namespace in which there is a root and 65,535
//!   others for services that make sandboxes themselves. All of them are nobody on the machine.
//! - Never: a user of the machine among them, a user that another service has, or a further user
//!   namespace below that one.
//!
//! A lock is a file, which two containers with a `/run` of their own do not share, though they may share
//! the users. So each service also has a process that does nothing, under a user of its own: the kernel
//! refuses a second one to whoever asks for it, wherever that is.

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

/// The machine's id of the first user of the first service. Ids of people, of packages and of
/// `subuid` files stay far below; the kernel's own end is at 4,294,967,295.
const FIRST_ID: u32 = 2_000_000_000;
/// Users of the namespace: as many as a machine has without namespaces in its first 16 bits. 65534
/// is among them, and ranges for build users.
const NAMESPACE_IDS: u32 = 65_536;
/// How far apart the users of two services begin: the namespace's, then the one of commands.
const IDS_OF_A_SERVICE: u32 = 2 * NAMESPACE_IDS;
/// How many services can run at once. Their ids stay below 2^31, which some programs take for the
/// end.
const MAX_SERVICES: u32 = 1024;
/// Where those ids do not exist, which is in a container with users of its own: the highest id of
/// commands, below the 65534 that means "not mapped". The next service has the next lower one.
const HIGHEST_ID_IN_CONTAINERS: u32 = 65_532;
/// How far below it is the user of the process that does nothing.
const PRESENCE_IN_CONTAINERS: u32 = MAX_SERVICES;
/// Has a file for each service, which it holds locked. The kernel unlocks it when the service ends,
/// however it ends.
const LOCKS: &str = "/run/kettle-users";
const LOCKS_MODE: u32 = 0o700;
const LOCK_MODE: u32 = 0o600;
/// Permissions of others than its owner that make a folder unfit for locks.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Waits for the end of its input: while a namespace has no other process, and for as long as a service
/// lives.
const WAITER: &str = "/usr/bin/cat";

/// The users of this service. Dropping gives them back.
#[derive(Debug)]
pub(super) struct Users {
    ids: Ids,
    _presence: Presence,
    _lock: File,
}

/// The users of one service, by their numbers on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ids {
    /// The first of the namespace.
    first: u32,
    of_commands: u32,
    /// Of the process that does nothing.
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

/// A process that does nothing, and keeps its user from being taken. The kernel ends it by the end of its
/// input when the service ends, however that ends.
#[derive(Debug)]
struct Presence(Child);

impl Presence {
    /// Returns none if the user has a process already.
    fn take(user: u32) -> io::Result<Option<Self>> {
        let Some(presence) = Self::among(user, 0)? else {
            return Ok(None);
        };
        // Somebody else may have done the same in the same moment: then neither has it.
        let is_alone = Self::among(user, 1)?.is_some();
        Ok(Some(presence).filter(|_| is_alone))
    }

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
        // It may have been killed already; that it is collected gives the user back.
        let ended = self.0.kill().and_then(|()| self.0.wait());
        if let Err(error) = ended {
            log::warn!("the process that keeps a user could not be ended: {error}");
        }
    }
}

/// Gives `take` the locks that no other service has, one after the other, until it takes one.
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
    /// Takes the first users that no other service has; only for root.
    pub(super) fn claim() -> Result<Self, SetupError> {
        first_free(Path::new(LOCKS), |service, lock| {
            Self::of(Ids::of(service)?, lock)
        })
    }

    /// Returns none if somebody else has these users.
    fn of(ids: Ids, lock: File) -> io::Result<Option<Self>> {
        let Some(presence) = Presence::take(ids.of_presence)? else {
            return Ok(None);
        };
        // Somebody who is no service of ours may have a process of this user.
        let is_free = Presence::take(ids.of_commands)?.is_some();
        Ok(is_free.then_some(Self {
            ids,
            _presence: presence,
            _lock: lock,
        }))
    }

    /// The uid and gid of commands.
    pub(super) fn of_commands(&self) -> u32 {
        self.ids.of_commands
    }

    /// The uid and gid of the namespace's root, on the machine.
    pub(super) fn of_service(&self) -> u32 {
        self.ids.first
    }

    /// Makes a namespace, which lives as long as the descriptor or a process in it.
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

    fn map(&self, waiter: &Child) -> io::Result<OwnedFd> {
        let file = |name| format!("/proc/{}/{name}", waiter.id());
        let ids = format!("0 {} {NAMESPACE_IDS}\n", self.ids.first);
        fs::write(file("uid_map"), &ids)?;
        fs::write(file("gid_map"), &ids)?;
        Ok(File::open(file("ns/user"))?.into())
    }
}

/// A folder that others can write would let them take the locks, or show us a file of their own.
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

/// Whether our user namespace has all ids of the service that begin here. Lines are: first id here,
/// first id outside, how many (user_namespaces(7)).
fn is_mapped(map: &str, first: u32) -> io::Result<bool> {
    let (first, end) = (
        u64::from(first),
        u64::from(first) + u64::from(IDS_OF_A_SERVICE),
    );
    let holds = |line: &str| {
        let numbers: Vec<u64> = line
            .split_whitespace()
            .filter_map(|number| number.parse().ok())
            .collect();
        matches!(numbers[..], [inside, _, count] if inside <= first && end <= inside + count)
    };
    Ok(fs::read_to_string(map)?.lines().any(holds))
}

/// Returns none when another service has it.
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

    /// As [`Users::claim`], but that nobody is asked whether the users are free: that takes root.
    fn claim_in(locks: &Path) -> Result<(Ids, File), SetupError> {
        first_free(locks, |service, lock| Ok(Some((Ids::of(service)?, lock))))
    }

    #[test]
    fn no_two_services_have_a_user_in_common() {
        let folder = tempfile::tempdir().unwrap();
        let claim = || claim_in(&folder.path().join("locks")).unwrap();
        let ((first, lock), (second, _)) = (claim(), claim());
        assert!(first.first + NAMESPACE_IDS <= first.of_commands);
        assert!(first.of_commands < first.of_presence && first.of_presence < second.first);
        drop(lock);
        assert_eq!(claim().0, first);
    }

    #[test]
    fn users_that_somebody_else_has_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let take = |service, _| Ok((service == 2).then_some(service));
        assert_eq!(first_free(folder.path(), take).unwrap(), 2);
        let refused = first_free(folder.path(), |_, _| Ok(None::<()>));
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
        let folder = tempfile::tempdir().unwrap();
        let locks = folder.path().join("locks");
        fs::create_dir(&locks).unwrap();
        fs::set_permissions(&locks, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(claim_in(&locks), Err(SetupError::Path { .. })));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/tmp", &link).unwrap();
        assert!(matches!(claim_in(&link), Err(SetupError::Path { .. })));
    }

    #[test]
    fn a_service_beyond_the_last_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let held: Vec<_> = (0..MAX_SERVICES).map(|_| claim_in(folder.path())).collect();
        // A process may not have so many open files; then it is that which is said, and no user is
        // given twice.
        let ids: std::collections::BTreeSet<_> = held
            .iter()
            .flatten()
            .map(|(ids, _)| ids.of_commands)
            .collect();
        assert!(ids.len() > 1);
        assert_eq!(ids.len(), held.iter().flatten().count());
        assert!(claim_in(folder.path()).is_err());
    }
}
