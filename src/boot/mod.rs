//! Boots the machine: the first second of PID 1.
//!
//! * In: a kernel that was launched with our initrd and command line.
//! * Out: a machine whose root is the measured image, with a network, and [`Booted`], which has the
//!   parameters of the image.
//! * Never: a machine that serves after anything here failed, a name that the host chose, or a byte
//!   of a disk that is interpreted before it was verified.
//!
//! | part | file |
//! |---|---|
//! | the measured command line | `command_line` |
//! | mounts of the initrd, moving to the root, writable directories | `mounts` |
//! | modules, in order, if the kernel has any: feature `modules` | `module` |
//! | the disk with the root hash, and the kernel's check of every block | `verity`, `device_mapper` |
//! | an address, a route and name servers, from any server that replies | `network`, `dhcp`, `frame` |
//! | kernel settings, limits, entropy, clock | `settings` |
//! | orphans | `reaper` |
//! | the end of the machine | `halt` |
//! | the two calls that need `unsafe` | `kernel` |
//!
//! # How the machine boots
//!
//! [`boot`] runs one phase after the other. Each phase returns a receipt, a type that only this
//! phase can create, and takes the receipt of the phase that has to come before it: another order
//! does not compile.
//!
//! 1. In the initrd: the kernel's file systems are mounted, the command line is read, and modules
//!    are loaded. Then the kernel gets its settings, after which it loads no module. No byte of a
//!    disk has been read so far.
//! 2. The root: `verity` reads one block of each disk, to find the one with the root hash. The
//!    kernel verifies every block of that disk when it reads it, and only the verified device is
//!    mounted. It becomes `/`, and nothing of the initrd can be reached any more.
//! 3. In the root: a few directories in memory, control groups, limits, entropy and the clock. Then
//!    the console prints only panics of the kernel and our own lines.
//! 4. The network, in a thread: the host's servers decide how long it takes, so the service
//!    prepares itself meanwhile. [`PendingNetwork::wait`] returns before the service listens.
//!
//! A phase that fails returns an error, which ends the machine ([`halt()`]); so does a panic of any
//! thread ([`halt_on_panic`]). There is no other way out: a machine that serves has passed every
//! phase.

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

/// The name of the last phase. It runs while the service prepares itself, because servers of the
/// host decide how long it takes.
const NETWORK: &str = "network";

/// A machine that has booted, except for its network.
#[derive(Debug)]
pub struct Booted {
    /// The parameters of the measured command line.
    pub parameters: Parameters,
    /// The network phase, which is the last one.
    pub network: PendingNetwork,
}

/// The network phase, in its own thread. The service must not listen before
/// [`PendingNetwork::wait`] has returned.
#[derive(Debug)]
pub struct PendingNetwork(JoinHandle<Result<(), BootError>>);

impl PendingNetwork {
    fn start(_: QuietConsole) -> Result<Self, BootError> {
        let builder = thread::Builder::new().name(NETWORK.to_owned());
        match builder.spawn(|| timed(NETWORK, network::configure)) {
            Ok(thread) => Ok(Self(thread)),
            Err(source) => Err(BootError::Kernel {
                what: "thread",
                source,
            }),
        }
    }

    /// Waits for the end of the phase.
    ///
    /// # Errors
    /// The phase failed: the caller has to end the machine, see [`halt()`].
    pub fn wait(self) -> Result<(), BootError> {
        // A panic has ended the machine already.
        self.0.join().unwrap_or(Err(BootError::NetworkThread))
    }
}

/// Boots the machine. For each phase, the console gets a line with the time that it took, in
/// milliseconds.
///
/// Each phase takes the receipt of an earlier one, which only that phase can create: in another
/// order, this does not compile. No disk is mounted before the kernel verifies it, and no byte of
/// one is read before the kernel has its settings, after which no module is loaded.
///
/// Only PID 1 may call this, before it has another thread.
///
/// # Errors
/// A phase failed: the caller has to end the machine, see [`halt()`].
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
    let directories = timed("writable folders", || mounts::writable_directories(root))?;
    let groups = timed("control groups", || mounts::control_groups(directories))?;
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

/// Runs a phase, and prints how long it took.
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
