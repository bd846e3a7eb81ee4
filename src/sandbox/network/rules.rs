//! The rules of the packet filter, as messages of nf_tables (linux/netfilter/nf_tables.h).
//!
//! - Comes in: the names and addresses of one pair of interfaces, and what may be reached.
//! - Goes out: a table of this pair, which the kernel removes when the socket that made it is closed.
//! - Never: a rule that lets a packet through because nothing was said about it.
//!
//! | chain | sees | what it does |
//! |---|---|---|
//! | `arriving` | the first packet of what comes from the phase | notes what is refused, and leads it to a port that refuses it |
//! | `input` | what is for the machine itself | drops it, but for what is allowed |
//! | `forward` | each packet that passes through | lets public destinations through; answers only, in the other direction |
//! | `leaving` | the first packet of what leaves the machine | gives it the machine's address |
//!
//! What a chain lets through gets a mark, and the room's other table ([`guard`]) drops what has an interface of ours and no mark:
//! without this table nothing passes.

use std::io;
use std::net::IpAddr;

use super::addresses::{Cidr, GLOBAL_6, NOT_PUBLIC_4, NOT_PUBLIC_6, octets};
use super::netlink::{Attributes, Message, Socket, attribute, attributes, flag};

/// What the name of every interface begins with that is made here.
pub(super) const INTERFACE_PREFIX: &str = "kettle";
/// What the name of an interface has room for, with its NUL.
const NAME_BYTES: usize = 16;
/// DNS.
const NAME_SERVICE: u16 = 53;
/// On packets that were let through: "kt".
const MARK: u32 = 0x6b74;
/// How many refused addresses are noted, of each family.
const MAX_NOTED: u32 = 64;

const SUBSYSTEM: u16 = 10 << 8;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const FAMILY_INET: u8 = 1;
const IPV4: u8 = 2;
const IPV6: u8 = 10;

const ICMP_6: u8 = 58;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// ICMPv6's question for, and answer with, a neighbour's hardware address.
const NEIGHBOUR: [u8; 2] = [135, 136];

/// Numbers of messages.
mod message {
    pub(super) const NEW_TABLE: u16 = 0;
    pub(super) const DELETE_TABLE: u16 = 2;
    pub(super) const NEW_CHAIN: u16 = 3;
    pub(super) const NEW_RULE: u16 = 6;
    pub(super) const NEW_SET: u16 = 9;
    pub(super) const GET_ELEMENTS: u16 = 13;
}

const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
/// The two registers that expressions pass values by.
const FIRST: u32 = 1;
const SECOND: u32 = 2;

/// What a matching rule does in the end.
mod verdict {
    pub(super) const DROP: i32 = 0;
    pub(super) const ACCEPT: i32 = 1;
    pub(super) const GO_TO: i32 = -4;
}

/// Where in the kernel a chain is.
#[derive(Clone, Copy)]
enum Hook {
    Arriving = 0,
    Input = 1,
    Forward = 2,
    Leaving = 4,
}

/// One end of the pair in each family: the phase's, and the machine's, which has a port that refuses connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) phase: IpAddr,
    pub(super) machine: IpAddr,
    pub(super) refusing_port: u16,
}

/// What a phase may reach, and how it is connected.
#[derive(Clone, Debug)]
pub(super) struct Policy<'a> {
    /// The machine's end of the pair, and the name of the table.
    pub(super) interface: &'a str,
    /// IPv4, and IPv6 where the machine has it.
    pub(super) ends: &'a [Ends],
    /// Their port 53, and nothing else of them.
    pub(super) name_servers: &'a [IpAddr],
    /// Reached by TCP although they are not public.
    pub(super) allowed: &'a [Cidr],
}

