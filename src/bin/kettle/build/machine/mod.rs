//! Starts a machine for one build (`--launch`), and ends it.
//!
//! * In: an engine by its name, and for an engine that boots the image its directory.
//! * Out: the address of the machine, which ends with the value that has it.
//! * Never: trust. The machine is verified like any other one, whoever started it.
//!
//! | file | what |
//! |---|---|
//! | `image` | the files that are booted, and the page of kernel hashes |
//! | `host` | what this host can run: SEV-SNP, KVM or emulation |
//! | `qemu` | QEMU on this host |
//! | `libvirt` | a domain of libvirt, from the template `libvirt.xml` |
//! | `program` | a program of the user's, which prints an address |
//!
//! Each engine is one child process, which ends the machine when it ends: QEMU is the machine;
//! virsh keeps the connection that a domain was created on with `--autodestroy`; a program is told
//! by the end of its input. So nothing stays behind when `kettle` itself is killed.

mod host;
mod image;
mod libvirt;
mod program;
mod qemu;

use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kettle::client::random_bytes;
use tokio::signal::unix::{SignalKind, signal};

pub use host::HostKind;
pub use image::{Image, ImageError};

/// How long an engine has to end a machine after it was told to, before it is killed.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// How often it is looked whether an engine that was told to end has ended.
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
    Libvirt {
        /// The URI of the connection, as virsh takes it.
        uri: String,
    },
    /// A program of the user's.
    Program {
        /// The path of the program.
        path: PathBuf,
    },
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

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} processors, {} MiB", self.vcpus, self.memory_mib)
    }
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

impl MachineError {
    /// Returns the error of a program that could not be started, from the cause.
    fn start(program: &str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Start {
            program: program.to_owned(),
            source,
        }
    }
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
pub enum Plan {
    /// The image, with QEMU on this host.
    Qemu {
        /// The image that is booted.
        image: Image,
        /// The processors and the memory of the machine.
        shape: Shape,
        /// Whether this host can measure launches.
        kind: HostKind,
    },
    /// The image, as a domain of the libvirt at this URI.
    Libvirt {
        /// The URI of the connection, as virsh takes it.
        uri: String,
        /// The image that is booted.
        image: Image,
        /// The processors and the memory of the machine.
        shape: Shape,
    },
    /// The machine of a program.
    Program {
        /// The path of the program.
        path: PathBuf,
    },
}

impl Plan {
    /// Opens the image that an engine boots, and looks at what this host can run.
    ///
    /// # Errors
    /// The image is missing or cannot be read.
    pub fn new(engine: Engine, image: Option<&Path>, shape: Shape) -> Result<Self, MachineError> {
        let open = |engine| {
            let directory = image.ok_or(MachineError::NoImage { engine })?;
            Ok::<_, MachineError>(Image::open(directory)?)
        };
        Ok(match engine {
            Engine::Qemu => Self::Qemu {
                image: open("qemu")?,
                shape,
                kind: HostKind::of_this_host(),
            },
            Engine::Libvirt { uri } => Self::Libvirt {
                uri,
                image: open("libvirt")?,
                shape,
            },
            Engine::Program { path } => Self::Program { path },
        })
    }

    /// Returns what is started, for people.
    pub fn about(&self) -> String {
        match self {
            Self::Qemu { shape, kind, .. } => {
                format!("starting a machine with QEMU ({kind}, {shape})")
            }
            Self::Libvirt { uri, shape, .. } => {
                format!("starting a machine with libvirt at {uri} ({shape})")
            }
            Self::Program { path } => format!("starting a machine with {}", path.display()),
        }
    }

    /// Starts the machine. It has an address when this returns, and does not serve yet.
    ///
    /// # Errors
    /// The engine cannot be started, or fails, or names no address within `patience`.
    pub fn start(&self, patience: Duration) -> Result<Machine, MachineError> {
        match self {
            Self::Qemu { image, shape, kind } => qemu::start(image, *shape, *kind),
            Self::Libvirt { uri, image, shape } => libvirt::start(uri, image, *shape, patience),
            Self::Program { path } => program::start(path, patience),
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

/// The process of an engine. Dropping it ends the machine.
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

    /// Ends the machine, removes its temporary files, and returns when both are done. A second call
    /// does nothing.
    fn end(&mut self) {
        drop(self.child.stdin.take());
        if self.ends_with_input {
            self.wait(END_TIMEOUT);
        }
        // What has ended already cannot be killed, and need not be.
        let _ = self.child.kill();
        let _ = self.child.wait();
        drop(self.directory.take());
    }

    /// Waits until the process has ended, but not longer than this.
    fn wait(&mut self, limit: Duration) {
        let begun = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && begun.elapsed() < limit {
            thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
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
    let bytes = random_bytes::<16>().map_err(MachineError::Random)?;
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

    /// The scripts, the definition for libvirt and this program start the same machine: the launch
    /// measurement covers its processor and its policy.
    #[test]
    fn a_machine_is_what_the_scripts_and_libvirt_start() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = |name: &str| fs::read_to_string(root.join(name)).unwrap();
        for (name, words) in [
            (
                "scripts/machine.sh",
                vec![
                    format!("SNP_CPU={} ", qemu::SNP_CPU),
                    "SNP_CBITPOS=51 SNP_REDUCED_PHYS_BITS=1\n".to_owned(),
                    format!("USER_NETWORK={}\n", qemu::USER_NETWORK),
                ],
            ),
            (
                "scripts/image/launch.sh",
                vec![
                    "GUEST_POLICY=0x30000\n".to_owned(),
                    format!("MAX_VCPUS={MAX_VCPUS}\n"),
                ],
            ),
            (
                "scripts/run",
                vec![format!("MIN_MEMORY_MIB={MIN_MEMORY_MIB}\n")],
            ),
            (
                "image/libvirt.xml",
                vec![
                    format!(">{}</model>", qemu::SNP_CPU),
                    "<cbitpos>51</cbitpos>".to_owned(),
                    "<reducedPhysBits>1</reducedPhysBits>".to_owned(),
                    "<policy>0x30000</policy>".to_owned(),
                ],
            ),
        ] {
            for word in words {
                assert_eq!(text(name).matches(&word).count(), 1, "{name}: {word}");
            }
        }
        assert!(qemu::SNP_GUEST.contains(",policy=0x30000,cbitpos=51,reduced-phys-bits=1,"));
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
