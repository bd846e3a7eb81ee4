//! Lists the addresses that fetch phases may not reach.
//!
//! * In: only the text of a range that an operator allows.
//! * Out: the ranges that are not public, as data for the rules of the kernel.
//! * Never: a range that is missing because no one is expected to use it.
//!
//! The ranges are all those of IANA's special-purpose registries (RFC 6890 and its updates; the one
//! of IPv4 as of 2020-09-04 and the one of IPv6 as of 2025-10-09,
//! `tests/data/special-purpose.txt`). According to the registry, some of them are globally
//! reachable: the nearest machine replies there, which may be one of the network that we are in. In
//! addition, there are the services of clouds for their own machines at addresses that look public,
//! and forms of IPv6 addresses that hide one of IPv4.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
#[cfg(any(test, feature = "host"))]
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::netlink::octets;

/// A range of addresses, `ADDRESS/LENGTH`, without bits after the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    length: u8,
}

/// Why fetch phases cannot be allowed to reach the range that a text names.
#[cfg(any(test, feature = "host"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum ParseCidrError {
    #[error("a range is written ADDRESS/LENGTH")]
    Format,
    #[error("the prefix has {length} bits, the address has {limit}")]
    Length { length: u8, limit: u8 },
    /// `range` is the range without those bits.
    #[error("the address has bits after its prefix of {length} bits: the range is {range}")]
    Bits { length: u8, range: Cidr },
    /// IPv6 has no way from a namespace to the loopback of the machine.
    #[error("the loopback of IPv6 cannot be reached from another namespace: allow 127.0.0.0/8")]
    Loopback6,
}

impl Cidr {
    const fn v4(bytes: [u8; 4], length: u8) -> Self {
        let [a, b, c, d] = bytes;
        Self {
            address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            length,
        }
    }

    const fn v6(words: [u16; 3], length: u8) -> Self {
        let [a, b, c] = words;
        Self {
            address: IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)),
            length,
        }
    }

    /// Returns the first address of the range.
    pub(super) fn address(self) -> IpAddr {
        self.address
    }

    /// Returns whether the range is that of a default route, with a prefix of no bits.
    pub(super) fn is_everything(self) -> bool {
        self.length == 0
    }

    /// Returns a mask of the address's size with the bits of the prefix set.
    pub(super) fn mask(self) -> Vec<u8> {
        let full = match self.address {
            IpAddr::V4(_) => 4,
            IpAddr::V6(_) => 16,
        };
        let bits = |byte: u8| self.length.saturating_sub(byte * 8).min(8);
        (0..full)
            .map(|byte| !(0xff_u8.checked_shr(bits(byte).into()).unwrap_or(0)))
            .collect()
    }

    /// Returns whether an address is in the range.
    pub fn contains(self, address: IpAddr) -> bool {
        let (ours, theirs) = (octets(self.address), octets(address));
        let masked = |bytes: &[u8]| -> Vec<u8> {
            bytes
                .iter()
                .zip(self.mask())
                .map(|(byte, mask)| byte & mask)
                .collect()
        };
        ours.len() == theirs.len() && masked(&ours) == masked(&theirs)
    }

    /// Returns whether the range has an address of the machine's own loopback.
    pub(super) fn has_loopback(self) -> bool {
        self.address.is_ipv4()
            && (LOOPBACK.contains(self.address) || self.contains(LOOPBACK.address))
    }

    /// Returns whether two ranges have an address in common.
    pub(super) fn overlaps(self, other: Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    pub(super) fn from_parts(address: Ipv4Addr, length: u8) -> Self {
        Self {
            address: address.into(),
            length,
        }
    }

    #[cfg(any(test, feature = "host"))]
    fn without_later_bits(self) -> Self {
        let bytes: Vec<u8> = octets(self.address)
            .iter()
            .zip(self.mask())
            .map(|(byte, mask)| byte & mask)
            .collect();
        let address = match (
            <[u8; 4]>::try_from(&bytes[..]),
            <[u8; 16]>::try_from(&bytes[..]),
        ) {
            (Ok(bytes), _) => IpAddr::from(bytes),
            (_, Ok(bytes)) => IpAddr::from(bytes),
            _ => self.address,
        };
        Self { address, ..self }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(any(test, feature = "host"))]
impl FromStr for Cidr {
    type Err = ParseCidrError;

    fn from_str(text: &str) -> Result<Self, ParseCidrError> {
        let (address, length) = text.split_once('/').ok_or(ParseCidrError::Format)?;
        let address: IpAddr = address.parse().map_err(|_| ParseCidrError::Format)?;
        // A plus sign would be parsed too.
        if !length.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ParseCidrError::Format);
        }
        let length: u8 = length.parse().map_err(|_| ParseCidrError::Format)?;
        let limit = if address.is_ipv4() { 32 } else { 128 };
        if length > limit {
            return Err(ParseCidrError::Length { length, limit });
        }
        let range = Self { address, length };
        if range.without_later_bits() != range {
            return Err(ParseCidrError::Bits {
                length,
                range: range.without_later_bits(),
            });
        }
        if range.contains(Ipv6Addr::LOCALHOST.into()) {
            return Err(ParseCidrError::Loopback6);
        }
        Ok(range)
    }
}

