//! Sends a job's progress as Server-Sent Events, and as plain text.
//!
//! * In: a job, and the position in its log from which a reader wants it.
//! * Out: its events from there on, in one of the views, until the job is over.
//! * Never: a queue (each reader reads the log for itself, at its own pace), or a piece that begins
//!   or ends within an event.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::Bytes;
use hyper::header::{self, HeaderName};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use tokio::time::{Instant, Sleep, sleep};

use super::flush::Flushes;
use super::limits::EVENT_HEARTBEAT;
use super::piece_body::{self, Pieces};
use super::problem::Problem;
use super::query;
use super::respond::{self, Body};
use super::result::Results;
use super::view::View;
use crate::job::{Chunk, Cursor, Job};

/// The most bytes of a piece of the stream; only an event that is longer by itself is a longer
/// piece. With the framing of HTTP, and with the header block before the first one, a piece fits
/// into a record of TLS, which has 16 KiB.
const PIECE_BYTES: usize = 15 * 1024;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Answers a request for a job's events in the typed view: with the stream, or with 204 for a
/// reader that has the last event already. A browser's `EventSource` asks again after every stream
/// that ends, until it gets a 204 (HTML, section 9.2.3).
///
/// # Errors
/// 400: a number is malformed. 500: the log cannot be read.
pub fn answer(
    job: Arc<Job>,
    results: Arc<Results>,
    parts: &Parts,
) -> Result<Response<Body>, Problem> {
    let position = RequestedPosition::read(parts)?;
    let log = job.log();
    if log.is_closed() && position.last_seen == Some(log.event_count()) {
        return Ok(respond::empty(StatusCode::NO_CONTENT));
    }
    stream(job, results, View::Typed, position.first(), parts)
}

/// The position in a job's events that a reader requests.
struct RequestedPosition {
    from: Option<u64>,
    last_seen: Option<u64>,
}

impl RequestedPosition {
    /// Returns the number of the first event: the one after `Last-Event-ID`, else `from`, else 0.
    fn first(&self) -> u64 {
        self.last_seen
            .map(|last| last.saturating_add(1))
            .or(self.from)
            .unwrap_or(0)
    }

    /// # Errors
    /// 400: one of the two is not a number.
    fn read(parts: &Parts) -> Result<Self, Problem> {
        let from = query::parameter(parts.uri.query(), "from")?;
        let last_seen = parts.headers.get(LAST_EVENT_ID);
        let from = from.map(|text| event_number("from", Some(&text)));
        let last_seen = last_seen.map(|value| event_number("Last-Event-ID", value.to_str().ok()));
        Ok(Self {
            from: from.transpose()?,
            last_seen: last_seen.transpose()?,
        })
    }
}

fn event_number(name: &str, text: Option<&str>) -> Result<u64, Problem> {
    text.and_then(query::number).ok_or_else(|| {
        let detail = format!("{name} is not a decimal number");
        Problem::new(400, "event-number-invalid", detail)
    })
}

/// Returns the stream of a job's events, from the event with the number `first` on.
///
/// # Errors
/// 500: the log cannot be read.
pub fn stream(
    job: Arc<Job>,
    results: Arc<Results>,
    view: View,
    first: u64,
    parts: &Parts,
) -> Result<Response<Body>, Problem> {
    let pieces = EventPieces::new(job, results, view, first);
    let mut response = response(pieces, parts, "text/event-stream")?;
    let headers = response.headers_mut();
    respond::set(headers, header::CACHE_CONTROL, "no-cache");
    respond::set(headers, X_ACCEL_BUFFERING, "no");
    Ok(response)
}

/// Returns the output of a job's build so far as plain text, whether the job runs, has failed or
/// has succeeded.
///
/// # Errors
/// 500: the log cannot be read.
pub fn build_log(
    job: Arc<Job>,
    results: Arc<Results>,
    parts: &Parts,
) -> Result<Response<Body>, Problem> {
    let pieces = EventPieces::new(job, results, View::Log, 0);
    let mut response = response(pieces, parts, "text/plain; charset=utf-8")?;
    respond::set(response.headers_mut(), header::CACHE_CONTROL, "no-cache");
    Ok(response)
}

fn response(
    pieces: io::Result<EventPieces>,
    parts: &Parts,
    content_type: &'static str,
) -> Result<Response<Body>, Problem> {
    let mut pieces = pieces.map_err(|error| Problem::internal("the event log", &error))?;
    pieces.flushes = parts.extensions.get().cloned();
    let body = piece_body::body(pieces);
    Ok(respond::response(StatusCode::OK, content_type, body))
}

type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One reader of a job's events.
struct EventPieces {
    job: Arc<Job>,
    results: Arc<Results>,
    view: View,
    cursor: Cursor,
    chunk: Chunk,
    /// Events that belong to the next pieces.
    pending: Vec<u8>,
    waiting: Option<Waiting>,
    heartbeat: Pin<Box<Sleep>>,
    /// Whether nothing is added to `pending` any more.
    ended: bool,
    flushes: Option<Flushes>,
}

