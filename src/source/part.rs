//! Takes a part of a source, for a project that is not at the top of it.
//!
//! * In: a [`SourceTree`], and the path that a client chose.
//! * Out: the tree of the directory at that path, with its own identity.
//! * Never: a link that is followed on the way, or one that leads out of the part.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use super::SourceTree;
use super::archive::Label;
use super::links::{self, LinkError, LinkPolicy};
use super::tree::{Tree, TreeError};

/// The longest path of a part, in bytes.
pub const MAX_PART_PATH_BYTES: usize = 1024;

/// The reason why text is not the path of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum ParsePathError {
    #[error("the path has {bytes} bytes, allowed are 1 to {limit}")]
    Length { bytes: usize, limit: usize },
    #[error("the path is not relative, with names other than . and .. and one / between them")]
    Component,
    #[error("the path has a control character or a backslash")]
    Character,
}

/// The path of a directory below the top of a source: relative, with `/` between its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePath(String);

impl SourcePath {
    /// Reads a path, which has exactly one spelling.
    ///
    /// # Errors
    /// The text breaks a rule for such paths.
    pub fn parse(text: &str) -> Result<Self, ParsePathError> {
        let (bytes, limit) = (text.len(), MAX_PART_PATH_BYTES);
        if bytes == 0 || bytes > limit {
            return Err(ParsePathError::Length { bytes, limit });
        }
        if text.contains(|character: char| character.is_control() || character == '\\') {
            return Err(ParsePathError::Character);
        }
        if text.split('/').any(|name| matches!(name, "" | "." | "..")) {
            return Err(ParsePathError::Component);
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the path as the client wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SourcePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The reason why a part cannot be taken from a source.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum PartError {
    #[error("the source has no directory {:?} (a link does not count)", .path.as_str())]
    NotFound { path: SourcePath },
    #[error(
        "link {link} in {:?} cannot be used: a build sees nothing of the source outside of its \
         path",
        .path.as_str()
    )]
    Link {
        path: SourcePath,
        link: Label,
        source: LinkError,
    },
    #[error("the directory of the project could not be read")]
    Read(#[from] TreeError),
    #[error("the directory of the project could not be looked for")]
    Io(#[from] io::Error),
}

impl PartError {
    /// Returns whether the error is internal, and not one of the source.
    pub fn is_fault(&self) -> bool {
        matches!(self, Self::Read(_) | Self::Io(_))
    }
}

impl SourceTree {
    /// Returns the part of the tree at `path`. Its tree id is computed from its own files.
    ///
    /// # Errors
    /// There is no such directory, or it has a link that leads out of it.
    pub fn part(self, path: &SourcePath) -> Result<Self, PartError> {
        let mut root = self.root;
        for name in path.as_str().split('/') {
            root.push(name);
            if !root.symlink_metadata().is_ok_and(|found| found.is_dir()) {
                return Err(PartError::NotFound { path: path.clone() });
            }
        }
        let part = Tree::read(&root, &BTreeMap::new())?;
        links::check(&part, LinkPolicy::StayInside).map_err(|(link, source)| PartError::Link {
            path: path.clone(),
            link: Label::of(&link),
            source,
        })?;
        Ok(Self {
            root,
            tree: part.oid(),
            // It is for the whole tree.
            git: None,
            ..self
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::source::tree;

    fn path(text: &str) -> SourcePath {
        SourcePath::parse(text).unwrap()
    }

    #[test]
    fn a_path_is_written_in_one_way() {
        assert_eq!(path("crates/my tool").as_str(), "crates/my tool");
        for text in ["/a", "a/", "a//b", ".", "..", "a/./b", "a/../b", "./a"] {
            assert_eq!(
                SourcePath::parse(text),
                Err(ParsePathError::Component),
                "{text}"
            );
        }
        for text in ["a\nb", "a\\b", "\0"] {
            assert_eq!(
                SourcePath::parse(text),
                Err(ParsePathError::Character),
                "{text}"
            );
        }
        for bytes in [0, MAX_PART_PATH_BYTES + 1] {
            let refusal = SourcePath::parse(&"x".repeat(bytes)).unwrap_err();
            assert!(
                matches!(refusal, ParsePathError::Length { .. }),
                "{refusal}"
            );
        }
    }

    #[test]
    fn a_part_has_the_identity_of_its_own_files() {
        let directory = tempfile::tempdir().unwrap();
        let whole = || SourceTree::test_only_from_directory(directory.path().to_owned()).unwrap();
        fs::create_dir_all(directory.path().join("a/b")).unwrap();
        fs::write(directory.path().join("a/b/file"), "bytes").unwrap();
        fs::write(directory.path().join("beside"), "").unwrap();
        symlink("a", directory.path().join("link")).unwrap();
        let part = whole().part(&path("a/b")).unwrap();
        assert_eq!(part.root(), directory.path().join("a/b"));
        assert_eq!(part.tree(), tree::hash(part.root()).unwrap());
        assert_ne!(part.tree(), whole().tree());
        for missing in ["b", "beside", "link", "link/b", "a/b/file"] {
            assert!(
                matches!(
                    whole().part(&path(missing)),
                    Err(PartError::NotFound { .. })
                ),
                "{missing}"
            );
        }
    }

    #[test]
    fn a_link_out_of_a_part_refuses_it() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("a")).unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        symlink("../file", directory.path().join("a/link")).unwrap();
        let whole = SourceTree::test_only_from_directory(directory.path().to_owned()).unwrap();
        let refusal = whole.part(&path("a")).unwrap_err();
        assert!(
            matches!(
                refusal,
                PartError::Link {
                    source: LinkError::Leaves,
                    ..
                }
            ),
            "{refusal}"
        );
    }
}