/// The machine's own loopback, as far as packets of another namespace can reach it.
pub(super) const LOOPBACK: Cidr = Cidr::v4([127, 0, 0, 0], 8);

/// The ranges of IPv4 that are not public. All other addresses are.
pub(super) const NOT_PUBLIC_4: [Cidr; 21] = [
    // "This network".
    Cidr::v4([0, 0, 0, 0], 8),
    // Private networks.
    Cidr::v4([10, 0, 0, 0], 8),
    Cidr::v4([172, 16, 0, 0], 12),
    Cidr::v4([192, 168, 0, 0], 16),
    // Between a provider and its customers; some clouds have services for their machines there.
    Cidr::v4([100, 64, 0, 0], 10),
    LOOPBACK,
    // Link-local; at 169.254.169.254 and its neighbours, clouds give machines their secrets.
    Cidr::v4([169, 254, 0, 0], 16),
    // Azure's service for its own machines, at an address of Microsoft.
    Cidr::v4([168, 63, 129, 16], 32),
    // IBM Cloud's services for its own machines (name servers, package mirrors) and its endpoints
    // of services, at addresses that are not routed outside: "IBM services" and "Cloud Service
    // Endpoints" in the reserved ranges of its documentation of VPC.
    Cidr::v4([161, 26, 0, 0], 16),
    Cidr::v4([166, 8, 0, 0], 14),
    // Assignments of the IETF, among them Oracle's metadata service and the discovery of NAT64.
    Cidr::v4([192, 0, 0, 0], 24),
    // Documentation.
    Cidr::v4([192, 0, 2, 0], 24),
    Cidr::v4([198, 51, 100, 0], 24),
    Cidr::v4([203, 0, 113, 0], 24),
    // Name servers for private networks' names; the nearest one replies (AS112).
    Cidr::v4([192, 31, 196, 0], 24),
    Cidr::v4([192, 175, 48, 0], 24),
    // Relays of 6to4.
    Cidr::v4([192, 88, 99, 0], 24),
    // Relays of AMT.
    Cidr::v4([192, 52, 193, 0], 24),
    // Benchmarks.
    Cidr::v4([198, 18, 0, 0], 15),
    // Multicast.
    Cidr::v4([224, 0, 0, 0], 4),
    // Reserved, and broadcast.
    Cidr::v4([240, 0, 0, 0], 4),
];

/// The range of global unicast of IPv6. Nothing outside of it is public: loopback, IPv4 in IPv6,
/// NAT64 (both prefixes, of RFC 6052 and RFC 8215), link-local, unique local (with fd00:ec2::254, a
/// metadata service), multicast, segments of routes.
pub(super) const GLOBAL_6: Cidr = Cidr::v6([0x2000, 0, 0], 3);

