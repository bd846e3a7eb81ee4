//! Splits build output into lines.
//!
//! * In: bytes, in chunks that are cut anywhere.
//! * Out: [`Line`]s that are valid UTF-8, bounded, and free of characters that cannot be seen.
//! * Never: more memory than one line's limit, whatever a build prints, or a line that looks like a
//!   note of the appliance.

use std::convert::Infallible;

use crate::text::is_inert;

/// The longest line in bytes, after escaping; longer ones are split.
pub const MAX_LINE_BYTES: usize = 16 * 1024;

/// The mark before each note of the appliance, followed by a blank, where notes and lines of output
/// are in one text. No line starts with it, in whatever case and after whatever blanks: a line that
/// would has the first character of the mark escaped.
pub const NOTE_MARK: &str = "[kettle]";

/// Text without control characters other than tab, without invisible characters, and of at most
/// [`MAX_LINE_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a>(&'a str);

impl<'a> Line<'a> {
    /// Returns the text, without a line ending.
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

/// Splits one stream of output into lines.
#[derive(Debug, Default)]
pub struct LineSplitter {
    line: String,
    /// The number of bytes of blanks with which the line begins.
    indent: usize,
    /// The start of a character whose rest has not come yet: at most three bytes.
    partial: Vec<u8>,
    /// Whether a carriage return came last: the next character decides whether it belongs to the
    /// line ending.
    carriage_return: bool,
}

impl LineSplitter {
    /// Returns a splitter that has seen no bytes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes, and passes every line that they complete to `emit`.
    ///
    /// # Errors
    /// The first error of `emit`; the splitter cannot be used afterwards.
    pub fn push<E>(
        &mut self,
        bytes: &[u8],
        mut emit: impl FnMut(Line<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut joined = std::mem::take(&mut self.partial);
        let input = if joined.is_empty() {
            bytes
        } else {
            joined.extend_from_slice(bytes);
            &joined
        };
        let mut chunks = input.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            for character in chunk.valid().chars() {
                self.character(character, &mut emit)?;
            }
            if chunks.peek().is_none() && may_continue(chunk.invalid()) {
                self.partial = chunk.invalid().to_vec();
            } else if !chunk.invalid().is_empty() {
                self.character(char::REPLACEMENT_CHARACTER, &mut emit)?;
            }
        }
        Ok(())
    }

