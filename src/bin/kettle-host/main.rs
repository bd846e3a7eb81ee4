//! Runs the service as a process of an ordinary host, for development.
//!
//! * In: a command line, and the toolchain and sandboxing means that the host has.
//! * Out: the same service as in the image. Each of its statements says that a host ran it, and
//!   what the sandbox lacks there.
//! * Never: the image's claims, or evidence of a secure processor that anybody trusts.

use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kettle::causes::Chain;
use kettle::memory::ClearingAllocator;
use kettle::provenance::Platform;
use kettle::sandbox::{self, Degradation, Runner};
use kettle::service::{Prepared, Standing};
#[cfg(feature = "simulator")]
use kettle::simulator::Processor;
use kettle::text;
use kettle::toolchain::Toolchain;
use kettle::toolchain::nix::{self, Nix};

use options::{CommandLine, Serve};

mod options;

#[global_allocator]
static ALLOCATOR: ClearingAllocator = ClearingAllocator;

/// Files are readable by all users and writable by this one.
const UMASK: u32 = 0o022;

fn main() -> ExitCode {
    let serve = CommandLine::read();
    log_to_standard_error();
    match run(&serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kettle-host: {}", Chain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Starts the service's own log. Records quote tools and clients, so each is printed as one line in
/// which nothing is hidden.
fn log_to_standard_error() {
    let mut builder =
        env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"));
    let in_one_line = |record: &log::Record<'_>| text::inert(&record.args().to_string());
    builder.format(move |out, record| {
        writeln!(
            out,
            "[{:<5} {}] {}",
            record.level(),
            record.target(),
            in_one_line(record)
        )
    });
    builder.init();
}

/// Sets up everything that can fail, in the order that threads, mounts and users require, and
/// serves.
fn run(serve: &Serve) -> Result<(), Box<dyn Error>> {
    // Sandboxes under another uid read files that this process creates for them.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(UMASK));
    let toolchain = match &serve.toolchain {
        Some(sysroot) => Toolchain::find(sysroot)?,
        None => Toolchain::search()?,
    };
    let nix = find_nix(serve)?;
    fs::create_dir_all(&serve.work)?;
    let (toolchain, work) = enter_mounts(toolchain, nix, &serve.work.canonicalize()?)?;
    let standing = standing(serve)?;
    let runner = Runner::allowing(&serve.allowed)?;
    for degradation in &runner.description().degradations {
        let Degradation { name, reason } = degradation;
        log::warn!("the sandbox is weaker here: {name}: {reason}");
    }
    Prepared::new(serve.settings(), runner, toolchain, work, standing)?.serve()?;
    Ok(())
}

/// Gives this process its own mounts. Returns the toolchain, nix included, and the working
/// directory with the paths that they have there.
fn enter_mounts(
    toolchain: Toolchain,
    nix: Option<Nix>,
    work: &Path,
) -> Result<(Toolchain, PathBuf), Box<dyn Error>> {
    let of_rust = toolchain.mount().map(|mount| mount.source);
    let of_nix = nix.iter().flat_map(Nix::places);
    let directories: Vec<_> = of_rust.as_deref().into_iter().chain(of_nix).collect();
    let entered = sandbox::enter_private_mounts(work, &directories)?;
    let mut seen = entered.directories.into_iter();
    let toolchain = match of_rust.and_then(|_| seen.next()) {
        Some(path) => toolchain.seen_at(path),
        None => toolchain,
    };
    let toolchain = match (nix, seen.next(), seen.next()) {
        (Some(nix), Some(root), Some(configuration)) => {
            toolchain.with_nix(nix.seen_at(root, configuration))
        }
        _ => toolchain,
    };
    Ok((toolchain, entered.work))
}

/// Returns what a host may claim about itself.
#[cfg(not(feature = "simulator"))]
fn standing(_: &Serve) -> Result<Standing, Box<dyn Error>> {
    Ok(Standing::unattested(Platform::HOST))
}

/// Returns what a host may claim about itself, with a simulated secure processor if that is wanted.
#[cfg(feature = "simulator")]
fn standing(serve: &Serve) -> Result<Standing, Box<dyn Error>> {
    Ok(match &serve.simulator {
        None => Standing::unattested(Platform::HOST),
        Some(directory) => Standing::attested(Platform::SIMULATED, Processor::open(directory)?)?,
    })
}

/// Returns the nix of this host, if it is to have one.
fn find_nix(serve: &Serve) -> Result<Option<Nix>, Box<dyn Error>> {
    let Some(root) = &serve.nix_root else {
        return Ok(None);
    };
    if !rustix::process::geteuid().is_root() {
        return Err(
            "--nix-root needs root: no other user can create a namespace with several users".into(),
        );
    }
    let root = root.canonicalize()?;
    let configuration = match &serve.nix_conf {
        Some(directory) => directory.canonicalize()?,
        None => root.join(nix::CONFIGURATION_DIRECTORY),
    };
    Ok(Some(Nix::find(&root, &configuration)?))
}
