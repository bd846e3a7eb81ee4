//! Reads Server-Sent Events (HTML, section 9.2), as far as the appliance's API uses them.
//!
//! * In: bytes, cut anywhere.
//! * Out: events with their numbers.
//! * Never: more memory than [`MAX_EVENT_BYTES`], or half an event.

use serde_json::Value;

/// Longest event, in bytes: the last one of a build carries its statement.
pub const MAX_EVENT_BYTES: usize = 16 << 20;

/// One event of a build.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The number of the event, counted from 0.
    pub id: u64,
    /// The content of the event: an object with a member `type`.
    pub data: Value,
}

impl Event {
    /// Returns the event's type, or empty text if it has none.
    pub fn kind(&self) -> &str {
        self.data["type"].as_str().unwrap_or_default()
    }

    /// Returns the event's message, or empty text if it has none.
    pub fn message(&self) -> &str {
        self.data["msg"].as_str().unwrap_or_default()
    }
}

/// Why bytes are not a stream of a build's events.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    #[error("an event has more than {MAX_EVENT_BYTES} bytes (MAX_EVENT_BYTES)")]
    TooLong,
    #[error("an event that is not a JSON object")]
    NoJson,
    #[error("an event without a number")]
    NoNumber,
}

/// Collects the lines of an event until it is complete.
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    id: Option<u64>,
    data: String,
}

impl Reader {
    /// Reads the next bytes of the stream, and returns the events that end in them.
    ///
    /// # Errors
    /// The bytes are not a stream of a build's events.
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

    fn line_end(&mut self, bytes: &[u8]) -> Result<Option<Event>, EventError> {
        let text = String::from_utf8_lossy(bytes);
        let line = text.trim_end_matches(['\n', '\r']);
        if line.is_empty() {
            return self.event();
        }
        let (field, after_colon) = line.split_once(':').unwrap_or((line, ""));
        let value = after_colon.strip_prefix(' ').unwrap_or(after_colon);
        match field {
            "id" => self.id = value.parse().ok(),
            "data" => self.data.push_str(value),
            // A comment, or a field that the API does not use.
            _ => {}
        }
        Ok(None)
    }

    /// Ends the event, unless there was none.
    fn event(&mut self) -> Result<Option<Event>, EventError> {
        let (id, text) = (self.id.take(), std::mem::take(&mut self.data));
        if text.is_empty() {
            return Ok(None);
        }
        let data: Value = serde_json::from_str(&text).map_err(|_| EventError::NoJson)?;
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
