//! Keeps the append-only event log of a job.
//!
//! * In: events, in order.
//! * Out: records, to any number of readers, each at its own pace.
//! * Never: the whole log in memory. Memory has the tail that is not in the file yet, about
//!   [`BATCH_BYTES`], and the offset of every [`INDEX_STRIDE`]th event.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::event::{Event, EventKind, Record};
use super::line::{MAX_LINE_BYTES, NOTE_MARK};

/// The largest log of a job, in bytes.
pub const MAX_LOG_BYTES: u64 = 512 * 1024 * 1024;
/// The length at which the tail is written to the file, in bytes.
const BATCH_BYTES: usize = 64 * 1024;
/// The number of bytes that a reader takes from the file at a time: two of the longest records.
const READ_BYTES: usize = 2 * (MAX_LINE_BYTES + 2);
/// The number of numbered events from one entry of the index to the next.
const INDEX_STRIDE: u64 = 1024;

/// The reason why an event could not be appended.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log has reached its limit.
    #[error("the build log would exceed its limit of {limit} bytes")]
    Full {
        /// The most bytes that the log may have.
        limit: u64,
    },
    /// The job has ended, and its log with it.
    #[error("the log is closed")]
    Closed,
    /// The file could not be written.
    #[error("the log file could not be written")]
    File(#[from] io::Error),
}

/// The event log of one job.
#[derive(Debug)]
pub struct EventLog {
    file: File,
    limit: u64,
    state: Mutex<State>,
    grown: Notify,
}

#[derive(Debug, Default)]
struct State {
    pending: Vec<u8>,
    written: u64,
    events: u64,
    index: Vec<u64>,
    closed: bool,
}

impl State {
    /// Returns the offset after the last record.
    fn end(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    /// Returns the position of the last event in the index that is not after the event `number`, or
    /// the end of the log where that event has not happened yet.
    fn indexed(&self, number: u64) -> Cursor {
        if number >= self.events {
            return Cursor {
                offset: self.end(),
                next: self.events,
            };
        }
        let entry = number / INDEX_STRIDE;
        let offset = usize::try_from(entry)
            .ok()
            .and_then(|entry| self.index.get(entry));
        match offset {
            Some(offset) => Cursor {
                offset: *offset,
                next: entry * INDEX_STRIDE,
            },
            None => Cursor::START,
        }
    }
}

/// The position of one reader in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    offset: u64,
    /// The number of the next numbered event.
    next: u64,
}

impl Cursor {
    /// The position before the first record.
    const START: Self = Self { offset: 0, next: 0 };
}

