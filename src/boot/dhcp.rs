//! Speaks DHCP for IPv4 (RFC 2131, 2132), as much of it as a machine that lives for one build
//! needs.
//!
//! * In: a reply from any sender.
//! * Out: a [`Lease`], or why there is none.
//! * Never: another option than the message's type and the six of a lease.
//!
//! This is no crate, because the one for DHCP brings a whole DNS library into PID 1.
//!
//! | bytes | content |
//! |---|---|
//! | 0 | 1 for a request, 2 for a reply |
//! | 1, 2 | hardware type 1 (Ethernet), 6 bytes of address |
//! | 4–7 | transaction |
//! | 10–11 | flags: 0x8000 asks for a reply by broadcast |
//! | 16–19 | the offered address |
//! | 28–43 | the client's hardware address |
//! | 236–239 | 99, 130, 83, 99 |
//! | 240– | options: code, length, value; 0 pads, 255 ends |

use std::fmt;
use std::net::Ipv4Addr;

use super::frame::Mac;

const FIXED_BYTES: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const BOOT_REQUEST: u8 = 1;
const BOOT_REPLY: u8 = 2;
const ETHERNET: [u8; 2] = [1, 6];
const REPLY_BY_BROADCAST: u8 = 0x80;
/// The number of name servers that the resolver of the C library uses.
pub const MAX_NAME_SERVERS: usize = 3;
/// The most routes beside the default one that a lease has: clouds give two or three.
pub const MAX_ROUTES: usize = 16;
/// The smallest MTU that is used, in bytes: that of IPv6 (RFC 8200, section 5).
const MIN_MTU: u16 = 1280;
/// The smallest size of a request according to RFC 1542.
const MIN_MESSAGE_BYTES: usize = 300;

mod option {
    pub(super) const PAD: u8 = 0;
    pub(super) const MASK: u8 = 1;
    pub(super) const ROUTER: u8 = 3;
    pub(super) const NAME_SERVERS: u8 = 6;
    pub(super) const MTU: u8 = 26;
    pub(super) const ADDRESS: u8 = 50;
    pub(super) const MESSAGE_TYPE: u8 = 53;
    pub(super) const SERVER: u8 = 54;
    pub(super) const WANTED: u8 = 55;
    /// RFC 3442.
    pub(super) const ROUTES: u8 = 121;
    pub(super) const END: u8 = 255;
}

/// Message types of RFC 2132, section 9.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageType {
    /// The client looks for servers.
    Discover = 1,
    /// A server offers an address.
    Offer = 2,
    /// The client requests the offered address.
    Request = 3,
    /// The server confirms the lease.
    Acknowledge = 5,
}

/// The configuration of the machine in its network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address of the machine.
    pub address: Ipv4Addr,
    /// The length of the network's prefix, 1 to 32.
    pub prefix: u8,
    /// The router for all other networks, if there is one.
    pub router: Option<Ipv4Addr>,
    /// The ways to other networks, at most [`MAX_ROUTES`].
    pub routes: Vec<Route>,
    /// The largest packet of the network, in bytes, if the server names one that can be used.
    pub mtu: Option<u16>,
    /// The name servers, at most [`MAX_NAME_SERVERS`].
    pub name_servers: Vec<Ipv4Addr>,
    /// The server that offers the lease.
    pub server: Ipv4Addr,
}

/// A way to a network, which does not begin with the default route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The first address of the network.
    pub network: Ipv4Addr,
    /// The length of its prefix, 1 to 32.
    pub prefix: u8,
    /// The router; none for neighbours.
    pub router: Option<Ipv4Addr>,
}

/// Why a reply to our request cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// An option has a wrong length, or reaches beyond the message.
    Malformed,
    /// The message has another type, mostly that of a refusal.
    OtherKind {
        /// The number of the type in RFC 2132, section 9.6.
        kind: u8,
    },
    /// No machine can have the address.
    Address(Ipv4Addr),
    /// The mask is missing or has holes.
    Mask,
    /// The server does not name its address.
    NoServer,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("malformed answer"),
            Self::OtherKind { kind } => write!(f, "answer of kind {kind}"),
            Self::Address(address) => write!(f, "no machine can have the address {address}"),
            Self::Mask => f.write_str("no usable network mask"),
            Self::NoServer => f.write_str("the server does not say who it is"),
        }
    }
}

/// The client in one exchange of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The hardware address of its network card.
    pub mac: Mac,
    /// The random number of the exchange.
    pub transaction: [u8; 4],
}

impl Client {
    /// Writes the message that looks for servers.
    pub fn discover(&self) -> Vec<u8> {
        self.message(MessageType::Discover, &[])
    }

