//! Checks refs.
//!
//! * In: text from a client.
//! * Out: a name that git takes for a ref or a commit (`git-check-ref-format(1)`).
//! * Never: text that git could take for an option or for its own syntax.

use std::fmt;

use crate::digest::GitOid;

/// Longest ref, in bytes.
pub const MAX_REF_BYTES: usize = 255;

/// Lengths of abbreviated commit ids: git's shortest default has 7 digits, a full id has 40.
const SHORT_ID_DIGITS: std::ops::Range<usize> = 7..40;

/// Why text is not a ref.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum ParseRefError {
    #[error("the ref is empty")]
    Empty,
    #[error("the ref has {size} bytes, allowed are {limit}")]
    TooLong { size: usize, limit: usize },
    /// A leading dash, which would make it an option.
    #[error("the ref starts with a dash")]
    LeadingDash,
    /// The first character that is white space, a control character, or part of git's own syntax.
    #[error("the ref has a character that is not allowed: {character:?}")]
    Character { character: char },
    /// `..`, `@{`, a lone `@`, or a component that git refuses.
    #[error("the ref is not well-formed")]
    Format,
    /// An abbreviated commit id. The commit that it stands for can change.
    #[error(
        "short commit ids are refused: give all 40 digits, or a branch or tag with `refs/` in front"
    )]
    ShortId,
}

/// The name of a commit: `HEAD`, a branch, a tag, `refs/…` or a full commit id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitRef(String);

impl GitRef {
    /// Checks a ref and keeps it as given.
    ///
    /// # Errors
    /// The first rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, ParseRefError> {
        if text.is_empty() {
            return Err(ParseRefError::Empty);
        }
        if text.len() > MAX_REF_BYTES {
            return Err(ParseRefError::TooLong {
                size: text.len(),
                limit: MAX_REF_BYTES,
            });
        }
        if text.starts_with('-') {
            return Err(ParseRefError::LeadingDash);
        }
        let refused = |c: &char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(*c);
        if let Some(character) = text.chars().find(refused) {
            return Err(ParseRefError::Character { character });
        }
        let is_component =
            |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
        let has_syntax = text == "@" || text.contains("..") || text.contains("@{");
        if has_syntax || text.ends_with('.') || !text.split('/').all(is_component) {
            return Err(ParseRefError::Format);
        }
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hex && SHORT_ID_DIGITS.contains(&text.len()) {
            return Err(ParseRefError::ShortId);
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the ref as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the commit if the ref is a full id.
    pub fn commit(&self) -> Option<GitOid> {
        self.0.parse().ok()
    }
}

impl fmt::Display for GitRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_refs_as_given() {
        let id = "0123456789abcdef0123456789abcdef01234567";
        for text in [
            "HEAD",
            "main",
            "feature/x-1",
            "v1.0.0",
            "refs/tags/2024",
            "refs/tags/20240101",
            "fade",
            "+x",
            "ü",
            id,
        ] {
            assert_eq!(GitRef::parse(text).unwrap().as_str(), text);
        }
        assert_eq!(GitRef::parse(id).unwrap().commit().unwrap().to_string(), id);
        assert_eq!(GitRef::parse("main").unwrap().commit(), None);
    }

    #[test]
    fn refuses_what_git_could_read_as_something_else() {
        use ParseRefError::*;
        let character = |character| Character { character };
        let cases = [
            ("", Empty),
            ("-b", LeadingDash),
            ("--upload-pack=id", LeadingDash),
            ("a b", character(' ')),
            ("a\tb", character('\t')),
            ("a\0b", character('\0')),
            ("a\u{a0}b", character('\u{a0}')),
            ("a\u{7f}", character('\u{7f}')),
            ("main:refs/heads/x", character(':')),
            ("main~1", character('~')),
            ("main^{tree}", character('^')),
            ("refs/*", character('*')),
            ("a[b", character('[')),
            ("a?", character('?')),
            ("a\\b", character('\\')),
            ("a..b", Format),
            ("..", Format),
            ("a/../b", Format),
            (".hidden", Format),
            ("a/.hidden", Format),
            ("a.", Format),
            ("a.lock", Format),
            ("a.lock/b", Format),
            ("/a", Format),
            ("a/", Format),
            ("a//b", Format),
            ("@", Format),
            ("a@{1}", Format),
            ("0123456", ShortId),
            ("DEADBEEF", ShortId),
            (&"a".repeat(39), ShortId),
        ];
        for (text, error) in cases {
            assert_eq!(GitRef::parse(text), Err(error), "{text:?}");
        }
        assert!(matches!(
            GitRef::parse(&"x/".repeat(200)),
            Err(TooLong { .. })
        ));
    }
}
