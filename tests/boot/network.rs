//! Machines without a working network. A machine needs an address to be of use: without one it says
//! so and ends, in a bounded time.

use std::time::{Duration, Instant};

use crate::image::Image;
use crate::machine::{Host, Machine, Network};

/// The time for booting and all attempts to get an address, on a busy processor.
const LIMIT: Duration = Duration::from_secs(60);

fn assert_ends(network: Network, reason: &str) {
    let image = Image::from_environment();
    let start = Instant::now();
    let console = Machine::start(
        &image,
        &Host {
            network,
            ..Host::honest(&image)
        },
    )
    .wait_for_its_end();
    assert!(console.contains(reason), "{reason}: {console}");
    assert!(!console.contains("listening"), "{console}");
    assert!(
        start.elapsed() < LIMIT,
        "it ended after {:?}",
        start.elapsed()
    );
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn without_a_network_card_the_machine_ends() {
    assert_ends(
        Network::None,
        "halting: network: there is no network interface",
    );
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn without_a_reply_from_a_dhcp_server_the_machine_ends() {
    assert_ends(
        Network::Silent,
        "halting: network: no usable DHCP lease after 8 attempts",
    );
}
