//! Reads the output of nix, and turns its messages into lines of the log.
//!
//! * In: the output of `nix … --log-format internal-json -v`.
//! * Out: lines as nix prints them to the log, the cache that each path came from, the last errors,
//!   and standard output up to a limit.
//! * Never: memory that grows with a line, or a fact from a builder that is taken for nix's own.
//!
//! Each message of nix is one line of standard error, in the form that `message` describes.
//! Builders may write such lines too: nix removes them from the build log and repeats, as messages
//! of its own, a `msg` without `raw_msg`, a phase, and file transfers with their results;
//! everything else stays a line of the log. So a substitution and an error are nix's own messages,
//! while a transfer below a build is the builder's.

mod message;
mod terminal;

use std::collections::{BTreeMap, VecDeque};
use std::io;

use serde_json::Value;

use crate::sandbox::{OutputSink, Stream};
use crate::source::output::Captured;
use crate::toolchain::Log;
use crate::toolchain::lines::{self, HeldLine};

use super::downloads::{Downloads, Redirects};
use super::store_path::StorePath;
use message::{
    BUILD, BUILD_LOG_LINE, BUILD_WAITING, COPY_PATH, DEBUG, FETCH_TREE, FILE_TRANSFER, INFO,
    LAST_SHOWN_DIGIT, MESSAGE_START, MSG_START, Message, POST_BUILD_HOOK, POST_BUILD_LOG_LINE,
    QUERY_PATH_INFO, REALISE, SET_PHASE, SUBSTITUTE, Start, WARN,
};
use terminal::without_codes;

/// The length of the longest message, in bytes. A longer one goes to the log as it is.
const MAX_MESSAGE_BYTES: usize = 256 << 10;

/// The most activities that are known at a time. Others have no known name.
const MAX_ACTIVITIES: usize = 10_000;

/// The most ancestors of an activity that are searched.
const MAX_NESTING: usize = 16;

/// The most paths whose cache is kept.
const MAX_SUBSTITUTED_PATHS: usize = 100_000;

/// The most bytes that are kept of the last errors.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// The most bytes of standard output: enough for nix's list of ten thousand paths.
pub const MAX_ANSWER_BYTES: usize = 16 << 20;

/// The beginning of every warning.
const WARNING: &str = "warning:";

/// The beginning of every error.
const ERROR: &str = "error:";

/// The beginnings of the first line in a list of paths that would be built or fetched.
const LISTS: [&str; 2] = ["this ", "these "];

/// The words that follow in that line.
const LISTED: [&str; 2] = [" will be built:", " will be fetched ("];

/// The beginning of each other line of such a list.
const LIST_ITEM: &str = "  /nix/store/";

/// The beginning of the error of a nix that may not build, for each derivation and for all that
/// need it.
pub(super) const CANNOT_BUILD: &str = "Cannot build '";

/// The words around a recipe from which the evaluation imports.
const IMPORT: (&str, &str) = (
    "warning: built '",
    "' during evaluation due to an import from derivation",
);

/// The line of a trace that names the input that nix locks, up to its name.
const LOCKING: &str = "while updating the flake input '";

/// The number of characters of such a name that are kept.
const MAX_INPUT_NAME: usize = 100;

/// The error of a nix that could not download a path that a cache has.
const REFUSED: &str = "some substitutes for the outputs of derivation";

/// Reads the output of a nix command.
pub struct Progress<'a> {
    log: &'a mut dyn Log,
    filter: LogFilter,
    has_refused: bool,
    line: HeldLine,
    /// Whether the rest of the current line is dropped.
    is_dropping: bool,
    activities: BTreeMap<u64, Activity>,
    caches: BTreeMap<StorePath, String>,
    archives: BTreeMap<StorePath, String>,
    errors: VecDeque<ReportedError>,
    answer: Captured,
    realises: bool,
    downloads: Downloads,
    imports: Vec<StorePath>,
}

/// The messages of nix that the log shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFilter {
    /// The messages that nix itself would show.
    Plain,
    /// The same without the lists of paths that would be built or fetched: another command prints
    /// them.
    Unlisted,
    /// The same without the errors that something cannot be built: a later command builds it.
    Evaluation,
    /// The warnings and errors of a nix that runs no builder, and whose daemon prints everything.
    ///
    /// The daemon's messages come without their level, as if they were errors. The error that
    /// something cannot be built is left out: a later command builds it.
    Terse,
}

/// An error that nix reports.
struct ReportedError {
    text: String,
    /// Whether nix shows a trace of the evaluation before it, as for everything that an expression
    /// throws.
    has_trace: bool,
    /// The input that nix wanted to lock when it happened, by its trace.
    unlocked: Option<String>,
}

struct Activity {
    kind: u64,
    parent: u64,
    /// The name of the package that is built.
    name: Option<String>,
    /// The path that is taken from a cache.
    substituted: Option<StorePath>,
}

