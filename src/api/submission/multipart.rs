//! Reads multipart bodies (RFC 2046, section 5.1; RFC 7578) in pieces.
//!
//! * In: the body, cut anywhere.
//! * Out: to [`Parts`], each part's header block, its bytes while they come, and its end.
//! * Never: more of the body in memory than one piece, one header block and one boundary.
//!
//! Lines end in CR LF, as the standard says: an LF alone could also be the last byte of an archive.

use memchr::memmem::{self, Finder};

use super::error::{FormError, SubmissionError};
use super::limits::{
    MAX_BOUNDARY_BYTES, MAX_OUTSIDE_PARTS_BYTES, MAX_PART_HEADER_BYTES, MAX_PART_HEADERS, MAX_PARTS,
};
use super::parameters::Parameterised;

/// The end of a part's header block.
const EMPTY_LINE: &[u8] = b"\r\n\r\n";

/// A receiver of the parts of a body.
pub(super) trait Parts {
    /// Takes the header block of a part, which begins.
    fn part(&mut self, part: Part) -> Result<(), SubmissionError>;
    /// Takes the next bytes of the part.
    fn data(&mut self, bytes: &[u8]) -> Result<(), SubmissionError>;
    /// Takes the end of the part.
    fn end(&mut self) -> Result<(), SubmissionError>;
}

/// A part, as its header block describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The name of the field.
    pub(super) name: String,
    /// The name of the file. `filename*` does not belong to forms (RFC 7578, section 4.2) and does
    /// not count.
    pub(super) file_name: Option<String>,
}

/// A reader of one body.
#[derive(Debug)]
pub(super) struct Reader {
    delimiter: Delimiter,
    /// The bytes that have come and were not read yet.
    pending: Vec<u8>,
    position: Position,
    parts: usize,
    outside: usize,
}

/// The part of the body that the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    Preamble,
    AfterBoundary,
    Header,
    Data,
    Epilogue,
}

