//! Stands between a connection and the HTTP library, and lets only requests through that can be
//! read in one way.
//!
//! * In: the bytes of a connection, decrypted where it has TLS.
//! * Out: to the HTTP library, one request at a time, the header block and exactly the body
//!   that it announces; to the service, beside each request, what was found in its header block.
//! * Never: a byte of a header block that was refused, or of anything after it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::flush::Flushes;
use super::header_block::{BodyFraming, HeaderBlock, HeaderError, Scanner};

/// The number of bytes that are read at a time while a header block is not complete.
const READ_BYTES: usize = 4 * 1024;

/// The request that the HTTP library gets in place of a refused one, so that it requests a response
/// and nothing else.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nHost: refused\r\nConnection: close\r\n\r\n";

/// The request in place of a refused one to whose response no body may belong.
const STAND_IN_FOR_HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nHost: refused\r\nConnection: close\r\n\r\n";

/// The result of reading one header block.
pub type Finding = Result<BodyFraming, HeaderError>;

/// The results of reading header blocks, in the order of the requests. The service takes one entry
/// for each request.
#[derive(Clone, Debug, Default)]
pub struct Findings(Rc<RefCell<VecDeque<Finding>>>);

impl Findings {
    /// Takes the finding about the next request; `None` for a request that was never checked.
    pub fn take(&self) -> Option<Finding> {
        self.0.borrow_mut().pop_front()
    }

    fn add(&self, finding: Finding) {
        self.0.borrow_mut().push_back(finding);
    }
}

/// A connection whose header blocks are checked. Writes pass through, and [`Flushes`] learns when
/// they are done.
#[derive(Debug)]
pub struct CheckedStream<S> {
    inner: S,
    /// The bytes that were received and not passed on yet.
    incoming: Vec<u8>,
    /// The number of bytes to pass on before the next header block begins.
    passing: u64,
    scanner: Scanner,
    refused: bool,
    findings: Findings,
    flushes: Flushes,
}

impl<S> CheckedStream<S> {
    /// Returns a stream that checks `inner`, which is at the start of a request.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            incoming: Vec::new(),
            passing: 0,
            scanner: Scanner::default(),
            refused: false,
            findings: Findings::default(),
            flushes: Flushes::default(),
        }
    }

    /// Returns the queue from which the service takes the findings.
    pub fn findings(&self) -> Findings {
        self.findings.clone()
    }

    /// Returns the state by which a body learns that its last piece is on its way.
    pub fn flushes(&self) -> Flushes {
        self.flushes.clone()
    }

    /// Returns the connection. Received bytes of a next request are lost.
    pub fn into_inner(self) -> S {
        self.inner
    }

    fn accept(&mut self, block: HeaderBlock) {
        self.scanner = Scanner::default();
        self.incoming.drain(..block.start);
        let block_bytes = (block.end - block.start) as u64;
        self.passing = match block.body {
            BodyFraming::Absent => block_bytes,
            BodyFraming::Length(length) => block_bytes.saturating_add(length),
            // Only the HTTP library finds where chunks end: such a request is the last of its
            // connection.
            BodyFraming::Chunked => u64::MAX,
        };
        self.findings.add(Ok(block.body));
    }

    fn refuse(&mut self, error: HeaderError) {
        let is_head = self.incoming.trim_ascii_start().starts_with(b"HEAD ");
        let stand_in = if is_head { STAND_IN_FOR_HEAD } else { STAND_IN };
        self.incoming = stand_in.to_vec();
        self.passing = stand_in.len() as u64;
        self.refused = true;
        self.findings.add(Err(error));
    }

    /// Passes on bytes that were received already.
    fn pass_incoming(&mut self, buffer: &mut ReadBuf<'_>) {
        let passing = usize::try_from(self.passing).unwrap_or(usize::MAX);
        let count = self.incoming.len().min(passing).min(buffer.remaining());
        buffer.put_slice(&self.incoming[..count]);
        self.incoming.drain(..count);
        self.passing -= count as u64;
    }
}

