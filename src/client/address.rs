//! The address of a machine, as somebody types it: `https://HOST[:PORT]`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use hyper::Uri;

/// Scheme, host and port of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    is_tls: bool,
    host: String,
    port: u16,
}

/// Why text is no address of a machine.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not an address such as https://HOST or https://HOST:PORT: {reason}")]
pub struct AddressError {
    text: String,
    reason: &'static str,
}

impl Address {
    /// Returns whether TLS is spoken there.
    pub const fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Returns the host: a name, or an IP address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns the host as it stands in a header: an IPv6 address has brackets.
    fn bracketed(&self) -> String {
        match self.host.parse() {
            Ok(IpAddr::V6(_)) => format!("[{}]", self.host),
            _ => self.host.clone(),
        }
    }

    /// Returns `HOST:PORT`, as a proxy is told.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.bracketed(), self.port)
    }

    /// Returns the value of the `Host` header: the port stands there unless it is the scheme's own.
    pub fn host_header(&self) -> String {
        match (self.is_tls, self.port) {
            (true, 443) | (false, 80) => self.bracketed(),
            _ => self.authority(),
        }
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
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        if host.is_empty() {
            return Err(refused("it has no host"));
        }
        let port = match authority
            .as_str()
            .rsplit_once(']')
            .map_or(authority.as_str(), |it| it.1)
        {
            end if !end.contains(':') => {
                if is_tls {
                    443
                } else {
                    80
                }
            }
            _ => authority
                .port_u16()
                .ok_or_else(|| refused("its port is no number"))?,
        };
        Ok(Self {
            is_tls,
            host: host.to_owned(),
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