/// Makes the table of a pair of interfaces.
pub(super) fn set_up(socket: &Socket, policy: &Policy<'_>) -> io::Result<()> {
    let mut batch = Batch::new(policy.interface);
    batch.table(2);
    batch.set("refused4", 1, 4);
    batch.set("refused6", 2, 16);
    batch.chain("arriving", Some(("nat", Hook::Arriving, -100)));
    batch.chain("refuse4", None);
    batch.chain("refuse6", None);
    batch.chain("input", Some(("filter", Hook::Input, -10)));
    batch.chain("forward", Some(("filter", Hook::Forward, -10)));
    batch.chain("leaving", Some(("nat", Hook::Leaving, 100)));

    let to_others = [from_interface(NOT_EQUAL, policy.interface), vec![end(verdict::ACCEPT)]].concat();
    for chain in ["arriving", "input"] {
        batch.rule(chain, to_others.clone());
    }
    let outwards = [to_interface(policy.interface), established(), accept()].concat();
    batch.rule("forward", outwards);
    batch.rule("forward", [to_interface(policy.interface), vec![end(verdict::DROP)]].concat());
    batch.rule("forward", to_others);

    for kind in NEIGHBOUR {
        batch.rule("input", [protocol(ICMP_6), transport(0, &[kind]), accept()].concat());
    }
    for permitted in permitted(policy) {
        batch.rule("arriving", [permitted.clone(), vec![end(verdict::ACCEPT)]].concat());
        batch.rule("input", [permitted.clone(), accept()].concat());
        batch.rule("forward", [permitted, accept()].concat());
    }
    for ends in policy.ends {
        let refusing = [is(destination(ends.machine)), port(TCP, ends.refusing_port), accept()].concat();
        batch.rule("input", refusing);
        batch.rule("leaving", [is(source(ends.phase)), vec![expression("masq", Attributes::default())]].concat());
        batch.rule(refuse(ends.phase), note(ends.phase));
        batch.rule(refuse(ends.phase), [protocol(TCP), lead_to(ends)].concat());
    }
    batch.rule("input", vec![end(verdict::DROP)]);
    for (family, refused) in refused(policy) {
        batch.rule("arriving", [refused.clone(), vec![go_to(family)]].concat());
        batch.rule("forward", [refused, vec![end(verdict::DROP)]].concat());
    }
    batch.rule("forward", [protocol(TCP), accept()].concat());
    batch.rule("forward", vec![end(verdict::DROP)]);
    batch.commit(socket)
}

/// Returns which addresses the phase tried to reach in vain; at most [`MAX_NOTED`] of each family.
pub(super) fn refused_addresses(socket: &Socket, interface: &str) -> io::Result<Vec<IpAddr>> {
    let mut found = Vec::new();
    for set in ["refused4", "refused6"] {
        let named = Attributes::default().text(1, interface).text(2, set);
        let question = Message::new(SUBSYSTEM | message::GET_ELEMENTS, 0, &header(FAMILY_INET), named);
        for answer in socket.list(question)? {
            found.extend(elements(&answer).into_iter().filter_map(address));
        }
    }
    Ok(found)
}

/// The keys of an answer's elements: list, element, key, value.
fn elements(answer: &[u8]) -> Vec<&[u8]> {
    let list = answer.get(4..).and_then(|answer| attribute(answer, 3)).unwrap_or_default();
    let key = |element| attribute(attribute(element, 1)?, 1);
    attributes(list).into_iter().filter_map(|(_, element)| key(element)).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// What the machine forwards only because of phases that fetch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Forwarded {
    /// Interfaces that packets of IPv4 may come in by since then.
    pub(super) interfaces: Vec<String>,
    /// Whether packets of IPv6 are forwarded since then.
    pub(super) ipv6: bool,
}

/// The name of the table that [`guard`] makes.
const GUARD: &str = "kettle-guard";

