//! Selects what to send of a download, by ranges and conditions (RFC 9110, sections 13 and 14).
//!
//! * In: the header fields of a request, and size and entity tag of the download.
//! * Out: a [`Selection`].
//! * Never: more than one range, or an empty one.

use std::ops::Range;

use hyper::header::{self, HeaderName};
use hyper::{HeaderMap, Method};

/// The part of a download that is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The whole is sent, with status 200.
    Whole,
    /// These bytes are sent, with status 206; the range is never empty.
    Part(Range<u64>),
    /// Nothing is sent, with status 304: the client has the download already.
    NotModified,
    /// The request is refused with status 416: no byte of the range exists.
    Unsatisfiable,
}

impl Selection {
    /// Selects what `headers` request. A range that is malformed, has another unit or has several
    /// parts is ignored, which the RFC allows.
    pub fn of(method: &Method, headers: &HeaderMap, size: u64, etag: &str) -> Self {
        if matches_any(headers, etag) {
            return Self::NotModified;
        }
        match text(headers, &header::RANGE) {
            Some(range) if *method == Method::GET && range_applies(headers, etag) => {
                Self::parse(range, size)
            }
            _ => Self::Whole,
        }
    }

    fn parse(range: &str, size: u64) -> Self {
        let Some((first, last)) = bounds(range) else {
            return Self::Whole;
        };
        let selected = match (first, last) {
            (Some(first), Some(last)) if last < first => return Self::Whole,
            (Some(first), Some(last)) => first..last.saturating_add(1).min(size),
            (Some(first), None) => first..size,
            (None, Some(suffix)) => size.saturating_sub(suffix)..size,
            (None, None) => return Self::Whole,
        };
        if selected.is_empty() {
            Self::Unsatisfiable
        } else {
            Self::Part(selected)
        }
    }
}

/// Parses `bytes=first-last`; either of the two may be missing.
fn bounds(range: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (unit, spec) = range.split_once('=')?;
    let (first, last) = spec.trim().split_once('-')?;
    let bound = |text: &str| match text {
        "" => Some(None),
        _ => super::query::number(text).map(Some),
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    Some((bound(first)?, bound(last)?))
}

/// Returns whether If-None-Match has the entity tag, by the weak comparison.
fn matches_any(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers
        .get_all(header::IF_NONE_MATCH)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// Returns whether If-Range lets the range apply, by the strong comparison. No response has a date,
/// so no date can match.
fn range_applies(headers: &HeaderMap, etag: &str) -> bool {
    !headers.contains_key(header::IF_RANGE)
        || text(headers, &header::IF_RANGE).is_some_and(|tag| tag == etag)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETAG: &str = "\"abc\"";

    fn select(headers: &[(HeaderName, &str)]) -> Selection {
        let map = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect();
        Selection::of(&Method::GET, &map, 10, ETAG)
    }

    #[test]
    fn selects_single_ranges() {
        for (range, expected) in [
            ("bytes=0-0", Selection::Part(0..1)),
            ("bytes=2-5", Selection::Part(2..6)),
            ("bytes=7-", Selection::Part(7..10)),
            ("bytes=-3", Selection::Part(7..10)),
            ("bytes=-99", Selection::Part(0..10)),
            ("bytes=5-99", Selection::Part(5..10)),
            ("Bytes=5-18446744073709551615", Selection::Part(5..10)),
            ("bytes=10-", Selection::Unsatisfiable),
            ("bytes=10-12", Selection::Unsatisfiable),
            ("bytes=-0", Selection::Unsatisfiable),
            ("bytes=5-2", Selection::Whole),
            ("bytes=0-1,3-4", Selection::Whole),
            ("bytes=-", Selection::Whole),
            ("bytes=a-b", Selection::Whole),
            ("bytes=+1-2", Selection::Whole),
            ("lines=0-1", Selection::Whole),
        ] {
            assert_eq!(select(&[(header::RANGE, range)]), expected, "{range}");
        }
        assert_eq!(Selection::parse("bytes=0-", 0), Selection::Unsatisfiable);
    }

    #[test]
    fn if_range_needs_the_same_strong_tag() {
        let part = |tag| select(&[(header::RANGE, "bytes=0-0"), (header::IF_RANGE, tag)]);
        assert_eq!(part(ETAG), Selection::Part(0..1));
        for other in ["\"abd\"", "W/\"abc\"", "Wed, 21 Oct 2015 07:28:00 GMT"] {
            assert_eq!(part(other), Selection::Whole);
        }
    }

    #[test]
    fn if_none_match_comes_before_ranges() {
        for tag in [ETAG, "*", "W/\"abc\"", "\"x\", \"abc\""] {
            let headers = [(header::IF_NONE_MATCH, tag), (header::RANGE, "bytes=99-")];
            assert_eq!(select(&headers), Selection::NotModified);
        }
        assert_eq!(
            select(&[(header::IF_NONE_MATCH, "\"x\"")]),
            Selection::Whole
        );
    }

    #[test]
    fn ranges_are_for_get_only() {
        let map = [(header::RANGE, "bytes=0-0".parse().unwrap())]
            .into_iter()
            .collect();
        assert_eq!(
            Selection::of(&Method::HEAD, &map, 10, ETAG),
            Selection::Whole
        );
    }
}
