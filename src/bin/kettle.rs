//! `kettle`: what a bundle says. Comes in: a bundle, as downloaded or unpacked. Goes out: text or JSON. Never: a word that
//! could be taken for a verification.

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
}

/// A damaged bundle.
const REJECTED: u8 = 1;
/// A path that cannot be read; wrong usage, as clap has it.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let Command::Inspect { bundle, json } = Arguments::parse().command;
    let text = match read(&bundle) {
        Ok(bundle) if json => format!("{}\n", inspect::json(&bundle)),
        Ok(bundle) => inspect::text(&bundle),
        Err(error) => return complain(&bundle, &error),
    };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::from(USAGE),
        _ => ExitCode::SUCCESS,
    }
}

fn read(path: &Path) -> Result<Bundle, ReadError> {
    if path.is_dir() { read::folder(path) } else { read::archive(File::open(path).map_err(ReadError::Open)?) }
}

fn complain(path: &Path, error: &ReadError) -> ExitCode {
    eprint!("kettle: {}: {error}", path.display());
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        eprint!(": {error}");
        cause = error.source();
    }
    eprintln!();
    ExitCode::from(if matches!(error, ReadError::Open(_)) { USAGE } else { REJECTED })
}
