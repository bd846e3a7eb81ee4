//! `kettle measure`: calculates launch measurements.
//!
//! * In: files and the shape of a virtual machine, a file of published measurements, an IGVM file,
//!   or a UKI.
//! * Out: launch measurements, or registers of a TPM, as text or JSON.
//! * Never: fewer measurements than were requested.

use std::error::Error;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use kettle::snp::igvm::{self, IgvmError, MAX_IGVM_BYTES};
use kettle::snp::measurement::{Chain, CpuSignature, Launch, LaunchError, Vmm};
use kettle::verifier::{
    MAX_REFERENCE_BYTES, PublishedShape, ReferenceError, ReferenceValues, Revocations,
};
use serde::Serialize;

use super::launch::{self, Contents, Cpu, Digests, InputError, Inputs, hex_u64, named_cpu, read};
use super::uki;

/// Most vCPUs: what QEMU's q35 machine takes.
const MAX_VCPUS: u32 = 4096;

/// The end of `--help`.
const AFTER_HELP: &str = "\
A single measurement is printed alone, several are printed one a line after vCPU type and count. \
--chain prints, for each type, the digest before the first vCPU (launch-digest) and the digests of \
the pages with which the first and every other vCPU start (bsp-vmsa, ap-vmsa). These are in \
measurements/VERSION.json, and the measurement for every count follows from them.";

/// The arguments of `kettle measure`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    #[command(flatten)]
    inputs: Inputs,
    /// Takes the measurements from a published file, such as measurements/VERSION.json, instead of
    /// files to boot.
    #[arg(long, value_name = "FILE", conflicts_with_all = NOT_WITH_PUBLISHED)]
    published: Option<PathBuf>,
    /// With --published: the variant of the image, by its name. Default: the image itself.
    #[arg(long, value_name = "NAME", requires = "published")]
    variant: Option<String>,
    /// Calculates the measurement that an IGVM file leads to under QEMU and KVM. The file contains
    /// the number and type of vCPUs.
    #[arg(long, value_name = "FILE", conflicts_with_all = NOT_WITH_IGVM)]
    igvm: Option<PathBuf>,
    /// Calculates what a TPM has measured once firmware has started this UKI from a disk: PCR 4 and
    /// 9 (SHA-256), and the Authenticode digests that a Secure Boot database can allow.
    #[arg(long, value_name = "FILE", conflicts_with_all = NOT_WITH_UKI)]
    uki: Option<PathBuf>,
    /// Number of vCPUs, or a range such as 1-64. Repeatable.
    #[arg(
        long,
        value_name = "N",
        required_unless_present_any = ["chain", "igvm", "uki"],
        value_parser = vcpus
    )]
    vcpus: Vec<RangeInclusive<u32>>,
    /// vCPU type as QEMU names it, such as EPYC-Milan. Repeatable.
    #[arg(long, value_name = "NAME", value_parser = named_cpu)]
    vcpu_type: Vec<Cpu>,
    /// CPUID signature of a vCPU, hex. Repeatable.
    #[arg(long, value_name = "HEX", value_parser = raw_cpu)]
    vcpu_signature: Vec<Cpu>,
    /// The hypervisor that launches the guest.
    #[arg(long, value_enum, default_value = "qemu")]
    vmm: VmmName,
    /// Prints the digests from which the measurements for all numbers of vCPUs are calculated,
    /// instead of measurements.
    #[arg(long, conflicts_with = "vcpus")]
    chain: bool,
    /// Prints one JSON document: the digests of all inputs, and the measurements or chains.
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

/// Options that have no meaning with --published.
const NOT_WITH_PUBLISHED: [&str; 6] = [
    "firmware",
    "chain",
    "json",
    "vcpu_signature",
    "guest_features",
    "vmm",
];

/// Options that have no meaning with --igvm.
const NOT_WITH_IGVM: [&str; 9] = [
    "firmware",
    "published",
    "chain",
    "json",
    "vcpus",
    "vcpu_type",
    "vcpu_signature",
    "guest_features",
    "vmm",
];

/// Options that have no meaning with --uki.
const NOT_WITH_UKI: [&str; 9] = [
    "firmware",
    "published",
    "igvm",
    "chain",
    "vcpus",
    "vcpu_type",
    "vcpu_signature",
    "guest_features",
    "vmm",
];