    /// Passes the text after the last line ending to `emit`, if there is any.
    ///
    /// # Errors
    /// The first error of `emit`.
    pub fn finish<E>(mut self, mut emit: impl FnMut(Line<'_>) -> Result<(), E>) -> Result<(), E> {
        if !self.partial.is_empty() {
            self.character(char::REPLACEMENT_CHARACTER, &mut emit)?;
        }
        if std::mem::take(&mut self.carriage_return) {
            self.piece(&escape('\r'), &mut emit)?;
        }
        if self.line.is_empty() {
            Ok(())
        } else {
            self.cut(&mut emit)
        }
    }

    fn character<E>(
        &mut self,
        character: char,
        emit: &mut impl FnMut(Line<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if std::mem::take(&mut self.carriage_return) && character != '\n' {
            self.piece(&escape('\r'), emit)?;
        }
        match character {
            '\n' => self.cut(emit),
            '\r' => {
                self.carriage_return = true;
                Ok(())
            }
            _ if is_inert(character) => self.piece(character.encode_utf8(&mut [0; 4]), emit),
            _ => self.piece(&escape(character), emit),
        }
    }

    fn piece<E>(
        &mut self,
        piece: &str,
        emit: &mut impl FnMut(Line<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.line.len() + piece.len() > MAX_LINE_BYTES {
            self.cut(emit)?;
        }
        if self.indent == self.line.len() && piece.chars().all(char::is_whitespace) {
            self.indent += piece.len();
        }
        self.line.push_str(piece);
        // Pieces are single characters, so every line that starts like a note is found here.
        if self.line[self.indent..].eq_ignore_ascii_case(NOTE_MARK) {
            self.escape_mark(emit)?;
        }
        Ok(())
    }

    /// Escapes the mark that the line has after its blanks. Where there is no room for that, the
    /// blanks become their own line.
    fn escape_mark<E>(
        &mut self,
        emit: &mut impl FnMut(Line<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let bracket = escape('[');
        if self.line.len() + bracket.len() > MAX_LINE_BYTES {
            let mark = self.line.split_off(self.indent);
            self.cut(emit)?;
            self.line = mark;
        }
        self.line.replace_range(self.indent..=self.indent, &bracket);
        Ok(())
    }

    fn cut<E>(&mut self, emit: &mut impl FnMut(Line<'_>) -> Result<(), E>) -> Result<(), E> {
        let outcome = emit(Line(&self.line));
        self.line.clear();
        self.indent = 0;
        outcome
    }
}

/// Returns our own words as one line: escaped as output is, line endings too, and cut off at the
/// limit.
pub(super) fn sanitise(text: &str) -> String {
    let mut first = None;
    let mut splitter = LineSplitter::new();
    for character in text.chars() {
        let piece = if is_inert(character) {
            character.to_string()
        } else {
            escape(character)
        };
        let kept: Result<(), Infallible> = splitter.piece(&piece, &mut |line| {
            first.get_or_insert_with(|| line.as_str().to_owned());
            Ok(())
        });
        let Ok(()) = kept;
        if first.is_some() {
            break;
        }
    }
    first.unwrap_or(splitter.line)
}

fn escape(character: char) -> String {
    character.escape_unicode().to_string()
}

/// Returns whether `bytes` are the start of a character that the next chunk may complete.
fn may_continue(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut keep = |line: Line<'_>| {
            lines.push(line.as_str().to_owned());
            Ok::<_, Infallible>(())
        };
        let mut splitter = LineSplitter::new();
        for chunk in chunks {
            splitter.push(chunk, &mut keep).unwrap();
        }
        splitter.finish(&mut keep).unwrap();
        lines
    }

    #[test]
    fn gives_the_same_lines_however_the_bytes_are_cut() {
        let text = "eins\r\nzw\u{f6}lf \u{1f980}\n\nno end \u{1b}[31m\r\u{85}".as_bytes();
        let whole = lines(&[text]);
        assert_eq!(
            whole,
            ["eins", "zwölf 🦀", "", "no end \\u{1b}[31m\\u{d}\\u{85}"]
        );
        for at in 0..text.len() {
            assert_eq!(lines(&[&text[..at], &text[at..]]), whole, "cut at {at}");
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(lines(&bytes), whole);
    }

    #[test]
    fn escapes_every_control_character_but_tab() {
        for code in (0..0x20).chain(0x7f..0xa0) {
            let character = char::from_u32(code).unwrap();
            if character == '\n' {
                continue;
            }
            let expected = if character == '\t' {
                "a\tb".to_owned()
            } else {
                format!("a\\u{{{code:x}}}b")
            };
            assert_eq!(lines(&[format!("a{character}b").as_bytes()]), [expected]);
        }
    }

    #[test]
    fn no_line_has_a_character_that_cannot_be_seen() {
        for code in ['\0'..='\u{9}', '\u{b}'..='\u{c}', '\u{e}'..=char::MAX]
            .into_iter()
            .flatten()
        {
            let shown = if is_inert(code) {
                format!("a{code}b")
            } else {
                format!("a{}b", code.escape_unicode())
            };
            assert_eq!(lines(&[format!("a{code}b").as_bytes()]), [shown]);
        }
        let hidden = [
            "\u{34f}",
            "\u{fe0f}",
            "\u{e0100}",
            "\u{17b4}",
            "\u{180b}",
            "\u{2800}",
            "\u{115f}",
            "\u{3164}",
        ];
        for hidden in hidden {
            let line = lines(&[format!("{hidden}[kettle] x").as_bytes()]).concat();
            assert_eq!(line, format!("{}[kettle] x", hidden.escape_unicode()));
        }
    }

    #[test]
    fn no_line_looks_like_a_note_of_ours() {
        let cut_anywhere = |text: &[u8]| {
            let whole = lines(&[text]);
            for at in 0..text.len() {
                assert_eq!(lines(&[&text[..at], &text[at..]]), whole, "cut at {at}");
            }
            whole
        };
        assert_eq!(cut_anywhere(b"[kettle] x\n"), ["\\u{5b}kettle] x"]);
        assert_eq!(
            cut_anywhere(b"[kettle] \n[kettle]\n"),
            ["\\u{5b}kettle] ", "\\u{5b}kettle]"]
        );
        assert_eq!(
            cut_anywhere("[kettle]\u{a0}x\n[kettle]\tx".as_bytes()),
            ["\\u{5b}kettle]\u{a0}x", "\\u{5b}kettle]\tx"]
        );
        assert_eq!(cut_anywhere(b"a [kettle] b"), ["a [kettle] b"]);
        let blanks = " \t\u{a0}\u{3000}";
        let after_blanks =
            format!("{blanks}[kettle] x\n [KETTLE] x\n\u{2800}[Kettle] x\n {blanks} [kettle");
        let shown = [
            format!("{blanks}\\u{{5b}}kettle] x"),
            " \\u{5b}KETTLE] x".to_owned(),
            "\\u{2800}[Kettle] x".to_owned(),
            format!(" {blanks} [kettle"),
        ];
        assert_eq!(cut_anywhere(after_blanks.as_bytes()), shown);
        let hidden =
            "\u{200b}[kettle] x\n\u{202e}[kettle] x\n\u{ad}[kettle] x\n[ket\u{2060}tle] x\n";
        let shown = [
            "\\u{200b}[kettle] x",
            "\\u{202e}[kettle] x",
            "\\u{ad}[kettle] x",
            "[ket\\u{2060}tle] x",
        ];
        assert_eq!(cut_anywhere(hidden.as_bytes()), shown);
        // Blanks before it leave no room for the escape.
        for room in 0..12 {
            let indented =
                lines(&[format!("{}[kettle]x", " ".repeat(MAX_LINE_BYTES - room)).as_bytes()]);
            assert!(
                indented.iter().all(|line| line.len() <= MAX_LINE_BYTES),
                "{room}"
            );
            assert_eq!(
                indented.concat().trim_start(),
                if room < 8 && room > 0 {
                    "[kettle]x"
                } else {
                    "\\u{5b}kettle]x"
                }
            );
        }
        // The rest of a long line that was cut is a line too.
        let long = format!("{}{NOTE_MARK} x", "y".repeat(MAX_LINE_BYTES));
        assert_eq!(lines(&[long.as_bytes()])[1], "\\u{5b}kettle] x");
    }

    #[test]
    fn keeps_what_is_not_utf_8_as_replacement_characters() {
        assert_eq!(
            lines(&[b"a\xffb\xf0\x9f\n", b"c\xe2\x82"]),
            ["a\u{fffd}b\u{fffd}", "c\u{fffd}"]
        );
        assert_eq!(lines(&[b"\xf0\x9f", b"\xa6", b"\x80!"]), ["🦀!"]);
        assert_eq!(lines(&[b"\xe2\x82", b"\xe2\x82\xac"]), ["\u{fffd}€"]);
    }

    #[test]
    fn splits_long_lines_without_loss_and_without_cutting_characters() {
        let long = "é🦀x\u{1b}".repeat(20_000);
        let pieces = lines(&[long.as_bytes(), b"\nnext"]);
        assert!(
            pieces
                .iter()
                .all(|piece| piece.len() <= MAX_LINE_BYTES && !piece.is_empty())
        );
        assert_eq!(pieces.last().unwrap(), "next");
        assert_eq!(
            pieces[..pieces.len() - 1].concat(),
            long.replace('\u{1b}', "\\u{1b}")
        );
        assert!(
            pieces[..pieces.len() - 1]
                .iter()
                .all(|piece| !piece.ends_with("\\u{1"))
        );
        let exact = "x".repeat(MAX_LINE_BYTES);
        assert_eq!(lines(&[exact.as_bytes(), b"\n"]), [exact.as_str()]);
    }

    #[test]
    fn memory_stays_bounded_without_a_line_ending() {
        let mut splitter = LineSplitter::new();
        let mut bytes = 0;
        for _ in 0..200 {
            splitter
                .push(&[b'x'; 64 * 1024], |line| {
                    bytes += line.as_str().len();
                    Ok::<_, Infallible>(())
                })
                .unwrap();
            assert!(splitter.line.capacity() <= 2 * MAX_LINE_BYTES);
        }
        assert_eq!(bytes + splitter.line.len(), 200 * 64 * 1024);
    }

    #[test]
    fn stops_at_the_first_error() {
        let mut seen = 0;
        let result = LineSplitter::new().push(b"a\nb\n", |_| {
            seen += 1;
            Err("full")
        });
        assert_eq!((result, seen), (Err("full"), 1));
    }

    #[test]
    fn our_own_words_become_one_bounded_line() {
        assert_eq!(sanitise("a\r\nb\tc"), "a\\u{d}\\u{a}b\tc");
        let long = sanitise(&"é".repeat(MAX_LINE_BYTES));
        assert_eq!(long.len(), MAX_LINE_BYTES);
    }
}
