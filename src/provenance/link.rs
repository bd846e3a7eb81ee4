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

/// Beginnings of arguments by which GCC and Clang choose the linker, the folder it is taken from, a program that starts
/// it, or code that it loads (GCC manual, "Link Options", "Directory Options", "Overall Options"; `ld(1)`, `-plugin`). What
/// stands in a file (`@FILE`) may be any of them.
const DISPLACING: [&str; 14] = [
    "-B",
    "-fplugin",
    "-fuse-ld",
    "-iplugindir",
    "-plugin",
    "-specs",
    "-wrapper",
    "--gcc-toolchain",
    "--ld-path",
    "--plugin",
    "--prefix",
    "--specs",
    "@",
    "linker=",
];

/// How arguments for the linker itself are wrapped, separated by commas.
const FOR_THE_LINKER: &str = "-Wl,";

/// Variables by which GCC finds its programs, or the dynamic loader another library (GCC manual, "Environment Variables";
/// `ld.so(8)`).
const VARIABLES: [&str; 6] = ["COMPILER_PATH", "GCC_EXEC_PREFIX", "LD_AUDIT", "LD_LIBRARY_PATH", "LD_PRELOAD", "PATH"];

/// Whether an argument of the linker can put another program in its place.
pub fn can_displace_linker(argument: &str) -> bool {
    let displaces = |argument: &str| DISPLACING.iter().any(|start| argument.starts_with(start));
    match argument.strip_prefix(FOR_THE_LINKER) {
        Some(wrapped) => wrapped.split(',').any(|argument| displaces(argument) && !argument.starts_with("-B")),
        None => displaces(argument),
    }
}

/// Whether a variable can put another program in the place of the linker.
pub fn is_linker_variable(name: &str) -> bool {
    VARIABLES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_choose_a_program_are_told_from_others() {
        for argument in [
            "-fuse-ld=mold",
            "-B/kettle/target/release/build/x/out",
            "-B",
            "--ld-path=/x/ld",
            "linker=/x",
            "-specs=x",
            "--specs=x",
            "-wrapper",
            "-fplugin=x.so",
            "-Wl,--as-needed,-plugin,x.so",
            "-Wl,@arguments",
            "@arguments",
            "--prefix=/x",
        ] {
            assert!(can_displace_linker(argument), "{argument}");
        }
        for argument in
            ["-Wl,-rpath,$ORIGIN", "-Wl,-Bsymbolic", "-lm", "-static", "-Tscript.ld", "x.o", "-no-pie", "-Wl,-soname,B"]
        {
            assert!(!can_displace_linker(argument), "{argument}");
        }
        assert!(is_linker_variable("COMPILER_PATH") && !is_linker_variable("VERSION"));
    }
}
