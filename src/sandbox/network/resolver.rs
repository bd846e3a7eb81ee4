//! Finds the name servers of the machine.
//!
//! * In: resolv.conf(5), which DHCP or the machine's owner wrote.
//! * Out: the addresses of the name servers of fetch phases, and the file that names them.
//! * Never: a name server that another network namespace cannot reach.
//!
//! Only the machine itself can use a resolver on its own loopback. If it is systemd's, another file
//! lists the servers that it uses. The servers of any other resolver are unknown, and then fetch
//! phases cannot have their own network.

use std::fs;
use std::io;
use std::net::IpAddr;

/// The machine's own file.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The file of the servers that systemd-resolved uses (systemd-resolved.service(8)).
const SERVERS_OF_SYSTEMD: &str = "/run/systemd/resolve/resolv.conf";
/// The number of name servers that the resolver of the C library uses.
const MAX_NAME_SERVERS: usize = 3;

/// Why the name servers cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum ResolverError {
    #[error("cannot read {path}")]
    Read {
        path: &'static str,
        source: io::Error,
    },
    #[error(
        "the name servers of {RESOLV_CONF} are on this machine's loopback only ({}): name one of the network there",
        join(.found)
    )]
    Loopback { found: Vec<IpAddr> },
}

fn join(found: &[IpAddr]) -> String {
    found
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Returns the name servers that fetch phases can use; none if the machine has none.
pub(super) fn name_servers() -> Result<Vec<IpAddr>, ResolverError> {
    let found = parse(&read(RESOLV_CONF)?);
    let usable = beyond_the_machine(&found);
    if !usable.is_empty() || found.is_empty() {
        return Ok(usable);
    }
    let of_systemd = beyond_the_machine(&parse(&read(SERVERS_OF_SYSTEMD)?));
    if of_systemd.is_empty() {
        return Err(ResolverError::Loopback { found });
    }
    Ok(of_systemd)
}

/// Reads a file. One that is missing names no server.
fn read(path: &'static str) -> Result<String, ResolverError> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(|source| ResolverError::Read { path, source }),
    }
}

/// Returns the addresses of lines `nameserver ADDRESS`. Addresses with a zone are skipped: they are
/// valid on one link only.
fn parse(text: &str) -> Vec<IpAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| *word == "nameserver")?;
        words.next()?.parse().ok()
    };
    text.lines()
        .filter_map(address)
        .take(MAX_NAME_SERVERS)
        .collect()
}

fn beyond_the_machine(found: &[IpAddr]) -> Vec<IpAddr> {
    let is_beyond = |address: &&IpAddr| !address.is_loopback() && !address.is_unspecified();
    found.iter().filter(is_beyond).copied().collect()
}

/// Returns the text of the file for a sandbox.
pub(super) fn resolv_conf(name_servers: &[IpAddr]) -> String {
    name_servers
        .iter()
        .map(|server| format!("nameserver {server}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_what_the_resolver_would_ask() {
        let text = "# x\nsearch a.b\nnameserver 10.0.0.1\n nameserver\t2001:db8::1 x\nnameserver fe80::1%eth0\n\
            nameserver\noptions edns0\nnameservers 1.1.1.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n";
        let addresses =
            ["10.0.0.1", "2001:db8::1", "10.0.0.2"].map(|text| text.parse::<IpAddr>().unwrap());
        assert_eq!(parse(text), addresses);
        assert_eq!(parse(&resolv_conf(&addresses)), addresses);
    }

    #[test]
    fn a_resolver_of_the_machine_alone_is_none_for_others() {
        let found = parse("nameserver 127.0.0.53\nnameserver ::1\nnameserver 0.0.0.0\n");
        assert_eq!(found.len(), 3);
        assert!(beyond_the_machine(&found).is_empty());
    }
}
