//! Keeps what a tool prints. Comes in: chunks. Goes out: standard output up to a limit, and the end of standard error.
//! Never: more memory than the limits.

use std::io;

use crate::sandbox::{OutputSink, Stream};
use crate::toolchain::Log;

/// Most bytes of standard error that are searched for a known message.
const MAX_COMPLAINT_BYTES: usize = 64 << 10;

/// Standard output, kept; standard error, kept and handed on.
pub(super) struct Answer<'a> {
    limit: usize,
    log: &'a mut dyn Log,
    pub bytes: Vec<u8>,
    pub too_long: bool,
    complaint: Vec<u8>,
}

impl<'a> Answer<'a> {
    /// Keeps up to `limit` bytes.
    pub fn new(limit: usize, log: &'a mut dyn Log) -> Self {
        Self { limit, log, bytes: Vec::new(), too_long: false, complaint: Vec::new() }
    }

    /// Whether standard error had one of `texts`.
    pub fn complains(&self, texts: &[&str]) -> bool {
        let complaint = String::from_utf8_lossy(&self.complaint);
        texts.iter().any(|text| complaint.contains(text))
    }
}

impl OutputSink for Answer<'_> {
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        match stream {
            Stream::Stdout if self.bytes.len() + bytes.len() > self.limit => {
                self.too_long = true;
                Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is too long"))
            }
            Stream::Stdout => {
                self.bytes.extend_from_slice(bytes);
                Ok(())
            }
            Stream::Stderr => {
                let room = MAX_COMPLAINT_BYTES.saturating_sub(self.complaint.len());
                self.complaint.extend_from_slice(&bytes[..bytes.len().min(room)]);
                self.log.output(stream, bytes)
            }
        }
    }
}
