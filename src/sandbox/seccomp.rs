//! The system call filter. Comes in: the lists of `syscalls` and for whom the filter is. Goes out: two classic BPF
//! programs as the kernel loads them. Never: a default that allows.
//!
//! The first program allows what is listed and answers everything else with `ENOSYS`. That includes `clone3`, whose
//! flags a filter cannot see (glibc falls back to `clone`), and the x32 ABI, whose numbers have a bit that no listed
//! number has. Another architecture (32-bit calls) kills the process. The second program is loaded later, so its
//! `EPERM` prevails: calls refused by name, and arguments of allowed calls.

use std::collections::{BTreeMap, BTreeSet};

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

use super::spec::Network;
use super::syscalls::{ALLOWED, REFUSED, SANDBOX_MAKING, Syscall};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Namespaces that `clone` can make: each is the way to more kernel code.
const NAMESPACE_FLAGS: [libc::c_int; 7] = [
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
];
/// Kinds of sockets of one family and type: with which protocols they open.
struct SocketKind {
    family: libc::c_int,
    /// Without `SOCK_CLOEXEC` and `SOCK_NONBLOCK`.
    socket_type: libc::c_int,
    protocols: &'static [libc::c_int],
}

impl SocketKind {
    const fn new(
        family: libc::c_int,
        socket_type: libc::c_int,
        protocols: &'static [libc::c_int],
    ) -> Self {
        Self {
            family,
            socket_type,
            protocols,
        }
    }
}

/// The type of a socket without its flags: the kernel's `SOCK_TYPE_MASK` (`include/linux/net.h`).
const SOCKET_TYPE_MASK: u64 = 0xf;
/// Zero is the family's own choice of a protocol: TCP for a stream, UDP for datagrams, and all
/// there is for UNIX.
const OWN_CHOICE: libc::c_int = 0;
const UNIX_SOCKETS: [SocketKind; 3] = [
    SocketKind::new(libc::AF_UNIX, libc::SOCK_STREAM, &[OWN_CHOICE]),
    SocketKind::new(libc::AF_UNIX, libc::SOCK_DGRAM, &[OWN_CHOICE]),
    SocketKind::new(libc::AF_UNIX, libc::SOCK_SEQPACKET, &[OWN_CHOICE]),
];
/// Every further protocol of these families is kernel code that no build needs, and that the kernel
/// would load modules for: MPTCP, SCTP, DCCP, UDP-Lite, L2TP, SMC, ICMP, raw. So is every further
/// family: netlink, vsock (to the host), packet, alg, key and the rest.
const INTERNET_SOCKETS: [SocketKind; 4] = [
    SocketKind::new(
        libc::AF_INET,
        libc::SOCK_STREAM,
        &[OWN_CHOICE, libc::IPPROTO_TCP],
    ),
    SocketKind::new(
        libc::AF_INET,
        libc::SOCK_DGRAM,
        &[OWN_CHOICE, libc::IPPROTO_UDP],
    ),
    SocketKind::new(
        libc::AF_INET6,
        libc::SOCK_STREAM,
        &[OWN_CHOICE, libc::IPPROTO_TCP],
    ),
    SocketKind::new(
        libc::AF_INET6,
        libc::SOCK_DGRAM,
        &[OWN_CHOICE, libc::IPPROTO_UDP],
    ),
];
/// Linux, Linux as 32-bit machines see it, each with and without a fixed release, and the question for the present one.
const PERSONALITIES: [u32; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// With each of them, addresses that are the same in every run: nix has its builders run so.
const ADDRESSES_FIXED: u32 = libc::ADDR_NO_RANDOMIZE.cast_unsigned();
/// Typing into a terminal, and into the console: ways out to whoever has the terminal open.
const REFUSED_IOCTLS: [libc::c_ulong; 2] = [libc::TIOCSTI, libc::TIOCLINUX];

/// For whom a filter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// An ordinary command.
    Command(Network),
    /// A service that makes sandboxes itself, with the machine's network.
    Service,
}

impl Subject {
    /// With the machine's network a command has no UNIX sockets: their abstract names belong to the
    /// network's namespace and so to the machine. A service has them: clients come by one, and they
    /// have no other way to it.
    fn sockets(self) -> Vec<&'static SocketKind> {
        match self {
            Self::Command(Network::Fetch) => INTERNET_SOCKETS.iter().collect(),
            Self::Command(Network::None) | Self::Service => {
                UNIX_SOCKETS.iter().chain(&INTERNET_SOCKETS).collect()
            }
        }
    }

    fn personalities(self) -> Vec<u32> {
        match self {
            Self::Command(_) => PERSONALITIES.into(),
            Self::Service => PERSONALITIES
                .into_iter()
                .flat_map(|one| [one, one | ADDRESSES_FIXED])
                .collect(),
        }
    }
}

/// The two programs for a command, in the order in which they are loaded.
pub(super) struct Filter(pub(super) [Vec<u8>; 2]);

impl Filter {
    /// Compiles it.
    ///
    /// # Errors
    /// The lists do not fit a filter: a fault of ours.
    pub(super) fn compile(subject: Subject) -> Result<Self, BackendError> {
        Ok(Self([
            bytes(&allow_list(subject)?),
            bytes(&refusals(subject)?),
        ]))
    }
}

/// The filters of every subject.
pub(super) struct Filters {
    without_network: Filter,
    with_network: Filter,
    service: Filter,
}

impl Filters {
    /// Compiles them.
    ///
    /// # Errors
    /// As [`Filter::compile`].
    pub(super) fn compile() -> Result<Self, BackendError> {
        Ok(Self {
            without_network: Filter::compile(Subject::Command(Network::None))?,
            with_network: Filter::compile(Subject::Command(Network::Fetch))?,
            service: Filter::compile(Subject::Service)?,
        })
    }

