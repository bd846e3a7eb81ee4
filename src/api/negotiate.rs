//! What a submission wants back. Comes in: the request's headers. Goes out: a [`Wish`]. Accept is read as RFC 9110,
//! section 12.5.1; Prefer as RFC 7240.

use hyper::HeaderMap;
use hyper::header::{self, HeaderName};

/// What the answer to an accepted submission is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// 202 at once.
    Job {
        /// Because of `Prefer: respond-async`.
        preferred: bool,
    },
    /// The bundle, once it is there.
    Bundle,
    /// The progress stream.
    Stream,
}

const PREFER: HeaderName = HeaderName::from_static("prefer");

impl Wish {
    /// What `headers` ask for, of `POST /build`.
    pub fn of(headers: &HeaderMap) -> Self {
        if prefers_async(headers) {
            return Self::Job { preferred: true };
        }
        let accept = Accept::of(headers);
        let job = (
            Self::Job { preferred: false },
            accept.liking("application", "json"),
        );
        let stream = (Self::Stream, accept.liking("text", "event-stream"));
        // The first of equals wins: what the content type stands for, unless something is asked for by name.
        let mut candidates = vec![job, stream];
        if is_form(headers) {
            candidates.insert(0, (Self::Bundle, accept.liking("application", "gzip")));
        }
        let mut best = None;
        for (wish, liking) in candidates {
            if liking > best.map_or(Liking::default(), |(_, liking)| liking) {
                best = Some((wish, liking));
            }
        }
        best.map_or(job.0, |(wish, _)| wish)
    }
}

/// How much a media type is liked: first by weight, then by how exactly it is named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Liking {
    /// In thousandths.
    weight: u16,
    exactness: u8,
}

struct Range {
    kind: String,
    subtype: String,
    weight: u16,
}

struct Accept(Vec<Range>);

impl Accept {
    fn of(headers: &HeaderMap) -> Self {
        let mut ranges: Vec<_> = list(headers, header::ACCEPT)
            .filter_map(Range::parse)
            .collect();
        if !headers.contains_key(header::ACCEPT) {
            ranges.push(Range {
                kind: "*".to_owned(),
                subtype: "*".to_owned(),
                weight: 1000,
            });
        }
        Self(ranges)
    }

    /// The most exact range decides.
    fn liking(&self, kind: &str, subtype: &str) -> Liking {
        let exactness = |range: &Range| match (range.kind.as_str(), range.subtype.as_str()) {
            ("*", "*") => Some(1),
            (k, "*") if k == kind => Some(2),
            (k, s) if k == kind && s == subtype => Some(3),
            _ => None,
        };
        let decisive = self
            .0
            .iter()
            .filter_map(|range| Some((exactness(range)?, range.weight)))
            .max();
        match decisive {
            Some((exactness, weight)) if weight > 0 => Liking { weight, exactness },
            _ => Liking::default(),
        }
    }
}

impl Range {
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
}

fn weight((name, value): (&str, &str)) -> Option<u16> {
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let weight: f32 = value.trim().parse().ok()?;
    // The value is between 0 and 1000 after the clamp.
    Some((weight.clamp(0.0, 1.0) * 1000.0) as u16)
}

fn prefers_async(headers: &HeaderMap) -> bool {
    let mut preferences = list(headers, PREFER);
    preferences.any(|preference| {
        preference
            .split(';')
            .next()
            .is_some_and(|name| name.trim().eq_ignore_ascii_case("respond-async"))
    })
}

fn is_form(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("multipart/form-data")
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

    const JOB: Wish = Wish::Job { preferred: false };

    fn wish(headers: &[(&str, &str)]) -> Wish {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        Wish::of(&map)
    }

    #[test]
    fn forms_wait_unless_they_ask_for_something_else() {
        let form = ("content-type", "Multipart/Form-Data; boundary=x");
        assert_eq!(wish(&[form]), Wish::Bundle);
        for (accept, expected) in [
            ("*/*", Wish::Bundle),
            ("application/gzip", Wish::Bundle),
            ("application/*", Wish::Bundle),
            ("application/json", JOB),
            ("application/json, */*", JOB),
            ("application/json, */*;q=0.8", JOB),
            ("application/gzip, application/json", Wish::Bundle),
            ("application/gzip;q=0.5, application/json", JOB),
            ("application/json;q=0.5, */*", Wish::Bundle),
            ("application/gzip;q=0, */*", JOB),
            ("text/event-stream", Wish::Stream),
            ("TEXT/Event-Stream; Q=0.9, */*;q=0.1", Wish::Stream),
            ("text/html", JOB),
            ("", JOB),
        ] {
            assert_eq!(wish(&[form, ("accept", accept)]), expected, "{accept}");
        }
    }

    #[test]
    fn json_gets_the_job_unless_it_asks_for_the_stream() {
        let json = ("content-type", "application/json");
        for (accept, expected) in [
            ("*/*", JOB),
            ("application/gzip", JOB),
            ("text/event-stream", Wish::Stream),
            ("text/*", Wish::Stream),
            ("text/event-stream, application/json", JOB),
            ("text/event-stream;q=0", JOB),
        ] {
            assert_eq!(wish(&[json, ("accept", accept)]), expected, "{accept}");
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
            assert_eq!(wish(&headers), Wish::Job { preferred: true });
        }
        assert_eq!(wish(&[form, ("prefer", "wait=5")]), Wish::Bundle);
    }
}
