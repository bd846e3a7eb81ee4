//! `kettle measure`. Comes in: files and the shape of a virtual machine. Goes out: launch measurements as text or JSON.
//! Never: a measurement of less than what was asked for.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use kettle::digest::Sha256Digest;
use kettle::snp::measurement::{
    BootError, BootHashes, CpuSignature, Firmware, FirmwareError, Launch, LaunchError, LaunchMeasurement,
    MAX_FIRMWARE_BYTES, UnknownCpu, Vmm,
};
use serde::Serialize;

/// Largest kernel, in bytes.
const MAX_KERNEL_BYTES: u64 = 256 << 20;
/// Largest initrd, in bytes.
const MAX_INITRD_BYTES: u64 = 1 << 30;
/// Longest command line, in bytes. Linux on x86 takes 2047 (`COMMAND_LINE_SIZE`).
const MAX_COMMAND_LINE_BYTES: usize = 64 << 10;
/// Most vCPUs: what QEMU's q35 machine takes.
const MAX_VCPUS: u32 = 4096;

/// A firmware, and what it boots.
#[derive(Args)]
pub struct Booted {
    /// The firmware: an OVMF image for SEV-SNP.
    #[arg(long, value_name = "FILE")]
    pub firmware: PathBuf,
    /// The kernel that the firmware boots; without it, it boots from a disk that is not measured.
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// The initrd.
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// The kernel's command line, exactly.
    #[arg(long, value_name = "TEXT", requires = "kernel", allow_hyphen_values = true)]
    command_line: Option<String>,
    /// The file with the kernel's command line: every byte of it, a newline at its end too.
    #[arg(long, value_name = "FILE", requires = "kernel", conflicts_with = "command_line")]
    command_line_file: Option<PathBuf>,
}

/// What to measure.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    booted: Booted,
    /// Number of vCPUs, or a range such as 1-64. Repeatable.
    #[arg(long, value_name = "N", required = true, value_parser = vcpus)]
    vcpus: Vec<RangeInclusive<u32>>,
    /// vCPU type as QEMU names it, such as EPYC-Milan. Repeatable.
    #[arg(long, value_name = "NAME", value_parser = named_cpu)]
    vcpu_type: Vec<Cpu>,
    /// CPUID signature of a vCPU, hex. Repeatable.
    #[arg(long, value_name = "HEX", value_parser = raw_cpu)]
    vcpu_signature: Vec<Cpu>,
    /// SEV features of the guest, hex.
    #[arg(long, value_name = "HEX", default_value = "0x1", value_parser = hex_u64)]
    guest_features: u64,
    /// The hypervisor.
    #[arg(long, value_enum, default_value = "qemu")]
    vmm: VmmName,
    /// Prints one JSON document: the digests of all inputs, and the measurements.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum VmmName {
    Qemu,
    Ec2,
    /// EC2 as of 2023.
    #[value(name = "ec2-zero-rdx")]
    Ec2ZeroRdx,
    Gce,
}

/// A vCPU type as it was asked for.
#[derive(Clone)]
struct Cpu {
    name: Option<String>,
    signature: CpuSignature,
}

/// Why nothing can be measured. Each is a usage error.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    Read { path: PathBuf, source: io::Error },
    /// A file cannot be written.
    #[error("{path} cannot be written")]
    Write { path: PathBuf, source: io::Error },
    /// There is nothing to hash.
    #[error("no kernel: give --kernel, and --initrd and --command-line-file where there are such")]
    NoKernel,
    /// A file or the command line is over its limit.
    #[error("{what} is over the limit of {limit} bytes ({name})")]
    Limit { what: String, limit: u64, name: &'static str },
    /// The firmware is not usable.
    #[error("{path} is no firmware that can be measured")]
    Firmware { path: PathBuf, source: FirmwareError },
    /// The firmware does not measure what it boots.
    #[error("{path} cannot boot this kernel measured")]
    Launch { path: PathBuf, source: LaunchError },
    /// The command line is not usable.
    #[error("the kernel cannot be given this command line")]
    Boot(#[from] BootError),
    /// QEMU's measurement depends on the vCPU type.
    #[error("with QEMU a --vcpu-type or a --vcpu-signature is needed")]
    NoCpu,
}

/// The JSON document. Digests are of the bytes as they were given: the command line's has no NUL.
#[derive(Serialize)]
struct Document<'a> {
    firmware_sha256: String,
    kernel_sha256: Option<String>,
    initrd_sha256: Option<String>,
    command_line_sha256: Option<String>,
    vmm: &'a str,
    guest_features: String,
    measurements: &'a [Measured],
}

