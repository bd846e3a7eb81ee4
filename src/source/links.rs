//! Decides where the symbolic links of a tree lead.
//!
//! * In: a tree in memory.
//! * Out: nothing, or the first link that is refused.
//! * Never: a look at the file system, which could differ from the tree that was hashed.

use super::tree::{Node, Tree};

/// How many links one path may follow, as in Linux (`path_resolution(7)`).
const MAX_LINKS_FOLLOWED: usize = 40;

/// Longest target of a link, in bytes: Linux's `PATH_MAX`.
pub const MAX_TARGET_BYTES: usize = 4095;

/// What the links of a tree have to fulfil.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkPolicy {
    /// Each link leads to a file or directory of the tree.
    Resolve,
    /// No link leads out of the tree. A link that leads nowhere is harmless in a tree that nobody
    /// can write to.
    StayInside,
}

/// Why a link is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum LinkError {
    #[error("the link's target is absolute")]
    Absolute,
    #[error("the link leaves the tree")]
    Leaves,
    #[error("the link leads to nothing")]
    Dangles,
    #[error("the link leads in a circle, or over more than {limit} links")]
    Loops { limit: usize },
    #[error("the link's target has {size} bytes, allowed are 1 to {limit}")]
    TargetLength { size: usize, limit: usize },
    /// A control character, among them the NUL that would end the target early.
    #[error("the link's target has a control character")]
    TargetControl,
}

/// Checks every link of `root`, as seen from `root`.
///
/// # Errors
/// The first link that is refused, with its path.
pub fn check(root: &Tree, policy: LinkPolicy) -> Result<(), (Vec<u8>, LinkError)> {
    check_below(root, &mut Vec::new(), root, policy)
}

fn check_below<'a>(
    root: &'a Tree,
    directory: &mut Vec<&'a [u8]>,
    tree: &'a Tree,
    policy: LinkPolicy,
) -> Result<(), (Vec<u8>, LinkError)> {
    for (name, node) in &tree.entries {
        match node {
            Node::File { .. } => {}
            Node::Link { target } => {
                let refused =
                    |reason| ([directory.as_slice(), &[name]].concat().join(&b'/'), reason);
                check_one(root, directory, target, policy).map_err(refused)?;
            }
            Node::Directory(below) | Node::Submodule { tree: below, .. } => {
                directory.push(name);
                check_below(root, directory, below, policy)?;
                directory.pop();
            }
        }
    }
    Ok(())
}

fn check_one(
    root: &Tree,
    directory: &[&[u8]],
    target: &[u8],
    policy: LinkPolicy,
) -> Result<(), LinkError> {
    if target.is_empty() || target.len() > MAX_TARGET_BYTES {
        return Err(LinkError::TargetLength {
            size: target.len(),
            limit: MAX_TARGET_BYTES,
        });
    }
    if target.iter().any(u8::is_ascii_control) {
        return Err(LinkError::TargetControl);
    }
    match (resolve(root, directory, target), policy) {
        (Err(LinkError::Dangles | LinkError::Loops { .. }), LinkPolicy::StayInside) => Ok(()),
        (result, _) => result,
    }
}

/// Follows a target as the kernel does: `..` is the parent of the directory that was reached, not
/// of the one that was written.
fn resolve<'a>(root: &'a Tree, directory: &[&'a [u8]], target: &'a [u8]) -> Result<(), LinkError> {
    let mut at: Vec<&[u8]> = directory.to_vec();
    let mut todo: Vec<&[u8]> = steps(target)?;
    let mut followed = 1;
    while let Some(step) = todo.pop() {
        match step {
            b"" | b"." => continue,
            b".." => {
                at.pop().ok_or(LinkError::Leaves)?;
                continue;
            }
            _ => {}
        }
        let here = root.subtree(&at).ok_or(LinkError::Dangles)?;
        match here.entries.get(step).ok_or(LinkError::Dangles)? {
            Node::Directory(_) | Node::Submodule { .. } => at.push(step),
            Node::File { .. } if todo.is_empty() => {}
            Node::File { .. } => return Err(LinkError::Dangles),
            Node::Link { .. } if followed == MAX_LINKS_FOLLOWED => {
                return Err(LinkError::Loops {
                    limit: MAX_LINKS_FOLLOWED,
                });
            }
            Node::Link { target } => {
                followed += 1;
                todo.extend(steps(target)?);
            }
        }
    }
    Ok(())
}

/// Returns the components of a target, the last one first.
fn steps(target: &[u8]) -> Result<Vec<&[u8]>, LinkError> {
    if target.starts_with(b"/") {
        return Err(LinkError::Absolute);
    }
    Ok(target.rsplit(|byte| *byte == b'/').collect())
}
