//! A response body that is produced piece by piece, as the client takes it.
//!
//! * In: a source of pieces: a part of a file, or the events of a job.
//! * Out: a body for the HTTP library.
//! * Never: a piece that is read before the library asks for one.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};

use super::respond::Body;

/// Produces the pieces of one body.
pub trait Pieces: Send + Unpin + 'static {
    /// Polls for the next piece, or for `None` at the end.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>>;

    /// Returns the number of bytes that are still to come, where it is known.
    fn remaining(&self) -> Option<u64>;
}

/// Returns a body of these pieces.
pub fn body(pieces: impl Pieces) -> Body {
    PieceBody(pieces).boxed_unsync()
}

struct PieceBody<P>(P);

impl<P: Pieces> HttpBody for PieceBody<P> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let next = self.get_mut().0.poll_next(cx);
        next.map_ok(Frame::data)
    }

    fn is_end_stream(&self) -> bool {
        self.0.remaining() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.0
            .remaining()
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
