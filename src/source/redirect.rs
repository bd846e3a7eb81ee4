//! Where a server sends whoever asks for a URL, as tools report it.
//!
//! - Comes in: URLs of http and https, and what a server says in `Location`.
//! - Goes out: the URL that is meant, and whether it is of the same host, port and scheme.
//! - Never: a connection; nothing here follows anything.

use crate::text;

/// Most redirects one after the other; curl and browsers stop at 20 to 50.
pub const MAX_REDIRECTS: usize = 10;

/// Most bytes of a URL that a message quotes, or a statement has.
const MAX_QUOTED_BYTES: usize = 2048;

/// Scheme, host and port of a URL: who answers for what it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    is_https: bool,
    /// In lower case.
    host: String,
    port: u16,
}

/// Reads headers as tools trace them, line by line, and finds where a server sends whoever asked. A redirect is what curl
/// takes for one: any status that begins with 3, and the first `Location` of that response that is not empty.
#[derive(Debug, Default)]
pub struct Headers {
    is_within: bool,
    is_redirect: bool,
}

impl Headers {
    /// Takes the next line, the first of a response or a header, and returns what it says in `Location` where the response
    /// is a redirect.
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
                is_redirect: status.is_some_and(|(_, rest)| rest.trim().starts_with('3')),
            };
            return None;
        }
        let (name, value) = line
            .split_once(':')
            .map(|(name, value)| (name, value.trim()))?;
        let is_followed =
            self.is_redirect && name.eq_ignore_ascii_case("location") && !value.is_empty();
        self.is_redirect &= !is_followed;
        is_followed.then_some(value)
    }
}

/// How curl says that it follows a redirect, or asks again; a quote follows, unless curl cut the line.
const FOLLOWS: &str = "Issue another request to this URL: '";

/// What curl says before it asks again because a connection was lost.
const RETRIES: &str = "retrying a fresh connect";

/// Reads what curl says of itself, as tools trace it, line by line, and finds where it follows a redirect to.
#[derive(Debug, Default)]
pub struct Follows {
    asks_again: bool,
}

impl Follows {
    /// Takes the next line, and returns the URL that curl goes on to, if that is what it says.
    ///
    /// # Errors
    /// The URL was cut; what there is of it.
    pub fn url<'a>(&mut self, said: &'a str) -> Result<Option<&'a str>, &'a str> {
        self.asks_again |= said.contains(RETRIES);
        let Some(rest) = said.strip_prefix(FOLLOWS) else {
            return Ok(None);
        };
        let url = rest.strip_suffix('\'').ok_or(rest)?;
        Ok((!std::mem::take(&mut self.asks_again)).then_some(url))
    }
}

/// The first step from https to something else among a URL and those that it led to.
pub fn leaves_https<'a>(first: &'a str, urls: &'a [String]) -> Option<(&'a str, &'a str)> {
    let is_https = |url: &str| Endpoint::of(url).is_some_and(|endpoint| endpoint.is_https());
    let urls = urls.iter().map(String::as_str);
    let mut steps = std::iter::once(first).chain(urls.clone()).zip(urls);
    steps.find(|(from, to)| is_https(from) && !is_https(to))
}

/// Divides a URL into its scheme, its authority, and the rest, which begins with `/`, `?`, `#` or what some read as `/`.
pub fn split(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    Some((scheme, authority, rest))
}

impl Endpoint {
    /// Reads the endpoint of an http or https URL; `None` for any other text.
    pub fn of(url: &str) -> Option<Self> {
        let (scheme, authority, _) = split(url)?;
        let is_https = scheme.eq_ignore_ascii_case("https");
        if !is_https && !scheme.eq_ignore_ascii_case("http") {
            return None;
        }
        let place = authority
            .rsplit_once('@')
            .map_or(authority, |(_, place)| place);
        let (host, port) = split_port(place);
        let default = if is_https { 443 } else { 80 };
        let port = match port {
            None | Some("") => default,
            Some(port) => port.parse().ok()?,
        };
        (!host.is_empty()).then(|| Self {
            is_https,
            host: host.to_ascii_lowercase(),
            port,
        })
    }

    /// Whether the URL's scheme is https.
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// Returns the name or address, in lower case; an address of IPv6 without its brackets.
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

/// Divides `HOST:PORT`, where the host can be an address in brackets.
pub fn split_port(place: &str) -> (&str, Option<&str>) {
    let after_address = place.rfind(']').map_or(0, |at| at + 1);
    match place[after_address..].split_once(':') {
        Some((rest, port)) => (&place[..after_address + rest.len()], Some(port)),
        None => (place, None),
    }
}

/// Resolves what a server says in `Location` against the URL that it was asked for (RFC 3986, section 5.2, without the
/// removal of `.` and `..`, which nobody here believes).
pub fn resolve(asked: &str, location: &str) -> String {
    let location = location.split('#').next().unwrap_or_default().trim();
    if has_scheme(location) {
        return location.to_owned();
    }
    let start = asked.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = asked.split_at(start);
    let rest = rest.split('#').next().unwrap_or_default();
    let path_start = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(path_start);
    let path = path.split('?').next().unwrap_or_default();
    if location.is_empty() {
        return format!("{scheme}{rest}");
    }
    if let Some(elsewhere) = location.strip_prefix("//") {
        return format!("{scheme}{elsewhere}");
    }
    if location.starts_with('/') {
        return format!("{scheme}{authority}{location}");
    }
    if location.starts_with('?') {
        return format!("{scheme}{authority}{path}{location}");
    }
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    format!("{scheme}{authority}{folder}/{location}")
}

/// Whether text starts as an absolute URL does.
fn has_scheme(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once(':') else {
        return false;
    };
    let is_known = |character: char| character.is_ascii_alphanumeric() || "+-.".contains(character);
    scheme.starts_with(|character: char| character.is_ascii_alphabetic())
        && scheme.chars().all(is_known)
}

/// A URL that a server chose, as a statement has it: escaped, and whole; none where it is too long for that.
pub fn recorded(url: &str) -> Option<String> {
    (url.len() <= MAX_QUOTED_BYTES).then(|| quoted(url))
}

/// A URL that a server chose, as a message shows it: escaped, and cut.
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
