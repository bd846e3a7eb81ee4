//! Starts a machine for one build (`--launch`), and ends it.
//!
//! - In: an engine by its name, and for an engine that boots the image its directory.
//! - Out: the address of the machine, which ends with the value that has it.
//! - Never: trust. The machine is verified like any other one, whoever started it.
//!
//! | file | what |
//! |---|---|
//! | `image` | the files that are booted, and the page of kernel hashes |
//! | `host` | what this host can run: SEV-SNP, KVM or emulation |
//! | `qemu` | QEMU on this host |
//! | `libvirt` | a domain of libvirt, from the template `libvirt.xml` |
//! | `program` | a program of the user's, which prints an address |
//!
//! Each engine is one child process, which ends the machine when it ends: QEMU is the machine; virsh
//! keeps the connection that a domain was created on with `--autodestroy`; a program is told by the
//! end of its input. So nothing stays behind when `kettle` itself is killed.

mod host;
mod image;
mod libvirt;
mod program;
mod qemu;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

pub use host::HostKind;
pub use image::{Image, ImageError};

/// How long an engine has to end a machine after it was told to, before it is killed.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// How often it is looked whether an engine has ended, or a machine has an address.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How many lines of an engine's log are shown when its machine ends too early.
const LAST_LINES: usize = 20;

/// The largest number of processors that reference values are published for.
pub const MAX_VCPUS: u32 = 255;

/// The least memory that a machine starts with, in MiB.
pub const MIN_MEMORY_MIB: u32 = 1024;

/// Who starts the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Engine {
    /// QEMU on this host.
    Qemu,
    /// The libvirt at this URI.
    Libvirt { uri: String },
    /// A program of the user's.
    Program { path: PathBuf },
}

/// A name of an engine that does not exist.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such engine: qemu, libvirt:URI and exec:PROGRAM are known")]
pub struct UnknownEngine;

impl std::str::FromStr for Engine {
    type Err = UnknownEngine;

    fn from_str(name: &str) -> Result<Self, UnknownEngine> {
        match name.split_once(':') {
            None if name == "qemu" => Ok(Self::Qemu),
            Some(("libvirt", uri)) if !uri.is_empty() => Ok(Self::Libvirt {
                uri: uri.to_owned(),
            }),
            Some(("exec", path)) if !path.is_empty() => Ok(Self::Program { path: path.into() }),
            _ => Err(UnknownEngine),
        }
    }
}

/// The size of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The number of processors, which the launch measurement covers.
    pub vcpus: u32,
    /// The memory in MiB.
    pub memory_mib: u32,
}