/// Makes, or makes again, the table of the machine that drops what no table of a pair has let through: of interfaces of ours, and of
/// what the machine would not forward without us.
pub(super) fn guard(socket: &Socket, forwarded: &Forwarded) -> io::Result<()> {
    let mut batch = Batch::new(GUARD);
    batch.table(0);
    batch.delete_table();
    batch.table(0);
    batch.chain("input", Some(("filter", Hook::Input, 10)));
    batch.chain("forward", Some(("filter", Hook::Forward, 10)));
    let drop = || vec![end(verdict::DROP)];
    let ours = INTERFACE_PREFIX.as_bytes();
    for chain in ["input", "forward"] {
        batch.rule(chain, [marked(), vec![end(verdict::ACCEPT)]].concat());
        batch.rule(chain, [name(meta::FROM, EQUAL, ours), drop()].concat());
    }
    batch.rule("forward", [name(meta::TO, EQUAL, ours), drop()].concat());
    for interface in &forwarded.interfaces {
        batch.rule("forward", [family(IPV4), from_interface(EQUAL, interface), drop()].concat());
    }
    if forwarded.ipv6 {
        batch.rule("forward", [family(IPV6), drop()].concat());
    }
    batch.commit(socket)
}

/// Removes the table that [`guard`] makes.
pub(super) fn remove_guard(socket: &Socket) -> io::Result<()> {
    let mut batch = Batch::new(GUARD);
    batch.table(0);
    batch.delete_table();
    batch.commit(socket)
}

/// Messages that the kernel takes all or none of, about one table.
struct Batch<'a> {
    table: &'a str,
    messages: Vec<Message>,
}

impl<'a> Batch<'a> {
    fn new(table: &'a str) -> Self {
        let begin = Message::new(BATCH_BEGIN, 0, &[0, 0, 0, 10], Attributes::default());
        Self { table, messages: vec![begin] }
    }

    fn push(&mut self, kind: u16, flags: u16, attributes: Attributes) {
        self.messages.push(Message::new(SUBSYSTEM | kind, flags, &header(FAMILY_INET), attributes));
    }

    /// With flag 2 (`NFT_TABLE_F_OWNER`), the table belongs to the socket: nobody else can change it, and it ends with it.
    fn table(&mut self, flags: u32) {
        let attributes = Attributes::default().text(1, self.table).number(2, flags);
        self.push(message::NEW_TABLE, flag::CREATE, attributes);
    }

    fn delete_table(&mut self) {
        self.push(message::DELETE_TABLE, 0, Attributes::default().text(1, self.table));
    }

    /// A set that rules add addresses to.
    fn set(&mut self, name: &str, id: u32, key_bytes: u32) {
        let size = Attributes::default().number(1, MAX_NOTED);
        // NFT_SET_EVAL; the type of the key is for those who print it.
        let attributes = Attributes::default().text(1, self.table).text(2, name).number(3, 0x20);
        let attributes = attributes.number(4, 0).number(5, key_bytes).nested(9, size).number(10, id);
        self.push(message::NEW_SET, flag::CREATE, attributes);
    }

    fn chain(&mut self, name: &str, base: Option<(&str, Hook, i32)>) {
        let mut attributes = Attributes::default().text(1, self.table).text(3, name);
        if let Some((kind, hook, priority)) = base {
            let place = Attributes::default().number(1, hook as u32).number(2, priority.cast_unsigned());
            attributes = attributes.nested(4, place).text(7, kind);
        }
        self.push(message::NEW_CHAIN, flag::CREATE, attributes);
    }

    fn rule(&mut self, chain: &str, expressions: Vec<Attributes>) {
        let list = expressions.into_iter().fold(Attributes::default(), |list, one| list.nested(1, one));
        let attributes = Attributes::default().text(1, self.table).text(2, chain).nested(4, list);
        self.push(message::NEW_RULE, flag::CREATE | flag::APPEND, attributes);
    }

    /// A refusal of any message is answered; that there was none, by the acknowledgement of the last.
    fn commit(mut self, socket: &Socket) -> io::Result<()> {
        let last = self.messages.pop().map(Message::acknowledged);
        self.messages.extend(last);
        self.messages.push(Message::new(BATCH_END, 0, &[0, 0, 0, 10], Attributes::default()));
        socket.ask(self.messages)
    }
}

