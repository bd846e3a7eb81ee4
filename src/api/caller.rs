//! Decides which callers may ask: a program that was given this appliance's name or address, but no
//! web page of another site.
//!
//! A browser sends requests to any address for any page. It sends forms without asking, and where a
//! DNS name changes its address, it takes the responses for the page's own. No page can make it
//! leave out `Origin`, `Sec-Fetch-Site` or the name in `Host`.
//!
//! * In: a request's target and header fields, the scheme of its port, and the names of this
//!   appliance.
//! * Out: host and port as the client has them, or a refusal.
//! * Never: a permission for another origin, by any header field of a response.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request::Parts;

use super::problem::Problem;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The port of the two by which a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// The request came in by the plaintext port.
    Http,
    /// The request came in by the port with TLS.
    Https,
}

impl Scheme {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A DNS name that an appliance is reached by, in lower case.
#[cfg(any(test, feature = "host"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String);

#[cfg(any(test, feature = "host"))]
impl HostName {
    /// Reads letters, digits, `-`, `.`, `_` and `~`. Returns `None` for anything else, and for an
    /// address.
    pub fn parse(text: &str) -> Option<Self> {
        match Host::parse(text)? {
            Host::Name(name) => Some(Self(name)),
            Host::Address(_) => None,
        }
    }
}

/// The names that `Host` may have, beside an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostNames {
    /// Any name is answered, because the machine does not know what it is called.
    Any,
    /// Only `localhost` and these names are answered.
    #[cfg(any(test, feature = "host"))]
    Listed(Vec<HostName>),
}

impl HostNames {
    fn include(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            #[cfg(any(test, feature = "host"))]
            (Self::Listed(_), Host::Address(_)) => true,
            #[cfg(any(test, feature = "host"))]
            (Self::Listed(names), Host::Name(name)) => {
                name == "localhost" || names.iter().any(|listed| listed.0 == *name)
            }
        }
    }
}

/// A host, as clients write it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    Name(String),
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        if let Some(literal) = text.strip_prefix('[') {
            let address: Ipv6Addr = literal.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Address(address.into()));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self::Address(address.into()));
        }
        let in_a_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let is_name = !text.is_empty() && text.bytes().all(in_a_name);
        is_name.then(|| Self::Name(text.to_ascii_lowercase()))
    }
}

/// Host and port of a URL (RFC 3986, section 3.2), without user information.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    host: Host,
    port: u16,
}

impl Authority {
    fn parse(text: &str, scheme: Scheme) -> Option<Self> {
        // The colons of an IPv6 address are in brackets.
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let port = match port {
            None => scheme.default_port(),
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok()?
            }
            Some(_) => return None,
        };
        Some(Self {
            host: Host::parse(host)?,
            port,
        })
    }

    /// Returns the host without the port, as it is written in a URL.
    pub fn host(&self) -> String {
        match &self.host {
            Host::Address(IpAddr::V4(address)) => address.to_string(),
            Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
            Host::Name(name) => name.clone(),
        }
    }
}

/// Checks the caller, and returns the name or address by which it calls this appliance.
///
/// # Errors
/// 400: `Host` is malformed, or is not the host of the target. 403: a web page of another origin
/// asks, or `Host` has a name that is not one of `names`.
pub fn check(parts: &Parts, scheme: Scheme, names: &HostNames) -> Result<Authority, Problem> {
    let authority = requested_host(parts, scheme)?;
    if !names.include(&authority.host) {
        let name = authority.host();
        return Err(cross_origin(format!(
            "{name} is not a name of this appliance: ask by its address or as localhost, \
             or start it with --host {name}"
        )));
    }
    check_site(parts)?;
    check_origin(parts, scheme, &authority)?;
    Ok(authority)
}

