//! Writes the man pages and shell completions of `kettle` and `kettle-host` (`scripts/release`).
//!
//! * In: the directory to write to, as the only argument; the command lines of both programs, from
//!   the source files that define them.
//! * Out: a directory for each program, with `man/*.1`, and one file in `bash/`, `zsh/` and
//!   `fish/`.
//! * Never: code in a shipped program: this one is compiled for a release and thrown away.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

// Both programs whole. All that is used here of them is their command lines.
#[allow(dead_code)]
#[path = "kettle/main.rs"]
mod kettle_command;
#[allow(dead_code)]
#[path = "kettle-host/options.rs"]
mod kettle_host_options;

/// The shells that get completions, and their directories.
const SHELLS: [(Shell, &str); 3] = [
    (Shell::Bash, "bash"),
    (Shell::Zsh, "zsh"),
    (Shell::Fish, "fish"),
];

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [directory] = &arguments[..] else {
        eprintln!("kettle-docs: the only argument is the directory to write to");
        return ExitCode::from(2);
    };
    match write_all(Path::new(directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kettle-docs: {}: {error}", Path::new(directory).display());
            ExitCode::FAILURE
        }
    }
}

fn write_all(directory: &Path) -> Result<(), Box<dyn Error>> {
    for command in [
        kettle_command::Arguments::command(),
        kettle_host_options::CommandLine::command(),
    ] {
        let directory = directory.join(command.get_name());
        write_pages(&command, &directory.join("man"))?;
        write_completions(command, &directory)?;
    }
    Ok(())
}

/// Writes a page for the command and one for each subcommand, except `help`, which the pages
/// replace.
fn write_pages(command: &Command, directory: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(directory)?;
    let command = command.clone().disable_help_subcommand(true);
    clap_mangen::generate_to(command, directory)?;
    Ok(())
}

fn write_completions(mut command: Command, directory: &Path) -> Result<(), Box<dyn Error>> {
    let name = command.get_name().to_owned();
    for (shell, of_shell) in SHELLS {
        let directory = directory.join(of_shell);
        fs::create_dir_all(&directory)?;
        clap_complete::generate_to(shell, &mut command, &name, &directory)?;
    }
    Ok(())
}
