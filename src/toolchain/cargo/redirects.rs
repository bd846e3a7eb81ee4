//! Finds out where registries redirected cargo for archives.
//!
//! * In: cargo's trace of its downloads.
//! * Out: the last URL of each archive for which a server redirected; everything that is not a
//!   trace goes to the log.
//! * Never: a guess which archive a redirect was for, or a URL that could not be read to its end.
//!
//! Cargo downloads several archives at a time, and its trace does not tell which of them a redirect
//! is for. So the first run only tells whether there was a redirect. If so, each archive is removed
//! and fetched again, alone: the trace is then about that archive, and these are the bytes that are
//! checked and used.
//!
//! Only curl's own messages are read, which no server writes: curl decides what a redirect is. A
//! server can put lines that look like a trace into an error message that cargo prints. In the
//! first run they can only cause the second one; in the second run an error ends cargo, and the
//! archive is fetched again by another cargo process.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::sandbox::{CommandSpec, OutputSink, Stream};
use crate::source::redirect::{Follows, recorded};
use crate::toolchain::untrusted::Untrusted;
use crate::toolchain::{Context, Log, Phase, ToolchainError};

use super::answer::Answer;
use super::lockfile::Locked;
use super::vendor::{self, Redirects};

/// The variables that make cargo trace curl's messages about its downloads (The Cargo Book,
/// "Environment Variables"; cargo 1.95).
pub(super) const TRACE: [(&str, &str); 2] =
    [("CARGO_HTTP_DEBUG", "true"), ("CARGO_LOG", "network=debug")];

/// Makes cargo stop at the first error, so that the trace of a run that succeeds has no text from a
/// server.
const NO_RETRY: (&str, &str) = ("CARGO_NET_RETRY", "0");

/// The pauses before an archive is requested again.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// The length of the longest line of the trace that is read, in bytes.
const MAX_TRACE_LINE_BYTES: usize = 8192;

/// The mark of a line of the trace; the seconds since the start precede it.
const MARK: &str = "s DEBUG network: ";

/// The most bytes before the mark: seconds with nine decimals.
const MAX_TIME_BYTES: usize = 24;

/// The beginning of the line for a new download: `downloading NAME vVERSION as NUMBER` for an
/// archive; the line for an index has no version.
const DOWNLOADING: &str = "downloading ";

/// The mark of curl's own messages.
const CURL: &str = "http-debug: * ";

/// The end of the words that cargo prints in place of bytes that are not text:
/// `(NUMBER bytes of data)`.
const NO_TEXT: &str = " bytes of data)";

/// The first line of the version of curl, which cargo prints line by line.
const VERSION: &str = "Version {";

