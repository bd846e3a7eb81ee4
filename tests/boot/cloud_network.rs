//! A network like those of clouds: an address without a network around it, a gateway that is
//! reached nevertheless, routes, and packets that are smaller than those of Ethernet.

use std::sync::{Arc, Mutex};

use crate::client::Port;
use crate::dhcp_answers::{ACKNOWLEDGE, DISCOVER, OFFER, Question, REQUEST};
use crate::image::Image;
use crate::machine::{Host, Machine, Network};
use crate::wire::{Between, Ends, Side, Wire};

/// The size of packets in Google's networks, in bytes.
const MTU: u16 = 1460;
/// The headers of IPv4 and TCP, which the largest segment leaves room for.
const HEADER_BYTES: u16 = 40;

/// Replies to requests for an address; everything else passes. Takes note of the largest segments
/// that the machine wants.
#[derive(Default)]
struct Cloud {
    segments: Vec<u16>,
}

impl Between for Cloud {
    fn frame(&mut self, from: Side, frame: &[u8], ends: &Ends) {
        if from == Side::Network {
            return ends.send(Side::Machine, frame);
        }
        match Question::heard(frame) {
            Some(question) => {
                let kind = match question.kind {
                    DISCOVER => OFFER,
                    REQUEST => ACKNOWLEDGE,
                    kind => panic!("the machine sends a message of kind {kind}"),
                };
                ends.send(Side::Machine, &question.of_a_cloud(kind, MTU));
            }
            None => {
                self.segments.extend(largest_segment(frame));
                ends.send(Side::Network, frame);
            }
        }
    }
}

/// Returns the largest segment in a frame that accepts a connection: the first option of TCP, after
/// the headers of Ethernet, IPv4 and TCP.
fn largest_segment(frame: &[u8]) -> Option<u16> {
    const ACCEPTS: u8 = 0x12;
    let is_tcp = frame.get(12..14)? == [0x08, 0x00] && *frame.get(23)? == 6;
    let option = frame.get(54..58)?;
    (is_tcp && frame[47] == ACCEPTS && option[..2] == [2, 4])
        .then(|| u16::from_be_bytes([option[2], option[3]]))
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_machine_serves_in_a_network_like_those_of_clouds() {
    let (image, cloud) = (
        Image::from_environment(),
        Arc::new(Mutex::new(Cloud::default())),
    );
    let host = Host {
        network: Network::Tapped(Wire::tapped(cloud.clone())),
        ..Host::honest(&image)
    };
    let machine = Machine::serving(&image, &host);
    machine.assert_healthy(Port::Tls);
    let segments = cloud.lock().unwrap().segments.clone();
    assert!(!segments.is_empty(), "no connection was accepted");
    let expected = MTU - HEADER_BYTES;
    assert!(
        segments.iter().all(|size| *size == expected),
        "{segments:?}"
    );
}
