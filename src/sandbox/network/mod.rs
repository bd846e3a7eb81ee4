//! Gives a phase that fetches its own network.
//!
//! * In: the machine's interfaces and name servers, and the ranges that an operator allows beside
//!   public addresses.
//! * Out: a network namespace with one way out, through rules of the machine that look at the
//!   destination of every packet.
//! * Never: a way to an address that is not public, to the machine itself, or to a name server's
//!   other ports; and nothing that a process of the phase could change: the namespace belongs to
//!   the machine's root, and the rules are outside of it.
//!
//! | part | file |
//! |---|---|
//! | the addresses that are not public | `addresses` |
//! | the rules | `rules`, `nf_tables` |
//! | the machine's forwarding, of this and nothing else | `forwarding` |
//! | name servers | `resolver` |
//! | a trial when the service starts | `trial` |
//!
//! # What a phase has
//!
//! A phase has one interface, with an address of a /30 that nothing else on the machine uses (and
//! one of a /126 of IPv6, if the machine has a default route of IPv6). Its default route leads to
//! the machine's end of the pair; packets that are let through leave with the machine's own
//! address. Public addresses are reached by TCP. Name servers are the machine's own, at port 53. A
//! name that suddenly means another address gains nothing, because the rules look at the address.
//! The loopback is switched off. If an operator allows a range of the machine's loopback, packets
//! to that range leave by the one interface like all others, and arrive at the machine's loopback.
//!
//! A connection to a refused address is refused at once, and the address is noted for the log of
//! the machine. Errors report that there was such an address and never which: it may come from a
//! name server of the machine's own network.
//!
//! # How a network is set up
//!
//! 1. A new namespace is created, with nothing in it but a loopback that is off.
//! 2. `forwarding` takes a shared lock, records the settings of the machine that it will change,
//!    creates the guard table, and only then changes the settings. The guard drops every packet
//!    that was not forwarded before and has no mark.
//! 3. A pair of interfaces is created, one end in each namespace. The machine's end is configured
//!    and switched on, with a port that refuses connections.
//! 4. `rules` creates the table of this pair. What it lets through gets the mark.
//! 5. The phase's end is switched on and gets its address and route. No packet can arrive before
//!    this.
//!
//! Dropping a [`PhaseNetwork`] removes the pair. Its socket owns the table, so the kernel removes
//! that too. The last network of the machine restores the settings, and then removes the guard. A
//! service that was killed leaves the record, by which the next one restores them.

mod addresses;
mod forwarding;
mod nf_tables;
mod resolver;
mod rules;
mod trial;

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

pub use addresses::Cidr;
#[cfg(feature = "host")]
pub use addresses::ParseCidrError;
pub use resolver::ResolverError;
pub use trial::{NetworkTrial, TrialError};

use super::kernel;
use crate::netlink::Socket;
use crate::netlink::link::{self, Link, Origin};
use forwarding::{Forwarding, Setting};
use rules::{Ends, Policy};

/// The file of a thread's network namespace, for the thread that opens it.
const NAMESPACE: &str = "/proc/thread-self/ns/net";
/// The routes of IPv4 and IPv6, in the namespace of the thread that reads them (proc_pid_net(5)).
const ROUTES_4: &str = "/proc/thread-self/net/route";
const ROUTES_6: &str = "/proc/thread-self/net/ipv6_route";
/// The name of the phase's interface. Its namespace has no other but a loopback that is off.
const INNER: &str = "eth0";
/// The ranges from which a /30 is taken: that of benchmarks, which no network uses, then private
/// ones.
const RANGES: [(Ipv4Addr, u8); 3] = [
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(10, 213, 0, 0), 16),
    (Ipv4Addr::new(172, 29, 0, 0), 16),
];
/// How many networks of a range are tried.
const ATTEMPTS: u32 = 32;
const PREFIX_4: u8 = 30;
const PREFIX_6: u8 = 126;
/// The smallest and the largest size of packets, in bytes: the least that IPv6 allows, and
/// Ethernet's.
const MTU: (u32, u32) = (1280, 1500);

/// Why a phase cannot have its own network.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum NetworkError {
    /// The kernel refused a step, which the message names.
    #[error("{step}")]
    Kernel {
        step: &'static str,
        source: io::Error,
    },
    #[error("no network is free on this machine: all that were tried overlap with its routes")]
    NoFreeNetwork,
    #[error("no name server for other networks than the machine's own")]
    Resolver(#[from] ResolverError),
}

fn step(step: &'static str) -> impl FnOnce(io::Error) -> NetworkError {
    move |source| NetworkError::Kernel { step, source }
}