impl EventPieces {
    fn new(job: Arc<Job>, results: Arc<Results>, view: View, first: u64) -> io::Result<Self> {
        let log = job.log();
        // The terminal event has the number after the last in the log. Beyond it nothing comes.
        let ended = log.is_closed() && first > log.event_count();
        let cursor = if first == 0 {
            log.start()
        } else {
            log.seek(first)?
        };
        let heartbeat = Box::pin(sleep(EVENT_HEARTBEAT));
        Ok(Self {
            view,
            cursor,
            chunk: Chunk::default(),
            pending: Vec::new(),
            waiting: None,
            heartbeat,
            ended,
            flushes: None,
            job,
            results,
        })
    }

    /// Polls for some events, or for a comment when nothing happens for too long.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            if self.ended && self.pending.is_empty() {
                return Poll::Ready(None);
            }
            if let Some(waiting) = &mut self.waiting {
                if waiting.as_mut().poll(cx).is_pending() {
                    ready!(self.heartbeat.as_mut().poll(cx));
                    self.reset_heartbeat();
                    return Poll::Ready(Some(Ok(Bytes::from_static(b": still there\n\n"))));
                }
                self.waiting = None;
            }
            match self.piece() {
                Ok(piece) if piece.is_empty() && self.ended => return Poll::Ready(None),
                Ok(piece) if piece.is_empty() => self.wait_for_growth(),
                Ok(piece) => {
                    self.reset_heartbeat();
                    return Poll::Ready(Some(Ok(piece.into())));
                }
                Err(error) => {
                    log::error!("the event log cannot be read: {error}");
                    self.ended = true;
                    self.pending.clear();
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    fn wait_for_growth(&mut self) {
        self.chunk.release();
        let log = Arc::clone(self.job.log());
        self.waiting = Some(Box::pin(log.grown(self.cursor)));
    }

    fn reset_heartbeat(&mut self) {
        let next = Instant::now() + EVENT_HEARTBEAT;
        self.heartbeat.as_mut().reset(next);
    }

    /// Returns events that have happened, at most [`PIECE_BYTES`] of them; empty where there are
    /// none yet.
    fn piece(&mut self) -> io::Result<Vec<u8>> {
        while self.pending.len() < PIECE_BYTES && !self.ended {
            if !self.take_event()? {
                break;
            }
        }
        Ok(take_piece(&mut self.pending))
    }

    /// Takes a step towards the next event: adds a record, reads more of the log, or ends. The
    /// terminal event comes after all others. Returns whether there was anything to do.
    fn take_event(&mut self) -> io::Result<bool> {
        let out = &mut self.pending;
        if let Some((number, record)) = self.chunk.next(&mut self.cursor)? {
            self.view.record(&self.job, number, record, out);
            return Ok(true);
        }
        let log = self.job.log();
        // Before the read: a log that is closed here has nothing after what is read now.
        let is_closed = log.is_closed();
        if log.read(self.cursor, &mut self.chunk)? {
            return Ok(true);
        }
        if !self.view.follows() {
            self.ended = true;
        } else if is_closed && let Some(documents) = self.results.of(&self.job) {
            self.view.complete(log.event_count(), documents, out);
            self.ended = true;
        }
        Ok(self.ended)
    }
}

impl Pieces for EventPieces {
    /// Waits before each piece until the connection has taken the one before.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let Some(flushes) = &self.flushes {
            ready!(flushes.poll_done(cx));
        }
        let next = self.poll_piece(cx);
        if let (Some(flushes), Poll::Ready(Some(Ok(_)))) = (&self.flushes, &next) {
            flushes.begin();
        }
        next
    }

    fn remaining(&self) -> Option<u64> {
        None
    }
}

/// Takes whole events, at least one and as many as fit into a piece. An event ends with an empty
/// line, and contains no other.
fn take_piece(pending: &mut Vec<u8>) -> Vec<u8> {
    if pending.len() <= PIECE_BYTES {
        return std::mem::take(pending);
    }
    let is_end = |two: &[u8]| two == b"\n\n";
    let fitting = pending[..PIECE_BYTES].windows(2).rposition(is_end);
    let last = fitting.or_else(|| pending.windows(2).position(is_end));
    let rest = pending.split_off(last.map_or(pending.len(), |end| end + 2));
    std::mem::replace(pending, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_has_whole_events_and_as_many_as_fit() {
        let event = |bytes: usize| format!("data: {}\n\n", "x".repeat(bytes - 8)).into_bytes();
        for (lengths, pieces) in [
            (&[100, 200][..], &[300][..]),
            (&[PIECE_BYTES - 8, 8], &[PIECE_BYTES]),
            (&[PIECE_BYTES - 8, 9], &[PIECE_BYTES - 8, 9]),
            (&[3 * PIECE_BYTES, 10], &[3 * PIECE_BYTES, 10]),
            (&[10, 3 * PIECE_BYTES], &[10, 3 * PIECE_BYTES]),
        ] {
            let mut pending = lengths.iter().copied().flat_map(event).collect();
            let taken: Vec<usize> = std::iter::from_fn(|| {
                let piece = take_piece(&mut pending);
                (!piece.is_empty()).then_some(piece.len())
            })
            .collect();
            assert_eq!(taken, pieces, "{lengths:?}");
        }
    }
}
