//! Decides which names the files of a bundle may have: those that every system, program and reader
//! understands alike.
//!
//! * In: a path, as a bundle would contain it.
//! * Out: whether it is fit, and if not, why; and whether it is distinct from other paths.
//! * Never: a path that was repaired.
//!
//! Only printable ASCII is fit. So case folding is folding of ASCII letters, and normalisation
//! (NFKC, Unicode Standard Annex 15) changes nothing: neither needs a table of characters.

pub mod project;

use std::collections::BTreeSet;
use std::fmt;

/// Why a path is not fit for a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// The path is absolute, or has an empty, `.` or `..` component, or a backslash.
    NotPlain,
    /// The path has a character that some programs show, store or compare in another way.
    NotPrintableAscii,
    /// A component starts with `-`, so that programs take it for an option.
    Dash,
}

impl NameError {
    /// Returns the reason as a clause.
    pub const fn why(self) -> &'static str {
        match self {
            Self::NotPlain => "its name is no plain path",
            Self::NotPrintableAscii => "its name has a character that is not printable ASCII",
            Self::Dash => "a part of its name starts with a dash, like an option",
        }
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.why())
    }
}

impl std::error::Error for NameError {}

/// Checks a path with `/` between its components.
///
/// # Errors
/// The path is not fit, for the reason that the error names.
pub fn check(path: &str) -> Result<(), NameError> {
    if !path.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(NameError::NotPrintableAscii);
    }
    let is_special = |component| matches!(component, "" | "." | "..");
    if path.contains('\\') || path.split('/').any(is_special) {
        return Err(NameError::NotPlain);
    }
    if path.split('/').any(|component| component.starts_with('-')) {
        return Err(NameError::Dash);
    }
    Ok(())
}

/// A set of paths of files. No two of them are equal on a system that ignores case, and none is a
/// directory of another.
#[derive(Clone, Debug, Default)]
pub struct DistinctNames {
    files: BTreeSet<String>,
    directories: BTreeSet<String>,
}

impl DistinctNames {
    /// Adds a path that was checked. Returns false, and adds nothing, if it is not distinct from
    /// the earlier ones.
    pub fn insert(&mut self, path: &str) -> bool {
        let file = path.to_ascii_lowercase();
        if self.files.contains(&file) || self.directories.contains(&file) {
            return false;
        }
        let directories: Vec<String> = file
            .match_indices('/')
            .map(|(end, _)| file[..end].to_owned())
            .collect();
        if directories.iter().any(|path| self.files.contains(path)) {
            return false;
        }
        self.directories.extend(directories);
        self.files.insert(file);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_ascii_is_fit_and_every_other_character_is_not() {
        for code in (0..=0x2_ffff).filter_map(char::from_u32) {
            let expected = match code {
                '/' | '\\' => Err(NameError::NotPlain),
                '-' => Err(NameError::Dash),
                ' '..='~' if code != '.' => Ok(()),
                '.' => Err(NameError::NotPlain),
                _ => Err(NameError::NotPrintableAscii),
            };
            assert_eq!(check(&code.to_string()), expected, "{code:?}");
        }
    }

    #[test]
    fn components_are_plain_and_no_options() {
        for fit in [
            "a", "a/b", "a b", "...", ".a", "a.", "a:b", "~", "a-b", "a/b-", "C:x",
        ] {
            assert_eq!(check(fit), Ok(()), "{fit}");
        }
        for path in [
            "", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a\\b",
        ] {
            assert_eq!(check(path), Err(NameError::NotPlain), "{path:?}");
        }
        for path in ["-", "-a", "--", "a/-b", "-a/b"] {
            assert_eq!(check(path), Err(NameError::Dash), "{path:?}");
        }
    }

    #[test]
    fn names_are_distinct_without_their_case_and_as_files_and_folders() {
        for (one, other, distinct) in [
            ("a", "b", true),
            ("a", "a", false),
            ("Tool", "tOOL", false),
            ("lib/A.so", "LIB/a.so", false),
            ("a", "A/b", false),
            ("A/b/c", "a/B", false),
            ("A/b", "a/c", true),
            ("ab", "a/b", true),
        ] {
            for (first, second) in [(one, other), (other, one)] {
                let mut names = DistinctNames::default();
                assert!(names.insert(first), "{first}");
                assert_eq!(names.insert(second), distinct, "{first} {second}");
            }
        }
    }

    #[test]
    fn what_is_refused_leaves_no_trace() {
        let mut names = DistinctNames::default();
        assert!(names.insert("x"));
        assert!(!names.insert("X/y/z"));
        assert!(names.insert("y"));
        assert!(names.insert("x2/y"));
    }
}
