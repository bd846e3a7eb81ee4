//! Reads the body of a request within its limits.
//!
//! * In: headers and hyper's body.
//! * Out: the body's bytes as they come.
//! * Never: a body without known framing, one byte over the limit, or a wait without end.

use std::error::Error;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::HeaderMap;
use hyper::body::{Body, Bytes};
use hyper::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, TRANSFER_ENCODING,
};
use tokio::time::{Instant, timeout};

use super::error::SubmissionError;
use super::limits::{BODY_PROGRESS_TIMEOUT, MAX_UPLOAD_TIME};

/// The framing and the type of a body, as its headers announce them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Announced<'a> {
    /// The value of the header `Content-Type`.
    pub(super) content_type: &'a str,
    /// The length in bytes, unless the body comes in chunks.
    length: Option<u64>,
}

impl<'a> Announced<'a> {
    /// Reads the headers of a request.
    pub(super) fn read(headers: &'a HeaderMap) -> Result<Self, SubmissionError> {
        let length = length(headers)?;
        let is_coded = |coding: &&HeaderValue| !coding.as_bytes().eq_ignore_ascii_case(b"identity");
        if let Some(given) = headers.get_all(CONTENT_ENCODING).iter().find(is_coded) {
            return Err(SubmissionError::ContentEncodingUnsupported {
                given: lossy(given),
            });
        }
        let mut types = headers.get_all(CONTENT_TYPE).iter();
        let (Some(value), None) = (types.next(), types.next()) else {
            return Err(SubmissionError::ContentTypeMissing);
        };
        let content_type = value
            .to_str()
            .map_err(|_| SubmissionError::ContentTypeUnsupported {
                given: lossy(value),
            })?;
        Ok(Self {
            content_type,
            length,
        })
    }
}

fn lossy(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn length(headers: &HeaderMap) -> Result<Option<u64>, SubmissionError> {
    if headers.contains_key(TRANSFER_ENCODING) {
        return Ok(None);
    }
    let length = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok());
    length.map(Some).ok_or(SubmissionError::LengthMissing)
}

/// A body whose client may not keep the appliance waiting.
#[derive(Debug)]
pub(super) struct Incoming<B> {
    body: B,
    limit: u64,
    received: u64,
    waited: Duration,
}

impl<B> Incoming<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Refuses a body that is announced to be longer than `limit` bytes, before any of it is read.
    pub(super) fn new(
        body: B,
        announced: &Announced<'_>,
        limit: u64,
    ) -> Result<Self, SubmissionError> {
        match announced.length {
            Some(size) if size > limit => Err(SubmissionError::BodyTooLarge { limit, size }),
            _ => Ok(Self {
                body,
                limit,
                received: 0,
                waited: Duration::ZERO,
            }),
        }
    }

    /// Returns the next bytes; `None` at the end. Only waiting for the client counts as time.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, SubmissionError> {
        loop {
            let started = Instant::now();
            let left = MAX_UPLOAD_TIME.saturating_sub(self.waited);
            let frame = timeout(left.min(BODY_PROGRESS_TIMEOUT), self.body.frame()).await;
            self.waited += started.elapsed();
            let Some(frame) = frame.map_err(|_| self.too_slow())? else {
                return Ok(None);
            };
            let frame = frame.map_err(|error| SubmissionError::BodyBroken {
                source: error.into(),
            })?;
            if let Ok(bytes) = frame.into_data() {
                return self.count(bytes).map(Some);
            }
        }
    }

    fn count(&mut self, bytes: Bytes) -> Result<Bytes, SubmissionError> {
        self.received = self.received.saturating_add(bytes.len() as u64);
        if self.received > self.limit {
            return Err(SubmissionError::BodyTooLarge {
                limit: self.limit,
                size: self.received,
            });
        }
        Ok(bytes)
    }

    fn too_slow(&self) -> SubmissionError {
        if self.waited >= MAX_UPLOAD_TIME {
            SubmissionError::UploadTooSlow {
                limit: MAX_UPLOAD_TIME,
            }
        } else {
            SubmissionError::BodyStalled {
                limit: BODY_PROGRESS_TIMEOUT,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    fn read(
        body: &'static str,
        length: Option<u64>,
        limit: u64,
    ) -> Result<String, SubmissionError> {
        let announced = Announced {
            content_type: "",
            length,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut body = Incoming::new(Full::new(Bytes::from(body)), &announced, limit)?;
            let mut read = Vec::new();
            while let Some(bytes) = body.next().await? {
                read.extend_from_slice(&bytes);
            }
            Ok(String::from_utf8(read).unwrap())
        })
    }

    #[test]
    fn limits_what_is_announced_and_what_comes() {
        assert_eq!(read("kettle", Some(6), 6).unwrap(), "kettle");
        assert_eq!(read("kettle", None, 6).unwrap(), "kettle");
        for length in [Some(6), None] {
            let error = read("kettle", length, 5).unwrap_err();
            assert!(
                matches!(error, SubmissionError::BodyTooLarge { limit: 5, size: 6 }),
                "{error:?}"
            );
        }
    }
}