/// Why there is no machine.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum MachineError {
    #[error("--launch {engine} boots an image: name its directory with --image")]
    NoImage { engine: &'static str },
    #[error("the image")]
    Image(#[from] ImageError),
    #[error("{program} cannot be started; is it installed?")]
    Start { program: String, source: io::Error },
    #[error("the machine's directory for temporary files cannot be used: {path}")]
    Temporary { path: PathBuf, source: io::Error },
    #[error("random numbers")]
    Random(#[source] io::Error),
    #[error("no port of the loopback interface is free")]
    Port(#[source] io::Error),
    #[error("{program} cannot be waited for")]
    Wait { program: String, source: io::Error },
    #[error("{program} ended ({status}) before the machine served{}", after_colon(.last_lines))]
    Ended {
        program: String,
        status: ExitStatus,
        last_lines: String,
    },
    #[error("libvirt created no machine:\n{}", .last_lines.trim_end())]
    Libvirt { last_lines: String },
    #[error("{program} named no address within {seconds} s (--wait)")]
    NoAddress { program: String, seconds: u64 },
    #[error(
        "{program} has to print the address of its machine as one line, and printed {printed:?}"
    )]
    Address { program: String, printed: String },
}

/// Puts what a program said on lines of its own.
fn after_colon(lines: &str) -> String {
    if lines.is_empty() {
        return String::new();
    }
    format!(":\n{}", lines.trim_end())
}

/// A machine to start, with everything that can be checked before it is started.
#[derive(Debug)]
pub struct Plan {
    engine: Engine,
    image: Option<Image>,
    shape: Shape,
}

impl Plan {
    /// Opens the image that an engine boots.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn new(engine: Engine, image: Option<&Path>, shape: Shape) -> Result<Self, MachineError> {
        let name = match engine {
            Engine::Qemu => "qemu",
            Engine::Libvirt { .. } => "libvirt",
            Engine::Program { .. } => {
                return Ok(Self {
                    engine,
                    image: None,
                    shape,
                });
            }
        };
        let directory = image.ok_or(MachineError::NoImage { engine: name })?;
        Ok(Self {
            engine,
            image: Some(Image::open(directory)?),
            shape,
        })
    }

    /// Returns what is started, for people.
    pub fn about(&self) -> String {
        let Shape { vcpus, memory_mib } = self.shape;
        match &self.engine {
            Engine::Qemu => format!(
                "starting a machine with QEMU ({}, {vcpus} processors, {memory_mib} MiB)",
                HostKind::of_this_host()
            ),
            Engine::Libvirt { uri } => format!(
                "starting a machine with libvirt at {uri} ({vcpus} processors, {memory_mib} MiB)"
            ),
            Engine::Program { path } => format!("starting a machine with {}", path.display()),
        }
    }

    /// Starts the machine. It has an address when this returns, and does not serve yet.
    ///
    /// # Errors
    /// The engine cannot be started, or fails, or names no address within `patience`.
    pub fn start(&self, patience: Duration) -> Result<Machine, MachineError> {
        match (&self.engine, &self.image) {
            (Engine::Program { path }, _) => program::start(path, patience),
            (Engine::Libvirt { uri }, Some(image)) => {
                libvirt::start(uri, image, self.shape, patience)
            }
            (Engine::Qemu, Some(image)) => qemu::start(image, self.shape),
            (Engine::Qemu, None) => Err(MachineError::NoImage { engine: "qemu" }),
            (Engine::Libvirt { .. }, None) => Err(MachineError::NoImage { engine: "libvirt" }),
        }
    }
}

/// A machine that runs. Dropping it ends the machine, and so do the signals that end `kettle`.
pub struct Machine {
    /// Where it serves, as `--to` takes it.
    pub address: String,
    process: Arc<Mutex<Process>>,
}

impl Machine {
    fn new(address: String, process: Process) -> Self {
        let process = Arc::new(Mutex::new(process));
        end_on_signals(&process);
        Self { address, process }
    }

    /// Checks that the machine still runs.
    ///
    /// # Errors
    /// Its engine has ended.
    pub fn check(&self) -> Result<(), MachineError> {
        lock(&self.process).check()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        lock(&self.process).end();
    }
}

fn lock(process: &Mutex<Process>) -> std::sync::MutexGuard<'_, Process> {
    process.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The process of an engine.
struct Process {
    program: String,
    child: Child,
    /// Whether the process ends by itself, and its machine with it, once its input ends.
    ends_with_input: bool,
    /// The directory of its temporary files, with the log among them.
    directory: Option<Directory>,
}

impl Process {
    fn check(&mut self) -> Result<(), MachineError> {
        let found = self.child.try_wait();
        let ended = found.map_err(|source| MachineError::Wait {
            program: self.program.clone(),
            source,
        })?;
        match ended {
            None => Ok(()),
            Some(status) => Err(MachineError::Ended {
                program: self.program.clone(),
                status,
                last_lines: self.last_lines(),
            }),
        }
    }

    fn last_lines(&self) -> String {
        self.directory
            .as_ref()
            .map(Directory::last_lines)
            .unwrap_or_default()
    }

    /// Ends the machine, and returns when it has ended.
    fn end(&mut self) {
        drop(self.child.stdin.take());
        if self.ends_with_input {
            let begun = Instant::now();
            while begun.elapsed() < END_TIMEOUT {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                thread::sleep(POLL_INTERVAL);
            }
        }
        // What has ended already cannot be killed, and need not be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends the machine and this process on the signals that people end programs with.
fn end_on_signals(process: &Arc<Mutex<Process>>) {
    let process = Arc::clone(process);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        // Without handlers a signal ends this process at once, and the engine with it.
        let Ok(runtime) = runtime else { return };
        let Some(number) = runtime.block_on(first_signal()) else {
            return;
        };
        lock(&process).end();
        std::process::exit(128 + number.as_raw_value());
    });
}

