//! Writes and reads Ethernet, IPv4 and UDP around a DHCP message.
//!
//! * In: a message, or a frame from any sender.
//! * Out: a broadcast frame, or the message in one.
//! * Never: a length that is used without a check.
//!
//! The kernel's own UDP needs an address, and drops replies to the address that is only being
//! offered.

/// The hardware address of a network card.
pub type Mac = [u8; 6];

const ETHERNET_BYTES: usize = 14;
const IPV4_BYTES: usize = 20;
const UDP_BYTES: usize = 8;
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const UDP: u8 = 17;
/// The ports of DHCP (RFC 2131, section 4.1).
const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
const HOPS: u8 = 64;

/// Writes a broadcast from a machine without an address to all DHCP servers.
pub fn broadcast(from: Mac, message: &[u8]) -> Vec<u8> {
    let udp_length = (UDP_BYTES + message.len()) as u16;
    let ip_length = IPV4_BYTES as u16 + udp_length;
    let mut ip = [0; IPV4_BYTES];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&ip_length.to_be_bytes());
    ip[8] = HOPS;
    ip[9] = UDP;
    ip[16..20].copy_from_slice(&[255; 4]);
    let checksum = checksum(&ip);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    let mut frame = [&[0xff; 6][..], &from, &ETHERTYPE_IPV4, &ip].concat();
    // A checksum of zero means that there is none (RFC 768).
    for number in [CLIENT_PORT, SERVER_PORT, udp_length, 0] {
        frame.extend_from_slice(&number.to_be_bytes());
    }
    frame.extend_from_slice(message);
    frame
}

/// Returns the message in a frame that comes from a DHCP server's port to ours.
pub fn message(frame: &[u8]) -> Option<&[u8]> {
    let ethernet = frame.get(..ETHERNET_BYTES)?;
    if ethernet[12..] != ETHERTYPE_IPV4 {
        return None;
    }
    let datagram = udp(frame.get(ETHERNET_BYTES..)?)?;
    let number = |at: usize| {
        Some(u16::from_be_bytes(
            datagram.get(at..at + 2)?.try_into().ok()?,
        ))
    };
    if (number(0)?, number(2)?) != (SERVER_PORT, CLIENT_PORT) {
        return None;
    }
    // Checksums protect from accidents, and a virtual card may omit them.
    datagram.get(UDP_BYTES..usize::from(number(4)?))
}

/// Returns the UDP datagram in a whole packet of IPv4.
fn udp(packet: &[u8]) -> Option<&[u8]> {
    let header = packet.get(..IPV4_BYTES)?;
    let is_ipv4 = header[0] >> 4 == 4;
    // There are more fragments, or this is not the first.
    let is_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    if !is_ipv4 || header[9] != UDP || is_fragment {
        return None;
    }
    let header_bytes = usize::from(header[0] & 0x0f) * 4;
    if header_bytes < IPV4_BYTES {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    packet.get(header_bytes..length)
}

/// Returns the checksum of IPv4 (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |byte| u32::from(*byte)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the frame that a server would send.
    fn answer(content: &[u8]) -> Vec<u8> {
        let mut frame = broadcast([2; 6], content);
        frame[34..38].copy_from_slice(&[0, 67, 0, 68]);
        frame
    }

    #[test]
    fn a_broadcast_has_a_header_that_adds_up() {
        let frame = broadcast([2; 6], b"hello");
        assert_eq!(
            frame[..14],
            [255, 255, 255, 255, 255, 255, 2, 2, 2, 2, 2, 2, 8, 0]
        );
        assert_eq!(checksum(&frame[14..34]), 0);
        assert_eq!(frame[34..42], [0, 68, 0, 67, 0, 13, 0, 0]);
        assert_eq!(message(&frame), None, "our own question is no answer");
    }

    #[test]
    fn finds_the_message_and_not_what_pads_the_frame() {
        let mut frame = answer(b"hello");
        frame.extend([0; 18]);
        assert_eq!(message(&frame), Some(&b"hello"[..]));
    }

    #[test]
    fn a_frame_that_is_cut_or_changed_never_gives_more_than_it_has() {
        let frame = answer(b"hello");
        for length in 0..frame.len() {
            assert_eq!(message(&frame[..length]), None, "{length} bytes");
        }
        for place in 0..frame.len() {
            for value in 0..=255 {
                let mut changed = frame.clone();
                changed[place] = value;
                assert!(
                    message(&changed).is_none_or(|message| message.len() <= 5),
                    "{place} = {value}"
                );
            }
        }
    }
}
