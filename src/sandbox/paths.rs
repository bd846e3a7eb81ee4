//! Names the paths in a sandbox, whichever room mounts something there.
//!
//! * In: nothing.
//! * Out: the same paths for every job, so that the same source gives the same bytes.
//! * Never: a path of this machine.

/// The home directory as a literal, for texts that are built at compile time.
macro_rules! home {
    () => {
        "/kettle/home"
    };
}
pub(super) use home;

/// The path of `HOME`, an empty directory of each sandbox.
pub const HOME: &str = home!();

/// The path of the source tree, which is read-only.
pub const SOURCE: &str = "/kettle/source";

/// The path of the checked packages of registries, which are read-only.
pub const VENDOR: &str = "/kettle/vendor";

/// The path of `CARGO_HOME`: writable in the fetch phase, afterwards a read-only one that we wrote.
pub const CARGO_HOME: &str = "/kettle/cargo";

/// The path of `CARGO_TARGET_DIR`.
pub const TARGET: &str = "/kettle/target";

/// The path of the checked inputs of nix, which are read-only, one directory each.
pub const INPUTS: &str = "/kettle/inputs";

/// The path of git's own directory.
pub const GIT_DIRECTORY: &str = "/kettle/git";

/// The path of git's settings with the token for a repository, a file that only commands of git
/// that talk to its server have.
pub const GIT_TOKEN_FILE: &str = "/kettle/token";

/// The path of a `.gitmodules`, which is read-only.
pub const MODULES_FILE: &str = "/kettle/modules";