impl<'a> Progress<'a> {
    /// Sends the messages that `filter` selects to `log`.
    pub fn new(log: &'a mut dyn Log, filter: LogFilter) -> Self {
        Self {
            log,
            filter,
            has_refused: false,
            line: HeldLine::new(MESSAGE_START, MAX_MESSAGE_BYTES),
            is_dropping: false,
            activities: BTreeMap::new(),
            caches: BTreeMap::new(),
            archives: BTreeMap::new(),
            errors: VecDeque::new(),
            answer: Captured::new(MAX_ANSWER_BYTES),
            realises: false,
            downloads: Downloads::default(),
            imports: Vec::new(),
        }
    }

    /// Returns whether a path that a cache has could not be downloaded; known with
    /// [`LogFilter::Terse`] only.
    pub fn has_refused_a_cache(&self) -> bool {
        self.has_refused
    }

    /// Takes the end of the output; call it after the last chunk.
    ///
    /// # Errors
    /// The log cannot be kept.
    pub fn finish(&mut self) -> io::Result<()> {
        self.end_line()
    }

    /// Returns the URL of the cache that nix names for each substituted path, the last one if it
    /// tried several.
    pub fn caches(&self) -> &BTreeMap<StorePath, String> {
        &self.caches
    }

    /// Returns the URL of the archive of each substituted path.
    ///
    /// It is nix's own word only while no builder runs.
    pub fn archives(&self) -> &BTreeMap<StorePath, String> {
        &self.archives
    }

    /// Returns the redirects of downloads.
    ///
    /// They are known only for a nix at its most verbose level, and are nix's own word only while
    /// no builder runs.
    ///
    /// # Errors
    /// The URL of a download that was redirected to a place that cannot be told.
    pub fn redirects(&self) -> Result<Redirects, &str> {
        self.downloads.redirects()
    }

