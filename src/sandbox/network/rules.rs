//! Writes the rules of the packet filter.
//!
//! * In: the names and addresses of one pair of interfaces, and the destinations that may be
//!   reached.
//! * Out: a table of this pair, which the kernel removes when the socket that created it is closed.
//! * Never: a rule that lets a packet through because no other rule names it.
//!
//! | chain | sees | what it does |
//! |---|---|---|
//! | `arriving` | the first packet of a connection from the phase | notes refused destinations, and sends the packet to a port that refuses it |
//! | `input` | packets to the machine itself | drops all but the allowed |
//! | `forward` | each packet that passes through | lets public destinations through; in the other direction, only replies |
//! | `leaving` | the first packet of a connection that leaves the machine | gives it the machine's address |
//!
//! A packet that a chain lets through gets a mark. The room's other table ([`guard`]) drops packets
//! that have one of our interfaces and no mark: without this table, nothing passes.
//!
//! The rules look at the destination, so it has to be the packet's final one. A packet of IPv4 with
//! options, or one of IPv6 with a further header before its content, may name another one there,
//! and is dropped.

use std::io;
use std::net::IpAddr;

use super::addresses::{Cidr, GLOBAL_6, NOT_PUBLIC_4, NOT_PUBLIC_6, isatap};
use super::nf_tables::{
    self, Batch, ChainKind, Fact, Header, Hook, Is, Owner, Register, Set, Verdict, compare, end,
    family, hold, keep, load, load_fact,
};
use crate::netlink::{Attributes, Socket, octets};

/// The prefix of the names of all interfaces that this room creates.
pub(super) const INTERFACE_PREFIX: &str = "kettle";
/// The size of an interface's name, with its NUL (linux/if.h, `IFNAMSIZ`).
const NAME_BYTES: usize = 16;
/// The port of DNS.
const NAME_SERVICE: u16 = 53;
/// The mark of packets that were let through: "kt".
const MARK: u32 = 0x6b74;
/// How many refused addresses of each family are noted.
const MAX_NOTED: u32 = 64;

/// Protocols above IP (IANA, Protocol Numbers).
const ICMP_6: u8 = 58;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// ICMPv6's types for the solicitation and the advertisement of a neighbour's hardware address (RFC
/// 4861, section 4).
const NEIGHBOUR: [u8; 2] = [135, 136];

/// The header of IPv4 (RFC 791, section 3.1): the lower half of the first byte is the header's
/// length in words of 4 bytes, five if there is no option.
mod ipv4 {
    pub(super) const LENGTH_OFFSET: u32 = 0;
    pub(super) const LENGTH_MASK: u8 = 0x0f;
    pub(super) const WITHOUT_OPTIONS: u8 = 5;
    pub(super) const SOURCE_OFFSET: u32 = 12;
    pub(super) const DESTINATION_OFFSET: u32 = 16;
}

/// The header of IPv6 (RFC 8200, section 3): the type of the next header, and both addresses.
mod ipv6 {
    pub(super) const NEXT_OFFSET: u32 = 6;
    pub(super) const SOURCE_OFFSET: u32 = 8;
    pub(super) const DESTINATION_OFFSET: u32 = 24;
}

/// The offset in the headers of TCP and UDP.
const DESTINATION_PORT_OFFSET: u32 = 2;

/// The priorities of our chains among those of other tables at the same hook. Addresses are changed
/// at the usual priorities (linux/netfilter_ipv4.h, `NF_IP_PRI_NAT_DST` and `…_SRC`). Our filters
/// come just before the machine's own (`NF_IP_PRI_FILTER`, 0), and the guard just after them.
mod priority {
    pub(super) const CHANGE_DESTINATION: i32 = -100;
    pub(super) const CHANGE_SOURCE: i32 = 100;
    pub(super) const FILTER: i32 = -10;
    pub(super) const GUARD: i32 = 10;
}

