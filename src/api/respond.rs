//! Answers, from small parts. Comes in: values of ours. Goes out: responses with a length, or with a body that is made
//! while it is read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::Full;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};
use serde::Serialize;

use super::download::FileBody;
use super::events::EventBody;
use super::problem::Problem;

/// Every body that we send.
#[derive(Debug)]
pub enum Body {
    /// Small, in memory.
    Whole(Full<Bytes>),
    /// A part of a file, or of a document of the job.
    File(FileBody),
    /// Events as they happen.
    Events(Box<EventBody>),
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|never| match never {}),
            Self::File(body) => body
                .poll_next(cx)
                .map(|next| next.map(|bytes| bytes.map(Frame::data))),
            Self::Events(body) => body
                .poll_next(cx)
                .map(|next| next.map(|bytes| bytes.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::File(body) => body.remaining() == 0,
            Self::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::File(body) => SizeHint::with_exact(body.remaining()),
            Self::Events(_) => SizeHint::default(),
        }
    }
}

/// A response without further headers.
pub fn response(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// A response whose body is small and known.
pub fn whole(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    response(status, content_type, Body::Whole(Full::new(body.into())))
}

/// Returns a response that says there is nothing more (204).
pub fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::Whole(Full::default()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// A JSON document.
pub fn json(
    status: StatusCode,
    content_type: &'static str,
    document: &impl Serialize,
) -> Response<Body> {
    match serde_json::to_vec(document) {
        Ok(bytes) => whole(status, content_type, bytes),
        Err(error) => {
            log::error!("a document cannot be written as JSON: {error}");
            whole(
                StatusCode::INTERNAL_SERVER_ERROR,
                "application/problem+json",
                "{\"status\":500}",
            )
        }
    }
}

/// Sets a header to a value of ours. A value that no header can hold is left out, and logged.
pub fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    match HeaderValue::from_str(value) {
        Ok(value) => drop(headers.insert(name, value)),
        Err(_) => log::error!("header {name} cannot hold {value:?}"),
    }
}

/// Either side of a result, as the answer that it is.
pub fn either(answer: Result<Response<Body>, Problem>) -> Response<Body> {
    answer.unwrap_or_else(Problem::into_response)
}
