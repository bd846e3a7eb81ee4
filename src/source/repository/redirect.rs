//! Finds out where the server of a repository redirects to.
//!
//! * In: a URL, and the headers of one request that git prints (`GIT_TRACE_CURL`, git 2.47).
//! * Out: the URL to fetch from instead, on the same host, port and scheme.
//! * Never: another host, port or scheme, or a URL that a client could not have given.
//!
//! Git itself follows nothing (`http.followRedirects=false`), so no redirect can change what is
//! fetched; this module decides whether the other URL is fetched from instead.
//!
//! A server can make git print text that looks like a header. It gains nothing by that: it could
//! have sent the header.

use std::io;
use std::time::Duration;

use super::plan::{GitBinaryError, Remote, ask, binary};
use super::url::{ParseUrlError, RepositoryUrl};
use crate::sandbox::{OutputSink, Run, RunError, Stream};
use crate::source::redirect::{Endpoint, Headers, MAX_REDIRECTS, quoted, resolve};

/// Path and query of git's first request to a server of its own protocol (git, `http-protocol`).
const FIRST_REQUEST: &str = "/info/refs?service=git-upload-pack";

/// The path without the query, which servers of plain files redirect to.
const FIRST_REQUEST_OF_FILES: &str = "/info/refs";

/// The mark in git's trace before a header that was received.
const RECEIVED: &str = "<= Recv header: ";

/// The name of git's source file that writes the trace. It precedes the mark.
const TRACED_BY: &str = "http.c:";

/// Longest line of the trace that is read, in bytes.
const MAX_TRACE_LINE_BYTES: usize = 8192;

/// Why a redirect is not followed. `from` is the URL that was requested, `to` is the one that the
/// server redirects to, escaped and cut.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum RedirectError {
    #[error(
        "the server redirects {from} to {to}, which is another host, port or scheme: name that \
         URL, if it is the one that is meant"
    )]
    Elsewhere { from: RepositoryUrl, to: String },
    /// A URL that names no repository. `source` is missing if the URL does not end as git's request
    /// does.
    #[error("the server redirects {from} to {to}, which is no URL of a repository")]
    Unusable {
        from: RepositoryUrl,
        to: String,
        source: Option<ParseUrlError>,
    },
    /// Too many redirects, the first from `from`, the last to `to`.
    #[error("the server redirects {from} more than {limit} times, the last time to {to}")]
    TooMany {
        from: RepositoryUrl,
        to: RepositoryUrl,
        limit: usize,
    },
    /// The other URL would be recorded in provenance.
    #[error("the server redirects {from} to a URL that contains the token")]
    Token { from: RepositoryUrl },
    #[error(transparent)]
    Git(#[from] GitBinaryError),
    #[error("git could not be run")]
    Run(#[source] RunError),
}

impl RedirectError {
    /// Returns whether this is an internal error and no fault of the server.
    pub fn is_fault(&self) -> bool {
        matches!(self, Self::Git(_) | Self::Run(_))
    }
}

/// Asks the server of `url` once and returns the URL that it redirects to. Returns `None` if it
/// does not redirect, or does not respond at all: the fetch reports that better.
///
/// # Errors
/// The redirect must not be followed, or the sandbox failed.
pub(super) async fn one_step(
    runner: &dyn Run,
    (url, token): Remote<'_>,
    time_limit: Duration,
) -> Result<Option<RepositoryUrl>, RedirectError> {
    let mut trace = Trace::default();
    let spec = ask(binary()?, (url, token), time_limit);
    runner
        .run(&spec, &mut trace)
        .await
        .map_err(RedirectError::Run)?;
    let Some(location) = trace.location else {
        return Ok(None);
    };
    if token.is_some_and(|token| token.is_in(location.as_bytes())) {
        return Err(RedirectError::Token { from: url.clone() });
    }
    target(url, &location).map(Some)
}

/// Follows the redirects of `url` on its host, port and scheme, without a token. Returns the URL
/// that no longer redirects, which is `url` itself if there was no redirect.
///
/// # Errors
/// A redirect must not be followed, or the sandbox failed.
pub async fn settle(
    runner: &dyn Run,
    url: &RepositoryUrl,
    time_limit: Duration,
) -> Result<RepositoryUrl, RedirectError> {
    let mut last = url.clone();
    for _ in 0..=MAX_REDIRECTS {
        match one_step(runner, (&last, None), time_limit).await? {
            Some(next) => last = next,
            None => return Ok(last),
        }
    }
    Err(RedirectError::TooMany {
        from: url.clone(),
        to: last,
        limit: MAX_REDIRECTS,
    })
}

/// Returns the repository that `location` names, in the response to git's first request to `from`.
fn target(from: &RepositoryUrl, location: &str) -> Result<RepositoryUrl, RedirectError> {
    let base = from.as_str().trim_end_matches('/');
    let to = resolve(&format!("{base}{FIRST_REQUEST}"), location);
    let repository = to
        .strip_suffix(FIRST_REQUEST)
        .or_else(|| to.strip_suffix(FIRST_REQUEST_OF_FILES));
    let shown = || quoted(repository.unwrap_or(&to));
    if Endpoint::of(from.as_str()) != Endpoint::of(&to) {
        return Err(RedirectError::Elsewhere {
            from: from.clone(),
            to: shown(),
        });
    }
    let Some(repository) = repository else {
        return Err(RedirectError::Unusable {
            from: from.clone(),
            to: shown(),
            source: None,
        });
    };
    RepositoryUrl::parse(repository).map_err(|error| RedirectError::Unusable {
        from: from.clone(),
        to: shown(),
        source: Some(error),
    })
}

/// Receives git's trace and keeps the first redirect.
#[derive(Default)]
struct Trace {
    line: Vec<u8>,
    headers: Headers,
    location: Option<String>,
}

impl Trace {
    fn end_line(&mut self) {
        let bytes = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&bytes);
        let Some((before, header)) = line.split_once(RECEIVED) else {
            return;
        };
        if !before.contains(TRACED_BY) {
            return;
        }
        if let Some(location) = self.headers.location(header) {
            self.location.get_or_insert_with(|| location.to_owned());
        }
    }
}