/// The sets of addresses that the phase tried to reach and that were refused.
const REFUSED_4: Set = Set {
    name: "refused4",
    id: 1,
    key_bytes: 4,
    limit: MAX_NOTED,
};
const REFUSED_6: Set = Set {
    name: "refused6",
    id: 2,
    key_bytes: 16,
    limit: MAX_NOTED,
};

/// Both ends of the pair, in one family. The machine's end has a port that refuses connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) phase: IpAddr,
    pub(super) machine: IpAddr,
    pub(super) refusing_port: u16,
}

/// The destinations that a phase may reach, and how it is connected.
#[derive(Clone, Debug)]
pub(super) struct Policy<'a> {
    /// The name of the machine's end of the pair, which is that of the table too.
    pub(super) interface: &'a str,
    /// The ends of IPv4, and those of IPv6 if the machine has it.
    pub(super) ends: &'a [Ends],
    /// The name servers, of which only port 53 is reached.
    pub(super) name_servers: &'a [IpAddr],
    /// The ranges that are reached by TCP although they may not be public.
    pub(super) allowed: &'a [Cidr],
    /// The machine's own addresses, as far as they are public by their numbers.
    pub(super) own: &'a [IpAddr],
}

/// Creates the table of a pair of interfaces. Within a chain, the first rule that decides about a
/// packet wins, so the order of the steps is part of the rules.
pub(super) fn set_up(socket: &Socket, policy: &Policy<'_>) -> io::Result<()> {
    let mut batch = Batch::new(policy.interface);
    batch.table(Owner::Socket);
    batch.set(REFUSED_4);
    batch.set(REFUSED_6);
    add_chains(&mut batch);
    leave_others_alone(&mut batch, policy.interface);
    drop_rerouted(&mut batch);
    accept_neighbours(&mut batch);
    accept_permitted(&mut batch, policy);
    for ends in policy.ends {
        connect_ends(&mut batch, ends);
    }
    batch.rule("input", vec![end(Verdict::Drop)]);
    drop_refused(&mut batch, policy);
    batch.rule("forward", [protocol(TCP), accept()].concat());
    batch.rule("forward", vec![end(Verdict::Drop)]);
    batch.commit(socket)
}

fn add_chains(batch: &mut Batch<'_>) {
    let (filter, nat) = (ChainKind::Filter, ChainKind::Nat);
    batch.chain(
        "arriving",
        nat,
        Hook::Arriving,
        priority::CHANGE_DESTINATION,
    );
    batch.inner_chain("refuse4");
    batch.inner_chain("refuse6");
    batch.chain("input", filter, Hook::Input, priority::FILTER);
    batch.chain("forward", filter, Hook::Forward, priority::FILTER);
    batch.chain("leaving", nat, Hook::Leaving, priority::CHANGE_SOURCE);
}

/// Accepts packets of other interfaces, except that only replies are let through to the phase.
fn leave_others_alone(batch: &mut Batch<'_>, interface: &str) {
    let of_others = from_interface(Is::Different, interface);
    let to_others = [of_others, vec![end(Verdict::Accept)]].concat();
    for chain in ["arriving", "input"] {
        batch.rule(chain, to_others.clone());
    }
    let replies = [to_interface(interface), established(), accept()].concat();
    batch.rule("forward", replies);
    let unsolicited = [to_interface(interface), vec![end(Verdict::Drop)]].concat();
    batch.rule("forward", unsolicited);
    batch.rule("forward", to_others);
}

/// Drops packets that may have another target than the destination that later rules look at.
fn drop_rerouted(batch: &mut Batch<'_>) {
    for chain in ["input", "forward"] {
        for elsewhere in may_go_elsewhere() {
            batch.rule(chain, [elsewhere, vec![end(Verdict::Drop)]].concat());
        }
    }
}

/// Lets the machine and the phase find each other's hardware addresses by IPv6.
fn accept_neighbours(batch: &mut Batch<'_>) {
    for kind in NEIGHBOUR {
        let of_kind = [protocol(ICMP_6), transport(0, &[kind])].concat();
        batch.rule("input", [of_kind, accept()].concat());
    }
}

