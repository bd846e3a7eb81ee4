//! Where registries sent cargo for archives. Comes in: what cargo traces of its downloads. Goes out: the last URL of each
//! archive that was not where its registry says; everything that is no trace, to the log. Never: a guess which archive a
//! redirect was for.
//!
//! Cargo downloads several archives at a time, and its trace does not say which of them a redirect is for. So it is looked
//! only whether there was one. If so, each archive is removed and fetched once more, alone: what the trace then says is
//! about it, and these are the bytes that are checked and used.
//!
//! A server can make cargo print lines that look like a trace, in the text of an error. In the first run this can only
//! bring the second about; in the second an error is the end.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Instant;

use crate::sandbox::{CommandSpec, OutputSink, Stream};
use crate::source::redirect::{Headers, quoted};
use crate::toolchain::untrusted::Untrusted;
use crate::toolchain::{Context, Log, Phase, ToolchainError, blocking};

use super::answer::Answer;
use super::lockfile::Locked;

/// What makes cargo trace what curl says of its downloads (The Cargo Book, "Environment Variables"; cargo 1.95).
pub(super) const TRACE: [(&str, &str); 2] = [("CARGO_HTTP_DEBUG", "true"), ("CARGO_LOG", "network=debug")];

/// Lets an error that could be a passing one end cargo, so that nothing of it is among what is read of a run that succeeded.
const NO_RETRY: (&str, &str) = ("CARGO_NET_RETRY", "0");

/// How often an archive is asked for alone, should the network fail.
const ATTEMPTS: usize = 3;

/// Longest line of the trace that is read, in bytes.
const MAX_TRACE_LINE_BYTES: usize = 8192;

/// What a line of the trace has after the seconds since the start.
const MARK: &str = "s DEBUG network: ";

/// Most bytes before the mark: seconds with nine decimals.
const MAX_TIME_BYTES: usize = 24;

/// How cargo says that it begins with an archive: `downloading NAME vVERSION as NUMBER`. Of indexes it names no version.
const DOWNLOADING: &str = "downloading ";

/// How curl says that it follows a redirect, or asks again where a connection was lost; a quote follows.
const FOLLOWS: &str = "http-debug: * Issue another request to this URL: '";

/// How cargo marks a header that came.
const RECEIVED: &str = "http-debug: < ";

/// How cargo begins to print the version of curl, line by line.
const VERSION: &str = "Version {";

/// The last URL of each archive that was redirected, by the folder of its registry and its name.
pub(super) type Redirects = BTreeMap<(OsString, String), String>;