    /// Returns the filter of a subject.
    pub(super) fn of(&self, subject: Subject) -> &Filter {
        match subject {
            Subject::Command(Network::None) => &self.without_network,
            Subject::Command(Network::Fetch) => &self.with_network,
            Subject::Service => &self.service,
        }
    }
}

fn allow_list(subject: Subject) -> Result<BpfProgram, BackendError> {
    let more = if subject == Subject::Service {
        SANDBOX_MAKING
    } else {
        &[]
    };
    let rules = ALLOWED
        .iter()
        .copied()
        .flatten()
        .chain(more)
        .map(|&number| (number, Vec::new()))
        .collect();
    let absent = SeccompAction::Errno(libc::ENOSYS as u32);
    SeccompFilter::new(rules, absent, SeccompAction::Allow, TargetArch::x86_64)?.try_into()
}

fn refusals(subject: Subject) -> Result<BpfProgram, BackendError> {
    let mut rules: Rules = REFUSED
        .iter()
        .copied()
        .flatten()
        .map(|&number| (number, Vec::new()))
        .collect();
    rules.extend(refused_arguments(subject)?);
    if subject == Subject::Service {
        rules.retain(|number, _| *number != libc::SYS_clone && !SANDBOX_MAKING.contains(number));
    }
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, SeccompAction::Allow, refused, TargetArch::x86_64)?.try_into()
}

/// Calls that are refused with some arguments only, each with its rules: it is refused where one of them matches.
fn refused_arguments(subject: Subject) -> Result<[(Syscall, Vec<SeccompRule>); 5], BackendError> {
    let namespaces = NAMESPACE_FLAGS
        .iter()
        .map(|&flag| has_flag(0, flag as u64))
        .collect::<Result<_, _>>()?;
    let sockets = every_socket_but(&subject.sockets())?;
    let socket_pairs = every_socket_but(&UNIX_SOCKETS.iter().collect::<Vec<_>>())?;
    let personalities = subject.personalities().into_iter().map(u64::from);
    let ioctls = REFUSED_IOCTLS
        .iter()
        .map(|&request| is(1, request))
        .collect::<Result<_, _>>()?;
    Ok([
        (libc::SYS_clone, namespaces),
        (libc::SYS_socket, sockets),
        (libc::SYS_socketpair, socket_pairs),
        (libc::SYS_personality, vec![none_of(0, personalities)?]),
        (libc::SYS_ioctl, ioctls),
    ])
}

/// Rules that one of matches for each triple of family, type and protocol that is not listed. A
/// rule can only say what all of its conditions have to be, so the complement of the list is taken
/// level by level.
fn every_socket_but(allowed: &[&SocketKind]) -> Result<Vec<SeccompRule>, BackendError> {
    let families: BTreeSet<_> = allowed.iter().map(|kind| kind.family).collect();
    let mut rules = vec![none_of(0, families.iter().map(|&family| family as u64))?];
    for &family in &families {
        let is_family = || argument(0, SeccompCmpOp::Eq, family as u64);
        for socket_type in 0..=SOCKET_TYPE_MASK {
            let of_type = argument(1, SeccompCmpOp::MaskedEq(SOCKET_TYPE_MASK), socket_type)?;
            let mut conditions = vec![is_family()?, of_type];
            let is_listed = |kind: &&&SocketKind| {
                kind.family == family && kind.socket_type as u64 == socket_type
            };
            for protocol in allowed
                .iter()
                .find(is_listed)
                .map_or(&[][..], |kind| kind.protocols)
            {
                conditions.push(argument(2, SeccompCmpOp::Ne, *protocol as u64)?);
            }
            rules.push(SeccompRule::new(conditions)?);
        }
    }
    Ok(rules)
}

/// All arguments here are 32 bits wide for the kernel, which drops the upper half: a filter must drop it too.
fn argument(
    index: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)
}

fn has_flag(index: u8, flag: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![argument(index, SeccompCmpOp::MaskedEq(flag), flag)?])
}

fn is(index: u8, value: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![argument(index, SeccompCmpOp::Eq, value)?])
}

fn none_of(index: u8, values: impl IntoIterator<Item = u64>) -> Result<SeccompRule, BackendError> {
    let others = values
        .into_iter()
        .map(|value| argument(index, SeccompCmpOp::Ne, value));
    SeccompRule::new(others.collect::<Result<_, _>>()?)
}

/// The layout of the kernel's `struct sock_filter`: u16 code, u8 and u8 jumps, u32 operand, in the machine's order.
fn bytes(program: &[sock_filter]) -> Vec<u8> {
    let instruction = |i: &sock_filter| {
        let mut bytes = [0; 8];
        bytes[..2].copy_from_slice(&i.code.to_ne_bytes());
        bytes[2] = i.jt;
        bytes[3] = i.jf;
        bytes[4..].copy_from_slice(&i.k.to_ne_bytes());
        bytes
    };
    program.iter().flat_map(instruction).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiles_to_whole_instructions_within_the_limit_of_the_kernel() {
        for subject in [
            Subject::Command(Network::None),
            Subject::Command(Network::Fetch),
            Subject::Service,
        ] {
            for program in Filter::compile(subject).unwrap().0 {
                assert_eq!(program.len() % 8, 0);
                assert!((8..=4096 * 8).contains(&program.len()));
            }
        }
    }

    #[test]
    fn filter_depends_on_network_only_in_what_is_refused() {
        let compile = |network| Filter::compile(Subject::Command(network)).unwrap();
        let (none, host) = (compile(Network::None), compile(Network::Fetch));
        assert_eq!(none.0[0], host.0[0]);
        assert_ne!(none.0[1], host.0[1]);
    }
}
