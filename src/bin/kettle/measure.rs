//! `kettle measure`. Comes in: files and the shape of a virtual machine, a file of published measurements, or an IGVM file.
//! Goes out: launch measurements as text or JSON. Never: a measurement of less than what was asked for.

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

/// Most vCPUs: what QEMU's q35 machine takes.
const MAX_VCPUS: u32 = 4096;

/// What to measure.
#[derive(Args)]
#[command(
    after_help = "One measurement is printed alone, several one a line after vCPU type and count. --chain prints, for \
    each type, the digest before the first vCPU (launch-digest) and the digests of the pages with which the first and every \
    other vCPU start (bsp-vmsa, ap-vmsa): what measurements/VERSION.json has, and the measurement for every count follows from."
)]
pub struct Arguments {
    #[command(flatten)]
    inputs: Inputs,
    /// Takes the measurements from a published file, such as measurements/VERSION.json, instead of files to boot.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["firmware", "chain", "json", "vcpu_signature", "guest_features", "vmm"])]
    published: Option<PathBuf>,
    /// With --published: the variant of the image, by its name. Default: the image itself.
    #[arg(long, value_name = "NAME", requires = "published")]
    variant: Option<String>,
    /// Calculates the measurement that an IGVM file leads to under QEMU and KVM; it says the number and type of vCPUs itself.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["firmware", "published", "chain", "json", "vcpus", "vcpu_type", "vcpu_signature", "guest_features", "vmm"])]
    igvm: Option<PathBuf>,
    /// Number of vCPUs, or a range such as 1-64. Repeatable.
    #[arg(long, value_name = "N", required_unless_present_any = ["chain", "igvm"], value_parser = vcpus)]
    vcpus: Vec<RangeInclusive<u32>>,
    /// vCPU type as QEMU names it, such as EPYC-Milan. Repeatable.
    #[arg(long, value_name = "NAME", value_parser = named_cpu)]
    vcpu_type: Vec<Cpu>,
    /// CPUID signature of a vCPU, hex. Repeatable.
    #[arg(long, value_name = "HEX", value_parser = raw_cpu)]
    vcpu_signature: Vec<Cpu>,
    /// The hypervisor.
    #[arg(long, value_enum, default_value = "qemu")]
    vmm: VmmName,
    /// Prints what the measurements for all numbers of vCPUs are calculated from, instead of measurements.
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
    #[error("{path} is no IGVM file that can be measured")]
    Igvm { path: PathBuf, source: IgvmError },
    #[error("{path} has no measurement for {wanted}")]
    NotPublished { path: PathBuf, wanted: String },
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

/// Returns the whole output.
///
/// # Errors
/// A file cannot be read or is over its limit, or the firmware cannot be measured with what it should boot.
pub fn run(arguments: &Arguments) -> Result<String, MeasureError> {
    if let Some(path) = &arguments.published {
        return published(arguments, path);
    }
    if let Some(path) = &arguments.igvm {
        return of_igvm(path);
    }
    of_files(arguments)
}

/// The measurement that an IGVM file leads to.
fn of_igvm(path: &Path) -> Result<String, MeasureError> {
    let file = read(path, MAX_IGVM_BYTES as u64, "MAX_IGVM_BYTES")?;
    let measured = igvm::measure(&file).map_err(|source| MeasureError::Igvm {
        path: path.to_owned(),
        source,
    })?;
    launch::warn_if_revoked(Revocations::compiled_in().of_measurement(measured.measurement));
    Ok(format!("{}\n", measured.measurement))
}

/// The measurements, or their chains, of a firmware and what it boots.
fn of_files(arguments: &Arguments) -> Result<String, MeasureError> {
    let cpus = cpus(arguments)?;
    let Contents {
        firmware,
        boot,
        digests,
        ..
    } = arguments.inputs.read()?;
    let launch = Launch::new(&firmware, boot.as_ref(), arguments.vmm.into());
    let launch = launch.map_err(|source| MeasureError::Launch {
        path: arguments.inputs.path(),
        source,
    })?;
    let features = arguments.inputs.guest_features;
    let chains = cpus
        .iter()
        .map(|cpu| (cpu, launch.chain(cpu.signature, features)));
    let found = if arguments.chain {
        let chains = chains.map(|(cpu, chain)| Chained::of(cpu, &chain));
        Found::Chains(chains.collect())
    } else {
        let counts = &arguments.vcpus;
        let measured = chains.flat_map(|(cpu, chain)| counted(counts, cpu, &chain));
        Found::Measurements(measured.collect())
    };
    Ok(if arguments.json {
        json(arguments, &digests, found)
    } else {
        found.text()
    })
}

/// The measurements that a published file has for what was asked for, in that order.
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
            let shape = references.shapes().find(is_wanted).ok_or_else(|| {
                let variant = arguments
                    .variant
                    .as_ref()
                    .map(|name| format!(" of variant {name}"))
                    .unwrap_or_default();
                let wanted = format!("{vcpus} vCPUs of type {name}{variant}");
                MeasureError::NotPublished {
                    path: path.to_owned(),
                    wanted,
                }
            })?;
            found.push(Measured::of(cpu, vcpus, shape.measurement.to_string()));
        }
    }
    Ok(Found::Measurements(found).text())
}

fn cpus(arguments: &Arguments) -> Result<Vec<Cpu>, MeasureError> {
    let cpus: Vec<_> = arguments
        .vcpu_type
        .iter()
        .chain(&arguments.vcpu_signature)
        .cloned()
        .collect();
    match (cpus.is_empty(), arguments.vmm) {
        (false, _) => Ok(cpus),
        (true, VmmName::Qemu) => Err(MeasureError::NoCpu),
        (true, _) => Ok(vec![Cpu {
            name: None,
            signature: CpuSignature::from_raw(0),
        }]),
    }
}

/// The counts that were asked for, in their order.
fn counted(wanted: &[RangeInclusive<u32>], cpu: &Cpu, chain: &Chain) -> Vec<Measured> {
    let most = wanted.iter().map(|range| *range.end()).max().unwrap_or(0) as usize;
    let all: Vec<_> = chain.by_vcpus().take(most).collect();
    let measured = |vcpus: u32| {
        let measurement = all.get(vcpus as usize - 1)?;
        Some(Measured::of(cpu, vcpus, measurement.to_string()))
    };
    wanted
        .iter()
        .cloned()
        .flatten()
        .filter_map(measured)
        .collect()
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
    /// One measurement alone, or one a line after its type and count; the digests of a chain one a line.
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