    /// Writes the message that requests an offered address.
    pub fn request(&self, offer: &Lease) -> Vec<u8> {
        let address = [&[option::ADDRESS, 4][..], &offer.address.octets()].concat();
        let server = [&[option::SERVER, 4][..], &offer.server.octets()].concat();
        self.message(MessageType::Request, &[address, server].concat())
    }

    fn message(&self, kind: MessageType, options: &[u8]) -> Vec<u8> {
        let mut message = vec![0; FIXED_BYTES];
        message[0] = BOOT_REQUEST;
        message[1..3].copy_from_slice(&ETHERNET);
        message[4..8].copy_from_slice(&self.transaction);
        message[10] = REPLY_BY_BROADCAST;
        message[28..34].copy_from_slice(&self.mac);
        message[236..240].copy_from_slice(&COOKIE);
        message.extend([option::MESSAGE_TYPE, 1, kind as u8]);
        message.extend(options);
        message.extend([
            option::WANTED,
            5,
            option::MASK,
            // Before the router, which it replaces.
            option::ROUTES,
            option::ROUTER,
            option::NAME_SERVERS,
            option::MTU,
            option::END,
        ]);
        message.resize(message.len().max(MIN_MESSAGE_BYTES), option::PAD);
        message
    }

    /// Appraises a reply. Returns none if it is for another client, or for another request.
    pub fn appraise(&self, message: &[u8], wanted: MessageType) -> Option<Result<Lease, Refusal>> {
        let fixed = message.get(..FIXED_BYTES)?;
        let ours = fixed[0] == BOOT_REPLY
            && fixed[1..3] == ETHERNET
            && fixed[4..8] == self.transaction
            && fixed[28..34] == self.mac
            && fixed[236..240] == COOKIE;
        let address = Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]);
        ours.then(|| lease(address, &message[FIXED_BYTES..], wanted))
    }
}

fn lease(address: Ipv4Addr, options: &[u8], wanted: MessageType) -> Result<Lease, Refusal> {
    let options = Options::read(options)?;
    if options.kind != Some(wanted as u8) {
        return Err(Refusal::OtherKind {
            kind: options.kind.unwrap_or(0),
        });
    }
    let mask = u32::from(options.mask.ok_or(Refusal::Mask)?);
    if mask.leading_ones() + mask.trailing_zeros() != u32::BITS || mask == 0 {
        return Err(Refusal::Mask);
    }
    if !usable(address) {
        return Err(Refusal::Address(address));
    }
    let is_other = |router: &Ipv4Addr| usable(*router) && *router != address;
    // A server that names routes has named all of them (RFC 3442, page 5).
    let (router, routes) = match options.routes {
        None => (options.router, Vec::new()),
        Some(Routes { router, others }) => (router, others),
    };
    let mut routes: Vec<_> = routes
        .into_iter()
        .filter(|route| route.router.as_ref().is_none_or(is_other))
        .collect();
    routes.truncate(MAX_ROUTES);
    Ok(Lease {
        address,
        prefix: mask.leading_ones() as u8,
        router: router.filter(is_other),
        routes,
        mtu: options.mtu.filter(|mtu| *mtu >= MIN_MTU),
        name_servers: options.name_servers,
        server: options.server.ok_or(Refusal::NoServer)?,
    })
}

fn usable(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && !address.is_loopback() && !address.is_multicast() && first < 240
}

#[derive(Default)]
struct Options {
    kind: Option<u8>,
    mask: Option<Ipv4Addr>,
    router: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
    name_servers: Vec<Ipv4Addr>,
    routes: Option<Routes>,
    mtu: Option<u16>,
}

/// The value of the option with routes.
#[derive(Default)]
struct Routes {
    /// The router of the default route.
    router: Option<Ipv4Addr>,
    others: Vec<Route>,
}

impl Routes {
    /// Reads routes (RFC 3442): the length of a prefix, as many bytes of it as are not zero, a
    /// router, which is 0.0.0.0 for neighbours.
    fn read(mut bytes: &[u8]) -> Result<Self, Refusal> {
        let mut routes = Self::default();
        while let Some((&prefix, rest)) = bytes.split_first() {
            let significant = usize::from(prefix).div_ceil(8);
            let mut network = [0; 4];
            let bits = network.get_mut(..significant).ok_or(Refusal::Malformed)?;
            let (given, rest) = rest
                .split_at_checked(significant)
                .ok_or(Refusal::Malformed)?;
            bits.copy_from_slice(given);
            let (router, rest) = rest.split_at_checked(4).ok_or(Refusal::Malformed)?;
            bytes = rest;
            let router = Some(one(router)?).filter(|router| !router.is_unspecified());
            if prefix == 0 {
                routes.router = routes.router.or(router);
                continue;
            }
            let mask = u32::MAX << (32 - u32::from(prefix));
            routes.others.push(Route {
                network: (u32::from(Ipv4Addr::from(network)) & mask).into(),
                prefix,
                router,
            });
        }
        Ok(routes)
    }
}

