//! How events look. Comes in: neutral records. Goes out: the typed events of `/build/{id}/events`, or the messages of
//! `/build/stream`. The two differ in words only; both carry the number of the typed event, so that a reader of the
//! stream can resume with the typed events.

use std::io::Write;

use serde::Serialize;

use crate::job::{Ended, EventKind, Job, NOTE_MARK, Record};

/// Which of the two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// `type` and `msg`.
    Typed,
    /// `info` and `message`, always from the start.
    Messages {
        /// Kinds whose milestone has been passed.
        passed: Vec<EventKind>,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Typed<'a> {
    Queued { position: u32 },
    Vm { msg: &'a str },
    Init { msg: &'a str },
    Detect { msg: &'a str },
    Build { msg: &'a str },
    Note { msg: &'a str },
    Provenance { msg: &'a str },
    Attest { msg: &'a str },
}

#[derive(Serialize)]
struct Message<'a> {
    r#type: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    accepted: Option<Accepted>,
}

/// What the stream's first event says beside its message.
#[derive(Serialize)]
struct Accepted {
    job_id: String,
    build_id: String,
    nonce: String,
}

impl View {
    /// The stream's messages, from the start.
    pub fn messages() -> Self {
        Self::Messages { passed: Vec::new() }
    }

    /// Appends the event for a record, if this view has one.
    pub fn record(&mut self, job: &Job, number: u64, record: Record<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Typed => {
                if let Some(typed) = typed(record) {
                    event(Some(number), &typed, out);
                }
            }
            Self::Messages { passed } => {
                let number = record.kind.numbered().then_some(number);
                let milestone = if passed.contains(&record.kind) { None } else { milestone(record) };
                if milestone.is_some() {
                    passed.push(record.kind);
                }
                let accepted = (record.kind == EventKind::Queued).then(|| Accepted {
                    job_id: job.id().to_string(),
                    build_id: job.id().to_string(),
                    nonce: job.nonce().to_string(),
                });
                let note = (record.kind == EventKind::Note).then(|| format!("{NOTE_MARK} {}", record.text));
                let message = milestone.as_deref().or(note.as_deref()).unwrap_or(record.text);
                event(number, &Message { r#type: "info", message, accepted }, out);
            }
        }
    }

    /// Appends the terminal event.
    pub fn complete(&self, number: u64, ended: &Ended, out: &mut Vec<u8>) {
        let result = match self {
            Self::Typed => &ended.typed_result,
            Self::Messages { .. } => &ended.result,
        };
        // Writing to a vector does not fail.
        let _ = write!(out, "id: {number}\ndata: {{\"type\":\"complete\",\"result\":{result}}}\n\n");
    }
}

fn typed(record: Record<'_>) -> Option<Typed<'_>> {
    let msg = record.text;
    match record.kind {
        EventKind::Queued => Some(Typed::Queued { position: 0 }),
        EventKind::Vm => Some(Typed::Vm { msg }),
        EventKind::Init => Some(Typed::Init { msg }),
        EventKind::Detect => Some(Typed::Detect { msg }),
        EventKind::Start => None,
        EventKind::Line => Some(Typed::Build { msg }),
        EventKind::Note => Some(Typed::Note { msg }),
        EventKind::Provenance => Some(Typed::Provenance { msg }),
        EventKind::Attest => Some(Typed::Attest { msg }),
    }
}

/// What the stream says when an event of this kind comes for the first time; later ones speak for themselves.
fn milestone(record: Record<'_>) -> Option<String> {
    match record.kind {
        EventKind::Queued => Some("Build accepted".to_owned()),
        EventKind::Init => Some("Initializing build environment".to_owned()),
        EventKind::Detect => Some("Detecting project type".to_owned()),
        EventKind::Start => Some(format!("Running {}", record.text)),
        EventKind::Provenance => Some("Generating provenance".to_owned()),
        EventKind::Attest => Some("Creating attestation".to_owned()),
        EventKind::Vm | EventKind::Line | EventKind::Note => None,
    }
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
