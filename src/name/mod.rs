//! Which names files of a bundle may have: those that every system, program and reader takes alike.
//!
//! - Comes in: a path, as it would stand in a bundle.
//! - Goes out: that it is fit, or why it is not; and the form by which two paths are compared.
//! - Never: a path that was repaired.
//!
//! Only printable ASCII is fit. So case folding is folding of ASCII letters, and normalisation
//! (NFKC, Unicode Standard Annex 15) changes nothing: nobody needs a table of characters for
//! either.

pub mod project;

use std::collections::BTreeSet;
use std::fmt;

/// Why a path is not fit for a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// It is absolute, or has an empty, `.` or `..` component, or a backslash.
    NotPlain,
    /// It has a character that some programs show, store or compare in another way.
    NotPrintableAscii,
    /// A component starts with `-`, which programs take for an option.
    Dash,
}

impl NameError {
    /// The reason as a clause.
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
/// The first reason why it is not fit.
pub fn check(path: &str) -> Result<(), NameError> {
    if !path.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(NameError::NotPrintableAscii);
    }
    if path.contains('\\')
        || path
            .split('/')
            .any(|component| matches!(component, "" | "." | ".."))
    {
        return Err(NameError::NotPlain);
    }
    if path.split('/').any(|component| component.starts_with('-')) {
        return Err(NameError::Dash);
    }
    Ok(())
}

/// Paths of files of which no two are one where upper and lower case are alike, and none is a
/// folder of another.
#[derive(Clone, Debug, Default)]
pub struct DistinctNames {
    files: BTreeSet<String>,
    folders: BTreeSet<String>,
}

impl DistinctNames {
    /// Adds a path that was checked. Returns false, and adds nothing, when it is not distinct from
    /// those before it.
    pub fn insert(&mut self, path: &str) -> bool {
        let file = path.to_ascii_lowercase();
        let folders: Vec<&str> = file
            .match_indices('/')
            .map(|(end, _)| &file[..end])
            .collect();
        let is_taken = self.files.contains(&file) || self.folders.contains(&file);
        if is_taken || folders.iter().any(|folder| self.files.contains(*folder)) {
            return false;
        }
        self.folders.extend(folders.into_iter().map(str::to_owned));
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