/// Waits for the first of the signals.
async fn first_signal() -> Option<SignalKind> {
    let (interrupt, terminate, hang_up) = (
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    );
    let mut interrupts = signal(interrupt).ok()?;
    let mut terminations = signal(terminate).ok()?;
    let mut hang_ups = signal(hang_up).ok()?;
    tokio::select! {
        _ = interrupts.recv() => Some(interrupt),
        _ = terminations.recv() => Some(terminate),
        _ = hang_ups.recv() => Some(hang_up),
    }
}

/// Returns a name for a machine or its directory that nobody can foresee.
fn random_name() -> Result<String, MachineError> {
    let bytes = super::random_bytes().map_err(MachineError::Random)?;
    Ok(format!("kettle-{}", hex::encode(bytes)))
}

/// A directory for temporary files, removed when it is dropped.
struct Directory {
    path: PathBuf,
}

impl Directory {
    /// The name of the file in it that gets the engine's messages.
    const LOG: &str = "log";
    /// The name of the file in it that gets the machine's console.
    const CONSOLE: &str = "console";

    /// Creates a directory with a name that nobody can foresee, of this permission.
    fn new(mode: u32) -> Result<Self, MachineError> {
        let path = std::env::temp_dir().join(random_name()?);
        let created = DirBuilder::new().mode(mode).create(&path);
        created.map_err(|source| MachineError::Temporary {
            path: path.clone(),
            source,
        })?;
        Ok(Self { path })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<PathBuf, MachineError> {
        let path = self.file(name);
        let written = fs::write(&path, content);
        written.map_err(|source| MachineError::Temporary {
            path: path.clone(),
            source,
        })?;
        Ok(path)
    }

    /// Opens the file for the engine's messages.
    fn log(&self) -> Result<fs::File, MachineError> {
        let path = self.file(Self::LOG);
        fs::File::create(&path).map_err(|source| MachineError::Temporary { path, source })
    }

    /// Returns the end of both logs, as far as they can be read.
    fn last_lines(&self) -> String {
        let mut found = String::new();
        for name in [Self::LOG, Self::CONSOLE] {
            let content = fs::read(self.file(name)).unwrap_or_default();
            let text = String::from_utf8_lossy(&content);
            let lines: Vec<_> = text.lines().collect();
            let first = lines.len().saturating_sub(LAST_LINES);
            for line in lines.iter().skip(first) {
                found.push_str(line);
                found.push('\n');
            }
        }
        found
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Whatever is left in the directory for temporary files is small.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_have_three_names() {
        assert_eq!("qemu".parse(), Ok(Engine::Qemu));
        let uri = "qemu:///system".to_owned();
        assert_eq!(
            "libvirt:qemu:///system".parse(),
            Ok(Engine::Libvirt { uri })
        );
        let path = PathBuf::from("/opt/start");
        assert_eq!("exec:/opt/start".parse(), Ok(Engine::Program { path }));
        for name in ["", "kvm", "qemu:x", "libvirt", "libvirt:", "exec:", "Qemu"] {
            assert_eq!(name.parse::<Engine>(), Err(UnknownEngine), "{name}");
        }
    }

    #[test]
    fn engines_that_boot_an_image_want_its_directory() {
        let shape = Shape {
            vcpus: 1,
            memory_mib: MIN_MEMORY_MIB,
        };
        for name in ["qemu", "libvirt:qemu:///system"] {
            let refused = Plan::new(name.parse().unwrap(), None, shape);
            assert!(
                matches!(refused, Err(MachineError::NoImage { .. })),
                "{name}"
            );
        }
        assert!(Plan::new("exec:/opt/start".parse().unwrap(), None, shape).is_ok());
    }

    #[test]
    fn a_directory_of_temporary_files_is_removed() {
        let directory = Directory::new(0o700).unwrap();
        directory.write(Directory::LOG, b"one\ntwo\n").unwrap();
        directory.write(Directory::CONSOLE, b"three\n").unwrap();
        assert_eq!(directory.last_lines(), "one\ntwo\nthree\n");
        let path = directory.path.clone();
        drop(directory);
        assert!(!path.exists());
    }
}
