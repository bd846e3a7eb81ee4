//! Connects through the proxies that the environment names.
//!
//! * In: the environment, and the address to connect to.
//! * Out: a connection that the proxy opened by CONNECT, through which TLS goes end to end.
//! * Never: any part of a request to the proxy other than host and port.
//!
//! `HTTPS_PROXY` is for TLS, `ALL_PROXY` for everything, `NO_PROXY` names hosts that are reached
//! directly. The variables in lower case take precedence.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::address::Address;
use super::error::ClientError;

/// Longest header block of a proxy's response, in bytes.
const MAX_PROXY_HEADER_BYTES: usize = 16 << 10;

/// The proxy settings of the environment. Each proxy has the name of its variable.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    https: Option<(String, String)>,
    all: Option<(String, String)>,
    none: Vec<String>,
}

/// A proxy and the credentials for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Proxy {
    /// The address of the proxy itself.
    pub address: Address,
    authorization: Option<String>,
}

impl Proxies {
    /// Returns the settings of this process's environment.
    pub fn of_environment() -> Self {
        Self::of(|name| std::env::var(name).ok())
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let named = |names: [&str; 2]| {
            let mut values = names
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), variable(name)?)));
            values.find(|(_, value)| !value.is_empty())
        };
        let none = named(["no_proxy", "NO_PROXY"])
            .map(|(_, value)| value)
            .unwrap_or_default();
        Self {
            https: named(["https_proxy", "HTTPS_PROXY"]),
            all: named(["all_proxy", "ALL_PROXY"]),
            none: none
                .split(',')
                .map(|entry| entry.trim().to_owned())
                .collect(),
        }
    }

    /// Returns the proxy for this address, if there is one. The machine that runs this is never
    /// reached through a proxy.
    ///
    /// # Errors
    /// The variable that applies is not the address of an HTTP proxy.
    pub fn of_address(&self, address: &Address) -> Result<Option<Proxy>, ClientError> {
        let of_scheme = self.https.as_ref().filter(|_| address.is_tls());
        let Some((variable, value)) = of_scheme.or(self.all.as_ref()) else {
            return Ok(None);
        };
        if is_loopback(address.host()) || self.none.iter().any(|entry| covers(entry, address)) {
            return Ok(None);
        }
        let wrong = || ClientError::ProxyAddress {
            variable: variable.clone(),
        };
        proxy(value).ok_or_else(wrong).map(Some)
    }
}

/// Parses `[http://][USER:PASSWORD@]HOST[:PORT]`.
fn proxy(value: &str) -> Option<Proxy> {
    let without_scheme = value.strip_prefix("http://").unwrap_or(value);
    let (user, host) = match without_scheme.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, without_scheme),
    };
    let address: Address = format!("http://{host}").parse().ok()?;
    let authorization = user.map(|user| format!("Basic {}", STANDARD.encode(user)));
    Some(Proxy {
        address,
        authorization,
    })
}

fn is_loopback(host: &str) -> bool {
    let is_local = |address: IpAddr| address.is_loopback();
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(is_local)
}

/// Returns whether an entry of `NO_PROXY` names this host, a domain above it, or all hosts.
fn covers(entry: &str, address: &Address) -> bool {
    let host = address.host().to_ascii_lowercase();
    let lower = entry.to_ascii_lowercase();
    let name = match lower.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port == address.port().to_string() => name,
        _ => &lower,
    };
    if name.is_empty() || name == "*" {
        return name == "*";
    }
    let domain = name.trim_start_matches("*.").trim_start_matches('.');
    let subdomain = host.strip_suffix(domain);
    host == domain || subdomain.is_some_and(|front| front.ends_with('.'))
}

