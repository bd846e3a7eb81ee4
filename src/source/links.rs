//! Where links lead. Comes in: a tree. Goes out: nothing, or the link that is refused. Never: a look at the file
//! system, whose answer could differ from the tree that was hashed.

use super::tree::{Node, Tree};

/// How many links one path may pass, as in Linux (`path_resolution(7)`).
const MAX_LINKS_FOLLOWED: usize = 40;

/// Longest target, in bytes: Linux's `PATH_MAX`.
pub const MAX_TARGET_BYTES: usize = 4095;

/// What is asked of the links of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Each leads to a file or folder of the tree.
    Resolve,
    /// None leads out of the tree. Those that lead nowhere are harmless in a tree that nobody can write to.
    StayInside,
}

/// Why a link is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It starts at the machine's root.
    #[error("the link's target is absolute")]
    Absolute,
    /// It climbs over the top of the tree.
    #[error("the link leaves the tree")]
    Leaves,
    /// It leads to nothing.
    #[error("the link leads to nothing")]
    Dangles,
    /// It leads back to itself, or over too many links.
    #[error("the link leads in a circle, or over more than {limit} links")]
    Loops {
        /// Links that may be followed.
        limit: usize,
    },
    /// No target, or one that no file system takes.
    #[error("the link's target has {size} bytes, allowed are 1 to {limit}")]
    TargetLength {
        /// Of the target.
        size: usize,
        /// Largest that is allowed.
        limit: usize,
    },
    /// A target that would end early.
    #[error("the link's target has a control character")]
    TargetControl,
}

/// Checks every link of `root`, as seen from `root`.
///
/// # Errors
/// The first link that is refused, with its path.
pub fn check(root: &Tree, policy: Policy) -> Result<(), (Vec<u8>, LinkError)> {
    check_below(root, &mut Vec::new(), root, policy)
}

fn check_below<'a>(
    root: &'a Tree,
    folder: &mut Vec<&'a [u8]>,
    tree: &'a Tree,
    policy: Policy,
) -> Result<(), (Vec<u8>, LinkError)> {
    for (name, node) in &tree.entries {
        match node {
            Node::File { .. } => {}
            Node::Link { target } => {
                let refused = |reason| ([folder.as_slice(), &[name]].concat().join(&b'/'), reason);
                check_one(root, folder, target, policy).map_err(refused)?;
            }
            Node::Folder(below) | Node::Submodule { tree: below, .. } => {
                folder.push(name);
                check_below(root, folder, below, policy)?;
                folder.pop();
            }
        }
    }
    Ok(())
}

fn check_one(
    root: &Tree,
    folder: &[&[u8]],
    target: &[u8],
    policy: Policy,
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
    match (resolve(root, folder, target), policy) {
        (Err(LinkError::Dangles | LinkError::Loops { .. }), Policy::StayInside) => Ok(()),
        (result, _) => result,
    }
}

/// Walks as the kernel does: `..` is the parent of where the walk is, not of what was written.
fn resolve<'a>(root: &'a Tree, folder: &[&'a [u8]], target: &'a [u8]) -> Result<(), LinkError> {
    let mut at: Vec<&[u8]> = folder.to_vec();
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
            Node::Folder(_) | Node::Submodule { .. } => at.push(step),
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

/// The components of a target, the last one first.
fn steps(target: &[u8]) -> Result<Vec<&[u8]>, LinkError> {
    if target.starts_with(b"/") {
        return Err(LinkError::Absolute);
    }
    Ok(target.rsplit(|byte| *byte == b'/').collect())
}
