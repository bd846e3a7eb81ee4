//! What a guest is launched with. Comes in: the files that the options of `kettle measure`, `kettle igvm` and `kettle kernel-hashes` name. Goes out:
//! the firmware, the hashes of what it boots, and the digest of each file. Never: a file over its limit.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use kettle::digest::Sha256Digest;
use kettle::snp::measurement::{
    BootError, BootHashes, CpuSignature, Firmware, FirmwareError, MAX_FIRMWARE_BYTES, UnknownCpu,
};
use kettle::verifier::{Revocation, Revocations};

/// Largest kernel, in bytes.
const MAX_KERNEL_BYTES: u64 = 256 << 20;
/// Largest initrd, in bytes.
const MAX_INITRD_BYTES: u64 = 1 << 30;
/// Longest command line, in bytes. Linux on x86 takes 2047 (`COMMAND_LINE_SIZE`).
const MAX_COMMAND_LINE_BYTES: usize = 64 << 10;

/// The files of a launch.
#[derive(Args)]
pub struct Inputs {
    /// The firmware's image, as QEMU loads it.
    #[arg(long, value_name = "FILE")]
    pub firmware: Option<PathBuf>,
    /// The kernel that the firmware boots; without it, it boots from a disk that is not measured.
    #[arg(long, value_name = "FILE", requires = "firmware")]
    kernel: Option<PathBuf>,
    /// The initrd.
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// The kernel's command line, exactly.
    #[arg(
        long,
        value_name = "TEXT",
        requires = "kernel",
        allow_hyphen_values = true
    )]
    command_line: Option<String>,
    /// The file with the kernel's command line: every byte of it, a newline at its end too.
    #[arg(
        long,
        value_name = "FILE",
        requires = "kernel",
        conflicts_with = "command_line"
    )]
    command_line_file: Option<PathBuf>,
    /// SEV features of the guest, hex.
    #[arg(long, value_name = "HEX", default_value = "0x1", value_parser = hex_u64)]
    pub guest_features: u64,
}

/// The files as they were read.
pub struct Contents {
    pub image: Vec<u8>,
    pub firmware: Firmware,
    pub boot: Option<BootHashes>,
    pub digests: Digests,
}

/// Of the bytes as they were given: the command line's has no NUL.
pub struct Digests {
    pub firmware: Sha256Digest,
    pub kernel: Option<Sha256Digest>,
    pub initrd: Option<Sha256Digest>,
    pub command_line: Option<Sha256Digest>,
}

/// Why a launch cannot be read. Each is a usage error.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error("no firmware: --firmware FILE names it")]
    NoFirmware,
    #[error("{path} cannot be read")]
    Read { path: PathBuf, source: io::Error },
    #[error("{what} is over the limit of {limit} bytes ({name})")]
    Limit {
        what: String,
        limit: u64,
        name: &'static str,
    },
    #[error("{path} is no firmware that can be measured")]
    Firmware {
        path: PathBuf,
        source: FirmwareError,
    },
    #[error("the kernel cannot be given this command line")]
    Boot(#[from] BootError),
}

impl Inputs {
    /// Reads all of them.
    ///
    /// # Errors
    /// A file cannot be read or is over its limit, or the firmware cannot be measured.
    pub fn read(&self) -> Result<Contents, InputError> {
        let path = self.firmware.as_ref().ok_or(InputError::NoFirmware)?;
        let image = read(path, MAX_FIRMWARE_BYTES as u64, "MAX_FIRMWARE_BYTES")?;
        let firmware = Firmware::parse(&image).map_err(|source| InputError::Firmware {
            path: path.clone(),
            source,
        })?;
        let kernel = hash(self.kernel.as_deref(), MAX_KERNEL_BYTES, "MAX_KERNEL_BYTES")?;
        let initrd = hash(self.initrd.as_deref(), MAX_INITRD_BYTES, "MAX_INITRD_BYTES")?;
        let command_line = self.command_line()?;
        let boot = match kernel {
            Some(kernel) => Some(BootHashes::new(
                *kernel.as_bytes(),
                initrd.map(|initrd| *initrd.as_bytes()),
                command_line.as_deref().unwrap_or_default(),
            )?),
            None => None,
        };
        let command_line = command_line.as_deref().map(Sha256Digest::of);
        let digests = Digests {
            firmware: Sha256Digest::of(&image),
            kernel,
            initrd,
            command_line,
        };
        warn_if_revoked(Revocations::compiled_in().of_firmware(digests.firmware));
        Ok(Contents {
            image,
            firmware,
            boot,
            digests,
        })
    }