/// Runs `cargo fetch`, and returns whether an archive was redirected.
pub(super) async fn fetch(
    spec: &CommandSpec,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<bool, ToolchainError> {
    run(spec, context, log).await.map(|trace| trace.follows)
}

/// Fetches the archives of `packages` once more with `spec`, each alone, and finds out where each came from; `fetched` is
/// the `CARGO_HOME` that has them. Together they may take until `deadline`.
pub(super) async fn find(
    packages: &[Locked],
    mut spec: CommandSpec,
    fetched: &Path,
    deadline: Instant,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<Redirects, ToolchainError> {
    spec.environment.insert(NO_RETRY.0.to_owned(), NO_RETRY.1.to_owned());
    let names: Vec<_> = packages.iter().map(Locked::archive).collect();
    let home = fetched.to_owned();
    let archives = blocking(move || Ok(archives(&names, &home)?)).await?;
    let mut found = Redirects::new();
    for (cache, name) in archives {
        for attempt in 1..=ATTEMPTS {
            let (home, folder, file) = (fetched.to_owned(), cache.clone(), name.clone());
            blocking(move || Ok(cache_folder(&home, &folder)?.remove(file)?)).await?;
            spec.time_limit = deadline.saturating_duration_since(Instant::now());
            match run(&spec, context, log).await {
                Ok(trace) => {
                    found.extend(trace.last.map(|url| ((cache.clone(), name.clone()), quoted(&url))));
                    break;
                }
                Err(ToolchainError::Failed { .. }) if attempt < ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}

/// Only cargo itself runs in this phase, so that what it complains about can be told apart by its text.
async fn run(spec: &CommandSpec, context: &Context<'_>, log: &mut dyn Log) -> Result<Trace, ToolchainError> {
    let mut traced = Traced { answer: Answer::new("cargo fetch", log), trace: Trace::default() };
    let run = context.runner.run(spec, &mut traced).await;
    traced.end()?;
    traced.answer.judge(run, Phase::Fetch)?;
    Ok(traced.trace)
}

/// The archives named `names` that cargo has, each with the folder of its registry.
fn archives(names: &[String], fetched: &Path) -> io::Result<Vec<(OsString, String)>> {
    let mut archives = Vec::new();
    for cache in Untrusted::open(fetched)?.folder(CACHES)?.names()? {
        let folder = cache_folder(fetched, &cache)?;
        let here = names.iter().filter(|name| folder.kind(name).is_ok());
        archives.extend(here.map(|name| (cache.clone(), name.clone())));
    }
    Ok(archives)
}

/// Where cargo keeps archives, a folder for each registry.
pub(super) const CACHES: &str = "registry/cache";

fn cache_folder(fetched: &Path, cache: &OsString) -> io::Result<Untrusted> {
    Untrusted::open(fetched)?.folder(Path::new(CACHES).join(cache))
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
    /// Whether curl followed something for an archive, whichever it was.
    follows: bool,
    headers: Headers,
    is_redirected: bool,
    /// The last URL that was asked because of a redirect, where one archive is downloaded: headers of several can mix.
    last: Option<String>,
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
            Line::Trace if trace.line.len() < MAX_TRACE_LINE_BYTES && byte != b'\n' => trace.line.push(byte),
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
        if self.trace.kind == Line::Unknown { self.answer.chunk(Stream::Stderr, &rest) } else { Ok(()) }
    }
}

impl Trace {
    /// What the line is, as far as its beginning tells.
    fn classify(&mut self) -> Line {
        let is_time = |byte: &u8| byte.is_ascii_digit() || b" .".contains(byte);
        if self.in_version {
            self.in_version = matches!(self.line[0], b' ' | b'}');
            if self.in_version {
                return Line::Trace;
            }
        }
        let length = self.line.iter().position(|byte| !is_time(byte)).unwrap_or(self.line.len());
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
        let Some((_, said)) = line.split_once(MARK) else { return };
        if said == VERSION {
            self.in_version = true;
        } else if let Some(what) = said.strip_prefix(DOWNLOADING) {
            self.are_archives |= what.split(' ').nth(1).is_some_and(|word| word.starts_with('v'));
        } else if let Some(header) = said.strip_prefix(RECEIVED) {
            self.is_redirected |= self.are_archives && self.headers.location(header).is_some();
        } else if let Some(url) = said.strip_prefix(FOLLOWS).filter(|_| self.are_archives) {
            self.follows = true;
            self.last = self.is_redirected.then(|| url.strip_suffix('\'').unwrap_or(url).to_owned());
        }
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
        if other.is_empty() { Ok(()) } else { self.answer.chunk(stream, &other) }
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

    /// What is left of a text for the log, and what was read of it, cut into chunks of every size.
    fn divided(text: &str) -> (String, bool, Option<String>) {
        let divide = |size| {
            let mut log = Kept::default();
            let mut traced = Traced { answer: Answer::new("cargo fetch", &mut log), trace: Trace::default() };
            for chunk in text.as_bytes().chunks(size) {
                traced.chunk(Stream::Stderr, chunk).unwrap();
            }
            traced.end().unwrap();
            let Trace { follows, last, .. } = traced.trace;
            (String::from_utf8(log.0).unwrap(), follows, last)
        };
        let whole = divide(text.len());
        assert!((1..100).all(|size| divide(size) == whole), "{text}");
        whole
    }

    fn trace(lines: &[&str]) -> String {
        lines.iter().map(|line| format!("   0.012345678s DEBUG network: {line}\n")).collect()
    }

    const ARCHIVE: &str = "downloading a v1.0.0 as 0";
    const MOVED: [&str; 2] = ["http-debug: < HTTP/2 302 ", "http-debug: < location: /b"];

    #[test]
    fn the_last_url_is_where_curl_went_after_a_redirect_of_an_archive() {
        let follows = |url: &str| format!("http-debug: * Issue another request to this URL: '{url}'");
        let [first, last] = ["https://h/b", "https://i/it's"].map(follows);
        let [status, location] = MOVED;
        for (lines, expected) in [
            (vec![ARCHIVE, status, location, &*first], (true, Some("https://h/b"))),
            (vec![ARCHIVE, status, location, &*first, status, location, &*last], (true, Some("https://i/it's"))),
            // A connection was lost, and curl asked the same again.
            (vec![ARCHIVE, &*first], (true, None)),
            (vec![ARCHIVE, "http-debug: < HTTP/2 200 ", location, &*first], (true, None)),
            // Of an index.
            (vec!["downloading le/af/leaf as 1", status, location, &*first, ARCHIVE], (false, None)),
            (vec![ARCHIVE, status, location], (false, None)),
        ] {
            let (rest, follows, url) = divided(&trace(&lines));
            assert_eq!((&*rest, follows, url.as_deref()), ("", expected.0, expected.1), "{lines:?}");
        }
    }

    #[test]
    fn what_is_no_trace_is_the_logs() {
        let version = "Version {\n    version: \"8.15.0\",\n    protocols: [\n        \"https\",\n    ],\n}";
        let other = "    Updating `own` index\n\n 1.5 of 3\n  12.5s DEBUG other: x\nremote: 10%\rremote: 20%\r\n\
                     9.9s DEBUG network\n   0.012345678s DEBUG networks: x\n";
        let long = trace(&[&"x".repeat(2 * MAX_TRACE_LINE_BYTES)]);
        let all = [other, &trace(&[version]), other, &long, " Downloading crates ...\n", &trace(&["}"]), "no end, 1.2"];
        assert_eq!(divided(&all.concat()).0, [other, other, " Downloading crates ...\n", "no end, 1.2"].concat());
        assert_eq!(divided("   0.1s DEB").0, "   0.1s DEB");
    }
}
