//! `kettle uki`: writes a unified kernel image. `kettle measure --uki` measures one.
//!
//! * In: the stub, and the files that it starts; or a UKI.
//! * Out: the UKI; its digests, and the registers of a TPM.
//! * Never: a file that was not read back before it was written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use kettle::uki::{self, MAX_UKI_BYTES, Measured, UkiError};
use serde_json::json;

use super::launch::{InputError, read};

/// The end of `--help`.
const AFTER_HELP: &str = "\
Firmware starts the file from a disk, as \\EFI\\BOOT\\BOOTX64.EFI. The registers that a TPM then \
has are printed, as `kettle measure --uki` prints them.";

/// The arguments of `kettle uki`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// The stub, which scripts/build-image compiles from src/stub.
    #[arg(long, value_name = "FILE")]
    stub: PathBuf,
    /// The kernel, with a stub of its own for firmware (`CONFIG_EFI_STUB`).
    #[arg(long, value_name = "FILE")]
    kernel: PathBuf,
    /// The initrd of the kernel.
    #[arg(long, value_name = "FILE")]
    initrd: PathBuf,
    /// A file with the kernel's command line. Every byte counts, and each is printable ASCII.
    #[arg(long, value_name = "FILE")]
    command_line_file: PathBuf,
    /// The file that the UKI is written to.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Why no UKI was written or measured. Each is a usage error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Input(#[from] InputError),
    #[error("no UKI can be made of these files")]
    Write(#[from] uki::WriteError),
    #[error("{path} is no UKI of this project")]
    Uki { path: PathBuf, source: UkiError },
    #[error("{path} cannot be written")]
    File { path: PathBuf, source: io::Error },
}

/// Writes the file, and returns its registers as text.
///
/// # Errors
/// An input cannot be read, is over its limit or is not what it should be, or the file cannot be
/// written.
pub fn run(arguments: &Arguments) -> Result<String, Error> {
    let input = |path: &Path| read(path, MAX_UKI_BYTES as u64, "MAX_UKI_BYTES");
    let file = uki::write(
        &input(&arguments.stub)?,
        &input(&arguments.kernel)?,
        &input(&arguments.initrd)?,
        &input(&arguments.command_line_file)?,
    )?;
    let path = &arguments.out;
    let measured = measured(path, &file)?;
    fs::write(path, file).map_err(|source| Error::File {
        path: path.clone(),
        source,
    })?;
    Ok(text(&measured))
}

/// Returns the digests and registers of a UKI, as text or as a JSON document.
///
/// # Errors
/// The file cannot be read, is over its limit, or is no UKI of ours.
pub fn measure(path: &Path, as_json: bool) -> Result<String, Error> {
    let file = read(path, MAX_UKI_BYTES as u64, "MAX_UKI_BYTES")?;
    let measured = measured(path, &file)?;
    Ok(if as_json {
        document(&measured)
    } else {
        text(&measured)
    })
}

fn measured(path: &Path, file: &[u8]) -> Result<Measured, Error> {
    Measured::of(file).map_err(|source| Error::Uki {
        path: path.to_owned(),
        source,
    })
}

fn text(measured: &Measured) -> String {
    format!(
        "pcr-4 {}\npcr-9 {}\nuki-authenticode {}\nkernel-authenticode {}\n",
        measured.pcr_4, measured.pcr_9, measured.uki_authenticode, measured.kernel_authenticode
    )
}

fn document(measured: &Measured) -> String {
    let document = json!({
        "uki_sha256": measured.uki.to_string(),
        "uki_authenticode_sha256": measured.uki_authenticode.to_string(),
        "kernel_sha256": measured.kernel.to_string(),
        "kernel_authenticode_sha256": measured.kernel_authenticode.to_string(),
        "initrd_sha256": measured.initrd.to_string(),
        "command_line_sha256": measured.command_line.to_string(),
        "pcrs": {
            "4": measured.pcr_4.to_string(),
            "9": measured.pcr_9.to_string(),
        },
    });
    format!("{document:#}\n")
}