    /// Returns the path of the firmware, for messages.
    pub fn path(&self) -> PathBuf {
        self.firmware.clone().unwrap_or_default()
    }

    fn command_line(&self) -> Result<Option<Vec<u8>>, InputError> {
        const LIMIT: u64 = MAX_COMMAND_LINE_BYTES as u64;
        const NAME: &str = "MAX_COMMAND_LINE_BYTES";
        match (&self.command_line, &self.command_line_file) {
            (Some(text), _) if text.len() > MAX_COMMAND_LINE_BYTES => Err(InputError::Limit {
                what: "the command line".to_owned(),
                limit: LIMIT,
                name: NAME,
            }),
            (Some(text), _) => Ok(Some(text.as_bytes().to_vec())),
            (None, Some(path)) => read(path, LIMIT, NAME).map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// Reads a firmware, and hashes what it boots: the kernel, the initrd and the command line in these
/// files.
///
/// # Errors
/// A file cannot be read or is over its limit, or the firmware cannot be measured.
pub fn of_files(
    firmware: &Path,
    kernel: &Path,
    initrd: &Path,
    command_line: &Path,
) -> Result<(Firmware, BootHashes), InputError> {
    let inputs = Inputs {
        firmware: Some(firmware.to_owned()),
        kernel: Some(kernel.to_owned()),
        initrd: Some(initrd.to_owned()),
        command_line: None,
        command_line_file: Some(command_line.to_owned()),
        guest_features: 0,
    };
    let Contents { firmware, boot, .. } = inputs.read()?;
    match boot {
        Some(boot) => Ok((firmware, boot)),
        None => Err(InputError::NoFirmware),
    }
}

/// Says on standard error that a launch proves nothing, and `kettle verify` may not know it by its value.
pub fn warn_if_revoked(revocation: Option<&Revocation>) {
    if let Some(found) = revocation {
        eprintln!(
            "kettle: image {} is revoked, and this is of it: {}",
            found.version, found.reason
        );
    }
}

fn open(path: &Path, limit: u64) -> Result<io::Take<File>, InputError> {
    let file = File::open(path).map_err(|source| InputError::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(file.take(limit + 1))
}

fn within(path: &Path, size: u64, limit: u64, name: &'static str) -> Result<(), InputError> {
    if size > limit {
        return Err(InputError::Limit {
            what: path.display().to_string(),
            limit,
            name,
        });
    }
    Ok(())
}

/// Returns the bytes of a file.
///
/// # Errors
/// It cannot be read, or is over the limit of that name.
pub fn read(path: &Path, limit: u64, name: &'static str) -> Result<Vec<u8>, InputError> {
    let mut bytes = Vec::new();
    let read = open(path, limit)?.read_to_end(&mut bytes);
    let size = read.map_err(|source| InputError::Read {
        path: path.to_owned(),
        source,
    })?;
    within(path, size as u64, limit, name)?;
    Ok(bytes)
}

fn hash(
    path: Option<&Path>,
    limit: u64,
    name: &'static str,
) -> Result<Option<Sha256Digest>, InputError> {
    let Some(path) = path else { return Ok(None) };
    let hashed = Sha256Digest::of_reader(open(path, limit)?);
    let (digest, size) = hashed.map_err(|source| InputError::Read {
        path: path.to_owned(),
        source,
    })?;
    within(path, size, limit, name)?;
    Ok(Some(digest))
}

/// A vCPU type as it was asked for.
#[derive(Clone)]
pub struct Cpu {
    pub name: Option<String>,
    pub signature: CpuSignature,
}

/// Reads a vCPU type as QEMU names it.
///
/// # Errors
/// QEMU has no such type.
pub fn named_cpu(name: &str) -> Result<Cpu, UnknownCpu> {
    Ok(Cpu {
        signature: name.parse()?,
        name: Some(name.to_owned()),
    })
}

/// Reads a number in hexadecimal digits, with or without `0x`.
///
/// # Errors
/// It is none, or has more than 64 bits.
pub fn hex_u64(text: &str) -> Result<u64, std::num::ParseIntError> {
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16)
}
