//! Whom connections go to: an address, and, where several machines share it, which of them.
//!
//! A pool has one address. A load balancer in front of it keeps a job at one machine by the TLS
//! server name of its connections; without one, the machines are the addresses of one name.
//!
//! - Comes in: an address as it was typed.
//! - Goes out: the server name of a handshake, and the addresses to try.
//! - Never: trust. Which machine answers is decided by its key alone, whatever it was asked for.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use super::address::Address;
use super::error::ClientError;
use super::{names, random};

/// Below which domain the server names of machines are that have an address and no name. Nobody can
/// own it (RFC 2606, section 2).
const NAMELESS_DOMAIN: &str = "kettle.invalid";

/// Longest DNS name, in characters (RFC 1035, section 2.3.4).
const MAX_NAME_CHARS: usize = 253;

/// Where connections go.
#[derive(Clone, Debug)]
pub struct Target {
    address: Address,
    server_name: String,
    settled: Option<Arc<OnceLock<IpAddr>>>,
}

impl Target {
    /// Returns a server of the web, which is asked for by its own name.
    pub fn of_web(address: Address) -> Self {
        Self {
            server_name: address.host().to_owned(),
            address,
            settled: None,
        }
    }

    /// Returns one machine of those at `address`, which is the same one for all connections of this
    /// target and its clones.
    ///
    /// # Errors
    /// There are no random numbers.
    pub fn one_machine(address: Address) -> Result<Self, ClientError> {
        let label = hex::encode(random::bytes::<16>().map_err(ClientError::Random)?);
        Ok(Self {
            server_name: server_name(&label, address.host()),
            address,
            settled: Some(Arc::default()),
        })
    }

    /// Returns the address that several machines may share.
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Returns what the TLS handshake asks for. An IP address is not sent (RFC 6066, section 3).
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// Returns the addresses to try, in this order: that of the machine that answered before, else
    /// all that the host has. Of one kind of address each is the first as often as any other.
    ///
    /// # Errors
    /// The host has no address.
    pub async fn ips(&self) -> Result<Vec<IpAddr>, ClientError> {
        let Some(settled) = &self.settled else {
            return names::resolve(self.address.host()).await;
        };
        if let Some(ip) = settled.get() {
            return Ok(vec![*ip]);
        }
        let found = names::resolve(self.address.host()).await?;
        let first_is_ipv6 = found.first().is_some_and(IpAddr::is_ipv6);
        let mut drawn = Vec::new();
        for ip in &found {
            let number = random::bytes::<8>().map_err(ClientError::Random)?;
            drawn.push((ip.is_ipv6() != first_is_ipv6, number, *ip));
        }
        drawn.sort_unstable();
        Ok(drawn.into_iter().map(|(_, _, ip)| ip).collect())
    }

    /// Stays with the machine at this address from now on.
    pub fn settle(&self, ip: IpAddr) {
        if let Some(settled) = &self.settled {
            // The first one stays.
            let _ = settled.set(ip);
        }
    }
}

/// The random label is the first one, so that a balancer that keeps only the beginning of a name
/// tells names apart; the host's own name follows, so that one that routes by domain still does.
fn server_name(label: &str, host: &str) -> String {
    let name = format!("{label}.{}", host.trim_end_matches('.'));
    if host.parse::<IpAddr>().is_ok() || name.len() > MAX_NAME_CHARS {
        return format!("{label}.{NAMELESS_DOMAIN}");
    }
    name
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;

    use super::*;

    fn target(text: &str) -> Target {
        Target::one_machine(text.parse().unwrap()).unwrap()
    }

    fn ips(target: &Target) -> Vec<IpAddr> {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(target.ips()).unwrap()
    }

    #[test]
    fn each_machine_is_asked_for_by_a_name_of_its_own() {
        for (to, domain) in [
            ("https://appliance.example", ".appliance.example"),
            ("https://appliance.example.:8443", ".appliance.example"),
            ("https://localhost", ".localhost"),
            ("https://192.0.2.1", ".kettle.invalid"),
            ("https://[2001:db8::1]:8443", ".kettle.invalid"),
            (
                &format!("https://{}", "long.".repeat(49)),
                ".kettle.invalid",
            ),
        ] {
            let (one, other) = (target(to), target(to));
            assert_ne!(one.server_name(), other.server_name(), "{to}");
            assert_eq!(one.server_name(), one.clone().server_name(), "{to}");
            assert_eq!(one.server_name().strip_suffix(domain).unwrap().len(), 32);
            let sent = ServerName::try_from(one.server_name()).unwrap();
            assert!(matches!(sent, ServerName::DnsName(_)), "{to}");
        }
        let web = Target::of_web("https://kds.example".parse().unwrap());
        assert_eq!(web.server_name(), "kds.example");
    }

    #[test]
    fn connections_of_one_job_stay_with_the_machine_that_answered_first() {
        let one = target("https://127.0.0.1");
        let (first, second) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let clone = one.clone();
        clone.settle(first);
        one.settle(second);
        assert_eq!(ips(&one), [first]);
        let web = Target::of_web("https://127.0.0.1".parse().unwrap());
        web.settle(first);
        assert_eq!(ips(&web), [IpAddr::from([127, 0, 0, 1])]);
    }
}
