//! Shows text from outside so that a reader sees every character of it.
//!
//! * In: text of tools, servers, sources and bundles.
//! * Out: the same text, with every character escaped that could move a cursor or cannot be seen;
//!   or with everything escaped but printable ASCII.
//! * Never: a character that was dropped or replaced. A reader that looks for it finds it.
//!
//! An escape is `\u{HEX}`, as in Rust.

/// The characters that cannot be seen, each range from its first to its last, in order. Three
/// sources make up the table:
///
/// - Unicode 16.0.0, `DerivedGeneralCategory.txt`: Cf (format), Zl and Zp (separators of lines and
///   of paragraphs).
/// - Unicode 16.0.0, `DerivedCoreProperties.txt`: `Default_Ignorable_Code_Point`, which has the
///   fillers, the variation selectors, and code points that are reserved for more of them.
/// - Five that have a blank glyph by the charts of Unicode 16.0.0 and none of these properties: the
///   empty pattern of Braille (U+2800), the filler of Khitan (U+16FE4), the blanks of Egyptian
///   hieroglyphs (U+13441 and U+13442), and the empty notehead (U+1D159).
///
/// Spaces (Zs) are not in the table: readers see them as spaces.
const INVISIBLE: [(char, char); 29] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{13441}', '\u{13442}'),
    ('\u{16fe4}', '\u{16fe4}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d159}', '\u{1d159}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Returns whether a character may be in a line as it is: it can be seen, and it is not a control
/// character other than tab.
pub fn is_inert(character: char) -> bool {
    match character {
        '\t' | ' '..='~' => true,
        _ => !character.is_control() && !is_invisible(character),
    }
}

fn is_invisible(character: char) -> bool {
    let after = INVISIBLE.partition_point(|(first, _)| *first <= character);
    after > 0 && INVISIBLE[after - 1].1 >= character
}

/// Returns the text as one line in which letters of every script stay as they are, and everything
/// that is not inert is escaped, line endings too.
pub fn inert(text: &str) -> String {
    escaped_unless(text, is_inert)
}

/// Returns the text as one line of printable ASCII: no letter passes for another one.
pub fn ascii(text: &str) -> String {
    escaped_unless(text, is_printable_ascii)
}

/// Returns whether a character is printable ASCII, which includes the blank.
pub fn is_printable_ascii(character: char) -> bool {
    matches!(character, ' '..='~')
}

/// Returns a JSON document in one line, also for terminals: everything but printable ASCII is
/// escaped, and means the same.
#[cfg(feature = "verifier")]
pub fn json_line(document: &serde_json::Value) -> String {
    let mut line = String::new();
    for character in document.to_string().chars() {
        if is_printable_ascii(character) {
            line.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            line.push_str(&format!("\\u{unit:04x}"));
        }
    }
    line + "\n"
}

fn escaped_unless(text: &str, is_kept: fn(char) -> bool) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if is_kept(character) {
            line.push(character);
        } else {
            line.extend(character.escape_unicode());
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use regex_syntax::hir::{Class, HirKind};

    use super::*;

    /// The characters with a blank glyph, whatever their properties say.
    const BLANK: [char; 5] = [
        '\u{2800}',
        '\u{13441}',
        '\u{13442}',
        '\u{16fe4}',
        '\u{1d159}',
    ];

    /// Returns the characters with one of some properties, by the tables of another crate.
    fn characters_of(pattern: &str) -> Vec<char> {
        let parsed = regex_syntax::parse(pattern).unwrap();
        let HirKind::Class(Class::Unicode(class)) = parsed.kind() else {
            panic!("{pattern}")
        };
        class
            .ranges()
            .iter()
            .flat_map(|range| range.start()..=range.end())
            .collect()
    }

    #[test]
    fn what_cannot_be_seen_is_not_inert_and_everything_else_is() {
        let mut expected =
            characters_of(r"[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]");
        expected.retain(|character| *character != '\t');
        expected.extend(BLANK);
        expected.sort_unstable();
        let actual: Vec<char> = ('\0'..=char::MAX)
            .filter(|character| !is_inert(*character))
            .collect();
        assert_eq!(actual, expected);
    }

    #[test]
    fn each_range_comes_after_the_one_before_it() {
        for (before, after) in INVISIBLE.iter().zip(&INVISIBLE[1..]) {
            assert!(
                before.0 <= before.1 && before.1 < after.0,
                "{before:?} {after:?}"
            );
        }
    }

    #[test]
    fn an_escape_says_which_character_it_was() {
        assert_eq!(
            inert("a\tzwölf 🦀\n\u{1b}[0m\u{e0100}"),
            "a\tzwölf 🦀\\u{a}\\u{1b}[0m\\u{e0100}"
        );
        assert_eq!(ascii("a\tö~"), "a\\u{9}\\u{f6}~");
    }

    #[test]
    fn no_form_has_a_character_that_it_should_not_have() {
        let everything: String = ('\0'..=char::MAX).collect();
        assert!(inert(&everything).chars().all(is_inert));
        assert!(ascii(&everything).chars().all(is_printable_ascii));
    }
}
