//! Exchanges messages with the kernel about its network (netlink(7)).
//!
//! * In: messages that consist of attributes.
//! * Out: success, if the kernel did everything that was requested; the kernel's list; or its
//!   refusal.
//! * Never: a message whose failure goes unnoticed.
//!
//! A message is a header (length, type, flags, number, sender; 16 bytes), a fixed part of its type,
//! and attributes (length, type, value, padded to 4 bytes), in the machine's byte order. A socket
//! belongs to the network namespace in which it was opened, whichever thread uses it later.

pub(crate) mod link;

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use rustix::io::{read, retry_on_intr, write};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, netlink, socket_with};

const HEADER_BYTES: usize = 16;
const ATTRIBUTE_BYTES: usize = 4;
/// The largest reply of the kernel.
const MAX_REPLY_BYTES: usize = 64 * 1024;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// The flag of an attribute that contains attributes (linux/netlink.h, NLA_F_NESTED).
const NESTED: u16 = 0x8000;
/// The bits of an attribute's type without the flags for nesting and for the network's byte order.
const KIND_MASK: u16 = 0x3fff;

/// Flags of messages (linux/netlink.h).
pub(crate) mod flag {
    pub(crate) const REQUEST: u16 = 0x1;
    pub(crate) const ACKNOWLEDGE: u16 = 0x4;
    pub(crate) const EXCLUSIVE: u16 = 0x200;
    pub(crate) const CREATE: u16 = 0x400;
    pub(crate) const APPEND: u16 = 0x800;
    pub(crate) const DUMP: u16 = 0x300;
}

/// A sequence of attributes as bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes(Vec<u8>);

impl Attributes {
    /// Appends an attribute that contains these bytes.
    pub(crate) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = ATTRIBUTE_BYTES + value.len();
        self.0.extend((length as u16).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        let padded = self.0.len().next_multiple_of(ATTRIBUTE_BYTES);
        self.0.resize(padded, 0);
        self
    }

    /// Appends a number in the network's byte order, which netfilter uses.
    pub(crate) fn number(self, kind: u16, value: u32) -> Self {
        self.with(kind, &value.to_be_bytes())
    }

    /// Appends a text with the NUL that the kernel expects.
    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        self.with(kind, &[value.as_bytes(), &[0]].concat())
    }

    /// Appends an attribute that contains attributes.
    pub(crate) fn nested(self, kind: u16, value: Self) -> Self {
        self.with(kind | NESTED, &value.0)
    }
}

/// Returns the bytes of an address, in the order of the network.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// One message, without its number.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

impl Message {
    pub(crate) fn new(kind: u16, flags: u16, fixed: &[u8], attributes: Attributes) -> Self {
        Self {
            kind,
            flags: flags | flag::REQUEST,
            body: [fixed, &attributes.0].concat(),
        }
    }

    /// Returns the fixed part and the attributes.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Requests an acknowledgement from the kernel.
    pub(crate) fn acknowledged(mut self) -> Self {
        self.flags |= flag::ACKNOWLEDGE;
        self
    }

    fn bytes(&self, number: u32) -> Vec<u8> {
        let length = HEADER_BYTES + self.body.len();
        let mut bytes = (length as u32).to_ne_bytes().to_vec();
        bytes.extend(self.kind.to_ne_bytes());
        bytes.extend(self.flags.to_ne_bytes());
        bytes.extend(number.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(&self.body);
        bytes.resize(bytes.len().next_multiple_of(ATTRIBUTE_BYTES), 0);
        bytes
    }
}

/// A connection to the kernel.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

impl Socket {
    /// Opens a socket for interfaces, addresses and routes, in this thread's network namespace.
    pub(crate) fn of_routes() -> io::Result<Self> {
        Self::open(None)
    }

    /// Opens a socket for netfilter, in this thread's network namespace.
    pub(crate) fn of_netfilter() -> io::Result<Self> {
        Self::open(Some(netlink::NETFILTER))
    }

    fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        Ok(Self(socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?))
    }

    /// Sends messages at once, and waits for all requested acknowledgements.
    ///
    /// The kernel replies before the call that sends returns.
    pub(crate) fn ask(&self, messages: Vec<Message>) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut wanted = 0_usize;
        for (number, message) in messages.iter().enumerate() {
            wanted += usize::from(message.flags & flag::ACKNOWLEDGE != 0);
            bytes.extend(message.bytes(number as u32));
        }
        retry_on_intr(|| write(&self.0, &bytes))?;
        while wanted > 0 {
            for (kind, body) in received(&self.receive()?) {
                match error_number(kind, body) {
                    Some(0) => wanted = wanted.saturating_sub(1),
                    Some(number) => {
                        return Err(io::Error::from_raw_os_error(number.saturating_neg()));
                    }
                    None => return Err(io::ErrorKind::InvalidData.into()),
                }
            }
        }
        Ok(())
    }

    /// Sends one message, and waits for its acknowledgement.
    pub(crate) fn ask_one(&self, message: Message) -> io::Result<()> {
        self.ask(vec![message.acknowledged()])
    }

    /// Requests a list, and returns its messages without their headers.
    pub(crate) fn list(&self, message: Message) -> io::Result<Vec<Vec<u8>>> {
        let request = Message {
            flags: message.flags | flag::DUMP,
            ..message
        };
        retry_on_intr(|| write(&self.0, &request.bytes(0)))?;
        let mut listed = Vec::new();
        loop {
            for (kind, body) in received(&self.receive()?) {
                match error_number(kind, body) {
                    Some(number) if number < 0 => {
                        return Err(io::Error::from_raw_os_error(number.saturating_neg()));
                    }
                    Some(_) => return Ok(listed),
                    None if kind == DONE => return Ok(listed),
                    None => listed.push(body.to_vec()),
                }
            }
        }
    }

    fn receive(&self) -> io::Result<Vec<u8>> {
        let mut reply = vec![0; MAX_REPLY_BYTES];
        let length = retry_on_intr(|| read(&self.0, &mut *reply))?;
        reply.truncate(length);
        Ok(reply)
    }
}

