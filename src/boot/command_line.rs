//! The measured command line. Comes in: `/proc/cmdline`. Goes out: [`Parameters`]. Never: a parameter of ours that is
//! unknown, given twice or malformed; what has another prefix is the kernel's.
//!
//! | parameter | value |
//! |---|---|
//! | `kettle.roothash` | root of the dm-verity tree: SHA-256, hex, lower case |
//! | `kettle.rootsalt` | salt of the tree: 32 bytes, hex, lower case |
//! | `kettle.rootdata` | bytes of the root file system, a multiple of [`BLOCK_BYTES`]; the tree begins one block after |
//! | `kettle.kernel` | SHA-256 of the kernel's file, hex, lower case: what no guest can compute about itself |
//! | `kettle.initrd` | SHA-256 of the initrd, hex, lower case |
//! | `kettle.version` | version of the image; may be missing |
//! | `kettle.acpi` | `on`, or missing: whether the kernel runs the programs of ACPI tables, which the kernel itself reads |
//! | `panic` | `-1`: a disk that does not verify is a kernel panic, and a panic must end the machine |

use std::fs;

use super::error::file;
use super::{BootError, Machine};

/// Block size of the root file system and of its tree.
pub(super) const BLOCK_BYTES: u64 = 4096;
/// The prefix of what is ours.
const PREFIX: &str = "kettle.";
/// A tebibyte: an image has less than one gibibyte; larger numbers would only have to be watched in arithmetic.
const MAX_ROOT_BYTES: u64 = 1 << 40;
const MAX_VERSION_BYTES: usize = 64;
const DIGEST_BYTES: usize = 32;
/// EDK II, of which the image's firmware is made, appends this when it starts a kernel that has an initrd (OvmfPkg,
/// GenericQemuLoadImageLib). The launch measurement covers the command line without it.
const FROM_FIRMWARE: &str = " initrd=initrd";

/// What is wrong with the command line.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CommandLineError {
    /// It lacks a parameter.
    #[error("{0} is missing on the kernel command line")]
    Missing(&'static str),
    /// It has one twice.
    #[error("{0} is given twice on the kernel command line")]
    Repeated(String),
    /// It has one that we do not know.
    #[error("{0} on the kernel command line is not known")]
    Unknown(String),
    /// A value is malformed.
    #[error("{name} on the kernel command line is not {expected}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
}

/// What the image is, as far as the command line says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Root hash of the dm-verity tree.
    pub root_hash: [u8; DIGEST_BYTES],
    /// Salt of the dm-verity tree.
    pub root_salt: [u8; DIGEST_BYTES],
    /// Blocks of the root file system.
    pub root_blocks: u64,
    /// SHA-256 of the kernel.
    pub kernel: [u8; DIGEST_BYTES],
    /// SHA-256 of the initrd.
    pub initrd: [u8; DIGEST_BYTES],
    /// Version of the image.
    pub version: Option<String>,
    /// All of it, as it was measured: without what firmware appends, and without a final newline.
    pub command_line: String,
}

impl Parameters {
    /// Reads a command line as the kernel shows it.
    ///
    /// # Errors
    /// It lacks something, or has something of ours that it should not.
    pub fn parse(text: &str) -> Result<Self, CommandLineError> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix(FROM_FIRMWARE).unwrap_or(text);
        let mut values = Values::default();
        for word in text.split(' ').filter(|word| !word.is_empty()) {
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
                _ if name.starts_with(PREFIX) => return Err(CommandLineError::Unknown(name.to_owned())),
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(CommandLineError::Repeated(name.to_owned()));
            }
        }
        values.check(text)
    }
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
            return Err(CommandLineError::Value { name: "panic", expected: "-1" });
        }
        if self.acpi.is_some_and(|value| value != "on") {
            return Err(CommandLineError::Value { name: "kettle.acpi", expected: "on" });
        }
        Ok(Parameters {
            root_hash: digest("kettle.roothash", self.root_hash)?,
            root_salt: digest("kettle.rootsalt", self.root_salt)?,
            root_blocks: blocks("kettle.rootdata", self.root_bytes)?,
            kernel: digest("kettle.kernel", self.kernel)?,
            initrd: digest("kettle.initrd", self.initrd)?,
            version: self.version.map(version).transpose()?,
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
        _ => Err(CommandLineError::Value { name, expected: "64 hexadecimal digits in lower case" }),
    }
}

