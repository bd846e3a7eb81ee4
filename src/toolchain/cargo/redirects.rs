//! Where registries sent cargo for archives. Comes in: what cargo traces of its downloads. Goes out: the last URL of each
//! archive for which a server redirected; everything that is no trace, to the log. Never: a guess which archive a redirect
//! was for, or a URL that could not be read to its end.
//!
//! Cargo downloads several archives at a time, and its trace does not say which of them a redirect is for. So the first run
//! only tells whether there was one. If so, each archive is removed and fetched once more, alone: what the trace then says is
//! about it, and these are the bytes that are checked and used.
//!
//! What is read are curl's own words, which no server writes: curl decides what a redirect is. In the text of an error a
//! server can make cargo print lines that look like a trace. In the first run this can only bring the second about; in the
//! second, an error ends cargo, and the archive is fetched again by another one.

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

/// What makes cargo trace what curl says of its downloads (The Cargo Book, "Environment Variables"; cargo 1.95).
pub(super) const TRACE: [(&str, &str); 2] =
    [("CARGO_HTTP_DEBUG", "true"), ("CARGO_LOG", "network=debug")];

/// Makes cargo stop at the first error, so that the trace of a run that succeeds holds no text of a server's.
const NO_RETRY: (&str, &str) = ("CARGO_NET_RETRY", "0");

/// How long is waited before an archive is asked for again, each time.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// Longest line of the trace that is read, in bytes.
const MAX_TRACE_LINE_BYTES: usize = 8192;

/// What a line of the trace has after the seconds since the start.
const MARK: &str = "s DEBUG network: ";

/// Most bytes before the mark: seconds with nine decimals.
const MAX_TIME_BYTES: usize = 24;

/// How cargo says that it begins with an archive: `downloading NAME vVERSION as NUMBER`. Of indexes it names no version.
const DOWNLOADING: &str = "downloading ";

/// How cargo marks what curl says of itself.
const CURL: &str = "http-debug: * ";

/// How cargo shows what is no text: `(NUMBER bytes of data)`.
const NO_TEXT: &str = " bytes of data)";

/// How cargo begins to print the version of curl, line by line.
const VERSION: &str = "Version {";

/// Runs `cargo fetch`, and returns whether an archive was redirected.
pub(super) async fn fetch(
    spec: &CommandSpec,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<bool, ToolchainError> {
    run(spec, context, log)
        .await
        .map(|trace| trace.last.is_some())
}

/// Fetches the archives of `packages` once more with `spec`, each alone, and finds out where each came from; `fetched` is
/// the `CARGO_HOME` that has them. Together they may take as long as `spec` says.
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
            let last = alone(&mut spec, &directory, name, left, context, log).await;
            let url = match last.map_err(|error| error.within(limit))? {
                None => continue,
                Some(Followed::Url(url)) => recorded(&url),
                Some(Followed::Unreadable) => None,
            };
            let url = url.ok_or_else(|| ToolchainError::UnreadableUrl {
                download: name.clone(),
            })?;
            found.insert((cache.clone(), name.clone()), url);
        }
    }
    Ok(found)
}

/// Fetches one archive once more, and returns where curl went last for it. A failure may be a passing one.
async fn alone(
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
                    "{name} is asked for again in {} s",
                    pause.as_secs()
                ))?;
                tokio::time::sleep(pause).await;
            }
            (ended, _) => return ended.map(|trace| trace.last),
        }
    }
}

/// Only cargo itself runs in this phase, so that what it complains about can be told apart by its text.
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

/// Divides standard error into the trace, which is read, and the rest, which is an answer's.
struct Traced<'a> {
    answer: Answer<'a>,
    trace: Trace,
}

/// What was read of a trace.
#[derive(Debug, Default)]
struct Trace {
    /// The beginning of the line, while it can be a line of the trace, and of one that is.
    line: Vec<u8>,
    kind: Line,
    in_version: bool,
    are_archives: bool,
    follows: Follows,
    /// Where curl went last for an archive, if not to where the registry says.
    last: Option<Followed>,
}

/// The place that curl went to.
#[derive(Debug, PartialEq, Eq)]
enum Followed {
    Url(String),
    /// It is too long, or no text.
    Unreadable,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Line {
    #[default]
    Unknown,
    Trace,
    Other,
}

impl Traced<'_> {
    fn byte(&mut self, byte: u8, other: &mut Vec<u8>) {
        let trace = &mut self.trace;
        match trace.kind {
            Line::Other => other.push(byte),
            Line::Trace if trace.line.len() < MAX_TRACE_LINE_BYTES && byte != b'\n' => {
                trace.line.push(byte)
            }
            Line::Trace => {}
            Line::Unknown => {
                trace.line.push(byte);
                trace.kind = trace.classify();
                if trace.kind == Line::Other {
                    other.append(&mut trace.line);
                }
            }
        }
        if byte == b'\n' {
            if trace.kind == Line::Trace {
                trace.end_line();
            }
            trace.line.clear();
            trace.kind = Line::Unknown;
        }
    }

    /// Hands on what is left of a last line without an end.
    fn end(&mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.trace.line);
        if self.trace.kind == Line::Unknown {
            self.answer.chunk(Stream::Stderr, &rest)
        } else {
            Ok(())
        }
    }
}

impl Trace {
    /// What the line is, as far as its beginning tells.
    fn classify(&mut self) -> Line {
        if self.in_version {
            match of_version(&self.line) {
                Line::Other => self.in_version = false,
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
            () if length > MAX_TIME_BYTES || (length == 0 && !rest.is_empty()) => Line::Other,
            () if rest == MARK.as_bytes() => Line::Trace,
            () if MARK.as_bytes().starts_with(rest) => Line::Unknown,
            () => Line::Other,
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line);
        if line == "}" {
            self.in_version = false;
        }
        let Some((_, said)) = line.split_once(MARK) else {
            return;
        };
        self.in_version = said == VERSION;
        if let Some(what) = said.strip_prefix(DOWNLOADING) {
            self.are_archives |= what
                .split(' ')
                .nth(1)
                .is_some_and(|word| word.starts_with('v'));
        }
        let Some(said) = said.strip_prefix(CURL).filter(|_| self.are_archives) else {
            return;
        };
        match self.follows.url(said) {
            Ok(Some(url)) => self.last = Some(Followed::Url(url.to_owned())),
            Err(_) => self.last = Some(Followed::Unreadable),
            Ok(None) if said.starts_with('(') && said.ends_with(NO_TEXT) => {
                self.last = Some(Followed::Unreadable)
            }
            Ok(None) => {}
        }
    }
}

/// What a line is in the version of curl, as far as its beginning tells: a member, a protocol, or an end.
fn of_version(line: &[u8]) -> Line {
    let spaces = line.iter().take_while(|byte| **byte == b' ').count();
    match (spaces, line.get(spaces)) {
        (0..8, None) => Line::Unknown,
        (4, Some(b'a'..=b'z' | b']')) | (8, Some(b'"') | None) | (0, Some(b'}')) => Line::Trace,
        _ => Line::Other,
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

    /// What is left of a text for the log, and where curl went last, cut into chunks of every size.
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
            // Of an index.
            (vec!["downloading le/af/leaf as 1", &*first, ARCHIVE], None),
            (
                vec![
                    ARCHIVE,
                    "http-debug: < HTTP/2 302",
                    "http-debug: < location: /b",
                ],
                None,
            ),
            // curl cuts what it says, and cargo shows no bytes.
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
