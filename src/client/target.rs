//! Decides which machine connections go to, if several share an address.
//!
//! * In: an address as it was typed.
//! * Out: the server name of a handshake, and the IP addresses to try.
//! * Never: trust. Which machine responds is decided by its key alone, whatever was requested.
//!
//! A pool has one address. A load balancer in front of it keeps a job at one machine by the TLS
//! server name of its connections; without a balancer, the machines are the IP addresses of one
//! name.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use super::address::Address;
use super::error::ClientError;
use super::{names, random};

/// Domain of the server names for machines that have an IP address and no name. Nobody can own it
/// (RFC 2606, section 2).
const NAMELESS_DOMAIN: &str = "kettle.invalid";

/// Longest DNS name, in characters (RFC 1035, section 2.3.4).
const MAX_NAME_CHARS: usize = 253;

/// The machine that connections go to.
#[derive(Clone, Debug)]
pub struct Target {
    address: Address,
    server_name: String,
    /// The IP address of the machine that responded first; `None` if any machine will do.
    settled: Option<Arc<OnceLock<IpAddr>>>,
}

impl Target {
    /// Returns a server of the web, whose server name is the host.
    pub fn of_web(address: Address) -> Self {
        Self {
            server_name: address.host().to_owned(),
            address,
            settled: None,
        }
    }

    /// Returns one machine of those at `address`. All connections of this target and its clones go
    /// to the same one.
    ///
    /// # Errors
    /// The kernel returns no random numbers.
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

    /// Returns the server name for the TLS handshake. An IP address is not sent (RFC 6066, section
    /// 3).
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// Returns the addresses to try, in this order: the one of the machine that responded before,
    /// or else all that the host has. Among addresses of one kind the order is random.
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

    /// Remembers the machine at this address for all later connections.
    pub fn settle(&self, ip: IpAddr) {
        if let Some(settled) = &self.settled {
            // An address that was set before stays.
            let _ = settled.set(ip);
        }
    }
}

/// Returns a server name that starts with the random label, so that a load balancer which keeps
/// only the beginning of a name can tell names apart. The host's own name follows, so that a
/// balancer which routes by domain still does.
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
