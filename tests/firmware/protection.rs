//! A program that the firmware starts can neither write to code nor execute data, its own or the
//! firmware's.

use crate::launch::Launch;
use crate::payload::Probe;

const STARTED: &str = "payload: started";
const STILL_THERE: &str = "payload: still there";
const STOPPED: &str = "firmware: stopped by an access to memory that is not allowed";
const RETURNED: &str = "firmware: the kernel returned";

fn console_of(probe: Probe) -> String {
    let console = Launch::of(probe, &[]).wait_for(&[STILL_THERE, STOPPED, RETURNED]);
    assert!(console.contains(STARTED), "{probe:?}: {console}");
    console
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn forbids_what_no_loader_has_to_do() {
    let forbidden = [
        Probe::WriteCode,
        Probe::ExecuteData,
        Probe::ExecuteStack,
        Probe::ExecuteLoaderData,
        Probe::WriteFirmware,
    ];
    for probe in forbidden {
        let console = console_of(probe);
        assert!(console.contains(STOPPED), "{probe:?}: {console}");
    }
}

/// The other probes would stop it too if they were wrong.
#[test]
#[ignore = "needs QEMU and a built image"]
fn allows_what_a_loader_has_to_do() {
    for probe in [Probe::Nothing, Probe::WriteData, Probe::ExecuteLoaderCode] {
        let console = console_of(probe);
        assert!(console.contains(STILL_THERE), "{probe:?}: {console}");
    }
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn halts_when_the_kernel_returns() {
    let console = console_of(Probe::Return);
    assert!(console.contains(RETURNED), "{console}");
}
