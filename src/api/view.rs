//! Turns the records of a job's log into what readers see.
//!
//! * In: neutral records.
//! * Out: the typed events of `/build/{id}/events`, the messages of `/build/stream`, or the lines
//!   of `build.log`.
//! * Never: a line of output that looks like the appliance's own words.
//!
//! Typed events and messages differ in words only. Both have the number of the typed event, so that
//! a reader of the stream can resume with the typed events. A text that is too long for a line of
//! the stream comes in several messages, of which the last has the number: a reader that lost that
//! one resumes with the whole text.
//!
//! In the stream only the words tell who speaks: a message is the appliance's own when it starts
//! with [`NOTE_MARK`] or is a milestone.

use std::borrow::Cow;
use std::io::Write;

use serde::Serialize;

use super::result::ResultDocuments;
use super::spelling::capitalised;
use super::stream_line;
use crate::job::{EventKind, Job, NOTE_MARK, Record};

/// The form in which a reader gets the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// The typed events, with `type` and `msg`.
    Typed,
    /// The messages, with `info` and `message`, always from the start.
    Messages {
        /// The kinds of events whose milestone has been passed.
        passed: Vec<EventKind>,
    },
    /// The output of tools and our notes, as plain text, up to the last line so far.
    Log,
}

/// The words for one kind of event.
struct EventWords {
    /// The `type` of the typed event; `None` where there is no such event.
    r#type: Option<&'static str>,
    /// The words of the milestone, in lower case, by which clients of the stream recognise the
    /// first event of this kind. Later events of the kind have their own text.
    milestone: &'static [&'static str],
}

/// The table of the words of both views.
const fn look(kind: EventKind) -> EventWords {
    const fn row(r#type: Option<&'static str>, milestone: &'static [&'static str]) -> EventWords {
        EventWords { r#type, milestone }
    }
    match kind {
        EventKind::Queued => row(Some("queued"), &["build accepted"]),
        EventKind::Vm => row(Some("vm"), &[]),
        EventKind::Init => row(Some("init"), &["initializing build environment"]),
        EventKind::Detect => row(Some("detect"), &["detecting project type"]),
        EventKind::Start => row(None, &["running cargo build", "running nix build"]),
        EventKind::Line => row(Some("build"), &[]),
        EventKind::Note => row(Some("note"), &[]),
        EventKind::Provenance => row(Some("provenance"), &["generating provenance"]),
        EventKind::Attest => row(Some("attest"), &["creating attestation"]),
    }
}

#[derive(Serialize)]
struct TypedEvent<'a> {
    r#type: &'static str,
    /// The position in a queue that never contains another job.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    msg: Option<&'a str>,
}

#[derive(Serialize)]
struct Message<'a> {
    r#type: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    accepted: Option<Accepted>,
}

/// The further members of the stream's first message.
#[derive(Serialize)]
struct Accepted {
    job_id: String,
    build_id: String,
    nonce: String,
}

impl Accepted {
    /// Returns the members for the record with which a job is accepted, and `None` for all others.
    fn in_record(job: &Job, record: Record<'_>) -> Option<Self> {
        (record.kind == EventKind::Queued).then(|| Self {
            job_id: job.id().to_string(),
            build_id: job.id().to_string(),
            nonce: job.nonce().to_string(),
        })
    }
}

impl View {
    /// Returns the view with the messages of the stream.
    pub fn messages() -> Self {
        Self::Messages { passed: Vec::new() }
    }

    /// Returns whether a reader waits for later records.
    pub fn follows(&self) -> bool {
        *self != Self::Log
    }

    /// Appends the event for a record, if this view has one.
    pub fn record(&mut self, job: &Job, number: u64, record: Record<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Typed => {
                if let Some(typed) = typed(record) {
                    event(Some(number), &typed, out);
                }
            }
            Self::Log => log_line(record, out),
            Self::Messages { passed } => {
                let number = record.kind.is_numbered().then_some(number);
                let is_first = !passed.contains(&record.kind);
                match milestone(record) {
                    Some(milestone) if is_first => {
                        passed.push(record.kind);
                        let accepted = Accepted::in_record(job, record);
                        message(number, &milestone, accepted, out);
                    }
                    _ => in_parts(number, record, out),
                }
            }
        }
    }

    /// Appends the terminal event, if this view has one.
    pub fn complete(&self, number: u64, documents: &ResultDocuments, out: &mut Vec<u8>) {
        let result = match self {
            Self::Typed => &documents.typed,
            Self::Messages { .. } => &documents.stream,
            Self::Log => return,
        };
        // Writing to a vector does not fail.
        let _ = write!(
            out,
            "id: {number}\ndata: {{\"type\":\"complete\",\"result\":{result}}}\n\n"
        );
    }
}

/// Appends the line of `build.log` for a record, as the bundle has it, if it has one.
fn log_line(record: Record<'_>, out: &mut Vec<u8>) {
    match record.kind {
        EventKind::Line => (),
        EventKind::Note => {
            out.extend_from_slice(NOTE_MARK.as_bytes());
            out.push(b' ');
        }
        _ => return,
    }
    out.extend_from_slice(record.text.as_bytes());
    out.push(b'\n');
}

