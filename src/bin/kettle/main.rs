//! `kettle`: whether to believe a bundle, what it says, what a guest measures. Comes in: a bundle, as downloaded or unpacked;
//! files to boot. Goes out: text or JSON, and an exit status. Never: a word outside of `verify` that could be taken for a
//! verification.

mod build;
mod complete;
mod igvm;
mod kernel_hashes;
mod launch;
mod measure;
mod verify;
mod verify_summary;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kettle::bundle::read::{self, MAX_EVIDENCE_BYTES, ReadError};
use kettle::causes::Chain;
use kettle::inspect;
use kettle::snp::report::{REPORT_BYTES, Report};

/// Verifies and reads what the attested-build appliance hands out.
#[derive(Parser)]
#[command(
    name = "kettle",
    version,
    after_help = "Exit status: 0 accepted or done, 1 rejected or damaged, 2 wrong usage or a fault of ours, 3 a build failed, 4 no free machine."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds a source on an appliance that is verified before it gets a byte, and verifies what comes out.
    #[command(after_help = build::AFTER_HELP)]
    Build(Box<build::Arguments>),
    /// Says whether to believe a bundle, or an appliance's TLS key, and why. Opens no connection without --fetch.
    #[command(
        after_help = "Exit status: 0 accepted, 1 rejected, whatever is wrong with the bundle, 2 nothing was verified."
    )]
    Verify(Box<verify::Arguments>),
    /// Says whether to believe the summary of a verification that somebody else made and signed.
    #[command(after_help = verify_summary::AFTER_HELP)]
    VerifySummary(verify_summary::Arguments),
    /// Adds the VCEK that the host of a bundle did not hand over, from AMD's key service.
    #[command(after_help = complete::AFTER_HELP)]
    Complete(complete::Arguments),
    /// Says what a bundle, evidence or an attestation report claims. Nothing is verified.
    Inspect {
        /// The bundle as downloaded (`.tar.gz`), the folder it was unpacked to, an `evidence.json`, also in the form of other
        /// attested builders, or the bytes of a report or of an HCL report.
        bundle: PathBuf,
        /// Prints one JSON document: the provenance, and what the files really hash to.
        #[arg(long)]
        json: bool,
    },
    /// Calculates the launch measurement of an SEV-SNP guest.
    Measure(Box<measure::Arguments>),
    /// Writes the launch of an SEV-SNP guest as an IGVM file, and prints its measurement.
    Igvm(Box<igvm::Arguments>),
    /// Writes the page of kernel hashes that a launch measures, and prints its guest address: what a machine without a secure
    /// processor needs to start the same firmware.
    KernelHashes(Box<kernel_hashes::Arguments>),
}

/// A damaged bundle.
const REJECTED: u8 = 1;
/// A path that cannot be read; wrong usage, as clap has it.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refused(&error),
    };
    let done = |text| (text, ExitCode::SUCCESS);
    let output = match arguments.command {
        Command::Build(arguments) => Err(build::run(&arguments)),
        Command::Complete(arguments) => complete::run(&arguments)
            .map(done)
            .map_err(|error| unusable(&error)),
        Command::Verify(arguments) => {
            verify::run(&arguments).map_err(|error| faulty(&error, arguments.json))
        }
        Command::VerifySummary(arguments) => {
            verify_summary::run(&arguments).map_err(|error| unusable(&error))
        }
        Command::Inspect { bundle, json } => inspected(&bundle, json).map(done),
        Command::Measure(arguments) => measure::run(&arguments)
            .map(done)
            .map_err(|error| unusable(&error)),
        Command::Igvm(arguments) => igvm::run(&arguments)
            .map(done)
            .map_err(|error| unusable(&error)),
        Command::KernelHashes(arguments) => kernel_hashes::run(&arguments)
            .map(done)
            .map_err(|error| unusable(&error)),
    };
    match output {
        Err(code) => code,
        Ok((text, code)) => printed(&text, code),
    }
}

/// A verdict that did not reach its reader is none.
fn printed(text: &str, code: ExitCode) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::from(USAGE),
        _ => code,
    }
}

/// Arguments that clap refuses, or its help.
fn refused(error: &clap::Error) -> ExitCode {
    let is_json = || std::env::args_os().any(|argument| argument == "--json");
    let is_verify = std::env::args_os()
        .nth(1)
        .is_some_and(|command| command == "verify" || command == "build");
    if error.use_stderr() && is_verify && is_json() {
        return printed(
            &verify::error_document(error.to_string().trim_end()),
            ExitCode::from(USAGE),
        );
    }
    // Nothing better can be done where even this cannot be printed.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::from(USAGE)
    } else {
        ExitCode::SUCCESS
    }
}

fn faulty(error: &(dyn std::error::Error + 'static), is_json: bool) -> ExitCode {
    if is_json {
        printed(
            &verify::error_document(&Chain(error).to_string()),
            ExitCode::from(USAGE),
        )
    } else {
        complain(&Chain(error).to_string(), USAGE)
    }
}

/// Inputs that nothing can be made of.
fn unusable(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    complain(&Chain(error).to_string(), USAGE)
}

fn inspected(path: &Path, json: bool) -> Result<String, ExitCode> {
    if let Some(report) = bare_report(path) {
        return Ok(inspect::bare_report(&report, json));
    }
    if let Some(text) = bare_evidence(path, json) {
        return Ok(text);
    }
    match read::open_with_digest(path) {
        Ok(bundle) if json => Ok(inspect::escaped(&inspect::json(&bundle))),
        Ok(bundle) => Ok(inspect::text(&bundle)),
        Err(error) => {
            let code = if matches!(error, ReadError::Open(_)) {
                USAGE
            } else {
                REJECTED
            };
            Err(complain(
                &inspect::shown(&format!("{}: {}", path.display(), Chain(&error))),
                code,
            ))
        }
    }
}

/// A file of exactly a report's length is one: a bundle of that length would begin like gzip.
fn bare_report(path: &Path) -> Option<Report> {
    const GZIP: &[u8] = &[0x1f, 0x8b];
    let is_of_its_length =
        fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == REPORT_BYTES as u64);
    let bytes = is_of_its_length.then(|| fs::read(path).ok()).flatten()?;
    Report::try_from(&bytes[..])
        .ok()
        .filter(|report| !report.as_bytes().starts_with(GZIP))
}

/// A small file that is evidence by itself: a JSON document, or what a paravisor keeps in its TPM.
fn bare_evidence(path: &Path, json: bool) -> Option<String> {
    let is_small = |found: fs::Metadata| found.is_file() && found.len() <= MAX_EVIDENCE_BYTES;
    let bytes = fs::metadata(path)
        .is_ok_and(is_small)
        .then(|| fs::read(path).ok())
        .flatten()?;
    inspect::bare_hcl_report(&bytes, json).or_else(|| inspect::bare_evidence(&bytes, json))
}

fn complain(text: &str, code: u8) -> ExitCode {
    let lines: Vec<_> = text.lines().map(inspect::shown).collect();
    eprintln!("kettle: {}", lines.join("\n"));
    ExitCode::from(code)
}