impl EventLog {
    /// Creates a log in a new file.
    ///
    /// # Errors
    /// The file exists or cannot be created.
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::with_limit(path, MAX_LOG_BYTES)
    }

    fn with_limit(path: &Path, limit: u64) -> io::Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        Ok(Self {
            file,
            limit,
            state: Mutex::default(),
            grown: Notify::new(),
        })
    }

    /// Appends an event, and wakes the readers.
    ///
    /// # Errors
    /// The log is full or closed, or its file cannot be written. The event is then not in the log.
    pub fn append(&self, event: Event<'_>) -> Result<(), LogError> {
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.closed {
            return Err(LogError::Closed);
        }
        if state.pending.len() >= BATCH_BYTES {
            self.write_out(state)?;
        }
        let start = state.pending.len();
        event.write(&mut state.pending);
        if state.end() > self.limit {
            state.pending.truncate(start);
            return Err(LogError::Full { limit: self.limit });
        }
        if event.kind().is_numbered() {
            if state.events.is_multiple_of(INDEX_STRIDE) {
                state.index.push(state.written + start as u64);
            }
            state.events += 1;
        }
        drop(guard);
        self.grown.notify_waiters();
        Ok(())
    }

    /// Closes the log: readers that have read everything are at the end.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.grown.notify_waiters();
    }

    /// Returns the number of numbered events so far.
    pub fn event_count(&self) -> u64 {
        self.lock().events
    }

    /// Returns whether the log is closed.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Returns the position before the first record.
    pub fn start(&self) -> Cursor {
        Cursor::START
    }

    /// Returns the position of the numbered event `number`, or the end where it has not happened
    /// yet.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn seek(&self, number: u64) -> io::Result<Cursor> {
        let (mut cursor, target) = {
            let state = self.lock();
            (state.indexed(number), number.min(state.events))
        };
        let mut chunk = Chunk::default();
        while cursor.next < target {
            if chunk.next(&mut cursor)?.is_none() && !self.read(cursor, &mut chunk)? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(cursor)
    }

    /// Fills `chunk` with whole records from `cursor` on. Returns false where there are none yet.
    ///
    /// # Errors
    /// The file cannot be read, or has bytes that are not a record.
    pub fn read(&self, cursor: Cursor, chunk: &mut Chunk) -> io::Result<bool> {
        chunk.used = 0;
        let written = {
            let state = self.lock();
            if let Some(into_tail) = cursor.offset.checked_sub(state.written) {
                let start = usize::try_from(into_tail).unwrap_or(usize::MAX);
                let tail = state.pending.get(start..).unwrap_or_default();
                return chunk.keep(tail);
            }
            state.written
        };
        let available = usize::try_from(written - cursor.offset).unwrap_or(usize::MAX);
        let mut bytes = std::mem::take(&mut chunk.bytes);
        bytes.resize(available.min(READ_BYTES), 0);
        self.file.read_exact_at(&mut bytes, cursor.offset)?;
        chunk.bytes = bytes;
        chunk.cut()
    }

    /// Waits until there is more after `cursor`, or the log is closed.
    pub async fn grown(self: Arc<Self>, cursor: Cursor) {
        let grown = self.grown.notified();
        let mut grown = std::pin::pin!(grown);
        grown.as_mut().enable();
        let waiting = {
            let state = self.lock();
            state.end() <= cursor.offset && !state.closed
        };
        if waiting {
            grown.await;
        }
    }

    /// Writes `build.log`: every line of build output, as the events show it, and every note after
    /// [`NOTE_MARK`], each with a newline.
    ///
    /// # Errors
    /// The log cannot be read, or `out` cannot be written.
    pub fn write_build_log(&self, mut out: impl Write) -> io::Result<()> {
        let mut cursor = self.start();
        let mut chunk = Chunk::default();
        while self.read(cursor, &mut chunk)? {
            while let Some((_, record)) = chunk.next(&mut cursor)? {
                match record.kind {
                    EventKind::Line => {}
                    EventKind::Note => write!(out, "{NOTE_MARK} ")?,
                    _ => continue,
                }
                out.write_all(record.text.as_bytes())?;
                out.write_all(b"\n")?;
            }
        }
        Ok(())
    }

    /// Writes the tail to the file.
    fn write_out(&self, state: &mut State) -> io::Result<()> {
        if !state.pending.is_empty() {
            self.file.write_all_at(&state.pending, state.written)?;
            state.written = state.end();
            state.pending.clear();
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Some records, in the buffer of one reader.
#[derive(Debug, Default)]
pub struct Chunk {
    bytes: Vec<u8>,
    used: usize,
}

impl Chunk {
    fn keep(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let count = bytes.len().min(READ_BYTES);
        self.bytes.clear();
        self.bytes.extend_from_slice(&bytes[..count]);
        self.cut()
    }

    /// Keeps whole records only; returns whether there are any.
    fn cut(&mut self) -> io::Result<bool> {
        let last_end = self.bytes.iter().rposition(|byte| *byte == b'\n');
        let whole = last_end.map_or(0, |end| end + 1);
        if whole == 0 && !self.bytes.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.bytes.truncate(whole);
        Ok(whole > 0)
    }

    /// Returns the next record, and moves `cursor` past it. The number is the record's own, or that
    /// of the next numbered record where this one has none.
    ///
    /// # Errors
    /// The file has bytes that are not a record.
    pub fn next(&mut self, cursor: &mut Cursor) -> io::Result<Option<(u64, Record<'_>)>> {
        let rest = &self.bytes[self.used..];
        let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
            return Ok(None);
        };
        self.used += length + 1;
        let record = Record::read(&rest[..length]).ok_or(io::ErrorKind::InvalidData)?;
        let number = cursor.next;
        cursor.offset += length as u64 + 1;
        cursor.next += u64::from(record.kind.is_numbered());
        Ok(Some((number, record)))
    }

    /// Frees the memory of the buffer, for a reader that is going to wait.
    pub fn release(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::line::LineSplitter;

    fn log(limit: u64) -> (tempfile::TempDir, EventLog) {
        let directory = tempfile::tempdir().unwrap();
        let log = EventLog::with_limit(&directory.path().join("events"), limit).unwrap();
        (directory, log)
    }

    fn line(log: &EventLog, text: &str) -> Result<(), LogError> {
        LineSplitter::new().push(format!("{text}\n").as_bytes(), |line| {
            log.append(Event::Line(line))
        })
    }

    fn texts_from(log: &EventLog, number: u64) -> Vec<(u64, EventKind, String)> {
        let mut cursor = log.seek(number).unwrap();
        let mut chunk = Chunk::default();
        let mut texts = Vec::new();
        while log.read(cursor, &mut chunk).unwrap() {
            while let Some((number, record)) = chunk.next(&mut cursor).unwrap() {
                texts.push((number, record.kind, record.text.to_owned()));
            }
        }
        texts
    }

    #[test]
    fn reads_back_from_any_number() {
        let (_directory, log) = log(MAX_LOG_BYTES);
        log.append(Event::Queued).unwrap();
        log.append(Event::Start("cargo build --release")).unwrap();
        for number in 1..5000 {
            line(&log, &format!("line {number}")).unwrap();
        }
        assert_eq!(log.event_count(), 5000);
        for from in [1, 2, 1023, 1024, 1025, 4096, 4999] {
            let numbered: Vec<_> = texts_from(&log, from)
                .into_iter()
                .filter(|(_, kind, _)| kind.is_numbered())
                .collect();
            assert_eq!(numbered.len() as u64, 5000 - from);
            assert_eq!(numbered[0], (from, EventKind::Line, format!("line {from}")));
        }
        assert_eq!(texts_from(&log, 5000), []);
        assert_eq!(texts_from(&log, u64::MAX), []);
    }

    #[test]
    fn notes_and_lines_are_told_apart_in_the_build_log() {
        let (_directory, log) = log(MAX_LOG_BYTES);
        log.append(Event::Init("fetching")).unwrap();
        log.append(Event::Note("a note\n[kettle] x")).unwrap();
        line(&log, "[kettle] a note").unwrap();
        line(&log, "a line").unwrap();
        let mut text = Vec::new();
        log.write_build_log(&mut text).unwrap();
        let expected = "[kettle] a note\\u{a}[kettle] x\n\\u{5b}kettle] a note\na line\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn unnumbered_events_do_not_disturb_the_numbers() {
        let (_directory, log) = log(MAX_LOG_BYTES);
        log.append(Event::Queued).unwrap();
        log.append(Event::Start("cargo build --release")).unwrap();
        line(&log, "a").unwrap();
        assert_eq!(
            texts_from(&log, 0),
            [
                (0, EventKind::Queued, String::new()),
                (1, EventKind::Start, "cargo build --release".to_owned()),
                (1, EventKind::Line, "a".to_owned())
            ]
        );
    }

    #[test]
    fn beyond_its_limit_it_refuses_and_keeps_what_it_has() {
        let (_directory, log) = log(20);
        line(&log, "0123456789").unwrap();
        assert!(matches!(
            line(&log, "0123456789"),
            Err(LogError::Full { limit: 20 })
        ));
        line(&log, "0123").unwrap();
        assert_eq!(texts_from(&log, 0).len(), 2);
        log.close();
        assert!(matches!(line(&log, ""), Err(LogError::Closed)));
    }

    #[test]
    fn memory_holds_no_more_than_a_batch() {
        let (_directory, log) = log(MAX_LOG_BYTES);
        let text = "x".repeat(MAX_LINE_BYTES);
        for _ in 0..100 {
            line(&log, &text).unwrap();
            assert!(log.lock().pending.len() <= BATCH_BYTES + MAX_LINE_BYTES + 2);
        }
        let texts = texts_from(&log, 0);
        assert_eq!(texts.len(), 100);
        assert!(texts.iter().all(|(_, _, read)| *read == text));
    }

    #[test]
    fn a_file_that_cannot_be_written_costs_nothing_that_was_taken() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events");
        std::fs::write(&path, b"").unwrap();
        let file = File::open(&path).unwrap();
        let log = EventLog {
            file,
            limit: MAX_LOG_BYTES,
            state: Mutex::default(),
            grown: Notify::new(),
        };
        let text = "x".repeat(MAX_LINE_BYTES);
        let taken = (0..).take_while(|_| line(&log, &text).is_ok()).count();
        assert!(matches!(line(&log, "more"), Err(LogError::File(_))));
        assert!(taken > 0 && log.event_count() == taken as u64);
        assert_eq!(texts_from(&log, 0).len(), taken);
    }

    #[test]
    fn build_log_is_the_output_and_nothing_else() {
        let (_directory, log) = log(MAX_LOG_BYTES);
        log.append(Event::Queued).unwrap();
        line(&log, "one").unwrap();
        log.append(Event::Provenance("p")).unwrap();
        line(&log, "").unwrap();
        line(&log, "\u{1b}").unwrap();
        let mut out = Vec::new();
        log.write_build_log(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "one\n\n\\u{1b}\n");
    }
}
