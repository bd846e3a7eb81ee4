//! Parses the address of a machine: `https://HOST[:PORT]`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use hyper::Uri;
use hyper::http::uri::Authority;

/// Scheme, host and port of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    is_tls: bool,
    host: String,
    port: u16,
}

/// Why text is not the address of a machine.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not an address such as https://HOST or https://HOST:PORT: {reason}")]
pub struct AddressError {
    text: String,
    reason: &'static str,
}

impl Address {
    /// Returns whether the scheme is https.
    pub const fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Returns the host: a name, or an IP address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port, which is the scheme's own if none was given.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns the host as headers have it: an IPv6 address in brackets.
    fn bracketed(&self) -> String {
        match self.host.parse() {
            Ok(IpAddr::V6(_)) => format!("[{}]", self.host),
            _ => self.host.clone(),
        }
    }

    /// Returns `HOST:PORT`, as a request to a proxy has it.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.bracketed(), self.port)
    }

    /// Returns the value of the `Host` header, without the port if it is the scheme's own.
    pub fn host_header(&self) -> String {
        if self.port == default_port(self.is_tls) {
            self.bracketed()
        } else {
            self.authority()
        }
    }
}

const fn default_port(is_tls: bool) -> u16 {
    if is_tls { 443 } else { 80 }
}

/// Returns the port of a URL, or that of the scheme if the URL has none. `None` if it is not a
/// number.
fn port(authority: &Authority, is_tls: bool) -> Option<u16> {
    // An IPv6 address in brackets has colons of its own.
    let after_address = match authority.as_str().rsplit_once(']') {
        Some((_, rest)) => rest,
        None => authority.as_str(),
    };
    if after_address.contains(':') {
        authority.port_u16()
    } else {
        Some(default_port(is_tls))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host_header())
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let refused = |reason| AddressError {
            text: text.to_owned(),
            reason,
        };
        let uri: Uri = text.parse().map_err(|_| refused("it cannot be read"))?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(refused("it has to begin with https:// or http://")),
        };
        let Some(authority) = uri.authority() else {
            return Err(refused("it has no host"));
        };
        if authority.as_str().contains('@') {
            return Err(refused("it has a user or a password"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(refused("it has a path; paths are the program's own affair"));
        }
        let host = authority.host();
        let without_brackets = host.trim_start_matches('[').trim_end_matches(']');
        if without_brackets.is_empty() {
            return Err(refused("it has no host"));
        }
        let port = match port(authority, is_tls) {
            Some(port) => port,
            None => return Err(refused("its port is no number")),
        };
        Ok(Self {
            is_tls,
            host: without_brackets.to_owned(),
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_printed() {
        for (text, host, port, header) in [
            ("https://a.example", "a.example", 443, "a.example"),
            ("https://a.example:443/", "a.example", 443, "a.example"),
            ("http://a.example:8080", "a.example", 8080, "a.example:8080"),
            (
                "https://127.0.0.1:8443",
                "127.0.0.1",
                8443,
                "127.0.0.1:8443",
            ),
            ("https://[::1]", "::1", 443, "[::1]"),
            ("https://[::1]:8443", "::1", 8443, "[::1]:8443"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.host(), address.port()), (host, port), "{text}");
            assert_eq!(address.host_header(), header, "{text}");
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "a.example",
            "ftp://a.example",
            "https://",
            "https://u:p@a.example",
            "https://a.example/v1",
            "https://a.example?x",
            "https://a.example:x",
            "https://a.example:99999",
            "https://a b",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