/// Reads `Host` (RFC 9112, section 3.2), which has to agree with a target that names a host itself.
fn requested_host(parts: &Parts, scheme: Scheme) -> Result<Authority, Problem> {
    let authority = host_field(parts, scheme)
        .ok_or_else(|| invalid_host("Host is not a name or an address with an optional port"))?;
    let has_scheme = match parts.uri.scheme_str() {
        None => true,
        Some(target) => target == scheme.as_str(),
    };
    let has_host = match parts.uri.authority() {
        None => true,
        Some(target) => Authority::parse(target.as_str(), scheme).as_ref() == Some(&authority),
    };
    if !has_scheme || !has_host {
        return Err(invalid_host(
            "the target of the request is not at the host that Host names",
        ));
    }
    Ok(authority)
}

/// Reads the one `Host` field. A request with none or with several was refused (`host-missing`,
/// `host-repeated`) when its header block came in; if one came here all the same, no value of it
/// would be believed.
fn host_field(parts: &Parts, scheme: Scheme) -> Option<Authority> {
    let mut values = parts.headers.get_all(header::HOST).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    Authority::parse(value.to_str().ok()?, scheme)
}

fn invalid_host(detail: &str) -> Problem {
    Problem::new(400, "host-invalid", detail)
}

/// Checks `Sec-Fetch-Site`, in which a browser tells about the page that asks (Fetch Metadata,
/// section 2.4): `same-origin`, or `none` for an address that a person typed.
fn check_site(parts: &Parts) -> Result<(), Problem> {
    let is_own = |value: &HeaderValue| matches!(value.as_bytes(), b"same-origin" | b"none");
    if parts.headers.get_all(SEC_FETCH_SITE).iter().all(is_own) {
        return Ok(());
    }
    Err(cross_origin(
        "a web page of another site asks (Sec-Fetch-Site); it must not ask for its reader"
            .to_owned(),
    ))
}

/// Checks the origin of the page that asks (RFC 6454, section 7): it has to be this appliance's
/// own. `null` never is.
fn check_origin(parts: &Parts, scheme: Scheme, authority: &Authority) -> Result<(), Problem> {
    let origin_of = |value: &HeaderValue| {
        let text = value.to_str().ok()?;
        let rest = text.strip_prefix(scheme.as_str())?.strip_prefix("://")?;
        Authority::parse(rest, scheme)
    };
    let is_own = |value| origin_of(value).as_ref() == Some(authority);
    if parts.headers.get_all(header::ORIGIN).iter().all(is_own) {
        return Ok(());
    }
    Err(cross_origin(
        "a web page of another origin asks (Origin); it must not ask for its reader".to_owned(),
    ))
}

