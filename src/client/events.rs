//! Server-Sent Events (HTML, section 9.2), as far as the API of the appliance uses them.
//!
//! - Comes in: bytes, cut anywhere.
//! - Goes out: events with their numbers.
//! - Never: more memory than [`MAX_EVENT_BYTES`], or half an event.

use serde_json::Value;

/// Longest event, in bytes: the last one of a build carries its statement.
pub const MAX_EVENT_BYTES: usize = 16 << 20;

/// One event of a build.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its number, from 0 on.
    pub id: u64,
    /// What it says: an object with `type`.
    pub data: Value,
}

impl Event {
    /// Returns what kind of event it is; empty where it does not say.
    pub fn kind(&self) -> &str {
        self.data["type"].as_str().unwrap_or_default()
    }

    /// Returns its message; empty where it has none.
    pub fn message(&self) -> &str {
        self.data["msg"].as_str().unwrap_or_default()
    }
}

/// Why a stream is none of a build.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    #[error("an event has more than {MAX_EVENT_BYTES} bytes (MAX_EVENT_BYTES)")]
    TooLong,
    #[error("an event that is no JSON object")]
    NoJson,
    #[error("an event without a number")]
    NoNumber,
}

/// The lines of a stream that are no whole event yet.
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    id: Option<u64>,
    data: String,
}

impl Reader {
    /// Takes some bytes of the stream, and returns the events that ended in them.
    ///
    /// # Errors
    /// It is no stream of a build's events.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>, EventError> {
        let mut events = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + self.data.len() + part.len() > MAX_EVENT_BYTES {
                return Err(EventError::TooLong);
            }
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                events.extend(self.line_end(&line)?);
            }
        }
        Ok(events)
    }

    fn line_end(&mut self, line: &[u8]) -> Result<Option<Event>, EventError> {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end_matches(['\n', '\r']);
        if line.is_empty() {
            return self.event();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.id = value.parse().ok(),
            "data" => self.data.push_str(value),
            // A comment, or a field that the API does not use.
            _ => {}
        }
        Ok(None)
    }

    fn event(&mut self) -> Result<Option<Event>, EventError> {
        let (id, data) = (self.id.take(), std::mem::take(&mut self.data));
        if data.is_empty() {
            return Ok(None);
        }
        let data: Value = serde_json::from_str(&data).map_err(|_| EventError::NoJson)?;
        if !data.is_object() {
            return Err(EventError::NoJson);
        }
        Ok(Some(Event {
            id: id.ok_or(EventError::NoNumber)?,
            data,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_however_the_stream_is_cut() {
        let stream = b"id: 0\ndata: {\"type\":\"queued\"}\n\n: still there\n\n\
                       id: 1\r\ndata: {\"type\":\"build\",\"msg\":\"x\"}\r\n\r\nid: 2\ndata: {";
        for size in 1..stream.len() {
            let mut reader = Reader::default();
            let pieces = stream.chunks(size).map(|piece| reader.feed(piece).unwrap());
            let events: Vec<_> = pieces.flatten().collect();
            let kinds: Vec<_> = events
                .iter()
                .map(|event| (event.id, event.kind()))
                .collect();
            assert_eq!(kinds, [(0, "queued"), (1, "build")], "{size}");
        }
    }

    #[test]
    fn what_is_no_event_is_an_error() {
        let feed = |stream: &[u8]| Reader::default().feed(stream).unwrap_err();
        assert_eq!(feed(b"id: 0\ndata: {\n\n"), EventError::NoJson);
        assert_eq!(feed(b"id: 0\ndata: []\n\n"), EventError::NoJson);
        assert_eq!(feed(b"data: {}\n\n"), EventError::NoNumber);
        assert_eq!(feed(b"id: x\ndata: {}\n\n"), EventError::NoNumber);
        assert_eq!(feed(&vec![b'x'; MAX_EVENT_BYTES + 1]), EventError::TooLong);
    }
}