/// The ranges in [`GLOBAL_6`] that are not public.
pub(super) const NOT_PUBLIC_6: [Cidr; 6] = [
    // Assignments of the IETF: Teredo with an address of IPv4 in it, benchmarks, ORCHID.
    Cidr::v6([0x2001, 0, 0], 23),
    // Documentation.
    Cidr::v6([0x2001, 0xdb8, 0], 32),
    Cidr::v6([0x3fff, 0, 0], 20),
    // 6to4, with an address of IPv4 in it.
    Cidr::v6([0x2002, 0, 0], 16),
    // AS112, as in IPv4.
    Cidr::v6([0x2620, 0x4f, 0x8000], 48),
    // Returned to IANA.
    Cidr::v6([0x3ffe, 0, 0], 16),
];

/// The third quarter of an ISATAP address (RFC 5214, section 6.1), which may have any prefix. The
/// last quarter is an address of IPv4, which may be private or, by the second bit, global. A router
/// of the network forwards packets to it.
pub(super) mod isatap {
    /// The number of bytes before the quarter.
    pub(in super::super) const OFFSET: u8 = 8;
    /// The bits of the quarter that are compared.
    pub(in super::super) const MASK: [u8; 4] = [0xfd, 0xff, 0xff, 0xff];
    /// The value of these bits in an ISATAP address.
    pub(in super::super) const VALUE: [u8; 4] = [0, 0, 0x5e, 0xfe];
}

/// Returns whether an address is public, so that fetch phases may reach it.
pub(super) fn is_public(address: IpAddr) -> bool {
    let IpAddr::V6(sixteen) = address else {
        return !NOT_PUBLIC_4.iter().any(|range| range.contains(address));
    };
    let is_listed = NOT_PUBLIC_6.iter().any(|range| range.contains(address));
    GLOBAL_6.contains(address) && !is_listed && !is_isatap(sixteen)
}