fn cross_origin(detail: String) -> Problem {
    Problem::new(403, "cross-origin", detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn authority(text: &str) -> Option<(String, u16)> {
        Authority::parse(text, Scheme::Http).map(|authority| (authority.host(), authority.port))
    }

    fn status(target: &str, scheme: Scheme, names: &HostNames, fields: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        check(&parts, scheme, names)
            .map_or_else(|problem| problem.into_response().status().as_u16(), |_| 200)
    }

    #[test]
    fn a_host_is_an_address_or_a_name() {
        for (text, host, port) in [
            ("kettle", "kettle", 80),
            ("Kettle.Example", "kettle.example", 80),
            ("kettle:8080", "kettle", 8080),
            ("127.0.0.1:1", "127.0.0.1", 1),
            ("[::1]", "[::1]", 80),
            ("[0:0::1]:65535", "[::1]", 65535),
            ("2130706433", "2130706433", 80),
        ] {
            assert_eq!(authority(text), Some((host.to_owned(), port)), "{text}");
        }
        for text in [
            "",
            ":80",
            "a:",
            "a:+1",
            "a:65536",
            "a:8x",
            "a b",
            "a,b",
            "a/b",
            "a@b",
            "a%62",
            "::1",
            "[::1",
            "[::1]x",
            "[127.0.0.1]",
            "[fe80::1%eth0]",
            "[v1.a]",
            "a:1:2",
            "k\u{e4}se",
            "a?b",
            "a#b",
            "\"a\"",
        ] {
            assert_eq!(authority(text), None, "{text}");
        }
    }

    #[test]
    fn a_listed_appliance_answers_to_addresses_localhost_and_its_names() {
        let names = HostNames::Listed(vec![HostName::parse("Builder.example").unwrap()]);
        for (host, expected) in [
            ("127.0.0.1:8080", 200),
            ("[::1]:8080", 200),
            ("192.0.2.7", 200),
            ("LOCALHOST:1", 200),
            ("builder.EXAMPLE:1", 200),
            ("builder.example.", 403),
            ("evil.example", 403),
            ("localhost.evil.example", 403),
            ("127.0.0.1.evil.example", 403),
            ("2130706433", 403),
            ("0x7f.1", 403),
        ] {
            assert_eq!(
                status("/", Scheme::Http, &names, &[("host", host)]),
                expected,
                "{host}"
            );
            assert_eq!(
                status("/", Scheme::Http, &HostNames::Any, &[("host", host)]),
                200,
                "{host}"
            );
        }
        for text in ["", "127.0.0.1", "[::1]", "a:1", "a/b", "*"] {
            assert_eq!(HostName::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_origin_has_the_scheme_the_host_and_the_port_that_were_asked() {
        for (scheme, host, origin, expected) in [
            (Scheme::Http, "kettle", "http://kettle", 200),
            (Scheme::Http, "kettle:80", "http://kettle", 200),
            (Scheme::Http, "KETTLE", "http://kettle:80", 200),
            (Scheme::Https, "kettle:443", "https://kettle", 200),
            (Scheme::Https, "[::1]:8443", "https://[0:0::1]:8443", 200),
            (Scheme::Http, "kettle", "https://kettle", 403),
            (Scheme::Https, "kettle", "http://kettle", 403),
            (Scheme::Https, "kettle", "https://kettle:80", 403),
            (Scheme::Http, "kettle:8080", "http://kettle", 403),
            (Scheme::Http, "kettle", "http://evil.example", 403),
            (Scheme::Http, "kettle", "http://kettle.evil.example", 403),
            (Scheme::Http, "kettle", "http://kettle@evil.example", 403),
            (Scheme::Http, "kettle", "http://kettle/", 403),
            (Scheme::Http, "kettle", "null", 403),
            (Scheme::Http, "kettle", "", 403),
            (Scheme::Http, "kettle", "kettle", 403),
            (
                Scheme::Http,
                "kettle",
                "http://kettle http://evil.example",
                403,
            ),
            (Scheme::Http, "127.0.0.1", "http://localhost", 403),
        ] {
            let fields = [("host", host), ("origin", origin)];
            assert_eq!(
                status("/", scheme, &HostNames::Any, &fields),
                expected,
                "{host} {origin}"
            );
        }
        let twice = [
            ("host", "kettle"),
            ("origin", "http://kettle"),
            ("origin", "null"),
        ];
        assert_eq!(status("/", Scheme::Http, &HostNames::Any, &twice), 403);
    }

    #[test]
    fn a_page_of_another_site_does_not_ask() {
        for (site, expected) in [
            ("same-origin", 200),
            ("none", 200),
            ("same-site", 403),
            ("cross-site", 403),
            ("Same-Origin", 403),
            ("same-origin, cross-site", 403),
            ("", 403),
        ] {
            let fields = [("host", "kettle"), ("sec-fetch-site", site)];
            assert_eq!(
                status("/", Scheme::Https, &HostNames::Any, &fields),
                expected,
                "{site}"
            );
        }
    }

    #[test]
    fn a_target_with_a_host_agrees_with_the_host_field() {
        for (target, host, expected) in [
            ("http://kettle/health", "kettle", 200),
            ("http://KETTLE:80/health", "kettle", 200),
            ("https://kettle/health", "kettle", 400),
            ("http://other/health", "kettle", 400),
            ("http://kettle:81/health", "kettle", 400),
            ("http://user@kettle/health", "kettle", 400),
        ] {
            assert_eq!(
                status(target, Scheme::Http, &HostNames::Any, &[("host", host)]),
                expected,
                "{target}"
            );
        }
        assert_eq!(status("/", Scheme::Http, &HostNames::Any, &[]), 400);
        assert_eq!(
            status(
                "/",
                Scheme::Http,
                &HostNames::Any,
                &[("host", "a"), ("host", "a")]
            ),
            400
        );
    }
}
