//! Reads redirects as tools report them, and compares the servers of URLs.
//!
//! * In: `http` and `https` URLs, and values of `Location` headers.
//! * Out: the URL that is meant, and whether it has the same host, port and scheme.
//! * Never: a connection; nothing here follows anything.

use crate::text;

/// Most redirects that are followed in a row; curl and browsers stop at 20 to 50.
pub const MAX_REDIRECTS: usize = 10;

/// Longest URL that is quoted in a message or recorded in a statement, in bytes.
const MAX_QUOTED_BYTES: usize = 2048;

/// Scheme, host and port of a URL: the server that is responsible for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    is_https: bool,
    /// The host in lower case, an IPv6 address in brackets.
    host: String,
    port: u16,
}

/// Reads the headers of responses as tools trace them, line by line, and finds redirects.
///
/// A redirect is what curl takes for one: any status that begins with 3, with the first `Location`
/// of that response that is not empty.
#[derive(Debug, Default)]
pub struct Headers {
    is_within: bool,
    is_redirect: bool,
}

impl Headers {
    /// Reads the next line, which is a status line, a header or the empty line after them. Returns
    /// the value of `Location` if the response is a redirect.
    pub fn location<'a>(&mut self, line: &'a str) -> Option<&'a str> {
        if line.trim().is_empty() {
            *self = Self::default();
            return None;
        }
        if !self.is_within {
            let status = line
                .strip_prefix("HTTP/")
                .and_then(|rest| rest.split_once([' ', '\t']));
            *self = Self {
                is_within: true,
                is_redirect: status.is_some_and(|(_, code)| code.trim().starts_with('3')),
            };
            return None;
        }
        let (name, untrimmed) = line.split_once(':')?;
        let value = untrimmed.trim();
        let is_followed =
            self.is_redirect && name.eq_ignore_ascii_case("location") && !value.is_empty();
        self.is_redirect &= !is_followed;
        is_followed.then_some(value)
    }
}

/// Curl's log line before it follows a redirect or repeats a request. The URL and a quote follow,
/// unless curl cut the line.
const FOLLOWS: &str = "Issue another request to this URL: '";

/// Curl's log line before it repeats a request because a connection was lost.
const RETRIES: &str = "retrying a fresh connect";

/// Reads curl's log as tools trace it, line by line, and finds the URLs of redirects that it
/// follows.
#[derive(Debug, Default)]
pub struct Follows {
    is_retry: bool,
}

impl Follows {
    /// Reads the next line. Returns the URL of a redirect that curl follows, if the line announces
    /// one.
    ///
    /// # Errors
    /// Curl cut the URL; the error is the beginning that is left.
    pub fn url<'a>(&mut self, line: &'a str) -> Result<Option<&'a str>, &'a str> {
        self.is_retry |= line.contains(RETRIES);
        let Some(rest) = line.strip_prefix(FOLLOWS) else {
            return Ok(None);
        };
        let url = rest.strip_suffix('\'').ok_or(rest)?;
        let is_retry = std::mem::take(&mut self.is_retry);
        Ok((!is_retry).then_some(url))
    }
}

/// Returns the first step from https to another scheme in the chain that begins with `first` and
/// goes on with `urls`.
pub fn leaves_https<'a>(first: &'a str, urls: &'a [String]) -> Option<(&'a str, &'a str)> {
    let is_https = |url: &str| Endpoint::of(url).is_some_and(|endpoint| endpoint.is_https());
    let mut from = first;
    for to in urls {
        if is_https(from) && !is_https(to) {
            return Some((from, to));
        }
        from = to;
    }
    None
}

/// Divides a URL into its scheme, its authority, and the rest. The rest is empty or begins with
/// `/`, `?`, `#`, or with a `\` that some programs read as `/`.
pub fn split(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, after_scheme) = url.split_once("://")?;
    let end = after_scheme
        .find(['/', '?', '#', '\\'])
        .unwrap_or(after_scheme.len());
    let (authority, rest) = after_scheme.split_at(end);
    Some((scheme, authority, rest))
}

