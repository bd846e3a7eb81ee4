//! Places that can fail, and how. In: a system call with its stack. Out: which place that is, of
//! which kind, and the errors that the kernel can return there. Never: an error that the kernel
//! does not return for this call.

use std::fmt;
use std::path::PathBuf;

use libc::{c_int, user_regs_struct};

/// How many of our own functions, from the call outwards, identify a place: a helper is as many
/// places as it has callers, and a poll is one wherever the runtime happens to call it from.
const OWN_FRAMES: usize = 2;

/// The kind of a call that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Memory,
    Disk,
    Process,
    Pipe,
    Socket,
    Readiness,
    Entropy,
}

impl Kind {
    pub const ALL: [Self; 7] = [
        Self::Memory,
        Self::Disk,
        Self::Process,
        Self::Pipe,
        Self::Socket,
        Self::Readiness,
        Self::Entropy,
    ];

    /// Returns the kind of a call; none for one without an error that its caller could get.
    ///
    /// Left out: `close`, `exit`, `munmap`, `madvise` and `futex`, whose callers are not told or
    /// may not care, and calls that fail only for arguments that are wrong.
    pub fn of(number: i64, target: Target) -> Option<Self> {
        let (kind, _) = CALLS
            .iter()
            .find(|(_, calls)| calls.iter().any(|(known, _)| *known == number))?;
        kind.or(match target {
            Target::Socket => Some(Self::Socket),
            Target::Pipe | Target::Pair => Some(Self::Pipe),
            Target::Event => Some(Self::Readiness),
            Target::File => Some(Self::Disk),
            Target::Nothing => None,
        })
    }
}

/// Numbers of system calls, with their names.
type Names = &'static [(i64, &'static str)];

macro_rules! names {
    ($($name:ident)*) => { &[$((libc::$name, stringify!($name))),*] };
}

/// Every call that can fail, with its kind where its descriptor does not decide that.
const CALLS: [(Option<Kind>, Names); 8] = [
    (
        Some(Kind::Memory),
        names! { SYS_brk SYS_mmap SYS_mremap SYS_mprotect },
    ),
    (
        Some(Kind::Process),
        names! {
            SYS_clone SYS_clone3 SYS_fork SYS_vfork SYS_execve SYS_wait4 SYS_waitid SYS_pidfd_open SYS_pidfd_send_signal
            SYS_kill SYS_unshare SYS_setns SYS_mount SYS_umount2 SYS_prlimit64 SYS_close_range SYS_dup2 SYS_dup3 SYS_chdir
            SYS_setuid SYS_setgid SYS_setgroups SYS_memfd_create SYS_fcntl
        },
    ),
    (Some(Kind::Pipe), names! { SYS_pipe2 }),
    (
        Some(Kind::Socket),
        names! {
            SYS_socket SYS_socketpair SYS_bind SYS_listen SYS_accept4 SYS_connect SYS_getsockname SYS_getsockopt
            SYS_setsockopt SYS_shutdown
        },
    ),
    (
        Some(Kind::Readiness),
        names! { SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_wait SYS_epoll_pwait SYS_eventfd2 SYS_poll SYS_ppoll },
    ),
    (Some(Kind::Entropy), names! { SYS_getrandom }),
    (
        None,
        names! { SYS_read SYS_write SYS_readv SYS_writev SYS_recvfrom SYS_recvmsg SYS_sendto SYS_sendmsg },
    ),
    (
        Some(Kind::Disk),
        names! {
            SYS_open SYS_openat SYS_openat2 SYS_pread64 SYS_pwrite64 SYS_lseek SYS_fsync SYS_fdatasync SYS_ftruncate
            SYS_fallocate SYS_stat SYS_lstat SYS_fstat SYS_newfstatat SYS_statx SYS_statfs SYS_getdents64 SYS_readlink
            SYS_readlinkat SYS_access SYS_faccessat SYS_faccessat2 SYS_getcwd SYS_mkdir SYS_mkdirat SYS_rmdir SYS_unlink
            SYS_unlinkat SYS_rename SYS_renameat SYS_renameat2 SYS_link SYS_linkat SYS_symlink SYS_symlinkat SYS_chmod
            SYS_fchmod SYS_fchmodat SYS_chown SYS_fchown SYS_fchownat SYS_utimensat SYS_copy_file_range SYS_sendfile
        },
    ),
];