fn blocks(name: &'static str, value: Option<&str>) -> Result<u64, CommandLineError> {
    let value = needed(name, value)?;
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    match value.parse::<u64>() {
        Ok(bytes) if digits && (1..=MAX_ROOT_BYTES).contains(&bytes) && bytes.is_multiple_of(BLOCK_BYTES) => {
            Ok(bytes / BLOCK_BYTES)
        }
        _ => Err(CommandLineError::Value { name, expected: "a number of bytes in whole blocks" }),
    }
}

fn version(value: &str) -> Result<String, CommandLineError> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    if (1..=MAX_VERSION_BYTES).contains(&value.len()) && value.bytes().all(known) {
        Ok(value.to_owned())
    } else {
        Err(CommandLineError::Value { name: "kettle.version", expected: "1 to 64 letters, digits, '.', '_', '+', '-'" })
    }
}

/// Phase: what this image is.
pub(super) fn read(machine: &mut Machine) -> Result<(), BootError> {
    let path = "/proc/cmdline";
    machine.parameters = Some(Parameters::parse(&fs::read_to_string(path).map_err(file(path))?)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> String {
        format!(
            "console=ttyS0 panic=-1 kettle.roothash={} kettle.rootsalt={} kettle.rootdata=8192 kettle.kernel={} kettle.initrd={}\n",
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
        let versioned = Parameters::parse(&format!("kettle.version=1.0-rc_1 {}", good())).unwrap();
        assert_eq!(versioned.version.as_deref(), Some("1.0-rc_1"));
        assert!(Parameters::parse(&format!("kettle.acpi=on {}", good())).is_ok());
    }

    #[test]
    fn what_firmware_appends_is_no_part_of_what_was_measured() {
        let good = good();
        let measured = |text: &str| Parameters::parse(text).unwrap().command_line;
        assert_eq!(measured(&format!("{} initrd=initrd\n", good.trim_end())), good.trim_end());
        let own = format!("initrd=initrd {}", good.trim_end());
        assert_eq!(measured(&own), own, "only at the end");
        let twice = format!("{} initrd=initrd", good.trim_end());
        assert_eq!(measured(&format!("{twice} initrd=initrd")), twice, "only once");
    }

    #[test]
    fn refuses_what_is_missing_repeated_unknown_or_malformed() {
        let good = good();
        let without = |name: &str| {
            let words: Vec<_> = good.split_whitespace().filter(|word| !word.starts_with(name)).collect();
            words.join(" ")
        };
        for name in ["panic", "kettle.roothash", "kettle.rootsalt", "kettle.rootdata", "kettle.kernel", "kettle.initrd"]
        {
            assert!(matches!(Parameters::parse(&without(name)), Err(CommandLineError::Missing(_))), "{name}");
        }
        for (bad, expected) in [
            ("kettle.rootdata=8192", CommandLineError::Repeated("kettle.rootdata".to_owned())),
            ("kettle.debug=1", CommandLineError::Unknown("kettle.debug".to_owned())),
            ("kettle.", CommandLineError::Unknown("kettle.".to_owned())),
            ("panic=0", CommandLineError::Repeated("panic".to_owned())),
        ] {
            assert_eq!(Parameters::parse(&format!("{bad} {good}")), Err(expected));
        }
        let with = |name: &str, value: &str| Parameters::parse(&format!("{} {name}={value}", without(name)));
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
            assert!(matches!(with(name, value), Err(CommandLineError::Value { .. })), "{name}={value}");
        }
    }
}
