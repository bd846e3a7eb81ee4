//! Ethernet, IPv4 and UDP around a DHCP message. Comes in: a message, or a frame that anybody sent. Goes out: a broadcast
//! frame, or the message in one. Never: a length that is believed.
//!
//! The kernel's own UDP needs an address, and drops answers to the address that is only being offered.

/// As network cards have them.
pub type Mac = [u8; 6];

const ETHERNET_BYTES: usize = 14;
const IPV4_BYTES: usize = 20;
const UDP_BYTES: usize = 8;
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const UDP: u8 = 17;
/// RFC 2131, section 4.1.
const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
const HOPS: u8 = 64;

/// A broadcast from a machine without an address to all DHCP servers.
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
    for number in [CLIENT_PORT, SERVER_PORT, udp_length, 0] {
        // A zero checksum is none: RFC 768.
        frame.extend_from_slice(&number.to_be_bytes());
    }
    frame.extend_from_slice(message);
    frame
}

/// The message in a frame that comes from a DHCP server's port to ours.
pub fn message(frame: &[u8]) -> Option<&[u8]> {
    let ethernet = frame.get(..ETHERNET_BYTES)?;
    let ip = frame.get(ETHERNET_BYTES..)?;
    let header = ip.get(..IPV4_BYTES)?;
    let header_length = usize::from(header[0] & 0x0f) * 4;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    // More fragments, or not the first.
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    let ours =
        ethernet[12..] == ETHERTYPE_IPV4 && header[0] >> 4 == 4 && header[9] == UDP && !fragment;
    if !ours || header_length < IPV4_BYTES {
        return None;
    }
    let udp = ip.get(header_length..length)?;
    let number = |at: usize| Some(u16::from_be_bytes(udp.get(at..at + 2)?.try_into().ok()?));
    let ports = (number(0)?, number(2)?) == (SERVER_PORT, CLIENT_PORT);
    // Checksums protect from accidents, and a virtual card may leave them out.
    udp.get(UDP_BYTES..usize::from(number(4)?))
        .filter(|_| ports)
}

/// RFC 1071.
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

    /// What a server would send.
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
