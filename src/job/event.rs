//! Defines the events of a job, and their form in its log.
//!
//! * In: what the pipeline reports.
//! * Out: records for the log, and the log's records for a view.
//! * Never: a word about how any client sees an event.

use super::line::{Line, sanitise};
use super::phase::Phase;

/// Defines [`Event`] and [`EventKind`] by a table: the event with its text, its character in the
/// log, whether events of this kind have a number, and the phase that begins with one.
macro_rules! events {
    ($(
        $(#[$documentation:meta])*
        $event:ident $(($text:ident: $type:ty))? =
            $code:literal, $is_numbered:literal, $begins:expr;
    )*) => {
        /// An event of a job. The texts are for people.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Event<'a> {
            $($(#[$documentation])* $event $(($type))?,)*
        }

        /// The kind of the event in a record.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum EventKind {
            $($(#[$documentation])* $event,)*
        }

        impl EventKind {
            /// All kinds, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$event),*];

            /// Returns the character that stands for the kind in the log.
            fn code(self) -> u8 {
                match self {
                    $(Self::$event => $code,)*
                }
            }

            /// Returns whether events of this kind have a number.
            pub fn is_numbered(self) -> bool {
                match self {
                    $(Self::$event => $is_numbered,)*
                }
            }

            /// Returns the phase that begins with an event of this kind, or `None` if it occurs in
            /// every phase.
            pub(super) fn begins(self) -> Option<Phase> {
                match self {
                    $(Self::$event => $begins,)*
                }
            }
        }

        impl Event<'_> {
            /// Returns the kind of the event.
            pub fn kind(&self) -> EventKind {
                match self {
                    $(Self::$event { .. } => EventKind::$event,)*
                }
            }

            /// Appends the record: the kind's character, the text, a newline.
            pub(super) fn write(&self, log: &mut Vec<u8>) {
                log.push(self.kind().code());
                match self {
                    $(Self::$event $(($text))? => {
                        $($text.append_to(log);)?
                    })*
                }
                log.push(b'\n');
            }
        }
    };
}

events! {
    /// The job has the slot.
    Queued = b'q', true, Some(Phase::Queued);
    /// The guest is described: image version, and launch measurement when known.
    Vm(text: &'a str) = b'v', true, None;
    /// The source is being fetched or unpacked, or inputs are being checked.
    Init(text: &'a str) = b'i', true, Some(Phase::Init);
    /// The toolchain was detected: `cargo` or `nix`.
    Detect(text: &'a str) = b'd', true, Some(Phase::Detect);
    /// The build begins, with the command as people write it: `cargo build --release`. The event
    /// has no number, because the typed events do not have it.
    Start(text: &'a str) = b's', false, Some(Phase::Build);
    /// A tool printed one line, in whatever phase.
    Line(line: Line<'a>) = b'l', true, None;
    /// The appliance itself remarks something, in one line.
    Note(text: &'a str) = b'n', true, None;
    /// The provenance is being written.
    Provenance(text: &'a str) = b'p', true, Some(Phase::Provenance);
    /// The evidence is being requested.
    Attest(text: &'a str) = b'a', true, Some(Phase::Attest);
}

impl EventKind {
    fn of_code(code: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.code() == code)
    }
}

/// Text of an event, on its way into the log.
trait Text {
    /// Appends the text as one line.
    fn append_to(&self, log: &mut Vec<u8>);
}

impl Text for &str {
    fn append_to(&self, log: &mut Vec<u8>) {
        log.extend_from_slice(sanitise(self).as_bytes());
    }
}

impl Text for Line<'_> {
    fn append_to(&self, log: &mut Vec<u8>) {
        log.extend_from_slice(self.as_str().as_bytes());
    }
}

/// One record of the log, as it is read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The kind of the event.
    pub kind: EventKind,
    /// The text, without control characters other than tab.
    pub text: &'a str,
}

impl<'a> Record<'a> {
    /// Reads one record, without its newline. Returns `None` for bytes that are not a record.
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
        for kind in EventKind::ALL {
            assert_eq!(EventKind::of_code(kind.code()), Some(*kind));
        }
    }

    #[test]
    fn foreign_bytes_are_no_record() {
        for foreign in [&b""[..], b"xtext", b"l\xff"] {
            assert_eq!(Record::read(foreign), None);
        }
    }
}