/// The result of one step.
enum Step<'a> {
    /// The step left these bytes.
    Left(&'a [u8]),
    /// The step left these bytes, and needs more.
    Starved(&'a [u8]),
}

impl Reader {
    /// Returns a reader of a body whose parts are separated by `boundary`.
    pub(super) fn new(boundary: &str) -> Result<Self, FormError> {
        let delimiter = Delimiter::new(boundary).ok_or(FormError::Boundary)?;
        // A boundary at the very start is at the start of a line too.
        Ok(Self {
            delimiter,
            pending: b"\r\n".to_vec(),
            position: Position::Preamble,
            parts: 0,
            outside: 0,
        })
    }

    /// Takes the next bytes of the body.
    pub(super) fn feed(
        &mut self,
        input: &[u8],
        parts: &mut impl Parts,
    ) -> Result<(), SubmissionError> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(input);
        let mut rest = pending.as_slice();
        loop {
            match self.step(rest, parts)? {
                Step::Left(left) => rest = left,
                Step::Starved(left) => {
                    let used = pending.len() - left.len();
                    pending.drain(..used);
                    self.pending = pending;
                    return Ok(());
                }
            }
        }
    }

    /// Ends the body, which has to end with the final boundary.
    pub(super) fn finish(&self) -> Result<(), FormError> {
        if self.position == Position::Epilogue {
            Ok(())
        } else {
            Err(FormError::FinalBoundary)
        }
    }

    fn step<'a>(
        &mut self,
        rest: &'a [u8],
        parts: &mut impl Parts,
    ) -> Result<Step<'a>, SubmissionError> {
        match self.position {
            Position::Preamble => Ok(self.preamble(rest)?),
            Position::AfterBoundary => Ok(self.after_boundary(rest)?),
            Position::Header => self.header(rest, parts),
            Position::Data => self.data(rest, parts),
            Position::Epilogue => {
                self.count_outside(rest.len())?;
                Ok(Step::Starved(&[]))
            }
        }
    }

    fn preamble<'a>(&mut self, rest: &'a [u8]) -> Result<Step<'a>, FormError> {
        let (before, after) = self.delimiter.split(rest);
        self.count_outside(before.len())?;
        match after {
            Some(after) => {
                self.position = Position::AfterBoundary;
                Ok(Step::Left(after))
            }
            None => Ok(Step::Starved(&rest[before.len()..])),
        }
    }

    fn after_boundary<'a>(&mut self, rest: &'a [u8]) -> Result<Step<'a>, FormError> {
        if let Some(epilogue) = rest.strip_prefix(b"--") {
            self.position = Position::Epilogue;
            return Ok(Step::Left(epilogue));
        }
        let padding = rest
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .count();
        if padding > MAX_PART_HEADER_BYTES {
            return Err(FormError::HeaderTooLarge {
                limit: MAX_PART_HEADER_BYTES,
            });
        }
        match &rest[padding..] {
            [b'\r', b'\n', header @ ..] => {
                self.count_part()?;
                self.position = Position::Header;
                Ok(Step::Left(header))
            }
            [] | [b'\r'] => Ok(Step::Starved(rest)),
            [b'-'] if padding == 0 => Ok(Step::Starved(rest)),
            _ => Err(FormError::AfterBoundary),
        }
    }

    fn header<'a>(
        &mut self,
        rest: &'a [u8],
        parts: &mut impl Parts,
    ) -> Result<Step<'a>, SubmissionError> {
        let window = &rest[..rest.len().min(MAX_PART_HEADER_BYTES)];
        let Some(end) = memmem::find(window, EMPTY_LINE) else {
            return if rest.len() < MAX_PART_HEADER_BYTES {
                Ok(Step::Starved(rest))
            } else {
                Err(FormError::HeaderTooLarge {
                    limit: MAX_PART_HEADER_BYTES,
                }
                .into())
            };
        };
        let (block, data) = rest.split_at(end + EMPTY_LINE.len());
        if self.delimiter.begins_a_line_of(block) {
            return Err(FormError::Header.into());
        }
        parts.part(Part::parse(block)?)?;
        self.position = Position::Data;
        Ok(Step::Left(data))
    }

    fn data<'a>(
        &mut self,
        rest: &'a [u8],
        parts: &mut impl Parts,
    ) -> Result<Step<'a>, SubmissionError> {
        let (data, after) = self.delimiter.split(rest);
        if !data.is_empty() {
            parts.data(data)?;
        }
        let Some(after) = after else {
            return Ok(Step::Starved(&rest[data.len()..]));
        };
        parts.end()?;
        self.position = Position::AfterBoundary;
        Ok(Step::Left(after))
    }

    fn count_part(&mut self) -> Result<(), FormError> {
        self.parts += 1;
        if self.parts > MAX_PARTS {
            Err(FormError::Parts { limit: MAX_PARTS })
        } else {
            Ok(())
        }
    }

    fn count_outside(&mut self, bytes: usize) -> Result<(), FormError> {
        self.outside += bytes;
        let limit = MAX_OUTSIDE_PARTS_BYTES;
        if self.outside > limit {
            Err(FormError::Outside { limit })
        } else {
            Ok(())
        }
    }
}

/// CR LF, two dashes and the boundary, with what is needed to find it quickly.
#[derive(Debug)]
struct Delimiter {
    bytes: Vec<u8>,
    finder: Finder<'static>,
}

impl Delimiter {
    /// From a boundary of 1 to 70 of the characters of RFC 2046, section 5.1.1, not ending in a
    /// space.
    fn new(boundary: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
        if !(1..=MAX_BOUNDARY_BYTES).contains(&boundary.len())
            || boundary.ends_with(' ')
            || !boundary.bytes().all(allowed)
        {
            return None;
        }
        let bytes = [b"\r\n--", boundary.as_bytes()].concat();
        let finder = Finder::new(&bytes).into_owned();
        Some(Self { bytes, finder })
    }

    /// Whether a line of a header is a boundary for whoever looks for boundaries first.
    fn begins_a_line_of(&self, block: &[u8]) -> bool {
        block
            .split(|byte| *byte == b'\n')
            .any(|line| line.starts_with(&self.bytes[b"\r\n".len()..]))
    }