#[derive(Serialize)]
struct Measured {
    vcpu_type: Option<String>,
    vcpu_signature: String,
    vcpus: u32,
    measurement: String,
}

/// What was read: the firmware, the hashes that it is launched with, and digests for the record.
pub struct Inputs {
    pub parsed: Firmware,
    pub boot: Option<BootHashes>,
    firmware: Sha256Digest,
    kernel: Option<Sha256Digest>,
    initrd: Option<Sha256Digest>,
    command_line: Option<Sha256Digest>,
}

/// The whole output.
///
/// # Errors
/// A file cannot be read or is over its limit, or the firmware cannot be measured with what it should boot.
pub fn run(arguments: &Arguments) -> Result<String, MeasureError> {
    let cpus = cpus(arguments)?;
    let (launch, inputs) = launch(arguments)?;
    let found: Vec<_> = cpus.iter().flat_map(|cpu| measure(arguments, &launch, cpu)).collect();
    Ok(if arguments.json { json(arguments, &inputs, &found) } else { text(&found) })
}

fn launch(arguments: &Arguments) -> Result<(Launch, Inputs), MeasureError> {
    let inputs = inputs(&arguments.booted)?;
    let launch = Launch::new(&inputs.parsed, inputs.boot.as_ref(), arguments.vmm.into());
    let path = &arguments.booted.firmware;
    let launch = launch.map_err(|source| MeasureError::Launch { path: path.clone(), source })?;
    Ok((launch, inputs))
}

/// Reads all files.
///
/// # Errors
/// One cannot be read, is over its limit, or is not what it should be.
pub fn inputs(booted: &Booted) -> Result<Inputs, MeasureError> {
    let path = &booted.firmware;
    let image = read(path, MAX_FIRMWARE_BYTES as u64, "MAX_FIRMWARE_BYTES")?;
    let parsed = Firmware::parse(&image).map_err(|source| MeasureError::Firmware { path: path.clone(), source })?;
    let kernel = hash(booted.kernel.as_deref(), MAX_KERNEL_BYTES, "MAX_KERNEL_BYTES")?;
    let initrd = hash(booted.initrd.as_deref(), MAX_INITRD_BYTES, "MAX_INITRD_BYTES")?;
    let command_line = command_line(booted)?;
    let boot = match kernel {
        Some(kernel) => Some(BootHashes::new(
            *kernel.as_bytes(),
            initrd.map(|initrd| *initrd.as_bytes()),
            command_line.as_deref().unwrap_or_default(),
        )?),
        None => None,
    };
    let command_line = command_line.as_deref().map(Sha256Digest::of);
    Ok(Inputs { parsed, boot, firmware: Sha256Digest::of(&image), kernel, initrd, command_line })
}

fn command_line(booted: &Booted) -> Result<Option<Vec<u8>>, MeasureError> {
    const LIMIT: u64 = MAX_COMMAND_LINE_BYTES as u64;
    const NAME: &str = "MAX_COMMAND_LINE_BYTES";
    match (&booted.command_line, &booted.command_line_file) {
        (Some(text), _) if text.len() > MAX_COMMAND_LINE_BYTES => {
            Err(MeasureError::Limit { what: "the command line".to_owned(), limit: LIMIT, name: NAME })
        }
        (Some(text), _) => Ok(Some(text.as_bytes().to_vec())),
        (None, Some(path)) => read(path, LIMIT, NAME).map(Some),
        (None, None) => Ok(None),
    }
}

fn cpus(arguments: &Arguments) -> Result<Vec<Cpu>, MeasureError> {
    let cpus: Vec<_> = arguments.vcpu_type.iter().chain(&arguments.vcpu_signature).cloned().collect();
    match (cpus.is_empty(), arguments.vmm) {
        (false, _) => Ok(cpus),
        (true, VmmName::Qemu) => Err(MeasureError::NoCpu),
        (true, _) => Ok(vec![Cpu { name: None, signature: CpuSignature::from_raw(0) }]),
    }
}