fn is_isatap(address: Ipv6Addr) -> bool {
    let bytes = address.octets();
    let quarter = bytes.iter().skip(isatap::OFFSET.into()).zip(isatap::MASK);
    quarter.map(|(byte, mask)| byte & mask).eq(isatap::VALUE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_public(address: &str) -> bool {
        super::is_public(address.parse().unwrap())
    }

    /// The first and the last address of a range.
    fn ends(range: Cidr) -> [IpAddr; 2] {
        let last = octets(range.address).into_iter().zip(range.mask());
        let last: Vec<u8> = last.map(|(byte, mask)| byte | !mask).collect();
        let last = match (
            <[u8; 4]>::try_from(&last[..]),
            <[u8; 16]>::try_from(&last[..]),
        ) {
            (Ok(bytes), _) => IpAddr::from(bytes),
            (_, bytes) => IpAddr::from(bytes.unwrap()),
        };
        [range.address, last]
    }

    #[test]
    fn all_of_both_registries_of_special_addresses_is_refused() {
        let registries = include_str!("../../../tests/data/special-purpose.txt");
        let rows = registries.lines().filter(|line| !line.starts_with('#'));
        let ranges: Vec<Cidr> = rows
            .map(|row| {
                let (address, length) = row.split('\t').next().unwrap().split_once('/').unwrap();
                Cidr {
                    address: address.parse().unwrap(),
                    length: length.parse().unwrap(),
                }
            })
            .collect();
        assert_eq!(
            ranges
                .iter()
                .filter(|range| range.address.is_ipv4())
                .count(),
            25
        );
        assert_eq!(
            ranges
                .iter()
                .filter(|range| range.address.is_ipv6())
                .count(),
            26
        );
        for range in ranges {
            for address in ends(range) {
                assert!(!super::is_public(address), "{address} of {range}");
            }
            let is_in_one = |one: &Cidr| one.length <= range.length && one.contains(range.address);
            let outside = range.address.is_ipv6() && !GLOBAL_6.overlaps(range);
            let listed = NOT_PUBLIC_4.iter().chain(&NOT_PUBLIC_6).any(is_in_one);
            assert!(
                outside || listed,
                "{range} is refused at its ends, and not in between"
            );
        }
    }

    #[test]
    fn what_hides_an_address_of_ipv4_is_refused() {
        for hiding in [
            "64:ff9b::a00:1",
            "64:ff9b:1::a00:1",
            "64:ff9b:1:fffe:ffff::",
            "::a00:1",
            "::ffff:10.0.0.1",
            "::ffff:0:a00:1",
            "2001:0:102:304:0:ffff:f5ff:fffe",
            "2002:a00:1::1",
            "2a00:1::5efe:a00:1",
            "2a00:1::200:5efe:808:808",
            "2a00:1:2:3:0:5efe:127.0.0.1",
        ] {
            assert!(!is_public(hiding), "{hiding}");
        }
        for beside in [
            "2a00:1::100:5efe:a00:1",
            "2a00:1::5eff:a00:1",
            "2a00:0:5efe:a00:1::",
        ] {
            assert!(is_public(beside), "{beside}");
        }
    }

    #[test]
    fn ranges_end_where_the_registries_say() {
        for (last, first_after) in [
            ("0.255.255.255", "1.0.0.0"),
            ("10.255.255.255", "11.0.0.0"),
            ("100.127.255.255", "100.128.0.0"),
            ("127.255.255.255", "128.0.0.0"),
            ("161.26.255.255", "161.27.0.0"),
            ("166.11.255.255", "166.12.0.0"),
            ("168.63.129.16", "168.63.129.17"),
            ("169.254.255.255", "169.255.0.0"),
            ("172.31.255.255", "172.32.0.0"),
            ("192.0.0.255", "192.0.1.0"),
            ("192.168.255.255", "192.169.0.0"),
            ("198.19.255.255", "198.20.0.0"),
            ("2001:1ff:ffff::", "2001:200::"),
            ("2001:db8:ffff::", "2001:db9::"),
            ("3fff:fff::", "3fff:1000::"),
        ] {
            assert!(!is_public(last), "{last}");
            assert!(is_public(first_after), "{first_after}");
        }
        for before in [
            "9.255.255.255",
            "161.25.255.255",
            "166.7.255.255",
            "100.63.255.255",
            "126.255.255.255",
            "172.15.255.255",
            "223.255.255.255",
        ] {
            assert!(is_public(before), "{before}");
        }
        for never in [
            "::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
            "4000::",
        ] {
            assert!(!is_public(never), "{never}");
        }
    }

    #[test]
    fn a_range_is_read_as_it_is_written_or_refused() {
        let parse = |text: &str| text.parse::<Cidr>();
        for text in [
            "127.0.0.0/8",
            "10.1.2.3/32",
            "0.0.0.0/0",
            "fd00::/8",
            "2001:db8::1/128",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0/8",
            "x/8",
            "10.0.0.0/8/8",
            "10.0.0.0/-1",
        ] {
            assert_eq!(parse(text), Err(ParseCidrError::Format), "{text:?}");
        }
        assert_eq!(
            parse("10.0.0.0/33"),
            Err(ParseCidrError::Length {
                length: 33,
                limit: 32
            })
        );
        assert_eq!(
            parse("10.0.0.1/8")
                .unwrap_err()
                .to_string()
                .split(": ")
                .nth(1),
            Some("the range is 10.0.0.0/8")
        );
        for text in ["::1/128", "::/0"] {
            assert_eq!(parse(text), Err(ParseCidrError::Loopback6), "{text}");
        }
    }

    #[test]
    fn masks_have_the_bits_of_the_prefix() {
        assert_eq!(Cidr::v4([100, 64, 0, 0], 10).mask(), [0xff, 0xc0, 0, 0]);
        assert_eq!(Cidr::v4([0; 4], 0).mask(), [0; 4]);
        assert_eq!(Cidr::v4([1; 4], 32).mask(), [0xff; 4]);
        assert_eq!(GLOBAL_6.mask()[..2], [0xe0, 0]);
    }
}
