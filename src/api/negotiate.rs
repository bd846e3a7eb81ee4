//! Decides what kind of response an accepted submission gets.
//!
//! * In: the header fields of the request. Accept is read by RFC 9110, section 12.5.1; Prefer by
//!   RFC 7240.
//! * Out: a [`ResponseKind`].
//! * Never: a refusal: a client that accepts nothing of the three gets the job.

use hyper::HeaderMap;
use hyper::header::{self, HeaderName};

/// The kind of response to an accepted submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseKind {
    /// The response is 202 at once.
    Job {
        /// Whether `Prefer: respond-async` is the reason.
        preferred: bool,
    },
    /// The response is the bundle, once the job has ended.
    Bundle,
    /// The response is the progress stream.
    Stream,
}

const PREFER: HeaderName = HeaderName::from_static("prefer");

impl ResponseKind {
    /// Returns the kind of response that these header fields of `POST /build` request.
    pub fn of(headers: &HeaderMap) -> Self {
        if prefers_async(headers) {
            return Self::Job { preferred: true };
        }
        let accept = Accept::of(headers);
        let job = Self::Job { preferred: false };
        let mut candidates = vec![
            (job, accept.acceptability("application", "json")),
            (Self::Stream, accept.acceptability("text", "event-stream")),
        ];
        if is_form(headers) {
            let bundle = accept.acceptability("application", "gzip");
            candidates.insert(0, (Self::Bundle, bundle));
        }
        // The first of equals wins: the default for the content type, unless another type is named
        // more exactly.
        let (mut best, mut most) = (job, Acceptability::default());
        for (kind, acceptability) in candidates {
            if acceptability > most {
                (best, most) = (kind, acceptability);
            }
        }
        best
    }
}

/// How acceptable a media type is: first by weight, then by how exactly it is named. The default is
/// "not at all".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Acceptability {
    /// The weight (`q`) in thousandths.
    weight: u16,
    exactness: u8,
}

/// The media ranges of Accept.
struct Accept(Vec<MediaRange>);

struct MediaRange {
    kind: String,
    subtype: String,
    weight: u16,
}

impl Accept {
    fn of(headers: &HeaderMap) -> Self {
        if !headers.contains_key(header::ACCEPT) {
            return Self(vec![MediaRange::any()]);
        }
        let ranges = list(headers, header::ACCEPT).filter_map(MediaRange::parse);
        Self(ranges.collect())
    }

    /// Returns how acceptable a media type is. The most exact range decides, and of equally exact
    /// ones the heaviest.
    fn acceptability(&self, kind: &str, subtype: &str) -> Acceptability {
        let ranges = self.0.iter();
        let matching =
            ranges.filter_map(|range| Some((range.exactness(kind, subtype)?, range.weight)));
        match matching.max() {
            Some((exactness, weight)) if weight > 0 => Acceptability { weight, exactness },
            _ => Acceptability::default(),
        }
    }
}

impl MediaRange {
    fn any() -> Self {
        Self {
            kind: "*".to_owned(),
            subtype: "*".to_owned(),
            weight: 1000,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let weight = parts
            .find_map(|part| weight(part.split_once('=')?))
            .unwrap_or(1000);
        Some(Self {
            kind: kind.to_ascii_lowercase(),
            subtype: subtype.to_ascii_lowercase(),
            weight,
        })
    }

    /// Returns how exactly the range names a media type, or `None` where it does not contain the
    /// type.
    fn exactness(&self, kind: &str, subtype: &str) -> Option<u8> {
        match (self.kind.as_str(), self.subtype.as_str()) {
            ("*", "*") => Some(1),
            (k, "*") if k == kind => Some(2),
            (k, s) if k == kind && s == subtype => Some(3),
            _ => None,
        }
    }
}

/// Returns the weight in thousandths, if the parameter is `q`.
fn weight((name, value): (&str, &str)) -> Option<u16> {
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let weight: f32 = value.trim().parse().ok()?;
    // The value is between 0 and 1000 after the clamp.
    Some((weight.clamp(0.0, 1.0) * 1000.0) as u16)
}

fn prefers_async(headers: &HeaderMap) -> bool {
    let mut names = list(headers, PREFER).map(before_parameters);
    names.any(|name| name.eq_ignore_ascii_case("respond-async"))
}

fn is_form(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    before_parameters(content_type).eq_ignore_ascii_case("multipart/form-data")
}

fn before_parameters(text: &str) -> &str {
    text.split(';').next().unwrap_or_default().trim()
}

fn list(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: ResponseKind = ResponseKind::Job { preferred: false };

    fn kind(headers: &[(&str, &str)]) -> ResponseKind {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        ResponseKind::of(&map)
    }

    #[test]
    fn forms_wait_unless_they_ask_for_something_else() {
        let form = ("content-type", "Multipart/Form-Data; boundary=x");
        assert_eq!(kind(&[form]), ResponseKind::Bundle);
        for (accept, expected) in [
            ("*/*", ResponseKind::Bundle),
            ("application/gzip", ResponseKind::Bundle),
            ("application/*", ResponseKind::Bundle),
            ("application/json", JOB),
            ("application/json, */*", JOB),
            ("application/json, */*;q=0.8", JOB),
            ("application/gzip, application/json", ResponseKind::Bundle),
            ("application/gzip;q=0.5, application/json", JOB),
            ("application/json;q=0.5, */*", ResponseKind::Bundle),
            ("application/gzip;q=0, */*", JOB),
            ("text/event-stream", ResponseKind::Stream),
            ("TEXT/Event-Stream; Q=0.9, */*;q=0.1", ResponseKind::Stream),
            ("text/html", JOB),
            ("", JOB),
        ] {
            assert_eq!(kind(&[form, ("accept", accept)]), expected, "{accept}");
        }
    }

    #[test]
    fn json_gets_the_job_unless_it_asks_for_the_stream() {
        let json = ("content-type", "application/json");
        for (accept, expected) in [
            ("*/*", JOB),
            ("application/gzip", JOB),
            ("text/event-stream", ResponseKind::Stream),
            ("text/*", ResponseKind::Stream),
            ("text/event-stream, application/json", JOB),
            ("text/event-stream;q=0", JOB),
        ] {
            assert_eq!(kind(&[json, ("accept", accept)]), expected, "{accept}");
        }
    }

    #[test]
    fn prefer_respond_async_comes_first() {
        let form = ("content-type", "multipart/form-data; boundary=x");
        for prefer in [
            "respond-async",
            "wait=5, Respond-Async",
            "respond-async; foo=bar",
        ] {
            let headers = [form, ("accept", "text/event-stream"), ("prefer", prefer)];
            assert_eq!(kind(&headers), ResponseKind::Job { preferred: true });
        }
        assert_eq!(kind(&[form, ("prefer", "wait=5")]), ResponseKind::Bundle);
    }
}
