//! `kettle`: the command of people who use or verify builds of the appliance.
//!
//! * In: a bundle, as downloaded or unpacked; a source; files to boot.
//! * Out: text or JSON, and an exit status.
//! * Never: output outside of `verify`, `verify-summary` and `build` that could be taken for a
//!   verification.
//!
//! # The commands
//!
//! | command | module | network |
//! |---|---|---|
//! | `build` | `build` | the appliance; with --fetch AMD's key service |
//! | `verify` | `verify` | with --fetch AMD's key service |
//! | `verify-summary` | `verify_summary` | none |
//! | `complete` | `complete` | AMD's key service, without --vcek |
//! | `inspect` | here | none |
//! | `measure`, `igvm`, `kernel-hashes` | `measure`, `igvm`, `kernel_hashes`, `launch` | none |
//! | `uki` | `uki` | none |
//!
//! A command returns its whole output as text, and this file prints it: a verdict that could not be
//! printed must not end with the status of success. Only `build` prints while it works. Commands
//! decide nothing about bundles themselves. `verify` turns its options into `Expectations` and
//! passes them, with the bundle, to the library's verifier; `build` does the same twice, for the
//! machine before anything is sent to it and for the bundle in the end.
//!
//! Text from bundles, machines and files is escaped before it is printed (`inspect::shown`),
//! because it may come from an attacker and go to a terminal.

mod build;
mod complete;
mod igvm;
mod kernel_hashes;
mod launch;
mod measure;
mod problem;
mod uki;
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
use kettle::verifier::verdict;

/// Verifies and reads the results of the attested-build appliance.
#[derive(Parser)]
#[command(
    name = "kettle",
    version,
    after_help = "Exit status: 0 accepted or done, 1 rejected or damaged, 2 wrong usage or an \
        internal error, 3 a build failed, 4 no free machine."
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds a source on an appliance that is verified before it gets a byte, and verifies the
    /// bundle.
    #[command(after_help = build::AFTER_HELP)]
    Build(Box<build::Arguments>),
    /// Decides whether to trust a bundle, or an appliance's TLS key, and prints why. Opens no
    /// connection without --fetch.
    #[command(
        after_help = "Exit status: 0 accepted, 1 rejected, whatever is wrong with the bundle, \
            2 nothing was verified."
    )]
    Verify(Box<verify::Arguments>),
    /// Decides whether to trust the summary of a verification that somebody else made and signed.
    #[command(after_help = verify_summary::AFTER_HELP)]
    VerifySummary(verify_summary::Arguments),
    /// Adds the VCEK that the host of a bundle did not provide, from AMD's key service.
    #[command(after_help = complete::AFTER_HELP)]
    Complete(complete::Arguments),
    /// Prints the claims of a bundle, evidence or an attestation report. Nothing is verified.
    Inspect {
        /// The bundle as downloaded (`.tar.gz`), the directory it was unpacked to, an
        /// `evidence.json`, also in the form of other attested builders, or the bytes of a report
        /// or of an HCL report.
        bundle: PathBuf,
        /// Prints one JSON document: the provenance, and what the files really hash to.
        #[arg(long)]
        json: bool,
    },
    /// Calculates the launch measurement of an SEV-SNP guest, or the registers of a TPM.
    Measure(Box<measure::Arguments>),
    /// Writes the launch of an SEV-SNP guest as an IGVM file, and prints its measurement.
    Igvm(Box<igvm::Arguments>),
    /// Writes the page of kernel hashes that a launch measures, and prints its guest address. A
    /// machine without a secure processor needs both to start the same firmware.
    KernelHashes(Box<kernel_hashes::Arguments>),
    /// Writes the file with which firmware starts a kernel from a disk (a unified kernel image, UKI).
    Uki(Box<uki::Arguments>),
}