/// Lets packets through to the destinations that are reached although they may not be public.
fn accept_permitted(batch: &mut Batch<'_>, policy: &Policy<'_>) {
    for permitted in permitted(policy) {
        let as_it_is = [permitted.clone(), vec![end(Verdict::Accept)]].concat();
        batch.rule("arriving", as_it_is);
        batch.rule("input", [permitted.clone(), accept()].concat());
        batch.rule("forward", [permitted, accept()].concat());
    }
}

/// Lets the phase reach the port that refuses connections, gives its packets the machine's address
/// as they leave, and fills the chain that handles refused packets of this family.
fn connect_ends(batch: &mut Batch<'_>, ends: &Ends) {
    let refusing = [is(destination(ends.machine)), port(TCP, ends.refusing_port)].concat();
    batch.rule("input", [refusing, accept()].concat());
    let leaving = [is(source(ends.phase)), vec![nf_tables::masquerade()]].concat();
    batch.rule("leaving", leaving);
    batch.rule(refuse(ends.phase), note(ends.phase));
    batch.rule(refuse(ends.phase), [protocol(TCP), lead_to(ends)].concat());
}

/// Notes and refuses the first packet to a refused destination, and drops the rest.
fn drop_refused(batch: &mut Batch<'_>, policy: &Policy<'_>) {
    for (family, refused) in refused(policy) {
        let noted = vec![end(Verdict::GoTo(refuse(family)))];
        batch.rule("arriving", [refused.clone(), noted].concat());
        batch.rule("forward", [refused, vec![end(Verdict::Drop)]].concat());
    }
}

/// Returns the addresses that the phase tried to reach and that were refused, at most [`MAX_NOTED`]
/// of each family.
pub(super) fn refused_addresses(socket: &Socket, interface: &str) -> io::Result<Vec<IpAddr>> {
    let mut found = Vec::new();
    for set in [REFUSED_4, REFUSED_6] {
        let keys = nf_tables::keys(socket, interface, set)?;
        found.extend(keys.iter().filter_map(|key| address(key)));
    }
    Ok(found)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// The packets that the machine forwards only because of phases that fetch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Forwarded {
    /// The interfaces whose packets of IPv4 are forwarded.
    pub(super) interfaces: Vec<String>,
    /// Whether packets of IPv6 are forwarded.
    pub(super) ipv6: bool,
}

/// The name of the table that [`guard`] creates.
const GUARD: &str = "kettle-guard";

/// Creates, or replaces, the table of the machine that drops packets that no table of a pair has
/// let through: those of our interfaces, and those that the machine would not forward without us.
pub(super) fn guard(socket: &Socket, forwarded: &Forwarded) -> io::Result<()> {
    let mut batch = Batch::new(GUARD);
    batch.table(Owner::Nobody);
    batch.delete_table();
    batch.table(Owner::Nobody);
    batch.chain("input", ChainKind::Filter, Hook::Input, priority::GUARD);
    batch.chain("forward", ChainKind::Filter, Hook::Forward, priority::GUARD);
    let ours = INTERFACE_PREFIX.as_bytes();
    let from_ours = dropped(name(Fact::FromInterface, Is::Equal, ours));
    for chain in ["input", "forward"] {
        batch.rule(chain, [marked(), vec![end(Verdict::Accept)]].concat());
        batch.rule(chain, from_ours.clone());
    }
    let to_ours = dropped(name(Fact::ToInterface, Is::Equal, ours));
    batch.rule("forward", to_ours);
    for interface in &forwarded.interfaces {
        let from_it = from_interface(Is::Equal, interface);
        let by_ipv4 = [of_family(family::IPV4), from_it].concat();
        batch.rule("forward", dropped(by_ipv4));
    }
    if forwarded.ipv6 {
        batch.rule("forward", dropped(of_family(family::IPV6)));
    }
    batch.commit(socket)
}

