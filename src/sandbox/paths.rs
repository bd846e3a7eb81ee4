//! Where things are in a sandbox, whoever has them mounted there.
//!
//! - Comes in: nothing.
//! - Goes out: the same places for every job, so that the same source gives the same bytes.
//! - Never: a path of this machine.

/// The home directory as a literal, for texts that are put together at compile time.
macro_rules! home {
    () => {
        "/kettle/home"
    };
}
pub(super) use home;

/// `HOME`: an empty directory of each sandbox.
pub const HOME: &str = home!();

/// The source tree, read-only.
pub const SOURCE: &str = "/kettle/source";

/// The checked packages of registries, read-only.
pub const VENDOR: &str = "/kettle/vendor";

/// `CARGO_HOME`: writable in the fetch phase, afterwards a read-only one of ours.
pub const CARGO_HOME: &str = "/kettle/cargo";

/// `CARGO_TARGET_DIR`.
pub const TARGET: &str = "/kettle/target";

/// Checked inputs of nix, read-only, one directory each.
pub const INPUTS: &str = "/kettle/inputs";

/// Git's own directory.
pub const GIT_DIRECTORY: &str = "/kettle/git";

/// A `.gitmodules`.
pub const MODULES_FILE: &str = "/kettle/modules";
