//! Makes the calls that need `unsafe`.
//!
//! * In: descriptors, limits, users, or nothing.
//! * Out: one effect for each function, the one that its name says.
//! * Never: code between fork and exec that allocates or locks.
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

/// The first descriptor after standard input, output and error.
const FIRST_PRIVATE_DESCRIPTOR: u32 = 3;

/// Gives a child these limits, and exactly these descriptors beside its standard three, under the
/// numbers that they have here. First of all, the child enters its control group by `entrance`.
///
/// All other descriptors close at exec, also those that the process that started us left open
/// without close-on-exec.
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
        // SAFETY: close_range and fcntl are async-signal-safe system calls on numbers; a failure is
        // returned.
        unsafe {
            let last = libc::c_uint::MAX;
            let flags = libc::CLOSE_RANGE_CLOEXEC as libc::c_int;
            if libc::close_range(FIRST_PRIVATE_DESCRIPTOR, last, flags) != 0 {
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
    // SAFETY: the closure runs between fork and exec. It makes system calls only: no allocation, no
    // lock.
    unsafe {
        command.pre_exec(prepare);
    }
}

/// Makes a child fail that has groups of another user: the standard library ignores it when it may
/// not drop them.
pub(super) fn require_no_groups(command: &mut Command) {
    let require = || {
        // SAFETY: getgroups is an async-signal-safe system call; with room for no group it only
        // counts.
        match unsafe { libc::getgroups(0, std::ptr::null_mut()) } {
            0 => Ok(()),
            -1 => Err(io::Error::last_os_error()),
            _ => Err(io::Error::from_raw_os_error(libc::EPERM)),
        }
    };
    // SAFETY: the closure runs between fork and exec. It makes a system call only: no allocation,
    // no lock.
    unsafe {
        command.pre_exec(require);
    }
}

/// Makes a child become a user, or fail with EAGAIN if that user has more than `others` processes
/// then.
///
/// The kernel counts processes by user and user namespace, whichever other namespaces they are in.
/// It compares the count when the user changes, and again when the program starts (setrlimit(2),
/// execve(2)).
pub(super) fn become_if_alone(command: &mut Command, user: u32, others: u64) {
    let limit = Rlimit {
        current: Some(others),
        maximum: Some(others),
    };
    let become_user = move || {
        setrlimit(Resource::Nproc, limit)?;
        // SAFETY: these are async-signal-safe system calls on numbers; setgroups with a count of
        // zero reads nothing.
        unsafe {
            // Some containers do not allow groups to be dropped. The kernel counts by user only.
            libc::setgroups(0, std::ptr::null());
            if libc::setresgid(user, user, user) != 0 || libc::setresuid(user, user, user) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: the closure runs between fork and exec. It makes system calls only: no allocation, no
    // lock.
    unsafe {
        command.pre_exec(become_user);
    }
}

/// Gives a child its own user namespace, in which no further one can be created.
///
/// No user is mapped in it yet. Each namespace has its own `user.max_user_namespaces`
/// (namespaces(7), user_namespaces(7)).
pub(super) fn unshare_users(command: &mut Command) {
    let unshare = || {
        // SAFETY: a new user namespace shares no descriptor table and no memory mapping with any
        // process; open, write and close are async-signal-safe system calls on a constant and a
        // number.
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
    // SAFETY: the closure runs between fork and exec. It makes system calls only: no allocation, no
    // lock.
    unsafe {
        command.pre_exec(unshare);
    }
}

/// Moves this process from the machine's mount namespace into a copy of it.
///
/// The process must have no thread beside the calling one.
#[cfg(feature = "host")]
pub(super) fn unshare_mounts() -> io::Result<()> {
    // SAFETY: a new mount namespace alone shares no descriptor table and no memory mapping with any
    // process; the caller's promise about threads keeps all of the process in the same namespace.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.map_err(Into::into)
}

/// Moves this thread into a new network namespace, which is empty.
pub(super) fn unshare_network() -> io::Result<()> {
    // SAFETY: a new network namespace shares no descriptor table and no memory mapping with any
    // process.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.map_err(Into::into)
}

/// Waits until a descriptor is readable.
pub(super) async fn readable(descriptor: OwnedFd) -> io::Result<()> {
    // SAFETY: the descriptor is owned, so it stays open and the same as long as tokio watches it.
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
            // SAFETY: setgroups is an async-signal-safe system call; it reads one number of this
            // function.
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
