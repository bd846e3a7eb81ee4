//! Reads the measured command line.
//!
//! * In: `/proc/cmdline`.
//! * Out: [`Parameters`].
//! * Never: a parameter of ours that is unknown, repeated or malformed (parameters with another
//!   prefix are the kernel's), or a word beside the measured line that no known loader adds.
//!
//! A boot loader may add words to the command line that was measured. The measured line therefore
//! begins with [`BEGIN`] and ends with [`END`]. The bytes from the first to the last of these, both
//! included, were measured, and statements name their digest. Our firmware adds nothing;
//! [`LOADER_PREFIXES`] and [`LOADER_SUFFIXES`] list the words that other loaders add.
//!
//! | parameter | value |
//! |---|---|
//! | `kettle.begin`, `kettle.end` | no value: the first and the last word of the measured line |
//! | `kettle.roothash` | root of the dm-verity tree: SHA-256, hex, lower case |
//! | `kettle.rootsalt` | salt of the tree: 32 bytes, hex, lower case |
//! | `kettle.rootdata` | bytes of the root file system, a multiple of [`BLOCK_BYTES`]; the tree begins one block after |
//! | `kettle.kernel` | SHA-256 of the kernel's file, hex, lower case: what no guest can compute about itself |
//! | `kettle.initrd` | SHA-256 of the initrd, hex, lower case |
//! | `kettle.version` | version of the image; may be missing |
//! | `kettle.acpi` | `on`, or missing: whether the kernel runs the programs of ACPI tables, which the kernel itself reads |
//! | `panic` | `-1`: a disk that does not verify is a kernel panic, and a panic must end the machine |

use std::fs;

use super::BootError;
use super::error::{CommandLineError, file};
use super::mounts::KernelFileSystems;

/// The block size of the root file system and of its tree.
pub(super) const BLOCK_BYTES: u64 = 4096;
/// The prefix of our parameters.
const PREFIX: &str = "kettle.";
/// The largest size of a root, a tebibyte. An image has less than one gibibyte, and the limit keeps
/// arithmetic from overflowing.
const MAX_ROOT_BYTES: u64 = 1 << 40;
const MAX_VERSION_BYTES: usize = 64;
const DIGEST_BYTES: usize = 32;
/// The first word of the measured line.
const BEGIN: &str = "kettle.begin";
/// The last word of the measured line.
const END: &str = "kettle.end";
/// The words that may come before the measured line: none, or the one that EDK II's generic loader
/// adds for a kernel with an initrd (OvmfPkg, X86QemuLoadImageLib).
const LOADER_PREFIXES: [&str; 2] = ["", "initrd=initrd "];
/// The words that may follow the measured line: none, or the one that EDK II's other loader appends
/// (OvmfPkg, GenericQemuLoadImageLib).
const LOADER_SUFFIXES: [&str; 2] = ["", " initrd=initrd"];

/// The parameters of the image that the command line has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// The root hash of the dm-verity tree.
    pub root_hash: [u8; DIGEST_BYTES],
    /// The salt of the dm-verity tree.
    pub root_salt: [u8; DIGEST_BYTES],
    /// The number of blocks of the root file system.
    pub root_blocks: u64,
    /// The SHA-256 of the kernel.
    pub kernel: [u8; DIGEST_BYTES],
    /// The SHA-256 of the initrd.
    pub initrd: [u8; DIGEST_BYTES],
    /// The version of the image, if the line names it.
    pub version: Option<String>,
    /// Whether the kernel runs the programs of ACPI tables: on Azure.
    pub acpi: bool,
    /// The command line as it was measured: without the words that a boot loader added, and without
    /// a final newline.
    pub command_line: String,
}

