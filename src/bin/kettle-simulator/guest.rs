//! PID 1 of a test machine, for a moment. Comes in: an initrd with our segment. Goes out: the image's own PID 1, in our
//! place, in a machine whose `/dev/sev-guest` a child of it answers for. Never: a change to the image's program, its root, or
//! the command line.

use std::error::Error;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::system::finit_module;

/// Where the segment has everything.
pub const FOLDER: &str = "/simulator";
/// The kernel makes the device as soon as it is asked; a busy machine may take a while to get there.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

/// Makes the device, then becomes the image's PID 1. Anything that fails ends the machine: the kernel panics without a PID 1.
pub fn become_init() -> ! {
    let error = match prepare() {
        Ok(()) => Command::new(Path::new(FOLDER).join("init")).exec().into(),
        Err(error) => error,
    };
    eprintln!("kettle-simulator: {error}");
    std::process::abort()
}

fn prepare() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(FOLDER);
    let devices = folder.join("dev");
    mount(
        "devtmpfs",
        &devices,
        "devtmpfs",
        MountFlags::NOSUID,
        c"mode=0755",
    )?;
    let module =
        |number: usize| Some(folder.join(format!("{number}.ko"))).filter(|path| path.exists());
    for path in (0..).map_while(module) {
        finit_module(File::open(path)?, c"", 0)?;
    }
    serve(&devices)?;
    // The child has what it needs open; the image mounts its own.
    Ok(unmount(&devices, UnmountFlags::DETACH)?)
}

/// Starts the child, which answers as long as the machine lives.
fn serve(devices: &Path) -> Result<(), Box<dyn Error>> {
    let keys: PathBuf = Path::new(FOLDER).join("keys");
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
        if start.elapsed() > PATIENCE {
            return Err("there is no sev-guest".into());
        }
        sleep(PAUSE);
    }
    Ok(())
}
