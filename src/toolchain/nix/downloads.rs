//! Finds out where nix's downloads were redirected to.
//!
//! * In: the messages of a nix at its most verbose level, while no builder runs that could forge
//!   them.
//! * Out: for each requested URL, every URL after it.
//! * Never: silence about a redirect whose target is unknown.
//!
//! | message (nix 2.34.8, `filetransfer.cc`) | meaning |
//! |---|---|
//! | `got header for 'URL': HEADER` | a header for URL; an empty one ends the headers |
//! | `curl: Issue another request to this URL: 'URL'` | curl follows a redirect, or retries |
//! | `curl: … retrying a fresh connect …` | curl retries: a connection was lost |
//! | `finished download of 'URL'; curl status = …, body = … bytes, …` | an attempt ended |
//!
//! Curl does not name the download whose redirect it follows. A header can also be in a trailer
//! after the body, and curl does not follow that one. So a redirect counts when its server
//! announced it and curl follows there.

use std::collections::BTreeMap;

use memchr::memmem;

use crate::source::redirect::{Follows, Headers, MAX_REDIRECTS, leaves_https, resolve, split};

/// The most URLs whose redirects are kept, and the most that are being downloaded.
const MAX_DOWNLOADS: usize = 50_000;

/// The beginning of the message about a header; the requested URL, [`HEADER_MIDDLE`] and the header
/// follow.
const HEADER_START: &str = "got header for '";
const HEADER_MIDDLE: &str = "':";

/// The beginning of curl's own messages.
const CURL: &str = "curl: ";

/// The beginning of the message about the end of an attempt; the URL, [`FINISHED_MIDDLE`], curl's
/// status and more follow.
const FINISHED_START: &str = "finished download of '";
const FINISHED_MIDDLE: &str = "'; curl status = ";
const SUCCESS: &str = "0,";
const NO_BODY: &str = ", body = 0 bytes";

/// The URLs that were redirected, each with every URL after it, in order.
pub type Redirects = BTreeMap<String, Vec<String>>;

/// The state of reading the messages about downloads.
#[derive(Debug, Default)]
pub(super) struct Downloads {
    running: BTreeMap<String, Attempt>,
    /// The redirects of downloads that ended.
    redirects: Redirects,
    follows: Follows,
    /// The first URL whose redirects are not known.
    lost: Option<String>,
}

/// One attempt at a download.
#[derive(Debug, Default)]
struct Attempt {
    headers: Headers,
    /// The URL that the last headers redirect to, or that a trailer claims.
    announced: Option<String>,
    /// The URLs that curl followed redirects to, in order.
    urls: Vec<String>,
}

impl Downloads {
    /// Takes a message of nix; `plain` is the message without codes of a terminal.
    pub fn take_message(&mut self, message: &str, plain: &str) {
        if let Some(rest) = message.strip_prefix(HEADER_START)
            && let Some((url, header)) = rest.split_once(HEADER_MIDDLE)
        {
            self.take_header(url, header.strip_prefix(' ').unwrap_or(header));
        } else if let Some(text) = message.strip_prefix(CURL) {
            match self.follows.url(text) {
                Ok(None) => {}
                Ok(Some(url)) => self.take_followed(url),
                Err(cut) => self.lose(cut),
            }
        } else if let Some(rest) = plain.strip_prefix(FINISHED_START)
            && let Some((url, how)) = rest.rsplit_once(FINISHED_MIDDLE)
        {
            self.take_end(url, how);
        }
    }

    /// Takes note of a message that was too long to be read, if it was about a download.
    pub fn note_too_long(&mut self, message: &[u8]) {
        if memmem::find(message, HEADER_START.as_bytes()).is_some() {
            self.lose("a URL with a header that is too long");
        }
    }

