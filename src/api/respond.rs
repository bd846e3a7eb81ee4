//! Builds responses.
//!
//! * In: a status, a content type, and a body or a document.
//! * Out: responses with a length, or with a body that is produced while it is read.
//! * Never: a response whose content type a browser guesses.

use std::io;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};
use serde::Serialize;

/// The body of every response: bytes in memory, a part of a file, or events as they happen.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Returns a body whose bytes are all in memory.
fn in_memory(bytes: Bytes) -> Body {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Returns a response with a body and its content type.
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

/// Returns a response whose whole body is in memory.
pub fn whole(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    response(status, content_type, in_memory(body.into()))
}

/// Returns a response with a status that has no content: 204 or 304.
pub fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(in_memory(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// Returns a response with a JSON document.
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

/// Sets a header field. A value that no header field can have is left out, and logged.
pub fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    match HeaderValue::from_str(value) {
        Ok(value) => drop(headers.insert(name, value)),
        Err(_) => log::error!("header {name} cannot hold {value:?}"),
    }
}
