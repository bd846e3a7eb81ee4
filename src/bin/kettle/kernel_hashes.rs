//! `kettle kernel-hashes`. Comes in: a firmware and what it is to boot. Goes out: the page of hashes that a launch would have
//! measured, and its address. Never: a page for a firmware that would not look at it.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use kettle::snp::measurement::KernelHashesPage;

use crate::measure::{self, Booted, MeasureError};

/// What to boot, and where the page goes.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    booted: Booted,
    /// The file that the page is written to, 4096 bytes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Writes the page; returns its guest address, as QEMU's `-device loader` takes it.
///
/// # Errors
/// A file cannot be read or written, or the firmware does not measure a kernel.
pub fn run(arguments: &Arguments) -> Result<String, MeasureError> {
    let inputs = measure::inputs(&arguments.booted)?;
    let path = &arguments.booted.firmware;
    let launch = |source| MeasureError::Launch { path: path.clone(), source };
    let boot = inputs.boot.as_ref().ok_or(MeasureError::NoKernel)?;
    let page = KernelHashesPage::new(&inputs.parsed, boot).map_err(launch)?;
    let out = &arguments.out;
    fs::write(out, page.bytes).map_err(|source| MeasureError::Write { path: out.clone(), source })?;
    Ok(format!("{:#x}\n", page.address))
}
