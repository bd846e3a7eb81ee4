//! Any bytes as a frame on the machine's network, and as the DHCP message in one.

use std::net::Ipv4Addr;

use kettle::boot::dhcp::{Client, Lease, MAX_NAME_SERVERS, MessageType};
use kettle::boot::frame;

const CLIENT: Client = Client {
    mac: [2, 0, 0, 0, 0, 1],
    transaction: [1, 2, 3, 4],
};
/// The fields that match a reply with its request: direction and hardware, transaction, hardware
/// address, cookie.
const HEAD: [(usize, &[u8]); 4] = [
    (0, &[2, 1, 6]),
    (4, &CLIENT.transaction),
    (28, &CLIENT.mac),
    (236, &[99, 130, 83, 99]),
];

/// A lease is one that a machine can use. The message is repaired so that changes get to its
/// options.
pub fn target(data: &[u8]) {
    if let Some(message) = frame::message(data) {
        assert!(message.len() < data.len());
        appraise(message);
    }
    let mut message = data.to_vec();
    for (place, bytes) in HEAD
        .into_iter()
        .filter(|(place, bytes)| data.len() >= place + bytes.len())
    {
        message[place..place + bytes.len()].copy_from_slice(bytes);
    }
    appraise(&message);
}

fn appraise(message: &[u8]) {
    for kind in [MessageType::Offer, MessageType::Acknowledge] {
        if let Some(Ok(lease)) = CLIENT.appraise(message, kind) {
            check(&lease);
        }
    }
}

fn check(lease: &Lease) {
    let usable = |address: &Ipv4Addr| {
        !address.is_unspecified() && !address.is_loopback() && !address.is_broadcast()
    };
    assert!((1..=32).contains(&lease.prefix) && usable(&lease.address));
    assert!(
        lease
            .router
            .is_none_or(|router| usable(&router) && router != lease.address)
    );
    assert!(lease.name_servers.len() <= MAX_NAME_SERVERS && lease.name_servers.iter().all(usable));
    let request = CLIENT.request(lease);
    assert_eq!(
        CLIENT.appraise(&request, MessageType::Offer),
        None,
        "our own request is no reply"
    );
}
