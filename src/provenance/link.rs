//! What build scripts say to the linker, as a statement records it.
//!
//! - Comes in: arguments and variables.
//! - Goes out: which of them can put another program, or a part of one, in the place of the recorded linker.
//! - Never: a claim that one did.

use std::collections::BTreeMap;

use serde::Serialize;

/// What the build script of one package gave to the linker of that package's programs and libraries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LinkRecord {
    /// `NAME@VERSION`.
    pub package: String,
    /// Each once, sorted. They stand in another order on the linker's command line.
    pub arguments: Vec<String>,
    /// Variables by which the C compiler, which is the linker for rustc, finds its parts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
}

/// Variables by which GCC finds its programs, or the dynamic loader another library (GCC manual, "Environment Variables";
/// `ld.so(8)`).
const VARIABLES: [&str; 6] = ["COMPILER_PATH", "GCC_EXEC_PREFIX", "LD_AUDIT", "LD_LIBRARY_PATH", "LD_PRELOAD", "PATH"];

/// Whether a variable can put another program in the place of the linker.
pub fn is_linker_variable(name: &str) -> bool {
    VARIABLES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_choose_a_program_are_told_from_others() {
        assert!(is_linker_variable("COMPILER_PATH") && !is_linker_variable("VERSION"));
    }
}
