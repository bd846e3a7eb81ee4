//! Reads the header block of a request as bytes, before the HTTP library sees it.
//!
//! * In: the bytes of a connection from the start of a request on.
//! * Out: where the header block ends and which body follows it, or why it is refused.
//! * Never: a block that two readers could end in different places or read different fields from.
//!   Deviations that RFC 9112 lets a recipient forgive (bare line feeds, folded lines, a repeated
//!   length) are refused here.

use super::limits::{MAX_HEADER_BYTES, MAX_HEADERS};

/// The body that follows a header block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// No body follows the header block.
    Absent,
    /// A body of this many bytes follows, at least one.
    Length(u64),
    /// A chunked body follows the header block.
    Chunked,
}

/// A complete header block within the bytes that were scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderBlock {
    /// The offset of the request line, after empty lines.
    pub start: usize,
    /// The offset after the empty line that ends the block.
    pub end: usize,
    /// The body that follows at `end`.
    pub body: BodyFraming,
}

/// The reason why a header block is refused. The texts are for the client, and document the
/// variants.
#[allow(missing_docs)]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error(
        "a line of the header ends with a bare line feed; \
         lines end with a carriage return and a line feed"
    )]
    BareLineFeed,
    #[error("a carriage return in the header is not followed by a line feed")]
    BareCarriageReturn,
    #[error("the header contains the control character {0:#04x}")]
    ControlCharacter(u8),
    #[error("the request line is not a method, a target and a version with one space between them")]
    RequestLine,
    #[error("the version of the request is neither HTTP/1.1 nor HTTP/1.0")]
    Version,
    #[error("a header line begins with white space; folded lines are not accepted")]
    FoldedLine,
    #[error("a header line is not a field name, a colon and a value")]
    FieldLine,
    #[error("request line and header are longer than {limit} bytes")]
    TooLong {
        /// The most bytes that are accepted.
        limit: usize,
    },
    #[error(
        "the request target is too long: request line and header may have {limit} bytes together"
    )]
    TargetTooLong {
        /// The most bytes that are accepted of request line and header.
        limit: usize,
    },
    #[error("the header has more than {limit} fields")]
    TooManyFields {
        /// The most fields that are accepted.
        limit: usize,
    },
    #[error("the header has no Host field")]
    HostMissing,
    #[error("the header has more than one Host field")]
    HostRepeated,
    #[error("the header has more than one Content-Length field")]
    LengthRepeated,
    #[error("Content-Length is not one decimal number")]
    LengthInvalid,
    #[error("Transfer-Encoding is something other than exactly one `chunked`")]
    TransferCoding,
    #[error("the header has both Content-Length and Transfer-Encoding")]
    LengthWithCoding,
    #[error("a request of HTTP/1.0 has a Transfer-Encoding")]
    CodingInOldVersion,
}

impl HeaderError {
    /// Returns the status of the response.
    pub fn status(&self) -> u16 {
        match self {
            Self::TargetTooLong { .. } => 414,
            Self::TooLong { .. } | Self::TooManyFields { .. } => 431,
            _ => 400,
        }
    }

    /// Returns the stable code of the problem document, in kebab-case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TargetTooLong { .. } => "target-too-long",
            Self::TooLong { .. } | Self::TooManyFields { .. } => "header-too-large",
            Self::HostMissing => "host-missing",
            Self::HostRepeated => "host-repeated",
            Self::LengthRepeated
            | Self::LengthInvalid
            | Self::TransferCoding
            | Self::LengthWithCoding
            | Self::CodingInOldVersion => "body-framing-invalid",
            Self::BareLineFeed
            | Self::BareCarriageReturn
            | Self::ControlCharacter(_)
            | Self::RequestLine
            | Self::Version
            | Self::FoldedLine
            | Self::FieldLine => "header-malformed",
        }
    }
}

/// Reads one header block, whichever pieces it comes in.
#[derive(Debug, Default)]
pub struct Scanner {
    /// The number of bytes that have been looked at.
    scanned: usize,
    /// The offset of the line that is being read.
    line_start: usize,
    /// The offset of the request line, once there is one.
    block_start: Option<usize>,
    fields: Fields,
}