    /// Returns the last errors of nix, one after the other, without the output of builders.
    pub fn error_text(&self) -> String {
        self.errors
            .iter()
            .map(|error| error.text.as_str())
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Returns the last errors that nix reports without a trace of the evaluation. An expression
    /// can throw any text, but not such an error.
    pub fn untraced_errors(&self) -> impl Iterator<Item = &str> {
        let untraced = self.errors.iter().filter(|error| !error.has_trace);
        untraced.map(|error| error.text.as_str())
    }

    /// Returns the name of an input that nix wanted to lock, and could not.
    pub fn unlocked_input(&self) -> Option<&str> {
        self.errors
            .iter()
            .find_map(|error| error.unlocked.as_deref())
    }

    /// Returns the recipes that the evaluation imports from, in the order in which it needs them.
    pub fn imports(&self) -> &[StorePath] {
        &self.imports
    }

    /// Returns standard output, as far as it is kept.
    pub fn answer(&self) -> &[u8] {
        self.answer.bytes()
    }

    /// Returns whether the command was ended because its standard output was too long.
    pub fn answer_is_too_long(&self) -> bool {
        self.answer.is_exceeded()
    }

    /// Returns whether nix has begun to build or to substitute something: until then it evaluates.
    pub fn has_begun_to_realise(&self) -> bool {
        self.realises
    }

    /// Takes a part of one line of standard error: held back while it can still be a message.
    fn part(&mut self, bytes: &[u8]) -> io::Result<()> {
        let was_held = self.line.is_held();
        let passed = self.line.take(bytes);
        if was_held && !passed.is_empty() {
            // A message that the log would not show is not shown for being too long either.
            let level = passed.strip_prefix(MSG_START).and_then(|rest| rest.first());
            self.is_dropping = level > Some(&LAST_SHOWN_DIGIT)
                || (level.is_some() && self.filter == LogFilter::Terse);
            if level.is_some() && self.filter != LogFilter::Unlisted {
                self.downloads.note_too_long(&passed);
            }
        }
        if self.is_dropping || passed.is_empty() {
            Ok(())
        } else {
            self.log.output(Stream::Stderr, &passed)
        }
    }

    /// Reads a whole line of standard error.
    fn end_line(&mut self) -> io::Result<()> {
        self.is_dropping = false;
        let line = self.line.end();
        let message = line
            .strip_prefix(MESSAGE_START)
            .and_then(|json| serde_json::from_slice(json).ok());
        match message {
            Some(Message::Start(start)) => self.start(start),
            Some(Message::Stop { id }) => {
                self.activities.remove(&id);
                Ok(())
            }
            Some(Message::Result { id, kind, fields }) => {
                self.result(id, kind, fields.first().and_then(Value::as_str))
            }
            Some(Message::Msg {
                level,
                msg,
                raw_msg,
            }) => self.message(level, &msg, raw_msg.as_deref()),
            None if line.is_empty() => Ok(()),
            None => self.log.output(Stream::Stderr, &line),
        }
    }

    /// Takes the beginning of an activity.
    fn start(&mut self, start: Start) -> io::Result<()> {
        let activity = Activity::of(&start);
        self.realises |= start.kind == REALISE;
        self.note_download(&start, activity.substituted.as_ref());
        let prefix = self.prefix(start.parent);
        let is_shown = self.is_shown(&start);
        if self.activities.len() < MAX_ACTIVITIES {
            self.activities.insert(start.id, activity);
        }
        if is_shown && !start.text.is_empty() {
            self.print(&prefix, &format!("{}...", start.text))
        } else {
            Ok(())
        }
    }

    /// Keeps the cache of a path whose substitution begins, and the URL of a transfer that is part
    /// of a substitution.
    fn note_download(&mut self, start: &Start, substituted: Option<&StorePath>) {
        if let Some(path) = substituted {
            self.archives.remove(path);
            note(&mut self.caches, path, start.field(1));
        }
        if start.kind == FILE_TRANSFER {
            let path = self
                .ancestors(start.parent)
                .find_map(|activity| activity.substituted.clone());
            if let Some(path) = path {
                note(&mut self.archives, &path, start.field(0));
            }
        }
    }

    /// Returns whether the log shows that an activity begins.
    fn is_shown(&self, start: &Start) -> bool {
        let is_part_of_other =
            |parent: &Activity| matches!(parent.kind, COPY_PATH | QUERY_PATH_INFO);
        match start.kind {
            FILE_TRANSFER => !self.ancestors(start.parent).any(is_part_of_other),
            FETCH_TREE => true,
            BUILD_WAITING => false,
            _ => start.level <= INFO,
        }
    }

    /// Takes output of an activity.
    fn result(&mut self, id: u64, kind: u64, text: Option<&str>) -> io::Result<()> {
        let Some(text) = text else { return Ok(()) };
        match kind {
            BUILD_LOG_LINE => self.print(&self.line_prefix(id, "> "), text),
            POST_BUILD_LOG_LINE => self.print(&self.line_prefix(id, " (post)> "), text),
            SET_PHASE => self.print(&self.line_prefix(id, "> "), &format!("phase {text}")),
            _ => Ok(()),
        }
    }

    /// Takes a message without an activity; `error` is the raw text of an error.
    fn message(&mut self, level: u64, text: &str, error: Option<&str>) -> io::Result<()> {
        let is_terse = self.filter == LogFilter::Terse;
        let plain = without_codes(text);
        if let Some(error) = error.filter(|_| level == 0) {
            self.keep_error(error, &plain);
        }
        if level >= DEBUG || is_terse {
            self.downloads.take_message(text, &plain);
        }
        self.has_refused |= is_terse && plain.contains(REFUSED);
        if level == WARN {
            self.imports.extend(import(&plain));
        }
        let cannot_build = plain.starts_with(ERROR) && plain.contains(CANNOT_BUILD);
        let is_shown = match self.filter {
            LogFilter::Plain => true,
            LogFilter::Unlisted => !is_list(&plain),
            LogFilter::Evaluation => !is_list(&plain) && !cannot_build,
            LogFilter::Terse if level > 0 || plain.starts_with(WARNING) => true,
            LogFilter::Terse => plain.starts_with(ERROR) && !cannot_build,
        };
        if level <= INFO && is_shown {
            self.print("", text)
        } else {
            Ok(())
        }
    }

    /// Keeps an error without the lines of the build log that it quotes, each after `> `; `shown`
    /// is the error as a terminal shows it.
    fn keep_error(&mut self, error: &str, shown: &str) {
        let error = without_codes(error);
        let has_trace = !is_shown_first(&error, shown);
        let unlocked = unlocked_input(&error, shown);
        let own: Vec<_> = error
            .lines()
            .filter(|line| !line.starts_with("> "))
            .collect();
        let mut text = own.join("\n");
        text.truncate(text.floor_char_boundary(MAX_ERROR_BYTES));
        self.errors.push_back(ReportedError {
            text,
            has_trace,
            unlocked,
        });
        let mut bytes: usize = self.errors.iter().map(|error| error.text.len() + 1).sum();
        while bytes > MAX_ERROR_BYTES + 1 {
            let Some(oldest) = self.errors.pop_front() else {
                return;
            };
            bytes -= oldest.text.len() + 1;
        }
    }

    /// Returns the activity `id`, the one that it is part of, and so on.
    fn ancestors(&self, id: u64) -> impl Iterator<Item = &Activity> {
        let next = |activity: &&Activity| self.activities.get(&activity.parent);
        std::iter::successors(self.activities.get(&id), next).take(MAX_NESTING)
    }

    /// Returns the name of the package whose build the activity `id` is part of.
    fn builder(&self, id: u64) -> Option<&str> {
        self.ancestors(id)
            .find_map(|activity| activity.name.as_deref())
    }

    /// Returns the mark of messages from a builder; empty for those of nix itself.
    fn prefix(&self, parent: u64) -> String {
        self.builder(parent)
            .map(|name| format!("{name}> "))
            .unwrap_or_default()
    }

    /// Returns the mark of a line of a build log.
    fn line_prefix(&self, id: u64, mark: &str) -> String {
        format!("{}{mark}", self.builder(id).unwrap_or("unnamed"))
    }

    /// Sends every line of `text` to the log, each with the prefix.
    fn print(&mut self, prefix: &str, text: &str) -> io::Result<()> {
        for line in without_codes(text.trim_end_matches('\n')).split('\n') {
            self.log
                .output(Stream::Stderr, format!("{prefix}{line}\n").as_bytes())?;
        }
        Ok(())
    }
}

impl Activity {
    fn of(start: &Start) -> Self {
        let name = match start.kind {
            BUILD | POST_BUILD_HOOK => start.field(0).map(package),
            _ => None,
        };
        let substituted = match start.kind {
            SUBSTITUTE => start.field(0),
            _ => None,
        };
        Self {
            kind: start.kind,
            parent: start.parent,
            name,
            substituted: substituted.and_then(|path| StorePath::parse(path).ok()),
        }
    }
}

impl OutputSink for Progress<'_> {
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        if stream == Stream::Stdout {
            return self.answer.take(bytes);
        }
        for (part, is_end) in lines::parts(bytes) {
            self.part(part)?;
            if is_end {
                self.end_line()?;
            }
        }
        Ok(())
    }
}