impl Options {
    /// Reads the options of a message. The first of each kind counts.
    fn read(mut bytes: &[u8]) -> Result<Self, Refusal> {
        let mut options = Self::default();
        while let Some((&code, rest)) = bytes.split_first() {
            bytes = rest;
            match code {
                option::PAD => continue,
                option::END => break,
                _ => {}
            }
            let (&length, rest) = bytes.split_first().ok_or(Refusal::Malformed)?;
            let (value, rest) = rest
                .split_at_checked(usize::from(length))
                .ok_or(Refusal::Malformed)?;
            bytes = rest;
            options.take(code, value)?;
        }
        Ok(options)
    }

    fn take(&mut self, code: u8, value: &[u8]) -> Result<(), Refusal> {
        match code {
            option::MESSAGE_TYPE => {
                let [kind] = value else {
                    return Err(Refusal::Malformed);
                };
                self.kind.get_or_insert(*kind);
            }
            option::MASK => {
                self.mask.get_or_insert(one(value)?);
            }
            option::SERVER => {
                self.server.get_or_insert(one(value)?);
            }
            option::ROUTER => {
                let routers = addresses(value)?;
                let first = routers.first().ok_or(Refusal::Malformed)?;
                self.router.get_or_insert(*first);
            }
            option::MTU => {
                let value = value.try_into().map_err(|_| Refusal::Malformed)?;
                self.mtu.get_or_insert(u16::from_be_bytes(value));
            }
            option::ROUTES => {
                let routes = Routes::read(value)?;
                self.routes.get_or_insert(routes);
            }
            option::NAME_SERVERS if self.name_servers.is_empty() => {
                self.name_servers = addresses(value)?;
                self.name_servers.retain(|server| usable(*server));
                self.name_servers.truncate(MAX_NAME_SERVERS);
            }
            _ => {}
        }
        Ok(())
    }
}

fn one(value: &[u8]) -> Result<Ipv4Addr, Refusal> {
    <[u8; 4]>::try_from(value)
        .map(Ipv4Addr::from)
        .map_err(|_| Refusal::Malformed)
}