impl<S: AsyncRead + Unpin> CheckedStream<S> {
    /// Reads more of a header block. Returns the number of bytes, 0 at the end of the connection.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut bytes = [0; READ_BYTES];
        let mut buffer = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buffer))?;
        self.incoming.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Passes on bytes as they are received, up to the end of the request.
    fn poll_passing(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.remaining();
        let passing = usize::try_from(self.passing).unwrap_or(usize::MAX);
        let read = if passing >= room {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
            buffer.filled().len() - before
        } else {
            let mut limited = ReadBuf::new(buffer.initialize_unfilled_to(passing));
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut limited))?;
            let read = limited.filled().len();
            buffer.advance(read);
            read
        };
        self.passing -= read as u64;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CheckedStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.passing == 0 {
            if this.refused {
                // For the HTTP library the connection ends here.
                return Poll::Ready(Ok(()));
            }
            match this.scanner.scan(&this.incoming) {
                Ok(Some(block)) => this.accept(block),
                Err(error) => this.refuse(error),
                Ok(None) => {
                    if ready!(this.poll_incoming(cx))? == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
        if this.incoming.is_empty() {
            return this.poll_passing(cx, buffer);
        }
        this.pass_incoming(buffer);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CheckedStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.inner).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            this.flushes.done();
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// Returns its pieces one read at a time, and of each at most what there is room for.
    struct Pieces(VecDeque<Vec<u8>>);

    impl AsyncRead for Pieces {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let pieces = &mut self.get_mut().0;
            if let Some(mut piece) = pieces.pop_front() {
                let rest = piece.split_off(piece.len().min(buffer.remaining()));
                buffer.put_slice(&piece);
                if !rest.is_empty() {
                    pieces.push_front(rest);
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    /// Returns all bytes that pass, by reads of `room` bytes, and the findings. Checks that no read
    /// goes beyond one request.
    fn passed(pieces: &[&[u8]], room: usize) -> (Vec<u8>, Vec<Finding>) {
        let pieces = pieces
            .iter()
            .map(|piece| piece.to_vec())
            .filter(|piece| !piece.is_empty())
            .collect();
        let mut stream = CheckedStream::new(Pieces(pieces));
        let findings = stream.findings();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let (mut passed, mut found) = (Vec::new(), Vec::new());
        loop {
            let mut bytes = vec![0; room];
            let count = runtime.block_on(stream.read(&mut bytes)).unwrap();
            let first = bytes[..count]
                .windows(9)
                .filter(|window| *window == b" HTTP/1.1")
                .count();
            assert!(first <= 1, "{}", bytes.escape_ascii());
            found.extend(std::iter::from_fn(|| findings.take()));
            if count == 0 {
                return (passed, found);
            }
            passed.extend_from_slice(&bytes[..count]);
        }
    }

    const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    const POST: &[u8] = b"POST /b HTTP/1.1\r\nHost: b\r\nContent-Length: 8\r\n\r\nGET /c H";

    #[test]
    fn requests_pass_one_at_a_time_with_exactly_their_bodies() {
        let bytes = [GET, POST, GET, POST].concat();
        let expected = [BodyFraming::Absent, BodyFraming::Length(8)].map(Ok);
        let expected = [&expected[..], &expected].concat();
        for cut in 0..bytes.len() {
            for room in [1, 7, 8192] {
                let (passed, found) = passed(&[&bytes[..cut], &bytes[cut..]], room);
                assert!(
                    passed == bytes && found == expected,
                    "{cut} {room}: {}",
                    passed.escape_ascii()
                );
            }
        }
    }

    #[test]
    fn nothing_of_a_refused_request_passes_nor_of_what_follows_it() {
        for (refused, stand_in) in [
            (&b"GET /d HTTP/1.1\nHost: d\n\n"[..], STAND_IN),
            (b"\r\nHEAD /e HTTP/1.1\r\nX\r\n\r\n", STAND_IN_FOR_HEAD),
        ] {
            let bytes = [POST, refused, GET].concat();
            for cut in 0..bytes.len() {
                let (passed, found) = passed(&[&bytes[..cut], &bytes[cut..]], 8192);
                assert_eq!(passed, [POST, stand_in].concat(), "{cut}");
                assert!(
                    matches!(&found[..], [Ok(BodyFraming::Length(8)), Err(_)]),
                    "{cut}: {found:?}"
                );
            }
        }
    }

    #[test]
    fn half_a_header_block_does_not_pass() {
        for cut in 0..GET.len() {
            assert_eq!(
                passed(&[POST, &GET[..cut]], 8192),
                (POST.to_vec(), vec![Ok(BodyFraming::Length(8))]),
                "{cut}"
            );
        }
    }
}
