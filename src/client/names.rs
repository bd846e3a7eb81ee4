//! Resolves names without the C library, whose resolver does not work in a static program.
//!
//! * In: a host as it was typed, and the machine's `/etc/hosts` and `/etc/resolv.conf`.
//! * Out: IP addresses, in the order in which they are tried.
//! * Never: trust. The server at an address has to show its key.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::str::FromStr as _;
use std::time::Duration;

use domain::base::name::UncertainName;
use domain::resolv::StubResolver;

use super::error::ClientError;

/// How long all name servers together may take.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Largest `/etc/hosts` that is read, in bytes; a larger one counts as empty.
const MAX_HOSTS_BYTES: u64 = 1 << 20;

const HOSTS: &str = "/etc/hosts";

/// Returns the addresses of `host`.
///
/// # Errors
/// The host has no address, or the name servers fail.
pub async fn resolve(host: &str) -> Result<Vec<IpAddr>, ClientError> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let listed = in_hosts(&hosts(Path::new(HOSTS)), host);
    if !listed.is_empty() {
        return Ok(listed);
    }
    // Name servers must not be asked about this name (RFC 6761, section 6.3).
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let failed = |source| ClientError::Name {
        host: host.to_owned(),
        source,
    };
    let Ok(result) = tokio::time::timeout(RESOLVE_TIMEOUT, ask(host)).await else {
        return Err(failed(io::ErrorKind::TimedOut.into()));
    };
    let found = result.map_err(failed)?;
    if found.is_empty() {
        return Err(ClientError::NameUnknown {
            host: host.to_owned(),
        });
    }
    Ok(found)
}

/// Asks the name servers of `/etc/resolv.conf`.
async fn ask(host: &str) -> io::Result<Vec<IpAddr>> {
    let name = UncertainName::<Vec<u8>>::from_str(host).map_err(io::Error::other)?;
    let resolver = StubResolver::new();
    let mut found: Vec<IpAddr> = match name {
        UncertainName::Absolute(name) => resolver.lookup_host(&name).await?.iter().collect(),
        // Like the C library with `ndots:1`: a name with a dot is tried as it is first.
        UncertainName::Relative(name) if host.contains('.') => {
            let absolute = name.clone().into_absolute().map_err(io::Error::other)?;
            let direct: Vec<_> = match resolver.lookup_host(&absolute).await {
                Ok(hosts) => hosts.iter().collect(),
                Err(_) => Vec::new(),
            };
            if direct.is_empty() {
                resolver.search_host(name).await?.iter().collect()
            } else {
                direct
            }
        }
        UncertainName::Relative(name) => resolver.search_host(name).await?.iter().collect(),
    };
    // IPv4 addresses come first, since some networks reach no IPv6 address.
    found.sort_by_key(|address| address.is_ipv6());
    found.dedup();
    Ok(found)
}

fn hosts(path: &Path) -> String {
    match fs::metadata(path) {
        Ok(found) if found.len() <= MAX_HOSTS_BYTES => fs::read_to_string(path).unwrap_or_default(),
        _ => String::new(),
    }
}

/// Returns every address that a line of `hosts` (hosts(5)) assigns to this name.
fn in_hosts(hosts: &str, host: &str) -> Vec<IpAddr> {
    let wanted = host.trim_end_matches('.');
    let mut found = Vec::new();
    for line in hosts.lines() {
        let without_comment = line.split('#').next().unwrap_or_default();
        let mut words = without_comment.split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse) else {
            continue;
        };
        if words.any(|name| name.eq_ignore_ascii_case(wanted)) {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_the_machine_reads_them() {
        let text = "# a comment\n127.0.0.1 localhost\n::1\tlocalhost ip6-localhost\n\
                    192.0.2.7 build.example Build # not here\nnonsense build.example\n";
        let addresses = |host| {
            in_hosts(text, host)
                .iter()
                .map(IpAddr::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(addresses("localhost"), ["127.0.0.1", "::1"]);
        assert_eq!(addresses("BUILD"), ["192.0.2.7"]);
        assert_eq!(addresses("build.example."), ["192.0.2.7"]);
        assert_eq!(addresses("here"), [""; 0]);
    }
}
