//! Progress as Server-Sent Events, and as plain text. Comes in: a job and a place in its log. Goes out: its events from
//! there on, in one of the views, until the job is over. Never: a queue; each reader reads the log for itself, at its
//! own pace. Nor a piece that begins or ends within an event.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Bytes, Frame};
use hyper::header::{self, HeaderName};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use tokio::time::{Instant, Sleep, sleep};

use super::flush::Flushes;
use super::limits::EVENT_HEARTBEAT;
use super::problem::Problem;
use super::query;
use super::respond::{self, Body};
use super::result::Results;
use super::view::View;
use crate::job::{Chunk, Cursor, Job};

/// Most bytes of a piece of the stream; only an event that is longer alone is a longer piece. With the framing of HTTP, and
/// with the header block before the first one, a piece fits into a record of TLS, which holds 16 KiB.
const PIECE_BYTES: usize = 15 * 1024;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Answers a request for a job's events, in the typed view: the stream, or 204 for a reader that has the last event
/// already. A browser's `EventSource` asks again after every stream that ends, until it gets a 204 (HTML, section 9.2.3).
///
/// # Errors
/// 400: a number is malformed. 500: the log cannot be read.
pub fn answer(
    job: Arc<Job>,
    results: Arc<Results>,
    parts: &Parts,
) -> Result<Response<Body>, Problem> {
    let wanted = Wanted::read(parts)?;
    let log = job.log();
    if log.closed() && wanted.last_seen == Some(log.events()) {
        return Ok(respond::empty(StatusCode::NO_CONTENT));
    }
    stream(job, results, View::Typed, wanted.first(), parts)
}

/// The place in a job's events that a reader asks for.
struct Wanted {
    from: Option<u64>,
    last_seen: Option<u64>,
}

impl Wanted {
    /// Returns the number of the first event: the one after `Last-Event-ID`, else `from`, else 0.
    fn first(&self) -> u64 {
        self.last_seen
            .map(|last| last.saturating_add(1))
            .or(self.from)
            .unwrap_or(0)
    }

    /// # Errors
    /// 400: one of the two is no number.
    fn read(parts: &Parts) -> Result<Self, Problem> {
        let number = |what: &str, text: Option<&str>| {
            text.and_then(query::number).ok_or_else(|| {
                Problem::new(
                    400,
                    "event-number-invalid",
                    format!("{what} is not a decimal number"),
                )
            })
        };
        let from = query::parameter(parts.uri.query(), "from")?
            .map(|text| number("from", Some(&text)))
            .transpose()?;
        let last_seen = parts
            .headers
            .get(LAST_EVENT_ID)
            .map(|value| number("Last-Event-ID", value.to_str().ok()))
            .transpose()?;
        Ok(Self { from, last_seen })
    }
}

/// The stream of a job's events from the one with the number `first` on.
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
    let body = EventBody::new(job, results, view, first);
    let mut response = response(body, parts, "text/event-stream")?;
    let headers = response.headers_mut();
    respond::set(headers, header::CACHE_CONTROL, "no-cache");
    respond::set(headers, X_ACCEL_BUFFERING, "no");
    Ok(response)
}

/// The output of a job's build so far, as plain text, whether the job runs, has failed or has succeeded.
///
/// # Errors
/// 500: the log cannot be read.
pub fn build_log(
    job: Arc<Job>,
    results: Arc<Results>,
    parts: &Parts,
) -> Result<Response<Body>, Problem> {
    let body = EventBody::new(job, results, View::Log, 0);
    let mut response = response(body, parts, "text/plain; charset=utf-8")?;
    respond::set(response.headers_mut(), header::CACHE_CONTROL, "no-cache");
    Ok(response)
}

fn response(
    body: io::Result<EventBody>,
    parts: &Parts,
    content_type: &'static str,
) -> Result<Response<Body>, Problem> {
    let mut body = body.map_err(|error| Problem::internal("the event log", &error))?;
    body.flushes = parts.extensions.get().cloned();
    Ok(respond::response(
        StatusCode::OK,
        content_type,
        body.boxed_unsync(),
    ))
}

type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One reader.
struct EventBody {
    job: Arc<Job>,
    results: Arc<Results>,
    view: View,
    cursor: Cursor,
    chunk: Chunk,
    /// Events that belong to the next pieces.
    pending: Vec<u8>,
    waiting: Option<Waiting>,
    heartbeat: Pin<Box<Sleep>>,
    /// Nothing is to be added to `pending` any more.
    ended: bool,
    flushes: Option<Flushes>,
}

impl EventBody {
    fn new(job: Arc<Job>, results: Arc<Results>, view: View, first: u64) -> io::Result<Self> {
        let log = job.log();
        // The terminal event has the number after the last in the log. Beyond it nothing comes.
        let ended = log.closed() && first > log.events();
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

    /// Polls for the next piece of the stream: some events, or a comment. Waits before each until the connection has
    /// taken the one before.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let Some(flushes) = &self.flushes {
            std::task::ready!(flushes.poll_done(cx));
        }
        let next = self.poll_piece(cx);
        if let (Some(flushes), Poll::Ready(Some(Ok(_)))) = (&self.flushes, &next) {
            flushes.begin();
        }
        next
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            if self.ended && self.pending.is_empty() {
                return Poll::Ready(None);
            }
            if let Some(waiting) = &mut self.waiting {
                if waiting.as_mut().poll(cx).is_pending() {
                    std::task::ready!(self.heartbeat.as_mut().poll(cx));
                    self.rest();
                    return Poll::Ready(Some(Ok(Bytes::from_static(b": still there\n\n"))));
                }
                self.waiting = None;
            }
            match self.piece() {
                Ok(piece) if piece.is_empty() && self.ended => return Poll::Ready(None),
                Ok(piece) if piece.is_empty() => {
                    self.chunk.release();
                    self.waiting = Some(Box::pin(Arc::clone(self.job.log()).grown(self.cursor)));
                }
                Ok(piece) => {
                    self.rest();
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

    fn rest(&mut self) {
        self.heartbeat
            .as_mut()
            .reset(Instant::now() + EVENT_HEARTBEAT);
    }

    /// Events that are there, as many as [`PIECE_BYTES`] hold; the terminal one after all others.
    fn piece(&mut self) -> io::Result<Vec<u8>> {
        while self.pending.len() < PIECE_BYTES && !self.ended {
            let out = &mut self.pending;
            if let Some((number, record)) = self.chunk.next(&mut self.cursor)? {
                self.view.record(&self.job, number, record, out);
                continue;
            }
            let closed = self.job.log().closed();
            if self.job.log().read(self.cursor, &mut self.chunk)? {
                continue;
            }
            if !self.view.follows() {
                self.ended = true;
                break;
            }
            let (true, Some(documents)) = (closed, self.results.of(&self.job)) else {
                break;
            };
            let number = self.job.log().events();
            self.view.complete(number, documents, out);
            self.ended = true;
        }
        Ok(take_piece(&mut self.pending))
    }
}

/// Takes whole events, as many as fit into a piece and at least one. An event ends with an empty line, and has no other.
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

impl HttpBody for EventBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = self.get_mut().poll_next(cx);
        piece.map(|next| next.map(|bytes| bytes.map(Frame::data)))
    }
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
