//! The arguments and variables that build scripts give to the linker, as a statement records them.
//!
//! * In: arguments and variables.
//! * Out: which of them can put another program, or a part of one, in the place of the recorded
//!   linker: all that are not known to be harmless.
//! * Never: a claim that one did.

use std::collections::BTreeMap;

use serde::Serialize;

/// The arguments and variables that the build script of one package gave to the linker of that
/// package's programs and libraries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LinkRecord {
    /// The package, as `NAME@VERSION`.
    pub package: String,
    /// The arguments, each once, sorted. The linker's command line has them in another order.
    pub arguments: Vec<String>,
    /// Variables by which the C compiler, which is the linker for rustc, finds its parts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
}

/// Arguments of the compiler driver, which is the linker for rustc, that can name no program,
/// plug-in, specification or script (GCC manual, "Options for Linking"). For those with a value in
/// the next argument, that value can name none either.
const HARMLESS: [&str; 23] = [
    "-L",
    "-O0",
    "-O1",
    "-O2",
    "-O3",
    "-l",
    "-m32",
    "-m64",
    "-no-pie",
    "-nodefaultlibs",
    "-nolibc",
    "-nostartfiles",
    "-nostdlib",
    "-pie",
    "-pthread",
    "-rdynamic",
    "-s",
    "-shared",
    "-shared-libgcc",
    "-static",
    "-static-libgcc",
    "-static-libstdc++",
    "-static-pie",
];

/// Beginnings of such arguments, before their value.
const HARMLESS_STARTS: [&str; 2] = ["-L", "-z"];

/// The prefix of a library's name. A name with `=` in it is none: linkers read words that begin
/// with `-l` as other options too.
const LIBRARY: &str = "-l";

/// The prefix of arguments for the linker itself, which are separated by commas.
const FOR_THE_LINKER: &str = "-Wl,";

/// Arguments of GNU ld and lld that can name none either (`ld(1)`, "Options"). Only whole words:
/// both accept a long option after one dash, and ld its unambiguous beginnings, so a beginning such
/// as `-e` belongs to `-error-handling-script` too.
const HARMLESS_TO_THE_LINKER: [&str; 58] = [
    "--allow-multiple-definition",
    "--allow-shlib-undefined",
    "--as-needed",
    "--build-id",
    "--copy-dt-needed-entries",
    "--defsym",
    "--disable-new-dtags",
    "--discard-all",
    "--discard-locals",
    "--dynamic-list",
    "--eh-frame-hdr",
    "--emit-relocs",
    "--enable-new-dtags",
    "--end-group",
    "--entry",
    "--exclude-libs",
    "--export-dynamic",
    "--export-dynamic-symbol",
    "--fatal-warnings",
    "--gc-sections",
    "--no-allow-shlib-undefined",
    "--no-as-needed",
    "--no-copy-dt-needed-entries",
    "--no-gc-sections",
    "--no-undefined",
    "--no-whole-archive",
    "--pop-state",
    "--push-state",
    "--relax",
    "--require-defined",
    "--rpath",
    "--rpath-link",
    "--soname",
    "--start-group",
    "--strip-all",
    "--strip-debug",
    "--undefined",
    "--version-script",
    "--whole-archive",
    "--wrap",
    "-(",
    "-)",
    "-Bdynamic",
    "-Bstatic",
    "-Bsymbolic",
    "-Bsymbolic-functions",
    "-E",
    "-O1",
    "-O2",
    "-S",
    "-e",
    "-h",
    "-rpath",
    "-rpath-link",
    "-s",
    "-soname",
    "-u",
    "-x",
];

/// Beginnings of such arguments, before their value.
const HARMLESS_STARTS_TO_THE_LINKER: [&str; 20] = [
    "--build-id=",
    "--compress-debug-sections=",
    "--defsym=",
    "--dynamic-list=",
    "--entry=",
    "--exclude-libs=",
    "--export-dynamic-symbol=",
    "--hash-style=",
    "--image-base=",
    "--rpath-link=",
    "--rpath=",
    "--soname=",
    "--undefined=",
    "--unresolved-symbols=",
    "--version-script=",
    "--wrap=",
    "-L",
    "-rpath=",
    "-soname=",
    "-z",
];

