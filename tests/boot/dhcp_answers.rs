//! Replies to a DHCP request (RFC 2131, 2132): good ones, and everything that looks like one.

use std::net::Ipv4Addr;

use crate::machine::user_network;
use crate::packets::{BROADCAST, MESSAGE, Mac, heard, udp};

pub const OFFER: u8 = 2;
pub const ACKNOWLEDGE: u8 = 5;
pub const REFUSE: u8 = 6;
pub const DISCOVER: u8 = 1;
pub const REQUEST: u8 = 3;

/// The gateway, which is also the DHCP server.
pub const GATEWAY: Ipv4Addr = user_network::HOST;
/// The address that it gives to the machine.
pub const ADDRESS: Ipv4Addr = user_network::MACHINE;
/// The name server that it gives to the machine.
pub const NAME_SERVER: Ipv4Addr = user_network::NAME_SERVER;

const FIXED_BYTES: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const END: u8 = 255;
const MASK: &[u8] = &[1, 4, 255, 255, 255, 0];
const ROUTER: &[u8] = &option(3, GATEWAY);
const NAME_SERVERS: &[u8] = &option(6, NAME_SERVER);
const SERVER: &[u8] = &option(54, GATEWAY);

const fn option(code: u8, address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [code, 4, a, b, c, d]
}

/// A request of the machine.
pub struct Question {
    transaction: [u8; 4],
    mac: Mac,
    pub kind: u8,
    /// The requested address, if there is one.
    pub address: Option<Ipv4Addr>,
}

impl Question {
    pub fn heard(frame: &[u8]) -> Option<Self> {
        let heard = heard(frame).filter(|heard| heard.destination.1 == 67)?;
        let message = heard.message;
        let address = (message[243..245] == [50, 4])
            .then(|| <[u8; 4]>::try_from(&message[245..249]).unwrap().into());
        Some(Self {
            transaction: message[4..8].try_into().unwrap(),
            mac: heard.mac,
            kind: message[242],
            address,
        })
    }

    /// Returns the reply of an honest server.
    pub fn honest(&self, kind: u8) -> Vec<u8> {
        self.answer(
            ADDRESS,
            &[&[53, 1, kind], MASK, ROUTER, NAME_SERVERS, SERVER, &[END]],
        )
    }

    /// Returns a reply to the machine with these options, unchecked.
    fn answer(&self, address: Ipv4Addr, options: &[&[u8]]) -> Vec<u8> {
        let mut message = vec![0; FIXED_BYTES];
        message[..3].copy_from_slice(&[2, 1, 6]);
        message[4..8].copy_from_slice(&self.transaction);
        message[16..20].copy_from_slice(&address.octets());
        message[28..34].copy_from_slice(&self.mac);
        message[236..].copy_from_slice(&COOKIE);
        message.extend(options.concat());
        udp(
            BROADCAST,
            [(GATEWAY, 67), (Ipv4Addr::BROADCAST, 68)],
            &message,
        )
    }

    /// Returns the reply of a cloud: an address without a network, ways to the gateway and through
    /// it, a router that is nobody, and small packets.
    pub fn of_a_cloud(&self, kind: u8, mtu: u16) -> Vec<u8> {
        let [a, b, c, d] = GATEWAY.octets();
        let routes = [
            &[121, 23][..],
            &[32, a, b, c, d, 0, 0, 0, 0],
            &[0, a, b, c, d],
            &[32, 169, 254, 169, 254, a, b, c, d],
        ]
        .concat();
        let nobody = option(3, Ipv4Addr::new(10, 66, 0, 1));
        let mtu = [&[26, 2][..], &mtu.to_be_bytes()].concat();
        let address = &[1, 4, 255, 255, 255, 255];
        self.answer(
            ADDRESS,
            &[
                &[53, 1, kind],
                address,
                &nobody,
                &routes,
                &mtu,
                NAME_SERVERS,
                SERVER,
                &[END],
            ],
        )
    }

    /// Returns everything that looks like a reply of this kind and must not be accepted. A reply
    /// with a good address has its own address, not the honest one.
    pub fn hostile(&self, kind: u8) -> Vec<Vec<u8>> {
        let addresses = [
            [0, 0, 0, 0],
            [0, 1, 2, 3],
            [127, 0, 0, 1],
            [224, 0, 0, 1],
            [240, 0, 0, 1],
            [255; 4],
        ];
        let mut frames: Vec<_> = addresses
            .map(|address| {
                self.answer(
                    address.into(),
                    &[&[53, 1, kind], MASK, ROUTER, SERVER, &[END]],
                )
            })
            .to_vec();
        let mut own = (1..=u8::MAX).map(|number| Ipv4Addr::new(10, 66, 0, number));
        for (place, option) in bad_options() {
            let mut options = [&[53, 1, kind], MASK, ROUTER, NAME_SERVERS, SERVER, &[END]];
            options[place] = &option;
            frames.push(self.answer(own.next().unwrap(), &options));
        }
        for change in changes() {
            let options = [&[53, 1, kind], MASK, ROUTER, NAME_SERVERS, SERVER, &[END]];
            let mut frame = self.answer(own.next().unwrap(), &options);
            change(&mut frame);
            frames.push(frame);
        }
        frames
    }