/// `struct nfgenmsg`: family, version, resource.
fn header(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

/// Destinations that are reached although they may not be public.
fn permitted(policy: &Policy<'_>) -> Vec<Vec<Attributes>> {
    let allowed = policy.allowed.iter().map(|range| [within(EQUAL, *range), protocol(TCP)].concat());
    let name_servers = policy.name_servers.iter().flat_map(|server| {
        [UDP, TCP].map(|protocol| [is(destination(*server)), port(protocol, NAME_SERVICE)].concat())
    });
    name_servers.chain(allowed).collect()
}

/// Destinations that are not reached, with their family: what is not public, other ports of name servers, other name servers.
fn refused(policy: &Policy<'_>) -> Vec<(IpAddr, Vec<Attributes>)> {
    let servers = policy.name_servers.iter().map(|server| (*server, is(destination(*server))));
    let mut refused: Vec<_> = servers.collect();
    refused.extend(NOT_PUBLIC_4.map(|range| (range.address(), within(EQUAL, range))));
    refused.push((GLOBAL_6.address(), within(NOT_EQUAL, GLOBAL_6)));
    refused.extend(NOT_PUBLIC_6.map(|range| (range.address(), within(EQUAL, range))));
    for ends in policy.ends {
        refused.push((ends.phase, [of_family_of(ends.phase), port(TCP, NAME_SERVICE)].concat()));
    }
    refused
}

fn refuse(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "refuse4",
        IpAddr::V6(_) => "refuse6",
    }
}

fn expression(name: &str, data: Attributes) -> Attributes {
    Attributes::default().text(1, name).nested(2, data)
}

/// Facts about a packet.
mod meta {
    pub(super) const MARK: u32 = 3;
    pub(super) const FROM: u32 = 6;
    pub(super) const TO: u32 = 7;
    pub(super) const FAMILY: u32 = 15;
    pub(super) const PROTOCOL: u32 = 16;
}

fn load_meta(key: u32) -> Attributes {
    expression("meta", Attributes::default().number(1, FIRST).number(2, key))
}

/// Bytes of a packet's header: of the network's (1) or the transport's (2).
fn load(base: u32, offset: u32, length: u32) -> Attributes {
    let data = Attributes::default().number(1, FIRST).number(2, base);
    expression("payload", data.number(3, offset).number(4, length))
}

fn compare(operation: u32, value: &[u8]) -> Attributes {
    let value = Attributes::default().with(1, value);
    expression("cmp", Attributes::default().number(1, FIRST).number(2, operation).nested(3, value))
}

/// Keeps the bits of a mask.
fn keep(mask: &[u8]) -> Attributes {
    let value = |bytes: &[u8]| Attributes::default().with(1, bytes);
    let data = Attributes::default().number(1, FIRST).number(2, FIRST).number(3, mask.len() as u32);
    expression("bitwise", data.nested(4, value(mask)).nested(5, value(&vec![0; mask.len()])))
}

fn family(number: u8) -> Vec<Attributes> {
    vec![load_meta(meta::FAMILY), compare(EQUAL, &[number])]
}

fn of_family_of(address: IpAddr) -> Vec<Attributes> {
    family(if address.is_ipv4() { IPV4 } else { IPV6 })
}

fn protocol(number: u8) -> Vec<Attributes> {
    vec![load_meta(meta::PROTOCOL), compare(EQUAL, &[number])]
}

fn transport(offset: u32, value: &[u8]) -> Vec<Attributes> {
    vec![load(2, offset, value.len() as u32), compare(EQUAL, value)]
}

fn port(protocol_number: u8, port: u16) -> Vec<Attributes> {
    [protocol(protocol_number), transport(2, &port.to_be_bytes())].concat()
}

/// Compares as many bytes of an interface's name as are given.
fn name(which: u32, operation: u32, name: &[u8]) -> Vec<Attributes> {
    vec![load_meta(which), compare(operation, name)]
}

fn whole(interface: &str) -> Vec<u8> {
    let mut bytes = interface.as_bytes().to_vec();
    bytes.resize(NAME_BYTES, 0);
    bytes
}