/// Returns the type and the content of each message. A length that does not fit ends the list.
fn received(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut messages = Vec::new();
    while let Some((kind, length)) = header(bytes) {
        let Some(body) = bytes.get(HEADER_BYTES..length) else {
            break;
        };
        messages.push((kind, body));
        bytes = bytes
            .get(length.next_multiple_of(ATTRIBUTE_BYTES)..)
            .unwrap_or_default();
    }
    messages
}

fn header(bytes: &[u8]) -> Option<(u16, usize)> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let length = length as usize;
    (length >= HEADER_BYTES).then_some((kind, length))
}

/// Returns the number of an error message; zero is an acknowledgement.
fn error_number(kind: u16, body: &[u8]) -> Option<i32> {
    if kind != ERROR {
        return None;
    }
    let number = body.first_chunk()?;
    Some(i32::from_ne_bytes(*number))
}

/// Returns the type, without flags, and the value of each attribute. A length that does not fit
/// ends the list.
pub(crate) fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let number =
        |bytes: &[u8], at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let mut found = Vec::new();
    while let (Some(length), Some(kind)) = (number(bytes, 0), number(bytes, 2)) {
        let Some(value) = bytes.get(ATTRIBUTE_BYTES..usize::from(length)) else {
            break;
        };
        found.push((kind & KIND_MASK, value));
        bytes = bytes
            .get(usize::from(length).next_multiple_of(ATTRIBUTE_BYTES)..)
            .unwrap_or_default();
    }
    found
}

/// Returns the value of the first attribute of a type.
pub(crate) fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes)
        .into_iter()
        .find_map(|(kind, value)| (kind == wanted).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_say_their_length_without_that() {
        let bytes = Attributes::default()
            .text(3, "ab")
            .nested(4, Attributes::default().number(1, 2))
            .0;
        assert_eq!(bytes[..8], [7, 0, 3, 0, b'a', b'b', 0, 0]);
        assert_eq!(bytes[8..], [12, 0, 4, 0x80, 8, 0, 1, 0, 0, 0, 0, 2]);
        assert_eq!(attribute(&bytes, 3), Some(&b"ab\0"[..]));
        assert_eq!(
            attribute(attribute(&bytes, 4).unwrap(), 1),
            Some(&[0, 0, 0, 2][..])
        );
    }

    #[test]
    fn what_is_cut_gives_no_more_than_was_there() {
        let message = Message::new(16, 0, &[1; 4], Attributes::default().number(1, 2)).bytes(5);
        assert_eq!(received(&message).len(), 1);
        for length in 0..message.len() {
            assert!(received(&message[..length]).is_empty(), "{length}");
        }
        let bytes = Attributes::default().number(1, 2).0;
        for length in 0..bytes.len() {
            assert!(attributes(&bytes[..length]).is_empty(), "{length}");
        }
        assert!(
            attributes(&[0; 64]).is_empty(),
            "an attribute is at least its header"
        );
    }

    #[test]
    fn only_an_error_with_number_zero_is_an_acknowledgement() {
        assert_eq!(error_number(ERROR, &[0; 20]), Some(0));
        assert_eq!(error_number(ERROR, &(-17_i32).to_ne_bytes()), Some(-17));
        assert_eq!(error_number(DONE, &[0; 20]), None);
        assert_eq!(error_number(ERROR, &[0; 3]), None);
    }

    #[test]
    fn the_kernel_lists_the_loopback_and_refuses_what_is_not_there() {
        let socket = Socket::of_routes().unwrap();
        let question = |index: i32| [&[0; 4][..], &index.to_ne_bytes(), &[0; 8]].concat();
        let links = socket
            .list(Message::new(18, 0, &question(0), Attributes::default()))
            .unwrap();
        assert!(
            links
                .iter()
                .any(|link| attribute(&link[16..], 3) == Some(b"lo\0"))
        );
        let refused = socket.ask_one(Message::new(
            18,
            0,
            &question(i32::MAX),
            Attributes::default(),
        ));
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }
}