    /// Returns the redirects of downloads whose attempt succeeded or received bytes.
    ///
    /// If one URL had several such attempts, it is the first one, or one that left https.
    ///
    /// # Errors
    /// A URL whose redirect cannot be told: it is not text, too long, one of too many, or belongs
    /// to no known download.
    pub fn redirects(&self) -> Result<Redirects, &str> {
        if let Some(url) = &self.lost {
            return Err(url);
        }
        let mut redirects = Redirects::new();
        for (url, attempt) in &self.running {
            if !attempt.urls.is_empty() {
                redirects.insert(url.clone(), attempt.urls.clone());
            }
        }
        redirects.extend(self.redirects.clone());
        Ok(redirects)
    }

    /// Takes a header for `url`.
    fn take_header(&mut self, url: &str, header: &str) {
        if self.running.len() == MAX_DOWNLOADS && !self.running.contains_key(url) {
            return self.lose(url);
        }
        let attempt = self.running.entry(url.to_owned()).or_default();
        let Some(location) = attempt.headers.location(header) else {
            return;
        };
        let asked = attempt.urls.last().map_or(url, String::as_str);
        let next = resolve(asked, location);
        attempt.announced.get_or_insert(next);
    }

    /// Takes a redirect that curl follows, for the attempt whose server announced it.
    fn take_followed(&mut self, to: &str) {
        let wanted = canonical(to);
        let announced = |attempt: &&mut Attempt| {
            attempt.announced.as_deref().map(canonical).as_ref() == Some(&wanted)
        };
        let is_text = !to.contains(char::REPLACEMENT_CHARACTER);
        match self.running.values_mut().find(announced) {
            Some(attempt) if attempt.urls.len() < MAX_REDIRECTS && is_text => {
                attempt.announced = None;
                attempt.urls.push(to.to_owned());
            }
            _ => self.lose(to),
        }
    }

    /// Takes the end of an attempt; `how` begins with curl's status.
    fn take_end(&mut self, url: &str, how: &str) {
        let Some(Attempt { urls, .. }) = self.running.remove(url) else {
            return;
        };
        if urls.is_empty() || (!how.starts_with(SUCCESS) && how.contains(NO_BODY)) {
            return;
        }
        if self.redirects.len() == MAX_DOWNLOADS && !self.redirects.contains_key(url) {
            return self.lose(url);
        }
        if !self.redirects.contains_key(url) || leaves_https(url, &urls).is_some() {
            self.redirects.insert(url.to_owned(), urls);
        }
    }

    /// Takes note that the redirects of `url` are not known.
    fn lose(&mut self, url: &str) {
        self.lost.get_or_insert_with(|| url.to_owned());
    }
}

/// Returns a URL in one form for comparison: curl removes dots, and encodes bytes that servers do
/// not.
fn canonical(url: &str) -> String {
    let url = url.split('#').next().unwrap_or_default();
    let Some((scheme, authority, rest)) = split(url) else {
        return url.to_owned();
    };
    let (path, query) = rest.find('?').map_or((rest, ""), |at| rest.split_at(at));
    let mut segments = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            ".." => drop(segments.pop()),
            "." => {}
            segment => segments.push(segment),
        }
    }
    if path.ends_with("/.") || path.ends_with("/..") {
        segments.push("");
    }
    let path = encoded(&segments.join("/"), "%20");
    let start = format!("{scheme}://{authority}").to_ascii_lowercase();
    format!("{start}/{path}{}", encoded(query, "+"))
}