/// Returns the typed event for a record, if there is one.
fn typed(record: Record<'_>) -> Option<TypedEvent<'_>> {
    let is_queued = record.kind == EventKind::Queued;
    Some(TypedEvent {
        r#type: look(record.kind).r#type?,
        position: is_queued.then_some(0),
        msg: (!is_queued).then_some(record.text),
    })
}

/// Returns the milestone that the first event of this kind is in the stream.
fn milestone(record: Record<'_>) -> Option<String> {
    match (record.kind, look(record.kind).milestone) {
        (EventKind::Start, _) => Some(format!("Running {}", record.text)),
        (_, [words]) => Some(capitalised(words)),
        _ => None,
    }
}

/// Returns a line of output in which the words of every milestone have their first letter escaped,
/// wherever they are, in upper or lower case: some clients look for them anywhere in a message.
fn without_milestones(line: &str) -> Cow<'_, str> {
    let lower = line.to_ascii_lowercase();
    let milestones = EventKind::ALL.iter().flat_map(|kind| look(*kind).milestone);
    let found = milestones.flat_map(|words| lower.match_indices(words));
    let mut offsets: Vec<usize> = found.map(|(offset, _)| offset).collect();
    if offsets.is_empty() {
        return Cow::Borrowed(line);
    }
    offsets.sort_unstable();
    let (mut shown, mut rest) = (String::with_capacity(2 * line.len()), 0);
    for offset in offsets {
        shown.push_str(&line[rest..offset]);
        // The words of each milestone begin with a letter of one byte.
        rest = offset + 1;
        let letter = line[offset..rest].chars();
        shown.extend(letter.flat_map(char::escape_unicode));
    }
    shown.push_str(&line[rest..]);
    Cow::Owned(shown)
}

/// Appends the text of a record as messages that each fit into a line; only the last has the
/// number.
fn in_parts(number: Option<u64>, record: Record<'_>, out: &mut Vec<u8>) {
    let is_output = record.kind == EventKind::Line;
    let text = match is_output {
        true => without_milestones(record.text),
        false => Cow::Borrowed(record.text),
    };
    let marked = if is_output { without_mark } else { with_mark };
    let mut parts = stream_line::parts(&text).peekable();
    while let Some(part) = parts.next() {
        let number_of_last = number.filter(|_| parts.peek().is_none());
        message(number_of_last, &marked(part), None, out);
    }
}

/// Returns a part of the appliance's own words, which begins with the mark.
fn with_mark(part: &str) -> Cow<'_, str> {
    Cow::Owned(format!("{NOTE_MARK} {part}"))
}

/// Returns a part of a line of output, which does not begin with the mark. The line itself does not
/// begin like a note; a part of it that would begin like one has its bracket escaped.
fn without_mark(part: &str) -> Cow<'_, str> {
    let words = part.trim_start();
    let start = words.get(..NOTE_MARK.len()).unwrap_or_default();
    if !start.eq_ignore_ascii_case(NOTE_MARK) {
        return Cow::Borrowed(part);
    }
    let (blanks, rest) = part.split_at(part.len() - words.len());
    Cow::Owned(format!("{blanks}{}{}", '['.escape_unicode(), &rest[1..]))
}

fn message(number: Option<u64>, message: &str, accepted: Option<Accepted>, out: &mut Vec<u8>) {
    let message = Message {
        r#type: "info",
        message,
        accepted,
    };
    event(number, &message, out);
}

fn event(number: Option<u64>, data: &impl Serialize, out: &mut Vec<u8>) {
    let start = out.len();
    if let Some(number) = number {
        // Writing to a vector does not fail.
        let _ = writeln!(out, "id: {number}");
    }
    out.extend_from_slice(b"data: ");
    if let Err(error) = serde_json::to_writer(&mut *out, data) {
        log::error!("an event cannot be written as JSON: {error}");
        out.truncate(start);
        return;
    }
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_milestone_is_among_the_words_that_no_line_has() {
        for (kind, text) in [
            (EventKind::Queued, ""),
            (EventKind::Init, "x"),
            (EventKind::Detect, "cargo"),
            (EventKind::Start, "cargo build --release"),
            (EventKind::Start, "nix build"),
            (EventKind::Provenance, "x"),
            (EventKind::Attest, "x"),
        ] {
            let milestone = milestone(Record { kind, text }).unwrap();
            let escaped = milestone[..1]
                .chars()
                .flat_map(char::escape_unicode)
                .collect::<String>();
            assert_eq!(
                without_milestones(&milestone),
                format!("{escaped}{}", &milestone[1..])
            );
        }
    }

    #[test]
    fn words_of_a_milestone_are_escaped_wherever_they_stand_and_nothing_else_is() {
        for line in [
            "",
            "Generating",
            "generating  provenance",
            "   Running `rustc`",
            "zw\u{f6}lf \u{1f980}",
        ] {
            assert!(
                matches!(without_milestones(line), Cow::Borrowed(shown) if shown == line),
                "{line}"
            );
        }
        let line = "\u{f6} GENERATING PROVENANCE, creating attestation; Generating provenance";
        let shown = "\u{f6} \\u{47}ENERATING PROVENANCE, \\u{63}reating attestation; \
            \\u{47}enerating provenance";
        assert_eq!(without_milestones(line), shown);
    }

    #[test]
    fn no_part_of_a_line_begins_like_a_note() {
        for (part, shown) in [
            ("", ""),
            ("[kettl", "[kettl"),
            ("x [kettle]", "x [kettle]"),
            ("[kettle]", "\\u{5b}kettle]"),
            ("\t \u{3000}[KETTLE] x", "\t \u{3000}\\u{5b}KETTLE] x"),
        ] {
            assert_eq!(without_mark(part), shown);
        }
    }
}
