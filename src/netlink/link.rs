//! Configures interfaces, their addresses and their routes (rtnetlink(7), veth(4)).
//!
//! * In: names, numbers and addresses that the caller chose.
//! * Out: the requested configuration, and lists of interfaces and addresses.
//! * Never: a change to another interface than the named one.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use super::{Attributes, Message, Socket, attribute, flag, octets};

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
/// The size of `struct ifinfomsg`.
const LINK_BYTES: usize = 16;
/// The size of `struct ifaddrmsg`.
const ADDRESS_BYTES: usize = 8;
const IS_UP: u32 = 1;
const IS_LOOPBACK: u32 = 8;
/// Skips the check whether another machine has an address of IPv6: there is no other machine.
const NO_DUPLICATE_CHECK: u8 = 2;

/// Kinds of attributes of links (linux/if_link.h).
mod attribute_kind {
    pub(crate) const NAME: u16 = 3;
    pub(crate) const MTU: u16 = 4;
    pub(crate) const INFORMATION: u16 = 18;
    pub(crate) const NAMESPACE: u16 = 28;
    pub(crate) const KIND: u16 = 1;
    pub(crate) const DATA: u16 = 2;
    pub(crate) const PEER: u16 = 1;
}

/// Kinds of attributes of addresses (linux/if_addr.h).
mod address_kind {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const LOCAL: u16 = 2;
}

/// Kinds of attributes of routes (linux/rtnetlink.h).
mod route_kind {
    pub(super) const DESTINATION: u16 = 1;
    pub(super) const INTERFACE: u16 = 4;
    pub(super) const GATEWAY: u16 = 5;
}

/// What a route does (linux/rtnetlink.h, `RTN_…`).
#[derive(Clone, Copy)]
enum RouteType {
    Unicast = 1,
    Unreachable = 7,
}

/// `RT_TABLE_MAIN`.
const MAIN_TABLE: u8 = 254;
/// `RTNH_F_ONLINK`: the kernel takes the router for a neighbour without a check.
const IS_ON_LINK: u32 = 4;

/// An interface of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: i32,
    pub(crate) name: String,
    pub(crate) mtu: u32,
    pub(crate) is_up: bool,
    pub(crate) is_loopback: bool,
}

/// Lists the interfaces of the socket's namespace.
pub(crate) fn list(socket: &Socket) -> io::Result<Vec<Link>> {
    let request = Message::new(GET_LINK, 0, &information(0, 0), Attributes::default());
    let replies = socket.list(request)?;
    Ok(replies.iter().filter_map(|reply| parse(reply)).collect())
}

fn parse(reply: &[u8]) -> Option<Link> {
    let number = |at: usize| Some(u32::from_ne_bytes(reply.get(at..at + 4)?.try_into().ok()?));
    let attributes = reply.get(LINK_BYTES..)?;
    let name = attribute(attributes, attribute_kind::NAME)?;
    let mtu = attribute(attributes, attribute_kind::MTU)?;
    let flags = number(8)?;
    Some(Link {
        index: number(4)?.cast_signed(),
        name: String::from_utf8(name.strip_suffix(&[0])?.to_vec()).ok()?,
        mtu: u32::from_ne_bytes(mtu.try_into().ok()?),
        is_up: flags & IS_UP != 0,
        is_loopback: flags & IS_LOOPBACK != 0,
    })
}

