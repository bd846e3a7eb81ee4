//! Which arguments of a linker put another program in its place. For those who read a statement.
//!
//! - Comes in: an argument, as a build script gave it.
//! - Goes out: whether it can displace the recorded linker, or a part of it.
//! - Never: a claim that one did.

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

/// Whether an argument of the linker can put another program in its place.
pub fn can_displace_linker(argument: &str) -> bool {
    let displaces = |argument: &str| DISPLACING.iter().any(|start| argument.starts_with(start));
    match argument.strip_prefix(FOR_THE_LINKER) {
        Some(wrapped) => wrapped.split(',').any(|argument| displaces(argument) && !argument.starts_with("-B")),
        None => displaces(argument),
    }
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
    }
}