    /// What is certainly before the delimiter, and what is after it if it is there.
    fn split<'a>(&self, rest: &'a [u8]) -> (&'a [u8], Option<&'a [u8]>) {
        let length = self.bytes.len();
        match self.finder.find(rest) {
            Some(at) => (&rest[..at], Some(&rest[at + length..])),
            None => (&rest[..rest.len().saturating_sub(length - 1)], None),
        }
    }
}

impl Part {
    /// Reads a header block with the empty line that ends it.
    fn parse(block: &[u8]) -> Result<Self, FormError> {
        let mut lines = [httparse::EMPTY_HEADER; MAX_PART_HEADERS];
        let headers = match httparse::parse_headers(block, &mut lines) {
            Ok(httparse::Status::Complete((used, headers))) if used == block.len() => headers,
            Err(httparse::Error::TooManyHeaders) => {
                return Err(FormError::Headers {
                    limit: MAX_PART_HEADERS,
                });
            }
            _ => return Err(FormError::Header),
        };
        let bare = |pair: &[u8]| pair[1] == b'\n' && pair[0] != b'\r';
        if block.windows(2).any(bare) {
            return Err(FormError::Header);
        }
        if values(headers, "content-transfer-encoding").any(|value| !is_plain(value)) {
            return Err(FormError::TransferEncoding);
        }
        let mut dispositions = values(headers, "content-disposition");
        match (dispositions.next(), dispositions.next()) {
            (Some(value), None) => Self::from_disposition(value).ok_or(FormError::Disposition),
            _ => Err(FormError::Disposition),
        }
    }

    fn from_disposition(value: &[u8]) -> Option<Self> {
        let disposition = Parameterised::parse(std::str::from_utf8(value).ok()?)?;
        if disposition.essence != "form-data" {
            return None;
        }
        let name = disposition.one("name").ok()??.to_owned();
        let file_name = disposition.one("filename").ok()?.map(str::to_owned);
        Some(Self { name, file_name })
    }
}

/// The values of the headers called `name`.
fn values<'a>(
    headers: &'a [httparse::Header<'a>],
    name: &'a str,
) -> impl Iterator<Item = &'a [u8]> {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value)
}