/// Variables by which GCC, Clang and the programs that they start find programs and specifications
/// or take more arguments, or by which the C library loads another one (GCC manual, "Environment
/// Variables"; gcc, `prefix.cc`; clang, `driver.cpp`; `ld.so(8)`). `LIBRARY_PATH` and `LPATH` are
/// where GCC looks for its file `specs`, which names the linker.
const VARIABLES: [&str; 9] = [
    "BINUTILS_ROOT",
    "COMPILER_PATH",
    // The directory in which the C library has modules.
    "GCONV_PATH",
    "LIBRARY_PATH",
    "LOCPATH",
    "LPATH",
    // The program that link-time optimisation starts.
    "MAKE",
    "MAKEFLAGS",
    "PATH",
];

/// Beginnings of such variables.
const VARIABLE_STARTS: [&str; 5] = ["CCC_", "CLANG_", "COLLECT_", "GCC_", "LD_"];

/// Returns whether an argument of the linker can put another program, or a part of one, in the
/// place of the recorded one. Every argument that is not known to be harmless can.
///
/// A word without a dash is a file that is linked, or the value of the argument before it, which is
/// judged by itself.
pub fn can_displace_linker(argument: &str) -> bool {
    if !is_one_word_everywhere(argument) {
        return true;
    }
    match argument.strip_prefix(FOR_THE_LINKER) {
        Some(wrapped) => !wrapped.split(',').all(is_harmless_to_the_linker),
        None => !is_harmless(argument),
    }
}

/// Returns whether a directory in which rustc looks for libraries could be read as something else:
/// as a file of arguments, or as an option. rustc passes it to the linker as its own argument.
pub fn is_search_path_an_argument(directory: &str) -> bool {
    directory.starts_with(['@', '-']) || !is_one_word_everywhere(directory)
}

/// Returns whether a variable can put another program in the place of the linker.
pub fn is_linker_variable(name: &str) -> bool {
    VARIABLES.contains(&name) || VARIABLE_STARTS.iter().any(|start| name.starts_with(start))
}

/// Returns whether an argument stays one word in a file of arguments. Where a command line is too
/// long, rustc writes it into such a file for the linker. Blanks get a backslash there; quotes and
/// other white space do not, and would split the argument or join it with others.
fn is_one_word_everywhere(argument: &str) -> bool {
    !argument.contains(|character: char| character.is_control() || "'\"".contains(character))
}

fn is_harmless(argument: &str) -> bool {
    let starts = HARMLESS_STARTS
        .iter()
        .any(|start| argument.starts_with(start));
    starts || is_library_or_file(argument) || HARMLESS.contains(&argument)
}

fn is_harmless_to_the_linker(argument: &str) -> bool {
    let starts = HARMLESS_STARTS_TO_THE_LINKER
        .iter()
        .any(|start| argument.starts_with(start));
    starts || is_library_or_file(argument) || HARMLESS_TO_THE_LINKER.contains(&argument)
}