/// The counts that were asked for, in their order.
fn measure(arguments: &Arguments, launch: &Launch, cpu: &Cpu) -> Vec<Measured> {
    let most = arguments.vcpus.iter().map(|range| *range.end()).max().unwrap_or(0) as usize;
    let all: Vec<_> = launch.by_vcpus(cpu.signature, arguments.guest_features).take(most).collect();
    let measured = |vcpus: u32, measurement: &LaunchMeasurement| Measured {
        vcpu_type: cpu.name.clone(),
        vcpu_signature: cpu.signature.to_string(),
        vcpus,
        measurement: measurement.to_string(),
    };
    let counts = arguments.vcpus.iter().cloned().flatten();
    counts.filter_map(|vcpus| all.get(vcpus as usize - 1).map(|found| measured(vcpus, found))).collect()
}

/// One measurement alone, or one a line after its type and count.
fn text(found: &[Measured]) -> String {
    match found {
        [only] => format!("{}\n", only.measurement),
        _ => found.iter().map(line).collect(),
    }
}

fn line(found: &Measured) -> String {
    let cpu = found.vcpu_type.as_ref().unwrap_or(&found.vcpu_signature);
    format!("{cpu} {} {}\n", found.vcpus, found.measurement)
}

fn json(arguments: &Arguments, inputs: &Inputs, found: &[Measured]) -> String {
    let hex = |digest: &Option<Sha256Digest>| digest.map(|digest| digest.to_string());
    let document = Document {
        firmware_sha256: inputs.firmware.to_string(),
        kernel_sha256: hex(&inputs.kernel),
        initrd_sha256: hex(&inputs.initrd),
        command_line_sha256: hex(&inputs.command_line),
        vmm: arguments.vmm.name(),
        guest_features: format!("{:#x}", arguments.guest_features),
        measurements: found,
    };
    format!("{:#}\n", serde_json::json!(document))
}

fn open(path: &Path, limit: u64) -> Result<io::Take<File>, MeasureError> {
    let file = File::open(path).map_err(|source| MeasureError::Read { path: path.to_owned(), source })?;
    Ok(file.take(limit + 1))
}

fn within(path: &Path, size: u64, limit: u64, name: &'static str) -> Result<(), MeasureError> {
    if size > limit {
        return Err(MeasureError::Limit { what: path.display().to_string(), limit, name });
    }
    Ok(())
}

fn read(path: &Path, limit: u64, name: &'static str) -> Result<Vec<u8>, MeasureError> {
    let mut bytes = Vec::new();
    let read = open(path, limit)?.read_to_end(&mut bytes);
    let size = read.map_err(|source| MeasureError::Read { path: path.to_owned(), source })?;
    within(path, size as u64, limit, name)?;
    Ok(bytes)
}

fn hash(path: Option<&Path>, limit: u64, name: &'static str) -> Result<Option<Sha256Digest>, MeasureError> {
    let Some(path) = path else { return Ok(None) };
    let hashed = Sha256Digest::of_reader(open(path, limit)?);
    let (digest, size) = hashed.map_err(|source| MeasureError::Read { path: path.to_owned(), source })?;
    within(path, size, limit, name)?;
    Ok(Some(digest))
}

impl VmmName {
    const fn name(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Ec2 => "ec2",
            Self::Ec2ZeroRdx => "ec2-zero-rdx",
            Self::Gce => "gce",
        }
    }
}

impl From<VmmName> for Vmm {
    fn from(name: VmmName) -> Self {
        match name {
            VmmName::Qemu => Self::Qemu,
            VmmName::Ec2 => Self::Ec2,
            VmmName::Ec2ZeroRdx => Self::Ec2ZeroRdx,
            VmmName::Gce => Self::Gce,
        }
    }
}

fn vcpus(text: &str) -> Result<RangeInclusive<u32>, Box<dyn Error + Send + Sync>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u32, u32) = (first.parse()?, last.parse()?);
    if first == 0 || first > last || last > MAX_VCPUS {
        return Err(format!("{first} to {last} is no range within 1 to {MAX_VCPUS}").into());
    }
    Ok(first..=last)
}

fn named_cpu(name: &str) -> Result<Cpu, UnknownCpu> {
    Ok(Cpu { signature: name.parse()?, name: Some(name.to_owned()) })
}

fn raw_cpu(text: &str) -> Result<Cpu, Box<dyn Error + Send + Sync>> {
    Ok(Cpu { signature: CpuSignature::from_raw(u32::try_from(hex_u64(text)?)?), name: None })
}

fn hex_u64(text: &str) -> Result<u64, std::num::ParseIntError> {
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16)
}
