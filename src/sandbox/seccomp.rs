//! Compiles the system call filters.
//!
//! * In: the lists of `syscalls`, and the subject of the filter.
//! * Out: two classic BPF programs as the kernel loads them.
//! * Never: a default that allows.
//!
//! The first program allows the listed calls and lets all others fail with `ENOSYS`. That includes
//! `clone3`, whose flags a filter cannot see (glibc falls back to `clone`), and the x32 ABI, whose
//! numbers have a bit that no listed number has. A call of another architecture (32-bit calls)
//! kills the process. The second program is loaded later, so its `EPERM` prevails. It refuses calls
//! by name, and some arguments of allowed calls.

use std::collections::{BTreeMap, BTreeSet};

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

use super::spec::Network;
use super::syscalls::{ALLOWED, REFUSED, SANDBOX_MAKING, Syscall};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The flags with which `clone` creates namespaces: each is a way to more kernel code.
const NAMESPACE_FLAGS: [libc::c_int; 7] = [
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
];
/// The sockets of one family and type, and the protocols with which they open.
struct SocketKind {
    family: libc::c_int,
    /// The type, without `SOCK_CLOEXEC` and `SOCK_NONBLOCK`.
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

/// The bits of a socket's type without its flags: the kernel's `SOCK_TYPE_MASK`
/// (`include/linux/net.h`).
const SOCKET_TYPE_MASK: u64 = 0xf;
/// Zero lets the family choose the protocol: TCP for a stream, UDP for datagrams, and the only one
/// for UNIX.
const OWN_CHOICE: libc::c_int = 0;
const UNIX_SOCKETS: [SocketKind; 3] = [
    SocketKind::new(libc::AF_UNIX, libc::SOCK_STREAM, &[OWN_CHOICE]),
    SocketKind::new(libc::AF_UNIX, libc::SOCK_DGRAM, &[OWN_CHOICE]),
    SocketKind::new(libc::AF_UNIX, libc::SOCK_SEQPACKET, &[OWN_CHOICE]),
];
/// The sockets of IPv4 and IPv6. Every further protocol of these families is kernel code that no
/// build needs, and that the kernel would load modules for: MPTCP, SCTP, DCCP, UDP-Lite, L2TP, SMC,
/// ICMP, raw. So is every further family: netlink, vsock (to the host), packet, alg, key and the
/// rest.
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
/// The allowed personalities: Linux, Linux as 32-bit machines see it, each with and without a fixed
/// release, and the query for the present one.
const PERSONALITIES: [u32; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// A flag of personalities: addresses are the same in every run. nix runs its builders with it.
const ADDRESSES_FIXED: u32 = libc::ADDR_NO_RANDOMIZE.cast_unsigned();
/// The requests that type into a terminal or into the console: they would reach every process that
/// has the terminal open.
const REFUSED_IOCTLS: [libc::c_ulong; 2] = [libc::TIOCSTI, libc::TIOCLINUX];

/// The process to which a filter applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// An ordinary command.
    Command(Network),
    /// A service that makes sandboxes itself, with the machine's network.
    Service,
}

impl Subject {
    /// Returns the allowed sockets. With the machine's network, a command has no UNIX sockets:
    /// their abstract names belong to the network's namespace and so to the machine. A service has
    /// them, because its clients reach it by one and have no other way.
    fn sockets(self) -> Vec<&'static SocketKind> {
        match self {
            Self::Command(Network::Fetch) => INTERNET_SOCKETS.iter().collect(),
            Self::Command(Network::None) | Self::Service => {
                UNIX_SOCKETS.iter().chain(&INTERNET_SOCKETS).collect()
            }
        }
    }

    fn personalities(self) -> Vec<u32> {
        let mut personalities = PERSONALITIES.to_vec();
        if self == Self::Service {
            personalities.extend(PERSONALITIES.map(|one| one | ADDRESSES_FIXED));
        }
        personalities
    }
}

/// The two programs for a command, in the order in which they are loaded.
pub(super) struct Filter(pub(super) [Vec<u8>; 2]);

impl Filter {
    /// Compiles the filter of one subject.
    ///
    /// # Errors
    /// The lists do not fit into a filter, which is an internal error.
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
    /// Compiles the filters of every subject.
    ///
    /// # Errors
    /// As for [`Filter::compile`].
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

/// Returns the calls that are refused with some arguments only, each with its rules: a call is
/// refused if one of them matches.
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

/// Returns rules of which one matches for each triple of family, type and protocol that is not
/// listed. A rule matches only if all of its conditions do, so the complement of the list is built
/// level by level.
fn every_socket_but(allowed: &[&SocketKind]) -> Result<Vec<SeccompRule>, BackendError> {
    let families: BTreeSet<_> = allowed.iter().map(|kind| kind.family).collect();
    let mut rules = vec![none_of(0, families.iter().map(|&family| family as u64))?];
    for family in families {
        for socket_type in 0..=SOCKET_TYPE_MASK {
            let listed = allowed
                .iter()
                .find(|kind| kind.family == family && kind.socket_type as u64 == socket_type);
            let protocols = listed.map_or(&[][..], |kind| kind.protocols);
            rules.push(all_protocols_but(protocols, family, socket_type)?);
        }
    }
    Ok(rules)
}

/// Returns a rule that matches sockets of one family and type with any other protocol than the
/// listed.
fn all_protocols_but(
    protocols: &[libc::c_int],
    family: libc::c_int,
    socket_type: u64,
) -> Result<SeccompRule, BackendError> {
    let mut conditions = vec![
        argument(0, SeccompCmpOp::Eq, family as u64)?,
        argument(1, SeccompCmpOp::MaskedEq(SOCKET_TYPE_MASK), socket_type)?,
    ];
    for &protocol in protocols {
        conditions.push(argument(2, SeccompCmpOp::Ne, protocol as u64)?);
    }
    SeccompRule::new(conditions)
}

/// Returns a condition on an argument. All arguments here are 32 bits wide for the kernel, which
/// drops the upper half, so the filter must drop it too.
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

/// Returns a program in the layout of the kernel's `struct sock_filter`: u16 code, u8 and u8 jumps,
/// u32 operand, in the machine's byte order.
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
