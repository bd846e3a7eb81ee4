//! `kettle igvm`: writes the launch of a guest as an IGVM file.
//!
//! * In: files to boot and the shape of a virtual machine.
//! * Out: an IGVM file, and the measurement that it leads to.
//! * Never: a file that was not read back before it was written.

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::Args;
use kettle::snp::igvm::{self, IgvmError, Shape};
use kettle::snp::measurement::{Launch, LaunchError, LaunchMeasurement, Vmm};

use super::launch::{Contents, Cpu, InputError, Inputs, hex_u64, named_cpu};

/// The end of `--help`.
const AFTER_HELP: &str = "\
The file launches the same guest as the given files do under QEMU with kernel-hashes=on, and leads \
to the same measurement, which is printed. It contains kernel, initrd and command line as hashes \
only: the host still has to provide the files themselves. It has not been tried on a host that \
takes such files: it is only known that the igvm crate reads the file and that its pages lead to \
this measurement.";

/// The arguments of `kettle igvm`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    #[command(flatten)]
    inputs: Inputs,
    /// vCPU type as QEMU names it, such as EPYC-Milan.
    #[arg(long, value_name = "NAME", value_parser = named_cpu)]
    vcpu_type: Cpu,
    /// Number of vCPUs.
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=i64::from(igvm::MAX_IGVM_VCPUS))
    )]
    vcpus: u16,
    /// Guest policy, hex. It is not measured.
    #[arg(long, value_name = "HEX", default_value = "0x30000", value_parser = hex_u64)]
    guest_policy: u64,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Why no file was written. Each is a usage error.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    Input(#[from] InputError),
    #[error("the firmware cannot boot this kernel measured")]
    Launch(#[from] LaunchError),
    #[error("the IGVM file cannot be read back")]
    Unreadable(#[from] IgvmError),
    #[error("the IGVM file leads to {actual}, which is not the measurement of its launch")]
    Differs { actual: LaunchMeasurement },
    #[error("{path} cannot be written")]
    Write { path: PathBuf, source: io::Error },
}

/// Writes the file, and returns its measurement.
///
/// # Errors
/// An input cannot be read or the file cannot be written.
pub fn run(arguments: &Arguments) -> Result<String, WriteError> {
    let Contents {
        image,
        firmware,
        boot,
        ..
    } = arguments.inputs.read()?;
    let shape = Shape {
        cpu: arguments.vcpu_type.signature,
        features: arguments.inputs.guest_features,
        vcpus: arguments.vcpus,
        policy: arguments.guest_policy,
    };
    let file = igvm::write(&image, &firmware, boot.as_ref(), &shape)?;
    let measured = igvm::measure(&file)?.measurement;
    let launch = Launch::new(&firmware, boot.as_ref(), Vmm::Qemu)?;
    let expected = launch
        .by_vcpus(shape.cpu, shape.features)
        .nth(usize::from(shape.vcpus) - 1);
    if expected != Some(measured) {
        return Err(WriteError::Differs { actual: measured });
    }
    let path = &arguments.out;
    fs::write(path, file).map_err(|source| WriteError::Write {
        path: path.clone(),
        source,
    })?;
    Ok(format!("{measured}\n"))
}