impl Endpoint {
    /// Reads the endpoint of an http or https URL; returns `None` for any other text.
    pub fn of(url: &str) -> Option<Self> {
        let (scheme, authority, _) = split(url)?;
        let is_https = scheme.eq_ignore_ascii_case("https");
        if !is_https && !scheme.eq_ignore_ascii_case("http") {
            return None;
        }
        let host_and_port = match authority.rsplit_once('@') {
            Some((_credentials, host_and_port)) => host_and_port,
            None => authority,
        };
        let (host, explicit_port) = split_port(host_and_port);
        if host.is_empty() {
            return None;
        }
        let port = match explicit_port {
            None | Some("") if is_https => 443,
            None | Some("") => 80,
            Some(digits) => digits.parse().ok()?,
        };
        Some(Self {
            is_https,
            host: host.to_ascii_lowercase(),
            port,
        })
    }

    /// Returns whether the URL's scheme is https.
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// Returns the host's name or address in lower case, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

/// Divides `HOST:PORT`, where the host can be an IPv6 address in brackets.
pub fn split_port(authority: &str) -> (&str, Option<&str>) {
    let after_address = authority.rfind(']').map_or(0, |at| at + 1);
    match authority[after_address..].split_once(':') {
        Some((name, port)) => (&authority[..after_address + name.len()], Some(port)),
        None => (authority, None),
    }
}

/// Resolves the value of `Location` against the URL that was requested (RFC 3986, section 5.2,
/// without the removal of `.` and `..`, which no caller relies on).
pub fn resolve(requested: &str, location: &str) -> String {
    let target = location.split('#').next().unwrap_or_default().trim();
    if has_scheme(target) {
        return target.to_owned();
    }
    let start = requested.find("://").map_or(0, |at| at + 3);
    let (scheme, after_scheme) = requested.split_at(start);
    let without_fragment = after_scheme.split('#').next().unwrap_or_default();
    if target.is_empty() {
        return format!("{scheme}{without_fragment}");
    }
    if let Some(elsewhere) = target.strip_prefix("//") {
        return format!("{scheme}{elsewhere}");
    }
    let path_start = without_fragment
        .find(['/', '?'])
        .unwrap_or(without_fragment.len());
    let (authority, path_and_query) = without_fragment.split_at(path_start);
    if target.starts_with('/') {
        return format!("{scheme}{authority}{target}");
    }
    let path = path_and_query.split('?').next().unwrap_or_default();
    if target.starts_with('?') {
        return format!("{scheme}{authority}{path}{target}");
    }
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    format!("{scheme}{authority}{parent}/{target}")
}

/// Returns whether the text starts with a scheme, as an absolute URL does.
fn has_scheme(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once(':') else {
        return false;
    };
    let is_known = |character: char| character.is_ascii_alphanumeric() || "+-.".contains(character);
    scheme.starts_with(|character: char| character.is_ascii_alphabetic())
        && scheme.chars().all(is_known)
}

/// Returns a URL that a server chose as a statement records it: escaped and whole. `None` if it is
/// too long for that.
pub fn recorded(url: &str) -> Option<String> {
    (url.len() <= MAX_QUOTED_BYTES).then(|| quoted(url))
}

/// Returns a URL that a server chose as a message shows it: escaped, and cut if it is too long.
pub fn quoted(url: &str) -> String {
    let kept = url.floor_char_boundary(MAX_QUOTED_BYTES);
    let mut shown = text::ascii(&url[..kept]);
    if kept < url.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(one: &str, other: &str) -> bool {
        let (one, other) = (Endpoint::of(one), Endpoint::of(other));
        one.is_some() && one == other
    }

    #[test]
    fn an_endpoint_is_scheme_host_and_port() {
        for other in [
            "https://h/x",
            "https://H:443/",
            "HTTPS://h",
            "https://h?q",
            "https://u:p@h/",
        ] {
            assert!(same("https://h/a", other), "{other}");
        }
        assert!(same("http://[::1]:80/", "http://[::1]/x"));
        for other in [
            "http://h/a",
            "https://h:444/a",
            "https://h.evil/a",
            "https://h@evil/a",
            "https://evil\\@h/a",
            "https://evil#@h/a",
            "https://evil?@h/a",
            "ftp://h/a",
            "https:h",
            "https:///a",
            "https://h:x/a",
            "//h/a",
        ] {
            assert!(!same("https://h/a", other), "{other}");
        }
    }

    #[test]
    fn a_url_is_divided_in_one_way() {
        for (url, expected) in [
            ("https://h/a?b", Some(("https", "h", "/a?b"))),
            ("http://u@h:8?x/y", Some(("http", "u@h:8", "?x/y"))),
            (
                "git+https://h\\@evil/",
                Some(("git+https", "h", "\\@evil/")),
            ),
            ("https://h", Some(("https", "h", ""))),
            ("https:h", None),
        ] {
            assert_eq!(split(url), expected, "{url}");
        }
        for (place, expected) in [
            ("h", ("h", None)),
            ("h:", ("h", Some(""))),
            ("[::1]:8", ("[::1]", Some("8"))),
            ("[::1]", ("[::1]", None)),
        ] {
            assert_eq!(split_port(place), expected, "{place}");
        }
        assert_eq!(Endpoint::of("http://[::1]:8/").unwrap().host(), "::1");
    }

    #[test]
    fn a_location_is_resolved_against_what_was_asked() {
        let asked = "https://h:8/a/b?service=x";
        for (location, expected) in [
            ("https://other/x", "https://other/x"),
            ("HTTP://other/x", "HTTP://other/x"),
            ("ftp:x", "ftp:x"),
            ("//other/x", "https://other/x"),
            ("/x?y", "https://h:8/x?y"),
            ("c", "https://h:8/a/c"),
            ("?y", "https://h:8/a/b?y"),
            (" /x#fragment ", "https://h:8/x"),
            ("", "https://h:8/a/b?service=x"),
            ("c/x:y", "https://h:8/a/c/x:y"),
        ] {
            assert_eq!(resolve(asked, location), expected, "{location}");
        }
        assert_eq!(resolve("https://h", "x"), "https://h/x");
        assert_eq!(resolve("https://h?q", "/x"), "https://h/x");
    }

    #[test]
    fn a_quoted_url_is_inert_and_short() {
        assert_eq!(
            quoted("https://h/\u{1b}[2J\u{202e}"),
            "https://h/\\u{1b}[2J\\u{202e}"
        );
        assert!(quoted(&"x".repeat(1 << 20)).len() < MAX_QUOTED_BYTES + 4);
        assert_eq!(
            recorded("https://h/\u{202e}").as_deref(),
            Some("https://h/\\u{202e}")
        );
        assert_eq!(recorded(&"x".repeat(MAX_QUOTED_BYTES + 1)), None);
    }

    #[test]
    fn a_redirect_is_what_curl_follows() {
        let read = |lines: &[&str]| {
            let mut headers = Headers::default();
            lines
                .iter()
                .filter_map(|line| headers.location(line).map(str::to_owned))
                .collect::<Vec<_>>()
        };
        for status in [
            "HTTP/1.1 302 Found",
            "HTTP/2 399",
            "HTTP/1.1\t300",
            "HTTP/1.1 304",
            "HTTP/1.1 3020",
            "HTTP/1.1 302Found",
        ] {
            let lines = [
                status,
                "HTTP/1.1 200: x",
                "Location:",
                "location:  /a ",
                "Location: /b",
                "",
                "HTTP/2 200",
                "Location: /c",
            ];
            assert_eq!(read(&lines), ["/a"], "{status}");
        }
        assert_eq!(
            read(&["HTTP/1.1 200 OK", "HTTP/1.1 302: x", "Location: /a", ""]),
            [""; 0]
        );
        assert_eq!(
            read(&[
                "Location: /a",
                "",
                "HTTP/1.1 302",
                "X: y",
                "Location: /b",
                "",
                "HTTP/3 307",
                "Location: /c"
            ]),
            ["/b", "/c"]
        );
    }
}
