//! Keeps the beginning of a command's output.
//!
//! * In: chunks of one stream.
//! * Out: its beginning, up to a limit, and whether there was more.
//! * Never: more memory than the limit.

use std::io;

/// The beginning of a command's output.
#[derive(Debug)]
pub struct Captured {
    bytes: Vec<u8>,
    limit: usize,
    is_exceeded: bool,
}

impl Captured {
    /// Creates an empty buffer that keeps up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            limit,
            is_exceeded: false,
        }
    }

    /// Appends the next bytes, as far as they fit.
    ///
    /// # Errors
    /// There are more bytes than the limit. A sink that returns this error ends its command.
    pub fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        let room = self.limit - self.bytes.len();
        self.bytes
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room {
            self.is_exceeded = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(())
    }

    /// Returns whether there were more bytes than the limit.
    pub fn is_exceeded(&self) -> bool {
        self.is_exceeded
    }

    /// Returns the bytes that were kept.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the bytes that were kept, as a vector.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_as_much_as_the_limit_and_says_that_there_was_more() {
        let mut captured = Captured::new(4);
        captured.take(b"ab").unwrap();
        captured.take(b"cd").unwrap();
        assert!(!captured.is_exceeded());
        assert!(captured.take(b"").is_ok() && captured.take(b"e").is_err());
        assert!(captured.is_exceeded());
        assert_eq!(captured.bytes(), b"abcd");
        let mut captured = Captured::new(3);
        assert!(captured.take(b"abcd").is_err());
        assert_eq!(captured.into_bytes(), b"abc");
    }
}
