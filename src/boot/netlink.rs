//! Questions to the kernel about its network (rtnetlink(7)). Comes in: what is to hold. Goes out: the kernel's
//! acknowledgement, or its refusal. Never: a message that names more than one thing.
//!
//! A message is a header (length, type, flags, number, sender; 16 bytes), a fixed part of its type, and attributes
//! (length, type, value, padded to 4 bytes), in the machine's byte order.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

const HEADER_BYTES: usize = 16;
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const ERROR: u16 = 2;
/// Request, acknowledge, create, exclusively.
const FLAGS: u16 = 0x1 | 0x4 | 0x400 | 0x200;
/// Of a link, `NEW_LINK` changes what is there.
const FLAGS_CHANGE: u16 = 0x1 | 0x4;

/// A connection to the kernel.
pub(super) struct Netlink(OwnedFd);

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        // NETLINK_ROUTE is number 0, the one without a name here.
        Ok(Self(socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?))
    }

    /// Switches an interface on.
    pub(super) fn up(&self, interface: i32) -> io::Result<()> {
        self.ask(&up(interface))
    }

    /// Gives an interface an address.
    pub(super) fn address(&self, interface: i32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        self.ask(&address_message(interface, address, prefix))
    }

    /// Sends everything else to a router of an interface's network.
    pub(super) fn default_route(&self, interface: i32, router: Ipv4Addr) -> io::Result<()> {
        self.ask(&default_route(interface, router))
    }

    /// The kernel answers before the first call returns.
    fn ask(&self, message: &[u8]) -> io::Result<()> {
        let mut answer = [0; 1024];
        rustix::io::write(&self.0, message)?;
        let length = rustix::io::read(&self.0, &mut answer)?;
        acknowledged(&answer[..length])
    }
}

fn up(interface: i32) -> Vec<u8> {
    // struct ifinfomsg: family, type, index, flags, change.
    let fixed = [&[0; 4][..], &interface.to_ne_bytes(), &1u32.to_ne_bytes(), &1u32.to_ne_bytes()].concat();
    message(NEW_LINK, FLAGS_CHANGE, &fixed, &[])
}

fn address_message(interface: i32, address: Ipv4Addr, prefix: u8) -> Vec<u8> {
    // struct ifaddrmsg: family, prefix, flags, scope, index; then IFA_ADDRESS and IFA_LOCAL.
    let fixed = [&[libc::AF_INET as u8, prefix, 0, 0][..], &interface.to_ne_bytes()].concat();
    message(NEW_ADDRESS, FLAGS, &fixed, &[(1, address.octets()), (2, address.octets())])
}

fn default_route(interface: i32, router: Ipv4Addr) -> Vec<u8> {
    // struct rtmsg: family, both lengths, tos, main table, from DHCP, everywhere, unicast; RTNH_F_ONLINK, because some
    // clouds give an address without a network and a router outside of it. Then RTA_OIF and RTA_GATEWAY.
    let fixed = [&[libc::AF_INET as u8, 0, 0, 0, 254, 16, 0, 1][..], &4u32.to_ne_bytes()].concat();
    message(NEW_ROUTE, FLAGS, &fixed, &[(4, interface.to_ne_bytes()), (5, router.octets())])
}

fn message(kind: u16, flags: u16, fixed: &[u8], attributes: &[(u16, [u8; 4])]) -> Vec<u8> {
    let length = HEADER_BYTES + fixed.len() + attributes.len() * 8;
    let mut bytes = (length as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(fixed);
    for (kind, value) in attributes {
        bytes.extend(8u16.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
    }
    bytes
}

/// An error message with number zero is the acknowledgement.
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let number = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, number) {
        (Some(ERROR), Some(0)) => Ok(()),
        (Some(ERROR), Some(number)) => Err(io::Error::from_raw_os_error(number.saturating_neg())),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_their_own_length() {
        let router = Ipv4Addr::new(10, 0, 2, 2);
        for (message, length) in [(up(2), 32), (address_message(2, router, 24), 40), (default_route(2, router), 44)] {
            assert_eq!(message.len(), length);
            assert_eq!(message[..4], (length as u32).to_ne_bytes());
        }
        assert_eq!(default_route(2, router)[40..], [10, 0, 2, 2]);
    }

    #[test]
    fn only_an_error_with_number_zero_is_an_acknowledgement() {
        let answer = |kind: u16, number: i32| {
            let mut bytes = message(kind, 0, &number.to_ne_bytes(), &[]);
            bytes.extend([0; 16]);
            bytes
        };
        assert!(acknowledged(&answer(ERROR, 0)).is_ok());
        assert_eq!(acknowledged(&answer(ERROR, -17)).unwrap_err().raw_os_error(), Some(17));
        assert!(acknowledged(&answer(ERROR, i32::MIN)).is_err());
        assert!(acknowledged(&answer(NEW_LINK, 0)).is_err());
        assert!(acknowledged(&[]).is_err());
    }
}
