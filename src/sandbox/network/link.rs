//! Pairs of interfaces, their addresses and their routes (rtnetlink(7), veth(4)).
//!
//! - Comes in: names and addresses that the room chose.
//! - Goes out: interfaces as asked for, and which there are.
//! - Never: a change to an interface that the room did not make.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use super::addresses::octets;
use super::netlink::{Attributes, Message, Socket, attribute, flag};

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
/// `struct ifinfomsg`.
const LINK_BYTES: usize = 16;
const IS_UP: u32 = 1;
const IS_LOOPBACK: u32 = 8;
/// No check whether somebody else has an address of IPv6: nobody else is there.
const NO_DUPLICATE_CHECK: u8 = 2;

/// Kinds of attributes of links (linux/if_link.h).
mod attribute_kind {
    pub(super) const NAME: u16 = 3;
    pub(super) const MTU: u16 = 4;
    pub(super) const INFORMATION: u16 = 18;
    pub(super) const NAMESPACE: u16 = 28;
    pub(super) const KIND: u16 = 1;
    pub(super) const DATA: u16 = 2;
    pub(super) const PEER: u16 = 1;
}

/// An interface of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: i32,
    pub(super) name: String,
    pub(super) mtu: u32,
    pub(super) is_up: bool,
    pub(super) is_loopback: bool,
}

/// Lists the interfaces of the socket's namespace.
pub(super) fn list(socket: &Socket) -> io::Result<Vec<Link>> {
    let answers = socket.list(Message::new(GET_LINK, 0, &information(0, 0), Attributes::default()))?;
    Ok(answers.iter().filter_map(|answer| parse(answer)).collect())
}

fn parse(answer: &[u8]) -> Option<Link> {
    let number = |at: usize| Some(u32::from_ne_bytes(answer.get(at..at + 4)?.try_into().ok()?));
    let attributes = answer.get(LINK_BYTES..)?;
    let name = attribute(attributes, attribute_kind::NAME)?;
    let flags = number(8)?;
    Some(Link {
        index: number(4)?.cast_signed(),
        name: String::from_utf8(name.strip_suffix(&[0])?.to_vec()).ok()?,
        mtu: attribute(attributes, attribute_kind::MTU)?.try_into().ok().map(u32::from_ne_bytes)?,
        is_up: flags & IS_UP != 0,
        is_loopback: flags & IS_LOOPBACK != 0,
    })
}

/// The number of the interface with a name.
pub(super) fn index_of(socket: &Socket, name: &str) -> io::Result<i32> {
    let found = list(socket)?.into_iter().find(|link| link.name == name);
    found.map(|link| link.index).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Makes a pair: `outer` in the socket's namespace, `inner` in another one.
pub(super) fn make_pair(
    socket: &Socket,
    outer: &str,
    inner: &str,
    inner_namespace: &OwnedFd,
    mtu: u32,
) -> io::Result<()> {
    let namespace = inner_namespace.as_raw_fd().to_ne_bytes();
    let named =
        |name| Attributes::default().text(attribute_kind::NAME, name).with(attribute_kind::MTU, &mtu.to_ne_bytes());
    let peer = Message::new(0, 0, &information(0, 0), named(inner).with(attribute_kind::NAMESPACE, &namespace));
    let data = Attributes::default().with(attribute_kind::PEER, peer.body());
    let kind = Attributes::default().with(attribute_kind::KIND, b"veth").nested(attribute_kind::DATA, data);
    let attributes = named(outer).nested(attribute_kind::INFORMATION, kind);
    socket.ask_one(Message::new(NEW_LINK, flag::CREATE | flag::EXCLUSIVE, &information(0, 0), attributes))
}

/// Removes an interface, and so its pair.
pub(super) fn remove(socket: &Socket, index: i32) -> io::Result<()> {
    socket.ask_one(Message::new(DELETE_LINK, 0, &information(index, 0), Attributes::default()))
}

/// Switches an interface on.
pub(super) fn switch_on(socket: &Socket, index: i32) -> io::Result<()> {
    socket.ask_one(Message::new(NEW_LINK, 0, &information(index, IS_UP), Attributes::default()))
}

/// `struct ifinfomsg`: family, type, index, flags, which flags are meant.
fn information(index: i32, flags: u32) -> Vec<u8> {
    [&[0; 4][..], &index.to_ne_bytes(), &flags.to_ne_bytes(), &flags.to_ne_bytes()].concat()
}

/// Gives an interface an address.
pub(super) fn add_address(socket: &Socket, index: i32, address: IpAddr, prefix: u8) -> io::Result<()> {
    // struct ifaddrmsg: family, prefix, flags, scope, index; then IFA_ADDRESS and IFA_LOCAL.
    let fixed = [&[family(address), prefix, NO_DUPLICATE_CHECK, 0][..], &index.to_ne_bytes()].concat();
    let attributes = Attributes::default().with(1, &octets(address)).with(2, &octets(address));
    socket.ask_one(Message::new(NEW_ADDRESS, flag::CREATE | flag::EXCLUSIVE, &fixed, attributes))
}

/// Sends everything else to a router of an interface's network.
pub(super) fn add_default_route(socket: &Socket, index: i32, router: IpAddr) -> io::Result<()> {
    // RTN_UNICAST; RTA_OIF and RTA_GATEWAY.
    let attributes = Attributes::default().with(4, &index.to_ne_bytes()).with(5, &octets(router));
    socket.ask_one(route(family(router), 0, 1, attributes))
}

/// Answers at once whoever asks for the loopback of IPv6, which leads nowhere.
pub(super) fn refuse_loopback_6(socket: &Socket) -> io::Result<()> {
    // RTN_UNREACHABLE; RTA_DST.
    let attributes = Attributes::default().with(1, &Ipv6Addr::LOCALHOST.octets());
    socket.ask_one(route(libc::AF_INET6 as u8, 128, 7, attributes))
}

fn route(family: u8, prefix: u8, kind: u8, attributes: Attributes) -> Message {
    // struct rtmsg: family, length of destination and source, service, main table, by whom (static), scope, type, flags.
    let fixed = [&[family, prefix, 0, 0, 254, 4, 0, kind][..], &0_u32.to_ne_bytes()].concat();
    Message::new(NEW_ROUTE, flag::CREATE | flag::EXCLUSIVE, &fixed, attributes)
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}