/// Exit status: the bundle is damaged.
const REJECTED: u8 = 1;
/// Exit status: a path cannot be read, or wrong usage, for which clap has the same status.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refused(&error),
    };
    let output = match arguments.command {
        Command::Build(arguments) => return build::run(&arguments),
        Command::Verify(arguments) => {
            verify::run(&arguments).map_err(|error| faulty(&error, arguments.json))
        }
        Command::VerifySummary(arguments) => {
            verify_summary::run(&arguments).map_err(|error| unusable(&error))
        }
        Command::Inspect { bundle, json } => {
            inspected(&bundle, json).map(|text| (text, ExitCode::SUCCESS))
        }
        Command::Complete(arguments) => done(complete::run(&arguments)),
        Command::Measure(arguments) => done(measure::run(&arguments)),
        Command::Igvm(arguments) => done(igvm::run(&arguments)),
        Command::KernelHashes(arguments) => done(kernel_hashes::run(&arguments)),
        Command::Uki(arguments) => done(uki::run(&arguments)),
    };
    match output {
        Err(code) => code,
        Ok((text, code)) => printed(&text, code),
    }
}

/// Returns the text and the exit status of a command that succeeds with a text or is used wrongly.
fn done<E: std::error::Error + 'static>(
    result: Result<String, E>,
) -> Result<(String, ExitCode), ExitCode> {
    match result {
        Ok(text) => Ok((text, ExitCode::SUCCESS)),
        Err(error) => Err(unusable(&error)),
    }
}

/// Prints the output. A verdict that could not be printed does not count.
fn printed(text: &str, code: ExitCode) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::from(USAGE),
        _ => code,
    }
}

/// Reports arguments that clap refuses, or prints its help.
fn refused(error: &clap::Error) -> ExitCode {
    let is_json = || std::env::args_os().any(|argument| argument == "--json");
    let command = std::env::args_os().nth(1).unwrap_or_default();
    let has_json = command == "verify" || command == "build";
    if error.use_stderr() && has_json && is_json() {
        let document = verdict::error_document(error.to_string().trim_end());
        return printed(&document, ExitCode::from(USAGE));
    }
    // If even this cannot be printed, nothing better can be done.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::from(USAGE)
    } else {
        ExitCode::SUCCESS
    }
}

/// Reports why nothing was verified.
fn faulty(error: &(dyn std::error::Error + 'static), is_json: bool) -> ExitCode {
    if is_json {
        let document = verdict::error_document(&Chain(error).to_string());
        printed(&document, ExitCode::from(USAGE))
    } else {
        unusable(error)
    }
}

/// Reports inputs that cannot be used.
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
            if let Some(refusal) = problem::in_place_of_bundle(path) {
                return Err(complain(&refusal, REJECTED));
            }
            let message = format!("{}: {}", path.display(), Chain(&error));
            let code = match error {
                ReadError::Open(_) => USAGE,
                _ => REJECTED,
            };
            Err(complain(&inspect::shown(&message), code))
        }
    }
}

/// Reads a report. A file is one if it has exactly a report's length and does not begin like gzip,
/// as a bundle of that length would.
fn bare_report(path: &Path) -> Option<Report> {
    const GZIP: &[u8] = &[0x1f, 0x8b];
    let bytes = small_file(path, REPORT_BYTES as u64)?;
    if bytes.len() != REPORT_BYTES || bytes.starts_with(GZIP) {
        return None;
    }
    Report::try_from(&bytes[..]).ok()
}

/// Returns the claims of a small file that is evidence by itself: a JSON document, or the HCL
/// report of a paravisor.
fn bare_evidence(path: &Path, json: bool) -> Option<String> {
    let bytes = small_file(path, MAX_EVIDENCE_BYTES)?;
    inspect::bare_hcl_report(&bytes, json).or_else(|| inspect::bare_evidence(&bytes, json))
}

/// Returns the bytes of a file that has at most `limit` of them; none of anything else.
fn small_file(path: &Path, limit: u64) -> Option<Vec<u8>> {
    let found = fs::metadata(path).ok()?;
    if !found.is_file() || found.len() > limit {
        return None;
    }
    fs::read(path).ok()
}

/// Prints a message in which nothing is hidden, and returns the exit status.
fn complain(text: &str, code: u8) -> ExitCode {
    let lines: Vec<_> = text.lines().map(inspect::shown).collect();
    eprintln!("kettle: {}", lines.join("\n"));
    ExitCode::from(code)
}