/// Returns a rule that drops the packets that match.
fn dropped(mut matching: Vec<Attributes>) -> Vec<Attributes> {
    matching.push(end(Verdict::Drop));
    matching
}

/// Removes the table that [`guard`] creates.
pub(super) fn remove_guard(socket: &Socket) -> io::Result<()> {
    let mut batch = Batch::new(GUARD);
    batch.table(Owner::Nobody);
    batch.delete_table();
    batch.commit(socket)
}

/// Matches packets that may name another destination than the one that rules look at: options of
/// IPv4 can have source routes, headers between IPv6 and its content can have routes and tunnels.
fn may_go_elsewhere() -> [Vec<Attributes>; 2] {
    let length = [
        load(Header::Network, ipv4::LENGTH_OFFSET, 1),
        keep(&[ipv4::LENGTH_MASK]),
    ];
    let is_longer = compare(Is::Different, &[ipv4::WITHOUT_OPTIONS]);
    let next = load(Header::Network, ipv6::NEXT_OFFSET, 1);
    let is_none = [TCP, UDP, ICMP_6].map(|known| compare(Is::Different, &[known]));
    [
        [of_family(family::IPV4), length.to_vec(), vec![is_longer]].concat(),
        [of_family(family::IPV6), vec![next], is_none.to_vec()].concat(),
    ]
}

/// Matches destinations that are reached although they may not be public.
fn permitted(policy: &Policy<'_>) -> Vec<Vec<Attributes>> {
    let by_tcp = |range: &Cidr| [within(Is::Equal, *range), protocol(TCP)].concat();
    let allowed = policy.allowed.iter().map(by_tcp);
    let name_servers = policy.name_servers.iter().flat_map(|server| {
        [UDP, TCP].map(|protocol| [is(destination(*server)), port(protocol, NAME_SERVICE)].concat())
    });
    name_servers.chain(allowed).collect()
}

/// Matches destinations that are not reached, each with an address of its family: addresses that
/// are not public, the machine's own, other ports of name servers, other name servers.
fn refused(policy: &Policy<'_>) -> Vec<(IpAddr, Vec<Attributes>)> {
    let single = policy.name_servers.iter().chain(policy.own);
    let mut refused: Vec<_> = single
        .map(|address| (*address, is(destination(*address))))
        .collect();
    refused.extend(NOT_PUBLIC_4.map(|range| (range.address(), within(Is::Equal, range))));
    refused.push((GLOBAL_6.address(), within(Is::Different, GLOBAL_6)));
    refused.extend(NOT_PUBLIC_6.map(|range| (range.address(), within(Is::Equal, range))));
    refused.push((GLOBAL_6.address(), of_isatap()));
    for ends in policy.ends {
        let other_servers = [of_family_of(ends.phase), port(TCP, NAME_SERVICE)].concat();
        refused.push((ends.phase, other_servers));
    }
    refused
}

fn refuse(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "refuse4",
        IpAddr::V6(_) => "refuse6",
    }
}

fn of_family(number: u8) -> Vec<Attributes> {
    vec![load_fact(Fact::Family), compare(Is::Equal, &[number])]
}

fn family_of(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => family::IPV4,
        IpAddr::V6(_) => family::IPV6,
    }
}

fn of_family_of(address: IpAddr) -> Vec<Attributes> {
    of_family(family_of(address))
}

fn protocol(number: u8) -> Vec<Attributes> {
    vec![load_fact(Fact::Protocol), compare(Is::Equal, &[number])]
}

fn transport(offset: u32, value: &[u8]) -> Vec<Attributes> {
    vec![
        load(Header::Transport, offset, value.len()),
        compare(Is::Equal, value),
    ]
}

fn port(protocol_number: u8, port: u16) -> Vec<Attributes> {
    let port = transport(DESTINATION_PORT_OFFSET, &port.to_be_bytes());
    [protocol(protocol_number), port].concat()
}

