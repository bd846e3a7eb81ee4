//! Configures the network.
//!
//! * In: interfaces, and replies of servers on them; both belong to the host.
//! * Out: an address, routes, the size of packets and name servers; the kernel itself gets addresses
//!   of version 6, from router advertisements.
//! * Never: trust in any of it. Fetched files are checked against digests, and clients check
//!   evidence; a wrong reply costs availability only.
//!
//! The lease is not renewed: a machine lives for one build, and the host controls its address
//! anyway.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::clock::Limit;

use super::dhcp::{Client, Lease, MessageType, Refusal, Route};
use super::error::file;
use super::frame::{self, Mac};
use super::{BootError, kernel};
use crate::netlink::Socket;
use crate::netlink::link::{self, Origin};

const INTERFACES: &str = "/sys/class/net";
const LOOPBACK: &str = "lo";
/// The type of Ethernet interfaces (linux/if_arp.h).
const ARPHRD_ETHER: i32 = 1;
/// The file of the name servers, to which `/etc/resolv.conf` of the root is a link.
const RESOLV_CONF: &str = "/run/resolv.conf";
/// How long to wait for a reply, attempt by attempt, in milliseconds: a card may need a moment to
/// start, and some servers check whether an address is free.
const WAITS: [u64; 8] = [200, 400, 800, 1600, 3200, 4000, 4000, 4000];
/// How long the first interface may take to appear: drivers of a hypervisor's bus find their devices
/// while PID 1 runs.
const INTERFACE_LIMIT: Duration = Duration::from_secs(10);
const INTERFACE_PAUSE: Duration = Duration::from_millis(20);
/// The number of interfaces that are used: more than our machines have.
const MAX_INTERFACES: usize = 16;
/// The size of an Ethernet frame that is not a jumbo frame.
const MAX_FRAME_BYTES: usize = 1514;

/// The value with which router advertisements still count while packets of phases that fetch are
/// forwarded (`accept_ra`, ip-sysctl of the kernel).
const ADVERTISEMENTS_ALTHOUGH_FORWARDING: &str = "2";

struct Interface {
    name: String,
    index: i32,
    mac: Mac,
}

/// Phase: configures the loopback, one address, one route and name servers.
pub(super) fn configure() -> Result<(), BootError> {
    let netlink = Socket::of_routes().map_err(kernel_error("netlink"))?;
    let loopback = number(&Path::new(INTERFACES).join(LOOPBACK).join("ifindex"))
        .map_err(kernel_error("loopback"))?;
    link::switch_on(&netlink, loopback).map_err(kernel_error("loopback"))?;
    let interfaces = interfaces_in_time().map_err(file(INTERFACES))?;
    for interface in &interfaces {
        listen_to_routers(interface)?;
        let switched = link::switch_on(&netlink, interface.index);
        switched.map_err(kernel_error("switching an interface on"))?;
    }
    let (interface, lease) = first_lease(&interfaces)?;
    let index = interface.index;
    limit_packets(&netlink, index, &lease)?;
    let added = link::add_address(&netlink, index, lease.address.into(), lease.prefix);
    added.map_err(kernel_error("address"))?;
    for Route {
        network,
        prefix,
        router,
    } in &lease.routes
    {
        let network = ((*network).into(), *prefix);
        match link::add_route(&netlink, index, network, router.map(Into::into)) {
            // It follows from the address, or the server names it twice.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            added => added.map_err(kernel_error("route"))?,
        }
    }
    if let Some(router) = lease.router {
        let added = link::add_default_route(&netlink, index, router.into(), Origin::Dhcp);
        added.map_err(kernel_error("default route"))?;
    }
    fs::write(RESOLV_CONF, resolv_conf(&lease)).map_err(file(RESOLV_CONF))
}

/// Makes the largest packet as small as the server says, and never larger than the card has it.
fn limit_packets(netlink: &Socket, index: i32, lease: &Lease) -> Result<(), BootError> {
    let Some(mtu) = lease.mtu.map(u32::from) else {
        return Ok(());
    };
    let links = link::list(netlink).map_err(kernel_error("interfaces"))?;
    let is_larger = |link: &link::Link| link.index == index && link.mtu > mtu;
    if !links.iter().any(is_larger) {
        return Ok(());
    }
    link::set_mtu(netlink, index, mtu).map_err(kernel_error("size of packets"))
}

/// Lets the kernel accept router advertisements. Without IPv6, the file is missing, and there are
/// none.
fn listen_to_routers(interface: &Interface) -> Result<(), BootError> {
    let path = format!("/proc/sys/net/ipv6/conf/{}/accept_ra", interface.name);
    match fs::write(&path, ADVERTISEMENTS_ALTHOUGH_FORWARDING) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        written => written.map_err(file(path)),
    }
}

fn kernel_error(what: &'static str) -> impl FnOnce(io::Error) -> BootError {
    move |source| BootError::Kernel { what, source }
}

fn resolv_conf(lease: &Lease) -> String {
    lease
        .name_servers
        .iter()
        .map(|server| format!("nameserver {server}\n"))
        .collect()
}

/// Lists the interfaces once there is one. A machine without any waits in vain.
fn interfaces_in_time() -> io::Result<Vec<Interface>> {
    let limit = Limit::of(INTERFACE_LIMIT);
    loop {
        let found = ethernet_interfaces()?;
        if !found.is_empty() || limit.left().is_zero() {
            return Ok(found);
        }
        thread::sleep(INTERFACE_PAUSE);
    }
}

