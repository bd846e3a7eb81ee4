//! PID 1's first second. Comes in: a kernel that was launched with our initrd and command line. Goes out: a machine whose
//! root is the measured image, with a network, and [`Booted`], which says what it is. Never: a machine that serves after
//! anything here failed, a name that the host chose, or a byte of a disk that is interpreted before it was verified.
//!
//! | part | file |
//! |---|---|
//! | what the measured command line says | `command_line` |
//! | mounts of the initrd, moving to the root, what can be written | `mounts` |
//! | modules, in order, where the kernel has any: feature `modules` | `module` |
//! | the disk that carries the root hash, and the kernel's check of everything read from it | `verity`, `device_mapper` |
//! | an address, a route and name servers, from whoever answers | `network`, `dhcp`, `frame` |
//! | kernel settings, limits, entropy, clock | `settings` |
//! | orphans | `reaper` |
//! | the end of the machine | `halt` |
//! | the two calls that need `unsafe` | `kernel` |

mod command_line;
mod device_mapper;
pub mod dhcp;
mod error;
pub mod frame;
mod halt;
mod kernel;
#[cfg(feature = "modules")]
mod module;
mod mounts;
mod network;
mod reaper;
mod settings;
mod verity;

use std::thread::{self, JoinHandle};
use std::time::Instant;

pub use command_line::Parameters;
pub use error::{BootError, CommandLineError};
pub use halt::{halt, halt_on_panic};
pub use mounts::WORK;
pub use reaper::{collect_dead_orphans, collect_orphans};

use settings::QuietConsole;

/// The last phase, which runs beside what the service prepares: servers of the host's decide how long it takes.
const NETWORK: &str = "network";

/// A machine that is up, but for its network.
#[derive(Debug)]
pub struct Booted {
    /// What the measured command line said.
    pub parameters: Parameters,
    /// The last phase.
    pub network: PendingNetwork,
}

/// The network phase, on a thread of its own. Nobody listens before [`PendingNetwork::wait`] has returned.
#[derive(Debug)]
pub struct PendingNetwork(JoinHandle<Result<(), BootError>>);

impl PendingNetwork {
    fn start(_: QuietConsole) -> Result<Self, BootError> {
        let thread = thread::Builder::new()
            .name(NETWORK.to_owned())
            .spawn(|| timed(NETWORK, network::configure));
        thread.map(Self).map_err(|source| BootError::Kernel {
            what: "thread",
            source,
        })
    }

    /// Waits for the end of the phase.
    ///
    /// # Errors
    /// The phase failed: the machine is of no use then, see [`halt()`].
    pub fn wait(self) -> Result<(), BootError> {
        // A panic has ended the machine already.
        self.0.join().unwrap_or(Err(BootError::NetworkThread))
    }
}

/// Brings the machine up; each phase says on the console how long it took, in milliseconds.
///
/// Each phase takes the receipt of the one before it, and only the phase can make its receipt: in another order this does
/// not compile. Nothing of a disk is mounted before the kernel verifies it, and no byte of one is read before the kernel
/// has its settings, after which no module is loaded.
///
/// To be called by PID 1 only, before it has another thread.
///
/// # Errors
/// The phase that failed, with its cause: the machine is of no use then, see [`halt()`].
pub fn boot() -> Result<Booted, BootError> {
    let files = timed("kernel file systems", mounts::kernel_file_systems)?;
    let parameters = timed("command line", || command_line::read(&files))?;
    #[cfg(feature = "modules")]
    timed("modules", || module::load_all(&files))?;
    let kernel = timed("kernel settings", || settings::apply(files))?;
    let disk = timed("root disk", || verity::find_disk(&kernel, &parameters))?;
    let device = timed("dm-verity", || verity::set_up(disk, &parameters))?;
    let mounted = timed("root file system", || mounts::root(device))?;
    let root = timed("move to the root", || mounts::move_to_root(kernel, mounted))?;
    let folders = timed("writable folders", || mounts::writable_folders(root))?;
    let groups = timed("control groups", || mounts::control_groups(folders))?;
    let limits = timed("limits", || settings::limits(groups))?;
    let entropy = timed("entropy", || settings::entropy(limits))?;
    let clock = timed("clock", || settings::clock(entropy))?;
    let console = timed("quiet console", || settings::quiet_console(clock))?;
    let network = PendingNetwork::start(console)?;
    Ok(Booted {
        parameters,
        network,
    })
}

/// Runs a phase, and says how long it took.
fn timed<T>(
    name: &'static str,
    phase: impl FnOnce() -> Result<T, BootError>,
) -> Result<T, BootError> {
    let start = Instant::now();
    let receipt = phase().map_err(|source| BootError::Phase {
        name,
        source: Box::new(source),
    })?;
    halt::say(&format!("{name}: {} ms", start.elapsed().as_millis()));
    Ok(receipt)
}
