//! Selects the compiler flags of a project's own cargo configuration that are carried over.
//!
//! * In: the words of the flags.
//! * Out: the flags that can only change how the recorded compiler works.
//! * Never: a flag that names a program, a file or a directory.

/// The codegen options (`-C`) that are carried over.
const CODEGEN: [&str; 22] = [
    "code-model",
    "codegen-units",
    "collapse-macro-debuginfo",
    "control-flow-guard",
    "debug-assertions",
    "debuginfo",
    "default-linker-libraries",
    "embed-bitcode",
    "force-frame-pointers",
    "force-unwind-tables",
    "inline-threshold",
    "lto",
    "no-redzone",
    "no-vectorize-loops",
    "no-vectorize-slp",
    "opt-level",
    "overflow-checks",
    "panic",
    "relocation-model",
    "strip",
    "target-cpu",
    "target-feature",
];

/// The flags whose value is the next word, or the rest after `=`.
const WITH_VALUE: [&str; 9] = [
    "--cfg",
    "--check-cfg",
    "--warn",
    "--allow",
    "--deny",
    "--forbid",
    "--cap-lints",
    "--codegen",
    "--force-warn",
];

/// The flags of one letter, whose value may be attached.
const SHORT: [&str; 5] = ["-C", "-W", "-A", "-D", "-F"];

/// Returns the flags to keep and the flags to leave out, each as it was written.
pub(super) fn divide(words: &[String]) -> (Vec<String>, Vec<String>) {
    let (mut kept, mut dropped) = (Vec::new(), Vec::new());
    let mut rest = words;
    while let [first, after @ ..] = rest {
        let (flag, value, taken) = split(first, after.first());
        let words = if is_allowed(flag, value) {
            &mut kept
        } else {
            &mut dropped
        };
        words.extend_from_slice(&rest[..taken]);
        rest = &rest[taken..];
    }
    (kept, dropped)
}

/// Returns a flag, its value, and how many words they take.
fn split<'a>(first: &'a str, next: Option<&'a String>) -> (&'a str, Option<&'a str>, usize) {
    if takes_next(first) {
        let taken = 1 + usize::from(next.is_some());
        return (first, next.map(String::as_str), taken);
    }
    if let Some((flag, value)) = first.split_once('=')
        && flag.starts_with("--")
    {
        return (flag, Some(value), 1);
    }
    match SHORT.iter().find(|short| first.starts_with(**short)) {
        Some(short) => (short, Some(&first[short.len()..]), 1),
        None => (first, None, 1),
    }
}

/// Returns whether the next word is the value of a flag.
///
/// This includes the flags that are left out: their value must not be read as a flag.
fn takes_next(flag: &str) -> bool {
    const LEFT_OUT: [&str; 9] = [
        "-L",
        "-l",
        "-Z",
        "-o",
        "--extern",
        "--emit",
        "--sysroot",
        "--target",
        "--out-dir",
    ];
    WITH_VALUE.contains(&flag) || SHORT.contains(&flag) || LEFT_OUT.contains(&flag)
}

/// Returns whether a flag is carried over.
fn is_allowed(flag: &str, value: Option<&str>) -> bool {
    match (flag, value) {
        ("-O" | "-g", None) => true,
        ("-C" | "--codegen", Some(value)) => {
            let (name, value) = value.split_once('=').unwrap_or((value, ""));
            let name = name.replace('_', "-");
            // The statement does not record the machine's own processor.
            let is_of_the_machine = name == "target-cpu" && value == "native";
            CODEGEN.contains(&name.as_str()) && !is_of_the_machine
        }
        (flag, Some(value)) => {
            (WITH_VALUE.contains(&flag) || SHORT.contains(&flag)) && !value.starts_with('@')
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divided(text: &str) -> (String, String) {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        let (kept, dropped) = divide(&words);
        (kept.join(" "), dropped.join(" "))
    }

    #[test]
    fn keeps_flags_that_name_nothing() {
        for flags in [
            "-C target-cpu=x86-64-v3",
            "-Ctarget-feature=+crt-static",
            "--codegen=panic=abort",
            "--cfg tokio_unstable",
            "--cfg=foo",
            "-D warnings",
            "-Aunused",
            "-O -g",
            "-C target_cpu=x86-64-v2",
        ] {
            assert_eq!(divided(flags), (flags.to_owned(), String::new()));
        }
    }

    #[test]
    fn leaves_out_flags_that_name_programs_or_files() {
        for flags in [
            "-C linker=./evil",
            "-Clinker=./evil",
            "--codegen=linker=evil",
            "-C link-arg=-fuse-ld=./evil",
            "-C link-args=x",
            "-L native=/x",
            "-l evil",
            "-Zcodegen-backend=evil.so",
            "--sysroot=/x",
            "--sysroot /x",
            "--extern a=/x",
            "@file",
            "-o x",
            "src/other.rs",
            "-C profile-use=x",
            "-C incremental=x",
            "-C target-cpu=native",
            "-Ctarget_cpu=native",
            "--codegen=target-cpu=native",
        ] {
            assert_eq!(divided(flags), (String::new(), flags.to_owned()));
        }
    }

    #[test]
    fn a_value_is_never_read_as_a_flag() {
        assert_eq!(
            divided("-L -O --cfg x"),
            ("--cfg x".to_owned(), "-L -O".to_owned())
        );
        assert_eq!(divided("-C"), (String::new(), "-C".to_owned()));
    }
}