/// Returns whether nix shows an error directly after `error:`. A trace comes before the error, and
/// begins on the next line (nix 2.26 to 2.34.8, `showErrorInfo`).
fn is_shown_first(error: &str, shown: &str) -> bool {
    let first_line = error.lines().next().unwrap_or_default();
    let shown = shown
        .strip_prefix(ERROR)
        .and_then(|rest| rest.strip_prefix(' '));
    shown.is_some_and(|rest| rest.starts_with(first_line))
}

/// Returns the recipe of a warning that the evaluation imports from it (nix 2.34.8,
/// `EvalState::realiseContext`). What an expression prints begins in another way.
fn import(warning: &str) -> Option<StorePath> {
    let built = warning.strip_prefix(IMPORT.0)?.strip_suffix(IMPORT.1)?;
    StorePath::parse(built.split('^').next()?).ok()
}

/// Returns the input that nix was locking when an error happened, by the trace before the error,
/// which no expression can write.
fn unlocked_input(error: &str, shown: &str) -> Option<String> {
    let (trace, _) = shown.split_once(error.lines().next()?)?;
    let (_, name) = trace.split_once(LOCKING)?;
    let (name, _) = name.split_once('\'')?;
    Some(name.chars().take(MAX_INPUT_NAME).collect())
}

/// Returns whether a message is part of a list of paths that would be built or fetched.
fn is_list(text: &str) -> bool {
    let is_first = LISTS.iter().any(|start| text.starts_with(start))
        && LISTED.iter().any(|middle| text.contains(middle));
    is_first || text.starts_with(LIST_ITEM)
}

/// Keeps the URL of a path; a later one replaces it.
fn note(urls: &mut BTreeMap<StorePath, String>, path: &StorePath, url: Option<&str>) {
    let Some(url) = url else { return };
    if urls.len() < MAX_SUBSTITUTED_PATHS || urls.contains_key(path) {
        urls.insert(path.clone(), url.to_owned());
    }
}

