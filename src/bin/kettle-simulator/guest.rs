//! Runs as PID 1 of a test machine for a moment.
//!
//! * In: an initrd with the simulator's segment.
//! * Out: the image's own PID 1, in this process, in a machine whose `/dev/sev-guest` is served by
//!   a child of it.
//! * Never: a change to the image's program, its root, or the command line.

use std::error::Error;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::system::finit_module;

/// The directory of the segment's files.
pub const DIRECTORY: &str = "/simulator";
/// How long the device may take to appear. The kernel creates it at once, but a busy machine may
/// take a while.
const DEVICE_TIMEOUT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

/// Creates the device, then becomes the image's PID 1. A failure ends the machine, because the
/// kernel panics without a PID 1.
pub fn become_init() -> ! {
    let error = match prepare() {
        Ok(()) => Command::new(Path::new(DIRECTORY).join("init"))
            .exec()
            .into(),
        Err(error) => error,
    };
    eprintln!("kettle-simulator: {error}");
    std::process::abort()
}

fn prepare() -> Result<(), Box<dyn Error>> {
    let directory = Path::new(DIRECTORY);
    let devices = directory.join("dev");
    mount(
        "devtmpfs",
        &devices,
        "devtmpfs",
        MountFlags::NOSUID,
        c"mode=0755",
    )?;
    let module = |number: usize| {
        let path = directory.join(format!("{number}.ko"));
        path.exists().then_some(path)
    };
    for path in (0..).map_while(module) {
        finit_module(File::open(path)?, c"", 0)?;
    }
    serve(&devices)?;
    // The child has its files open, and the image has its own mounts.
    Ok(unmount(&devices, UnmountFlags::DETACH)?)
}

/// Starts the child that serves the device as long as the machine runs.
fn serve(devices: &Path) -> Result<(), Box<dyn Error>> {
    let keys: PathBuf = Path::new(DIRECTORY).join("keys");
    let device = devices.join("cuse");
    let mut child = Command::new("/init");
    child
        .arg("cuse")
        .arg("--keys")
        .arg(keys)
        .arg("--device")
        .arg(device)
        .spawn()?;
    let start = Instant::now();
    while !devices.join("sev-guest").exists() {
        if start.elapsed() > DEVICE_TIMEOUT {
            return Err("the kernel created no sev-guest device".into());
        }
        sleep(PAUSE);
    }
    Ok(())
}