/// Returns the number of the interface with a name.
pub(crate) fn index_of(socket: &Socket, name: &str) -> io::Result<i32> {
    match list(socket)?.iter().find(|link| link.name == name) {
        Some(link) => Ok(link.index),
        None => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Creates a pair of interfaces: `outer` in the socket's namespace, `inner` in another one.
pub(crate) fn make_pair(
    socket: &Socket,
    outer: &str,
    inner: &str,
    inner_namespace: &OwnedFd,
    mtu: u32,
) -> io::Result<()> {
    let namespace = inner_namespace.as_raw_fd().to_ne_bytes();
    let named = |name| {
        Attributes::default()
            .text(attribute_kind::NAME, name)
            .with(attribute_kind::MTU, &mtu.to_ne_bytes())
    };
    let peer = Message::new(
        0,
        0,
        &information(0, 0),
        named(inner).with(attribute_kind::NAMESPACE, &namespace),
    );
    let data = Attributes::default().with(attribute_kind::PEER, peer.body());
    let kind = Attributes::default()
        .with(attribute_kind::KIND, b"veth")
        .nested(attribute_kind::DATA, data);
    let attributes = named(outer).nested(attribute_kind::INFORMATION, kind);
    socket.ask_one(Message::new(
        NEW_LINK,
        flag::CREATE | flag::EXCLUSIVE,
        &information(0, 0),
        attributes,
    ))
}

/// Removes an interface, and with it the other end of its pair.
pub(crate) fn remove(socket: &Socket, index: i32) -> io::Result<()> {
    socket.ask_one(Message::new(
        DELETE_LINK,
        0,
        &information(index, 0),
        Attributes::default(),
    ))
}

/// Switches an interface on.
pub(crate) fn switch_on(socket: &Socket, index: i32) -> io::Result<()> {
    socket.ask_one(Message::new(
        NEW_LINK,
        0,
        &information(index, IS_UP),
        Attributes::default(),
    ))
}

/// Sets the largest packet of an interface, in bytes.
pub(crate) fn set_mtu(socket: &Socket, index: i32, mtu: u32) -> io::Result<()> {
    let attributes = Attributes::default().with(attribute_kind::MTU, &mtu.to_ne_bytes());
    socket.ask_one(Message::new(
        NEW_LINK,
        0,
        &information(index, 0),
        attributes,
    ))
}

/// Writes `struct ifinfomsg`: family, type, index, flags, the mask of the flags to change.
fn information(index: i32, flags: u32) -> Vec<u8> {
    [
        &[0; 4][..],
        &index.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &flags.to_ne_bytes(),
    ]
    .concat()
}

/// Lists the addresses that the interfaces of the socket's namespace have.
pub(crate) fn addresses(socket: &Socket) -> io::Result<Vec<IpAddr>> {
    let fixed = address_header(libc::AF_UNSPEC as u8, 0, 0, 0);
    let request = Message::new(GET_ADDRESS, 0, &fixed, Attributes::default());
    let replies = socket.list(request)?;
    let found = replies.iter().filter_map(|reply| parse_address(reply));
    Ok(found.collect())
}

/// Returns the interface's own address. For a connection between two ends, the other attribute has
/// the address of the other end.
fn parse_address(reply: &[u8]) -> Option<IpAddr> {
    let attributes = reply.get(ADDRESS_BYTES..)?;
    let own = attribute(attributes, address_kind::LOCAL);
    let bytes = own.or_else(|| attribute(attributes, address_kind::ADDRESS))?;
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// Gives an interface an address.
pub(crate) fn add_address(
    socket: &Socket,
    index: i32,
    address: IpAddr,
    prefix: u8,
) -> io::Result<()> {
    socket.ask_one(new_address(index, address, prefix))
}

fn new_address(index: i32, address: IpAddr, prefix: u8) -> Message {
    let fixed = address_header(family(address), prefix, NO_DUPLICATE_CHECK, index);
    let bytes = octets(address);
    let attributes = Attributes::default()
        .with(address_kind::ADDRESS, &bytes)
        .with(address_kind::LOCAL, &bytes);
    Message::new(
        NEW_ADDRESS,
        flag::CREATE | flag::EXCLUSIVE,
        &fixed,
        attributes,
    )
}

/// Writes `struct ifaddrmsg`: family, prefix, flags, scope, index.
fn address_header(family: u8, prefix: u8, flags: u8, index: i32) -> Vec<u8> {
    [&[family, prefix, flags, 0][..], &index.to_ne_bytes()].concat()
}

/// The origin of a route (linux/rtnetlink.h, `RTPROT_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// An administrator of the machine set the route.
    Static = 4,
    /// A DHCP server named the route.
    Dhcp = 16,
}

/// Adds a default route to a router that is reached by an interface.
///
/// A router that DHCP names may be outside of the interface's network: some clouds give a machine
/// an address without a network.
pub(crate) fn add_default_route(
    socket: &Socket,
    index: i32,
    router: IpAddr,
    origin: Origin,
) -> io::Result<()> {
    socket.ask_one(new_default_route(index, router, origin))
}

/// Adds a route that DHCP names: to a network by a router, or to neighbours without one.
pub(crate) fn add_route(
    socket: &Socket,
    index: i32,
    destination: (IpAddr, u8),
    router: Option<IpAddr>,
) -> io::Result<()> {
    socket.ask_one(new_route(index, destination, router, Origin::Dhcp))
}

fn new_default_route(index: i32, router: IpAddr, origin: Origin) -> Message {
    let everywhere = match router {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    new_route(index, (everywhere, 0), Some(router), origin)
}

fn new_route(
    index: i32,
    (network, prefix): (IpAddr, u8),
    router: Option<IpAddr>,
    origin: Origin,
) -> Message {
    let mut attributes = Attributes::default();
    // The default route names no network.
    if prefix > 0 {
        attributes = attributes.with(route_kind::DESTINATION, &octets(network));
    }
    attributes = attributes.with(route_kind::INTERFACE, &index.to_ne_bytes());
    if let Some(router) = router {
        attributes = attributes.with(route_kind::GATEWAY, &octets(router));
    }
    let flags = match (origin, router) {
        (Origin::Dhcp, Some(_)) => IS_ON_LINK,
        _ => 0,
    };
    let unicast = RouteType::Unicast;
    route(family(network), prefix, unicast, origin, flags, attributes)
}

/// Makes packets to the loopback of IPv6 fail at once, because there is no way to it.
pub(crate) fn refuse_loopback_6(socket: &Socket) -> io::Result<()> {
    let loopback = Ipv6Addr::LOCALHOST.octets();
    let attributes = Attributes::default().with(route_kind::DESTINATION, &loopback);
    let family = libc::AF_INET6 as u8;
    let refused = RouteType::Unreachable;
    socket.ask_one(route(family, 128, refused, Origin::Static, 0, attributes))
}

/// Writes a message with `struct rtmsg`: family, length of destination and source, type of service,
/// table, origin, scope (everywhere), type, flags.
fn route(
    family: u8,
    prefix: u8,
    kind: RouteType,
    origin: Origin,
    flags: u32,
    attributes: Attributes,
) -> Message {
    let described = [
        family,
        prefix,
        0,
        0,
        MAIN_TABLE,
        origin as u8,
        0,
        kind as u8,
    ];
    let fixed = [&described[..], &flags.to_ne_bytes()].concat();
    Message::new(
        NEW_ROUTE,
        flag::CREATE | flag::EXCLUSIVE,
        &fixed,
        attributes,
    )
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_and_addresses_have_the_form_of_the_headers() {
        let router = IpAddr::from([10, 0, 2, 2]);
        let addressed = new_address(2, router, 24);
        let header = [2, 24, NO_DUPLICATE_CHECK, 0, 2, 0, 0, 0];
        assert_eq!(addressed.body()[..8], header);
        assert_eq!(
            addressed.body()[8..],
            [8, 0, 1, 0, 10, 0, 2, 2, 8, 0, 2, 0, 10, 0, 2, 2]
        );
        for (origin, number, flags) in [(Origin::Static, 4, 0), (Origin::Dhcp, 16, 4)] {
            let routed = new_default_route(2, router, origin);
            assert_eq!(
                routed.body()[..12],
                [2, 0, 0, 0, 254, number, 0, 1, flags, 0, 0, 0]
            );
            assert_eq!(
                routed.body()[12..],
                [8, 0, 4, 0, 2, 0, 0, 0, 8, 0, 5, 0, 10, 0, 2, 2]
            );
        }
    }

    #[test]
    fn the_loopback_is_among_the_addresses_of_a_machine() {
        let found = addresses(&Socket::of_routes().unwrap()).unwrap();
        assert!(found.contains(&IpAddr::from([127, 0, 0, 1])), "{found:?}");
        assert_eq!(parse_address(&[0; 7]), None);
    }
}