impl Parameters {
    /// Reads a command line as the kernel shows it.
    ///
    /// # Errors
    /// A parameter is missing, repeated, unknown or malformed, or there are other words beside the
    /// measured line.
    pub fn parse(text: &str) -> Result<Self, CommandLineError> {
        let text = measured(text.strip_suffix('\n').unwrap_or(text))?;
        let mut values = Values::default();
        for word in text.split(' ') {
            if word.is_empty() || [BEGIN, END].contains(&word) {
                continue;
            }
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let slot = match name {
                "kettle.roothash" => &mut values.root_hash,
                "kettle.rootsalt" => &mut values.root_salt,
                "kettle.rootdata" => &mut values.root_bytes,
                "kettle.kernel" => &mut values.kernel,
                "kettle.initrd" => &mut values.initrd,
                "kettle.version" => &mut values.version,
                "kettle.acpi" => &mut values.acpi,
                "panic" => &mut values.panic,
                _ if name.starts_with(PREFIX) => {
                    return Err(CommandLineError::Unknown(name.to_owned()));
                }
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(CommandLineError::Repeated(name.to_owned()));
            }
        }
        values.check(text)
    }
}

/// Returns the part of a command line that was measured: from [`BEGIN`] to [`END`], each of which
/// occurs once.
fn measured(text: &str) -> Result<&str, CommandLineError> {
    let begin = only_offset(text, BEGIN)?;
    let end = only_offset(text, END)? + END.len();
    let (before, after) = (&text[..begin], &text[end..]);
    for (words, known) in [(before, LOADER_PREFIXES), (after, LOADER_SUFFIXES)] {
        if !known.contains(&words) {
            return Err(CommandLineError::Outside {
                words: words.to_owned(),
            });
        }
    }
    text.get(begin..end).ok_or(CommandLineError::Missing(END))
}

/// Returns the offset of the only word of `text` that is `mark`.
fn only_offset(text: &str, mark: &'static str) -> Result<usize, CommandLineError> {
    let mut offset = 0;
    let mut found = None;
    for word in text.split(' ') {
        if word == mark && found.replace(offset).is_some() {
            return Err(CommandLineError::Repeated(mark.to_owned()));
        }
        offset += word.len() + 1;
    }
    found.ok_or(CommandLineError::Missing(mark))
}

#[derive(Default)]
struct Values<'a> {
    root_hash: Option<&'a str>,
    root_salt: Option<&'a str>,
    root_bytes: Option<&'a str>,
    kernel: Option<&'a str>,
    initrd: Option<&'a str>,
    version: Option<&'a str>,
    acpi: Option<&'a str>,
    panic: Option<&'a str>,
}

impl Values<'_> {
    fn check(&self, text: &str) -> Result<Parameters, CommandLineError> {
        if needed("panic", self.panic)? != "-1" {
            return Err(CommandLineError::Value {
                name: "panic",
                expected: "-1",
            });
        }
        if self.acpi.is_some_and(|value| value != "on") {
            return Err(CommandLineError::Value {
                name: "kettle.acpi",
                expected: "on",
            });
        }
        Ok(Parameters {
            root_hash: digest("kettle.roothash", self.root_hash)?,
            root_salt: digest("kettle.rootsalt", self.root_salt)?,
            root_blocks: blocks("kettle.rootdata", self.root_bytes)?,
            kernel: digest("kettle.kernel", self.kernel)?,
            initrd: digest("kettle.initrd", self.initrd)?,
            version: self.version.map(version).transpose()?,
            acpi: self.acpi.is_some(),
            command_line: text.to_owned(),
        })
    }
}

fn needed<'a>(name: &'static str, value: Option<&'a str>) -> Result<&'a str, CommandLineError> {
    value.ok_or(CommandLineError::Missing(name))
}

fn digest(name: &'static str, value: Option<&str>) -> Result<[u8; DIGEST_BYTES], CommandLineError> {
    let value = needed(name, value)?;
    let mut digest = [0; DIGEST_BYTES];
    let lower = !value.bytes().any(|byte| byte.is_ascii_uppercase());
    match hex::decode_to_slice(value, &mut digest) {
        Ok(()) if lower => Ok(digest),
        _ => Err(CommandLineError::Value {
            name,
            expected: "64 hexadecimal digits in lower case",
        }),
    }
}

