//! The system call filter. Comes in: the lists of `syscalls` and for whom the filter is. Goes out: two classic BPF
//! programs as the kernel loads them. Never: a default that allows.
//!
//! The first program allows what is listed and answers everything else with `ENOSYS`. That includes `clone3`, whose
//! flags a filter cannot see (glibc falls back to `clone`), and the x32 ABI, whose numbers have a bit that no listed
//! number has. Another architecture (32-bit calls) kills the process. The second program is loaded later, so its
//! `EPERM` prevails: calls refused by name, and arguments of allowed calls.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
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
/// Without a network: the families of programs that talk to themselves. Netlink, vsock (to the host), packet, alg, key and
/// the rest are kernel code that no build needs.
const FAMILIES_WITHOUT_NETWORK: &[libc::c_int] = &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6];
/// With the machine's network: not UNIX, whose abstract names belong to the network's namespace and so to the machine.
const FAMILIES_WITH_NETWORK: &[libc::c_int] = &[libc::AF_INET, libc::AF_INET6];
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
    /// A service has UNIX sockets too: clients come by one, and they have no other way to it.
    fn families(self) -> &'static [libc::c_int] {
        match self {
            Self::Command(Network::Host) => FAMILIES_WITH_NETWORK,
            Self::Command(Network::None) | Self::Service => FAMILIES_WITHOUT_NETWORK,
        }
    }

    fn personalities(self) -> Vec<u32> {
        match self {
            Self::Command(_) => PERSONALITIES.into(),
            Self::Service => PERSONALITIES.into_iter().flat_map(|one| [one, one | ADDRESSES_FIXED]).collect(),
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
        Ok(Self([bytes(&allow_list(subject)?), bytes(&refusals(subject)?)]))
    }
}

fn allow_list(subject: Subject) -> Result<BpfProgram, BackendError> {
    let more = if subject == Subject::Service { SANDBOX_MAKING } else { &[] };
    let rules = ALLOWED.iter().copied().flatten().chain(more).map(|&number| (number, Vec::new())).collect();
    let absent = SeccompAction::Errno(libc::ENOSYS as u32);
    SeccompFilter::new(rules, absent, SeccompAction::Allow, TargetArch::x86_64)?.try_into()
}

fn refusals(subject: Subject) -> Result<BpfProgram, BackendError> {
    let mut rules: Rules = REFUSED.iter().copied().flatten().map(|&number| (number, Vec::new())).collect();
    let mut refuse = |number: Syscall, any_of: Vec<SeccompRule>| rules.insert(number, any_of);
    let namespaces = NAMESPACE_FLAGS.iter().map(|&flag| has_flag(0, flag as u64)).collect::<Result<_, _>>()?;
    refuse(libc::SYS_clone, namespaces);
    refuse(libc::SYS_socket, vec![none_of(0, subject.families().iter().map(|&family| family as u64))?]);
    refuse(libc::SYS_socketpair, vec![none_of(0, [libc::AF_UNIX as u64])?]);
    refuse(libc::SYS_personality, vec![none_of(0, subject.personalities().into_iter().map(u64::from))?]);
    let ioctls = REFUSED_IOCTLS.iter().map(|&request| is(1, request)).collect::<Result<_, _>>()?;
    refuse(libc::SYS_ioctl, ioctls);
    if subject == Subject::Service {
        rules.retain(|number, _| *number != libc::SYS_clone && !SANDBOX_MAKING.contains(number));
    }
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, SeccompAction::Allow, refused, TargetArch::x86_64)?.try_into()
}

/// All arguments here are 32 bits wide for the kernel, which drops the upper half: a filter must drop it too.
fn argument(index: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)
}

fn has_flag(index: u8, flag: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![argument(index, SeccompCmpOp::MaskedEq(flag), flag)?])
}

fn is(index: u8, value: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![argument(index, SeccompCmpOp::Eq, value)?])
}

fn none_of(index: u8, values: impl IntoIterator<Item = u64>) -> Result<SeccompRule, BackendError> {
    let others = values.into_iter().map(|value| argument(index, SeccompCmpOp::Ne, value));
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
        for subject in [Subject::Command(Network::None), Subject::Command(Network::Host), Subject::Service] {
            for program in Filter::compile(subject).unwrap().0 {
                assert_eq!(program.len() % 8, 0);
                assert!((8..=4096 * 8).contains(&program.len()));
            }
        }
    }

    #[test]
    fn filter_depends_on_network_only_in_what_is_refused() {
        let compile = |network| Filter::compile(Subject::Command(network)).unwrap();
        let (none, host) = (compile(Network::None), compile(Network::Host));
        assert_eq!(none.0[0], host.0[0]);
        assert_ne!(none.0[1], host.0[1]);
    }
}
