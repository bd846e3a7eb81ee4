//! The network. Comes in: interfaces and whoever answers on them; both belong to the host. Goes out: an address, a default
//! route, name servers; addresses of version 6 come from router advertisements, by the kernel itself. Never: trust in any
//! of it. What is fetched is checked against digests, and clients check evidence; a wrong answer costs availability only.
//!
//! The lease is not renewed: a machine lives for one build, and its address is its host's to give and to take.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::clock::Limit;

use super::dhcp::{Client, Kind, Lease, Refusal};
use super::error::file;
use super::frame::{self, Mac};
use super::{BootError, kernel};
use crate::netlink::Socket;
use crate::netlink::link::{self, Origin};

const INTERFACES: &str = "/sys/class/net";
const LOOPBACK: &str = "lo";
/// The root has a link to it at `/etc/resolv.conf`.
const RESOLV_CONF: &str = "/run/resolv.conf";
/// How long to wait for an answer, attempt by attempt, in milliseconds: a card may need a moment to come up, and some servers
/// check whether an address is free.
const WAITS: [u64; 8] = [200, 400, 800, 1600, 3200, 4000, 4000, 4000];
/// More interfaces than a machine of ours has.
const MAX_INTERFACES: usize = 16;
/// An Ethernet frame without jumbo.
const MAX_FRAME_BYTES: usize = 1514;

/// Router advertisements go on to count while packets of phases that fetch are forwarded (`accept_ra`, ip-sysctl of the kernel).
const ADVERTISEMENTS_ALTHOUGH_FORWARDING: &str = "2";

struct Interface {
    name: String,
    index: i32,
    mac: Mac,
}

/// Phase: loopback, one address, one route, name servers.
pub(super) fn configure() -> Result<(), BootError> {
    let netlink = Socket::of_routes().map_err(kernel_error("netlink"))?;
    let loopback = number(&Path::new(INTERFACES).join(LOOPBACK).join("ifindex"))
        .map_err(kernel_error("loopback"))?;
    link::switch_on(&netlink, loopback).map_err(kernel_error("loopback"))?;
    let interfaces = ethernet_interfaces().map_err(file(INTERFACES))?;
    for interface in &interfaces {
        listen_to_routers(interface)?;
        let switched = link::switch_on(&netlink, interface.index);
        switched.map_err(kernel_error("switching an interface on"))?;
    }
    let (interface, lease) = first_lease(&interfaces)?;
    link::add_address(
        &netlink,
        interface.index,
        lease.address.into(),
        lease.prefix,
    )
    .map_err(kernel_error("address"))?;
    if let Some(router) = lease.router {
        link::add_default_route(&netlink, interface.index, router.into(), Origin::Dhcp)
            .map_err(kernel_error("default route"))?;
    }
    fs::write(RESOLV_CONF, resolv_conf(&lease)).map_err(file(RESOLV_CONF))
}

/// Without IPv6 there is no such file, and nothing to listen to.
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

/// In the order of their numbers, which is that of their discovery.
fn ethernet_interfaces() -> io::Result<Vec<Interface>> {
    let paths: io::Result<Vec<PathBuf>> = fs::read_dir(INTERFACES)?
        .map(|entry| Ok(entry?.path()))
        .collect();
    let mut found: Vec<_> = paths?.iter().filter_map(|path| interface(path)).collect();
    found.sort_by_key(|interface| interface.index);
    found.truncate(MAX_INTERFACES);
    Ok(found)
}

fn interface(path: &Path) -> Option<Interface> {
    // ARPHRD_ETHER of linux/if_arp.h.
    let ethernet = number(&path.join("type")).is_ok_and(|kind| kind == 1);
    let mac = fs::read_to_string(path.join("address"))
        .ok()
        .and_then(|text| mac(text.trim_end()));
    let name = path.file_name()?.to_str()?.to_owned();
    Some(Interface {
        name,
        index: number(&path.join("ifindex")).ok()?,
        mac: mac.filter(|_| ethernet)?,
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

/// One attempt: a lease, a refusal, or silence.
fn exchange(interface: &Interface, wait: Duration) -> io::Result<Option<Result<Lease, Refusal>>> {
    let mut transaction = [0; 4];
    getrandom::getrandom(&mut transaction).map_err(io::Error::other)?;
    let client = Client {
        mac: interface.mac,
        transaction,
    };
    let mut socket = kernel::packet_socket(interface.index)?;
    let offer = match ask(&mut socket, client, &client.discover(), Kind::Offer, wait)? {
        Some(Ok(offer)) => offer,
        other => return Ok(other),
    };
    ask(
        &mut socket,
        client,
        &client.request(&offer),
        Kind::Acknowledge,
        wait,
    )
}

/// The first answer that can be used; else why the last could not.
fn ask(
    socket: &mut File,
    client: Client,
    question: &[u8],
    wanted: Kind,
    wait: Duration,
) -> io::Result<Option<Result<Lease, Refusal>>> {
    let limit = Limit::of(wait);
    let mut last = None;
    match socket.write_all(&frame::broadcast(client.mac, question)) {
        // No carrier yet.
        Err(error) if error.kind() == io::ErrorKind::NetworkDown => {}
        sent => sent?,
    }
    while let Some(frame) = receive(socket, limit)? {
        match frame::message(&frame).and_then(|message| client.appraise(message, wanted)) {
            Some(Ok(lease)) => return Ok(Some(Ok(lease))),
            Some(Err(refusal)) => last = Some(Err(refusal)),
            None => {}
        }
    }
    Ok(last)
}

fn receive(socket: &mut File, limit: Limit) -> io::Result<Option<Vec<u8>>> {
    let left = limit.left();
    let timeout = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
    if left.is_zero() || poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&timeout))? == 0 {
        return Ok(None);
    }
    let mut frame = vec![0; MAX_FRAME_BYTES];
    let length = match socket.read(&mut frame) {
        // The card went down after it was ready: the next attempt may find it up.
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
