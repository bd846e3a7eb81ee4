//! Finds out where the server of a repository sends whoever asks for it. Git is told to follow nothing
//! (`http.followRedirects=false`), so that no redirect can change what is fetched; this decides whether the other URL is
//! asked instead.
//!
//! - Comes in: a URL, and what git prints about the headers of one request (`GIT_TRACE_CURL`, git 2.47).
//! - Goes out: the URL to ask instead, on the same host, port and scheme.
//! - Never: another host, port or scheme, or a URL that a client could not have given.
//!
//! A server can make git print what looks like a header. It gains nothing: it could have sent that header.

use std::io;
use std::time::Duration;

use super::plan::{GitBinaryError, ask, binary};
use super::url::{ParseUrlError, RepositoryUrl};
use crate::sandbox::{OutputSink, Run, RunError, Stream};
use crate::source::redirect::{Endpoint, Headers, MAX_REDIRECTS, quoted, resolve};

/// What git asks for first, after the repository's URL, from servers of its own protocol (git, `http-protocol`).
const FIRST_REQUEST: &str = "/info/refs?service=git-upload-pack";

/// The same, where a server sends everybody to plain files.
const FIRST_REQUEST_OF_FILES: &str = "/info/refs";

/// How git marks a header that came, in its trace.
const RECEIVED: &str = "<= Recv header: ";

/// The file of git's source that writes the trace, in front of the mark.
const TRACED_BY: &str = "http.c:";

/// Longest line of the trace that is read, in bytes.
const MAX_TRACE_LINE_BYTES: usize = 8192;

/// Why a redirect is not followed.
#[derive(Debug, thiserror::Error)]
pub enum RedirectError {
    /// To somebody else, whom nobody asked for.
    #[error(
        "the server redirects {from} to {to}, which is another host, port or scheme: name that URL, if it is the one that \
         is meant"
    )]
    Elsewhere {
        /// The URL that was asked for.
        from: RepositoryUrl,
        /// Where the server sends us, escaped and cut.
        to: String,
    },
    /// To something that is no URL of a repository.
    #[error("the server redirects {from} to {to}, which is no URL of a repository")]
    Unusable {
        /// The URL that was asked for.
        from: RepositoryUrl,
        /// Where the server sends us, escaped and cut.
        to: String,
        /// Why it is none; no reason where it does not go on as git asked.
        source: Option<ParseUrlError>,
    },
    /// Again and again.
    #[error("the server redirects {from} more than {limit} times, the last time to {to}")]
    TooMany {
        /// The URL that was asked for first.
        from: RepositoryUrl,
        /// Where the server sends us last.
        to: RepositoryUrl,
        /// [`MAX_REDIRECTS`].
        limit: usize,
    },
    /// The machine has no git that could be used.
    #[error(transparent)]
    Git(#[from] GitBinaryError),
    /// The sandbox failed.
    #[error("git could not be run")]
    Run(#[source] RunError),
}

impl RedirectError {
    /// Whether the fault is ours, not the server's.
    pub fn is_fault(&self) -> bool {
        matches!(self, Self::Git(_) | Self::Run(_))
    }
}

/// Asks the server of `url` and returns where it sends us, one step; `None` when it answers itself, or not at all: the
/// fetch says that better.
///
/// # Errors
/// A redirect that must not be followed, or a sandbox that failed.
pub(super) async fn one_step(
    runner: &dyn Run,
    url: &RepositoryUrl,
    time_limit: Duration,
) -> Result<Option<RepositoryUrl>, RedirectError> {
    let mut trace = Trace::default();
    let spec = ask(binary()?, url, time_limit);
    runner
        .run(&spec, &mut trace)
        .await
        .map_err(RedirectError::Run)?;
    trace
        .location
        .map(|location| target(url, &location))
        .transpose()
}

/// Follows the redirects of `url`, on its host, port and scheme, and returns the URL that answers; `url` itself where it
/// does.
///
/// # Errors
/// A redirect that must not be followed, or a sandbox that failed.
pub async fn settle(
    runner: &dyn Run,
    url: &RepositoryUrl,
    time_limit: Duration,
) -> Result<RepositoryUrl, RedirectError> {
    let mut last = url.clone();
    for _ in 0..=MAX_REDIRECTS {
        match one_step(runner, &last, time_limit).await? {
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

/// The repository that `location`, the answer to git's first request for `from`, names.
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
    let parsed = RepositoryUrl::parse(repository);
    parsed.map_err(|error| RedirectError::Unusable {
        from: from.clone(),
        to: shown(),
        source: Some(error),
    })
}

/// Takes what git prints while it asks, and keeps the first redirect.
#[derive(Default)]
struct Trace {
    line: Vec<u8>,
    headers: Headers,
    location: Option<String>,
}

impl Trace {
    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let traced = line
            .split_once(RECEIVED)
            .filter(|(before, _)| before.contains(TRACED_BY));
        let Some((_, header)) = traced else { return };
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
