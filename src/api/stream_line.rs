//! Cuts what `/build/stream` sends so that it fits into one `data:` line. Published clients split
//! each piece that they read at line ends, and a piece ends with a record of TLS.
//!
//! * In: a message, or the text of an error.
//! * Out: the message in parts that each fit, or the beginning of the text.
//! * Never: a line of more than [`MAX_DATA_LINE_BYTES`], whatever has to be escaped in it.

/// The longest `data:` line, in bytes, with its line ending. A record of TLS has 16 KiB (RFC 8446,
/// section 5.1).
pub const MAX_DATA_LINE_BYTES: usize = 12 * 1024;

/// The longest result document that fits into a line: 64 bytes are left for the event around it.
pub const MAX_RESULT_BYTES: usize = MAX_DATA_LINE_BYTES - 64;

/// Bytes of a line for everything but the message: `data: `, the members of the event, a mark or an
/// escaped bracket, and the line ending.
const AROUND_MESSAGE_BYTES: usize = 64;

/// The most bytes of JSON that one byte of text becomes: `\u001f`.
const MAX_GROWTH: usize = 6;

/// Cuts `text` into as many parts as it needs to fit into lines: one part where it is empty.
pub fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let (part, after) = cut(rest?, MAX_DATA_LINE_BYTES - AROUND_MESSAGE_BYTES);
        rest = (!after.is_empty()).then_some(after);
        Some(part)
    })
}

/// Returns the beginning of `text` whose JSON is shorter by at least `excess` bytes: all of it
/// where that is 0.
pub fn shortened_by(text: &str, excess: usize) -> &str {
    cut(text, json_length(text).saturating_sub(excess)).0
}

/// Splits `text` before the character with which its JSON would be longer than `limit` bytes.
fn cut(text: &str, limit: usize) -> (&str, &str) {
    if text.len() <= limit / MAX_GROWTH {
        return (text, "");
    }
    let mut length = 0;
    for (offset, character) in text.char_indices() {
        length += json_bytes(character);
        if length > limit {
            return text.split_at(offset);
        }
    }
    (text, "")
}

/// Returns the length of `text` in a JSON string, without the quotes.
fn json_length(text: &str) -> usize {
    text.chars().map(json_bytes).sum()
}

/// Returns the length of `character` in a JSON string.
fn json_bytes(character: char) -> usize {
    match character {
        '"' | '\\' | '\u{8}' | '\t' | '\n' | '\u{c}' | '\r' => 2,
        '\0'..='\u{1f}' => MAX_GROWTH,
        _ => character.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lengths_are_those_of_the_library() {
        for character in ('\0'..='\u{ff}').chain(['\u{2028}', '\u{fffd}', '🦀']) {
            let json = serde_json::to_string(&character.to_string()).unwrap();
            assert_eq!(json_bytes(character), json.len() - 2, "{character:?}");
            assert!(json_bytes(character) <= MAX_GROWTH * character.len_utf8());
        }
    }

    #[test]
    fn a_message_comes_in_parts_that_fit_and_lose_nothing() {
        let long = 3 * MAX_DATA_LINE_BYTES;
        for (text, count) in [
            (String::new(), 1),
            ("short".to_owned(), 1),
            ("x".repeat(long), 4),
            ("\"".repeat(long), 7),
            ("\\".repeat(long), 7),
            ("\t".repeat(long), 7),
            ("🦀".repeat(long), 13),
            (format!("x{}", "🦀".repeat(long)), 13),
        ] {
            let parts: Vec<&str> = parts(&text).collect();
            assert_eq!(parts.len(), count);
            assert!(parts.concat() == text);
            for part in parts {
                let length = serde_json::to_string(part).unwrap().len();
                assert!(length + AROUND_MESSAGE_BYTES <= MAX_DATA_LINE_BYTES + 2);
            }
        }
    }
}
