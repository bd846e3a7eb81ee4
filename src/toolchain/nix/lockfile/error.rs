//! The reasons why a `flake.lock` is refused.
//!
//! * In: the part of the lockfile that cannot be used.
//! * Out: one clause about it, for the caller.
//! * Never: a URL with credentials in the text.

use crate::toolchain::nix::nar::NarHashError;

use super::VERSIONS;

/// Why a `flake.lock` cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FlakeLockError {
    /// The lockfile is longer than its limit.
    #[error("it has {size} bytes: at most {limit} are read")]
    TooLong {
        /// The size of the lockfile, in bytes.
        size: usize,
        /// The limit that was exceeded, in bytes.
        limit: usize,
    },
    /// The lockfile is not JSON, or repeats a key.
    #[error("it is not JSON: {0}")]
    Json(String),
    /// A member of the lockfile is missing, or of another type than expected.
    #[error("{what} is missing, or not what nix writes")]
    Shape {
        /// The name of the member.
        what: String,
    },
    /// The lockfile has an unknown version of the format.
    #[error(
        "it has version {actual}: the known versions are {} to {}", VERSIONS.start(), VERSIONS.end()
    )]
    Version {
        /// The version of the lockfile.
        actual: u64,
    },
    /// A reference leads to a missing node, or to the root.
    #[error("input {input:?} of {node:?} leads to no input")]
    Dangling {
        /// The name of the node that has the input.
        node: String,
        /// The name of the input in that node.
        input: String,
    },
    /// References lead to each other in a circle, or to too many others.
    #[error("an input of {node:?} follows others without end")]
    Endless {
        /// The name of the node that has the input.
        node: String,
    },
    /// A node does not lock its content.
    #[error("input {node:?} has no narHash: it is not locked")]
    Unlocked {
        /// The name of the node.
        node: String,
    },
    /// A node has a name that could be mistaken in provenance, for instance for a store path.
    #[error("input {node:?} has a slash or a control character in its name")]
    Name {
        /// The name of the node.
        node: String,
    },
    /// The hash of a node cannot be compared with a computed one.
    #[error("input {node:?} has an unusable narHash")]
    Hash {
        /// The name of the node.
        node: String,
        /// The reason for the refusal.
        source: NarHashError,
    },
    /// An input is a path or `file:` URL of the machine where it was locked.
    #[error(
        "input {node:?} is {location:?} on the machine where it was locked, which is not available \
         here"
    )]
    Local {
        /// The name of the node.
        node: String,
        /// The path or URL of the input.
        location: String,
    },
    /// A relative path leaves the tree that it is part of.
    #[error("input {node:?} is {path:?}, which leaves the source")]
    Leaves {
        /// The name of the node.
        node: String,
        /// The relative path of the input.
        path: String,
    },
    /// A relative path has no parent, as in lockfiles of an older nix.
    #[error("input {node:?} is a relative path without a parent: nix would lock it again")]
    NoParent {
        /// The name of the node.
        node: String,
    },
    /// An input is a name that a registry would have to look up.
    #[error(
        "input {node:?} is the name of a registry, whose meaning can change: write its url in \
         flake.nix (for instance github:OWNER/REPOSITORY), and lock again"
    )]
    Indirect {
        /// The name of the node.
        node: String,
    },
    /// An input is fetched over ssh, for which the appliance has no key.
    #[error(
        "input {node:?} is fetched over ssh, and there is no key here: write its url in flake.nix \
         with git+https, and lock again"
    )]
    Ssh {
        /// The name of the node.
        node: String,
    },
    /// The URL of an input has a user or password, which would be copied into provenance.
    #[error("input {node:?} has a URL with credentials")]
    Credentials {
        /// The name of the node.
        node: String,
    },
}
