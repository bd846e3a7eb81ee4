//! Downloads. Comes in: what a finished job recorded about a file, and request headers. Goes out: the file or a part
//! of it, read in bounded pieces. Never: a path from a request, or bytes of another length than was recorded.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use hyper::header::{self, HeaderName};
use hyper::{HeaderMap, Method, Response, StatusCode};
use tokio::task::JoinHandle;

use super::links;
use super::problem::Problem;
use super::range::Selection;
use super::respond::{self, Body};
use crate::digest::Sha256Digest;

/// Bytes that are read at a time.
const PIECE_BYTES: usize = 64 * 1024;

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// Something that can be downloaded.
#[derive(Debug)]
pub struct Download {
    source: Source,
    size: u64,
    sha256: Sha256Digest,
    content_type: &'static str,
    /// What the client should call it, where it should be kept as a file.
    file_name: Option<String>,
}

#[derive(Clone, Debug)]
enum Source {
    File(Arc<File>),
    Memory(Bytes),
}

impl Download {
    /// A file of ours, of which size and digest are on record.
    ///
    /// # Errors
    /// 500: the file cannot be opened, or has another size.
    pub async fn of_file(path: &Path, size: u64, sha256: Sha256Digest) -> Result<Self, Problem> {
        let opened = async {
            let file = tokio::fs::File::open(path).await?;
            let actual = file.metadata().await?.len();
            if actual != size {
                return Err(io::Error::other(format!(
                    "{size} bytes are on record, the file has {actual}"
                )));
            }
            Ok(file.into_std().await)
        };
        let file = opened
            .await
            .map_err(|error: io::Error| Problem::internal("a file to be downloaded", &error))?;
        Ok(Self {
            source: Source::File(Arc::new(file)),
            size,
            sha256,
            content_type: "application/octet-stream",
            file_name: None,
        })
    }

    /// A document in memory.
    pub fn of_bytes(bytes: Bytes, content_type: &'static str) -> Self {
        let (size, sha256) = (bytes.len() as u64, Sha256Digest::of(&bytes));
        Self {
            source: Source::Memory(bytes),
            size,
            sha256,
            content_type,
            file_name: None,
        }
    }

    /// The same, to be kept as a file.
    pub fn named(self, content_type: &'static str, file_name: String) -> Self {
        Self {
            content_type,
            file_name: Some(file_name),
            ..self
        }
    }

    /// The answer to a request for it.
    ///
    /// # Errors
    /// 416: no byte of the range exists.
    pub fn answer(self, method: &Method, headers: &HeaderMap) -> Result<Response<Body>, Problem> {
        let etag = format!("\"{}\"", self.sha256);
        let mut response = match Selection::of(method, headers, self.size, &etag) {
            Selection::Unsatisfiable => return Err(self.unsatisfiable()),
            Selection::NotModified => respond::empty(StatusCode::NOT_MODIFIED),
            Selection::Whole => self.part(StatusCode::OK, 0..self.size),
            Selection::Part(range) => {
                let content_range =
                    format!("bytes {}-{}/{}", range.start, range.end - 1, self.size);
                let mut response = self.part(StatusCode::PARTIAL_CONTENT, range);
                respond::set(
                    response.headers_mut(),
                    header::CONTENT_RANGE,
                    &content_range,
                );
                response
            }
        };
        let headers = response.headers_mut();
        respond::set(headers, header::ETAG, &etag);
        respond::set(headers, header::ACCEPT_RANGES, "bytes");
        let digest = STANDARD.encode(self.sha256.as_bytes());
        respond::set(headers, REPR_DIGEST, &format!("sha-256=:{digest}:"));
        if let Some(name) = &self.file_name {
            respond::set(headers, header::CONTENT_DISPOSITION, &attachment(name));
        }
        Ok(response)
    }

    fn part(&self, status: StatusCode, range: Range<u64>) -> Response<Body> {
        let length = range.end - range.start;
        let body = FileBody {
            source: self.source.clone(),
            range,
            reading: None,
        };
        let mut response = respond::response(status, self.content_type, body.boxed_unsync());
        respond::set(
            response.headers_mut(),
            header::CONTENT_LENGTH,
            &length.to_string(),
        );
        response
    }

    fn unsatisfiable(&self) -> Problem {
        let detail = format!(
            "the range begins behind the end: there are {} bytes",
            self.size
        );
        Problem::new(416, "range-not-satisfiable", detail)
            .with(header::CONTENT_RANGE, &format!("bytes */{}", self.size))
    }
}

/// Content-Disposition (RFC 6266): the last component of the name, in ASCII and, where that is not all of it, encoded.
fn attachment(name: &str) -> String {
    let name = name.rsplit('/').next().unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+ ".contains(c);
    let ascii: String = name
        .chars()
        .map(|c| if plain(c) { c } else { '_' })
        .collect();
    if ascii == name {
        format!("attachment; filename=\"{ascii}\"")
    } else {
        format!(
            "attachment; filename=\"{ascii}\"; filename*=UTF-8''{}",
            links::encode(name)
        )
    }
}

/// A part of a file, read piece by piece as the client takes it.
struct FileBody {
    source: Source,
    range: Range<u64>,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl FileBody {
    /// Returns how many bytes are still to come.
    fn remaining(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Polls for the next piece.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let length = usize::try_from(self.remaining())
            .unwrap_or(usize::MAX)
            .min(PIECE_BYTES);
        if length == 0 {
            return Poll::Ready(None);
        }
        let start = self.range.start;
        let piece = match &self.source {
            Source::Memory(bytes) => {
                // Documents in memory are shorter than the address space.
                let start = start as usize;
                Ok(bytes.slice(start..start + length))
            }
            Source::File(file) => {
                let reading = self.reading.get_or_insert_with(|| {
                    let file = Arc::clone(file);
                    tokio::task::spawn_blocking(move || read_piece(&file, start, length))
                });
                let piece = std::task::ready!(Pin::new(reading).poll(cx));
                self.reading = None;
                piece.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
        };
        match &piece {
            Ok(bytes) => self.range.start += bytes.len() as u64,
            Err(error) => log::error!("a download is cut off: {error}"),
        }
        Poll::Ready(Some(piece))
    }
}

impl HttpBody for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = self.get_mut().poll_next(cx);
        piece.map(|next| next.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining())
    }
}

fn read_piece(file: &File, start: u64, length: usize) -> io::Result<Bytes> {
    let mut piece = vec![0; length];
    file.read_exact_at(&mut piece, start)?;
    Ok(piece.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_cannot_leave_their_quotes() {
        assert_eq!(
            attachment("lib/libz.so.1"),
            "attachment; filename=\"libz.so.1\""
        );
        assert_eq!(
            attachment("a\"b\r\n"),
            "attachment; filename=\"a_b__\"; filename*=UTF-8''a%22b%0D%0A"
        );
        assert_eq!(
            attachment("ü"),
            "attachment; filename=\"_\"; filename*=UTF-8''%C3%BC"
        );
    }
}