/// The network of one phase. Dropping removes it; the phase's processes have to be dead by then.
#[derive(Debug)]
pub(super) struct PhaseNetwork {
    namespace: OwnedFd,
    interface: String,
    index: i32,
    routes: Socket,
    /// The socket that owns the table of rules.
    rules: Socket,
    /// The sockets that occupy the ports that refuse connections.
    _refusing: Vec<OwnedFd>,
    name_servers: Vec<IpAddr>,
    _forwarding: Forwarding,
}

impl PhaseNetwork {
    /// Sets up a network, whose way out is the network namespace of this thread.
    pub(super) fn set_up(allowed: &[Cidr]) -> Result<Self, NetworkError> {
        let name_servers = resolver::name_servers()?;
        let has_loopback = allowed.iter().any(|range| range.has_loopback());
        let (namespace, inside) = new_namespace().map_err(step("making a network namespace"))?;
        let routes = Socket::of_routes().map_err(step("asking for interfaces"))?;
        let links = link::list(&routes).map_err(step("listing interfaces"))?;
        let has_ipv6 = has_default_route_6().map_err(step("reading routes"))?;
        let addresses = choose(has_ipv6)?;
        let interface = random_name().map_err(step("choosing a name"))?;
        let forwarding = Forwarding::enable(&links, has_ipv6);
        let forwarding = forwarding.map_err(step("forwarding packets"))?;
        let pair = link::make_pair(&routes, &interface, INNER, &namespace, mtu(&links));
        pair.map_err(step("making a veth pair"))?;
        let index = link::index_of(&routes, &interface).map_err(step("finding an interface"))?;
        let rules = Socket::of_netfilter().map_err(step("asking for nf_tables"))?;
        let mut network = Self {
            namespace,
            interface,
            index,
            routes,
            rules,
            _refusing: Vec::new(),
            name_servers,
            _forwarding: forwarding,
        };
        network.connect(&inside, &addresses, allowed, has_loopback)?;
        Ok(network)
    }

    /// Connects both ends. The rules are set before the phase's end is on: no packet arrives before
    /// that.
    fn connect(
        &mut self,
        inside: &Socket,
        addresses: &[Pair],
        allowed: &[Cidr],
        has_loopback: bool,
    ) -> Result<(), NetworkError> {
        self.set_forwarding(has_loopback)?;
        link::switch_on(&self.routes, self.index).map_err(step("switching an interface on"))?;
        let mut ends = Vec::new();
        for pair in addresses {
            ends.push(self.add_end(pair)?);
        }
        let policy = Policy {
            interface: &self.interface,
            ends: &ends,
            name_servers: &self.name_servers,
            allowed,
            own: &own_addresses(&self.routes).map_err(step("listing addresses"))?,
        };
        let set_up = rules::set_up(&self.rules, &policy);
        set_up.map_err(step("making the rules of the packet filter"))?;
        let configured = self.configure_inside(inside, addresses);
        configured.map_err(step("giving the phase an address and a route"))
    }

    /// Has the machine forward the packets that arrive at its end of the pair; also to its own
    /// loopback, if that is allowed.
    fn set_forwarding(&self, has_loopback: bool) -> Result<(), NetworkError> {
        let setting = |name: &str, value: &str| {
            let path = format!("ipv4/conf/{}/{name}", self.interface);
            Setting::new(path, value).apply()
        };
        setting("forwarding", "1").map_err(step("forwarding packets"))?;
        // A packet names its target by its destination, and not by an option.
        setting("accept_source_route", "0").map_err(step("refusing routes of packets"))?;
        if has_loopback {
            setting("route_localnet", "1").map_err(step("leading packets to the loopback"))?;
        }
        Ok(())
    }

    /// Gives the machine's end of the pair an address, and a port at it that refuses connections.
    fn add_end(&mut self, pair: &Pair) -> Result<Ends, NetworkError> {
        link::add_address(&self.routes, self.index, pair.machine, pair.prefix)
            .map_err(step("giving an address"))?;
        let (socket, refusing_port) = refusing_port(pair.machine).map_err(step("taking a port"))?;
        self._refusing.push(socket);
        Ok(Ends {
            phase: pair.phase,
            machine: pair.machine,
            refusing_port,
        })
    }

    fn configure_inside(&self, inside: &Socket, addresses: &[Pair]) -> io::Result<()> {
        let index = link::index_of(inside, INNER)?;
        link::switch_on(inside, index)?;
        for pair in addresses {
            link::add_address(inside, index, pair.phase, pair.prefix)?;
            link::add_default_route(inside, index, pair.machine, Origin::Static)?;
            if pair.machine.is_ipv6() {
                link::refuse_loopback_6(inside)?;
            }
        }
        Ok(())
    }

