//! Any bytes as the header block of a request: method, target and header lines.

use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Method};
use kettle::api::negotiate::ResponseKind;
use kettle::api::range::Selection;
use kettle::api::{query, route};

/// The length of the requested file.
const SIZE: u64 = 10;

/// Variables are parts of the path; a range is inside the file; a number is digits.
pub fn target(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let first = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let (method, place) = first.split_once(' ').unwrap_or(("GET", &first));
    let method = Method::from_bytes(method.as_bytes()).unwrap_or(Method::GET);
    let (path, question) = place
        .split_once('?')
        .map_or((place, None), |(path, question)| (path, Some(question)));
    if let Ok((_, variables)) = route::find(&method, path) {
        assert!(variables.id.len() + variables.name.len() < path.len());
    }
    if let Ok(Some(value)) = query::parameter(question, "from") {
        let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        assert_eq!(query::number(&value).is_some(), digits);
    }
    let mut headers = HeaderMap::new();
    for line in lines {
        let at = line
            .iter()
            .position(|byte| *byte == b':')
            .unwrap_or(line.len());
        let (name, value) = (
            HeaderName::from_bytes(&line[..at]),
            line.get(at + 1..).map(HeaderValue::from_bytes),
        );
        if let (Ok(name), Some(Ok(value))) = (name, value) {
            headers.append(name, value);
        }
    }
    // Whatever the header fields are, the response is one of three.
    let _ = ResponseKind::of(&headers);
    if let Selection::Part(part) = Selection::of(&method, &headers, SIZE, "\"tag\"") {
        assert!(method == Method::GET && part.start < part.end && part.end <= SIZE);
    }
}
