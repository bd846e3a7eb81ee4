//! Reads the files with which a guest is launched.
//!
//! * In: the options of `kettle measure`, `kettle igvm` and `kettle kernel-hashes` that name files.
//! * Out: the firmware, the hashes of the files that it boots, and the digest of each file.
//! * Never: a file over its limit.

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
    /// The kernel that the firmware boots. Without a kernel it boots from a disk that is not
    /// measured.
    #[arg(long, value_name = "FILE", requires = "firmware")]
    kernel: Option<PathBuf>,
    /// The initrd of the kernel.
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// The kernel's command line, exactly as it is.
    #[arg(
        long,
        value_name = "TEXT",
        requires = "kernel",
        allow_hyphen_values = true
    )]
    command_line: Option<String>,
    /// A file with the kernel's command line. Every byte counts, also a newline at the end.
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

/// The files of a launch as they were read.
pub struct Contents {
    /// The bytes of the firmware's image.
    pub image: Vec<u8>,
    /// The same image, parsed.
    pub firmware: Firmware,
    /// The hashes of kernel, initrd and command line; `None` without a kernel.
    pub boot: Option<BootHashes>,
    /// The digests of all files.
    pub digests: Digests,
}

/// The digests of the bytes as they were given: that of the command line is without a NUL.
pub struct Digests {
    /// The digest of the firmware's image.
    pub firmware: Sha256Digest,
    /// The digest of the kernel, if one was given.
    pub kernel: Option<Sha256Digest>,
    /// The digest of the initrd, if one was given.
    pub initrd: Option<Sha256Digest>,
    /// The digest of the command line, if one was given.
    pub command_line: Option<Sha256Digest>,
}

/// Why a launch cannot be read. Each is a usage error.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error("no firmware: give --firmware FILE")]
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
    /// Reads the files, and warns if the firmware is revoked.
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
            Some(digest) => Some(BootHashes::new(
                *digest.as_bytes(),
                initrd.map(|digest| *digest.as_bytes()),
                command_line.as_deref().unwrap_or_default(),
            )?),
            None => None,
        };
        let digests = Digests {
            firmware: Sha256Digest::of(&image),
            kernel,
            initrd,
            command_line: command_line.as_deref().map(Sha256Digest::of),
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

/// Warns on standard error if a launch is of a revoked image: it proves nothing, and
/// `kettle verify` may not recognise it by its value.
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
/// The file cannot be read, or is over the limit, which has the name `name`.
pub fn read(path: &Path, limit: u64, name: &'static str) -> Result<Vec<u8>, InputError> {
    let mut bytes = Vec::new();
    let size = open(path, limit)?
        .read_to_end(&mut bytes)
        .map_err(|source| InputError::Read {
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

/// A vCPU type as it was requested.
#[derive(Clone)]
pub struct Cpu {
    /// The name that QEMU gives it; `None` if only the signature was given.
    pub name: Option<String>,
    /// The CPUID signature of the type.
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
/// The text is not such a number, or the number has more than 64 bits.
pub fn hex_u64(text: &str) -> Result<u64, std::num::ParseIntError> {
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16)
}
