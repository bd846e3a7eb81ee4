//! `kettle`: what a bundle says, what a guest measures. Comes in: a bundle, as downloaded or unpacked; files to boot. Goes
//! out: text or JSON. Never: a word that could be taken for a verification.

#[path = "kettle/measure.rs"]
mod measure;

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kettle::bundle::read::{self, Bundle, ReadError};
use kettle::inspect;

/// Reads what the attested-build appliance hands out.
#[derive(Parser)]
#[command(name = "kettle", version, after_help = "Exit status: 0 done, 1 the bundle is damaged, 2 wrong usage.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Says what a bundle claims. Nothing is verified.
    Inspect {
        /// The bundle as downloaded (`.tar.gz`), or the folder it was unpacked to.
        bundle: PathBuf,
        /// Prints one JSON document: the provenance, and what the files really hash to.
        #[arg(long)]
        json: bool,
    },
    /// Calculates the launch measurement of an SEV-SNP guest.
    Measure(measure::Arguments),
}

/// A damaged bundle.
const REJECTED: u8 = 1;
/// A path that cannot be read; wrong usage, as clap has it.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let text = match Arguments::parse().command {
        Command::Inspect { bundle, json } => inspected(&bundle, json),
        Command::Measure(arguments) => measure::run(&arguments).map_err(|error| complain("", &error, USAGE)),
    };
    match text.map(|text| io::stdout().write_all(text.as_bytes())) {
        Err(code) => code,
        Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::from(USAGE),
        Ok(_) => ExitCode::SUCCESS,
    }
}

fn inspected(path: &Path, json: bool) -> Result<String, ExitCode> {
    match read(path) {
        Ok(bundle) if json => Ok(format!("{}\n", inspect::json(&bundle))),
        Ok(bundle) => Ok(inspect::text(&bundle)),
        Err(error) => {
            let code = if matches!(error, ReadError::Open(_)) { USAGE } else { REJECTED };
            Err(complain(&format!("{}: ", path.display()), &error, code))
        }
    }
}

fn read(path: &Path) -> Result<Bundle, ReadError> {
    if path.is_dir() { read::folder(path) } else { read::archive(File::open(path).map_err(ReadError::Open)?) }
}

fn complain(prefix: &str, error: &dyn std::error::Error, code: u8) -> ExitCode {
    eprint!("kettle: {prefix}{error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprint!(": {error}");
        cause = error.source();
    }
    eprintln!();
    ExitCode::from(code)
}