impl Proxy {
    /// Lets the proxy connect `stream` to `target`.
    ///
    /// # Errors
    /// The proxy refuses, closes the connection, or does not speak HTTP.
    pub async fn tunnel(
        &self,
        stream: &mut TcpStream,
        target: &Address,
    ) -> Result<(), ClientError> {
        let (proxy, place) = (self.address.to_string(), target.to_string());
        let lost = |source| ClientError::Unreachable {
            place: place.clone(),
            source,
        };
        let authority = target.authority();
        let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
        if let Some(authorization) = &self.authorization {
            request.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await.map_err(lost)?;
        let mut response = Vec::new();
        // One byte at a time, because bytes after the header block belong to TLS.
        while !response.ends_with(b"\r\n\r\n") {
            if response.len() == MAX_PROXY_HEADER_BYTES {
                return Err(ClientError::ProxyResponse { proxy });
            }
            response.push(stream.read_u8().await.map_err(lost)?);
        }
        match status(&response) {
            Some(200..=299) => Ok(()),
            Some(status) => Err(ClientError::ProxyRefusal {
                proxy,
                place,
                status,
            }),
            None => Err(ClientError::ProxyResponse { proxy }),
        }
    }
}

/// Returns the status of a response, from its first line.
fn status(response: &[u8]) -> Option<u16> {
    let line = response.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    if !words.next()?.starts_with("HTTP/1.") {
        return None;
    }
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(variables: &[(&str, &str)], address: &str) -> Option<String> {
        let find = |name: &str| {
            variables
                .iter()
                .find(|(it, _)| *it == name)
                .map(|it| it.1.to_owned())
        };
        let proxy = Proxies::of(find)
            .of_address(&address.parse().unwrap())
            .unwrap();
        proxy.map(|proxy| proxy.address.to_string())
    }

    #[test]
    fn the_variable_of_the_scheme_counts_before_the_one_for_all() {
        let both = [
            ("HTTPS_PROXY", "http://one:3128"),
            ("ALL_PROXY", "two:8080"),
        ];
        assert_eq!(
            chosen(&both, "https://a.example").as_deref(),
            Some("http://one:3128")
        );
        assert_eq!(
            chosen(&both, "http://a.example").as_deref(),
            Some("http://two:8080")
        );
        assert_eq!(chosen(&[("HTTPS_PROXY", "")], "https://a.example"), None);
        let cases = [("https_proxy", "small:1"), ("HTTPS_PROXY", "large:1")];
        assert_eq!(
            chosen(&cases, "https://a.example").as_deref(),
            Some("http://small:1")
        );
    }

    #[test]
    fn exceptions_are_hosts_and_domains() {
        for (exceptions, host, is_direct) in [
            ("a.example", "a.example", true),
            ("example", "a.example", true),
            (".example", "a.example", true),
            ("*.example", "a.example", true),
            ("b.example, a.example", "A.example", true),
            ("*", "a.example", true),
            ("a.example:443", "a.example", true),
            ("a.example:8443", "a.example", false),
            ("xample", "a.example", false),
            ("", "a.example", false),
            ("", "127.0.0.1", true),
            ("", "localhost", true),
        ] {
            let variables = [("ALL_PROXY", "http://proxy:1"), ("NO_PROXY", exceptions)];
            let chosen = chosen(&variables, &format!("https://{host}"));
            assert_eq!(chosen.is_none(), is_direct, "{exceptions} {host}");
        }
    }

    #[test]
    fn what_is_no_http_proxy_is_an_error_and_no_direct_connection() {
        for value in ["socks5://proxy:1", "https://proxy:1", "http://"] {
            let proxies = Proxies::of(|name| (name == "ALL_PROXY").then(|| value.to_owned()));
            assert!(
                proxies
                    .of_address(&"https://a.example".parse().unwrap())
                    .is_err(),
                "{value}"
            );
        }
    }

    #[test]
    fn a_proxy_is_told_who_its_user_is() {
        let proxy = proxy("http://user:pass@proxy:3128").unwrap();
        assert_eq!(proxy.authorization.as_deref(), Some("Basic dXNlcjpwYXNz"));
    }
}