impl OutputSink for Trace {
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        if stream == Stream::Stdout {
            return Ok(());
        }
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                byte if self.line.len() < MAX_TRACE_LINE_BYTES => self.line.push(*byte),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> RepositoryUrl {
        RepositoryUrl::parse(text).unwrap()
    }

    fn traced(lines: &[&str]) -> Option<String> {
        let mut trace = Trace::default();
        for line in lines {
            for chunk in format!("{line}\n").as_bytes().chunks(7) {
                trace.chunk(Stream::Stderr, chunk).unwrap();
            }
        }
        trace.location
    }

    #[test]
    fn reads_the_location_of_a_redirect_and_of_nothing_else() {
        let mark = "08:12:43.997994 http.c:872              <= Recv header: ";
        let header = |text: &str| format!("{mark}{text}");
        let location = header("Location: http://x/info/refs");
        for (status, expected) in [
            ("HTTP/1.1 302 Found", true),
            ("HTTP/2 308", true),
            ("HTTP/1.1 200 OK", false),
            ("HTTP/1.1 304", true),
            ("HTTP/1.1 204", false),
        ] {
            let found = traced(&[
                &header(status),
                &header("Server: y"),
                &location,
                &header(""),
            ]);
            assert_eq!(found.is_some(), expected, "{status}");
        }
        let lower = header("location:   /y");
        assert_eq!(
            traced(&[&header("HTTP/2 301"), &lower, &location]).as_deref(),
            Some("/y")
        );
        assert_eq!(traced(&[&location]), None);
        let said = "remote: <= Recv header: HTTP/1.1 302 Found";
        assert_eq!(
            traced(&[said, "remote: <= Recv header: Location: /z"]),
            None
        );
    }

    #[test]
    fn a_redirect_on_the_same_host_port_and_scheme_is_the_url_to_ask() {
        let asked = "/info/refs?service=git-upload-pack";
        for (from, location, expected) in [
            (
                "https://h/a/b",
                format!("https://h/a/b.git{asked}"),
                "https://h/a/b.git",
            ),
            (
                "https://h/a/b/",
                format!("https://H:443/a/b.git{asked}"),
                "https://H:443/a/b.git",
            ),
            (
                "https://h:8/a/b",
                format!("/new/b{asked}"),
                "https://h:8/new/b",
            ),
            (
                "https://h/a",
                "/files/info/refs".to_owned(),
                "https://h/files",
            ),
        ] {
            assert_eq!(target(&url(from), &location).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn a_redirect_to_another_host_port_or_scheme_is_refused_with_both_urls() {
        let asked = "/info/refs?service=git-upload-pack";
        let from = url("https://good.example/a");
        for to in [
            "https://evil.example/a",
            "https://good.example.evil/a",
            "https://good.example:444/a",
            "http://good.example/a",
            "http://good.example:443/a",
            "https://good.example@evil.example/a",
            "//evil.example/a",
            "file:///etc",
            "ext::sh",
        ] {
            let error = target(&from, &format!("{to}{asked}")).unwrap_err();
            assert!(
                matches!(error, RedirectError::Elsewhere { .. }),
                "{to}: {error}"
            );
            let message = error.to_string();
            assert!(message.contains("https://good.example/a "), "{message}");
            assert!(message.contains(to.trim_start_matches('/')), "{message}");
        }
    }

    #[test]
    fn a_redirect_to_no_repository_is_refused() {
        let from = url("https://good.example/a");
        for to in [
            "https://good.example/login",
            "https://user@good.example/a/info/refs?service=git-upload-pack",
            "https://good.example/../b/info/refs?service=git-upload-pack",
            "https://good.example/b?x/info/refs?service=git-upload-pack",
        ] {
            let error = target(&from, to).unwrap_err();
            assert!(
                matches!(error, RedirectError::Unusable { .. }),
                "{to}: {error}"
            );
        }
    }
}
