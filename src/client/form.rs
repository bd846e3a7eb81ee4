//! Builds the body of a request: nothing, or the fields of a form and a file, with a known length.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};

/// How much of a file is read at once, in bytes.
const PIECE_BYTES: u64 = 64 << 10;

/// The body of a request, which is sent piece by piece.
#[derive(Debug, Default)]
pub struct Form {
    pieces: VecDeque<Piece>,
    left: u64,
    sent: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    File(File, u64),
}

/// Writes `multipart/form-data` (RFC 7578).
pub struct Multipart {
    boundary: String,
    form: Form,
}

impl Multipart {
    /// Starts a form. The boundary must be text that no part contains, such as random digits.
    pub fn new(boundary: String) -> Self {
        Self {
            boundary,
            form: Form::default(),
        }
    }

    /// Returns the value of the header `Content-Type`.
    pub fn content_type(&self) -> String {
        format!("multipart/form-data; boundary={}", self.boundary)
    }

    /// Adds a field with a short value.
    pub fn field(&mut self, name: &str, value: &str) {
        let boundary = &self.boundary;
        self.form.bytes(format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        ));
    }

    /// Adds a file of `size` bytes, which are read from its current position. Characters that would
    /// end the file name are replaced.
    pub fn file(&mut self, name: &str, filename: &str, file: File, size: u64) {
        let boundary = &self.boundary;
        let filename = filename.replace(['"', '\\', '\r', '\n'], "_");
        self.form.bytes(format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; \
             filename=\"{filename}\"\r\nContent-Type: application/octet-stream\r\n\r\n"
        ));
        self.form.left += size;
        self.form.pieces.push_back(Piece::File(file, size));
        self.form.bytes("\r\n".to_owned());
    }

    /// Ends the form and returns the body.
    pub fn finish(mut self) -> Form {
        self.form.bytes(format!("--{}--\r\n", self.boundary));
        self.form
    }
}

impl Form {
    fn bytes(&mut self, text: String) {
        self.left += text.len() as u64;
        self.pieces.push_back(Piece::Bytes(text.into()));
    }

    /// Returns how many bytes are left to send.
    pub const fn size(&self) -> u64 {
        self.left
    }

    /// Returns a counter of the bytes that were taken for sending.
    pub fn sent(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.sent)
    }

    fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            match self.pieces.pop_front()? {
                Piece::Bytes(bytes) => return Some(Ok(bytes)),
                Piece::File(_, 0) => {}
                Piece::File(mut file, left) => {
                    let wanted = usize::try_from(left.min(PIECE_BYTES)).unwrap_or_default();
                    let mut buffer = vec![0; wanted];
                    if let Err(error) = file.read_exact(&mut buffer) {
                        return Some(Err(error));
                    }
                    self.pieces
                        .push_front(Piece::File(file, left - wanted as u64));
                    return Some(Ok(buffer.into()));
                }
            }
        }
    }
}

impl Body for Form {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let form = self.get_mut();
        Poll::Ready(form.next().map(|piece| {
            let piece = piece?;
            form.left = form.left.saturating_sub(piece.len() as u64);
            form.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
            Ok(Frame::data(piece))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