/// The target of a call's first argument, where that is a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// No descriptor, or one whose kind decides nothing.
    Nothing,
    File,
    Pipe,
    Socket,
    /// A socket of this machine: both ends of such a pair are the service's, and nobody resets it.
    Pair,
    /// A counter or a watch of events, whose reads and writes return no errors.
    Event,
}

impl Target {
    /// Returns the target of a descriptor, from its link in `/proc` and the sockets of this
    /// machine, as in `/proc/net/unix`.
    pub fn of(number: i64, link: impl Fn() -> Option<PathBuf>, pairs: impl Fn() -> String) -> Self {
        if !ON_DESCRIPTOR.contains(&number) {
            return Self::Nothing;
        }
        let Some(path) = link() else {
            return Self::Nothing;
        };
        let path = path.to_string_lossy();
        match path.split_once(':') {
            Some(("socket", inode)) => {
                let inode = inode.trim_matches(['[', ']']);
                let is_pair = pairs()
                    .lines()
                    .any(|line| line.split_whitespace().nth(6) == Some(inode));
                if is_pair { Self::Pair } else { Self::Socket }
            }
            Some(("pipe", _)) => Self::Pipe,
            Some(("anon_inode", _)) => Self::Event,
            _ => Self::File,
        }
    }
}

const ON_DESCRIPTOR: [i64; 8] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
];

/// A place in the code from which the system is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub kind: Kind,
    pub number: i64,
    target: Target,
    /// Return addresses, from the call outwards, down to the last function of ours that counts.
    pub stack: Vec<u64>,
}

impl Key {
    pub fn new(
        number: i64,
        target: Target,
        kind: Kind,
        stack: &[u64],
        is_own: impl Fn(u64) -> bool,
    ) -> Self {
        let counting = if kind == Kind::Memory { 1 } else { OWN_FRAMES };
        let own = stack
            .iter()
            .enumerate()
            .filter(|(_, address)| is_own(**address));
        let end = own
            .map(|(index, _)| index + 1)
            .nth(counting - 1)
            .unwrap_or(stack.len());
        Self {
            number,
            target,
            kind,
            stack: stack[..end].to_vec(),
        }
    }

    /// Returns whether a call of this kind can wait, and if so, whether its descriptor decides
    /// that.
    pub fn waits(&self) -> Option<bool> {
        match self.number {
            libc::SYS_epoll_wait
            | libc::SYS_epoll_pwait
            | libc::SYS_poll
            | libc::SYS_ppoll
            | libc::SYS_wait4
            | libc::SYS_waitid => Some(false),
            libc::SYS_read
            | libc::SYS_write
            | libc::SYS_readv
            | libc::SYS_writev
            | libc::SYS_pread64
            | libc::SYS_pwrite64
            | libc::SYS_accept4
            | libc::SYS_connect
            | libc::SYS_recvfrom
            | libc::SYS_recvmsg
            | libc::SYS_sendto
            | libc::SYS_sendmsg => Some(true),
            _ => None,
        }
    }

    /// Returns the ways in which this place can fail.
    pub fn faults(&self, call: &Call) -> Vec<Fault> {
        let mut all: Vec<_> = self
            .errors()
            .iter()
            .map(|errno| Fault {
                errno: *errno,
                kind: self.kind,
            })
            .collect();
        all.extend(call.interruptible.then_some(Fault {
            errno: libc::EINTR,
            kind: self.kind,
        }));
        all
    }