/// Whether an encoding is none (RFC 2045, section 6.2).
fn is_plain(encoding: &[u8]) -> bool {
    [&b"7bit"[..], b"8bit", b"binary"]
        .iter()
        .any(|plain| encoding.eq_ignore_ascii_case(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Eq)]
    struct Collected(Vec<(String, Option<String>, Vec<u8>, bool)>);

    impl Parts for Collected {
        fn part(&mut self, part: Part) -> Result<(), SubmissionError> {
            self.0.push((part.name, part.file_name, Vec::new(), false));
            Ok(())
        }

        fn data(&mut self, bytes: &[u8]) -> Result<(), SubmissionError> {
            self.0.last_mut().unwrap().2.extend_from_slice(bytes);
            Ok(())
        }

        fn end(&mut self) -> Result<(), SubmissionError> {
            self.0.last_mut().unwrap().3 = true;
            Ok(())
        }
    }

    fn read_pieces<'a>(
        boundary: &str,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Collected, FormError> {
        let (mut reader, mut parts) = (Reader::new(boundary)?, Collected::default());
        for piece in pieces {
            reader
                .feed(piece, &mut parts)
                .map_err(|error| match error {
                    SubmissionError::Form(error) => error,
                    other => panic!("{other}"),
                })?;
        }
        reader.finish().map(|()| parts)
    }

    /// What is read, which is the same however the body is cut.
    fn read(boundary: &str, body: &[u8]) -> Result<Collected, FormError> {
        let whole = read_pieces(boundary, [body].into_iter());
        for size in 1..=body.len().min(100) {
            assert_eq!(
                read_pieces(boundary, body.chunks(size)),
                whole,
                "pieces of {size}"
            );
        }
        for cut in 0..body.len().min(1000) {
            let (head, tail) = body.split_at(cut);
            assert_eq!(
                read_pieces(boundary, [head, tail].into_iter()),
                whole,
                "cut at {cut}"
            );
        }
        whole
    }

    fn one(name: &str, file_name: Option<&str>, data: &[u8]) -> Collected {
        Collected(vec![(
            name.to_owned(),
            file_name.map(str::to_owned),
            data.to_vec(),
            true,
        )])
    }

    fn with_header(header: &str) -> Result<Collected, FormError> {
        read("b", format!("--b\r\n{header}\r\n\r\nx\r\n--b--").as_bytes())
    }

    #[test]
    fn reads_parts_with_preamble_padding_and_epilogue() {
        let body = b"hello\r\n--b \t\r\nContent-Disposition: form-data; name=a\r\nX: y\r\n\r\none\r\n--b\r\n\
            content-disposition:form-data;name=\"c\";filename=d\r\n\r\n\r\n--b--\r\nbye";
        let parts = read("b", body).unwrap();
        assert_eq!(parts.0[0], ("a".to_owned(), None, b"one".to_vec(), true));
        assert_eq!(
            parts.0[1],
            ("c".to_owned(), Some("d".to_owned()), Vec::new(), true)
        );
        assert_eq!(parts.0.len(), 2);
    }

    #[test]
    fn keeps_bytes_that_look_like_a_boundary() {
        let data = b"\r\n--boundarX\r\n--boundar\r\n-\r\r\n--\n--boundary\r--boundary--boundary\r\n--Boundary";
        let body = [
            b"--boundary\r\nContent-Disposition: form-data; name=a\r\n\r\n",
            &data[..],
            b"\r\n--boundary--",
        ]
        .concat();
        assert_eq!(read("boundary", &body).unwrap(), one("a", None, data));
    }

    #[test]
    fn finds_boundaries_of_repeating_characters() {
        for boundary in ["-", "--", "---a", "aaaa", "a-a-a", "=:'()+_,./?"] {
            for data in [
                "",
                "\r\n",
                "\r\n-",
                "\r\n--",
                "-\r\n\r\n--\r\n-",
                "\r\r\n\r",
            ] {
                let head =
                    format!("--{boundary}\r\nContent-Disposition: form-data; name=a\r\n\r\n");
                let body = format!("{head}{data}\r\n--{boundary}--");
                let expected = if boundary.starts_with('-') && data.contains("\r\n--") {
                    continue;
                } else {
                    one("a", None, data.as_bytes())
                };
                assert_eq!(
                    read(boundary, body.as_bytes()).unwrap(),
                    expected,
                    "{boundary:?} {data:?}"
                );
            }
        }
    }

    #[test]
    fn refuses_bodies_without_their_boundaries() {
        let head = "--b\r\nContent-Disposition: form-data; name=a\r\n\r\n";
        for body in [
            "",
            "--b",
            "--b\r",
            "--b\r\n",
            "--b-",
            head,
            &format!("{head}x"),
            &format!("{head}x\r\n--b"),
            &format!("{head}x\r\n--b-"),
            &format!("{head}x\n--b--"),
            "x--b--",
            "--c--",
            &format!("{head}x\r\n--b--").replace("\r\n", "\n"),
        ] {
            let error = read("b", body.as_bytes()).unwrap_err();
            assert!(
                matches!(error, FormError::FinalBoundary | FormError::AfterBoundary),
                "{body:?} {error}"
            );
        }
        for after in ["x", "-x", " --", "\rx", "\n"] {
            assert_eq!(
                read("b", format!("--b{after}").as_bytes()),
                Err(FormError::AfterBoundary),
                "{after:?}"
            );
        }
    }

    #[test]
    fn refuses_headers_that_can_be_read_in_two_ways() {
        let good = "Content-Disposition: form-data; name=a";
        assert_eq!(with_header(good).unwrap(), one("a", None, b"x"));
        assert_eq!(
            with_header(&format!("{good}; filename*=UTF-8''b")).unwrap(),
            one("a", None, b"x")
        );
        assert_eq!(
            with_header(&format!("{good}; filename=\"ä\"")).unwrap(),
            one("a", Some("ä"), b"x")
        );
        assert_eq!(
            with_header(&format!("{good}\r\nContent-Transfer-Encoding: Binary")).unwrap(),
            one("a", None, b"x")
        );
        for (header, expected) in [
            ("", FormError::Header),
            ("Content-Type: text/plain", FormError::Disposition),
            ("Content-Disposition: form-data", FormError::Disposition),
            (
                "Content-Disposition: attachment; name=a",
                FormError::Disposition,
            ),
            (
                "Content-Disposition: form-data; name=a; name=b",
                FormError::Disposition,
            ),
            (
                "Content-Disposition: form-data; name=a; filename=b; filename=c",
                FormError::Disposition,
            ),
            (
                "Content-Disposition: form-data; name=\"a",
                FormError::Disposition,
            ),
            (&format!("{good}\r\n{good}"), FormError::Disposition),
            (
                &format!("{good}\r\nContent-Transfer-Encoding: base64"),
                FormError::TransferEncoding,
            ),
            (&format!("{good}\nX: y"), FormError::Header),
            (&format!("{good}\n\nX: y"), FormError::Header),
            (&format!("{good}\r\n folded"), FormError::Header),
            (&format!("{good}\r\n--b: y"), FormError::Header),
            (&format!("--b: y\r\n{good}"), FormError::Header),
            ("no colon", FormError::Header),
            (": no name", FormError::Header),
            (&format!("{good}\r\nX: \0"), FormError::Header),
        ] {
            assert_eq!(with_header(header), Err(expected), "{header:?}");
        }
    }

    #[test]
    fn limits_headers_parts_and_what_is_outside() {
        let whole = |body: String| {
            read_pieces("b", [body.as_bytes()].into_iter()).map(|parts| parts.0.len())
        };
        let bytewise =
            |body: String| read_pieces("b", body.as_bytes().chunks(1)).map(|parts| parts.0.len());
        let head = "Content-Disposition: form-data; name=a\r\nX: ";
        let long = |bytes: usize| {
            format!(
                "--b\r\n{head}{}\r\n\r\n\r\n--b--",
                "y".repeat(bytes - head.len() - 4)
            )
        };
        let many = |parts: usize| format!("--b\r\n{head}\r\n\r\n\r\n").repeat(parts) + "--b--";
        let outside =
            |bytes: usize| format!("{}\r\n--b--{}", "x".repeat(bytes - 1000), "y".repeat(1000));
        let padded = |bytes: usize| format!("--b{}", " ".repeat(bytes));
        let fields = |fields: usize| {
            format!(
                "--b\r\n{head}{}\r\n\r\n\r\n--b--",
                "\r\nX: ".repeat(fields - 2)
            )
        };
        let header = FormError::HeaderTooLarge {
            limit: MAX_PART_HEADER_BYTES,
        };
        for read in [
            &whole as &dyn Fn(String) -> Result<usize, FormError>,
            &bytewise,
        ] {
            assert_eq!(read(long(MAX_PART_HEADER_BYTES)), Ok(1));
            assert_eq!(read(long(MAX_PART_HEADER_BYTES + 1)), Err(header));
            assert_eq!(read(padded(MAX_PART_HEADER_BYTES + 1)), Err(header));
            assert_eq!(read(fields(MAX_PART_HEADERS)), Ok(1));
            assert_eq!(
                read(fields(MAX_PART_HEADERS + 1)),
                Err(FormError::Headers {
                    limit: MAX_PART_HEADERS
                })
            );
            assert_eq!(read(many(MAX_PARTS)), Ok(MAX_PARTS));
            assert_eq!(
                read(many(MAX_PARTS + 1)),
                Err(FormError::Parts { limit: MAX_PARTS })
            );
            assert_eq!(read(outside(MAX_OUTSIDE_PARTS_BYTES - 2)), Ok(0));
            let limit = MAX_OUTSIDE_PARTS_BYTES;
            assert_eq!(read(outside(limit + 1)), Err(FormError::Outside { limit }));
        }
    }
}