    /// Moves this thread into the phase's namespace while `work` runs. The processes that it starts
    /// meanwhile stay there.
    ///
    /// If the thread cannot return, the process aborts: the thread would stay in the phase's
    /// network.
    pub(super) fn during<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        let own = File::open(NAMESPACE)?;
        let enter = |namespace: std::os::fd::BorrowedFd<'_>| {
            move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
        };
        enter(self.namespace.as_fd())?;
        let result = work();
        if let Err(error) = enter(own.as_fd()) {
            log::error!("a thread cannot leave the network of a phase: {error}");
            std::process::abort();
        }
        Ok(result)
    }

    /// Returns the text of the file that names the phase's name servers.
    pub(super) fn resolv_conf(&self) -> String {
        resolver::resolv_conf(&self.name_servers)
    }

    /// Returns the addresses that the phase tried to reach and that were refused.
    pub(super) fn refused_addresses(&self) -> io::Result<Vec<IpAddr>> {
        rules::refused_addresses(&self.rules, &self.interface)
    }
}

impl Drop for PhaseNetwork {
    fn drop(&mut self) {
        if let Err(error) = link::remove(&self.routes, self.index) {
            log::error!(
                "the interface {} could not be removed: {error}",
                self.interface
            );
        }
    }
}

/// Creates a namespace, and a socket to configure it with.
///
/// In it, packets to 127.0.0.0/8 leave by an interface that is not the loopback, and replies are
/// accepted there: the refusal of such an address is a reply too.
fn new_namespace() -> io::Result<(OwnedFd, Socket)> {
    thread::scope(|scope| {
        let made = scope.spawn(|| {
            kernel::unshare_network()?;
            Setting::new("ipv4/conf/all/route_localnet".to_owned(), "1").apply()?;
            Ok((File::open(NAMESPACE)?.into(), Socket::of_routes()?))
        });
        made.join()
            .unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
    })
}

/// Lists the machine's own addresses that are public by their numbers. The others are refused
/// because they are not public.
fn own_addresses(routes: &Socket) -> io::Result<Vec<IpAddr>> {
    let mut own = link::addresses(routes)?;
    own.retain(|address| addresses::is_public(*address));
    Ok(own)
}

/// The addresses of both ends of the pair, in one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pair {
    machine: IpAddr,
    phase: IpAddr,
    prefix: u8,
}

/// Chooses addresses that nothing on the machine uses.
fn choose(has_ipv6: bool) -> Result<Vec<Pair>, NetworkError> {
    let routes = fs::read_to_string(ROUTES_4).map_err(step("reading routes"))?;
    let used = routed_4(&routes);
    let mut random = [0; 4 + 8];
    getrandom::getrandom(&mut random)
        .map_err(|error| step("drawing a number")(io::Error::other(error)))?;
    let [first @ .., _, _, _, _, _, _, _, _] = random;
    let network =
        free_network(u32::from_ne_bytes(first), &used).ok_or(NetworkError::NoFreeNetwork)?;
    let v4 = |host: u32| IpAddr::from(Ipv4Addr::from_bits(network.to_bits() + host));
    let mut pairs = vec![Pair {
        machine: v4(1),
        phase: v4(2),
        prefix: PREFIX_4,
    }];
    if has_ipv6 {
        pairs.push(unique_local(&random[4..]));
    }
    Ok(pairs)
}

/// Returns the first free /30, in each range trying [`ATTEMPTS`] networks from the one with number
/// `start` on.
fn free_network(start: u32, used: &[Cidr]) -> Option<Ipv4Addr> {
    RANGES.into_iter().find_map(|(range, length)| {
        let networks = 1_u32 << (PREFIX_4 - length);
        let candidate = |attempt: u32| {
            let number = start.wrapping_add(attempt) % networks;
            Ipv4Addr::from_bits(range.to_bits() + (number << (32 - PREFIX_4)))
        };
        let is_free = |network: &Ipv4Addr| {
            let network = Cidr::from_parts(*network, PREFIX_4);
            !used.iter().any(|range| range.overlaps(network))
        };
        (0..ATTEMPTS).map(candidate).find(is_free)
    })
}

/// Returns a network of unique local addresses (RFC 4193), with 56 random bits.
fn unique_local(random: &[u8]) -> Pair {
    let mut bytes = [0; 16];
    bytes[0] = 0xfd;
    bytes[1..8].copy_from_slice(&random[..7]);
    let address = |host: u8| {
        bytes[15] = host;
        IpAddr::from(Ipv6Addr::from(bytes))
    };
    let [machine, phase] = [1, 2].map(address);
    Pair {
        machine,
        phase,
        prefix: PREFIX_6,
    }
}