/// Compares the name of an interface with `name`, as many bytes as that has.
fn name(which: Fact, comparison: Is, name: &[u8]) -> Vec<Attributes> {
    vec![load_fact(which), compare(comparison, name)]
}

fn whole(interface: &str) -> Vec<u8> {
    let mut bytes = interface.as_bytes().to_vec();
    bytes.resize(NAME_BYTES, 0);
    bytes
}

fn from_interface(comparison: Is, interface: &str) -> Vec<Attributes> {
    name(Fact::FromInterface, comparison, &whole(interface))
}

fn to_interface(interface: &str) -> Vec<Attributes> {
    name(Fact::ToInterface, Is::Equal, &whole(interface))
}

/// An address to compare with one of a packet, and the offset of that.
struct Field {
    address: IpAddr,
    offset: u32,
}

fn destination(address: IpAddr) -> Field {
    let offset = match address {
        IpAddr::V4(_) => ipv4::DESTINATION_OFFSET,
        IpAddr::V6(_) => ipv6::DESTINATION_OFFSET,
    };
    Field { address, offset }
}

fn source(address: IpAddr) -> Field {
    let offset = match address {
        IpAddr::V4(_) => ipv4::SOURCE_OFFSET,
        IpAddr::V6(_) => ipv6::SOURCE_OFFSET,
    };
    Field { address, offset }
}

fn is(field: Field) -> Vec<Attributes> {
    let value = octets(field.address);
    let loaded = load(Header::Network, field.offset, value.len());
    [
        of_family_of(field.address),
        vec![loaded, compare(Is::Equal, &value)],
    ]
    .concat()
}

/// Matches destinations in a range; or, if they should be different, those of its family that are
/// not in it.
fn within(comparison: Is, range: Cidr) -> Vec<Attributes> {
    let Field { address, offset } = destination(range.address());
    let value = octets(address);
    let loaded = load(Header::Network, offset, value.len());
    let compared = vec![loaded, keep(&range.mask()), compare(comparison, &value)];
    [of_family_of(address), compared].concat()
}

/// Matches destinations that are ISATAP addresses.
fn of_isatap() -> Vec<Attributes> {
    let offset = ipv6::DESTINATION_OFFSET + u32::from(isatap::OFFSET);
    let loaded = load(Header::Network, offset, isatap::VALUE.len());
    let compared = vec![
        loaded,
        keep(&isatap::MASK),
        compare(Is::Equal, &isatap::VALUE),
    ];
    [of_family(family::IPV6), compared].concat()
}

/// Matches packets of a connection that was let through, and errors about one.
fn established() -> Vec<Attributes> {
    let bits = nf_tables::belongs_to_a_connection();
    vec![
        nf_tables::load_state(),
        keep(&bits),
        compare(Is::Different, &[0; 4]),
    ]
}

fn marked() -> Vec<Attributes> {
    vec![
        load_fact(Fact::Mark),
        compare(Is::Equal, &MARK.to_ne_bytes()),
    ]
}

/// Lets a packet through, with the mark.
fn accept() -> Vec<Attributes> {
    let mark = hold(Register::First, &MARK.to_ne_bytes());
    vec![mark, nf_tables::set_mark(), end(Verdict::Accept)]
}

/// Adds the destination to the set of its family.
fn note(family: IpAddr) -> Vec<Attributes> {
    let set = match family {
        IpAddr::V4(_) => REFUSED_4,
        IpAddr::V6(_) => REFUSED_6,
    };
    let Field { address, offset } = destination(family);
    let loaded = load(Header::Network, offset, octets(address).len());
    vec![loaded, nf_tables::add_to(set)]
}

/// Makes the machine's end of the pair the destination, at the port that refuses connections.
fn lead_to(ends: &Ends) -> Vec<Attributes> {
    let address = hold(Register::First, &octets(ends.machine));
    let port = hold(Register::Second, &ends.refusing_port.to_be_bytes());
    vec![address, port, nf_tables::send_to(family_of(ends.machine))]
}
