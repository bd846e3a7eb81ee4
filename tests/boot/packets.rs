//! Frames of all kinds from the machine's network, and a parser for the machine's own frames.

use std::net::{Ipv4Addr, Ipv6Addr};

pub type Mac = [u8; 6];

pub const BROADCAST: Mac = [0xff; 6];
/// The Ethernet address of all nodes of a link.
const ALL_NODES: Mac = [0x33, 0x33, 0, 0, 0, 1];
/// The Ethernet address of the sender of these frames.
pub const SOMEBODY: Mac = [2, 0, 0, 0, 0, 0x66];

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
const ICMP: u8 = 1;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const ETHERNET_BYTES: usize = 14;
const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
const UDP_BYTES: usize = 8;
/// The offset of the message in a frame of ours.
pub const MESSAGE: usize = ETHERNET_BYTES + IPV4_BYTES + UDP_BYTES;

pub fn ethernet(to: Mac, kind: [u8; 2], payload: &[u8]) -> Vec<u8> {
    [&to[..], &SOMEBODY, &kind, payload].concat()
}

fn ipv4(to: Mac, protocol: u8, addresses: [Ipv4Addr; 2], payload: &[u8]) -> Vec<u8> {
    let length = (IPV4_BYTES + payload.len()) as u16;
    let mut header = [
        &[0x45, 0][..],
        &length.to_be_bytes(),
        &[0, 0, 0, 0, 64, protocol, 0, 0],
    ]
    .concat();
    header.extend(addresses.map(|address| address.octets()).concat());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum);
    ethernet(to, ETHERTYPE_IPV4, &[&header[..], payload].concat())
}

/// Returns a UDP datagram in a frame, without a checksum, which is allowed.
pub fn udp(to: Mac, [source, destination]: [(Ipv4Addr, u16); 2], message: &[u8]) -> Vec<u8> {
    let numbers = [
        source.1,
        destination.1,
        (UDP_BYTES + message.len()) as u16,
        0,
    ]
    .map(u16::to_be_bytes)
    .concat();
    ipv4(
        to,
        UDP,
        [source.0, destination.0],
        &[&numbers[..], message].concat(),
    )
}

/// Returns the checksum of RFC 1071.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let word =
        |pair: &[u8]| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |byte| u32::from(*byte));
    let sum: u32 = bytes.chunks(2).map(word).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    (!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes()
}

/// Returns an ARP reply: "this address is mine".
pub fn arp(to: Mac, address: Ipv4Addr, machine: Ipv4Addr) -> Vec<u8> {
    let fixed = [0, 1, 8, 0, 6, 4, 0, 2];
    ethernet(
        to,
        ETHERTYPE_ARP,
        &[
            &fixed[..],
            &SOMEBODY,
            &address.octets(),
            &to,
            &machine.octets(),
        ]
        .concat(),
    )
}

/// Returns an ICMP redirect, "there is a better way to this address", as if from the router.
pub fn redirect(to: Mac, router: Ipv4Addr, machine: Ipv4Addr, address: Ipv4Addr) -> Vec<u8> {
    // What the machine is supposed to have sent: the beginning of a datagram to that address.
    let sent = ipv4(BROADCAST, UDP, [machine, address], &[0; 8])[ETHERNET_BYTES..].to_vec();
    let mut message = [&[5, 1, 0, 0][..], &[10, 66, 0, 1], &sent].concat();
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum);
    ipv4(to, ICMP, [router, machine], &message)
}

/// Returns a router advertisement (RFC 4861) with these options.
pub fn advertisement(options: &[u8]) -> Vec<u8> {
    let (source, all) = (
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x66),
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
    );
    // Hops, flags, lifetime, two times.
    let mut message = [&[134, 0, 0, 0, 64, 0, 0xff, 0xff][..], &[0; 8], options].concat();
    let length = message.len() as u32;
    let pseudo = [
        &source.octets()[..],
        &all.octets(),
        &length.to_be_bytes(),
        &[0, 0, 0, ICMPV6],
        &message,
    ]
    .concat();
    message[2..4].copy_from_slice(&checksum(&pseudo));
    let mut header = vec![0x60, 0, 0, 0];
    header.extend((length as u16).to_be_bytes());
    header.extend([ICMPV6, 255]);
    header.extend([source.octets(), all.octets()].concat());
    assert_eq!(header.len(), IPV6_BYTES);
    ethernet(ALL_NODES, ETHERTYPE_IPV6, &[&header[..], &message].concat())
}

/// Returns the option of an advertisement that lets a machine choose an address in this network.
pub fn prefix(number: u16) -> Vec<u8> {
    let network = Ipv6Addr::new(0xfd00, number, 0, 0, 0, 0, 0, 0).octets();
    [&[3, 4, 64, 0xc0][..], &[0xff; 8], &[0; 4], &network].concat()
}

/// A datagram that the machine sends.
pub struct Heard<'a> {
    pub mac: Mac,
    pub source: (Ipv4Addr, u16),
    pub destination: (Ipv4Addr, u16),
    pub message: &'a [u8],
}

/// The machine itself sends headers without options.
pub fn heard(frame: &[u8]) -> Option<Heard<'_>> {
    let header = frame.get(..MESSAGE)?;
    if header[12..14] != ETHERTYPE_IPV4 || header[14] != 0x45 || header[23] != UDP {
        return None;
    }
    let address = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&header[at..at + 4]).unwrap());
    let number = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    Some(Heard {
        mac: header[6..12].try_into().unwrap(),
        source: (address(26), number(34)),
        destination: (address(30), number(36)),
        message: &frame[MESSAGE..],
    })
}