    /// Returns an honest reply with many more options, some repeated, and without an end option.
    pub fn talkative(&self, kind: u8) -> Vec<u8> {
        let name = [&[12, 9][..], b"$(reboot)"].concat().repeat(40);
        let unusable = [[127, 0, 0, 1], [0, 0, 0, 0], [224, 0, 0, 1]];
        let many = (1..=58).map(|number| [10, 66, 1, number]);
        let servers: Vec<_> = unusable
            .into_iter()
            .chain([NAME_SERVER.octets()])
            .chain(many)
            .flatten()
            .collect();
        let servers = [&[6, servers.len() as u8][..], &servers].concat();
        let first = [
            &[53, 1, kind],
            &[0; 99][..],
            &name,
            MASK,
            ROUTER,
            &servers,
            SERVER,
        ];
        let again = [
            &[1, 4, 255, 0, 0, 0],
            &[3, 4, 10, 66, 0, 1],
            &[6, 4, 10, 66, 2, 1],
            &[54, 4, 10, 66, 0, 1],
        ];
        // Tiny frames; routes to a network, and in another spelling to everywhere; a lease of a
        // second; a proxy.
        let more: [&[u8]; 5] = [
            &[26, 2, 0, 68],
            &[121, 8, 24, 198, 51, 100, 10, 66, 0, 1],
            &[249, 5, 0, 10, 66, 0, 1],
            &[51, 4, 0, 0, 0, 1],
            b"\xfc\x12http://10.66.0.1/p",
        ];
        self.answer(
            ADDRESS,
            &[&first[..], &again.map(|option| &option[..]), &more].concat(),
        )
    }
}

/// Returns bad options in place of an honest one: type, mask, router, name servers, server, end.
fn bad_options() -> Vec<(usize, Vec<u8>)> {
    let hundreds_and_one_that_is_cut = [&[12, 1, b'a'].repeat(300)[..], &[12, 99]].concat();
    let kinds: [&[u8]; 7] = [
        &[53, 1, 8],
        &[53, 1, REFUSE],
        &[53, 1, 0],
        &[53, 2, OFFER, ACKNOWLEDGE],
        &[53, 0],
        &[],
        // "The rest is in the fields for names."
        &[52, 1, 3],
    ];
    let masks: [&[u8]; 6] = [
        &[1, 4, 0, 0, 0, 0],
        &[1, 4, 255, 0, 255, 0],
        &[1, 4, 0, 0, 0, 255],
        &[1, 3, 255, 255, 255],
        &[1, 8, 255, 255, 255, 0, 255, 0, 0, 0],
        &[],
    ];
    let routers: [&[u8]; 3] = [&[3, 0], &[3, 5, 10, 0, 2, 2, 10], b"\x03\x06router"];
    let name_servers: [&[u8]; 3] = [&[6, 1, 10], b"\x06\x0bdns.example", b"\x06\x03dns"];
    let servers: [&[u8]; 3] = [&[54, 3, 10, 0, 2], &[54, 0], &[]];
    // Beyond the end of the message, by one byte and by many; a code without a length.
    let ends: [&[u8]; 5] = [
        &[12, 1],
        &[12, 255, b'a'],
        &[6, 8, 10, 0, 2, 3],
        &[12],
        &hundreds_and_one_that_is_cut,
    ];
    let all: [&[&[u8]]; 6] = [&kinds, &masks, &routers, &name_servers, &servers, &ends];
    let numbered = all.iter().enumerate();
    numbered
        .flat_map(|(place, bad)| bad.iter().map(move |option| (place, option.to_vec())))
        .collect()
}

type Change = Box<dyn Fn(&mut Vec<u8>)>;

/// Returns changes that make a frame with a good message one that is not for the machine.
fn changes() -> Vec<Change> {
    let set = |at: usize, value: &'static [u8]| -> Change {
        Box::new(move |frame| frame[at..at + value.len()].copy_from_slice(value))
    };
    let flip = |at: usize| -> Change { Box::new(move |frame| frame[MESSAGE + at] ^= 1) };
    let cut = |length: usize| -> Change { Box::new(move |frame| frame.truncate(length)) };
    // A request; other hardware; another transaction or client; another protocol.
    let mut changes: Vec<_> = [0, 1, 2, 4, 7, 28, 33, 236, 239].map(flip).into();
    // Cut, with lengths that say otherwise.
    changes.extend([1, 14, 33, 34, 41, 42, 42 + 239, 42 + 245].map(cut));
    // Another ethertype, version and protocol; headers that are too short and too long; a first
    // and a later fragment.
    changes.extend([
        set(12, &[0x86, 0xdd]),
        set(14, &[0x65]),
        set(23, &[6]),
        set(14, &[0x44]),
        set(14, &[0x4f]),
    ]);
    changes.extend([set(20, &[0x20, 0]), set(20, &[0, 1])]);
    // Lengths of the datagram, then of what is in it: none, too small, too large. Other ports.
    changes.extend([set(16, &[0, 0]), set(16, &[0, 27]), set(16, &[255, 255])]);
    changes.extend([set(38, &[0, 0]), set(38, &[0, 7]), set(38, &[255, 255])]);
    changes.extend([set(34, &[0, 68]), set(36, &[0, 67])]);
    // More than fits into a frame, in the lengths and in the bytes.
    changes.push(Box::new(|frame| {
        frame.resize(9000, 0);
        let (ip, udp) = ((9000 - 14) as u16, (9000 - 34) as u16);
        frame[16..18].copy_from_slice(&ip.to_be_bytes());
        frame[38..40].copy_from_slice(&udp.to_be_bytes());
    }));
    changes
}