/// Returns the package that a derivation builds, as nix cuts it from the path: without hash, `.drv`
/// and version.
fn package(derivation: &str) -> String {
    let parsed = StorePath::parse(derivation).ok();
    let name = parsed.as_ref().map_or(derivation, StorePath::name);
    let name = name.strip_suffix(".drv").unwrap_or(name);
    let version = name.match_indices('-').find(|(at, _)| {
        let next = name.as_bytes().get(at + 1);
        next.is_some_and(|next| !next.is_ascii_alphabetic())
    });
    version.map_or(name, |(at, _)| &name[..at]).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::test_only::Recorded;

    const SUBSTITUTED: &[u8] = include_bytes!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/nix/substituted.log"
    ));
    const FORGING: &[u8] = include_bytes!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/nix/forging.log"
    ));

    const FORGED: &str = "/nix/store/gqr0hbkq3xg5m4cc5psfyr7bs9s5x9nk-forged";

    struct Seen {
        log: String,
        caches: BTreeMap<StorePath, String>,
        errors: String,
    }

    fn run(output: &[u8], size: usize) -> Seen {
        let mut log = Recorded::default();
        let mut progress = Progress::new(&mut log, LogFilter::Plain);
        for chunk in output.chunks(size) {
            progress.chunk(Stream::Stderr, chunk).unwrap();
        }
        progress.finish().unwrap();
        let (caches, errors) = (progress.caches().clone(), progress.error_text());
        Seen {
            log: String::from_utf8_lossy(&log.output).into_owned(),
            caches,
            errors,
        }
    }

    fn log(messages: &[&str]) -> String {
        let lines: Vec<_> = messages
            .iter()
            .map(|message| format!("@nix {message}\n"))
            .collect();
        run(lines.concat().as_bytes(), 1000).log
    }

    #[test]
    fn a_substitution_is_readable_and_its_cache_is_known() {
        for size in [1, 11, 1 << 20] {
            let seen = run(SUBSTITUTED, size);
            let greeting = "/nix/store/cd702inh1qxjkpdb45s2bk58ly9ckv4g-greeting-2.1";
            let expected = format!(
                "these 2 derivations will be built:\n\
                 \x20 /nix/store/srs3a1m4cgixflb58y21fg6c1fxazi55-fixed.drv\n\
                 \x20 /nix/store/63cdvqwycq731r4b0xldqblzrsxzgki3-hello-1.0.drv\n\
                 this path will be fetched (0.00 MiB download, 0.00 MiB unpacked):\n\
                 \x20 {greeting}\n\
                 copying path '{greeting}' from 'http://127.0.0.1:8018'...\n\
                 building '/nix/store/srs3a1m4cgixflb58y21fg6c1fxazi55-fixed.drv'...\n\
                 building '/nix/store/63cdvqwycq731r4b0xldqblzrsxzgki3-hello-1.0.drv'...\n\
                 hello> /nix/store/19fh7wyy68shhsscywmgxdxxfwsyf4jp-fixed\n"
            );
            assert_eq!(seen.log, expected);
            let cache = "http://127.0.0.1:8018".to_owned();
            assert_eq!(
                seen.caches,
                BTreeMap::from([(StorePath::parse(greeting).unwrap(), cache)])
            );
            assert_eq!(seen.errors, "");
        }
    }

    #[test]
    fn a_builder_forges_neither_a_cache_nor_an_error() {
        let seen = run(FORGING, 100);
        assert_eq!(seen.caches, BTreeMap::new());
        let failed = "builder for '/nix/store/h5yp6dz3mf8hw3f5p3zlczr6i920c3fb-hello-1.0.drv' failed with exit code 3;";
        assert!(seen.errors.starts_with(failed), "{}", seen.errors);
        for printed in ["forged", "attribute missing", "plain", "@nix"] {
            assert!(!seen.errors.contains(printed), "{printed}: {}", seen.errors);
        }
        for line in [
            "phase buildPhase",
            "b",
            "forged transfer...",
            "plain",
            "red",
            "@nix {broken",
            "to stderr",
        ] {
            assert!(
                seen.log.contains(&format!("\nhello> {line}\n")),
                "{line}: {}",
                seen.log
            );
        }
    }

    #[test]
    fn what_a_builder_says_is_never_taken_for_what_nix_says() {
        // The lines that nix makes of a builder's: as part of a log line, a message or a transfer.
        let start = format!(
            r#"@nix {{\"action\":\"start\",\"id\":9,\"level\":0,\"type\":108,\"text\":\"\",\"parent\":0,\"fields\":[\"{FORGED}\",\"u\"]}}"#
        );
        let build = r#"{"action":"start","id":1,"level":3,"type":105,"text":"building","parent":0,"fields":["x.drv"]}"#;
        let transfer = r#"{"action":"start","id":2,"level":0,"type":101,"text":"one\ntwo","parent":1,"fields":[]}"#;
        let messages = [
            build.to_owned(),
            transfer.to_owned(),
            format!(r#"{{"action":"result","id":1,"type":101,"fields":["{start}"]}}"#),
            format!(r#"{{"action":"result","id":2,"type":101,"fields":["a\n{start}\n"]}}"#),
            format!(r#"{{"action":"result","id":2,"type":107,"fields":["{start}"]}}"#),
            format!(r#"{{"action":"msg","level":0,"msg":"a\n{start}"}}"#),
        ];
        let lines: Vec<_> = messages
            .iter()
            .map(|message| format!("@nix {message}\n"))
            .collect();
        let seen = run(lines.concat().as_bytes(), 1000);
        assert_eq!(seen.caches, BTreeMap::new());
        let start = start.replace("\\\"", "\"");
        let said = format!(
            "building...\nx> one\nx> two...\nx> {start}\nx> a\nx> {start}\nx (post)> {start}\na\n{start}\n"
        );
        assert_eq!((seen.log, seen.errors), (said, String::new()));
    }

    #[test]
    fn downloads_are_shown_unless_they_are_part_of_a_copy() {
        let start = |id: u64, kind: u64, level: u64, text: &str, parent: u64| {
            format!(
                r#"{{"action":"start","id":{id},"level":{level},"type":{kind},"text":"{text}","parent":{parent}}}"#
            )
        };
        let messages = [
            start(1, FILE_TRANSFER, 4, "downloading 'input'", 0),
            start(2, FETCH_TREE, 4, "fetching Git repository 'x'", 0),
            start(3, SUBSTITUTE, 0, "", 0),
            start(4, COPY_PATH, 3, "copying path 'p'", 3),
            start(5, FILE_TRANSFER, 4, "downloading 'nar'", 4),
            start(6, QUERY_PATH_INFO, 4, "querying", 0),
            start(7, FILE_TRANSFER, 4, "downloading 'narinfo'", 6),
            start(8, BUILD_WAITING, 1, "waiting", 0),
            start(9, 0, 4, "evaluating derivation", 0),
            start(10, 0, 3, "unpacking", 0),
        ];
        let shown = log(&messages.each_ref().map(String::as_str));
        assert_eq!(
            shown,
            "downloading 'input'...\nfetching Git repository 'x'...\ncopying path 'p'...\nunpacking...\n"
        );
    }

    #[test]
    fn realisation_begins_when_the_daemon_is_asked_for_it() {
        let begun = |messages: &str| {
            let mut log = Recorded::default();
            let mut progress = Progress::new(&mut log, LogFilter::Plain);
            progress.chunk(Stream::Stderr, messages.as_bytes()).unwrap();
            progress.has_begun_to_realise()
        };
        let evaluating =
            r#"@nix {"action":"start","id":1,"level":4,"type":0,"text":"evaluating","parent":0}"#;
        let realising =
            r#"@nix {"action":"start","id":2,"level":0,"type":102,"text":"","parent":0}"#;
        assert!(!begun(&format!("{evaluating}\n")));
        assert!(begun(&format!("{evaluating}\n{realising}\n")));
    }

    #[test]
    fn an_activity_that_ended_or_never_was_has_no_name() {
        let build = r#"{"action":"start","id":1,"level":3,"type":105,"text":"","parent":0,"fields":["a-1"]}"#;
        let line = r#"{"action":"result","id":1,"type":101,"fields":["x"]}"#;
        assert_eq!(
            log(&[line, build, line, r#"{"action":"stop","id":1}"#, line]),
            "unnamed> x\na> x\nunnamed> x\n"
        );
    }

    #[test]
    fn what_is_no_message_passes_as_it_is() {
        for text in [
            "plain\n\n\x1b[1mx\n",
            "@nix\n",
            "@nix {}\n",
            "@nix {\"action\":\"msg\"}\n",
            "@ni",
            "x@nix {}\n",
        ] {
            for size in [1, 1000] {
                assert_eq!(run(text.as_bytes(), size).log, text);
            }
        }
    }

    #[test]
    fn lists_of_what_would_be_done_are_said_once() {
        for (manner, text, shown) in [
            (
                LogFilter::Unlisted,
                "these 2 derivations will be built:",
                false,
            ),
            (LogFilter::Unlisted, "  /nix/store/x.drv", false),
            (
                LogFilter::Unlisted,
                "this path will be fetched (0.1 KiB download, 0.1 KiB unpacked):",
                false,
            ),
            (
                LogFilter::Unlisted,
                "trace: these 2 derivations will be built:",
                true,
            ),
            (LogFilter::Plain, "these 2 derivations will be built:", true),
        ] {
            let mut log = Recorded::default();
            let line = format!(
                "@nix {{\"action\":\"msg\",\"level\":0,\"msg\":{}}}\n",
                serde_json::json!(text)
            );
            Progress::new(&mut log, manner)
                .chunk(Stream::Stderr, line.as_bytes())
                .unwrap();
            assert_eq!(!log.output.is_empty(), shown, "{manner:?}: {text}");
        }
    }

    #[test]
    fn the_url_of_an_archive_is_that_of_the_download_for_its_path() {
        let start = |id: u64, kind: u64, parent: u64, fields: &[&str]| {
            let fields = serde_json::json!(fields);
            format!(
                "@nix {{\"action\":\"start\",\"id\":{id},\"level\":4,\"type\":{kind},\"text\":\"\",\"parent\":{parent},\
                 \"fields\":{fields}}}\n"
            )
        };
        let messages = [
            start(1, SUBSTITUTE, 0, &[FORGED, "https://cache"]),
            start(2, COPY_PATH, 1, &[FORGED]),
            start(3, FILE_TRANSFER, 2, &["https://cache/nar/1.nar"]),
            start(4, FILE_TRANSFER, 0, &["https://cache/1.narinfo"]),
            start(5, BUILD, 0, &["/nix/store/x.drv"]),
            start(6, FILE_TRANSFER, 5, &["https://elsewhere/"]),
        ];
        let mut log = Recorded::default();
        let mut progress = Progress::new(&mut log, LogFilter::Plain);
        progress
            .chunk(Stream::Stderr, messages.concat().as_bytes())
            .unwrap();
        let archive = "https://cache/nar/1.nar".to_owned();
        assert_eq!(
            *progress.archives(),
            BTreeMap::from([(StorePath::parse(FORGED).unwrap(), archive)])
        );
    }

    #[test]
    fn an_expression_throws_no_error_without_a_trace() {
        // As nix 2.34.8 prints them, for a flake without a default package and for one that throws
        // the same words.
        let words =
            "flake '\u{1b}[35;1mpath:/kettle/source\u{1b}[0m' does not provide attribute 'x'";
        let trace = "       … while calling the 'throw' builtin\n         at flake.nix:1:50:\n\n";
        let error = "\u{1b}[31;1merror:\u{1b}[0m";
        for (level, shown, is_untraced) in [
            (0, format!("{error} {words}\n       Did you mean y?"), true),
            (0, format!("{error}\n{trace}       {error} {words}"), false),
            (0, format!("{error}\n       {error} {words}"), false),
            (0, words.to_owned(), false),
            (1, format!("evaluation warning: {words}"), false),
        ] {
            let message = serde_json::json!({
                "action": "msg", "level": level, "msg": shown, "raw_msg": words,
            });
            let mut log = Recorded::default();
            let mut progress = Progress::new(&mut log, LogFilter::Plain);
            let line = format!("@nix {message}\n");
            progress.chunk(Stream::Stderr, line.as_bytes()).unwrap();
            assert_eq!(
                progress.untraced_errors().count(),
                usize::from(is_untraced),
                "{shown}"
            );
            assert_eq!(progress.error_text().is_empty(), level > 0, "{shown}");
        }
    }

    #[test]
    fn an_import_is_what_nix_warns_of_and_no_expression_says() {
        let path = "/nix/store/hxdcrmdp9kr6x4ai5h1iyd9mpg0inv36-hello.drv";
        let said = format!("built '{path}^out' during evaluation due to an import from derivation");
        let warning = "\u{1b}[35;1mwarning:\u{1b}[0m";
        for (level, text, count) in [
            (1, format!("{warning} {said}"), 1),
            (0, format!("{warning} {said}"), 0),
            (1, format!("evaluation warning: {said}"), 0),
            (0, format!("trace: {said}"), 0),
            (1, format!("{warning} built 'x.drv^out'"), 0),
        ] {
            let message = serde_json::json!({"action": "msg", "level": level, "msg": text});
            let mut log = Recorded::default();
            let mut progress = Progress::new(&mut log, LogFilter::Evaluation);
            let line = format!("@nix {message}\n");
            progress.chunk(Stream::Stderr, line.as_bytes()).unwrap();
            assert_eq!(progress.imports().len(), count, "{text}");
        }
    }

    #[test]
    fn the_input_that_nix_could_not_lock_is_in_the_trace_and_nowhere_else() {
        // As nix 2.34.8 prints it.
        let trace = "error:\n       … while updating the lock file of flake 'path:/kettle/source'\n\n       \
                     … while updating the flake input 'bar'\n\n       ";
        let unlocked = |error: &str, shown: &str| unlocked_input(error, shown);
        let error = "unable to download 'https://host/'";
        let shown = format!("{trace}error: {error}");
        assert_eq!(unlocked(error, &shown), Some("bar".to_owned()));
        let thrown = "while updating the flake input 'bar'";
        assert_eq!(
            unlocked(
                thrown,
                &format!("error:\n       … while calling\n       error: {thrown}")
            ),
            None
        );
        assert_eq!(unlocked(error, &format!("error: {error}")), None);
    }

    #[test]
    fn of_a_talkative_daemon_people_read_warnings_and_errors_only() {
        let said = |level: u64, text: &str, raw: &str| {
            let text = serde_json::json!(text);
            format!("@nix {{\"action\":\"msg\",\"level\":{level},\"msg\":{text}{raw}}}\n")
        };
        let mut log = Recorded::default();
        let mut progress = Progress::new(&mut log, LogFilter::Terse);
        let cannot = "\u{1b}[31;1merror:\u{1b}[0m Cannot build '/nix/store/x.drv'.";
        for message in [
            said(0, "got header for 'https://a/x': HTTP/2 302", ""),
            said(0, "got header for 'https://a/x': location: https://b/x", ""),
            said(
                0,
                "curl: Issue another request to this URL: 'https://b/x'",
                "",
            ),
            said(0, "locking path", ""),
            said(0, cannot, ""),
            said(3, "these 2 derivations will be built:", ""),
            said(4, "of the client", ""),
            said(0, "\u{1b}[35;1mwarning:\u{1b}[0m a", ""),
            said(0, "error:\n       b", ",\"raw_msg\":\"b\""),
            said(
                0,
                cannot,
                ",\"raw_msg\":\"Cannot build '/nix/store/x.drv'.\"",
            ),
        ] {
            progress.chunk(Stream::Stderr, message.as_bytes()).unwrap();
            assert!(!progress.has_refused_a_cache());
        }
        let refused = format!("error: {REFUSED} '/nix/store/x.drv' failed");
        progress
            .chunk(Stream::Stderr, said(0, &refused, "").as_bytes())
            .unwrap();
        assert!(progress.has_refused_a_cache());
        assert_eq!(
            progress.redirects().unwrap()["https://a/x"],
            ["https://b/x"]
        );
        assert_eq!(progress.error_text(), "b\nCannot build '/nix/store/x.drv'.");
        let shown = format!(
            "these 2 derivations will be built:\nwarning: a\nerror:\n       b\n{refused}\n"
        );
        assert_eq!(String::from_utf8(log.output).unwrap(), shown);
    }

    #[test]
    fn a_long_message_that_nobody_reads_is_not_shown() {
        let message = |level: u64| {
            let text = "x".repeat(2 * MAX_MESSAGE_BYTES);
            format!("@nix {{\"action\":\"msg\",\"level\":{level},\"msg\":\"{text}\"}}\n")
        };
        let seen = run(
            format!("{}{}next\n", message(6), message(7)).as_bytes(),
            4096,
        );
        assert_eq!(seen.log, "next\n");
        assert_eq!(run(message(3).as_bytes(), 4096).log, message(3));
    }

    #[test]
    fn a_long_line_is_passed_on_in_pieces() {
        let long = format!(
            "@nix {{\"action\":\"msg\",\"level\":0,\"msg\":\"{}\"}}\n",
            "x".repeat(2 * MAX_MESSAGE_BYTES)
        );
        let mut seen = Recorded::default();
        let mut progress = Progress::new(&mut seen, LogFilter::Plain);
        for chunk in long.as_bytes().chunks(4096) {
            progress.chunk(Stream::Stderr, chunk).unwrap();
            assert!(
                progress.line.held().len() <= MAX_MESSAGE_BYTES
                    && progress.line.held().capacity() <= 4 * MAX_MESSAGE_BYTES
            );
        }
        progress.chunk(Stream::Stderr, b"next\n").unwrap();
        assert_eq!(
            String::from_utf8(seen.output).unwrap(),
            format!("{long}next\n")
        );
    }

    #[test]
    fn the_last_errors_are_kept() {
        let error = |text: &str| {
            format!(r#"@nix {{"action":"msg","level":0,"msg":"error: {text}","raw_msg":"{text}"}}"#)
        };
        let warning = r#"@nix {"action":"msg","level":1,"msg":"warning","raw_msg":"warning"}"#;
        let lines = [
            error("\\u001b[31;1mfirst\\u001b[0m"),
            warning.to_owned(),
            error("second"),
        ]
        .join("\n");
        assert_eq!(run(lines.as_bytes(), 50).errors, "first\nsecond");
        let many: String = (0..200)
            .map(|number| error(&format!("{number}{}", "é".repeat(1000))) + "\n")
            .collect();
        let errors = run(many.as_bytes(), 4096).errors;
        assert!(
            errors.len() <= MAX_ERROR_BYTES && errors.contains("199é") && !errors.contains("100é")
        );
        assert!(
            run(error(&"é".repeat(MAX_ERROR_BYTES)).as_bytes(), 4096)
                .errors
                .len()
                <= MAX_ERROR_BYTES
        );
    }

    #[test]
    fn standard_output_is_kept_up_to_a_limit() {
        let mut seen = Recorded::default();
        let mut progress = Progress::new(&mut seen, LogFilter::Plain);
        progress.chunk(Stream::Stdout, b"@nix {}\n").unwrap();
        assert_eq!(
            (progress.answer(), progress.answer_is_too_long()),
            (&b"@nix {}\n"[..], false)
        );
        assert!(
            progress
                .chunk(Stream::Stdout, &vec![b'x'; MAX_ANSWER_BYTES])
                .is_err()
        );
        assert!(progress.answer_is_too_long());
    }

    #[test]
    fn cuts_packages_as_nix_does() {
        for (derivation, expected) in [
            (
                "/nix/store/s3jzax8lw7d60719snr8nm821cid17h8-hello-1.0.drv",
                "hello",
            ),
            (
                "/nix/store/s3jzax8lw7d60719snr8nm821cid17h8-gnu-hello-2-x.drv",
                "gnu-hello",
            ),
            (
                "/nix/store/s3jzax8lw7d60719snr8nm821cid17h8-no-version.drv",
                "no-version",
            ),
            ("a-", "a-"),
        ] {
            assert_eq!(package(derivation), expected);
        }
    }
}