/// The facts in the lines so far that decide where the request ends.
#[derive(Debug, Default)]
struct Fields {
    old_version: bool,
    count: usize,
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
}

impl Scanner {
    /// Looks at the bytes that were added since the last call. `bytes` always begins at the start
    /// of the request. Returns `None` while the block is not complete.
    ///
    /// # Errors
    /// The block is refused, at the first byte that shows why.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Option<HeaderBlock>, HeaderError> {
        while let Some(&byte) = bytes.get(self.scanned) {
            if self.scanned == MAX_HEADER_BYTES {
                return Err(self.too_long(bytes));
            }
            let after_carriage_return =
                self.scanned > self.line_start && bytes[self.scanned - 1] == b'\r';
            check_byte(byte, after_carriage_return)?;
            self.scanned += 1;
            if byte != b'\n' {
                continue;
            }
            let line = &bytes[self.line_start..self.scanned - 2];
            let line_start = std::mem::replace(&mut self.line_start, self.scanned);
            match (self.block_start, line) {
                // Empty lines before a request are ignored (RFC 9112, section 2.2).
                (None, []) => (),
                (None, line) => {
                    self.block_start = Some(line_start);
                    self.fields.old_version = request_line(line)?;
                }
                (Some(start), []) => {
                    let body = self.fields.finish()?;
                    return Ok(Some(HeaderBlock {
                        start,
                        end: self.scanned,
                        body,
                    }));
                }
                (Some(_), line) => self.fields.add(line)?,
            }
        }
        Ok(None)
    }

    /// Returns which part is too long: the target, where the request line got beyond its method and
    /// did not end (RFC 9112, section 3).
    fn too_long(&self, bytes: &[u8]) -> HeaderError {
        let limit = MAX_HEADER_BYTES;
        let line = &bytes[self.line_start..self.scanned];
        if self.block_start.is_none() && line.contains(&b' ') {
            HeaderError::TargetTooLong { limit }
        } else {
            HeaderError::TooLong { limit }
        }
    }
}

/// Checks one byte of a header block. A tab and bytes from 0x80 on may be in values; everywhere
/// else, the check of the line refuses them.
fn check_byte(byte: u8, after_carriage_return: bool) -> Result<(), HeaderError> {
    match (byte, after_carriage_return) {
        (b'\n', true) | (b'\r' | b'\t', false) => Ok(()),
        (b'\n', false) => Err(HeaderError::BareLineFeed),
        (_, true) => Err(HeaderError::BareCarriageReturn),
        (0..=0x1f | 0x7f, false) => Err(HeaderError::ControlCharacter(byte)),
        (_, false) => Ok(()),
    }
}

/// Checks a request line (RFC 9112, section 3), and returns whether its version is HTTP/1.0.
fn request_line(line: &[u8]) -> Result<bool, HeaderError> {
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(HeaderError::RequestLine);
    };
    if !is_token(method) || target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
        return Err(HeaderError::RequestLine);
    }
    match version {
        b"HTTP/1.1" => Ok(false),
        b"HTTP/1.0" => Ok(true),
        _ => Err(HeaderError::Version),
    }
}

impl Fields {
    /// Checks and adds one field line (RFC 9112, section 5).
    fn add(&mut self, line: &[u8]) -> Result<(), HeaderError> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(HeaderError::FoldedLine);
        }
        let colon = line
            .iter()
            .position(|byte| *byte == b':')
            .ok_or(HeaderError::FieldLine)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if !is_token(name) {
            return Err(HeaderError::FieldLine);
        }
        self.count += 1;
        if self.count > MAX_HEADERS {
            return Err(HeaderError::TooManyFields { limit: MAX_HEADERS });
        }
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            self.add_length(value)?;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.add_coding(value)?;
        }
        Ok(())
    }

    fn add_length(&mut self, value: &[u8]) -> Result<(), HeaderError> {
        if self.length.is_some() {
            return Err(HeaderError::LengthRepeated);
        }
        self.length = Some(decimal(value).ok_or(HeaderError::LengthInvalid)?);
        Ok(())
    }

    fn add_coding(&mut self, value: &[u8]) -> Result<(), HeaderError> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(HeaderError::TransferCoding);
        }
        self.chunked = true;
        Ok(())
    }

    /// Decides which body follows (RFC 9112, section 6.3), once all fields are known.
    fn finish(&self) -> Result<BodyFraming, HeaderError> {
        match self.hosts {
            0 => return Err(HeaderError::HostMissing),
            1 => (),
            _ => return Err(HeaderError::HostRepeated),
        }
        match (self.length, self.chunked) {
            (Some(_), true) => Err(HeaderError::LengthWithCoding),
            (None, true) if self.old_version => Err(HeaderError::CodingInOldVersion),
            (None, true) => Ok(BodyFraming::Chunked),
            (None | Some(0), false) => Ok(BodyFraming::Absent),
            (Some(length), false) => Ok(BodyFraming::Length(length)),
        }
    }
}

