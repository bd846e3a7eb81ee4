//! The calls that need `unsafe`. Comes in: descriptors, or the wish for a namespace. Goes out: what the name says, and
//! nothing more. Never: code between fork and exec that allocates or locks.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::{retry_on_intr, write};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::UnshareFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// First descriptor after standard input, output and error.
const FIRST_PRIVATE_DESCRIPTOR: u32 = 3;

/// Gives a child these limits, and exactly these descriptors, under the numbers that they have here, beside its standard
/// three; first of all it goes through the entrance of its control group.
///
/// Everything else closes at exec, also what was left open without close-on-exec by whoever started us.
pub(super) fn prepare(
    command: &mut Command,
    descriptors: Vec<OwnedFd>,
    limits: Vec<(Resource, Rlimit)>,
    entrance: Option<OwnedFd>,
) {
    let prepare = move || {
        if let Some(entrance) = &entrance {
            retry_on_intr(|| write(entrance, b"0"))?;
        }
        // SAFETY: close_range and fcntl are async-signal-safe system calls on numbers; a failure is returned.
        unsafe {
            let last = libc::c_uint::MAX;
            if libc::close_range(
                FIRST_PRIVATE_DESCRIPTOR,
                last,
                libc::CLOSE_RANGE_CLOEXEC as libc::c_int,
            ) != 0
            {
                return Err(io::Error::last_os_error());
            }
            for descriptor in &descriptors {
                if libc::fcntl(descriptor.as_raw_fd(), libc::F_SETFD, 0) != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
        }
        limits
            .iter()
            .try_for_each(|(resource, limit)| setrlimit(*resource, *limit).map_err(Into::into))
    };
    // SAFETY: the closure runs between fork and exec. It makes system calls only: no allocation, no lock.
    unsafe {
        command.pre_exec(prepare);
    }
}

/// Lets a child fail that has another user's groups: the standard library does not mind when it may not drop them.
pub(super) fn require_no_groups(command: &mut Command) {
    let require = || {
        // SAFETY: getgroups is an async-signal-safe system call; with room for none it only counts.
        match unsafe { libc::getgroups(0, std::ptr::null_mut()) } {
            0 => Ok(()),
            -1 => Err(io::Error::last_os_error()),
            _ => Err(io::Error::from_raw_os_error(libc::EPERM)),
        }
    };
    // SAFETY: the closure runs between fork and exec. It makes a system call only: no allocation, no lock.
    unsafe {
        command.pre_exec(require);
    }
}

/// Lets a child become a user, and fail with EAGAIN if that user has more processes than `others` then.
///
/// The kernel counts processes by user and user namespace, whichever other namespaces they are in. It
/// compares when the user changes, and again when the program starts (setrlimit(2), execve(2)).
pub(super) fn become_if_alone(command: &mut Command, user: u32, others: u64) {
    let limit = Rlimit {
        current: Some(others),
        maximum: Some(others),
    };
    let become_user = move || {
        setrlimit(Resource::Nproc, limit)?;
        // SAFETY: these are async-signal-safe system calls on numbers; setgroups reads nothing where there are none.
        unsafe {
            // Some containers allow nobody to drop groups. What is counted is the user.
            libc::setgroups(0, std::ptr::null());
            if libc::setresgid(user, user, user) != 0 || libc::setresuid(user, user, user) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: the closure runs between fork and exec. It makes system calls only: no allocation, no lock.
    unsafe {
        command.pre_exec(become_user);
    }
}

/// Gives a child a user namespace of its own, in which no further one can be made.
///
/// Nobody is mapped in it yet. `user.max_user_namespaces` belongs to each namespace (namespaces(7), user_namespaces(7)).
pub(super) fn unshare_users(command: &mut Command) {
    let unshare = || {
        // SAFETY: a new user namespace shares no descriptor table and no memory mapping with anybody; open, write and
        // close are async-signal-safe system calls on a constant and a number.
        unsafe {
            rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER)?;
            let limit = libc::open(
                c"/proc/sys/user/max_user_namespaces".as_ptr(),
                libc::O_WRONLY | libc::O_CLOEXEC,
            );
            if limit < 0
                || libc::write(limit, c"0".as_ptr().cast(), 1) != 1
                || libc::close(limit) != 0
            {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: the closure runs between fork and exec. It makes system calls only: no allocation, no lock.
    unsafe {
        command.pre_exec(unshare);
    }
}

/// Leaves the machine's mount namespace for a copy of it.
///
/// Only for a process that has no thread beside the calling one.
#[cfg(feature = "host")]
pub(super) fn unshare_mounts() -> io::Result<()> {
    // SAFETY: a new mount namespace alone shares no descriptor table and no memory mapping with anybody; what the
    // caller promised about threads keeps all of the process in the same namespace.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.map_err(Into::into)
}

/// Leaves the network namespace for an empty one of this thread's own.
pub(super) fn unshare_network() -> io::Result<()> {
    // SAFETY: a new network namespace shares no descriptor table and no memory mapping with anybody.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.map_err(Into::into)
}

/// Waits until a descriptor is readable.
pub(super) async fn readable(descriptor: OwnedFd) -> io::Result<()> {
    // SAFETY: the descriptor is owned, so it stays open, and the same, for as long as tokio watches it.
    let watched = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
    watched.map_err(io::Error::from)?.readable().await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_with_groups_is_none() {
        let mut command = Command::new("/usr/bin/true");
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            // SAFETY: setgroups is an async-signal-safe system call; it reads one number of ours.
            let join = || match unsafe { libc::setgroups(1, &libc::gid_t::MAX.wrapping_sub(2)) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            };
            // SAFETY: the closure makes a system call only.
            unsafe { command.pre_exec(join) };
        }
        require_no_groups(&mut command);
        let has_groups = is_root || !rustix::process::getgroups().unwrap().is_empty();
        assert_eq!(command.status().is_err(), has_groups);
    }
}
