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

use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::Instant;

pub use command_line::Parameters;
pub use error::{BootError, CommandLineError};
pub use halt::{halt, halt_on_panic};
pub use mounts::WORK;
pub use reaper::{collect_dead_orphans, collect_orphans};

/// What the phases hand on to each other.
struct Machine {
    parameters: Option<Parameters>,
    root_disk: Option<verity::Disk>,
    root_device: Option<PathBuf>,
}

impl Machine {
    fn parameters(&self) -> Result<&Parameters, BootError> {
        self.parameters.as_ref().ok_or(BootError::OutOfOrder)
    }
}

/// One step, and what it is called on the console.
type Phase = (&'static str, fn(&mut Machine) -> Result<(), BootError>);

/// Everything between the kernel and the service, in order.
const PHASES: &[Phase] = &[
    ("kernel file systems", mounts::kernel_file_systems),
    ("command line", command_line::read),
    #[cfg(feature = "modules")]
    ("modules", module::load_all),
    ("kernel settings", settings::apply),
    ("root disk", verity::find_disk),
    ("dm-verity", verity::set_up),
    ("root file system", mounts::root),
    ("move to the root", mounts::move_to_root),
    ("writable folders", mounts::writable_folders),
    ("control groups", mounts::control_groups),
    ("limits", settings::limits),
    ("entropy", settings::entropy),
    ("clock", settings::clock),
    ("quiet console", settings::quiet_console),
];
/// The last one runs beside what the service prepares: servers of the host's decide how long it takes.
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
    fn start() -> Result<Self, BootError> {
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
        self.0.join().unwrap_or(Err(BootError::OutOfOrder))
    }
}

/// Brings the machine up; each phase says on the console how long it took, in milliseconds.
///
/// To be called by PID 1 only, before it has another thread.
///
/// # Errors
/// The phase that failed, with its cause: the machine is of no use then, see [`halt()`].
pub fn boot() -> Result<Booted, BootError> {
    let mut machine = Machine {
        parameters: None,
        root_disk: None,
        root_device: None,
    };
    for &(name, phase) in PHASES {
        timed(name, || phase(&mut machine))?;
    }
    let network = PendingNetwork::start()?;
    Ok(Booted {
        parameters: machine.parameters.ok_or(BootError::OutOfOrder)?,
        network,
    })
}

/// Runs a phase, and says how long it took.
fn timed(
    name: &'static str,
    phase: impl FnOnce() -> Result<(), BootError>,
) -> Result<(), BootError> {
    let start = Instant::now();
    phase().map_err(|source| BootError::Phase {
        name,
        source: Box::new(source),
    })?;
    halt::say(&format!("{name}: {} ms", start.elapsed().as_millis()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_disk_is_mounted_before_it_is_verified() {
        assert!(place("command line") < place("root disk"));
        assert!(place("dm-verity") < place("root file system"));
        assert!(
            place("kernel settings") < place("root disk"),
            "the host's bytes are read by a hardened kernel"
        );
    }

    #[cfg(feature = "modules")]
    #[test]
    fn no_module_is_loaded_after_the_settings_end_that() {
        assert!(place("modules") < place("kernel settings"));
    }

    #[cfg(not(feature = "modules"))]
    #[test]
    fn there_is_no_phase_for_modules() {
        assert!(PHASES.iter().all(|(name, _)| *name != "modules"));
    }

    fn place(wanted: &str) -> usize {
        PHASES.iter().position(|(name, _)| *name == wanted).unwrap()
    }

    #[test]
    fn a_phase_that_runs_too_early_fails() {
        let mut machine = Machine {
            parameters: None,
            root_disk: None,
            root_device: None,
        };
        assert!(matches!(
            verity::find_disk(&mut machine),
            Err(BootError::OutOfOrder)
        ));
        assert!(matches!(
            verity::set_up(&mut machine),
            Err(BootError::OutOfOrder)
        ));
        assert!(matches!(
            mounts::root(&mut machine),
            Err(BootError::OutOfOrder)
        ));
    }
}
