//! Sends a recorded file or document to a client, as a whole or in part.
//!
//! * In: what a finished job recorded about a file, and request headers.
//! * Out: the file or a part of it, read in pieces of bounded size.
//! * Never: a path from a request, or bytes of another length than was recorded.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use hyper::header::{self, HeaderName};
use hyper::{HeaderMap, Method, Response, StatusCode};

use super::links;
use super::piece_body::{self, Pieces};
use super::problem::Problem;
use super::range::Selection;
use super::respond::{self, Body};
use crate::blocking::blocking;
use crate::digest::Sha256Digest;

/// The number of bytes that are read at a time.
const PIECE_BYTES: usize = 64 * 1024;

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// A file or a document that can be downloaded.
#[derive(Debug)]
pub struct Download {
    source: Source,
    size: u64,
    sha256: Sha256Digest,
    content_type: &'static str,
    /// The name that the client gives the file; `None` for a document that is not kept as a file.
    file_name: Option<String>,
}

#[derive(Clone, Debug)]
enum Source {
    File(Arc<File>),
    Memory(Bytes),
}

impl Download {
    /// Opens a file of this machine, whose size and digest are on record.
    ///
    /// # Errors
    /// 500: the file cannot be opened, or has another size.
    pub async fn of_file(path: &Path, size: u64, sha256: Sha256Digest) -> Result<Self, Problem> {
        let file = open(path, size)
            .await
            .map_err(|error| Problem::internal("a file to be downloaded", &error))?;
        Ok(Self {
            source: Source::File(Arc::new(file)),
            size,
            sha256,
            content_type: "application/octet-stream",
            file_name: None,
        })
    }

    /// Returns the download of a document in memory.
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

    /// Returns the same download, with the name under which the client keeps the file.
    pub fn named(self, content_type: &'static str, file_name: String) -> Self {
        Self {
            content_type,
            file_name: Some(file_name),
            ..self
        }
    }

    /// Returns the response to a request for the download.
    ///
    /// # Errors
    /// 416: no byte of the range exists.
    pub fn response(self, method: &Method, headers: &HeaderMap) -> Result<Response<Body>, Problem> {
        let etag = format!("\"{}\"", self.sha256);
        let mut response = match Selection::of(method, headers, self.size, &etag) {
            Selection::Unsatisfiable => return Err(self.unsatisfiable()),
            Selection::NotModified => respond::empty(StatusCode::NOT_MODIFIED),
            Selection::Whole => self.bytes(StatusCode::OK, 0..self.size),
            Selection::Part(range) => self.part(range),
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

    fn part(&self, range: Range<u64>) -> Response<Body> {
        let content_range = format!("bytes {}-{}/{}", range.start, range.end - 1, self.size);
        let mut response = self.bytes(StatusCode::PARTIAL_CONTENT, range);
        let headers = response.headers_mut();
        respond::set(headers, header::CONTENT_RANGE, &content_range);
        response
    }

    fn bytes(&self, status: StatusCode, range: Range<u64>) -> Response<Body> {
        let length = (range.end - range.start).to_string();
        let body = piece_body::body(FilePieces {
            source: self.source.clone(),
            range,
            reading: None,
        });
        let mut response = respond::response(status, self.content_type, body);
        respond::set(response.headers_mut(), header::CONTENT_LENGTH, &length);
        response
    }

    fn unsatisfiable(&self) -> Problem {
        let size = self.size;
        let detail = format!("the range begins after the end: there are {size} bytes");
        Problem::new(416, "range-not-satisfiable", detail)
            .with(header::CONTENT_RANGE, &format!("bytes */{size}"))
    }
}

async fn open(path: &Path, size: u64) -> io::Result<File> {
    let file = tokio::fs::File::open(path).await?;
    let actual = file.metadata().await?.len();
    if actual != size {
        return Err(io::Error::other(format!(
            "{size} bytes are on record, the file has {actual}"
        )));
    }
    Ok(file.into_std().await)
}

/// Returns the value of Content-Disposition (RFC 6266): the last component of the name in ASCII,
/// and percent-encoded too where it has other characters.
fn attachment(name: &str) -> String {
    let name = name.rsplit('/').next().unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-+ ".contains(c);
    let ascii: String = name
        .chars()
        .map(|c| if is_plain(c) { c } else { '_' })
        .collect();
    if ascii == name {
        return format!("attachment; filename=\"{ascii}\"");
    }
    let encoded = links::encode(name);
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{encoded}")
}

/// One read of a file, on another thread.
type Reading = Pin<Box<dyn Future<Output = io::Result<Bytes>> + Send>>;

/// Part of a file or document, read piece by piece as the client takes it.
struct FilePieces {
    source: Source,
    /// The bytes that are still to come.
    range: Range<u64>,
    reading: Option<Reading>,
}

impl FilePieces {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        start: u64,
        length: usize,
    ) -> Poll<io::Result<Bytes>> {
        let file = match &self.source {
            Source::File(file) => file,
            Source::Memory(bytes) => {
                // Documents in memory are shorter than the address space.
                let start = start as usize;
                return Poll::Ready(Ok(bytes.slice(start..start + length)));
            }
        };
        let reading = self.reading.get_or_insert_with(|| {
            let file = Arc::clone(file);
            Box::pin(blocking(move || read_piece(&file, start, length)))
        });
        let piece = ready!(reading.as_mut().poll(cx));
        self.reading = None;
        Poll::Ready(piece)
    }
}

impl Pieces for FilePieces {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let Range { start, end } = self.range;
        let remaining = usize::try_from(end - start).unwrap_or(usize::MAX);
        let length = remaining.min(PIECE_BYTES);
        if length == 0 {
            return Poll::Ready(None);
        }
        let piece = ready!(self.poll_read(cx, start, length));
        match &piece {
            Ok(bytes) => self.range.start += bytes.len() as u64,
            Err(error) => log::error!("a download is cut off: {error}"),
        }
        Poll::Ready(Some(piece))
    }

    fn remaining(&self) -> Option<u64> {
        Some(self.range.end - self.range.start)
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