/// Returns the destinations of the machine's routes, without the default route.
fn routed_4(table: &str) -> Vec<Cidr> {
    let routes = table.lines().skip(1).filter_map(route_4);
    routes.filter(|route| !route.is_everything()).collect()
}

/// Reads a line of /proc/net/route: the second field is the destination, the eighth its mask.
/// Numbers are in the machine's byte order.
fn route_4(line: &str) -> Option<Cidr> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let number = |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok();
    let destination = Ipv4Addr::from(number(1)?.to_ne_bytes());
    let length = number(7)?.count_ones() as u8;
    Some(Cidr::from_parts(destination, length))
}

/// Returns whether the machine has a default route of IPv6. Without IPv6, there is no such file.
fn has_default_route_6() -> io::Result<bool> {
    match fs::read_to_string(ROUTES_6) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        read => Ok(is_default_route_6(&read?)),
    }
}

/// Returns whether a table has a default route. The fields of a line are: destination, its prefix,
/// source, its prefix, next hop, metric, two counters, flags, interface. The loopback has a default
/// route too, which leads nowhere.
fn is_default_route_6(table: &str) -> bool {
    table.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        matches!(fields[..], [destination, "00", _, _, _, _, _, _, _, interface]
            if destination.bytes().all(|byte| byte == b'0') && interface != "lo")
    })
}

/// Returns the smallest MTU of the interfaces by which packets may leave.
fn mtu(links: &[Link]) -> u32 {
    let is_used =
        |link: &&Link| link.is_up && !link.is_loopback && !forwarding::is_ours(&link.name);
    let smallest = links.iter().filter(is_used).map(|link| link.mtu).min();
    smallest.unwrap_or(MTU.1).clamp(MTU.0, MTU.1)
}

/// Returns a name of at most 15 bytes, the kernel's limit.
fn random_name() -> io::Result<String> {
    let mut random = [0; 4];
    getrandom::getrandom(&mut random).map_err(io::Error::other)?;
    Ok(format!(
        "{}{}",
        rules::INTERFACE_PREFIX,
        hex::encode(random)
    ))
}

/// Returns a port of an address that refuses connections, and the socket that occupies it: no
/// process listens there.
fn refusing_port(address: IpAddr) -> io::Result<(OwnedFd, u16)> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddr::new(address, 0))?;
    let port = SocketAddr::try_from(getsockname(&socket)?)?.port();
    Ok((socket, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_taken_that_no_route_of_the_machine_has() {
        let range = |address: [u8; 4], length| Cidr::from_parts(address.into(), length);
        assert_eq!(free_network(5, &[]), Some([198, 18, 0, 20].into()));
        assert_eq!(
            free_network(5, &[range([198, 18, 0, 20], 30)]),
            Some([198, 18, 0, 24].into())
        );
        assert_eq!(
            free_network(5, &[range([198, 18, 0, 21], 32)]),
            Some([198, 18, 0, 24].into())
        );
        assert_eq!(
            free_network(5, &[range([198, 18, 0, 0], 15)]),
            Some([10, 213, 0, 20].into())
        );
        let private = [range([198, 18, 0, 0], 15), range([10, 0, 0, 0], 8)];
        assert_eq!(
            free_network(u32::MAX, &private),
            Some([172, 29, 255, 252].into())
        );
        assert_eq!(
            free_network(5, &[range([128, 0, 0, 0], 1), range([0, 0, 0, 0], 1)]),
            None
        );
    }

    #[test]
    fn routes_are_read_as_the_kernel_prints_them() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(
            routed_4(table),
            [Cidr::from_parts([192, 0, 2, 0].into(), 24)]
        );
        let zero = "0".repeat(32);
        let line = |prefix: &str, interface: &str| {
            format!(
                "{zero} {prefix} {zero} 00 {zero} 00000400 00000001 00000000 00000003     {interface}\n"
            )
        };
        assert!(is_default_route_6(&line("00", "eth0")));
        assert!(!is_default_route_6(&line("00", "lo")) && !is_default_route_6(&line("08", "eth0")));
    }

    #[test]
    fn names_fit_an_interface() {
        assert_eq!(random_name().unwrap().len(), 14);
    }

    #[test]
    fn the_addresses_of_ipv6_are_unique_local() {
        let pair = unique_local(&[0xab; 8]);
        assert_eq!(pair.machine.to_string(), "fdab:abab:abab:abab::1");
        assert_eq!(pair.phase.to_string(), "fdab:abab:abab:abab::2");
    }
}