/// Runs `cargo fetch`, and returns whether an archive was redirected.
pub(super) async fn fetch(
    spec: &CommandSpec,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<bool, ToolchainError> {
    let trace = run(spec, context, log).await?;
    Ok(trace.last.is_some())
}

/// Fetches the archives of `packages` again with `spec`, each alone, and returns the last URL of
/// each one that was redirected.
///
/// `fetched` is the `CARGO_HOME` that has the archives. Together they may take as long as the limit
/// of `spec`.
pub(super) async fn find(
    packages: &[Locked],
    mut spec: CommandSpec,
    fetched: &Path,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<Redirects, ToolchainError> {
    let (started, limit) = (Instant::now(), spec.time_limit);
    spec.environment
        .insert(NO_RETRY.0.to_owned(), NO_RETRY.1.to_owned());
    let names: BTreeSet<_> = packages.iter().map(Locked::archive).collect();
    let mut found = Redirects::new();
    for (cache, directory) in vendor::caches(fetched)? {
        for name in &names {
            if !directory.has(name)? {
                continue;
            }
            let left = || limit.saturating_sub(started.elapsed());
            let last = fetch_alone(&mut spec, &directory, name, left, context, log)
                .await
                .map_err(|error| error.within(limit))?;
            let Some(followed) = last else { continue };
            let url = followed.recorded(name)?;
            found.insert((cache.clone(), name.clone()), url);
        }
    }
    Ok(found)
}

/// Fetches one archive again, and returns where curl went last for it.
///
/// A failed attempt is repeated: the failure may be temporary.
async fn fetch_alone(
    spec: &mut CommandSpec,
    directory: &Untrusted,
    name: &str,
    left: impl Fn() -> Duration,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<Option<Followed>, ToolchainError> {
    let mut pauses = PAUSES.into_iter();
    loop {
        directory.remove(name)?;
        spec.time_limit = left();
        match (run(spec, context, log).await, pauses.next()) {
            (Err(ToolchainError::Failed { .. }), Some(pause)) => {
                log.note(&format!(
                    "{name} is requested again in {} s",
                    pause.as_secs()
                ))?;
                tokio::time::sleep(pause).await;
            }
            (ended, _) => return ended.map(|trace| trace.last),
        }
    }
}

/// Runs `cargo fetch`, and returns its trace.
///
/// Only cargo itself runs in this phase, so its errors can be recognised by their text.
async fn run(
    spec: &CommandSpec,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<Trace, ToolchainError> {
    let mut traced = Traced {
        answer: Answer::new("cargo fetch", log),
        trace: Trace::default(),
    };
    let run = context.runner.run(spec, &mut traced).await;
    traced.end()?;
    traced.answer.judge(run, Phase::Fetch)?;
    Ok(traced.trace)
}

/// Divides standard error into the trace, which is read, and the rest, which goes to the log.
struct Traced<'a> {
    answer: Answer<'a>,
    trace: Trace,
}

/// The state of reading a trace.
#[derive(Debug, Default)]
struct Trace {
    /// The beginning of the current line, unless it is known not to be of the trace.
    line: Vec<u8>,
    kind: LineKind,
    in_version: bool,
    /// Whether cargo has begun to download archives, and not only indexes.
    are_archives: bool,
    follows: Follows,
    /// The last URL that curl followed a redirect to for an archive, if there was a redirect.
    last: Option<Followed>,
}

/// The target of a redirect that curl followed.
#[derive(Debug, PartialEq, Eq)]
enum Followed {
    Url(String),
    /// The URL is too long, or is not text.
    Unreadable,
}

impl Followed {
    /// Returns the URL as a statement has it, for the archive `name`.
    fn recorded(self, name: &str) -> Result<String, ToolchainError> {
        let url = match self {
            Self::Url(url) => recorded(&url),
            Self::Unreadable => None,
        };
        url.ok_or_else(|| ToolchainError::UnreadableUrl {
            download: name.to_owned(),
        })
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum LineKind {
    #[default]
    Unknown,
    Trace,
    Other,
}

impl Traced<'_> {
    /// Takes one byte of standard error; `other` receives the bytes that are not of the trace.
    fn byte(&mut self, byte: u8, other: &mut Vec<u8>) {
        let trace = &mut self.trace;
        match trace.kind {
            LineKind::Other => other.push(byte),
            LineKind::Trace if trace.line.len() < MAX_TRACE_LINE_BYTES && byte != b'\n' => {
                trace.line.push(byte)
            }
            LineKind::Trace => {}
            LineKind::Unknown => {
                trace.line.push(byte);
                trace.kind = trace.classify();
                if trace.kind == LineKind::Other {
                    other.append(&mut trace.line);
                }
            }
        }
        if byte == b'\n' {
            if trace.kind == LineKind::Trace {
                trace.end_line();
            }
            trace.line.clear();
            trace.kind = LineKind::Unknown;
        }
    }

    /// Passes on the rest of a last line that has no end.
    fn end(&mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.trace.line);
        if self.trace.kind == LineKind::Unknown {
            self.answer.chunk(Stream::Stderr, &rest)
        } else {
            Ok(())
        }
    }
}

impl Trace {
    /// Returns what the line is, as far as its beginning tells.
    fn classify(&mut self) -> LineKind {
        if self.in_version {
            match of_version(&self.line) {
                LineKind::Other => self.in_version = false,
                kind => return kind,
            }
        }
        let is_time = |byte: &u8| byte.is_ascii_digit() || b" .".contains(byte);
        let length = self
            .line
            .iter()
            .position(|byte| !is_time(byte))
            .unwrap_or(self.line.len());
        let rest = &self.line[length..];
        match () {
            () if length > MAX_TIME_BYTES || (length == 0 && !rest.is_empty()) => LineKind::Other,
            () if rest == MARK.as_bytes() => LineKind::Trace,
            () if MARK.as_bytes().starts_with(rest) => LineKind::Unknown,
            () => LineKind::Other,
        }
    }

    /// Reads a whole line of the trace.
    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line);
        if line == "}" {
            self.in_version = false;
        }
        let Some((_, text)) = line.split_once(MARK) else {
            return;
        };
        let text = text.to_owned();
        self.in_version = text == VERSION;
        if let Some(download) = text.strip_prefix(DOWNLOADING) {
            let version = download.split(' ').nth(1);
            self.are_archives |= version.is_some_and(|word| word.starts_with('v'));
        }
        if let Some(message) = text.strip_prefix(CURL)
            && self.are_archives
        {
            self.take_message(message);
        }
    }

    /// Reads a message of curl, while archives are downloaded.
    fn take_message(&mut self, message: &str) {
        match self.follows.url(message) {
            Ok(Some(url)) => self.last = Some(Followed::Url(url.to_owned())),
            Err(_) => self.last = Some(Followed::Unreadable),
            Ok(None) if message.starts_with('(') && message.ends_with(NO_TEXT) => {
                self.last = Some(Followed::Unreadable)
            }
            Ok(None) => {}
        }
    }
}

/// Returns what a line is within the version of curl, as far as its beginning tells: a member, a
/// protocol, or an end.
fn of_version(line: &[u8]) -> LineKind {
    let spaces = line.iter().take_while(|byte| **byte == b' ').count();
    match (spaces, line.get(spaces)) {
        (0..8, None) => LineKind::Unknown,
        (4, Some(b'a'..=b'z' | b']')) | (8, Some(b'"') | None) | (0, Some(b'}')) => LineKind::Trace,
        _ => LineKind::Other,
    }
}

impl OutputSink for Traced<'_> {
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        if stream == Stream::Stdout {
            return self.answer.chunk(stream, bytes);
        }
        let mut other = Vec::new();
        for byte in bytes {
            self.byte(*byte, &mut other);
        }
        if other.is_empty() {
            Ok(())
        } else {
            self.answer.chunk(stream, &other)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Kept(Vec<u8>);

    impl Log for Kept {
        fn note(&mut self, _: &str) -> io::Result<()> {
            unreachable!()
        }

        fn output(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
            assert_eq!(stream, Stream::Stderr);
            self.0.extend_from_slice(bytes);
            Ok(())
        }
    }

    /// Returns the part of a text that goes to the log, and where curl went last; the text is cut
    /// into chunks of every size.
    fn divided(text: &str) -> (String, Option<Followed>) {
        let divide = |size| {
            let mut log = Kept::default();
            let mut traced = Traced {
                answer: Answer::new("cargo fetch", &mut log),
                trace: Trace::default(),
            };
            for chunk in text.as_bytes().chunks(size) {
                traced.chunk(Stream::Stderr, chunk).unwrap();
            }
            traced.end().unwrap();
            let last = traced.trace.last;
            (String::from_utf8(log.0).unwrap(), last)
        };
        let whole = divide(text.len());
        assert!((1..100).all(|size| divide(size) == whole), "{text}");
        whole
    }

    fn trace(lines: &[&str]) -> String {
        lines
            .iter()
            .map(|line| format!("   0.012345678s DEBUG network: {line}\n"))
            .collect()
    }

    const FOLLOWS: &str = "Issue another request to this URL: '";
    const ARCHIVE: &str = "downloading a v1.0.0 as 0";

    #[test]
    fn the_last_url_is_where_curl_went_for_an_archive() {
        let follows = |url: &str| format!("{CURL}{FOLLOWS}{url}'");
        let [first, last] = ["https://h/b", "https://i/it's"].map(follows);
        let url = |url: &str| Some(Followed::Url(url.to_owned()));
        let cut = &first[..first.len() - 1];
        for (lines, expected) in [
            (vec![ARCHIVE, &*first], url("https://h/b")),
            (
                vec![
                    ARCHIVE,
                    &*first,
                    "http-debug: < HTTP/2 302",
                    &*last,
                    "http-debug: < HTTP/2 200",
                ],
                url("https://i/it's"),
            ),
            (
                vec![
                    ARCHIVE,
                    "http-debug: * Connection died, retrying a fresh connect (retry count: 1)",
                    &*first,
                ],
                None,
            ),
            // The redirect is for an index.
            (vec!["downloading le/af/leaf as 1", &*first, ARCHIVE], None),
            (
                vec![
                    ARCHIVE,
                    "http-debug: < HTTP/2 302",
                    "http-debug: < location: /b",
                ],
                None,
            ),
            // curl cuts its message, and cargo prints no bytes that are not text.
            (vec![ARCHIVE, cut], Some(Followed::Unreadable)),
            (
                vec![ARCHIVE, "http-debug: * (99 bytes of data)"],
                Some(Followed::Unreadable),
            ),
            (
                vec![
                    ARCHIVE,
                    "http-debug: < (99 bytes of data)",
                    "http-debug: * (304) (IN), TLS",
                ],
                None,
            ),
        ] {
            assert_eq!(
                divided(&trace(&lines)),
                (String::new(), expected),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn what_is_no_trace_is_the_logs() {
        let version =
            "Version {\n    version: \"8.15.0\",\n    protocols: [\n        \"https\",\n    ],\n}";
        let other = "    Updating `own` index\n\n 1.5 of 3\n  12.5s DEBUG other: x\nremote: 10%\rremote: 20%\r\n\
                     9.9s DEBUG network\n   0.012345678s DEBUG networks: x\n";
        // A server can print the beginning of a version, and so hides none of cargo's lines.
        let forged = trace(&["Version {"]) + "  Downloaded a v1.0.0\n";
        assert_eq!(divided(&forged).0, "  Downloaded a v1.0.0\n");
        let long = trace(&[&"x".repeat(2 * MAX_TRACE_LINE_BYTES)]);
        let all = [
            other,
            &trace(&[version]),
            other,
            &long,
            " Downloading crates ...\n",
            &trace(&["}"]),
            "no end, 1.2",
        ];
        assert_eq!(
            divided(&all.concat()).0,
            [other, other, " Downloading crates ...\n", "no end, 1.2"].concat()
        );
        assert_eq!(divided("   0.1s DEB").0, "   0.1s DEB");
    }
}
