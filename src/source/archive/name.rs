//! Checks the names of entries.
//!
//! * In: bytes from an archive.
//! * Out: components that are safe to create below a directory.
//! * Never: a name that was repaired.

use std::fmt;

use super::super::tree::{MAX_TREE_DEPTH, is_git};

/// Longest name of an entry, in bytes.
pub const MAX_PATH_BYTES: usize = 1024;

/// Longest component, in bytes: Linux's `NAME_MAX`.
pub const MAX_COMPONENT_BYTES: usize = 255;

/// How many characters of a name messages show.
const SHOWN_CHARS: usize = 120;

/// Why a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum NameError {
    #[error("the name is empty")]
    Empty,
    #[error("the name is not UTF-8")]
    NotUtf8,
    /// A control character: NUL, a line break, the start of an escape sequence.
    #[error("the name has a control character")]
    Control,
    /// A backslash, which other systems take for a separator.
    #[error("the name has a backslash")]
    Backslash,
    #[error("the name is absolute")]
    Absolute,
    /// A drive letter such as `C:`.
    #[error("the name starts with a drive letter")]
    Drive,
    #[error("the name has a `..` component")]
    Parent,
    /// A `.` or empty component, other than one `./` at the start.
    #[error("the name has an empty or `.` component")]
    EmptyComponent,
    #[error("the name has {size} bytes, allowed are {limit}")]
    TooLong { size: usize, limit: usize },
    #[error("a component of the name has {size} bytes, allowed are {limit}")]
    ComponentTooLong { size: usize, limit: usize },
    #[error("the name has {depth} components, allowed are {limit}")]
    TooDeep { depth: usize, limit: usize },
}

/// A name as messages show it: escaped, and cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label(String);

impl Label {
    /// Makes any bytes fit for a message.
    pub fn of(name: &[u8]) -> Self {
        let text = String::from_utf8_lossy(&name[..name.len().min(4 * SHOWN_CHARS)]);
        let mut shown: String = text
            .chars()
            .take(SHOWN_CHARS)
            .flat_map(char::escape_debug)
            .collect();
        if text.chars().count() > SHOWN_CHARS || name.len() > 4 * SHOWN_CHARS {
            shown.push('…');
        }
        Self(shown)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name whose components are safe to create.
#[derive(Debug)]
pub(super) struct EntryName {
    /// The components; empty for the directory that the archive was made of.
    pub components: Vec<String>,
    /// Whether the name ends with a slash.
    pub slash: bool,
}

impl EntryName {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, NameError> {
        if bytes.len() > MAX_PATH_BYTES {
            return Err(NameError::TooLong {
                size: bytes.len(),
                limit: MAX_PATH_BYTES,
            });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| NameError::NotUtf8)?;
        check_text(text)?;
        let (path, slash) = match text.strip_suffix('/') {
            Some(path) => (path, true),
            None => (text, false),
        };
        let components: Vec<String> = match path.strip_prefix("./").unwrap_or(path) {
            "." => Vec::new(),
            path => path.split('/').map(str::to_owned).collect(),
        };
        if components.len() > MAX_TREE_DEPTH {
            return Err(NameError::TooDeep {
                depth: components.len(),
                limit: MAX_TREE_DEPTH,
            });
        }
        components
            .iter()
            .try_for_each(|component| check_component(component))?;
        Ok(Self { components, slash })
    }

    /// Returns whether the name is, or is below, an entry that git would refuse to track.
    pub(super) fn is_git(&self) -> bool {
        self.components
            .iter()
            .any(|component| is_git(component.as_bytes()))
    }
}

fn check_text(text: &str) -> Result<(), NameError> {
    let mut start = text.chars();
    match (start.next(), start.next()) {
        (None, _) => Err(NameError::Empty),
        (Some('/'), _) => Err(NameError::Absolute),
        _ if text.chars().any(char::is_control) => Err(NameError::Control),
        _ if text.contains('\\') => Err(NameError::Backslash),
        (Some(letter), Some(':')) if letter.is_ascii_alphabetic() => Err(NameError::Drive),
        _ => Ok(()),
    }
}

fn check_component(component: &str) -> Result<(), NameError> {
    match component {
        "" | "." => Err(NameError::EmptyComponent),
        ".." => Err(NameError::Parent),
        long if long.len() > MAX_COMPONENT_BYTES => Err(NameError::ComponentTooLong {
            size: long.len(),
            limit: MAX_COMPONENT_BYTES,
        }),
        _ => Ok(()),
    }
}
