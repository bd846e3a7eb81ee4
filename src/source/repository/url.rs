//! Checks the URLs of repositories.
//!
//! * In: text from a client or from `.gitmodules`.
//! * Out: an `http` or `https` URL.
//! * Never: text that a tool could take for an option, a credential or another host.

use std::fmt;
use std::net::Ipv6Addr;

use crate::source::redirect::{split, split_port};

/// Longest URL, in bytes.
pub const MAX_URL_BYTES: usize = 2048;

const SCHEMES: [&str; 2] = ["https://", "http://"];

/// Why text is not the URL of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum ParseUrlError {
    #[error("the URL has {size} bytes, allowed are {limit}")]
    TooLong { size: usize, limit: usize },
    #[error("the URL does not start with https:// or http://")]
    Scheme,
    /// The first character that is white space, a control character, a quote, a backslash, or
    /// beyond ASCII.
    #[error("the URL has a character that is not allowed: {character:?}")]
    Character { character: char },
    /// A user or password, which would be recorded in provenance.
    #[error("the URL has credentials")]
    Credentials,
    #[error("the URL has a query or fragment")]
    Query,
    /// There is no host, or it is neither a name nor an address.
    #[error("the URL has no valid host")]
    Host,
    #[error("the URL's port is no number from 1 to 65535")]
    Port,
    #[error("the URL's path has a `.` or `..` component")]
    Dots,
}

/// A git URL, `https://` or `http://`, without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryUrl(String);

impl RepositoryUrl {
    /// Checks a URL and keeps it as given.
    ///
    /// # Errors
    /// The first rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, ParseUrlError> {
        if text.len() > MAX_URL_BYTES {
            return Err(ParseUrlError::TooLong {
                size: text.len(),
                limit: MAX_URL_BYTES,
            });
        }
        if !SCHEMES.iter().any(|scheme| text.starts_with(scheme)) {
            return Err(ParseUrlError::Scheme);
        }
        let is_refused = |c: &char| !c.is_ascii_graphic() || "\\\"'<>`{}|^".contains(*c);
        if let Some(character) = text.chars().find(is_refused) {
            return Err(ParseUrlError::Character { character });
        }
        if text.contains(['?', '#']) {
            return Err(ParseUrlError::Query);
        }
        let (_, authority, path) = split(text).ok_or(ParseUrlError::Scheme)?;
        check_authority(authority)?;
        let mut components = path.split('/');
        if components.any(|component| matches!(component, "." | "..")) {
            return Err(ParseUrlError::Dots);
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the URL as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the URL of a submodule: `text` if it is absolute, or `text` relative to this URL
    /// (`gitmodules(5)`), which is then on the same host.
    ///
    /// # Errors
    /// The first rule that the URL breaks.
    pub fn join(&self, text: &str) -> Result<Self, ParseUrlError> {
        if !text.starts_with("./") && !text.starts_with("../") {
            return Self::parse(text);
        }
        let start = self.0.find("://").map_or(0, |at| at + 3);
        let mut base = self.0.trim_end_matches('/');
        let mut rest = text;
        loop {
            if let Some(below) = rest.strip_prefix("./") {
                rest = below;
            } else if let Some(below) = rest.strip_prefix("../") {
                rest = below;
                let (parent, _) = base
                    .rsplit_once('/')
                    .filter(|_| base[start..].contains('/'))
                    .ok_or(ParseUrlError::Dots)?;
                base = parent;
            } else {
                return Self::parse(&format!("{base}/{rest}"));
            }
        }
    }
}

impl fmt::Display for RepositoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_authority(authority: &str) -> Result<(), ParseUrlError> {
    if authority.contains('@') {
        return Err(ParseUrlError::Credentials);
    }
    let (host, port) = split_port(authority);
    let address = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let is_address = address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let is_name = !host.is_empty() && !host.starts_with(['-', '.']) && host.chars().all(is_allowed);
    if !is_address && !is_name {
        return Err(ParseUrlError::Host);
    }
    let is_port = |digits: &str| {
        digits.bytes().all(|b| b.is_ascii_digit())
            && digits.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if port.is_none_or(is_port) {
        Ok(())
    } else {
        Err(ParseUrlError::Port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_urls_as_given() {
        for url in [
            "https://example.org/a/b.git",
            "http://127.0.0.1:8000/x",
            "https://[::1]:443/x/",
            "https://example.org",
            "https://git.example.org/~user/a+b%20c@v1",
        ] {
            assert_eq!(RepositoryUrl::parse(url).unwrap().as_str(), url);
        }
    }

    #[test]
    fn refuses_what_is_no_plain_url() {
        use ParseUrlError::*;
        let cases = [
            ("", Scheme),
            ("file:///etc", Scheme),
            ("ssh://git@example.org/x", Scheme),
            ("ext::sh -c id", Scheme),
            ("git@example.org:x", Scheme),
            ("HTTPS://example.org/x", Scheme),
            ("--upload-pack=x", Scheme),
            (" https://example.org/x", Scheme),
            ("https://example.org/a b", Character { character: ' ' }),
            ("https://example.org/a\nb", Character { character: '\n' }),
            ("https://example.org\\@evil/", Character { character: '\\' }),
            ("https://exämple.org/", Character { character: 'ä' }),
            ("https://user@example.org/x", Credentials),
            ("https://user:secret@example.org/x", Credentials),
            ("https://example.org/x?service=git", Query),
            ("https://example.org/x#y", Query),
            ("https:///x", Host),
            ("https://-oops/x", Host),
            ("https://[::zz]/x", Host),
            ("https://[::1]x/", Host),
            ("https://example.org:/x", Port),
            ("https://example.org:0/x", Port),
            ("https://example.org:65536/x", Port),
            ("https://example.org:+1/x", Port),
            ("https://example.org/a/../b", Dots),
        ];
        for (text, error) in cases {
            assert_eq!(RepositoryUrl::parse(text), Err(error), "{text}");
        }
        let long = format!("https://example.org/{}", "x".repeat(MAX_URL_BYTES));
        assert!(matches!(RepositoryUrl::parse(&long), Err(TooLong { .. })));
    }

    #[test]
    fn joins_relative_urls_without_leaving_the_host() {
        let base = RepositoryUrl::parse("https://example.org/a/b.git/").unwrap();
        let joined = |text: &str| base.join(text).map(|url| url.0);
        assert_eq!(joined("../c.git").unwrap(), "https://example.org/a/c.git");
        assert_eq!(joined("./c").unwrap(), "https://example.org/a/b.git/c");
        assert_eq!(joined("../../d").unwrap(), "https://example.org/d");
        assert_eq!(joined("../../../evil.org/d"), Err(ParseUrlError::Dots));
        assert_eq!(joined("../x/../../y"), Err(ParseUrlError::Dots));
        assert_eq!(joined("/etc"), Err(ParseUrlError::Scheme));
        assert_eq!(joined("-u./x"), Err(ParseUrlError::Scheme));
    }
}