    fn errors(&self) -> &'static [c_int] {
        match self.number {
            _ if [Target::Pair, Target::Event].contains(&self.target) => &[],
            libc::SYS_open | libc::SYS_openat | libc::SYS_openat2 => &[libc::EMFILE, libc::EIO],
            libc::SYS_mkdir
            | libc::SYS_mkdirat
            | libc::SYS_rename
            | libc::SYS_renameat
            | libc::SYS_renameat2 => &[libc::ENOSPC],
            libc::SYS_link | libc::SYS_linkat | libc::SYS_symlink | libc::SYS_symlinkat => {
                &[libc::ENOSPC]
            }
            libc::SYS_pwrite64
            | libc::SYS_ftruncate
            | libc::SYS_fallocate
            | libc::SYS_copy_file_range => &[libc::ENOSPC, libc::EIO],
            libc::SYS_clone | libc::SYS_clone3 | libc::SYS_fork | libc::SYS_vfork => {
                &[libc::EAGAIN, libc::ENOMEM]
            }
            libc::SYS_execve => &[libc::ENOMEM, libc::EACCES],
            libc::SYS_wait4 | libc::SYS_waitid => &[libc::ECHILD],
            libc::SYS_pidfd_send_signal
            | libc::SYS_kill
            | libc::SYS_setuid
            | libc::SYS_setgid
            | libc::SYS_prlimit64 => &[libc::EPERM],
            libc::SYS_setgroups | libc::SYS_unshare | libc::SYS_mount | libc::SYS_chdir => {
                &[libc::EPERM]
            }
            libc::SYS_pidfd_open
            | libc::SYS_memfd_create
            | libc::SYS_pipe2
            | libc::SYS_socket
            | libc::SYS_socketpair => &[libc::EMFILE],
            libc::SYS_eventfd2
            | libc::SYS_epoll_create1
            | libc::SYS_dup2
            | libc::SYS_dup3
            | libc::SYS_fcntl => &[libc::EMFILE],
            libc::SYS_accept4 => &[libc::EMFILE, libc::ECONNABORTED],
            libc::SYS_bind => &[libc::EADDRINUSE],
            libc::SYS_sendto | libc::SYS_sendmsg => &[libc::EPIPE],
            libc::SYS_getrandom => &[libc::EIO],
            libc::SYS_write | libc::SYS_writev => match self.kind {
                Kind::Socket => &[libc::EPIPE, libc::ECONNRESET],
                Kind::Pipe => &[libc::EPIPE],
                _ => &[libc::ENOSPC, libc::EIO],
            },
            _ => match self.kind {
                Kind::Memory | Kind::Process | Kind::Readiness => &[libc::ENOMEM],
                Kind::Socket => &[libc::ECONNRESET],
                Kind::Disk | Kind::Pipe | Kind::Entropy => &[libc::EIO],
            },
        }
    }
}

/// The observations of a place.
#[derive(Clone, Debug)]
pub struct Call {
    /// Whether a signal can interrupt a wait there.
    pub interruptible: bool,
    pub count: u64,
}

/// One way to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub errno: c_int,
    kind: Kind,
}

impl Fault {
    /// Returns whether the fault lasts: missing memory stays missing, since the allocator asks for
    /// it in more than one way.
    pub fn lasts(self) -> bool {
        self.kind == Kind::Memory
    }

    /// Returns whether a later call fails too. A call that shrinks or changes memory asks for none.
    pub fn hits(self, number: i64, values: &user_regs_struct) -> bool {
        match number {
            libc::SYS_brk => values.rdi != 0,
            libc::SYS_mmap | libc::SYS_mremap | libc::SYS_mprotect => true,
            _ => false,
        }
    }

    /// Returns whether the service has to go on as if the fault had not happened.
    pub fn must_be_survived(self) -> bool {
        self.errno == libc::EINTR
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // "Input/output error (os error 5)".
        let text = std::io::Error::from_raw_os_error(self.errno).to_string();
        f.write_str(text.split(" (").next().unwrap_or_default())
    }
}

/// Returns the name of a call that has a kind.
pub fn name(number: i64) -> &'static str {
    let all = CALLS.iter().flat_map(|(_, calls)| calls.iter());
    all.clone()
        .find(|(known, _)| *known == number)
        .map_or("?", |(_, name)| name.trim_start_matches("SYS_"))
}
