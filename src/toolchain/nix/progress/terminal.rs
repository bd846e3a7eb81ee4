//! Removes the codes that colour a text on a terminal.
//!
//! * In: a text of nix or of a builder.
//! * Out: the text without control sequences, system commands and other escapes.
//! * Never: a character lost that is not part of a code.

/// Returns the text without the codes that colour it on a terminal (ECMA-48, sections 5.3 to 5.6):
/// control sequences, system commands, and other escapes.
pub fn without_codes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = match after.as_bytes().first() {
            Some(b'[') => without_sequence(&after[1..], '\u{3f}'),
            Some(b']') => match after.find(['\u{7}', '\u{1b}']) {
                Some(end) => after[end..].strip_prefix('\u{7}').unwrap_or(&after[end..]),
                None => &after[1..],
            },
            _ => without_sequence(after, '\u{2f}'),
        };
    }
    plain + rest
}

/// Returns the text after the rest of a sequence: characters from the blank to `last`, then the one
/// that ends it.
fn without_sequence(text: &str, last: char) -> &str {
    let end = text.trim_start_matches(|character| (' '..=last).contains(&character));
    end.strip_prefix(|character| (last..='~').contains(&character))
        .unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_codes_are_left_out_and_nothing_else() {
        for (text, expected) in [
            ("\u{1b}[31;1merror:\u{1b}[0m x", "error: x"),
            ("a\u{1b}[Kb\u{1b}(Bc\u{1b}=d", "abcd"),
            ("\u{1b}]8;;https://x\u{1b}\\link\u{1b}]8;;\u{7}!", "link!"),
            ("\u{1b}]unfinished", "unfinished"),
            ("\u{1b}[1\nx\u{1b}éy\u{1b}", "\nxéy"),
        ] {
            assert_eq!(without_codes(text), expected, "{text:?}");
        }
    }
}