/// Lists the interfaces in the order of their numbers, which is that of their discovery.
fn ethernet_interfaces() -> io::Result<Vec<Interface>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(INTERFACES)? {
        found.extend(interface(&entry?.path()));
    }
    found.sort_by_key(|interface| interface.index);
    found.truncate(MAX_INTERFACES);
    Ok(found)
}

fn interface(path: &Path) -> Option<Interface> {
    if number(&path.join("type")).ok()? != ARPHRD_ETHER {
        return None;
    }
    let address = fs::read_to_string(path.join("address")).ok()?;
    Some(Interface {
        name: path.file_name()?.to_str()?.to_owned(),
        index: number(&path.join("ifindex")).ok()?,
        mac: mac(address.trim_end())?,
    })
}

fn number(path: &Path) -> io::Result<i32> {
    fs::read_to_string(path)?
        .trim_end()
        .parse()
        .map_err(|_| io::ErrorKind::InvalidData.into())
}

fn mac(text: &str) -> Option<Mac> {
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect();
    bytes?.try_into().ok()
}

fn first_lease(interfaces: &[Interface]) -> Result<(&Interface, Lease), BootError> {
    if interfaces.is_empty() {
        return Err(BootError::NoInterface);
    }
    let mut refusal = None;
    for wait in WAITS.map(Duration::from_millis) {
        for interface in interfaces {
            match exchange(interface, wait).map_err(kernel_error("packet socket"))? {
                Some(Ok(lease)) => return Ok((interface, lease)),
                Some(Err(reason)) => refusal = Some(reason),
                None => {}
            }
        }
    }
    Err(BootError::NoLease {
        attempts: WAITS.len(),
        refusal,
    })
}

/// Makes one attempt. Returns a lease, a refusal, or none if no server replied.
fn exchange(interface: &Interface, wait: Duration) -> io::Result<Option<Result<Lease, Refusal>>> {
    let mut transaction = [0; 4];
    getrandom::getrandom(&mut transaction).map_err(io::Error::other)?;
    let client = Client {
        mac: interface.mac,
        transaction,
    };
    let mut socket = kernel::packet_socket(interface.index)?;
    let discover = client.discover();
    let offered = ask(&mut socket, client, &discover, MessageType::Offer, wait)?;
    let Some(Ok(offer)) = offered else {
        return Ok(offered);
    };
    let request = client.request(&offer);
    ask(
        &mut socket,
        client,
        &request,
        MessageType::Acknowledge,
        wait,
    )
}

/// Sends a message, and returns the first reply that can be used, or else why the last one could
/// not.
fn ask(
    socket: &mut File,
    client: Client,
    message: &[u8],
    wanted: MessageType,
    wait: Duration,
) -> io::Result<Option<Result<Lease, Refusal>>> {
    let limit = Limit::of(wait);
    let mut last = None;
    match socket.write_all(&frame::broadcast(client.mac, message)) {
        // There is no carrier yet.
        Err(error) if error.kind() == io::ErrorKind::NetworkDown => {}
        sent => sent?,
    }
    while let Some(frame) = receive(socket, limit)? {
        let Some(reply) = frame::message(&frame) else {
            continue;
        };
        match client.appraise(reply, wanted) {
            Some(Ok(lease)) => return Ok(Some(Ok(lease))),
            Some(Err(refusal)) => last = Some(Err(refusal)),
            None => {}
        }
    }
    Ok(last)
}

/// Waits for a frame. Returns none when the time is over.
fn receive(socket: &mut File, limit: Limit) -> io::Result<Option<Vec<u8>>> {
    let left = limit.left();
    let timeout = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
    if left.is_zero() || poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&timeout))? == 0 {
        return Ok(None);
    }
    let mut frame = vec![0; MAX_FRAME_BYTES];
    let length = match socket.read(&mut frame) {
        // The card went down after it was ready: it may be up at the next attempt.
        Err(error) if error.kind() == io::ErrorKind::NetworkDown => 0,
        read => read?,
    };
    frame.truncate(length);
    Ok(Some(frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hardware_addresses_of_six_bytes_only() {
        assert_eq!(
            mac("52:54:00:12:34:56"),
            Some([0x52, 0x54, 0, 0x12, 0x34, 0x56])
        );
        for text in [
            "",
            "52:54:00:12:34",
            "52:54:00:12:34:56:78",
            "52:54:00:12:34:xx",
            "525400123456",
        ] {
            assert_eq!(mac(text), None, "{text:?}");
        }
    }

    #[test]
    fn name_servers_are_all_that_the_resolver_gets() {
        let lease = Lease {
            address: [10, 0, 2, 15].into(),
            prefix: 24,
            router: None,
            routes: vec![],
            mtu: None,
            name_servers: vec![[10, 0, 2, 3].into(), [10, 0, 2, 4].into()],
            server: [10, 0, 2, 2].into(),
        };
        assert_eq!(
            resolv_conf(&lease),
            "nameserver 10.0.2.3\nnameserver 10.0.2.4\n"
        );
    }

    #[test]
    fn a_machine_without_an_interface_is_told_apart_from_one_without_an_answer() {
        assert!(matches!(first_lease(&[]), Err(BootError::NoInterface)));
    }
}