/// Why nothing can be measured. Each is a usage error.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    #[error(transparent)]
    Input(#[from] InputError),
    #[error("{path} cannot boot this kernel measured")]
    Launch { path: PathBuf, source: LaunchError },
    #[error("with QEMU a --vcpu-type or a --vcpu-signature is needed")]
    NoCpu,
    #[error("{path}")]
    Published {
        path: PathBuf,
        source: ReferenceError,
    },
    #[error(transparent)]
    Uki(#[from] uki::Error),
    #[error("{path} is no IGVM file that can be measured")]
    Igvm { path: PathBuf, source: IgvmError },
    #[error("{path} has no measurement for {wanted}")]
    NotPublished { path: PathBuf, wanted: String },
}

/// The JSON document. Digests are of the bytes as they were given: that of the command line is
/// without a NUL.
#[derive(Serialize)]
struct Document<'a> {
    firmware_sha256: String,
    kernel_sha256: Option<String>,
    initrd_sha256: Option<String>,
    command_line_sha256: Option<String>,
    vmm: &'a str,
    guest_features: String,
    #[serde(flatten)]
    found: Found,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Found {
    Measurements(Vec<Measured>),
    Chains(Vec<Chained>),
}

#[derive(Serialize)]
struct Measured {
    vcpu_type: Option<String>,
    vcpu_signature: String,
    vcpus: u32,
    measurement: String,
}

#[derive(Serialize)]
struct Chained {
    vcpu_type: Option<String>,
    vcpu_signature: String,
    launch_digest: String,
    bsp_vmsa: String,
    ap_vmsa: String,
}

/// Measures, and returns the whole output.
///
/// # Errors
/// A file cannot be read or is over its limit, or the firmware cannot be measured with what it
/// should boot.
pub fn run(arguments: &Arguments) -> Result<String, MeasureError> {
    if let Some(path) = &arguments.published {
        return published(arguments, path);
    }
    if let Some(path) = &arguments.igvm {
        return of_igvm(path);
    }
    if let Some(path) = &arguments.uki {
        return Ok(uki::measure(path, arguments.json)?);
    }
    of_files(arguments)
}

/// Returns the measurement that an IGVM file leads to.
fn of_igvm(path: &Path) -> Result<String, MeasureError> {
    let file = read(path, MAX_IGVM_BYTES as u64, "MAX_IGVM_BYTES")?;
    let measured = igvm::measure(&file).map_err(|source| MeasureError::Igvm {
        path: path.to_owned(),
        source,
    })?;
    launch::warn_if_revoked(Revocations::compiled_in().of_measurement(measured.measurement));
    Ok(format!("{}\n", measured.measurement))
}

/// Returns the measurements, or their chains, of a firmware and the files that it boots.
fn of_files(arguments: &Arguments) -> Result<String, MeasureError> {
    let cpus = cpus(arguments)?;
    let Contents {
        firmware,
        boot,
        digests,
        ..
    } = arguments.inputs.read()?;
    let vmm = arguments.vmm.into();
    let launch = Launch::new(&firmware, boot.as_ref(), vmm).map_err(|source| {
        let path = arguments.inputs.path();
        MeasureError::Launch { path, source }
    })?;
    let features = arguments.inputs.guest_features;
    let (mut chains, mut measurements) = (Vec::new(), Vec::new());
    for cpu in &cpus {
        let chain = launch.chain(cpu.signature, features);
        if arguments.chain {
            chains.push(Chained::of(cpu, &chain));
        } else {
            measurements.extend(counted(&arguments.vcpus, cpu, &chain));
        }
    }
    let found = if arguments.chain {
        Found::Chains(chains)
    } else {
        Found::Measurements(measurements)
    };
    Ok(if arguments.json {
        json(arguments, &digests, found)
    } else {
        found.text()
    })
}

/// Returns the measurements of a published file for the requested shapes, in their order.
fn published(arguments: &Arguments, path: &Path) -> Result<String, MeasureError> {
    let bytes = read(path, MAX_REFERENCE_BYTES as u64, "MAX_REFERENCE_BYTES")?;
    let mut references = ReferenceValues::default();
    references
        .add_file(&bytes)
        .map_err(|source| MeasureError::Published {
            path: path.to_owned(),
            source,
        })?;
    if arguments.vcpu_type.is_empty() {
        return Err(MeasureError::NoCpu);
    }
    let mut found = Vec::new();
    for cpu in &arguments.vcpu_type {
        let name = cpu.name.as_deref().unwrap_or_default();
        for vcpus in arguments.vcpus.iter().cloned().flatten() {
            let is_wanted = |shape: &PublishedShape<'_>| {
                shape.vcpus == vcpus
                    && shape.vcpu_type == name
                    && shape.variant == arguments.variant.as_deref()
            };
            let Some(shape) = references.shapes().find(is_wanted) else {
                let variant = match &arguments.variant {
                    Some(variant) => format!(" of variant {variant}"),
                    None => String::new(),
                };
                return Err(MeasureError::NotPublished {
                    path: path.to_owned(),
                    wanted: format!("{vcpus} vCPUs of type {name}{variant}"),
                });
            };
            found.push(Measured::of(cpu, vcpus, shape.measurement.to_string()));
        }
    }
    Ok(Found::Measurements(found).text())
}