/// Returns whether an argument names a library, or is a word without a dash that names no file of
/// further arguments. A linker script among such files adds to ld's own script; only an option can
/// replace that.
fn is_library_or_file(argument: &str) -> bool {
    match argument.strip_prefix(LIBRARY) {
        Some(name) => !name.contains('='),
        None => !argument.starts_with(['-', '@']),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GCC 12.2 with GNU ld 2.40, and rust-lld of Rust 1.95, were asked to link a program with a
    /// linker, a wrapper, a specification or a script of ours. It was started, or the file of
    /// arguments read, with each of these, whatever the manual says: long options of the driver are
    /// `--prefix`, `--for-linker`, `--specs` and, for each `-f…`, `--…` (`--use-ld`, `--plugin`).
    /// GCC takes no other abbreviation (`--for-l`, `--pref`, `--spe`, `-for-linker` are refused by
    /// name); ld takes those that are unambiguous, behind one dash too.
    #[test]
    fn arguments_that_start_a_program_of_the_builds_can_displace_the_linker() {
        for argument in [
            "-B/kettle/target/release/build/x/out",
            "-B",
            "--prefix=/x",
            "--prefix",
            "-fuse-ld=mold",
            "--use-ld=bfd",
            "-wrapper",
            "-specs=x",
            "--specs=x",
            "--specs",
            "-fplugin=x.so",
            "--plugin=x.so",
            "-Xlinker",
            "--for-linker",
            "--for-linker=-error-handling-script=x",
            "-Wl,--error-handling-script=x",
            "-Wl,-error-handling-script=x",
            "-Wl,-error-handl=x",
            "-Wl,--error-handling-script,x",
            "-Wl,--as-needed,-plugin,x.so",
            "-Wl,-plugin",
            "-Wl,-mllvm,-load=x.so",
            "-Wl,--load-pass-plugin=x.so",
            "-Wl,@arguments",
            "@arguments",
            "-fopenmp",
            "-fsanitize=address",
            "-flto=2",
        ] {
            assert!(can_displace_linker(argument), "{argument}");
        }
    }

    #[test]
    fn whatever_is_not_known_to_be_harmless_can_displace_the_linker() {
        for argument in [
            "-T",
            "-Tscript.ld",
            "-Wl,-T,script.ld",
            "-Wl,--script=x",
            "-Wl,-dT,x",
            "-Wl,-c,x",
            "-Wl,-Map=x",
            "--ld-path=/x/ld",
            "--gcc-toolchain=/x",
            "--sysroot=/x",
            "-iplugindir=x",
            "--config=x",
            "-load-pass-plugin=x",
            "-Wl,-load-pass-plugin=x",
            "--for-assembler=x",
            "-Xassembler",
            "-Wa,-x",
            "-Xclang",
            "-unheard-of",
            "--unheard-of=x",
            "-",
            "--",
        ] {
            assert!(can_displace_linker(argument), "{argument}");
        }
    }

    /// With a command line of several megabytes, which search paths make, rustc wrote a file in
    /// which these are more than one argument.
    #[test]
    fn arguments_that_are_others_in_a_file_can_displace_the_linker() {
        for argument in [
            "-lx\t-B/x",
            "''-B/x",
            "-Wl,-rpath,it's",
            "\"-B/x\"",
            "x\u{b}-B/x",
        ] {
            assert!(can_displace_linker(argument), "{argument}");
        }
        assert!(!can_displace_linker("-Wl,-rpath,/a b"));
        for folder in ["@/x/arguments", "-B/x", "/x\t-B/x"] {
            assert!(is_search_path_an_argument(folder), "{folder}");
        }
        for folder in ["/kettle/target/release/deps", "native", "./@x", "/x y"] {
            assert!(!is_search_path_an_argument(folder), "{folder}");
        }
    }

    #[test]
    fn arguments_that_only_say_what_is_linked_how_cannot() {
        for argument in [
            "-Wl,-rpath,$ORIGIN",
            "-Wl,-rpath=$ORIGIN/../lib",
            "-Wl,--enable-new-dtags",
            "-Wl,-Bsymbolic",
            "-Wl,-soname,B",
            "-Wl,--version-script=/x/symbols.map",
            "-Wl,--whole-archive,-lx,--no-whole-archive",
            "-Wl,-z,relro,-z,now",
            "-Wl,-znoexecstack",
            "-Wl,--defsym=a=b",
            "-lm",
            "-l:libx.a",
            "-L/x",
            "-L",
            "-static",
            "-no-pie",
            "-nostartfiles",
            "-rdynamic",
            "-znow",
            "x.o",
            "/x/libx.so.1",
        ] {
            assert!(!can_displace_linker(argument), "{argument}");
        }
    }

    /// GCC 12.2 was seen to ask for each of those of GCC while it linked, and to start a program of
    /// ours, or to fail at one, for `COMPILER_PATH`, `PATH`, `LIBRARY_PATH`, `LPATH`,
    /// `GCC_EXEC_PREFIX`, `GCC_ROOT`, `BINUTILS_ROOT`, `GCC_COMPARE_DEBUG` and, with an object for
    /// link-time optimisation, `MAKE`.
    #[test]
    fn variables_by_which_a_linker_is_found_are_told_from_others() {
        for name in [
            "BINUTILS_ROOT",
            "CCC_OVERRIDE_OPTIONS",
            "COLLECT_GCC",
            "COMPILER_PATH",
            "GCC_COMPARE_DEBUG",
            "GCC_EXEC_PREFIX",
            "GCC_ROOT",
            "GCONV_PATH",
            "LD_AUDIT",
            "LD_LIBRARY_PATH",
            "LD_PRELOAD",
            "LIBRARY_PATH",
            "LPATH",
            "MAKE",
            "MAKEFLAGS",
            "PATH",
        ] {
            assert!(is_linker_variable(name), "{name}");
        }
        for name in ["VERSION", "GIT_HASH", "BUILD_PATH", "OUT", "LDX", "TMPDIR"] {
            assert!(!is_linker_variable(name), "{name}");
        }
    }
}
