//! The name servers of the machine.
//!
//! - Comes in: resolv.conf(5), which DHCP or the machine's owner wrote.
//! - Goes out: the addresses that fetch phases ask for names, and the file that tells them so.
//! - Never: a name server that another network namespace cannot reach, as if it could.
//!
//! A resolver on the machine's own loopback is for the machine alone. Where systemd's is, the servers behind it are listed in a
//! file of its own; of any other nothing is known, and fetch phases cannot have a network of their own.

use std::fs;
use std::io;
use std::net::IpAddr;

/// Of the machine.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The servers that systemd-resolved asks (systemd-resolved.service(8)).
const BEHIND_SYSTEMD: &str = "/run/systemd/resolve/resolv.conf";
/// As many as the resolver of the C library uses.
const MAX_NAME_SERVERS: usize = 3;

/// Why the name servers cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ResolverError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which file.
        path: &'static str,
        /// The reason that the system gave.
        source: io::Error,
    },
    /// All of them are on the machine's loopback.
    #[error(
        "the name servers of {RESOLV_CONF} are on this machine's loopback only ({}): name one of the network there",
        join(.found)
    )]
    Loopback {
        /// As the file says.
        found: Vec<IpAddr>,
    },
}

fn join(found: &[IpAddr]) -> String {
    found
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Returns the name servers that fetch phases can ask; none where the machine has none.
pub(super) fn name_servers() -> Result<Vec<IpAddr>, ResolverError> {
    let found = parse(&read(RESOLV_CONF)?);
    let usable = beyond_the_machine(&found);
    if !usable.is_empty() || found.is_empty() {
        return Ok(usable);
    }
    match beyond_the_machine(&parse(&read(BEHIND_SYSTEMD)?)) {
        behind if behind.is_empty() => Err(ResolverError::Loopback { found }),
        behind => Ok(behind),
    }
}

/// A file that is missing names nobody.
fn read(path: &'static str) -> Result<String, ResolverError> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(|source| ResolverError::Read { path, source }),
    }
}

/// The addresses of lines `nameserver ADDRESS`; those with a zone are of one link only.
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

/// The file for a sandbox.
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