/// Reads decimal digits and nothing else.
fn decimal(bytes: &[u8]) -> Option<u64> {
    if !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Returns whether this is a token (RFC 9110, section 5.6.2).
fn is_token(bytes: &[u8]) -> bool {
    let is_token_byte =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_token_byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(bytes: &[u8]) -> Result<Option<HeaderBlock>, HeaderError> {
        Scanner::default().scan(bytes)
    }

    fn body_of(fields: &str) -> Result<BodyFraming, HeaderError> {
        let block =
            scan(format!("POST /build HTTP/1.1\r\nHost: kettle\r\n{fields}\r\nrest").as_bytes())?;
        Ok(block.expect("a complete block").body)
    }

    #[test]
    fn finds_the_end_whichever_pieces_it_comes_in() {
        let bytes = b"\r\n\r\nGET / HTTP/1.1\r\nHost: kettle\r\nX:\r\n\r\nGET ";
        let expected = HeaderBlock {
            start: 4,
            end: bytes.len() - 4,
            body: BodyFraming::Absent,
        };
        for first in 0..expected.end {
            for second in first..expected.end {
                let mut scanner = Scanner::default();
                assert_eq!(scanner.scan(&bytes[..first]), Ok(None));
                assert_eq!(scanner.scan(&bytes[..second]), Ok(None));
                assert_eq!(scanner.scan(bytes), Ok(Some(expected)), "{first} {second}");
            }
        }
    }

    #[test]
    fn refuses_at_the_first_byte_that_shows_it_whichever_pieces_it_comes_in() {
        for (bytes, shown, expected) in [
            (
                &b"GET / HTTP/1.1\nHost: a\n\n"[..],
                15,
                HeaderError::BareLineFeed,
            ),
            (b"\nGET / HTTP/1.1\r\n", 1, HeaderError::BareLineFeed),
            (
                b"GET / HTTP/1.1\r\nHost: a\n\r\n",
                24,
                HeaderError::BareLineFeed,
            ),
            (
                b"GET / HTTP/1.1\r\nHost: a\r\n\n",
                26,
                HeaderError::BareLineFeed,
            ),
            (b"GET / HTTP/1.1\r\r\n", 16, HeaderError::BareCarriageReturn),
            (
                b"\x16\x03\x01\x02\x00",
                1,
                HeaderError::ControlCharacter(0x16),
            ),
            (
                b"GET / HTTP/1.1\r\nX: \0",
                20,
                HeaderError::ControlCharacter(0),
            ),
            (b"GET / HTTP/2.0\r\n", 16, HeaderError::Version),
            (b"GET /\r\nHost: a\r\n\r\n", 7, HeaderError::RequestLine),
        ] {
            for cut in 0..bytes.len() {
                let mut scanner = Scanner::default();
                match scanner.scan(&bytes[..cut]) {
                    Ok(None) => assert!(cut < shown, "{cut} of {}", bytes.escape_ascii()),
                    refused => {
                        assert_eq!(
                            (refused, cut >= shown),
                            (Err(expected.clone()), true),
                            "{}",
                            bytes.escape_ascii()
                        );
                        continue;
                    }
                }
                assert_eq!(
                    scanner.scan(bytes),
                    Err(expected.clone()),
                    "{}",
                    bytes.escape_ascii()
                );
            }
        }
    }

    #[test]
    fn a_body_has_one_framing() {
        assert_eq!(body_of(""), Ok(BodyFraming::Absent));
        assert_eq!(body_of("Content-Length: 0\r\n"), Ok(BodyFraming::Absent));
        assert_eq!(
            body_of("content-length:\t12 \r\n"),
            Ok(BodyFraming::Length(12))
        );
        assert_eq!(
            body_of("TRANSFER-ENCODING: Chunked\r\n"),
            Ok(BodyFraming::Chunked)
        );
        for value in [
            "",
            "+1",
            "-1",
            "0x1",
            "1, 1",
            "1 1",
            "1.0",
            "18446744073709551616",
            "\u{661}",
        ] {
            let fields = format!("Content-Length: {value}\r\n");
            assert_eq!(body_of(&fields), Err(HeaderError::LengthInvalid), "{value}");
        }
        for value in [
            "",
            "identity",
            "identity, chunked",
            "chunked, chunked",
            "chunked;q=1",
            "\"chunked\"",
            "xchunked",
        ] {
            let fields = format!("Transfer-Encoding: {value}\r\n");
            assert_eq!(
                body_of(&fields),
                Err(HeaderError::TransferCoding),
                "{value}"
            );
        }
        let twice = |line: &str| body_of(&format!("{line}\r\n{line}\r\n"));
        assert_eq!(twice("Content-Length: 1"), Err(HeaderError::LengthRepeated));
        assert_eq!(
            twice("Transfer-Encoding: chunked"),
            Err(HeaderError::TransferCoding)
        );
        let both = "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(body_of(both), Err(HeaderError::LengthWithCoding));
    }

    #[test]
    fn fields_are_tokens_with_values_and_one_of_them_is_the_host() {
        for line in [
            "X",
            ": x",
            "X : x",
            "X\t: x",
            "X(: x",
            "X\u{e4}: x",
            "\"X\": x",
        ] {
            assert_eq!(
                body_of(&format!("{line}\r\n")),
                Err(HeaderError::FieldLine),
                "{line}"
            );
        }
        assert_eq!(body_of("X: a\r\n b\r\n"), Err(HeaderError::FoldedLine));
        assert_eq!(body_of("X: \u{e4}\t:\r\n"), Ok(BodyFraming::Absent));
        assert_eq!(body_of("HOST: kettle\r\n"), Err(HeaderError::HostRepeated));
        assert_eq!(
            scan(b"GET / HTTP/1.0\r\nX: Host: a\r\n\r\n"),
            Err(HeaderError::HostMissing)
        );
        let old = b"GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(scan(old), Err(HeaderError::CodingInOldVersion));
    }

    #[test]
    fn what_is_too_much_is_refused_with_its_limit() {
        let endless = [b'x'; MAX_HEADER_BYTES + 1];
        assert_eq!(scan(&endless[..MAX_HEADER_BYTES]), Ok(None));
        assert_eq!(
            scan(&endless),
            Err(HeaderError::TooLong {
                limit: MAX_HEADER_BYTES
            })
        );
        let empty_lines = b"\r\n".repeat(MAX_HEADER_BYTES);
        assert_eq!(
            scan(&empty_lines),
            Err(HeaderError::TooLong {
                limit: MAX_HEADER_BYTES
            })
        );
        let target = format!("GET /{} HTTP/1.1\r\n", "x".repeat(MAX_HEADER_BYTES));
        let refused = scan(target.as_bytes()).unwrap_err();
        assert_eq!((refused.status(), refused.code()), (414, "target-too-long"));
        assert!(refused.to_string().contains(&MAX_HEADER_BYTES.to_string()));
        let field = format!("GET / HTTP/1.1\r\nX: {target}");
        let refused = scan(field.as_bytes()).unwrap_err();
        assert_eq!(
            (refused.status(), refused.code()),
            (431, "header-too-large")
        );
        // The host is one of them.
        assert_eq!(
            body_of(&"X: y\r\n".repeat(MAX_HEADERS - 1)),
            Ok(BodyFraming::Absent)
        );
        let many = body_of(&"X: y\r\n".repeat(MAX_HEADERS));
        assert_eq!(many, Err(HeaderError::TooManyFields { limit: MAX_HEADERS }));
    }
}
