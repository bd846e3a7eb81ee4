//! `kettle kernel-hashes`: writes the page of hashes that a launch would have measured.
//!
//! * In: a firmware and the files that it boots.
//! * Out: the page, and its guest address.
//! * Never: a page for a firmware that would not read it.

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::Args;
use kettle::snp::measurement::{KernelHashesPage, LaunchError};

use super::launch::{Contents, InputError, Inputs};

/// The arguments of `kettle kernel-hashes`.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    inputs: Inputs,
    /// The file that the page is written to, 4096 bytes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Why no page was written. Each is a usage error.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    #[error(transparent)]
    Input(#[from] InputError),
    #[error("no kernel: give --kernel, and --initrd and --command-line-file if there are such")]
    NoKernel,
    #[error("{path} cannot boot this kernel measured")]
    Launch { path: PathBuf, source: LaunchError },
    #[error("{path} cannot be written")]
    Write { path: PathBuf, source: io::Error },
}

/// Writes the page and returns its guest address, in the form that QEMU's `-device loader` takes.
///
/// # Errors
/// A file cannot be read or written, or the firmware does not measure a kernel.
pub fn run(arguments: &Arguments) -> Result<String, PageError> {
    let Contents { firmware, boot, .. } = arguments.inputs.read()?;
    let boot = boot.ok_or(PageError::NoKernel)?;
    let page = KernelHashesPage::new(&firmware, &boot).map_err(|source| PageError::Launch {
        path: arguments.inputs.path(),
        source,
    })?;
    let out = &arguments.out;
    fs::write(out, page.bytes).map_err(|source| PageError::Write {
        path: out.clone(),
        source,
    })?;
    Ok(format!("{:#x}\n", page.address))
}