fn addresses(value: &[u8]) -> Result<Vec<Ipv4Addr>, Refusal> {
    value.chunks(4).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Client = Client {
        mac: [2, 0, 0, 0, 0, 1],
        transaction: [1, 2, 3, 4],
    };
    const OPTIONS: [&[u8]; 5] = [
        &[53, 1, 2],
        &[1, 4, 255, 255, 255, 0],
        &[3, 4, 10, 0, 2, 2],
        &[6, 8, 10, 0, 2, 3, 127, 0, 0, 1],
        &[54, 4, 10, 0, 2, 2],
    ];

    fn answer(address: [u8; 4], options: &[&[u8]]) -> Vec<u8> {
        let mut message = CLIENT.discover();
        message.truncate(FIXED_BYTES);
        message[0] = BOOT_REPLY;
        message[16..20].copy_from_slice(&address);
        message.extend(options.concat());
        message.push(option::END);
        message
    }

    fn offer(address: [u8; 4], options: &[&[u8]]) -> Result<Lease, Refusal> {
        CLIENT
            .appraise(&answer(address, options), MessageType::Offer)
            .unwrap()
    }

    #[test]
    fn a_lease_has_what_the_server_said_and_a_machine_can_use() {
        let lease = offer([10, 0, 2, 15], &OPTIONS).unwrap();
        assert_eq!(
            (lease.address, lease.prefix),
            (Ipv4Addr::new(10, 0, 2, 15), 24)
        );
        assert_eq!(lease.router, Some(Ipv4Addr::new(10, 0, 2, 2)));
        assert_eq!(
            lease.name_servers,
            [Ipv4Addr::new(10, 0, 2, 3)],
            "a name server of ours is none"
        );
        let request = CLIENT.request(&lease);
        assert_eq!(
            request[240..255],
            [53, 1, 3, 50, 4, 10, 0, 2, 15, 54, 4, 10, 0, 2, 2]
        );
        assert!(request.len() >= MIN_MESSAGE_BYTES);
    }

    #[test]
    fn answers_to_others_are_not_answers() {
        let good = answer([10, 0, 2, 15], &OPTIONS);
        for place in [0, 1, 2, 4, 7, 28, 33, 236, 239] {
            let mut other = good.clone();
            other[place] ^= 1;
            assert_eq!(
                CLIENT.appraise(&other, MessageType::Offer),
                None,
                "byte {place}"
            );
        }
        assert_eq!(
            CLIENT.appraise(&good[..FIXED_BYTES - 1], MessageType::Offer),
            None
        );
        assert_eq!(
            CLIENT.appraise(&CLIENT.discover(), MessageType::Offer),
            None,
            "a question"
        );
    }

    #[test]
    fn hostile_answers_are_refused_with_their_reason() {
        let with = |address: [u8; 4], place: usize, option: &'static [u8]| {
            let mut options = OPTIONS;
            options[place] = option;
            offer(address, &options)
        };
        let address = [10, 0, 2, 15];
        for bad in [
            [0, 0, 0, 0],
            [127, 0, 0, 1],
            [224, 0, 0, 1],
            [255, 255, 255, 255],
        ] {
            assert_eq!(offer(bad, &OPTIONS), Err(Refusal::Address(bad.into())));
        }
        for mask in [&[1, 4, 255, 0, 255, 0][..], &[1, 4, 0, 0, 0, 0], &[]] {
            assert_eq!(with(address, 1, mask), Err(Refusal::Mask), "{mask:?}");
        }
        for malformed in [
            &[1, 3, 255, 255, 255][..],
            &[3, 5, 1, 2, 3, 4, 5],
            &[3, 0],
            &[6, 1, 1],
            &[53, 0],
            &[9, 255, 0],
        ] {
            assert_eq!(
                with(address, 1, malformed),
                Err(Refusal::Malformed),
                "{malformed:?}"
            );
        }
        assert_eq!(
            with(address, 0, &[53, 1, 6]),
            Err(Refusal::OtherKind { kind: 6 })
        );
        assert_eq!(with(address, 4, &[]), Err(Refusal::NoServer));
        assert_eq!(
            with(address, 2, &[3, 4, 10, 0, 2, 15]).unwrap().router,
            None,
            "we are not our own router"
        );
    }

    #[test]
    fn a_cloud_gives_an_address_without_a_network_routes_and_an_mtu() {
        let routes: &[u8] = &[
            121, 23, 32, 10, 0, 0, 1, 0, 0, 0, 0, 0, 10, 0, 0, 1, 32, 169, 254, 169, 254, 10, 0, 0,
            1,
        ];
        let mut options = OPTIONS.to_vec();
        options[1] = &[1, 4, 255, 255, 255, 255];
        options.extend([routes, &[26, 2, 0x05, 0xb4]]);
        let lease = offer([10, 0, 0, 7], &options).unwrap();
        let router = Ipv4Addr::new(10, 0, 0, 1);
        assert_eq!((lease.prefix, lease.mtu), (32, Some(1460)));
        assert_eq!(lease.router, Some(router), "not that of option 3");
        let route = |network, router| Route {
            network,
            prefix: 32,
            router,
        };
        assert_eq!(
            lease.routes,
            [
                route(router, None),
                route([169, 254, 169, 254].into(), Some(router))
            ]
        );
    }

    #[test]
    fn routes_and_sizes_that_nobody_can_use_are_refused_or_left_out() {
        let with = |option: &'static [u8]| {
            let mut options = OPTIONS.to_vec();
            options.push(option);
            offer([10, 0, 2, 15], &options)
        };
        for malformed in [
            &[26, 1, 9][..],
            &[26, 3, 5, 0xb4, 0],
            &[121, 1, 0],
            &[121, 4, 33, 1, 2, 3],
            &[121, 5, 8, 10, 1, 2, 3],
        ] {
            assert_eq!(with(malformed), Err(Refusal::Malformed), "{malformed:?}");
        }
        assert_eq!(with(&[26, 2, 0, 68]).unwrap().mtu, None, "tiny frames");
        let own = with(&[121, 6, 8, 9, 10, 0, 2, 15]).unwrap();
        assert!(own.routes.is_empty(), "we are not our own router");
        let beyond = with(&[121, 7, 9, 9, 0xff, 10, 0, 2, 2]).unwrap();
        assert_eq!(beyond.routes[0].network, Ipv4Addr::new(9, 128, 0, 0));
        let many: &'static [u8] = [&[121, 180][..], &[8, 9, 10, 0, 2, 2].repeat(30)]
            .concat()
            .leak();
        assert_eq!(with(many).unwrap().routes.len(), MAX_ROUTES);
    }

    #[test]
    fn no_cut_or_changed_answer_does_harm() {
        let mut options = OPTIONS.to_vec();
        options.extend([&[26, 2, 0x05, 0xb4][..], &[121, 6, 8, 9, 10, 0, 2, 2]]);
        let good = answer([10, 0, 2, 15], &options);
        for length in 0..good.len() {
            let _ = CLIENT.appraise(&good[..length], MessageType::Offer);
        }
        for place in FIXED_BYTES..good.len() {
            for value in 0..=255 {
                let mut changed = good.clone();
                changed[place] = value;
                if let Some(Ok(lease)) = CLIENT.appraise(&changed, MessageType::Offer) {
                    assert!(
                        lease.name_servers.len() <= MAX_NAME_SERVERS
                            && (1..=32).contains(&lease.prefix)
                    );
                }
            }
        }
    }
}