fn blocks(name: &'static str, value: Option<&str>) -> Result<u64, CommandLineError> {
    let value = needed(name, value)?;
    let malformed = || CommandLineError::Value {
        name,
        expected: "a number of bytes in whole blocks",
    };
    // A plus sign would be parsed too.
    if !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed());
    }
    let bytes: u64 = value.parse().map_err(|_| malformed())?;
    if !(1..=MAX_ROOT_BYTES).contains(&bytes) || !bytes.is_multiple_of(BLOCK_BYTES) {
        return Err(malformed());
    }
    Ok(bytes / BLOCK_BYTES)
}

fn version(value: &str) -> Result<String, CommandLineError> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    if (1..=MAX_VERSION_BYTES).contains(&value.len()) && value.bytes().all(known) {
        Ok(value.to_owned())
    } else {
        Err(CommandLineError::Value {
            name: "kettle.version",
            expected: "1 to 64 letters, digits, '.', '_', '+', '-'",
        })
    }
}

/// Phase: reads the parameters of this image.
pub(super) fn read(_: &KernelFileSystems) -> Result<Parameters, BootError> {
    let path = "/proc/cmdline";
    let text = fs::read_to_string(path).map_err(file(path))?;
    Ok(Parameters::parse(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> String {
        format!(
            "kettle.begin console=ttyS0 panic=-1 kettle.roothash={} kettle.rootsalt={} kettle.rootdata=8192 kettle.kernel={} kettle.initrd={} kettle.end\n",
            "ab".repeat(32),
            "01".repeat(32),
            "02".repeat(32),
            "03".repeat(32)
        )
    }

    #[test]
    fn reads_what_is_ours_and_leaves_the_rest_to_the_kernel() {
        let parameters = Parameters::parse(&good()).unwrap();
        assert_eq!(parameters.root_hash, [0xab; 32]);
        assert_eq!(parameters.root_salt, [1; 32]);
        assert_eq!((parameters.kernel, parameters.initrd), ([2; 32], [3; 32]));
        assert_eq!((parameters.root_blocks, parameters.version), (2, None));
        assert_eq!(parameters.command_line, good().trim_end());
        let versioned = Parameters::parse(&within(&good(), "kettle.version=1.0-rc_1")).unwrap();
        assert_eq!(versioned.version.as_deref(), Some("1.0-rc_1"));
        assert!(Parameters::parse(&within(&good(), "kettle.acpi=on")).is_ok());
    }

    /// The line with one more word at the end of what is measured.
    fn within(line: &str, word: &str) -> String {
        line.replace(" kettle.end", &format!(" {word} kettle.end"))
    }

    #[test]
    fn what_a_loader_adds_is_no_part_of_what_was_measured() {
        let good = good();
        let good = good.trim_end();
        let measured =
            |text: &str| Parameters::parse(text).map(|parameters| parameters.command_line);
        for text in [
            good.to_owned(),
            format!("{good}\n"),
            format!("{good} initrd=initrd\n"),
            format!("initrd=initrd {good}"),
            format!("initrd=initrd {good} initrd=initrd\n"),
        ] {
            assert_eq!(measured(&text).as_deref(), Ok(good), "{text:?}");
        }
        let own = within(good, "initrd=initrd");
        assert_eq!(
            measured(&own),
            Ok(own.clone()),
            "a word of the measured line is kept"
        );
        let spaced = good.replace(" panic", "  panic");
        assert_eq!(measured(&spaced), Ok(spaced.clone()), "byte by byte");
    }

    #[test]
    fn words_outside_of_the_measured_line_are_refused_unless_a_known_loader_adds_them() {
        let good = good();
        let good = good.trim_end();
        for (before, after) in [
            ("init=/bin/sh ", ""),
            ("initrd=initrd init=/bin/sh ", ""),
            ("initrd=initrd initrd=initrd ", ""),
            ("initrd=initrd  ", ""),
            (" ", ""),
            ("initrd=other ", ""),
            ("kettle.acpi=on ", ""),
            ("", " kettle.acpi=on"),
            ("", " initrd=initrd initrd=initrd"),
            ("", " initrd=initrd quiet"),
            ("", " initrd=initrd "),
            ("", " "),
            ("", "\n"),
            ("", "\tinitrd=initrd"),
            ("BOOT_IMAGE=/vmlinuz ", " initrd=initrd"),
        ] {
            let refusal = Parameters::parse(&format!("{before}{good}{after}\n"));
            // A newline or a tab makes the last word another one.
            let is_refused = matches!(
                refusal,
                Err(CommandLineError::Outside { .. } | CommandLineError::Missing("kettle.end"))
            );
            assert!(is_refused, "{before:?} {after:?}: {refusal:?}");
        }
    }

    #[test]
    fn the_images_own_line_begins_and_ends_with_the_marks() {
        let entries = include_str!("../../image/cmdline").lines();
        let words = entries.map(|line| line.split('#').next().unwrap_or_default().trim_end());
        let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
        assert_eq!((words.first(), words.last()), (Some(&BEGIN), Some(&END)));
    }

    #[test]
    fn the_marks_stand_once_and_in_order() {
        let good = good();
        let good = good.trim_end();
        let inner = good
            .strip_prefix("kettle.begin ")
            .unwrap()
            .strip_suffix(" kettle.end")
            .unwrap();
        let refusal = |text: String| Parameters::parse(&text).unwrap_err();
        for mark in ["kettle.begin", "kettle.end"] {
            assert_eq!(
                refusal(good.replace(mark, "quiet")),
                CommandLineError::Missing(mark)
            );
            assert_eq!(
                refusal(within(good, mark)),
                CommandLineError::Repeated(mark.to_owned())
            );
            assert_eq!(
                refusal(format!("{mark} {good}")),
                CommandLineError::Repeated(mark.to_owned())
            );
            let valued = CommandLineError::Unknown(mark.to_owned());
            assert_eq!(refusal(within(good, &format!("{mark}=1"))), valued);
        }
        for swapped in [
            format!("kettle.end {inner} kettle.begin"),
            format!("kettle.end kettle.begin {inner}"),
        ] {
            assert!(matches!(refusal(swapped), CommandLineError::Outside { .. }));
        }
    }

    #[test]
    fn refuses_what_is_missing_repeated_unknown_or_malformed() {
        let good = good();
        let without = |name: &str| {
            let words: Vec<_> = good
                .split_whitespace()
                .filter(|word| !word.starts_with(name))
                .collect();
            words.join(" ")
        };
        for name in [
            "panic",
            "kettle.roothash",
            "kettle.rootsalt",
            "kettle.rootdata",
            "kettle.kernel",
            "kettle.initrd",
        ] {
            assert!(
                matches!(
                    Parameters::parse(&without(name)),
                    Err(CommandLineError::Missing(_))
                ),
                "{name}"
            );
        }
        for (bad, expected) in [
            (
                "kettle.rootdata=8192",
                CommandLineError::Repeated("kettle.rootdata".to_owned()),
            ),
            (
                "kettle.debug=1",
                CommandLineError::Unknown("kettle.debug".to_owned()),
            ),
            ("kettle.", CommandLineError::Unknown("kettle.".to_owned())),
            ("panic=0", CommandLineError::Repeated("panic".to_owned())),
        ] {
            assert_eq!(Parameters::parse(&within(&good, bad)), Err(expected));
        }
        let with = |name: &str, value: &str| {
            Parameters::parse(&within(&without(name), &format!("{name}={value}")))
        };
        for (name, value) in [
            ("panic", "1"),
            ("kettle.roothash", &"AB".repeat(32)),
            ("kettle.roothash", &"ab".repeat(31)),
            ("kettle.roothash", ""),
            ("kettle.rootsalt", &"0g".repeat(32)),
            ("kettle.kernel", ""),
            ("kettle.initrd", &"0g".repeat(32)),
            ("kettle.rootdata", "0"),
            ("kettle.rootdata", "+4096"),
            ("kettle.rootdata", "4097"),
            ("kettle.rootdata", "18446744073709551616"),
            ("kettle.rootdata", "4611686018427387904"),
            ("kettle.version", ""),
            ("kettle.version", "a/b"),
            ("kettle.acpi", "off"),
            ("kettle.acpi", ""),
        ] {
            assert!(
                matches!(with(name, value), Err(CommandLineError::Value { .. })),
                "{name}={value}"
            );
        }
    }
}