/// Returns the vCPU types to measure. QEMU needs one; for other hypervisors the signature is 0 if
/// no type was given.
fn cpus(arguments: &Arguments) -> Result<Vec<Cpu>, MeasureError> {
    let mut cpus = arguments.vcpu_type.clone();
    cpus.extend_from_slice(&arguments.vcpu_signature);
    match (cpus.is_empty(), arguments.vmm) {
        (false, _) => Ok(cpus),
        (true, VmmName::Qemu) => Err(MeasureError::NoCpu),
        (true, _) => Ok(vec![Cpu {
            name: None,
            signature: CpuSignature::from_raw(0),
        }]),
    }
}

/// Returns the measurements for the requested numbers of vCPUs, in their order.
fn counted(wanted: &[RangeInclusive<u32>], cpu: &Cpu, chain: &Chain) -> Vec<Measured> {
    let most = wanted.iter().map(|range| *range.end()).max().unwrap_or(0) as usize;
    let all: Vec<_> = chain.by_vcpus().take(most).collect();
    let mut measured = Vec::new();
    for vcpus in wanted.iter().cloned().flatten() {
        if let Some(measurement) = all.get(vcpus as usize - 1) {
            measured.push(Measured::of(cpu, vcpus, measurement.to_string()));
        }
    }
    measured
}

impl Measured {
    fn of(cpu: &Cpu, vcpus: u32, measurement: String) -> Self {
        let vcpu_signature = cpu.signature.to_string();
        Self {
            vcpu_type: cpu.name.clone(),
            vcpu_signature,
            vcpus,
            measurement,
        }
    }

    fn line(&self) -> String {
        let cpu = self.vcpu_type.as_ref().unwrap_or(&self.vcpu_signature);
        format!("{cpu} {} {}\n", self.vcpus, self.measurement)
    }
}

impl Chained {
    fn of(cpu: &Cpu, chain: &Chain) -> Self {
        Self {
            vcpu_type: cpu.name.clone(),
            vcpu_signature: cpu.signature.to_string(),
            launch_digest: chain.launch_digest.to_string(),
            bsp_vmsa: hex::encode(chain.bsp_vmsa),
            ap_vmsa: hex::encode(chain.ap_vmsa),
        }
    }

    fn lines(&self) -> String {
        let cpu = self.vcpu_type.as_ref().unwrap_or(&self.vcpu_signature);
        let digests = [
            ("launch-digest", &self.launch_digest),
            ("bsp-vmsa", &self.bsp_vmsa),
            ("ap-vmsa", &self.ap_vmsa),
        ];
        digests
            .iter()
            .map(|(name, digest)| format!("{cpu} {name} {digest}\n"))
            .collect()
    }
}

impl Found {
    /// Returns a single measurement alone, several one a line after type and count, and the digests
    /// of a chain one a line.
    fn text(&self) -> String {
        match self {
            Self::Measurements(found) => match &found[..] {
                [only] => format!("{}\n", only.measurement),
                _ => found.iter().map(Measured::line).collect(),
            },
            Self::Chains(found) => found.iter().map(Chained::lines).collect(),
        }
    }
}

fn json(arguments: &Arguments, digests: &Digests, found: Found) -> String {
    let hex =
        |digest: Option<kettle::digest::Sha256Digest>| digest.map(|digest| digest.to_string());
    let document = Document {
        firmware_sha256: digests.firmware.to_string(),
        kernel_sha256: hex(digests.kernel),
        initrd_sha256: hex(digests.initrd),
        command_line_sha256: hex(digests.command_line),
        vmm: arguments.vmm.name(),
        guest_features: format!("{:#x}", arguments.inputs.guest_features),
        found,
    };
    format!("{:#}\n", serde_json::json!(document))
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

fn raw_cpu(text: &str) -> Result<Cpu, Box<dyn Error + Send + Sync>> {
    Ok(Cpu {
        signature: CpuSignature::from_raw(u32::try_from(hex_u64(text)?)?),
        name: None,
    })
}
