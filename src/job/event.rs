//! What happens in a job, in neutral form. Comes in: what the pipeline reports. Goes out: records for the log, and the
//! log's records for a view. Never: a word about how any client sees it.

use super::line::{Line, sanitise};

/// Something that happened. The texts are for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The job has the slot.
    Queued,
    /// About the guest: image version, launch measurement when known.
    Vm(&'a str),
    /// The source is being fetched or unpacked, inputs are being checked.
    Init(&'a str),
    /// What builds it: `cargo` or `nix`.
    Detect(&'a str),
    /// The build begins: the command as people write it, `cargo build --release`.
    Start(&'a str),
    /// One line that a tool printed, in whatever phase.
    Line(Line<'a>),
    /// A remark of our own, in one line.
    Note(&'a str),
    /// Provenance is being written.
    Provenance(&'a str),
    /// Evidence is being requested.
    Attest(&'a str),
}

/// What kind of event a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// [`Event::Queued`].
    Queued,
    /// [`Event::Vm`].
    Vm,
    /// [`Event::Init`].
    Init,
    /// [`Event::Detect`].
    Detect,
    /// [`Event::Start`].
    Start,
    /// [`Event::Line`].
    Line,
    /// [`Event::Note`].
    Note,
    /// [`Event::Provenance`].
    Provenance,
    /// [`Event::Attest`].
    Attest,
}

/// Every kind with the character that stands for it in the log.
const CODES: [(EventKind, u8); 9] = [
    (EventKind::Queued, b'q'),
    (EventKind::Vm, b'v'),
    (EventKind::Init, b'i'),
    (EventKind::Detect, b'd'),
    (EventKind::Start, b's'),
    (EventKind::Line, b'l'),
    (EventKind::Note, b'n'),
    (EventKind::Provenance, b'p'),
    (EventKind::Attest, b'a'),
];

impl EventKind {
    /// Whether events of this kind have a number. [`Event::Start`] has none: in the numbered view the build's
    /// output speaks for itself.
    pub fn numbered(self) -> bool {
        self != Self::Start
    }

    fn code(self) -> u8 {
        CODES
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or(b'?', |(_, code)| *code)
    }

    fn of_code(code: u8) -> Option<Self> {
        CODES
            .iter()
            .find(|(_, known)| *known == code)
            .map(|(kind, _)| *kind)
    }
}

impl Event<'_> {
    /// The event's kind.
    pub fn kind(&self) -> EventKind {
        match self {
            Self::Queued => EventKind::Queued,
            Self::Vm(_) => EventKind::Vm,
            Self::Init(_) => EventKind::Init,
            Self::Detect(_) => EventKind::Detect,
            Self::Start(_) => EventKind::Start,
            Self::Line(_) => EventKind::Line,
            Self::Note(_) => EventKind::Note,
            Self::Provenance(_) => EventKind::Provenance,
            Self::Attest(_) => EventKind::Attest,
        }
    }

    /// Appends the record: the kind's character, the text, a newline.
    pub(super) fn write(&self, log: &mut Vec<u8>) {
        log.push(self.kind().code());
        match self {
            Self::Queued => (),
            Self::Line(line) => log.extend_from_slice(line.as_str().as_bytes()),
            Self::Vm(text)
            | Self::Init(text)
            | Self::Detect(text)
            | Self::Start(text)
            | Self::Note(text)
            | Self::Provenance(text)
            | Self::Attest(text) => log.extend_from_slice(sanitise(text).as_bytes()),
        }
        log.push(b'\n');
    }
}

/// One record of the log, as it was read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it is.
    pub kind: EventKind,
    /// The text: no control character but tab.
    pub text: &'a str,
}

impl<'a> Record<'a> {
    /// Reads one record, without its newline. `None` for bytes that we did not write.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (code, text) = bytes.split_first()?;
        Some(Self {
            kind: EventKind::of_code(*code)?,
            text: std::str::from_utf8(text).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_read_back_as_one_record() {
        let events = [
            Event::Queued,
            Event::Vm("v\n1"),
            Event::Init("i"),
            Event::Detect("cargo"),
            Event::Start("cargo build"),
            Event::Note("n"),
            Event::Provenance("p"),
            Event::Attest("a"),
        ];
        for event in events {
            let mut log = Vec::new();
            event.write(&mut log);
            let (end, record) = log.split_last().unwrap();
            assert_eq!((*end, record.contains(&b'\n')), (b'\n', false));
            assert_eq!(Record::read(record).unwrap().kind, event.kind());
        }
    }

    #[test]
    fn no_two_kinds_share_a_code() {
        for (kind, code) in CODES {
            assert_eq!((kind.code(), EventKind::of_code(code)), (code, Some(kind)));
        }
    }

    #[test]
    fn foreign_bytes_are_no_record() {
        for foreign in [&b""[..], b"xtext", b"l\xff"] {
            assert_eq!(Record::read(foreign), None);
        }
    }
}