fn from_interface(operation: u32, interface: &str) -> Vec<Attributes> {
    name(meta::FROM, operation, &whole(interface))
}

fn to_interface(interface: &str) -> Vec<Attributes> {
    name(meta::TO, EQUAL, &whole(interface))
}

/// An address of a packet, and what it is compared with.
struct Field {
    address: IpAddr,
    offset: u32,
}

fn destination(address: IpAddr) -> Field {
    Field { address, offset: if address.is_ipv4() { 16 } else { 24 } }
}

fn source(address: IpAddr) -> Field {
    Field { address, offset: if address.is_ipv4() { 12 } else { 8 } }
}

fn is(field: Field) -> Vec<Attributes> {
    let value = octets(field.address);
    let loaded = load(1, field.offset, value.len() as u32);
    [of_family_of(field.address), vec![loaded, compare(EQUAL, &value)]].concat()
}

/// Whether the destination is in a range, or of its family and not in it.
fn within(operation: u32, range: Cidr) -> Vec<Attributes> {
    let Field { address, offset } = destination(range.address());
    let value = octets(address);
    let loaded = load(1, offset, value.len() as u32);
    [of_family_of(address), vec![loaded, keep(&range.mask()), compare(operation, &value)]].concat()
}

/// Packets of a connection that was let through, and errors about one.
fn established() -> Vec<Attributes> {
    // NF_CT_STATE_BIT of IP_CT_ESTABLISHED and IP_CT_RELATED.
    let bits = (1_u32 << 1) | (1 << 2);
    let state = expression("ct", Attributes::default().number(1, FIRST).number(2, 0));
    vec![state, keep(&bits.to_ne_bytes()), compare(NOT_EQUAL, &[0; 4])]
}

fn marked() -> Vec<Attributes> {
    vec![load_meta(meta::MARK), compare(EQUAL, &MARK.to_ne_bytes())]
}

/// Lets a packet through, with the mark.
fn accept() -> Vec<Attributes> {
    let mark = expression("meta", Attributes::default().number(2, meta::MARK).number(3, FIRST));
    vec![value(FIRST, &MARK.to_ne_bytes()), mark, end(verdict::ACCEPT)]
}

fn value(register: u32, bytes: &[u8]) -> Attributes {
    let value = Attributes::default().with(1, bytes);
    expression("immediate", Attributes::default().number(1, register).nested(2, value))
}

fn end(code: i32) -> Attributes {
    verdict_of(Attributes::default().number(1, code.cast_unsigned()))
}

fn go_to(family: IpAddr) -> Attributes {
    let code = Attributes::default().number(1, verdict::GO_TO.cast_unsigned());
    verdict_of(code.text(2, refuse(family)))
}

/// Register 0 is the verdict.
fn verdict_of(code: Attributes) -> Attributes {
    let data = Attributes::default().nested(2, code);
    expression("immediate", Attributes::default().number(1, 0).nested(2, data))
}

/// Adds the destination to the set of its family.
fn note(family: IpAddr) -> Vec<Attributes> {
    let (set, id) = match family {
        IpAddr::V4(_) => ("refused4", 1),
        IpAddr::V6(_) => ("refused6", 2),
    };
    let data = Attributes::default().text(1, set).number(2, id).number(3, 0).number(4, FIRST);
    let Field { address, offset } = destination(family);
    vec![load(1, offset, octets(address).len() as u32), expression("dynset", data)]
}

/// Makes the machine's end of the pair the destination, at the port that refuses connections.
fn lead_to(ends: &Ends) -> Vec<Attributes> {
    let family = if ends.machine.is_ipv4() { IPV4 } else { IPV6 };
    // NFT_NAT_DNAT, to the address and port in the registers.
    let data = Attributes::default().number(1, 1).number(2, family.into()).number(3, FIRST).number(5, SECOND);
    let address = value(FIRST, &octets(ends.machine));
    let port = value(SECOND, &ends.refusing_port.to_be_bytes());
    vec![address, port, expression("nat", data)]
}