/// Percent-encodes bytes that are not visible ASCII, and writes the digits of all codes in upper
/// case.
fn encoded(text: &str, blank: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut digits = 0;
    for byte in text.bytes() {
        match byte {
            b' ' => out.push_str(blank),
            b'!'..=b'~' if digits > 0 => out.push(char::from(byte.to_ascii_uppercase())),
            b'!'..=b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
        digits = if byte == b'%' { 2 } else { digits.max(1) - 1 };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: &str = "https://a/x";
    const Y: &str = "https://b/y";
    const FOLLOWS: &str = "curl: Issue another request to this URL: '";

    fn heard(messages: &[String]) -> (Redirects, bool) {
        let mut downloads = Downloads::default();
        for message in messages {
            downloads.take_message(message, &message.replace("\u{1b}[0m", ""));
        }
        let known = downloads.redirects();
        (known.clone().unwrap_or_default(), known.is_err())
    }

    fn header(url: &str, header: &str) -> String {
        format!("{HEADER_START}{url}{HEADER_MIDDLE} {header}")
            .trim_end_matches(' ')
            .to_owned()
    }

    fn follows(to: &str) -> String {
        format!("{FOLLOWS}{to}'")
    }

    /// Returns the messages of nix about a redirect.
    fn moved(url: &str, location: &str, to: &str) -> [String; 4] {
        let location = format!("location: {location}");
        [
            header(url, "HTTP/2 302"),
            header(url, &location),
            header(url, ""),
            follows(to),
        ]
    }

    fn direct(url: &str) -> [String; 2] {
        [header(url, "HTTP/1.1 200 OK"), header(url, "")]
    }

    fn ended(url: &str, status: u8, bytes: u32) -> String {
        format!(
            "finished \u{1b}[0mdownload of '{url}{FINISHED_MIDDLE}{status}, HTTP status = 200, body = {bytes} bytes, x"
        )
    }

    fn of(url: &str, urls: &[&str]) -> (Redirects, bool) {
        (
            BTreeMap::from([(
                url.to_owned(),
                urls.iter().map(|&url| url.to_owned()).collect(),
            )]),
            false,
        )
    }

    #[test]
    fn it_is_known_where_a_download_was_redirected_to() {
        let other = [
            header(Y, "HTTP/1.1 200 OK"),
            header(Y, "Location: https://not.followed/"),
        ];
        let [first, second] = [
            moved(X, "https://c/x", "https://c/x"),
            moved(X, "/z", "https://c/z"),
        ];
        let last = [
            header(X, "HTTP/1.1 200 OK"),
            header(X, "Location: https://not.followed/"),
            ended(X, 0, 9),
        ];
        let all = [&first[..], &other, &second, &last].concat();
        assert_eq!(heard(&all), of(X, &["https://c/x", "https://c/z"]));
        // It is known even before the message that the download ended.
        assert_eq!(
            heard(&all[..all.len() - 1]),
            of(X, &["https://c/x", "https://c/z"])
        );
        let (known, lost) = heard(&[&first[..], &direct(Y), &[ended(Y, 0, 9)]].concat());
        assert!(known.len() == 1 && !lost);
    }

    #[test]
    fn of_several_at_a_time_each_has_its_own_whatever_curl_makes_of_it() {
        let [x, y] = [
            moved(X, "../1/%2f a#z", "https://a/1/%2F%20a"),
            moved(Y, "/2?é b", "https://b/2?%C3%A9+b"),
        ];
        let (known, lost) = heard(&[&x[..2], &y[..3], &x[2..], &y[3..]].concat());
        assert!(
            known[X] == ["https://a/1/%2F%20a"] && known[Y] == ["https://b/2?%C3%A9+b"] && !lost,
            "{known:?}"
        );
        // Both are redirected to the same URL.
        let [x, y] = [X, Y].map(|url| moved(url, "https://c/404", "https://c/404"));
        let (known, lost) = heard(&[&x[..3], &y[..3], &x[3..], &y[3..]].concat());
        assert!(
            known[X] == ["https://c/404"] && known[Y] == known[X] && !lost,
            "{known:?}"
        );
        for (one, other) in [
            ("HTTPS://H/a/./b/../c", "https://h/a/c"),
            ("https://h?x", "https://h/?x"),
            ("https://h", "https://h/"),
            ("https://h/a/..", "https://h/"),
            ("https://h/%c3%a9%2", "https://h/%C3%A9%2"),
        ] {
            assert_eq!(canonical(one), canonical(other));
        }
        assert_ne!(canonical("https://h/%aab"), canonical("https://h/%AAB"));
    }

    #[test]
    fn what_only_looks_like_a_redirect_is_none() {
        // A trailer after the body, which nix reports like a header.
        let trailer = [
            header(X, "HTTP/1.1 302"),
            header(X, "Location: https://good.example/"),
            header(X, ""),
        ];
        let none = (BTreeMap::new(), false);
        assert_eq!(
            heard(&[&direct(X)[..], &trailer, &[ended(X, 0, 9)]].concat()),
            none
        );
        let real = moved(X, "https://evil.example/", "https://evil.example/");
        let all = [
            &real[..3],
            &trailer,
            &real[3..],
            &direct(X),
            &[ended(X, 0, 9)],
        ]
        .concat();
        assert_eq!(heard(&all), of(X, &["https://evil.example/"]));
        // A lost connection, also while another download is sent elsewhere.
        let again = [
            "curl: Connection died, retrying a fresh connect (retry count: 1)".to_owned(),
            follows(X),
        ];
        assert_eq!(heard(&[&again[..], &direct(X)].concat()), none);
        let other = moved(Y, "/z", "https://b/z");
        assert_eq!(
            heard(&[&other[..3], &again, &other[3..]].concat()),
            of(Y, &["https://b/z"])
        );
    }

    #[test]
    fn an_attempt_that_brought_nothing_leaves_no_url() {
        let redirect = moved(X, "/y", "https://a/y");
        let second = [&direct(X)[..], &[ended(X, 0, 9)]].concat();
        let after =
            |status, bytes| heard(&[&redirect[..], &[ended(X, status, bytes)], &second].concat());
        assert_eq!(after(7, 0), (BTreeMap::new(), false));
        // Nix continues after the bytes that an attempt received; and an attempt that succeeded
        // counts, whatever follows it.
        for (status, bytes) in [(18, 5), (0, 9), (0, 0)] {
            assert_eq!(
                after(status, bytes),
                of(X, &["https://a/y"]),
                "{status} {bytes}"
            );
        }
        let plain = [&moved(X, "http://c/", "http://c/")[..], &[ended(X, 0, 9)]].concat();
        assert_eq!(
            heard(&[&redirect[..], &[ended(X, 0, 9)], &plain, &second].concat()),
            of(X, &["http://c/"])
        );
    }

    #[test]
    fn a_redirect_that_cannot_be_told_is_not_forgotten() {
        let [status, location, ..] = moved(X, "/y", "");
        let announced = [status, location];
        for followed in [
            follows("https://a/\u{fffd}"),
            format!("{FOLLOWS}https://a/y"),
            follows("https://b/"),
        ] {
            assert!(
                heard(&[&announced[..], std::slice::from_ref(&followed)].concat()).1,
                "{followed}"
            );
        }
        // Curl follows a redirect that no server announced: not even to the URL of another
        // download.
        let other = [&moved(Y, "https://c/", "https://c/")[..], &[ended(Y, 0, 9)]].concat();
        assert!(
            heard(
                &[
                    &other[..],
                    &[header(X, "HTTP/1.1 200"), follows("https://c/")]
                ]
                .concat()
            )
            .1
        );
        let chain: Vec<_> = (0..=MAX_REDIRECTS)
            .flat_map(|_| moved(X, "/x", X))
            .collect();
        assert!(heard(&chain).1 && !heard(&chain[4..]).1);
        let urls: Vec<_> = (0..=MAX_DOWNLOADS)
            .map(|n| format!("https://a/{n}"))
            .collect();
        let all: Vec<_> = urls.iter().map(|url| header(url, "HTTP/1.1 200")).collect();
        assert!(heard(&all).1);
        let all: Vec<_> = urls
            .iter()
            .flat_map(|url| [header(url, "HTTP/1.1 200"), ended(url, 0, 9)])
            .collect();
        assert!(!heard(&all).1);
    }
}
